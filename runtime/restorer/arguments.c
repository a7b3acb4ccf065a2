/* Build what the blob works from.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/restorer/arguments.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(arguments, offset, type) ((type *)(void *)((arguments)->bytes + (offset)))

/* Append bytes (zeroes if from is NULL) on a 16-byte boundary. Returns the offset, or
 * 0 for want of memory: offset 0 is the head's. */
static uint32_t append(struct stint_arguments *a, const void *from, size_t len)
{
    size_t at = (a->len + 15) & ~(size_t)15;

    if (at + len > a->size) {
        size_t size = a->size ? a->size : 65536;
        uint8_t *grown;

        while (size < at + len)
            size *= 2;
        grown = size > UINT32_MAX ? NULL : realloc(a->bytes, size);
        if (!grown)
            return 0;
        memset(grown + a->size, 0, size - a->size);
        a->bytes = grown;
        a->size = size;
    }
    if (from && len)
        memcpy(a->bytes + at, from, len);
    a->len = at + len;
    return (uint32_t)at;
}

static size_t count_of(const struct stint_image *image, enum stint_record_type type)
{
    struct stint_image_record rec;
    size_t cursor = 0, count = 0;

    while (stint_image_next_of(image, type, &cursor, &rec))
        count++;
    return count;
}

/* The node may run on what it is given, not on what the image remembers. */
static void clip_affinity(const struct stint_restore *restore, struct stint_thread *thread)
{
    bool any = false;

    for (uint32_t i = 0; i < thread->affinity_len; i++) {
        thread->affinity[i] &= restore->affinity[i];
        any = any || thread->affinity[i];
    }
    if (!any)
        thread->affinity_len = 0; /* none of its CPUs: all that there are */
}

static int add_threads(struct stint_arguments *a, const struct stint_restore *restore,
                       const struct stint_image *image)
{
    uint32_t count = (uint32_t)count_of(image, STINT_REC_THREAD);
    uint32_t at = append(a, NULL, count * sizeof(struct blob_thread));
    struct stint_image_record rec;
    size_t cursor = 0;

    if (!at)
        return -ENOMEM;
    stint_arguments_head(a)->threads_offset = at;
    stint_arguments_head(a)->nthreads = count;
    for (uint32_t i = 0; stint_image_next_of(image, STINT_REC_THREAD, &cursor, &rec); i++) {
        struct blob_thread *thread = &AT(a, at, struct blob_thread)[i];

        memcpy(&thread->thread, rec.payload, sizeof(thread->thread));
        clip_affinity(restore, &thread->thread);
    }
    return 0;
}

static int add_pending(struct stint_arguments *a, const struct stint_image *image)
{
    struct stint_image_record rec;
    size_t cursor = 0;

    while (stint_image_next_of(image, STINT_REC_SIGPENDING, &cursor, &rec)) {
        const struct stint_sigpending *pending = rec.payload;
        uint32_t at = append(a, pending + 1, pending->count * 128u);
        struct blob_args *head = stint_arguments_head(a);
        struct blob_thread *threads = AT(a, head->threads_offset, struct blob_thread);

        if (!at)
            return -ENOMEM;
        if (pending->tid == 0) {
            head->pending_offset = at;
            head->pending_count = pending->count;
        }
        for (uint32_t i = 0; i < head->nthreads && pending->tid; i++) {
            if (threads[i].thread.tid != pending->tid)
                continue;
            threads[i].pending_offset = at;
            threads[i].pending_count = pending->count;
        }
    }
    return 0;
}

/* All extents, record after record. */
static int add_extents(struct stint_arguments *a, const struct stint_image *image)
{
    struct stint_image_record rec;
    size_t cursor = 0, total = 0;
    uint32_t at;

    while (stint_image_next_of(image, STINT_REC_EXTENTS, &cursor, &rec))
        total += rec.len;
    at = append(a, NULL, total);
    if (!at)
        return -ENOMEM;
    stint_arguments_head(a)->extents_offset = at;
    stint_arguments_head(a)->nextents = (uint32_t)(total / sizeof(struct stint_extent));
    for (cursor = 0; stint_image_next_of(image, STINT_REC_EXTENTS, &cursor, &rec);) {
        memcpy(a->bytes + at, rec.payload, rec.len);
        at += (uint32_t)rec.len;
    }
    return 0;
}

static void mark_extents(const struct stint_arguments *a)
{
    const struct blob_args *head = stint_arguments_head(a);
    const struct stint_extent *e = AT(a, head->extents_offset, struct stint_extent);
    struct blob_vma *vmas = AT(a, head->vmas_offset, struct blob_vma);
    uint32_t first = 0;

    for (uint32_t i = 0; i < head->nextents; i++) {
        if (i > 0 && e[i].addr < e[i - 1].addr)
            first = 0;
        while (first < head->nvmas && vmas[first].vma.end <= e[i].addr)
            first++;
        for (uint32_t v = first;
             v < head->nvmas && vmas[v].vma.start < e[i].addr + e[i].len; v++)
            vmas[v].has_extents = 1;
    }
}

static int find_segment(struct stint_restore *restore, const struct stint_vma *vma,
                        struct blob_vma *fresh, struct stint_err *err)
{
    const struct stint_restored_segment *segment =
        stint_restore_segment(restore, vma->segment_id);

    if (segment && segment->segment->kind == STINT_SEG_SYSV)
        fresh->shmid = (int32_t)segment->segment->ino;
    else if (segment)
        fresh->fd = segment->fd;
    if (fresh->fd < 0 && fresh->shmid < 0)
        return stint_err_set(err, -EBADMSG, "shared memory at %#llx has no segment %u.",
                             (unsigned long long)vma->start, vma->segment_id);
    return 0;
}

static int add_vmas(struct stint_arguments *a, struct stint_restore *restore,
                    const struct stint_image *image, struct stint_err *err)
{
    uint32_t count = (uint32_t)count_of(image, STINT_REC_VMA), last_path = 0;
    uint32_t at = append(a, NULL, count * sizeof(struct blob_vma));
    struct stint_image_record rec;
    size_t cursor = 0;

    if (!at)
        return -ENOMEM;
    stint_arguments_head(a)->vmas_offset = at;
    stint_arguments_head(a)->nvmas = count;
    for (uint32_t i = 0; stint_image_next_of(image, STINT_REC_VMA, &cursor, &rec); i++) {
        const struct stint_vma *vma = rec.payload;
        const char *path = stint_vma_path(vma);
        struct blob_vma fresh = {.vma = *vma, .fd = -1, .shmid = -1};

        if (*path && (!last_path || strcmp(AT(a, last_path, char), path) != 0)) {
            last_path = append(a, path, strlen(path) + 1);
            if (!last_path)
                return -ENOMEM;
        }
        fresh.path_offset = *path ? last_path : 0;
        if (vma->kind == STINT_VMA_SEGMENT) {
            int r = find_segment(restore, vma, &fresh, err);

            if (r < 0)
                return r;
        } else if (vma->kind < STINT_VMA_ANON || vma->kind > STINT_VMA_STACK) {
            return stint_err_set(err, -EPROTONOSUPPORT,
                                 "memory at %#llx is of a kind (%u) that this stint does not "
                                 "know.",
                                 (unsigned long long)vma->start, vma->kind);
        }
        AT(a, at, struct blob_vma)[i] = fresh;
    }
    return 0;
}

/* Descriptors that have to go before the program runs. */
static int add_fds(struct stint_arguments *a, const struct stint_restore *restore,
                   const struct stint_blob_fds *fds)
{
    const int own[] = {fds->image, fds->image_buffered, fds->exe, fds->last_pid};
    size_t max = sizeof(own) / sizeof(own[0]) + restore->nsegments;
    uint32_t at = append(a, NULL, max * sizeof(int32_t)), count = 0;
    int32_t *list;

    if (!at)
        return -ENOMEM;
    list = AT(a, at, int32_t);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (own[i] >= 0)
            list[count++] = own[i];
    }
    for (size_t i = 0; i < restore->nsegments; i++) {
        if (restore->segments[i].fd >= 0)
            list[count++] = restore->segments[i].fd;
    }
    stint_arguments_head(a)->close_offset = at;
    stint_arguments_head(a)->nclose = count;
    return 0;
}

/* The process's own locks: any close of a descriptor on the same file would drop them,
 * so they are taken when nothing is left to be closed. */
static int add_locks(struct stint_arguments *a, const struct stint_restore *restore,
                     int32_t pid)
{
    uint64_t len = 0;
    const struct stint_lock *locks =
        stint_image_find(restore->group_image, STINT_REC_LOCKS, &len);
    uint32_t at = append(a, NULL, len), count = 0;

    if (!at)
        return -ENOMEM;
    for (size_t i = 0; i < len / sizeof(*locks); i++) {
        if (locks[i].kind == STINT_LOCK_POSIX && locks[i].pid == pid)
            AT(a, at, struct stint_lock)[count++] = locks[i];
    }
    stint_arguments_head(a)->nlocks = count;
    stint_arguments_head(a)->locks_offset = at;
    return 0;
}

static int add_stopped_children(struct stint_arguments *a,
                                const struct stint_restore *restore, int32_t pid)
{
    uint32_t at = append(a, NULL, restore->nmembers * sizeof(struct blob_stopped_child));
    uint32_t count = 0;

    if (!at)
        return -ENOMEM;
    for (size_t i = 0; i < restore->nmembers; i++) {
        const struct stint_member *member = restore->members[i].member;

        if (member->state == STINT_MEMBER_STOPPED && member->ppid == pid)
            AT(a, at, struct blob_stopped_child)[count++] = (struct blob_stopped_child){
                .pid = member->pid, .is_known = member->stop_signal == 0};
    }
    stint_arguments_head(a)->nchildren = count;
    stint_arguments_head(a)->children_offset = at;
    return 0;
}

static int add_copies(struct stint_arguments *a, const struct stint_image *image)
{
    const struct {
        enum stint_record_type type;
        size_t offset;
    } copies[] = {
        {STINT_REC_SIGACTIONS, offsetof(struct blob_args, sigactions_offset)},
        {STINT_REC_TIMERS, offsetof(struct blob_args, timers_offset)},
        {STINT_REC_AUXV, offsetof(struct blob_args, auxv_offset)},
    };
    uint64_t len;

    for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++) {
        const void *payload = stint_image_find(image, copies[i].type, &len);
        uint32_t at = payload ? append(a, payload, len) : 0;

        if (payload && !at)
            return -ENOMEM;
        *AT(a, copies[i].offset, uint32_t) = at;
    }
    if (stint_image_find(image, STINT_REC_TIMERS, &len))
        stint_arguments_head(a)->ntimers = (uint32_t)(len / sizeof(struct stint_timer));
    if (stint_image_find(image, STINT_REC_AUXV, &len))
        stint_arguments_head(a)->auxv_len = (uint32_t)len;
    return 0;
}

static uint32_t stop_signal(const struct stint_member *member)
{
    uint32_t signo = member->stop_signal;

    return signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU ? signo : SIGSTOP;
}

static void fill_head(struct blob_args *head, const struct stint_restore *restore,
                      const struct stint_restored_process *p, const struct stint_blob_fds *fds)
{
    const void *rlimits = stint_image_find(p->image, STINT_REC_RLIMITS, NULL);
    const void *itimers = stint_image_find(p->image, STINT_REC_ITIMERS, NULL);

    head->image_fd = fds->image;
    head->image_fd_buffered = fds->image_buffered;
    head->exe_fd = fds->exe;
    head->last_pid_fd = fds->last_pid;
    head->set_tid = restore->set_tid;
    head->lazy = restore->lazy;
    head->drop_caps = restore->user_ns;
    head->change_ids = !restore->user_ns && (p->process->uid != getuid() ||
                                             p->process->gid != getgid());
    if (p->member->state == STINT_MEMBER_STOPPED)
        head->stopped = stop_signal(p->member);
    head->held = 1;
    head->process = *p->process;
    head->generation = p->image->header.generation;
    head->has_rlimits = rlimits != NULL;
    head->has_itimers = itimers != NULL;
    if (rlimits)
        memcpy(head->rlimits, rlimits, sizeof(head->rlimits));
    if (itimers)
        memcpy(head->itimers, itimers, sizeof(head->itimers));
}

static int add_vdso(struct stint_arguments *a, const struct stint_vdso_plan *vdso,
                    const struct stint_image *image)
{
    const struct stint_vdso *old = stint_image_find(image, STINT_REC_VDSO, NULL);
    uint32_t at;

    if (!vdso->image)
        return 0;
    at = append(a, vdso->image, old->vdso_len);
    if (!at)
        return -ENOMEM;
    stint_arguments_head(a)->vdso_image_offset = at;
    stint_arguments_head(a)->old_vdso_start = old->vdso_start;
    stint_arguments_head(a)->old_vdso_len = old->vdso_len;
    stint_arguments_head(a)->old_vvar_start = old->vvar_start;
    stint_arguments_head(a)->old_vvar_len = old->vvar_len;
    return 0;
}

int stint_arguments_build(struct stint_arguments *a, struct stint_restore *restore,
                          const struct stint_restored_process *p,
                          const struct stint_blob_fds *fds,
                          const struct stint_vdso_plan *vdso, struct stint_err *err)
{
    int r = 0;

    (void)append(a, NULL, sizeof(struct blob_args)); /* offset 0; failure shows below */
    if (!a->bytes)
        return stint_err_set(err, -ENOMEM, "prepare the restore");
    fill_head(stint_arguments_head(a), restore, p, fds);
    r = add_threads(a, restore, p->image);
    if (r == 0)
        r = add_pending(a, p->image);
    if (r == 0)
        r = add_extents(a, p->image);
    if (r == 0)
        r = add_vmas(a, restore, p->image, err);
    if (r == 0)
        r = add_fds(a, restore, fds);
    if (r == 0)
        r = add_copies(a, p->image);
    if (r == 0)
        r = add_locks(a, restore, p->member->pid);
    if (r == 0)
        r = add_stopped_children(a, restore, p->member->pid);
    if (r == 0)
        r = add_vdso(a, vdso, p->image);
    if (r == -ENOMEM)
        return stint_err_set(err, r, "prepare the restore");
    if (r == 0)
        mark_extents(a);
    return r;
}

void stint_arguments_place(struct stint_arguments *a, uint64_t hole, uint64_t hole_len,
                           uint64_t args, uint64_t stacks,
                           const struct stint_vdso_plan *vdso, uint64_t parking)
{
    struct blob_args *head = stint_arguments_head(a);
    struct blob_thread *threads = AT(a, head->threads_offset, struct blob_thread);

    head->hole_start = hole;
    head->hole_len = hole_len;
    head->shared = hole;
    head->staging = parking - BLOB_STAGING_LEN;
    head->stacks_offset = (uint32_t)(stacks - args);
    for (uint32_t i = 0; i < head->nthreads; i++) {
        threads[i].args = args;
        threads[i].stack_top = stacks + BLOB_LEADER_STACK +
                               (uint64_t)i * BLOB_THREAD_STACK;
    }
    head->npieces = (uint32_t)vdso->npieces;
    for (size_t i = 0; i < vdso->npieces; i++) {
        head->pieces[i] = (struct blob_piece){vdso->pieces[i].start, parking,
                                              vdso->pieces[i].to, vdso->pieces[i].len};
        parking += vdso->pieces[i].len;
    }
}

const int32_t *stint_arguments_fds(const struct stint_arguments *a)
{
    return AT(a, stint_arguments_head(a)->close_offset, const int32_t);
}
