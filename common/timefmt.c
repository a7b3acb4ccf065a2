/* Durations as people write them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/timefmt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FIELDS_MAX 4

/* A text cut into its numbers: "1-02:30" is 1, 2, 30 with days and one colon. */
struct fields {
    uint64_t value[FIELDS_MAX];
    unsigned count;
    int days;  /* the first one stands before '-' */
    char unit; /* letter at the end, or 0 */
};

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int cut_fields(const char *text, struct fields *f)
{
    const char *p = text;

    memset(f, 0, sizeof(*f));
    for (;;) {
        uint64_t value = 0;

        if (!is_digit(*p) || f->count == FIELDS_MAX)
            return -EINVAL;
        for (; is_digit(*p); p++) {
            value = value * 10 + (uint64_t)(*p - '0');
            if (value > STINT_DURATION_MAX)
                return -ERANGE;
        }
        f->value[f->count++] = value;
        if (*p == '-' && f->count == 1)
            f->days = 1;
        else if (*p != ':')
            break;
        p++;
    }
    if (*p) {
        f->unit = *p++;
        if (*p || f->count != 1)
            return -EINVAL;
    }
    return 0;
}

static int unit_seconds(char unit, uint64_t *factor)
{
    switch (unit) {
    case 0:
    case 's':
        *factor = 1;
        return 0;
    case 'm':
        *factor = 60;
        return 0;
    case 'h':
        *factor = 3600;
        return 0;
    case 'd':
        *factor = 86400;
        return 0;
    default:
        return -EINVAL;
    }
}

static int sum_fields(const struct fields *f, uint64_t *sum)
{
    /* Slurm's forms: days go with hours first, otherwise minutes:seconds are last. */
    static const uint64_t with_days[] = {86400, 3600, 60, 1};
    static const uint64_t without[] = {3600, 60, 1};
    const uint64_t *weight;
    uint64_t factor;
    int ret;

    if (f->count == 1) {
        if (f->days)
            return -EINVAL;
        ret = unit_seconds(f->unit, &factor);
        if (ret < 0)
            return ret;
        *sum = f->value[0] * factor;
        return 0;
    }
    if (!f->days && f->count > 3)
        return -EINVAL;
    weight = f->days ? with_days : without + (3 - f->count);
    *sum = 0;
    for (unsigned i = 0; i < f->count; i++) {
        uint64_t limit = f->days && i == 1 ? 23 : 59;

        if (i > 0 && f->value[i] > limit)
            return -EINVAL;
        *sum += f->value[i] * weight[i];
    }
    return 0;
}

int stint_duration_parse(const char *text, uint32_t *seconds, struct stint_err *err)
{
    struct fields fields;
    uint64_t sum = 0;
    int ret;

    ret = cut_fields(text, &fields);
    if (ret == 0)
        ret = sum_fields(&fields, &sum);
    if (ret == 0 && sum > STINT_DURATION_MAX)
        ret = -ERANGE;
    if (ret == -ERANGE)
        return stint_err_set(err, ret,
                             "'%.64s' is too long a time (at most ten years).", text);
    if (ret < 0)
        return stint_err_set(
            err, ret,
            "'%.64s' is no duration: write seconds, or 90s, 30m, 2h, 1d, "
            "mm:ss, hh:mm:ss, d-hh, d-hh:mm or d-hh:mm:ss.",
            text);
    *seconds = (uint32_t)sum;
    return 0;
}

const char *stint_duration_format(double seconds, char buf[STINT_DURATION_TEXT_MAX])
{
    uint64_t s = seconds < 0 ? 0 : (uint64_t)(seconds + 0.5);

    if (seconds < 10)
        snprintf(buf, STINT_DURATION_TEXT_MAX, "%.1f s", seconds < 0 ? 0.0 : seconds);
    else if (s < 60)
        snprintf(buf, STINT_DURATION_TEXT_MAX, "%u s", (unsigned)s);
    else if (s < 3600)
        snprintf(buf, STINT_DURATION_TEXT_MAX, "%u min %u s", (unsigned)(s / 60),
                 (unsigned)(s % 60));
    else if (s < 86400)
        snprintf(buf, STINT_DURATION_TEXT_MAX, "%u h %u min", (unsigned)(s / 3600),
                 (unsigned)(s / 60 % 60));
    else
        snprintf(buf, STINT_DURATION_TEXT_MAX, "%u d %u h", (unsigned)(s / 86400),
                 (unsigned)(s / 3600 % 24));
    return buf;
}

const char *stint_size_format(uint64_t bytes, char buf[STINT_SIZE_TEXT_MAX])
{
    if (bytes < 1024)
        snprintf(buf, STINT_SIZE_TEXT_MAX, "%u B", (unsigned)bytes);
    else if (bytes < 1024 * 1024)
        snprintf(buf, STINT_SIZE_TEXT_MAX, "%.1f KiB", (double)bytes / 1024);
    else if (bytes < 1024ull * 1024 * 1024)
        snprintf(buf, STINT_SIZE_TEXT_MAX, "%.1f MiB", (double)bytes / (1024 * 1024));
    else
        snprintf(buf, STINT_SIZE_TEXT_MAX, "%.2f GiB",
                 (double)bytes / (1024.0 * 1024 * 1024));
    return buf;
}
