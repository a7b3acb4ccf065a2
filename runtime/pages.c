/* Which pages of a mapping hold something that must be stored.
 * SPDX-License-Identifier: Apache-2.0
 *
 * PAGEMAP_SCAN skips holes of any size at once; before Linux 6.7 the entries of
 * /proc/self/pagemap are read, eight bytes a page.
 * See Documentation/admin-guide/mm/pagemap.rst.
 */
#include "runtime/pages.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "common/raw.h"
#include "runtime/text.h"

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_FILE    (1ull << 61)

struct pagemap_region {
    uint64_t start, end, categories;
};

struct pagemap_scan_arg {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, struct pagemap_scan_arg)
#define CATEGORY_FILE      (1ull << 2)
#define CATEGORY_PRESENT   (1ull << 3)
#define CATEGORY_SWAPPED   (1ull << 4)
#define CATEGORY_PFNZERO   (1ull << 5)

static int walk_scan(struct page_scan *scan,
                     uint64_t start,
                     uint64_t end,
                     bool skip_file,
                     pages_run_f run,
                     void *arg)
{
    struct pagemap_region *regions = scan->buf;
    uint64_t never = CATEGORY_PFNZERO | (skip_file ? CATEGORY_FILE : 0);
    struct pagemap_scan_arg ask = {
        .size = sizeof(ask),
        .end = end,
        .vec = (uint64_t)regions,
        .vec_len = scan->size / sizeof(*regions),
        .category_inverted = never,
        .category_mask = never,
        .category_anyof_mask = CATEGORY_PRESENT | CATEGORY_SWAPPED,
        .return_mask = CATEGORY_PRESENT,
    };

    /* walk_end cannot be trusted: a walk that fills the kernel's own buffer on the way
     * and then comes to the end leaves the place of the former there (do_pagemap_scan
     * in fs/proc/task_mmu.c). A vector that is not full says that this was all. */
    for (ask.start = start; ask.start < end;) {
        long n = raw_syscall(SYS_ioctl, scan->fd, PAGEMAP_SCAN_IOCTL, &ask);

        if (n < 0)
            return (int)n;
        for (long i = 0; i < n; i++)
            run(regions[i].start, regions[i].end, arg);
        if ((uint64_t)n < ask.vec_len)
            break;
        ask.start = regions[n - 1].end;
        ask.walk_end = 0;
    }
    return 0;
}

static bool wanted(uint64_t entry, bool skip_file)
{
    if (!(entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)))
        return false;
    return !(skip_file && (entry & PAGEMAP_FILE));
}

static int walk_entries(struct page_scan *scan,
                        uint64_t start,
                        uint64_t end,
                        bool skip_file,
                        pages_run_f run,
                        void *arg)
{
    uint64_t *entries = scan->buf, at = start, run_start = 0;

    while (at < end) {
        uint64_t count = (end - at) / STINT_PAGE_SIZE, max = scan->size / sizeof(*entries);
        long n = raw_syscall(SYS_pread64, scan->fd, entries,
                             (count < max ? count : max) * sizeof(*entries),
                             at / STINT_PAGE_SIZE * sizeof(*entries));

        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        for (long i = 0; i < n / 8; i++, at += STINT_PAGE_SIZE) {
            bool want = wanted(entries[i], skip_file);

            if (want && !run_start)
                run_start = at;
            if (!want && run_start) {
                run(run_start, at, arg);
                run_start = 0;
            }
        }
    }
    if (run_start)
        run(run_start, end, arg);
    return 0;
}

int pages_walk(struct page_scan *scan,
               uint64_t start,
               uint64_t end,
               bool skip_file,
               pages_run_f run,
               void *arg)
{
    if (scan->scan) {
        int ret = walk_scan(scan, start, end, skip_file, run, arg);

        if (ret != -ENOTTY && ret != -EINVAL)
            return ret;
        scan->scan = false; /* not on this kernel; nothing has been reported yet */
    }
    return walk_entries(scan, start, end, skip_file, run, arg);
}

int pages_walk_shared(uint8_t *buf,
                      size_t size,
                      uint64_t start,
                      uint64_t end,
                      pages_run_f run,
                      void *arg)
{
    uint64_t run_start = 0;

    for (uint64_t at = start; at < end;) {
        uint64_t count = (end - at) / STINT_PAGE_SIZE;
        long ret;

        if (count > size)
            count = size;
        ret = raw_syscall(SYS_mincore, at, count * STINT_PAGE_SIZE, buf);
        if (ret < 0)
            return (int)ret;
        for (uint64_t i = 0; i < count; i++, at += STINT_PAGE_SIZE) {
            if ((buf[i] & 1) && !run_start)
                run_start = at;
            if (!(buf[i] & 1) && run_start) {
                run(run_start, at, arg);
                run_start = 0;
            }
        }
    }
    if (run_start)
        run(run_start, end, arg);
    return 0;
}

bool pages_nothing_swapped(char *text, size_t size)
{
    const char *total, *unused;

    if (stint_text_read("/proc/meminfo", text, size) <= 0)
        return false;
    total = stint_text_field(text, "SwapTotal");
    unused = stint_text_field(text, "SwapFree");
    return total && unused && stint_text_decimal(&total) == stint_text_decimal(&unused);
}

static bool is_zero_page(const void *page)
{
    const uint64_t *p = page;

    for (size_t i = 0; i < STINT_PAGE_SIZE / sizeof(*p); i += 8)
        if (p[i] | p[i + 1] | p[i + 2] | p[i + 3] | p[i + 4] | p[i + 5] | p[i + 6]
            | p[i + 7])
            return false;
    return true;
}

uint64_t pages_zero_run(const void *start, uint64_t len, bool *zero)
{
    const uint8_t *p = start;
    uint64_t at = STINT_PAGE_SIZE;

    *zero = is_zero_page(p);
    while (at < len && is_zero_page(p + at) == *zero)
        at += STINT_PAGE_SIZE;
    return at;
}
