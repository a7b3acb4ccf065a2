/* The checkpoint directory: making it, its key, generations, and what a kill leaves.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/dir.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/manifest.h"
#include "t/unit.h"

static char base[64], path[128];
static struct stint_err err;
static int fd;

static void setup(void)
{
    snprintf(base, sizeof(base), "/tmp/stint-test-dir.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
    snprintf(path, sizeof(path), "%s/ckpt", base);
    ck_assert_int_eq(stint_dir_create(path, &fd, NULL, &err), 0);
}

static void teardown(void)
{
    close(fd);
    shell("rm -rf %s", base);
}

static unsigned mode_of(const char *name)
{
    struct stat st;

    ck_assert_int_eq(fstatat(fd, name, &st, 0), 0);
    return st.st_mode & 07777;
}

static int exists(const char *name)
{
    return faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A generation with a manifest that is good enough to be there. */
static void write_generation(uint64_t n)
{
    int gen_fd, file;

    ck_assert_int_eq(stint_dir_begin(fd, n, &gen_fd, &err), 0);
    file = openat(gen_fd, STINT_MANIFEST_NAME, O_WRONLY | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ge(file, 0);
    close(file);
    close(gen_fd);
}

static void commit_generation(uint64_t n)
{
    write_generation(n);
    ck_assert_int_eq(stint_dir_commit(fd, n, &err), 0);
}

static uint64_t newest(void)
{
    uint64_t n = 99;

    ck_assert_int_eq(stint_dir_newest(fd, &n, &err), 0);
    return n;
}

START_TEST(is_private)
{
    char *absolute;
    int again;

    ck_assert_uint_eq(mode_of("."), 0700);
    ck_assert_uint_eq(mode_of("key"), 0600);
    ck_assert_int_eq(stint_dir_open(path, &again, &absolute, &err), 0);
    ck_assert_str_eq(absolute, path);
    free(absolute);
    close(again);
}
END_TEST

START_TEST(makes_parents_and_takes_slashes)
{
    char deep[256];
    char *absolute;
    int again;

    snprintf(deep, sizeof(deep), "%s//a/b/c//", base);
    ck_assert_int_eq(stint_dir_create(deep, &again, &absolute, &err), 0);
    ck_assert_ptr_nonnull(strstr(absolute, "/a/b/c"));
    free(absolute);
    close(again);
}
END_TEST

START_TEST(refuses_what_is_open_to_others)
{
    char other[128];
    int again;

    snprintf(other, sizeof(other), "%s/open", base);
    shell("mkdir -m 755 %s", other);
    ck_assert_int_eq(stint_dir_open(other, &again, NULL, &err), -EPERM);
    /* an empty one can be closed without harm */
    ck_assert_int_eq(stint_dir_create(other, &again, NULL, &err), 0);
    close(again);
    shell("chmod 750 %s", other);
    ck_assert_int_eq(stint_dir_create(other, &again, NULL, &err), -EPERM);
    ck_assert_int_eq(stint_dir_open(other, &again, NULL, &err), -EPERM);
}
END_TEST

START_TEST(refuses_what_is_no_directory)
{
    char other[128];
    int again;

    snprintf(other, sizeof(other), "%s/file", base);
    shell("touch %s", other);
    ck_assert_int_eq(stint_dir_create(other, &again, NULL, &err), -ENOTDIR);
    snprintf(other, sizeof(other), "%s/none", base);
    ck_assert_int_eq(stint_dir_open(other, &again, NULL, &err), -ENOENT);
}
END_TEST

START_TEST(refuses_another_users)
{
    int again;

    if (geteuid() != 0)
        return;
    shell("chown 33 %s", path);
    ck_assert_int_eq(stint_dir_open(path, &again, NULL, &err), -EPERM);
    ck_assert_int_eq(stint_dir_create(path, &again, NULL, &err), -EPERM);
}
END_TEST

START_TEST(key_stays_the_same)
{
    struct stint_key a, b;

    ck_assert_int_eq(stint_dir_key(fd, &a, &err), 0);
    ck_assert_int_eq(stint_dir_create(path, NULL, NULL, &err), 0);
    ck_assert_int_eq(stint_dir_key(fd, &b, &err), 0);
    ck_assert_mem_eq(a.bytes, b.bytes, sizeof(a.bytes));
}
END_TEST

/* Many `stint launch` at once: one key. */
START_TEST(key_is_made_once)
{
    struct stint_key key, other;
    int fds[2];

    ck_assert_int_eq(unlinkat(fd, "key", 0), 0);
    ck_assert_int_eq(pipe(fds), 0);
    for (int i = 0; i < 8; i++)
        if (fork() == 0) {
            if (stint_dir_create(path, NULL, NULL, &err) < 0
                || stint_dir_key(fd, &key, &err) < 0
                || write(fds[1], key.bytes, sizeof(key.bytes)) != sizeof(key.bytes))
                _exit(1);
            _exit(0);
        }
    for (int i = 0; i < 8; i++) {
        int status;

        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
    ck_assert_int_eq(read(fds[0], key.bytes, sizeof(key.bytes)), sizeof(key.bytes));
    for (int i = 1; i < 8; i++) {
        ck_assert_int_eq(read(fds[0], other.bytes, sizeof(other.bytes)),
                         sizeof(other.bytes));
        ck_assert_mem_eq(key.bytes, other.bytes, sizeof(key.bytes));
    }
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(bad_keys_are_refused)
{
    static const char *const damage[] = {
        "chmod 640 key",
        ": > key",
        "echo abcd > key",
        "head -c 64 /dev/zero | tr '\\0' g > key",
        "head -c 66 /dev/zero | tr '\\0' a > key",
        "rm key && mkfifo -m 600 key",
        "mv key k2 && ln -s k2 key",
        "rm key",
    };
    struct stint_key key;

    shell("cd %s && %s", path, damage[_i]);
    ck_assert_int_lt(stint_dir_key(fd, &key, &err), 0);
}
END_TEST

START_TEST(lock_is_exclusive)
{
    int one, two;

    ck_assert_int_eq(stint_dir_lock(fd, &one, &err), 0);
    ck_assert_int_eq(stint_dir_lock(fd, &two, &err), STINT_DIR_E_BUSY);
    close(one);
    ck_assert_int_eq(stint_dir_lock(fd, &two, &err), 0);
    close(two);
}
END_TEST

START_TEST(names)
{
    char buf[STINT_GENERATION_NAME_MAX];

    ck_assert_str_eq(stint_generation_name(12, 0, buf), "gen-000012");
    ck_assert_str_eq(stint_generation_name(12, 1, buf), "gen-000012.tmp");
    ck_assert_str_eq(stint_generation_name(12345678, 0, buf), "gen-12345678");
}
END_TEST

START_TEST(lists_only_generations)
{
    uint64_t *numbers;
    size_t count;

    ck_assert_int_eq(stint_dir_list(fd, &numbers, &count, &err), 0);
    ck_assert_uint_eq(count, 0);
    free(numbers);
    shell("cd %s && mkdir gen-000010 gen-000009 gen-1000000 gen-0000011 gen-11 "
          "gen-000012.tmp "
          "gen-000000 gen- gen-00001x gen-000013.tmp2 gen-99999999999999999999999",
          path);
    ck_assert_int_eq(stint_dir_list(fd, &numbers, &count, &err), 0);
    ck_assert_uint_eq(count, 3);
    ck_assert_uint_eq(numbers[0], 9);
    ck_assert_uint_eq(numbers[1], 10);
    ck_assert_uint_eq(numbers[2], 1000000);
    free(numbers);
}
END_TEST

START_TEST(commits_in_order)
{
    uint64_t next;
    char target[64] = "";

    ck_assert_uint_eq(newest(), 0);
    ck_assert_int_eq(stint_dir_next(fd, &next, &err), 0);
    ck_assert_uint_eq(next, 1);
    commit_generation(1);
    ck_assert_uint_eq(newest(), 1);
    write_generation(2);
    ck_assert_uint_eq(newest(), 1);
    ck_assert_int_eq(stint_dir_next(fd, &next, &err), 0);
    ck_assert_uint_eq(next, 3);
    ck_assert_int_eq(stint_dir_commit(fd, 2, &err), 0);
    ck_assert_uint_eq(newest(), 2);
    ck_assert_int_eq(readlinkat(fd, "manifest.yaml", target, sizeof(target)), 24);
    ck_assert_str_eq(target, "gen-000002/manifest.yaml");
    ck_assert_int_eq(stint_dir_commit(fd, 3, &err), -ENOENT);
    ck_assert_uint_eq(newest(), 2);
}
END_TEST

/* Somebody made gen-000002, with something in it: nothing is committed. */
START_TEST(failed_commit_changes_nothing)
{
    commit_generation(1);
    write_generation(2);
    shell("cd %s && mkdir gen-000002 && touch gen-000002/x", path);
    ck_assert_int_eq(stint_dir_commit(fd, 2, &err), -ENOTEMPTY);
    ck_assert_uint_eq(newest(), 1);
    ck_assert(exists("gen-000002.tmp"));
}
END_TEST

START_TEST(drop_removes_everything)
{
    write_generation(1);
    shell("cd %s/gen-000001.tmp && mkdir sub && touch sub/x && ln -s /etc/passwd link",
          path);
    ck_assert_int_eq(stint_dir_drop(fd, 1, &err), 0);
    ck_assert(!exists("gen-000001.tmp"));
    ck_assert_int_eq(stint_dir_drop(fd, 1, &err), 0);
}
END_TEST

START_TEST(newest_without_link)
{
    commit_generation(1);
    commit_generation(2);
    ck_assert_int_eq(unlinkat(fd, "manifest.yaml", 0), 0);
    ck_assert_uint_eq(newest(), 2);
    shell("ln -s gen-000007/manifest.yaml %s/manifest.yaml", path);
    ck_assert_uint_eq(newest(), 2);
    shell("ln -sf /etc/passwd %s/manifest.yaml", path);
    ck_assert_uint_eq(newest(), 2);
    shell("ln -sf ../x/manifest.yaml %s/manifest.yaml", path);
    ck_assert_uint_eq(newest(), 2);
    ck_assert_int_eq(unlinkat(fd, "gen-000002/manifest.yaml", 0), 0);
    ck_assert_uint_eq(newest(), 1);
}
END_TEST

START_TEST(clean_sweeps_leftovers)
{
    unsigned removed = 0;

    commit_generation(1);
    write_generation(2);
    write_generation(3);
    shell("cd %s && touch .key.1.tmp .coordinator.7.tmp mine .mine.tmp && "
          "touch -d '2 hours ago' .key.0.tmp && ln -s x .manifest.yaml.tmp",
          path);
    ck_assert_int_eq(stint_dir_clean(fd, &removed, &err), 0);
    ck_assert_uint_eq(removed, 5);
    ck_assert(!exists("gen-000002.tmp"));
    ck_assert(!exists("gen-000003.tmp"));
    ck_assert(!exists(".key.0.tmp"));
    ck_assert(!exists(".coordinator.7.tmp"));
    ck_assert(!exists(".manifest.yaml.tmp"));
    ck_assert(exists(".key.1.tmp")); /* a key that is being made */
    ck_assert(exists("mine"));
    ck_assert(exists(".mine.tmp"));
    ck_assert_uint_eq(newest(), 1);
}
END_TEST

/* Killed between the rename and the symlink: it is complete, so it counts. */
START_TEST(clean_takes_up_what_is_complete)
{
    commit_generation(1);
    write_generation(2);
    ck_assert_int_eq(renameat(fd, "gen-000002.tmp", fd, "gen-000002"), 0);
    ck_assert_uint_eq(newest(), 1);
    ck_assert_int_eq(stint_dir_clean(fd, NULL, &err), 0);
    ck_assert_uint_eq(newest(), 2);
}
END_TEST

START_TEST(sweeping_does_not_follow_symlinks)
{
    shell("cd %s && mkdir outside && touch outside/precious && cd ckpt && "
          "mkdir -p gen-000001.tmp/sub && ln -s ../../outside gen-000001.tmp/link && "
          "ln -s ../outside gen-000002.tmp",
          base);
    ck_assert_int_eq(stint_dir_clean(fd, NULL, &err), 0);
    ck_assert(!exists("gen-000001.tmp"));
    ck_assert(!exists("gen-000002.tmp"));
    shell("test -e %s/outside/precious", base);
}
END_TEST

START_TEST(prunes_the_oldest)
{
    unsigned removed = 0;

    for (uint64_t n = 1; n <= 5; n++)
        commit_generation(n);
    ck_assert_int_eq(stint_dir_prune(fd, 2, &removed, &err), 0);
    ck_assert_uint_eq(removed, 3);
    ck_assert(!exists("gen-000003"));
    ck_assert(exists("gen-000004"));
    ck_assert(exists("gen-000005"));
    ck_assert_int_eq(stint_dir_prune(fd, 2, &removed, &err), 0);
    ck_assert_uint_eq(removed, 0);
    ck_assert_int_eq(stint_dir_prune(fd, 0, NULL, &err), -EINVAL);
    ck_assert(exists("gen-000005"));
}
END_TEST

static void commit_with_origin(uint64_t n, uint64_t origin)
{
    struct stint_manifest_file file = {
        .name = "main.grp", .kind = "group", .comm = "", .bytes = 8192, .xxh3 = 1};
    struct stint_manifest_group group = {
        .name = "main", .host = "n1", .kernel = "", .command = "x", .image = "main.grp",
        .root_pid = 1, .processes = 1, .bytes = 8192, .files = &file, .nfiles = 1};
    const struct stint_manifest manifest = {
        .groups = &group,
        .ngroups = 1,
        .generation = n,
        .gen_id = "00112233445566778899aabbccddeeff",
        .restored_from = origin,
        .stint_version = "1",
        .slurm_job = "",
        .run = 1,
    };
    int gen_fd;

    ck_assert_int_eq(stint_dir_begin(fd, n, &gen_fd, &err), 0);
    ck_assert_msg(stint_manifest_write(&manifest, gen_fd, &err) == 0, "%s", err.text);
    close(gen_fd);
    ck_assert_int_eq(stint_dir_commit(fd, n, &err), 0);
}

/* 4 and 5 were damaged: the restart took 3. They must not push 3 out. */
START_TEST(prune_drops_what_was_passed_over)
{
    for (uint64_t n = 1; n <= 3; n++)
        commit_with_origin(n, 0);
    commit_with_origin(4, 3);
    commit_with_origin(5, 4);
    shell("truncate -s 10 %s/gen-000005/manifest.yaml", path);
    commit_with_origin(6, 3);
    ck_assert_int_eq(stint_dir_prune(fd, 3, NULL, &err), 0);
    ck_assert(exists("gen-000006"));
    ck_assert(!exists("gen-000005"));
    ck_assert(exists("gen-000003"));
    commit_with_origin(7, 3);
    commit_with_origin(8, 7);
    ck_assert_int_eq(stint_dir_prune(fd, 2, NULL, &err), 0);
    ck_assert(exists("gen-000008"));
    ck_assert(exists("gen-000007"));
    ck_assert(!exists("gen-000006"));
    ck_assert(!exists("gen-000003"));
}
END_TEST

/* The user went back to 1: that way is kept. */
START_TEST(prune_follows_the_user_back)
{
    for (uint64_t n = 1; n <= 4; n++)
        commit_with_origin(n, 0);
    commit_with_origin(5, 1);
    ck_assert_int_eq(stint_dir_prune(fd, 2, NULL, &err), 0);
    ck_assert(exists("gen-000005"));
    ck_assert(exists("gen-000001"));
    ck_assert(!exists("gen-000004"));
}
END_TEST

START_TEST(prune_spares_the_committed_one)
{
    for (uint64_t n = 1; n <= 3; n++)
        commit_generation(n);
    shell("ln -sf gen-000001/manifest.yaml %s/manifest.yaml", path);
    ck_assert_int_eq(stint_dir_prune(fd, 1, NULL, &err), 0);
    ck_assert(exists("gen-000001"));
    ck_assert(!exists("gen-000002"));
}
END_TEST

START_TEST(room)
{
    uint64_t bytes = 0;

    ck_assert_int_eq(stint_dir_room(fd, &bytes, &err), 0);
    ck_assert_uint_gt(bytes, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dir");
    TCase *tcase = tcase_create("dir");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, is_private);
    tcase_add_test(tcase, makes_parents_and_takes_slashes);
    tcase_add_test(tcase, refuses_what_is_open_to_others);
    tcase_add_test(tcase, refuses_what_is_no_directory);
    tcase_add_test(tcase, refuses_another_users);
    tcase_add_test(tcase, key_stays_the_same);
    tcase_add_test(tcase, key_is_made_once);
    tcase_add_loop_test(tcase, bad_keys_are_refused, 0, 8);
    tcase_add_test(tcase, lock_is_exclusive);
    tcase_add_test(tcase, names);
    tcase_add_test(tcase, lists_only_generations);
    tcase_add_test(tcase, commits_in_order);
    tcase_add_test(tcase, failed_commit_changes_nothing);
    tcase_add_test(tcase, drop_removes_everything);
    tcase_add_test(tcase, newest_without_link);
    tcase_add_test(tcase, clean_sweeps_leftovers);
    tcase_add_test(tcase, clean_takes_up_what_is_complete);
    tcase_add_test(tcase, sweeping_does_not_follow_symlinks);
    tcase_add_test(tcase, prunes_the_oldest);
    tcase_add_test(tcase, prune_drops_what_was_passed_over);
    tcase_add_test(tcase, prune_follows_the_user_back);
    tcase_add_test(tcase, prune_spares_the_committed_one);
    tcase_add_test(tcase, room);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
