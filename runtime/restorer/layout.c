/* Ranges of addresses, and what is free between them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/restorer/layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define LOWEST  0x10000ull        /* vm.mmap_min_addr is never higher */
#define HIGHEST 0x7ffffffff000ull /* end of user space */

int stint_layout_add(struct stint_layout *layout, uint64_t start, uint64_t end,
                     const char *name)
{
    if (layout->count == layout->max) {
        size_t max = layout->max ? layout->max * 2 : 256;
        struct stint_range *grown = realloc(layout->ranges, max * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        layout->ranges = grown;
        layout->max = max;
    }
    layout->ranges[layout->count] = (struct stint_range){.start = start, .end = end};
    if (name[0] == '[')
        (void)snprintf(layout->ranges[layout->count].name,
                       sizeof(layout->ranges[0].name), "%s", name); /* cut: not compared */
    layout->count++;
    return 0;
}

void stint_layout_deinit(struct stint_layout *layout)
{
    free(layout->ranges);
    *layout = (struct stint_layout){0};
}

int stint_layout_read_self(struct stint_layout *layout, struct stint_err *err)
{
    STINT_AUTO_FCLOSE FILE *file = fopen("/proc/self/maps", "re");
    STINT_AUTO_FREE char *line = NULL;
    size_t size = 0;

    if (!file)
        return stint_err_set(err, -errno, "open /proc/self/maps");
    while (getline(&line, &size, file) > 0) {
        uint64_t start, end;
        char name[32] = "";

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %*s %31s", &start, &end, name) <
            2)
            return stint_err_set(err, -EINVAL, "read /proc/self/maps");
        if (stint_layout_add(layout, start, end, name) < 0)
            return stint_err_set(err, -ENOMEM, "read /proc/self/maps");
    }
    return 0;
}

static int by_start(const void *a, const void *b)
{
    const struct stint_range *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

uint64_t stint_layout_find_free(const struct stint_layout *layout, uint64_t len)
{
    STINT_AUTO_FREE struct stint_range *sorted =
        malloc((layout->count + 1) * sizeof(*sorted));
    uint64_t at = LOWEST, best = 0, best_len = 0;

    if (!sorted)
        return 0;
    if (layout->count)
        memcpy(sorted, layout->ranges, layout->count * sizeof(*sorted));
    qsort(sorted, layout->count, sizeof(*sorted), by_start);
    sorted[layout->count] = (struct stint_range){.start = HIGHEST, .end = HIGHEST};
    for (size_t i = 0; i <= layout->count; i++) {
        uint64_t start = sorted[i].start < HIGHEST ? sorted[i].start : HIGHEST;

        if (start > at && start - at > best_len) {
            best = at;
            best_len = start - at;
        }
        if (sorted[i].end > at)
            at = sorted[i].end;
    }
    if (best_len < len)
        return 0;
    return (best + (best_len - len) / 2) & ~UINT64_C(4095);
}
