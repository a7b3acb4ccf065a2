/* Take the image of this process: mappings and memory.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "common/raw.h"
#include "common/refusals.h"
#include "runtime/maps.h"
#include "runtime/pages.h"
#include "runtime/text.h"
#include "runtime/writer.h"

/* A mapping, or a part of one, whose contents are looked at. */
struct region {
    uint64_t start, end;
    uint64_t addr; /* what start is called in the image */
    bool readable;
    bool whole;     /* every page counts, in memory or not */
    bool skip_file; /* only pages that differ from the file's */
    uint64_t huge_page; /* their size, where only trying tells which are there */
    bool prot_read;     /* they may be read where they are */
};

static int fail(struct capture *capture, int error, const char *what, const char *name)
{
    size_t used = 0;

    stint_text_append(capture->reason, sizeof(capture->reason), &used, what);
    if (name) {
        stint_text_append(capture->reason, sizeof(capture->reason), &used, " ");
        stint_text_append(capture->reason, sizeof(capture->reason), &used, name);
    }
    return error;
}

/* --- scratch memory ---------------------------------------------------- */

/* Under mlockall(2) all of it would have to be there at once, and to be within the limit of
 * locked memory: but not what one page becomes that is not locked any more. */
static long reserve(size_t len)
{
    bool locked = attributes_lock_future() != 0;
    long at = raw_syscall(SYS_mmap, NULL, locked ? STINT_PAGE_SIZE : len,
                          PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    long grown;

    if (!locked || raw_is_error(at))
        return at;
    grown = raw_syscall(SYS_munlock, at, STINT_PAGE_SIZE);
    if (grown == 0)
        grown = raw_syscall(SYS_mremap, at, STINT_PAGE_SIZE, len, MREMAP_MAYMOVE);
    if (raw_is_error(grown))
        (void)raw_syscall(SYS_munmap, at, STINT_PAGE_SIZE); /* just mapped */
    return grown;
}

int capture_init(struct capture *capture, const struct session *session)
{
    static const size_t meta_sizes[] = {512u << 20, 64u << 20, 8u << 20};
    size_t fixed = WRITER_STAGING_BYTES + CAPTURE_PAGES_BYTES + CAPTURE_TEXT_BYTES
                   + 2 * MAPS_PATH_MAX + CAPTURE_REGIONS_MAX * sizeof(struct region)
                   + CAPTURE_SEGMENTS_MAX * sizeof(struct stint_ckpt_segment);
    uint8_t *at = NULL;
    long ret = -ENOMEM;

    memset(capture, 0, sizeof(*capture));
    capture->session = session;
    fixed = (fixed + 4095) & ~(size_t)4095;
    for (size_t i = 0; i < sizeof(meta_sizes) / sizeof(meta_sizes[0]); i++) {
        capture->meta_max = meta_sizes[i];
        ret = reserve(fixed + capture->meta_max);
        if (!raw_is_error(ret))
            break;
    }
    if (raw_is_error(ret))
        return (int)ret;
    at = (uint8_t *)ret;
    capture->exclusions[0] = session->stack;
    capture->exclusions[1] = (struct exclusion){(uint64_t)at,
                                                (uint64_t)at + fixed + capture->meta_max};
    capture->nexclusions = 2;
    capture->staging = at;
    at += WRITER_STAGING_BYTES;
    capture->pages = at;
    at += CAPTURE_PAGES_BYTES;
    capture->text = (char *)at;
    at += CAPTURE_TEXT_BYTES;
    capture->entry = (struct map_entry *)at;
    at += 2 * MAPS_PATH_MAX;
    capture->regions = (struct region *)at;
    at += CAPTURE_REGIONS_MAX * sizeof(struct region);
    capture->segments = (struct stint_ckpt_segment *)at;
    capture->meta = (uint8_t *)(capture->exclusions[1].end - capture->meta_max);
    return 0;
}

void capture_deinit(struct capture *capture)
{
    struct exclusion *scratch = &capture->exclusions[1];

    if (scratch->end)
        (void)raw_syscall(SYS_munmap, scratch->start, scratch->end - scratch->start);
}

/* --- mappings ---------------------------------------------------------- */

struct mapping_walk {
    struct capture *capture;
    struct writer *writer;
};

static bool stat_path(const char *path, struct stat *st)
{
    return raw_syscall(SYS_newfstatat, AT_FDCWD, path, st, 0) == 0;
}

static const struct stint_ckpt_segment *find_segment(const struct capture *capture,
                                                     const struct map_entry *entry)
{
    for (uint32_t i = 0; i < capture->nsegments; i++)
        if (capture->segments[i].dev == entry->dev
            && capture->segments[i].ino == entry->ino)
            return &capture->segments[i];
    return NULL;
}

static int refuse_mapping(struct capture *capture,
                          const struct map_entry *entry,
                          const char *what)
{
    char name[CAPTURE_REASON_MAX];
    size_t used = 0;

    stint_text_append_number(name, sizeof(name), &used, entry->start, 16);
    stint_text_append(name, sizeof(name), &used, entry->path[0] ? " (" : "");
    stint_text_append(name, sizeof(name), &used, entry->path);
    stint_text_append(name, sizeof(name), &used, entry->path[0] ? ")" : "");
    return fail(capture, -EOPNOTSUPP, what, name);
}

#define ANON_HUGE "/anon_hugepage (deleted)"

/* Pages that are not there yet cannot be told from those that another process has touched;
 * where they are reserved it does no harm to touch them. */
static int check_huge(struct capture *capture, const struct map_entry *entry)
{
    const struct stint_ckpt_segment *segment = find_segment(capture, entry);

    if (entry->shared && !(segment && segment->huge))
        return refuse_mapping(capture, entry, STINT_REFUSAL_HUGE_FILE);
    if (entry->advice & STINT_ADV_NORESERVE
        && (entry->shared || strcmp(entry->path, ANON_HUGE) != 0))
        return refuse_mapping(capture, entry, STINT_REFUSAL_HUGE_LOOSE);
    return 0;
}

static uint32_t advice_of(const struct map_entry *entry)
{
    uint32_t advice = entry->advice & 0xffffu;

    if (entry->advice & MAPS_HUGETLB)
        advice |= STINT_ADV_HUGETLB
                  | (uint32_t)__builtin_ctzll(entry->page_kb << 10) << STINT_ADV_HUGE_SHIFT;
    return advice;
}

static int classify_shared(struct capture *capture,
                           const struct map_entry *entry,
                           struct stint_vma *vma,
                           struct region *region)
{
    const struct stint_ckpt_segment *segment = find_segment(capture, entry);
    struct stat st;

    region->end = region->start; /* contents live elsewhere */
    if (strncmp(entry->path, "/[aio]", 6) == 0)
        return refuse_mapping(capture, entry, STINT_REFUSAL_AIO);
    if (segment) {
        vma->kind = STINT_VMA_SEGMENT;
        vma->segment_id = segment->id;
        vma->file_writable = entry->maywrite;
        return 0;
    }
    if (strncmp(entry->path, "anon_inode:", 11) == 0 || !stat_path(entry->path, &st)
        || !S_ISREG(st.st_mode))
        return refuse_mapping(capture, entry, "cannot save the shared mapping at");
    vma->kind = STINT_VMA_SHARED;
    vma->file_size = (uint64_t)st.st_size;
    vma->file_mtime_ns = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
    vma->file_writable = entry->maywrite;
    vma->path_len = (uint32_t)strlen(entry->path) + 1;
    return 0;
}

static int classify_private(struct capture *capture,
                            const struct map_entry *entry,
                            struct stint_vma *vma,
                            struct region *region)
{
    struct stat st;

    if (strcmp(entry->path, ANON_HUGE) == 0 && entry->advice & MAPS_HUGETLB) {
        vma->kind = STINT_VMA_ANON;
        vma->offset = 0;
        return 0;
    }
    if (entry->ino == 0 || entry->path[0] != '/') {
        vma->kind = entry->advice & STINT_ADV_GROWSDOWN ? STINT_VMA_STACK : STINT_VMA_ANON;
        return 0;
    }
    if (!stint_maps_is_image(entry) && stat_path(entry->path, &st) && S_ISREG(st.st_mode)) {
        vma->kind = STINT_VMA_FILE;
        vma->file_size = (uint64_t)st.st_size;
        vma->file_mtime_ns = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
        vma->path_len = (uint32_t)strlen(entry->path) + 1;
        region->skip_file = true;
        return 0;
    }
    /* No file to map again (unlinked, a memfd, an image of ours, /dev/zero): all of it
     * is the program's own from now on. */
    vma->kind = STINT_VMA_ANON;
    vma->offset = 0;
    region->whole = true;
    region->huge_page = entry->advice & MAPS_HUGETLB ? entry->page_kb << 10 : 0;
    region->readable = false; /* pages beyond the end of the file cannot be read */
    return 0;
}

static int add_mapping(struct mapping_walk *walk,
                       const struct map_entry *entry,
                       uint64_t start,
                       uint64_t end)
{
    struct capture *capture = walk->capture;
    struct stint_vma vma = {
        .start = start, .end = end, .prot = entry->prot,
        .advice = advice_of(entry),
        .offset = entry->ino ? entry->offset + (start - entry->start) : 0,
        .dev = entry->dev, .ino = entry->ino};
    struct region region = {.start = start, .end = end, .addr = start,
                            .readable = entry->prot & PROT_READ,
                            .prot_read = entry->prot & PROT_READ};
    int ret = 0;

    if (strcmp(entry->path, "[vsyscall]") == 0)
        return 0; /* the kernel's, at a fixed address, in every process */
    if (strcmp(entry->path, "[vdso]") == 0 || strncmp(entry->path, "[vvar", 5) == 0) {
        vma.kind = entry->path[2] == 'd' ? STINT_VMA_VDSO : STINT_VMA_VVAR;
        region.end = region.start;
    } else if (entry->advice & (MAPS_USERFAULTFD | MAPS_IO)) {
        return refuse_mapping(capture, entry,
                              entry->advice & MAPS_USERFAULTFD ? STINT_REFUSAL_USERFAULTFD
                                                               : STINT_REFUSAL_DEVICE);
    } else if (entry->pkey && entry->prot != PROT_EXEC) { /* there the kernel uses one */
        return refuse_mapping(capture, entry, STINT_REFUSAL_KEY);
    } else if (entry->advice & MAPS_HUGETLB && (ret = check_huge(capture, entry)) < 0) {
        return ret;
    } else if (entry->shared) {
        ret = classify_shared(capture, entry, &vma, &region);
    } else {
        ret = classify_private(capture, entry, &vma, &region);
    }
    if (ret < 0)
        return ret;
    if (capture->nregions == CAPTURE_REGIONS_MAX)
        return fail(capture, -E2BIG, "more mappings than can be saved", NULL);
    if (region.end > region.start && (region.whole || entry->resident_kb))
        capture->regions[capture->nregions++] = region;
    capture->mapped_len += end - start;
    writer_record(walk->writer, STINT_REC_VMA, &vma, sizeof(vma), entry->path,
                  vma.path_len);
    return 0;
}

/* The kernel may have merged memory of ours with the program's: cut it out. */
static int visit_mapping(const struct map_entry *entry, void *arg)
{
    struct mapping_walk *walk = arg;
    uint64_t at = entry->start;

    while (at < entry->end) {
        uint64_t end = entry->end, next = entry->end;
        int ret;

        for (uint32_t i = 0; i < walk->capture->nexclusions; i++) {
            const struct exclusion *ours = &walk->capture->exclusions[i];

            if (ours->start <= at && at < ours->end) {
                at = ours->end < entry->end ? ours->end : entry->end;
                end = next = entry->end;
                i = (uint32_t)-1; /* look again from the new place */
                if (at == entry->end)
                    return 0;
            } else if (at < ours->start && ours->start < end) {
                end = ours->start;
                next = ours->end < entry->end ? ours->end : entry->end;
            }
        }
        ret = add_mapping(walk, entry, at, end);
        if (ret < 0)
            return ret;
        at = next;
    }
    return 0;
}

static void write_vdso(struct capture *capture, struct writer *writer)
{
    struct stint_vdso vdso = {0};
    const struct stint_record *record;

    for (size_t at = 0; at < writer->meta_len;) {
        const struct stint_vma *vma;

        record = (const void *)(writer->meta + at);
        vma = (const void *)(record + 1);
        at += sizeof(*record) + ((record->len + 7) & ~7ull);
        if (record->type != STINT_REC_VMA)
            continue;
        if (vma->kind == STINT_VMA_VVAR) {
            if (!vdso.vvar_start)
                vdso.vvar_start = vma->start;
            vdso.vvar_len = vma->end - vdso.vvar_start;
        } else if (vma->kind == STINT_VMA_VDSO) {
            vdso.vdso_start = vma->start;
            vdso.vdso_len = vma->end - vma->start;
        }
    }
    if (vdso.vdso_len)
        writer_record(writer, STINT_REC_VDSO, &vdso, sizeof(vdso),
                      (const void *)vdso.vdso_start, vdso.vdso_len);
}

/* --- memory ------------------------------------------------------------ */

struct store {
    struct writer *writer;
    const struct region *region;
};

static void store_run(uint64_t start, uint64_t end, void *arg)
{
    const struct store *store = arg;
    const struct region *region = store->region;
    uint64_t state = (uint64_t)stint_runtime.state;

    /* The runtime's own state is not the program's: it comes back as zeroes. */
    if (start <= state && state < end) {
        if (start < state)
            store_run(start, state, arg);
        if (state + STINT_PAGE_SIZE < end)
            store_run(state + STINT_PAGE_SIZE, end, arg);
        return;
    }
    while (start < end) {
        uint64_t len = end - start;
        bool zero = false;

        /* A page of zeroes that covers something of the file must be stored. */
        if (region->readable && !region->skip_file)
            len = pages_zero_run((const void *)start, len, &zero);
        if (!zero)
            writer_memory(store->writer, start, len, region->addr + (start - region->start),
                          region->readable);
        start += len;
    }
}

/* Of huge pages those that can be had: a page that is there always can. Read by way of the
 * kernel, which says so where there is none, in place of SIGBUS. */
static void store_huge(struct writer *writer, const struct region *whole)
{
    struct region region = *whole;
    struct store store = {.writer = writer, .region = &region};
    uint64_t run = region.start;
    char byte;

    region.readable = region.prot_read;
    for (uint64_t at = region.start; at < region.end; at += region.huge_page) {
        if (raw_syscall(SYS_pread64, writer->mem_fd, &byte, 1, at) == 1)
            continue;
        if (run < at)
            store_run(run, at, &store);
        run = at + region.huge_page;
    }
    if (run < region.end)
        store_run(run, region.end, &store);
}

static int store_regions(struct capture *capture, struct writer *writer)
{
    struct page_scan scan = {.scan = !stint_runtime.no_pagemap_scan,
                             .buf = capture->pages, .size = CAPTURE_PAGES_BYTES};
    struct store store = {.writer = writer};
    int ret = 0;

    scan.fd = stint_text_open("/proc/thread-self/pagemap");
    if (scan.fd < 0)
        return fail(capture, scan.fd, "cannot open /proc/self/pagemap", NULL);
    for (size_t i = 0; ret == 0 && i < capture->nregions; i++) {
        store.region = &capture->regions[i];
        if (store.region->huge_page)
            store_huge(writer, store.region);
        else if (store.region->whole)
            store_run(store.region->start, store.region->end, &store);
        else
            ret = pages_walk(&scan, store.region->start, store.region->end,
                             store.region->skip_file, store_run, &store);
    }
    stint_text_close(scan.fd);
    return ret < 0 ? fail(capture, ret, "cannot read /proc/self/pagemap", NULL) : 0;
}

static int finish(struct capture *capture,
                  struct writer *writer,
                  uint32_t kind,
                  const struct stint_ckpt_capture *order,
                  struct stint_ckpt_captured *captured)
{
    struct stint_image_header header = {.kind = kind, .generation = order->generation};
    int ret;

    memcpy(header.gen_id, order->gen_id, sizeof(header.gen_id));
    ret = writer_finish(writer, &header);
    if (ret < 0)
        return fail(capture, ret,
                    ret == -E2BIG    ? "memory is in too many pieces"
                    : ret == -EFBIG ? "the limit of file sizes (ulimit -f) is too low"
                                    : "cannot write the image",
                    NULL);
    captured->file_len = header.file_len;
    captured->data_len = header.data_len;
    captured->mapped_len = capture->mapped_len;
    return 0;
}

int capture_process(struct capture *capture,
                    int fd,
                    const struct stint_ckpt_capture *order,
                    struct stint_ckpt_captured *captured)
{
    struct writer writer;
    struct mapping_walk walk = {.capture = capture, .writer = &writer};
    int mem_fd = stint_text_open("/proc/thread-self/mem");
    int ret;

    writer_init(&writer, fd, mem_fd, capture->staging, capture->meta, capture->meta_max);
    writer.limit = capture->fsize.max;
    capture->nregions = 0;
    capture->mapped_len = 0;
    attributes_write(capture, &writer);
    ret = attributes_are_out_of_reach(capture)
              ? fail(capture, -EAGAIN, "its main thread has ended, and signals are pending", NULL)
              : 0;
    if (ret == 0)
        ret = stint_maps_walk("/proc/thread-self/smaps", capture->text, CAPTURE_TEXT_BYTES,
                              capture->entry, visit_mapping, &walk);
    if (ret < 0 && !capture->reason[0])
        fail(capture, ret, "cannot read /proc/self/smaps", NULL);
    if (ret == 0) {
        write_vdso(capture, &writer);
        writer_begin_extents(&writer);
        ret = store_regions(capture, &writer);
    }
    if (ret == 0)
        ret = finish(capture, &writer, STINT_IMAGE_PROCESS, order, captured);
    if (mem_fd >= 0)
        stint_text_close(mem_fd);
    return ret;
}

/* --- shared segments ---------------------------------------------------- */

struct segment_walk {
    struct capture *capture;
    const struct stint_ckpt_segment *segment;
    uint64_t covered; /* of the segment, by mappings seen so far */
};

/* Mappings come by address, extents have to ascend by offset: the pieces are
 * gathered first and sorted. */
static int visit_segment(const struct map_entry *entry, void *arg)
{
    struct segment_walk *walk = arg;
    struct capture *capture = walk->capture;
    size_t i = capture->nregions;

    if (!entry->shared || entry->dev != walk->segment->dev
        || entry->ino != walk->segment->ino)
        return 0;
    if (capture->nregions == CAPTURE_REGIONS_MAX)
        return fail(capture, -E2BIG, "more mappings than can be saved", NULL);
    for (; i > 0 && capture->regions[i - 1].addr > entry->offset; i--)
        capture->regions[i] = capture->regions[i - 1];
    capture->regions[i] = (struct region){.start = entry->start, .end = entry->end,
                                          .addr = entry->offset,
                                          .readable = entry->prot & PROT_READ,
                                          .whole = true,
                                          .prot_read = entry->prot & PROT_READ};
    if (entry->advice & MAPS_HUGETLB)
        capture->regions[i].huge_page = entry->page_kb << 10;
    capture->nregions++;
    return 0;
}

int capture_segment(struct capture *capture,
                    int fd,
                    const struct stint_ckpt_segment *segment,
                    const struct stint_ckpt_capture *order)
{
    struct segment_walk walk = {.capture = capture, .segment = segment};
    struct stint_segment record = {.id = segment->id, .kind = segment->kind,
                                   .size = segment->size, .dev = segment->dev,
                                   .ino = segment->ino};
    struct stint_ckpt_captured captured;
    struct writer writer;
    struct store store = {.writer = &writer};
    bool resident_only = pages_nothing_swapped(capture->text, CAPTURE_TEXT_BYTES);
    int mem_fd = stint_text_open("/proc/thread-self/mem");
    uint64_t stored_to = 0;
    int ret;

    writer_init(&writer, fd, mem_fd, capture->staging, capture->meta, capture->meta_max);
    writer.limit = capture->fsize.max;
    capture->nregions = 0;
    writer_record(&writer, STINT_REC_SHARED, &record, sizeof(record), NULL, 0);
    ret = stint_maps_walk("/proc/thread-self/smaps", capture->text, CAPTURE_TEXT_BYTES, capture->entry, visit_segment,
                          &walk);
    writer_begin_extents(&writer);
    for (size_t i = 0; ret == 0 && i < capture->nregions; i++) {
        struct region region = capture->regions[i];
        uint64_t len = region.end - region.start, end = segment->size;

        /* Beyond the end of the segment there is nothing to read; what another
         * mapping covered already is not stored twice. */
        if (end > region.addr && end - region.addr < len)
            len = (end - region.addr + STINT_PAGE_SIZE - 1) & ~(STINT_PAGE_SIZE - 1ull);
        else if (end <= region.addr)
            continue;
        if (stored_to > region.addr) {
            uint64_t skip = stored_to - region.addr;

            if (skip >= len)
                continue;
            region.start += skip;
            region.addr += skip;
            len -= skip;
        }
        region.end = region.start + len;
        store.region = &region;
        if (region.huge_page)
            store_huge(&writer, &region);
        else if (!resident_only
                 || pages_walk_shared(capture->pages, CAPTURE_PAGES_BYTES, region.start,
                                      region.end, store_run, &store)
                        < 0)
            store_run(region.start, region.end, &store);
        stored_to = region.addr + len;
    }
    if (ret == 0)
        ret = finish(capture, &writer, STINT_IMAGE_SHARED, order, &captured);
    if (mem_fd >= 0)
        stint_text_close(mem_fd);
    return ret;
}
