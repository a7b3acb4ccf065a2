/* Memory that a lazy restart mapped from its image behaves as anonymous memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * MADV_DONTNEED on a private file mapping brings the file's contents back, where the
 * program expects zeroes, and MADV_FREE fails: both are done by mapping anonymous
 * memory over that part. madvise(2).
 */
#include <errno.h>
#include <sys/mman.h>

#include "common/raw.h"
#include "runtime/interpose.h"
#include "runtime/maps.h"

#define SCRATCH_BYTES (64u << 10)

struct discard {
    uint64_t start, end;
    bool found; /* any mapping of an image, anywhere */
};

static int discard_part(const struct map_entry *entry, void *arg)
{
    struct discard *discard = arg;
    uint64_t start = entry->start > discard->start ? entry->start : discard->start;
    uint64_t end = entry->end < discard->end ? entry->end : discard->end;
    long ret;

    if (!stint_maps_is_image(entry))
        return 0;
    discard->found = true;
    if (start >= end)
        return 0;
    ret = raw_syscall(SYS_mmap, start, end - start, entry->prot,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    return raw_is_error(ret) ? (int)ret : 0;
}

/* Called from inside allocators: no libc. Returns 0 or -errno. */
static int discard_image_pages(struct discard *discard)
{
    long scratch = raw_syscall(SYS_mmap, NULL, SCRATCH_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *buf = (char *)scratch;
    int ret;

    if (raw_is_error(scratch))
        return (int)scratch;
    ret = stint_maps_walk("/proc/thread-self/maps", buf, SCRATCH_BYTES - sizeof(struct map_entry),
                          (void *)(buf + SCRATCH_BYTES - sizeof(struct map_entry)),
                          discard_part, discard);
    (void)raw_syscall(SYS_munmap, scratch, SCRATCH_BYTES); /* just mapped */
    return ret;
}

STINT_EXPORT int madvise(void *start, size_t len, int advice)
{
    struct discard discard = {.start = (uint64_t)start, .end = (uint64_t)start + len};
    long ret;

    if (__builtin_expect(stint_runtime.maybe_lazy, 0)
        && (advice == MADV_DONTNEED || advice == MADV_FREE)) {
        ret = discard_image_pages(&discard);
        if (ret < 0) {
            errno = (int)-ret;
            return -1;
        }
        if (!discard.found)
            stint_runtime.maybe_lazy = false; /* read in full, or all of it replaced */
    }
    ret = raw_syscall(SYS_madvise, start, len, advice);
    if (ret < 0) {
        errno = (int)-ret;
        return -1;
    }
    return 0;
}
