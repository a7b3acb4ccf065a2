/* Which pages of a mapping hold something that must be stored.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RUNTIME_PAGES_H
#define STINT_RUNTIME_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/state.h"

struct page_scan {
    int fd;      /* /proc/self/pagemap */
    bool scan;   /* PAGEMAP_SCAN works (Linux 6.7) */
    void *buf;   /* scratch */
    size_t size; /* of it */
};

typedef void (*pages_run_f)(uint64_t start, uint64_t end, void *arg);

/* Call run for every stretch of pages in [start, end) that is in memory or swapped
 * out; with skip_file only those that are the process's own copy, not the file's.
 * Returns 0 or -errno. */
int pages_walk(struct page_scan *scan,
               uint64_t start,
               uint64_t end,
               bool skip_file,
               pages_run_f run,
               void *arg) STINT_HIDDEN;

/* Likewise for a shared mapping: stretches that are in memory, in this process or not.
 * Reading a hole of shared memory would fill it. Only right while nothing is swapped
 * out: see pages_nothing_swapped(). */
int pages_walk_shared(uint8_t *buf,
                      size_t size,
                      uint64_t start,
                      uint64_t end,
                      pages_run_f run,
                      void *arg) STINT_HIDDEN;

/* True when the machine has no swap space in use. text: scratch. */
bool pages_nothing_swapped(char *text, size_t size) STINT_HIDDEN;

/* len: multiple of 4096. Length of the leading stretch of pages that are all zero
 * (*zero set) or all not. */
uint64_t pages_zero_run(const void *start, uint64_t len, bool *zero) STINT_HIDDEN;

#endif
