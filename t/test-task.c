/* What one run of a Slurm job leaves to the next: its directory's place, its record.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/task_record.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/jobdir.h"

static char top[PATH_MAX];
static int top_fd;

static void setup(void)
{
    strcpy(top, "/tmp/stint-test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(top));
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(top_fd, 0);
}

static void teardown(void)
{
    char command[PATH_MAX + 16];

    close(top_fd);
    snprintf(command, sizeof(command), "rm -rf %s", top);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(ids)
{
    static const char *const good[] = {"1", "123", "4294967293", "12.0",
                                       "12.345", "12_3", "12+0"};
    static const char *const bad[] = {"",     "a",    "12a",   "-1",  "12.",
                                      "12.a", "1.2.3", "12_", "1_2_3", "../1", " 12", "12345678901"};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        ck_assert_msg(stint_jobdir_is_id(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!stint_jobdir_is_id(bad[i]), "%s", bad[i]);
}
END_TEST

START_TEST(default_place)
{
    char path[PATH_MAX];
    char *found;

    ck_assert_int_eq(mkdirat(top_fd, STINT_JOBDIR_DEFAULT, 0700), 0);
    ck_assert_int_eq(mkdirat(top_fd, STINT_JOBDIR_DEFAULT "/12", 0700), 0);
    snprintf(path, sizeof(path), "%.200s/" STINT_JOBDIR_DEFAULT "/12", top);
    found = stint_jobdir_default(top, "12");
    ck_assert_str_eq(found, path);
    free(found);
    ck_assert_ptr_null(stint_jobdir_default(top, "13"));
    ck_assert_ptr_null(stint_jobdir_default(top, "../12"));
}
END_TEST

START_TEST(round_trip)
{
    struct task_record record;
    struct stint_err err;
    char *map;

    ck_assert_int_eq(task_record_read(top_fd, &record, &err), 0);
    ck_assert_ptr_null(task_record_path_map(&record, "/d/script"));
    task_record_add_script(&record, "/spool/n1/slurm_script");
    task_record_add_script(&record, "/d/script");
    task_record_add_script(&record, "/spool/n1/slurm_script");
    task_record_set_node(&record, 1, "n1");
    task_record_outputs(&record);
    ck_assert_int_eq(task_record_write(top_fd, &record, &err), 0);
    task_record_deinit(&record);

    ck_assert_int_eq(task_record_read(top_fd, &record, &err), 0);
    map = task_record_path_map(&record, "/d/script");
    ck_assert_str_eq(map, "/spool/n1/slurm_script=/d/script\n");
    free(map);
    ck_assert_str_eq(task_record_node(&record, 1), "n1");
    ck_assert_ptr_null(task_record_node(&record, 2));
    task_record_deinit(&record);
}
END_TEST

START_TEST(merged)
{
    struct task_record ours, theirs;
    struct stint_err err;
    char *map;

    ck_assert_int_eq(task_record_read(top_fd, &ours, &err), 0);
    ck_assert_int_eq(task_record_read(top_fd, &theirs, &err), 0);
    task_record_add_script(&theirs, "/a");
    task_record_merge_scripts(&ours, &theirs);
    map = task_record_path_map(&ours, "/b");
    ck_assert_str_eq(map, "/a=/b\n");
    free(map);
    task_record_deinit(&ours);
    task_record_deinit(&theirs);
}
END_TEST

START_TEST(damaged)
{
    static const char *const texts[] = {"", "{", "[]", "{\"scripts\": 1}", "\xff\xfe"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int fd = openat(top_fd, "task.json", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        struct task_record record;
        struct stint_err err;

        ck_assert_int_eq(write(fd, texts[i], strlen(texts[i])), (ssize_t)strlen(texts[i]));
        close(fd);
        ck_assert_int_eq(task_record_read(top_fd, &record, &err), -EBADMSG);
    }
}
END_TEST

START_TEST(outputs_are_cut_back)
{
    int saved = dup(STDERR_FILENO);
    int fd = openat(top_fd, "out", O_RDWR | O_CREAT | O_APPEND, 0600);
    struct task_record record;
    struct stint_err err;
    struct stat st;

    ck_assert_int_eq(write(fd, "before", 6), 6);
    ck_assert_int_eq(task_record_read(top_fd, &record, &err), 0);
    dup2(fd, STDERR_FILENO);
    task_record_outputs(&record);
    ck_assert_int_eq(write(fd, "first run", 9), 9);
    task_record_cut_outputs(&record);
    dup2(saved, STDERR_FILENO);
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_eq(st.st_size, 6);
    task_record_deinit(&record);
    close(saved);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("task");
    TCase *tcase = tcase_create("task");
    SRunner *runner;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, ids);
    tcase_add_test(tcase, default_place);
    tcase_add_test(tcase, round_trip);
    tcase_add_test(tcase, merged);
    tcase_add_test(tcase, damaged);
    tcase_add_test(tcase, outputs_are_cut_back);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
