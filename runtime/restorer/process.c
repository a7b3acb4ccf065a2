/* Become one process of the image.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What an ordinary program can do is done here: descriptors, directories, umask.
 * Then the arguments for the blob are built, the hole is mapped, and the blob is
 * entered, which never returns.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/arguments.h"
#include "runtime/restorer/blob/blob.h"
#include "runtime/restorer/descriptors.h"
#include "runtime/restorer/gone.h"
#include "runtime/restorer/layout.h"
#include "runtime/restorer/objects.h"
#include "runtime/restorer/restore.h"
#include "runtime/restorer/vdso.h"

#define HOLE_TRIES 8

/* blob.S */
extern const uint8_t stint_blob_start[], stint_blob_end[];

/* rseq(2) is registered by glibc 2.35 and newer, at these places. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

#define RSEQ_SIG             0x53053053u
#define RSEQ_FLAG_UNREGISTER 1

static int open_image_with(struct stint_restore *restore, const struct stint_image *image,
                           int flags, struct stint_err *err)
{
    int fd = openat(restore->dirfd, image->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | flags);

    if (fd < 0 && flags & O_DIRECT && errno == EINVAL)
        return -1; /* the file system has no direct access */
    return stint_restore_keep_fd(restore, fd, err);
}

/* The same file that was checked before? */
static int check_header(const struct stint_image *image, int fd, struct stint_err *err)
{
    struct stint_image_header header;

    if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
        memcmp(&header, &image->header, sizeof(header)) != 0)
        return stint_err_set(err, -ESTALE, "image %s: was replaced meanwhile.", image->path);
    return 0;
}

/* Replaced or removed while it ran (its pages are in the image then): some other
 * program has to stand in, since this one, the restorer, must not be taken for it. */
static int open_executable(struct stint_restore *restore, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        return fd;
    stint_restore_note(restore, "%s cannot be opened (%s): /proc/PID/exe shows /bin/sh", path,
                       strerror(errno));
    return open("/bin/sh", O_RDONLY | O_CLOEXEC);
}

static int open_own(struct stint_restore *restore, const struct stint_image *image,
                    struct stint_blob_fds *fds, struct stint_err *err)
{
    const struct stint_file_id *exe = stint_image_find(image, STINT_REC_EXE, NULL);
    int r;

    fds->image_buffered = open_image_with(restore, image, 0, err);
    if (fds->image_buffered < 0)
        return fds->image_buffered;
    r = check_header(image, fds->image_buffered, err);
    if (r < 0)
        return r;
    fds->image = open_image_with(restore, image, O_DIRECT, err);
    fds->exe = open_executable(restore, stint_file_id_path(exe));
    fds->exe = stint_restore_keep_fd(restore, fds->exe, err);
    return fds->exe < 0 ? fds->exe : 0;
}

static void write_oom_score(struct stint_restore *restore, int32_t score)
{
    STINT_AUTO_CLOSE int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    char have[16] = "", want[16];
    int len = snprintf(want, sizeof(want), "%d\n", score);

    if (fd < 0 || read(fd, have, sizeof(have) - 1) < 0 || strcmp(have, want) == 0)
        return;
    if (pwrite(fd, want, (size_t)len, 0) != len)
        stint_restore_note(restore, "oom_score_adj cannot be %d here", score);
}

static int enter_directories(struct stint_restore *restore, const struct stint_image *image,
                             struct stint_err *err)
{
    const char *root = stint_image_find(image, STINT_REC_ROOT, NULL);
    const char *cwd = stint_image_find(image, STINT_REC_CWD, NULL);

    if (root && strcmp(root, "/") != 0 && chroot(root) < 0)
        return stint_err_set(err, -errno, "change the root to %s", root);
    return stint_enter_dir(restore, cwd, err);
}

/* Everything that the image occupies. */
static int occupied(const struct stint_image *image, struct stint_layout *layout,
                    struct stint_err *err)
{
    struct stint_image_record rec;
    size_t cursor = 0;

    while (stint_image_next_of(image, STINT_REC_VMA, &cursor, &rec)) {
        const struct stint_vma *vma = rec.payload;

        if (stint_layout_add(layout, vma->start, vma->end, "") < 0)
            return stint_err_set(err, -ENOMEM, "lay out memory");
    }
    return 0;
}

static int occupied_by_vdso(const struct stint_vdso_plan *plan, struct stint_layout *layout,
                            struct stint_err *err)
{
    for (size_t i = 0; i < plan->npieces; i++) {
        const struct stint_vdso_piece *piece = &plan->pieces[i];

        if (stint_layout_add(layout, piece->to, piece->to + piece->len, "") < 0)
            return stint_err_set(err, -ENOMEM, "lay out memory");
    }
    return 0;
}

/* Map the hole where neither we nor the image have anything. */
static void *map_hole(struct stint_layout *taken, uint64_t len, struct stint_err *err)
{
    for (int i = 0; i < HOLE_TRIES; i++) {
        uint64_t at;
        void *hole;

        if (stint_layout_read_self(taken, err) < 0)
            return NULL;
        at = stint_layout_find_free(taken, len);
        if (!at)
            break;
        hole = mmap((void *)at, len, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (hole == (void *)at)
            return hole;
        if (hole != MAP_FAILED)
            (void)munmap(hole, len); /* an old kernel took the address for a wish */
    }
    (void)stint_err_set(err, -ENOMEM, "no %llu bytes of addresses are free for the restorer.",
                        (unsigned long long)len);
    return NULL;
}

/* The kernel writes to the rseq area of a thread that is about to lose its memory. */
static void unregister_rseq(void)
{
    static const unsigned lens[] = {32, 20, 24, 28, 33, 64};
    char *area;

    if (!&__rseq_offset || !&__rseq_size || __rseq_size == 0)
        return;
    area = (char *)__builtin_thread_pointer() + __rseq_offset;
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        if (raw_syscall(SYS_rseq, area, lens[i], RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0)
            return;
    }
}

static void enter_blob(void *code, struct blob_args *args, uint64_t stack_top)
    __attribute__((noreturn));

static void enter_blob(void *code, struct blob_args *args, uint64_t stack_top)
{
    __asm__ volatile("mov %0, %%rsp\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "call *%1\n\t"
                     "hlt"
                     :
                     : "S"(stack_top), "a"(code), "D"(args) /* not in %rbp, which is cleared */
                     : "memory");
    __builtin_unreachable();
}

/* Lay the hole out and fill it: shared page, code, arguments, stacks, staging buffer,
 * parking. */
static int occupy_hole(struct stint_restore *restore, struct stint_arguments *arguments,
                       const struct stint_vdso_plan *vdso, struct stint_layout *taken,
                       void **code, struct blob_args **args, struct stint_err *err)
{
    uint64_t code_len = ((uint64_t)(stint_blob_end - stint_blob_start) + 4095) & ~4095ull;
    uint64_t args_len = (arguments->len + 4095) & ~4095ull;
    uint64_t stacks_len = BLOB_LEADER_STACK + stint_arguments_head(arguments)->nthreads *
                                                  (uint64_t)BLOB_THREAD_STACK;
    uint64_t len = STINT_SHARED_LEN + code_len + args_len + stacks_len + BLOB_STAGING_LEN +
                   vdso->len;
    uint8_t *hole = map_hole(taken, len, err);
    uint64_t parking;

    if (!hole)
        return err->code;
    *code = hole + STINT_SHARED_LEN;
    memcpy(*code, stint_blob_start, (size_t)(stint_blob_end - stint_blob_start));
    if (mprotect(*code, code_len, PROT_READ | PROT_EXEC) < 0)
        return stint_err_set(err, -errno, "make code executable");
    *args = (void *)((uint8_t *)*code + code_len);
    parking = (uint64_t)*args + args_len + stacks_len + BLOB_STAGING_LEN;
    stint_arguments_place(arguments, (uint64_t)hole, len, (uint64_t)*args,
                          (uint64_t)*args + args_len, vdso, parking);
    memcpy(*args, arguments->bytes, arguments->len);
    if (mremap(restore->shared, STINT_SHARED_LEN, STINT_SHARED_LEN,
               MREMAP_MAYMOVE | MREMAP_FIXED, hole) != hole)
        return stint_err_set(err, -errno, "move the shared page");
    restore->shared = (void *)hole;
    return 0;
}

static int prepare(struct stint_restore *restore, const struct stint_restored_process *p,
                   void **code, struct blob_args **args, struct stint_err *err)
{
    const struct stint_vdso *old = stint_image_find(p->image, STINT_REC_VDSO, NULL);
    struct stint_arguments arguments = {0};
    struct stint_blob_fds fds = {-1, -1, -1, -1};
    struct stint_layout self = {0}, taken = {0};
    struct stint_vdso_plan vdso = {0};
    int r = stint_objects_take_late(restore, err);

    if (r == 0)
        r = stint_objects_link_epoll(restore, p->member->pid, err);
    if (r == 0)
        stint_pty_put_foreground(restore, p->member->pid);
    if (r == 0)
        r = stint_layout_read_self(&self, err);
    if (r == 0)
        r = occupied(p->image, &taken, err);
    if (r == 0)
        r = stint_vdso_plan_init(&vdso, old, &self, &taken, err);
    if (r == 0)
        r = occupied_by_vdso(&vdso, &taken, err);
    if (r == 0)
        r = open_own(restore, p->image, &fds, err);
    fds.last_pid = restore->set_tid ? -1 : restore->last_pid_fd;
    if (r == 0)
        r = stint_arguments_build(&arguments, restore, p, &fds, &vdso, err);
    if (r == 0)
        r = stint_descriptors_install(restore, p->member->pid,
                                      stint_arguments_fds(&arguments),
                                      stint_arguments_head(&arguments)->nclose, err);
    if (r == 0)
        r = stint_mqueues_notify(restore, p->member->pid, err);
    if (r == 0)
        r = stint_ipc_undo(restore, p->member->pid, err);
    if (r == 0)
        r = occupy_hole(restore, &arguments, &vdso, &taken, code, args, err);
    if (r == 0)
        r = enter_directories(restore, p->image, err);
    return r; /* what was allocated goes with this memory */
}

void stint_process_restore(struct stint_restore *restore, int member)
{
    const struct stint_restored_process *p = &restore->members[member];
    struct stint_err err = {0};
    struct blob_args *args = NULL;
    void *code = NULL;

    (void)umask(p->process->umask); /* cannot fail */
    write_oom_score(restore, p->process->oom_score_adj);
    if (prepare(restore, p, &code, &args, &err) < 0 && !err.code)
        _exit(1); /* somebody else has failed */
    if (err.code)
        stint_restore_die(restore, p->member->pid, &err);
    unregister_rseq();
    enter_blob(code, args, (uint64_t)args + ((uint64_t)args->stacks_offset) +
                               BLOB_LEADER_STACK);
}
