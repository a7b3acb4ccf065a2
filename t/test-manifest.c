/* Manifests: what is written can be read, and what is hostile is refused.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/manifest.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/dir.h"
#include "t/unit.h"

static char base[64];
static struct stint_err err;
static int fd;

static void setup(void)
{
    char path[128];

    snprintf(base, sizeof(base), "/tmp/stint-test-manifest.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
    snprintf(path, sizeof(path), "%s/ckpt", base);
    ck_assert_int_eq(stint_dir_create(path, &fd, NULL, &err), 0);
}

static void teardown(void)
{
    close(fd);
    shell("rm -rf %s", base);
}

static struct stint_manifest sample(void)
{
    static struct stint_manifest_file files[] = {
        {.name = "main.grp", .kind = "group", .comm = "", .bytes = 8192, .xxh3 = 1},
        {.name = "main-101-bash.img",
         .kind = "process",
         .comm = "ba\"sh: #'\\\n",
         .pid = 101,
         .bytes = 123456789012,
         .xxh3 = 0xfedcba9876543210},
    };
    static struct stint_manifest_file other_files[] = {
        {.name = "step0.grp", .kind = "group", .comm = "", .bytes = 8192, .xxh3 = 0},
    };
    static struct stint_manifest_group groups[] = {
        {.name = "main",
         .host = "node1",
         .kernel = "6.18.1",
         .command = "bash -c 'echo \"a: b\" # \xff\xfe'",
         .image = "main.grp",
         .root_pid = 101,
         .processes = 1,
         .bytes = 123456797204,
         .stall_ms = 210,
         .files = files,
         .nfiles = 2},
        {.name = "step0",
         .host = "node2",
         .kernel = "",
         .command = "",
         .image = "step0.grp",
         .processes = 0,
         .files = other_files,
         .nfiles = 1},
    };
    return (struct stint_manifest){
        .generation = 12,
        .gen_id = "00112233445566778899aabbccddeeff",
        .parent = 0,
        .restored_from = 9,
        .stint_version = "0.1.0",
        .slurm_job = "4711",
        .run = 3,
        .started = 1796000000,
        .committed = 1796000002,
        .duration_ms = 2100,
        .stall_ms = 210,
        .bytes = 123456805396,
        .processes = 1,
        .held = 1,
        .groups = groups,
        .ngroups = 2,
    };
}

static void commit_sample(uint64_t generation)
{
    struct stint_manifest m = sample();
    int gen_fd;

    m.generation = generation;
    ck_assert_int_eq(stint_dir_begin(fd, generation, &gen_fd, &err), 0);
    ck_assert_msg(stint_manifest_write(&m, gen_fd, &err) == 0, "%s", err.text);
    close(gen_fd);
    ck_assert_int_eq(stint_dir_commit(fd, generation, &err), 0);
}

START_TEST(round_trip)
{
    struct stint_manifest m;
    const struct stint_manifest_group *g;

    commit_sample(12);
    ck_assert_int_eq(stint_manifest_read(fd, 0, &m, &err), 0);
    ck_assert_uint_eq(m.generation, 12);
    ck_assert_str_eq(m.gen_id, "00112233445566778899aabbccddeeff");
    ck_assert_uint_eq(m.restored_from, 9);
    ck_assert_str_eq(m.stint_version, "0.1.0");
    ck_assert_str_eq(m.slurm_job, "4711");
    ck_assert_uint_eq(m.run, 3);
    ck_assert_int_eq(m.committed, 1796000002);
    ck_assert_uint_eq(m.bytes, 123456805396);
    ck_assert_int_eq(m.held, 1);
    ck_assert_uint_eq(m.ngroups, 2);
    g = stint_manifest_group(&m, "main");
    ck_assert_ptr_nonnull(g);
    ck_assert_str_eq(g->host, "node1");
    ck_assert_str_eq(g->kernel, "6.18.1");
    ck_assert_str_eq(g->command, "bash -c 'echo \"a: b\" # ?\?'");
    ck_assert_uint_eq(g->nfiles, 2);
    ck_assert_str_eq(g->files[1].comm, "ba\"sh: #'\\\n");
    ck_assert_int_eq(g->files[1].pid, 101);
    ck_assert_uint_eq(g->files[1].bytes, 123456789012);
    ck_assert_uint_eq(g->files[1].xxh3, 0xfedcba9876543210);
    ck_assert_ptr_null(stint_manifest_group(&m, "step1"));
    stint_manifest_deinit(&m);
}
END_TEST

START_TEST(is_private_and_new)
{
    struct stint_manifest m = sample();
    int gen_fd;

    ck_assert_int_eq(stint_dir_begin(fd, 12, &gen_fd, &err), 0);
    ck_assert_int_eq(stint_manifest_write(&m, gen_fd, &err), 0);
    shell("test $(stat -c %%a %s/ckpt/gen-000012.tmp/manifest.yaml) = 600", base);
    ck_assert_int_eq(stint_manifest_write(&m, gen_fd, &err), -EEXIST);
    shell("test -s %s/ckpt/gen-000012.tmp/manifest.yaml", base);
    close(gen_fd);
}
END_TEST

START_TEST(missing_ones)
{
    struct stint_manifest m;

    ck_assert_int_eq(stint_manifest_read(fd, 0, &m, &err), -ENOENT);
    ck_assert_int_eq(stint_manifest_read(fd, 5, &m, &err), -ENOENT);
    commit_sample(5);
    ck_assert_int_eq(stint_manifest_read(fd, 5, &m, &err), 0);
    stint_manifest_deinit(&m);
    ck_assert_int_eq(stint_manifest_read(fd, 4, &m, &err), -ENOENT);
}
END_TEST

START_TEST(number_is_that_of_the_directory)
{
    struct stint_manifest m;

    commit_sample(5);
    shell("cd %s/ckpt && cp -r gen-000005 gen-000006", base);
    ck_assert_int_eq(stint_manifest_read(fd, 6, &m, &err), -EBADMSG);
}
END_TEST

/* --- hostile texts: the sample with one thing changed ------------------------------
 */

static char *sample_text(size_t *len)
{
    char path[160], *text = calloc(1, 65536);
    FILE *file;

    commit_sample(12);
    snprintf(path, sizeof(path), "%s/ckpt/manifest.yaml", base);
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    *len = fread(text, 1, 65535, file);
    fclose(file);
    return text;
}

static const struct {
    const char *old, *new;
} changes[] = {
    {"name: \"main-101-bash.img\"", "name: \"../../../etc/passwd\""},
    {"name: \"main-101-bash.img\"", "name: \"/etc/passwd\""},
    {"name: \"main-101-bash.img\"", "name: \"..\""},
    {"name: \"main-101-bash.img\"", "name: \".hidden\""},
    {"name: \"main-101-bash.img\"", "name: \"\""},
    {"name: \"main-101-bash.img\"", "name: \"a\\0b\""},
    {"name: \"main-101-bash.img\"", "name: \"a b\""},
    {"name: \"main-101-bash.img\"", "name: [a]"},
    {"name: \"main-101-bash.img\"", "nome: \"main-101-bash.img\""},
    {"name: \"main-101-bash.img\"", "name: \"main.grp\""}, /* twice */
    {"name: \"step0.grp\"", "name: \"main.grp\""},         /* twice, in two groups */
    {"name: \"step0\"", "name: \"main\""},                 /* two groups of one name */
    {"image: \"main.grp\"", "image: \"other.grp\""},       /* none of its files */
    {"image: \"main.grp\"", "image: \"main-101-bash.img\""}, /* of another kind */
    {"kind: \"process\"", "kind: \"device\""},
    {"pid: 101", "pid: -1"},
    {"pid: 101", "pid: 99999999999999999999"},
    {"bytes: 123456789012", "bytes: many"},
    {"bytes: 123456789012", "bytes: 1e9"},
    {"xxh3: \"fedcba9876543210\"", "xxh3: \"fedcba987654321\""},
    {"xxh3: \"fedcba9876543210\"", "xxh3: \"fedcba987654321g\""},
    {"generation: 12", "generation: 13"},
    {"generation: 12", "generation: \"\""},
    {"generation: 12", "generation: [12]"},
    {"gen_id: \"00", "gen_id: \"0"},
    {"gen_id: \"00", "gen_id: \"0G"},
    {"stint: 1", "stint: 2"},
    {"stint: 1", "stint: 1\nstint: 1"}, /* a key twice */
    {"held: true", "held: maybe"},
    {"held: true", "held: &a true"},     /* anchors */
    {"held: true", "held: !!bool true"}, /* tags */
    {"held: true", "held: *a"},          /* aliases */
    {"groups:", "groups: []\nmore:"},
    {"groups:", "groups: {}\nmore:"},
    {"groups:", "graups:"},
    {"run: 3", "run: 99999999999"},
    {"stall_ms: 210", "stall_ms: -210"},
    {"restored_from: 9", "restored_from: nine"},
    {"slurm_job: \"4711\"", "slurm_job: {a: b}"},
    {"held: true", "held: true\n---\nheld: true"}, /* two documents */
    {"held: true", "held: true\x01"},
    {"held: true", "held: true\n\tx: y"},
    {"held: true", "held: [[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]"},
};

START_TEST(hostile_texts)
{
    struct stint_manifest m;
    char *text, *at, *changed;
    size_t len;

    text = sample_text(&len);
    at = strstr(text, changes[_i].old);
    ck_assert_msg(at != NULL, "the sample has no %s", changes[_i].old);
    ck_assert_int_ge(asprintf(&changed, "%.*s%s%s", (int)(at - text), text,
                              changes[_i].new, at + strlen(changes[_i].old)),
                     0);
    ck_assert_msg(stint_manifest_parse(changed, strlen(changed), 12, &m, &err)
                      == -EBADMSG,
                  "accepted: %s", changes[_i].new);
    ck_assert_ptr_null(strchr(err.text, '\n'));
    free(changed);
    free(text);
}
END_TEST

/* Cut anywhere: refused, whatever the place. */
START_TEST(truncated_texts)
{
    struct stint_manifest m;
    size_t len;
    char *text = sample_text(&len);

    for (size_t cut = 0; cut < len - 1; cut++) {
        char *copy =
            malloc(cut + 1); /* exact, so that a sanitizer sees what is read beyond */

        memcpy(copy, text, cut);
        copy[cut] = '\0';
        if (stint_manifest_parse(copy, cut, 12, &m, &err) == 0)
            ck_abort_msg("accepted when cut at %zu of %zu", cut, len);
        free(copy);
    }
    free(text);
}
END_TEST

/* Any byte changed: either refused, or read without harm. */
START_TEST(flipped_bytes)
{
    struct stint_manifest m;
    size_t len;
    char *text = sample_text(&len);

    for (size_t i = 0; i < len; i++) {
        char saved = text[i];

        for (int bit = 0; bit < 8; bit++) {
            text[i] = (char)(saved ^ (1 << bit));
            if (stint_manifest_parse(text, len, 12, &m, &err) == 0)
                stint_manifest_deinit(&m);
        }
        text[i] = saved;
    }
    free(text);
}
END_TEST

START_TEST(no_manifest_at_all)
{
    static const char *const texts[] = {
        "", "\n", "null", "[]", "a", "\xff\xfe", "%YAML 9.9\n", "- stint: 1", "{", "'"};
    struct stint_manifest m;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        ck_assert_int_eq(stint_manifest_parse(texts[i], strlen(texts[i]), 0, &m, &err),
                         -EBADMSG);
}
END_TEST

/* A manifest that is a symlink, a FIFO, a directory is none. */
START_TEST(odd_files)
{
    static const char *const odd[] = {"ln -s /etc/passwd", "mkfifo", "mkdir"};
    struct stint_manifest m;

    commit_sample(12);
    shell("cd %s/ckpt/gen-000012 && rm manifest.yaml && %s manifest.yaml", base,
          odd[_i]);
    ck_assert_int_lt(stint_manifest_read(fd, 12, &m, &err), 0);
}
END_TEST

START_TEST(what_cannot_be_read_is_not_written)
{
    struct stint_manifest m = sample();
    struct stint_manifest_group group = m.groups[0];
    int gen_fd;

    group.name = "../x";
    m.groups = &group;
    m.ngroups = 1;
    ck_assert_int_eq(stint_dir_begin(fd, 12, &gen_fd, &err), 0);
    ck_assert_int_eq(stint_manifest_write(&m, gen_fd, &err), -EBADMSG);
    ck_assert_int_lt(faccessat(gen_fd, STINT_MANIFEST_NAME, F_OK, 0), 0);
    close(gen_fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("manifest");
    TCase *tcase = tcase_create("manifest");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, round_trip);
    tcase_add_test(tcase, is_private_and_new);
    tcase_add_test(tcase, missing_ones);
    tcase_add_test(tcase, number_is_that_of_the_directory);
    tcase_add_loop_test(tcase, hostile_texts, 0,
                        (int)(sizeof(changes) / sizeof(changes[0])));
    tcase_add_test(tcase, truncated_texts);
    tcase_add_test(tcase, flipped_bytes);
    tcase_add_test(tcase, no_manifest_at_all);
    tcase_add_loop_test(tcase, odd_files, 0, 3);
    tcase_add_test(tcase, what_cannot_be_read_is_not_written);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
