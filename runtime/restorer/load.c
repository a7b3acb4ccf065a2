/* Read the group image and the images of its processes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/restorer/restore.h"

#define FD_LIMIT  (1u << 20)
#define PID_LIMIT (1u << 22) /* PID_MAX_LIMIT of 64-bit kernels */

/* Images hold the memory that will run as us: nobody else may have written them. */
static int check_owner(const struct stint_image *image, struct stint_err *err)
{
    struct stat st;

    if (fstat(image->fd, &st) < 0)
        return stint_err_set(err, -errno, "image %s", image->path);
    if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & (S_IWGRP | S_IWOTH)))
        return stint_err_set(err, -EPERM,
                             "image %s: other users can have changed it (owner %u, mode %04o).",
                             image->path, st.st_uid, st.st_mode & 07777);
    return 0;
}

int stint_restore_open_image(struct stint_restore *restore, const char *name,
                             enum stint_image_kind kind, struct stint_image **image,
                             struct stint_err *err)
{
    const struct stint_image *group = restore->group_image;
    struct stint_image *fresh;
    int r = stint_image_open(&fresh, restore->dirfd, name, kind, err);

    if (r < 0)
        return r;
    r = check_owner(fresh, err);
    if (r == 0 && group &&
        (memcmp(fresh->header.gen_id, group->header.gen_id, sizeof(group->header.gen_id)) ||
         fresh->header.generation != group->header.generation))
        r = stint_err_set(err, -EBADMSG, "image %s: belongs to another generation.", name);
    if (r < 0) {
        stint_image_close(fresh);
        return r;
    }
    *image = fresh;
    return 0;
}

static bool add_pid(struct stint_restore *restore, int32_t pid)
{
    return stint_numbers_add(&restore->pids, pid);
}

static int load_process(struct stint_restore *restore, struct stint_restored_process *p,
                        struct stint_err *err)
{
    struct stint_image_record rec;
    size_t cursor = 0;
    int r = stint_restore_open_image(restore, stint_member_name(p->member),
                                     STINT_IMAGE_PROCESS, &p->image, err);

    if (r < 0)
        return r;
    (void)close(p->image->fd); /* each process opens its own again */
    p->image->fd = -1;
    p->process = stint_image_process(p->image);
    if (p->process->pid != p->member->pid)
        return stint_err_set(err, -EBADMSG, "image %s: is of process %d, not %d.",
                             p->image->path, p->process->pid, p->member->pid);
    while (stint_image_next_of(p->image, STINT_REC_THREAD, &cursor, &rec)) {
        const struct stint_thread *thread = rec.payload;

        if (!add_pid(restore, thread->tid))
            return stint_err_set(err, -EBADMSG, "image %s: thread id %d is impossible.",
                                 p->image->path, thread->tid);
    }
    return 0;
}

static int load_member(struct stint_restore *restore, const struct stint_member *member,
                       struct stint_err *err)
{
    struct stint_restored_process *p = &restore->members[restore->nmembers++];

    p->member = member;
    if (!add_pid(restore, member->pid) || !add_pid(restore, member->pgid) ||
        !add_pid(restore, member->sid))
        return stint_err_set(err, -EBADMSG, "image %s: process id %d is impossible.",
                             restore->group_image->path, member->pid);
    return member->state == STINT_MEMBER_ZOMBIE ? 0 : load_process(restore, p, err);
}

static int load_segment(struct stint_restore *restore, const struct stint_segment *segment,
                        struct stint_err *err)
{
    struct stint_restored_segment *s = &restore->segments[restore->nsegments++];
    int r;

    s->segment = segment;
    s->fd = -1;
    if (!segment->name_len)
        return 0;
    r = stint_restore_open_image(restore, stint_segment_name(segment), STINT_IMAGE_SHARED,
                                 &s->image, err);
    if (r < 0)
        return r;
    s->image->fd = stint_restore_keep_fd(restore, s->image->fd, err);
    return s->image->fd < 0 ? s->image->fd : 0;
}

static int load_fds(struct stint_restore *restore, const struct stint_fds *fds,
                    struct stint_err *err)
{
    const struct stint_fd *fd = (const void *)(fds + 1);

    for (uint32_t i = 0; i < fds->count; i++) {
        if (!stint_numbers_add(&restore->fds, fd[i].fd))
            return stint_err_set(err, -EMFILE, "process %d uses descriptor %d: too high.",
                                 fds->pid, fd[i].fd);
        if (!stint_restore_object(restore, fd[i].object_id))
            return stint_err_set(err, -EBADMSG,
                                 "image %s: descriptor %d of process %d has no object.",
                                 restore->group_image->path, fd[i].fd, fds->pid);
    }
    return 0;
}

static int allocate(struct stint_restore *restore, struct stint_err *err)
{
    const struct stint_group *g = restore->group;

    restore->members = calloc(g->nmembers + 1, sizeof(*restore->members));
    restore->objects = calloc(g->nobjects + 1, sizeof(*restore->objects));
    restore->segments = calloc(g->nsegments + 1, sizeof(*restore->segments));
    if (!restore->members || !restore->objects || !restore->segments ||
        stint_numbers_init(&restore->fds, FD_LIMIT) < 0 ||
        stint_numbers_init(&restore->pids, PID_LIMIT) < 0)
        return stint_err_set(err, -ENOMEM, "read %s", restore->dir);
    (void)add_pid(restore, 1);
    if (!add_pid(restore, g->agent_pid) || !add_pid(restore, g->agent_pgid) ||
        !add_pid(restore, g->agent_sid))
        return stint_err_set(err, -EBADMSG, "image %s: the agent's ids are impossible.",
                             restore->group_image->path);
    return 0;
}

/* Objects come first: descriptors name them, and numbers of descriptors must all be
 * known before one of ours is given a number of its own. */
static int load_records(struct stint_restore *restore, struct stint_err *err)
{
    const struct stint_image *image = restore->group_image;
    struct stint_image_record rec;
    size_t cursor = 0;
    int r = 0;

    while (stint_image_next_of(image, STINT_REC_OBJECT, &cursor, &rec)) {
        struct stint_restored_object *o = &restore->objects[restore->nobjects++];

        o->object = rec.payload;
        o->fd = -1;
    }
    for (cursor = 0; r == 0 && stint_image_next_of(image, STINT_REC_FDS, &cursor, &rec);)
        r = load_fds(restore, rec.payload, err);
    for (cursor = 0; r == 0 && stint_image_next_of(image, STINT_REC_MEMBER, &cursor, &rec);)
        r = load_member(restore, rec.payload, err);
    for (cursor = 0; r == 0 && stint_image_next_of(image, STINT_REC_SEGMENT, &cursor, &rec);)
        r = load_segment(restore, rec.payload, err);
    return r;
}

int stint_restore_load(struct stint_restore *restore, const char *group_image,
                       struct stint_err *err)
{
    int r;

    restore->dirfd = open(restore->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (restore->dirfd < 0)
        return stint_err_set(err, -errno, "open %s", restore->dir);
    r = stint_restore_open_image(restore, group_image, STINT_IMAGE_GROUP,
                                 &restore->group_image, err);
    if (r < 0)
        return r;
    restore->group = stint_image_group(restore->group_image);
    if (restore->group->uid != geteuid())
        return stint_err_set(err, -EPERM, "the checkpoint belongs to user %u, not to user %u.",
                             restore->group->uid, geteuid());
    r = allocate(restore, err);
    return r < 0 ? r : load_records(restore, err);
}

void stint_restore_deinit(struct stint_restore *restore)
{
    for (size_t i = 0; i < restore->nmembers; i++)
        stint_image_close(restore->members[i].image);
    for (size_t i = 0; i < restore->nsegments; i++)
        stint_image_close(restore->segments[i].image);
    free(restore->members);
    free(restore->objects);
    free(restore->segments);
    free(restore->mqueues);
    stint_image_close(restore->group_image);
    stint_numbers_deinit(&restore->fds);
    stint_numbers_deinit(&restore->pids);
    stint_plan_deinit(&restore->plan);
}
