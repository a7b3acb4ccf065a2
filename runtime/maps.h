/* Walk the mappings of this process.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RUNTIME_MAPS_H
#define STINT_RUNTIME_MAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/state.h"

#define MAPS_PATH_MAX 4096

/* VmFlags that only concern us, beyond STINT_ADV_* */
#define MAPS_HUGETLB     0x10000u /* ht */
#define MAPS_USERFAULTFD 0x20000u /* um, uw, ui */
#define MAPS_IO          0x40000u /* io, pf: device memory */

struct map_entry {
    uint64_t start, end, offset, dev, ino;
    uint64_t resident_kb; /* Rss + Swap + huge pages */
    uint64_t page_kb;     /* size of its pages */
    uint64_t pkey;        /* protection key, pkeys(7) */
    uint32_t prot;
    uint32_t advice; /* STINT_ADV_* | MAPS_* */
    bool shared;
    bool maywrite;           /* mw: PROT_WRITE may be set */
    char path[MAPS_PATH_MAX]; /* as the kernel prints it, newlines unescaped; "" = none */
};

typedef int (*maps_visit_f)(const struct map_entry *entry, void *arg);

/* Call visit for every mapping, ascending; a non-zero return ends the walk.
 * path: "/proc/self/smaps", or "/proc/self/maps" (cheaper: no resident_kb, advice,
 * maywrite). buf: scratch of `size` bytes, at least 16 KiB.
 * Returns 0, what visit returned, or -errno. */
int stint_maps_walk(const char *path,
                    char *buf,
                    size_t size,
                    struct map_entry *entry,
                    maps_visit_f visit,
                    void *arg) STINT_HIDDEN;

/* True when the mapping is of an image of ours (a lazy restart made it): anonymous
 * memory as far as the program knows. */
bool stint_maps_is_image(const struct map_entry *entry) STINT_HIDDEN;

#endif
