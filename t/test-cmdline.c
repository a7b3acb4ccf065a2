/* What of sbatch's command line and script is an option, and what is the job's.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "spank/cmdline.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void take(struct cmdline *c, const char *words)
{
    char *text = strdup(words);
    size_t len = strlen(text) + 1;

    for (size_t i = 0; i < len; i++)
        if (text[i] == ' ')
            text[i] = '\0';
    ck_assert_int_eq(cmdline_take(c, text, len), 0);
}

/* has: is --checkpoint-interval one of sbatch's options? script: index of the script */
static const struct {
    const char *words;
    int has, script;
} lines[] = {
    {"sbatch job.sh", 0, 1},
    {"sbatch", 0, 1},
    {"sbatch --checkpoint-interval=5 job.sh", 1, 2},
    {"sbatch --checkpoint-interval 5 job.sh", 1, 3},
    {"sbatch --checkpoint-i=5 job.sh", 1, 2},
    {"sbatch --checkpoint=5 job.sh", 0, 2},
    {"sbatch --check=5 job.sh", 0, 2},
    {"sbatch --checkpoint-interval-x=5 job.sh", 0, 2},
    {"sbatch job.sh --checkpoint-interval=5", 0, 1},
    {"sbatch -N 2 job.sh --checkpoint-interval=5", 0, 3},
    {"sbatch -N2 job.sh --checkpoint-interval=5", 0, 2},
    {"sbatch -N2 --checkpoint-interval=5 job.sh", 1, 3},
    {"sbatch -H --checkpoint-interval=5 job.sh", 1, 3},
    {"sbatch -HQ job.sh --checkpoint-interval=5", 0, 2},
    {"sbatch --hold job.sh --checkpoint-interval=5", 0, 2},
    {"sbatch --time 5 job.sh --checkpoint-interval=5", 0, 3},
    {"sbatch --job-name --checkpoint-interval=5 job.sh", 0, 3},
    {"sbatch -- --checkpoint-interval=5", 0, 2},
    {"sbatch --wrap=true --checkpoint-interval=5", 1, 3},
    {"sbatch - --checkpoint-interval=5", 0, 1},
};

START_TEST(values)
{
    char value[CMDLINE_VALUE_MAX];
    struct cmdline c;

    take(&c, "sbatch --open-mode=truncate --wrap=x --open-mode append job.sh --open-mode=x");
    ck_assert(cmdline_has(&c, "open-mode", value));
    ck_assert_str_eq(value, "append"); /* the last one counts */
    cmdline_deinit(&c);
    take(&c, "sbatch --open-mode");
    ck_assert(cmdline_has(&c, "open-mode", value));
    ck_assert_str_eq(value, "");
    cmdline_deinit(&c);
    take(&c, "sbatch --open-mode=a-very-long-value-that-nobody-would-give job.sh");
    ck_assert(cmdline_has(&c, "open-mode", value));
    ck_assert_uint_eq(strlen(value), CMDLINE_VALUE_MAX - 1);
    cmdline_deinit(&c);
}
END_TEST

START_TEST(options)
{
    struct cmdline c;

    take(&c, lines[_i].words);
    ck_assert_msg(cmdline_has(&c, "checkpoint-interval", NULL) == lines[_i].has, "%s",
                  lines[_i].words);
    ck_assert_msg(c.script == lines[_i].script, "%s: script %d", lines[_i].words, c.script);
    cmdline_deinit(&c);
}
END_TEST

static const struct {
    const char *script;
    int has; /* --no-requeue */
} scripts[] = {
    {"#!/bin/bash\n#SBATCH --no-requeue\n", 1},
    {"#!/bin/bash\n#SBATCH -N 2 --no-requeue -n 3\n", 1},
    {"#!/bin/bash\n\n# a comment\n#SBATCH\t--no-requeue\n", 1},
    {"#!/bin/bash\n#SBATCH -N 2 # not --no-requeue\n", 0},
    {"#!/bin/bash\n##SBATCH --no-requeue\n", 0},
    {"#!/bin/bash\necho\n#SBATCH --no-requeue\n", 0},
    {"#!/bin/bash\n#SBATCH --requeue\n", 0},
    {"", 0},
};

START_TEST(script_lines)
{
    char path[] = "/tmp/stint-test.XXXXXX", words[64];
    int fd = mkstemp(path);
    size_t len = strlen(scripts[_i].script);
    struct cmdline c;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, scripts[_i].script, len), (ssize_t)len);
    close(fd);
    snprintf(words, sizeof(words), "sbatch -Q %s", path);
    take(&c, words);
    ck_assert_msg(cmdline_script_has(&c, "no-requeue", NULL) == scripts[_i].has, "%s",
                  scripts[_i].script);
    cmdline_deinit(&c);
    unlink(path);
}
END_TEST

START_TEST(script_values)
{
    char path[] = "/tmp/stint-test.XXXXXX", words[64], value[CMDLINE_VALUE_MAX];
    static const char text[] = "#!/bin/sh\n#SBATCH --open-mode=append\n"
                               "#SBATCH -n 1 --open-mode  truncate --hold\n";
    int fd = mkstemp(path);
    struct cmdline c;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    snprintf(words, sizeof(words), "sbatch %s", path);
    take(&c, words);
    ck_assert(cmdline_script_has(&c, "open-mode", value));
    ck_assert_str_eq(value, "truncate");
    ck_assert(cmdline_script_has(&c, "hold", value));
    ck_assert_str_eq(value, "");
    cmdline_deinit(&c);
    unlink(path);
}
END_TEST

START_TEST(no_script)
{
    static const char *const words[] = {"sbatch", "sbatch -Q", "sbatch /nowhere/at-all",
                                        "sbatch /tmp", "sbatch /dev/null"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct cmdline c;

        take(&c, words[i]);
        ck_assert(!cmdline_script_has(&c, "no-requeue", NULL));
        cmdline_deinit(&c);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cmdline");
    TCase *tcase = tcase_create("cmdline");
    SRunner *runner;

    tcase_add_loop_test(tcase, options, 0, sizeof(lines) / sizeof(lines[0]));
    tcase_add_loop_test(tcase, script_lines, 0, sizeof(scripts) / sizeof(scripts[0]));
    tcase_add_test(tcase, values);
    tcase_add_test(tcase, script_values);
    tcase_add_test(tcase, no_script);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
