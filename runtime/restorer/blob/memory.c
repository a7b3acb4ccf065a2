/* Replace the restorer's memory by the program's.
 * SPDX-License-Identifier: Apache-2.0
 */
#define STINT_BLOB
#include "runtime/restorer/blob/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/shm.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define TASK_END      0x7ffffffff000ull /* first address that is not the user's */
#define LAZY_MIN_LEN  65536u            /* smaller pieces are read: mappings are scarce */
#define BATCH_MAX     256u              /* extents that are read in one go */
#define OPEN_WHOLE    (64ull << 20)     /* see open_for_loading() */

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

static void put_hex(char *to, uint64_t value)
{
    for (int i = 0; i < 12; i++)
        to[i] = "0123456789abcdef"[value >> (44 - 4 * i) & 15];
    to[12] = '\0';
}

static void fail_at(struct blob_args *args, long error, const char *what, uint64_t addr)
    __attribute__((noreturn));

static void fail_at(struct blob_args *args, long error, const char *what, uint64_t addr)
{
    char hex[16];

    put_hex(hex, addr);
    blob_fail(args, error, what, hex);
}

static void move(struct blob_args *args, uint64_t from, uint64_t len, uint64_t to)
{
    long ret = raw_syscall(SYS_mremap, from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to);

    if (ret != (long)to)
        fail_at(args, ret, "move the vdso to", to);
}

static void clear_everything(struct blob_args *args)
{
    uint64_t hole_end = args->hole_start + args->hole_len;
    long ret;

    for (uint32_t i = 0; i < args->npieces; i++)
        move(args, args->pieces[i].from, args->pieces[i].len, args->pieces[i].parked);
    ret = raw_syscall(SYS_munmap, 0, args->hole_start);
    if (ret == 0)
        ret = raw_syscall(SYS_munmap, hole_end, TASK_END - hole_end);
    if (ret != 0)
        blob_fail(args, ret, "unmap the restorer", NULL);
}

/* --- mappings ---------------------------------------------------------------- */

/* A library has several mappings in a row: its file is opened once. */
struct opened {
    uint32_t path_offset;
    int flags;
    int fd;
};

static int open_file(struct blob_args *args, struct opened *opened, const struct blob_vma *v)
{
    const char *path = BLOB_AT(args, v->path_offset, const char);
    bool shared = v->vma.kind == STINT_VMA_SHARED;
    int flags = shared && v->vma.file_writable ? O_RDWR : O_RDONLY;
    long fd;

    if (opened->fd >= 0 && opened->path_offset == v->path_offset && opened->flags == flags)
        return opened->fd;
    if (opened->fd >= 0)
        (void)raw_syscall(SYS_close, opened->fd); /* only read from */
    fd = raw_syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
    if (fd < 0)
        blob_fail(args, fd, "open", path);
    *opened = (struct opened){v->path_offset, flags, (int)fd};
    return opened->fd;
}

static int mapping_flags(const struct stint_vma *vma)
{
    int flags = MAP_FIXED_NOREPLACE;

    switch ((enum stint_vma_kind)vma->kind) {
    case STINT_VMA_ANON:
        flags |= MAP_PRIVATE | MAP_ANONYMOUS;
        break;
    case STINT_VMA_STACK:
        flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN;
        break;
    case STINT_VMA_FILE:
        flags |= MAP_PRIVATE;
        break;
    case STINT_VMA_SEGMENT:
    case STINT_VMA_SHARED:
        flags |= MAP_SHARED;
        break;
    case STINT_VMA_VDSO:
    case STINT_VMA_VVAR:
        break; /* moved, not mapped */
    }
    if (vma->advice & STINT_ADV_NORESERVE)
        flags |= MAP_NORESERVE;
    if (vma->advice & STINT_ADV_HUGETLB && vma->kind == STINT_VMA_ANON)
        flags |= MAP_HUGETLB | (int)(vma->advice & ~0u << STINT_ADV_HUGE_SHIFT);
    return flags;
}

/* --- huge pages -------------------------------------------------------------------- */

static uint64_t page_size(const struct stint_vma *vma)
{
    return vma->advice & STINT_ADV_HUGETLB ? 1ull << (vma->advice >> STINT_ADV_HUGE_SHIFT)
                                           : STINT_PAGE_SIZE;
}

/* Have every page that something is written to: later there would be SIGBUS where none is
 * left. */
static bool populate(struct blob_args *args, const struct stint_vma *vma)
{
    const struct stint_extent *e = BLOB_AT(args, args->extents_offset, struct stint_extent);
    uint64_t page = page_size(vma);

    for (uint32_t i = 0; i < args->nextents; i++) {
        uint64_t from = e[i].addr > vma->start ? e[i].addr : vma->start;
        uint64_t to = e[i].addr + e[i].len < vma->end ? e[i].addr + e[i].len : vma->end;
        long ret;

        if (from >= to)
            continue;
        from &= ~(page - 1);
        to = (to + page - 1) & ~(page - 1);
        ret = raw_syscall(SYS_madvise, from, to - from, MADV_POPULATE_WRITE);
        if (ret != 0 && ret != -EINVAL) /* Linux before 5.14 does not know it */
            return false;
    }
    return true;
}

/* Private memory is as good in ordinary pages, only slower. */
static long map_huge(struct blob_args *args, struct blob_vma *v)
{
    struct stint_vma *vma = &v->vma;
    uint64_t len = vma->end - vma->start;
    long ret = raw_syscall(SYS_mmap, vma->start, len, v->load_prot, mapping_flags(vma), -1, 0);

    if (ret == (long)vma->start && populate(args, vma))
        return ret;
    if (ret == (long)vma->start)
        (void)raw_syscall(SYS_munmap, vma->start, len); /* just mapped */
    vma->advice = (vma->advice & 0xffffu & ~STINT_ADV_HUGETLB) | STINT_ADV_HUGEPAGE;
    ret = raw_syscall(SYS_mmap, vma->start, len, v->load_prot, mapping_flags(vma), -1, 0);
    if (!args->huge_told)
        blob_note(args, "there are too few huge pages (sysctl vm.nr_hugepages): private memory "
                        "of the program is in ordinary ones now",
                  NULL);
    args->huge_told = 1;
    return ret;
}

/* System V shared memory is attached as a whole, wherever there is room, and what was
 * mapped of it is moved to its place. */
static void attach(struct blob_args *args, struct blob_vma *v)
{
    const struct stint_vma *vma = &v->vma;
    uint64_t len = vma->end - vma->start, size;
    struct shmid_ds state;
    int flags = vma->file_writable ? 0 : SHM_RDONLY;
    long at, ret = raw_syscall(SYS_shmctl, v->shmid, IPC_STAT, &state);

    if (ret != 0)
        fail_at(args, ret, "find the shared memory at", vma->start);
    size = (state.shm_segsz + page_size(vma) - 1) & ~(page_size(vma) - 1);
    flags |= vma->prot & PROT_EXEC ? SHM_EXEC : 0;
    /* before Linux 5.16 huge pages cannot be moved */
    if (vma->advice & STINT_ADV_HUGETLB && vma->offset == 0 && len == size) {
        ret = raw_syscall(SYS_shmat, v->shmid, vma->start, flags);
        if (ret != (long)vma->start)
            fail_at(args, ret, "attach the shared memory at", vma->start);
        ret = raw_syscall(SYS_mprotect, vma->start, len, vma->prot);
        if (ret != 0)
            fail_at(args, ret, "protect memory at", vma->start);
        return;
    }
    /* its place is kept, or the two could overlap, which mremap does not take */
    ret = raw_syscall(SYS_mmap, vma->start, len, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (ret != (long)vma->start)
        fail_at(args, raw_is_error(ret) ? ret : -EEXIST, "map memory at", vma->start);
    at = raw_syscall(SYS_shmat, v->shmid, 0, flags);
    if (raw_is_error(at))
        fail_at(args, at, "attach the shared memory at", vma->start);
    if (vma->offset + len > size)
        fail_at(args, -EBADMSG, "attach the shared memory at", vma->start);
    ret = raw_syscall(SYS_mremap, at + vma->offset, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
                      vma->start);
    if (ret != (long)vma->start)
        fail_at(args, ret, "move the shared memory to", vma->start);
    if (vma->offset)
        (void)raw_syscall(SYS_munmap, at, vma->offset); /* just attached */
    if (vma->offset + len < size)
        (void)raw_syscall(SYS_munmap, at + vma->offset + len, size - vma->offset - len);
    ret = raw_syscall(SYS_mprotect, vma->start, len, vma->prot);
    if (ret != 0)
        fail_at(args, ret, "protect memory at", vma->start);
}

static void map_one(struct blob_args *args, struct opened *opened, struct blob_vma *v)
{
    const struct stint_vma *vma = &v->vma;
    uint64_t offset = 0;
    int fd = -1;
    long ret;

    if (vma->kind == STINT_VMA_VDSO || vma->kind == STINT_VMA_VVAR)
        return;
    if (vma->kind == STINT_VMA_SEGMENT && v->shmid >= 0) {
        attach(args, v);
        return;
    }
    if (vma->kind == STINT_VMA_FILE || vma->kind == STINT_VMA_SHARED) {
        fd = open_file(args, opened, v);
        offset = vma->offset;
    } else if (vma->kind == STINT_VMA_SEGMENT) {
        fd = v->fd;
        offset = vma->offset;
    }
    if (vma->advice & STINT_ADV_HUGETLB && vma->kind == STINT_VMA_ANON)
        ret = map_huge(args, v);
    else
        ret = raw_syscall(SYS_mmap, vma->start, vma->end - vma->start, v->load_prot,
                          mapping_flags(vma), fd, offset);
    if (ret != (long)vma->start) /* before Linux 4.17 the address is only a wish */
        fail_at(args, raw_is_error(ret) ? ret : -EEXIST, "map memory at", vma->start);
    /* advice that matters while pages come in */
    if (vma->advice & STINT_ADV_HUGEPAGE)
        (void)raw_syscall(SYS_madvise, vma->start, vma->end - vma->start, MADV_HUGEPAGE);
    if (vma->advice & STINT_ADV_NOHUGEPAGE)
        (void)raw_syscall(SYS_madvise, vma->start, vma->end - vma->start, MADV_NOHUGEPAGE);
}

static void map_all(struct blob_args *args)
{
    struct blob_vma *vmas = BLOB_AT(args, args->vmas_offset, struct blob_vma);
    struct opened opened = {.fd = -1};

    for (uint32_t i = 0; i < args->nvmas; i++) {
        struct blob_vma *v = &vmas[i];

        v->load_prot = v->vma.prot;
        /* What cannot be written is opened for the time of loading. A huge
         * reservation is not, as a whole: the kernel would account for all of it. */
        if (v->has_extents && !(v->vma.prot & PROT_WRITE) &&
            (v->vma.end - v->vma.start <= OPEN_WHOLE || v->vma.advice & STINT_ADV_HUGETLB))
            v->load_prot = PROT_READ | PROT_WRITE;
        map_one(args, &opened, v);
    }
    if (opened.fd >= 0)
        (void)raw_syscall(SYS_close, opened.fd); /* only read from */
}

/* --- contents ------------------------------------------------------------------ */

static void read_image(struct blob_args *args, uint64_t addr, uint64_t len, uint64_t offset)
{
    while (len > 0) {
        long n = -EINVAL;

        if (args->image_fd >= 0)
            n = raw_syscall(SYS_pread64, args->image_fd, addr, len, offset);
        if (n == -EINVAL) /* no direct access here, or not from this place */
            n = raw_syscall(SYS_pread64, args->image_fd_buffered, addr, len, offset);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            fail_at(args, n < 0 ? n : -EIO, "read the image: memory at", addr);
        addr += (uint64_t)n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
}

static void open_for_loading(struct blob_args *args, const struct blob_vma *v, uint64_t start,
                             uint64_t len)
{
    long ret;

    if (v->load_prot & PROT_WRITE)
        return;
    ret = raw_syscall(SYS_mprotect, start, len, PROT_READ | PROT_WRITE);
    if (ret != 0)
        fail_at(args, ret, "make memory writable at", start);
}

/* Make all mappings that an extent lies in writable, and zero where it says so. *first
 * is a mapping at or before its start. */
static void open_extent(struct blob_args *args, uint32_t first, const struct stint_extent *e)
{
    const struct blob_vma *v = BLOB_AT(args, args->vmas_offset, struct blob_vma) + first;
    const struct blob_vma *last = v + (args->nvmas - first);
    uint64_t end = e->addr + e->len;

    for (; v < last && v->vma.start < end; v++) {
        uint64_t from = v->vma.start > e->addr ? v->vma.start : e->addr;
        uint64_t to = v->vma.end < end ? v->vma.end : end;

        if (e->encoding == STINT_ENC_ZERO && v->vma.kind != STINT_VMA_FILE)
            continue; /* it is zero already */
        open_for_loading(args, v, from, to - from);
        if (e->encoding == STINT_ENC_ZERO)
            __builtin_memset((void *)from, 0, to - from);
    }
}

static void find_vma(struct blob_args *args, uint32_t *first, uint64_t addr)
{
    const struct blob_vma *vmas = BLOB_AT(args, args->vmas_offset, const struct blob_vma);

    if (*first > 0 && vmas[*first - 1].vma.end > addr)
        *first = 0; /* another record begins */
    while (*first < args->nvmas && vmas[*first].vma.end <= addr)
        (*first)++;
}

/* Could be the image's own pages, copied when written to. Never a stack: a file
 * cannot be mapped with MAP_GROWSDOWN. */
static bool is_lazy(struct blob_args *args, uint32_t first, const struct stint_extent *e)
{
    const struct blob_vma *v = BLOB_AT(args, args->vmas_offset, const struct blob_vma) + first;

    return args->lazy && e->encoding == STINT_ENC_RAW && e->len >= LAZY_MIN_LEN &&
           v->vma.kind == STINT_VMA_ANON && v->vma.end >= e->addr + e->len &&
           !(v->vma.advice & (STINT_ADV_LOCKED | STINT_ADV_HUGETLB));
}

/* Returns false where the kernel does not want another mapping. */
static bool map_lazily(struct blob_args *args, uint32_t first, const struct stint_extent *e)
{
    const struct blob_vma *v = BLOB_AT(args, args->vmas_offset, const struct blob_vma) + first;
    int flags = MAP_PRIVATE | MAP_FIXED;

    if (v->vma.advice & STINT_ADV_NORESERVE)
        flags |= MAP_NORESERVE;
    return raw_syscall(SYS_mmap, e->addr, e->len, v->vma.prot, flags, args->image_fd_buffered,
                       e->offset) == (long)e->addr;
}

/* Copy from the staging buffer to where it belongs. By way of the kernel, whose own
 * mapping of the pages is used: touching each page through a new entry of our page
 * table is what costs most, above all in virtual machines, and the program may never
 * touch it. */
static void put_batch(struct blob_args *args, const struct stint_extent *e, uint32_t count,
                      uint64_t len)
{
    struct iovec local = {(void *)args->staging, len}, remote[BATCH_MAX];
    uint64_t at = args->staging;

    for (uint32_t i = 0; i < count; i++)
        remote[i] = (struct iovec){(void *)e[i].addr, e[i].len};
    if (raw_syscall(SYS_process_vm_writev, args->process.pid, &local, 1, remote, count, 0) ==
        (long)len)
        return;
    for (uint32_t i = 0; i < count; at += e[i].len, i++) /* not allowed in this kernel */
        __builtin_memcpy((void *)e[i].addr, (const void *)at, e[i].len);
}

/* Load extents that stand one after the other in the image, at most BATCH_MAX and as
 * much as fits. Returns how many. */
static uint32_t load_batch(struct blob_args *args, const struct stint_extent *e,
                           uint32_t available, uint32_t first)
{
    uint64_t len = 0, at = args->staging;
    uint32_t count = 0;

    do {
        len += e[count].len;
        count++;
        if (count == available || count == BATCH_MAX)
            break;
        find_vma(args, &first, e[count].addr);
    } while (e[count].encoding == STINT_ENC_RAW && e[count].offset == e[0].offset + len &&
             len + e[count].len <= BLOB_STAGING_LEN && !is_lazy(args, first, &e[count]));
    read_image(args, args->staging, len, e[0].offset);
    for (uint32_t i = 0; i < count; at += e[i].len, i++) {
        if (XXH3_64bits((const void *)at, e[i].len) != e[i].xxh3)
            fail_at(args, 0, "the image is damaged: wrong checksum of memory at", e[i].addr);
        find_vma(args, &first, e[i].addr);
        open_extent(args, first, &e[i]);
    }
    put_batch(args, e, count, len);
    return count;
}

static void load_all(struct blob_args *args)
{
    const struct stint_extent *e = BLOB_AT(args, args->extents_offset, struct stint_extent);
    uint32_t first = 0;

    for (uint32_t i = 0; i < args->nextents;) {
        find_vma(args, &first, e[i].addr);
        if (e[i].encoding == STINT_ENC_ZERO)
            open_extent(args, first, &e[i++]);
        else if (is_lazy(args, first, &e[i]) && map_lazily(args, first, &e[i]))
            i++;
        else
            i += load_batch(args, &e[i], args->nextents - i, first);
    }
}

/* --- finishing ------------------------------------------------------------------ */

static void advise(struct blob_args *args, const struct stint_vma *vma)
{
    static const struct {
        uint32_t flag;
        int advice;
    } table[] = {
        {STINT_ADV_DONTFORK, MADV_DONTFORK},     {STINT_ADV_DONTDUMP, MADV_DONTDUMP},
        {STINT_ADV_MERGEABLE, MADV_MERGEABLE},   {STINT_ADV_WIPEONFORK, MADV_WIPEONFORK},
        {STINT_ADV_SEQUENTIAL, MADV_SEQUENTIAL}, {STINT_ADV_RANDOM, MADV_RANDOM},
    };
    uint64_t len = vma->end - vma->start;
    long ret;

    for (uint32_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (!(vma->advice & table[i].flag))
            continue;
        ret = raw_syscall(SYS_madvise, vma->start, len, table[i].advice);
        /* these two change what fork does: without them the program would be wrong */
        if (ret != 0 && table[i].flag & (STINT_ADV_DONTFORK | STINT_ADV_WIPEONFORK))
            fail_at(args, ret, "advise memory at", vma->start);
    }
    if (!(vma->advice & STINT_ADV_LOCKED))
        return;
    ret = raw_syscall(SYS_mlock2, vma->start, len,
                      vma->advice & STINT_ADV_LOCKONFAULT ? 1 /* MLOCK_ONFAULT */ : 0);
    if (ret != 0)
        blob_note(args, "memory cannot be locked again: the limit is lower here", NULL);
}

static void finish_all(struct blob_args *args)
{
    const struct blob_vma *vmas = BLOB_AT(args, args->vmas_offset, struct blob_vma);

    for (uint32_t i = 0; i < args->nvmas; i++) {
        const struct stint_vma *vma = &vmas[i].vma;
        long ret = 0;

        if (vma->kind == STINT_VMA_VDSO || vma->kind == STINT_VMA_VVAR)
            continue;
        if (vmas[i].has_extents && !(vma->prot & PROT_WRITE))
            ret = raw_syscall(SYS_mprotect, vma->start, vma->end - vma->start, vma->prot);
        if (ret != 0)
            fail_at(args, ret, "protect memory at", vma->start);
        advise(args, vma);
    }
}

/* Another kernel's vdso: ours lives elsewhere, the old one's place holds its old
 * contents with jumps to ours. Code of it that was running finds zeroes for its
 * data, which tells it to ask the kernel. */
static void put_proxy(struct blob_args *args)
{
    long ret = 0;

    if (args->old_vvar_len)
        ret = raw_syscall(SYS_mmap, args->old_vvar_start, args->old_vvar_len, PROT_READ,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (raw_is_error(ret))
        fail_at(args, ret, "map the old vvar at", args->old_vvar_start);
    ret = raw_syscall(SYS_mmap, args->old_vdso_start, args->old_vdso_len,
                      PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (ret != (long)args->old_vdso_start)
        fail_at(args, ret, "map the old vdso at", args->old_vdso_start);
    __builtin_memcpy((void *)args->old_vdso_start,
                     BLOB_AT(args, args->vdso_image_offset, void), args->old_vdso_len);
    ret = raw_syscall(SYS_mprotect, args->old_vdso_start, args->old_vdso_len,
                      PROT_READ | PROT_EXEC);
    if (ret != 0)
        fail_at(args, ret, "protect the old vdso at", args->old_vdso_start);
}

static void lock_future(struct blob_args *args)
{
    uint32_t flags = args->process.flags;
    int how = MCL_FUTURE | (flags & STINT_PROC_LOCK_ONFAULT ? MCL_ONFAULT : 0);

    if (flags & STINT_PROC_LOCK_FUTURE && raw_syscall(SYS_mlockall, how) != 0)
        blob_note(args, "new memory will not be locked (mlockall): the limit is lower here",
                  NULL);
}

void blob_restore_memory(struct blob_args *args)
{
    clear_everything(args);
    map_all(args);
    load_all(args);
    finish_all(args);
    for (uint32_t i = 0; i < args->npieces; i++)
        move(args, args->pieces[i].parked, args->pieces[i].len, args->pieces[i].to);
    if (args->vdso_image_offset)
        put_proxy(args);
    lock_future(args);
}
