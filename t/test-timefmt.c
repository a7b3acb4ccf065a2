/* Durations and sizes as people write and read them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/timefmt.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    uint32_t seconds;
} good[] = {
    {"0", 0},
    {"90", 90},
    {"90s", 90},
    {"30m", 1800},
    {"2h", 7200},
    {"1d", 86400},
    {"007", 7},
    {"0:05", 5},
    {"5:00", 300},
    {"90:30", 5430},
    {"1:02:03", 3723},
    {"48:00:00", 172800},
    {"1-0", 86400},
    {"1-12", 129600},
    {"2-03:30", 185400},
    {"2-03:30:15", 185415},
    {"0-00:00:01", 1},
    {"3650d", 315360000},
    {"315360000", 315360000},
};

START_TEST(parses)
{
    struct stint_err err;
    uint32_t seconds = 12345;

    ck_assert_int_eq(stint_duration_parse(good[_i].text, &seconds, &err), 0);
    ck_assert_uint_eq(seconds, good[_i].seconds);
}
END_TEST

static const struct {
    const char *text;
    int error;
} bad[] = {
    {"", -EINVAL},         {" ", -EINVAL},         {" 5", -EINVAL},
    {"5 ", -EINVAL},       {"-5", -EINVAL},        {"+5", -EINVAL},
    {"1.5", -EINVAL},      {"5x", -EINVAL},        {"5ms", -EINVAL},
    {"s", -EINVAL},        {"5S", -EINVAL},        {"1:60", -EINVAL},
    {"1:60:00", -EINVAL},  {"1:00:60", -EINVAL},   {"1:2:3:4", -EINVAL},
    {":30", -EINVAL},      {"30:", -EINVAL},       {"1::2", -EINVAL},
    {"1-", -EINVAL},       {"-1", -EINVAL},        {"1-24", -EINVAL},
    {"1-2-3", -EINVAL},    {"1:2-3", -EINVAL},     {"1-2:60", -EINVAL},
    {"1-2:3:60", -EINVAL}, {"1-2:3:4:5", -EINVAL}, {"1-2h", -EINVAL},
    {"1:30m", -EINVAL},    {"infinite", -EINVAL},  {"0x10", -EINVAL},
    {"3651d", -ERANGE},    {"315360001", -ERANGE}, {"99999999999999999999", -ERANGE},
    {"5256001m", -ERANGE}, {"3651-0", -ERANGE},
};

START_TEST(refuses)
{
    struct stint_err err;
    uint32_t seconds = 12345;

    ck_assert_int_eq(stint_duration_parse(bad[_i].text, &seconds, &err), bad[_i].error);
    ck_assert_uint_eq(seconds, 12345);
    ck_assert_ptr_null(strchr(err.text, '\n'));
    ck_assert_ptr_nonnull(strstr(err.text, bad[_i].text));
}
END_TEST

START_TEST(refuses_without_err)
{
    uint32_t seconds;

    ck_assert_int_eq(stint_duration_parse("never", &seconds, NULL), -EINVAL);
}
END_TEST

static const struct {
    double seconds;
    const char *text;
} shown[] = {
    {0, "0.0 s"},        {2.14, "2.1 s"},       {-1, "0.0 s"},       {45.4, "45 s"},
    {725, "12 min 5 s"}, {12000, "3 h 20 min"}, {187200, "2 d 4 h"},
};

START_TEST(shows_durations)
{
    char buf[STINT_DURATION_TEXT_MAX];

    ck_assert_str_eq(stint_duration_format(shown[_i].seconds, buf), shown[_i].text);
}
END_TEST

static const struct {
    uint64_t bytes;
    const char *text;
} sizes[] = {
    {0, "0 B"},           {1023, "1023 B"},         {1536, "1.5 KiB"},
    {4404019, "4.2 MiB"}, {1395864371, "1.30 GiB"}, {UINT64_MAX, "17179869184.00 GiB"},
};

START_TEST(shows_sizes)
{
    char buf[STINT_SIZE_TEXT_MAX];

    ck_assert_str_eq(stint_size_format(sizes[_i].bytes, buf), sizes[_i].text);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof(table[0])))

int main(void)
{
    Suite *suite = suite_create("timefmt");
    TCase *tcase = tcase_create("timefmt");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tcase, parses, 0, COUNT(good));
    tcase_add_loop_test(tcase, refuses, 0, COUNT(bad));
    tcase_add_test(tcase, refuses_without_err);
    tcase_add_loop_test(tcase, shows_durations, 0, COUNT(shown));
    tcase_add_loop_test(tcase, shows_sizes, 0, COUNT(sizes));
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
