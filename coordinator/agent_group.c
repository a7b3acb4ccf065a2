/* The group image.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_group.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "common/ckpt.h"
#include "common/cleanup.h"
#include "common/image_objects.h"
#include "common/image_write.h"
#include "coordinator/agent_ipc.h"
#include "coordinator/agent_mqueue.h"
#include "coordinator/agent_saved.h"
#include "coordinator/agent_state.h"
#include "coordinator/agent_stopped.h"

/* --- describe ---------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t clock, int64_t offset)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)(now.tv_sec * 1000000000ll + now.tv_nsec + offset);
}

/* The newest pid that was given out. In a restored program's namespace it cannot be
 * read from outside: the highest that is seen will do. */
static int32_t read_last_pid(const struct agent *agent)
{
    STINT_AUTO_FCLOSE FILE *file = NULL;
    int last = 0;

    if (agent->restore)
        return 0;
    file = fopen("/proc/loadavg", "re");
    if (!file || fscanf(file, "%*s %*s %*s %*s %d", &last) != 1)
        return 0;
    return last;
}

/* The terminal's foreground process group, as the programs see it. */
static pid_t read_foreground(const struct agent *agent)
{
    struct agent_inner inner;
    pid_t pgid = 0;

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && pgid <= 0; fd++)
        pgid = tcgetpgrp(fd);
    if (pgid <= 0)
        return 0;
    if (pgid == getpgrp())
        return agent->inner_pgid;
    return agent_proc_inner(pgid, &inner) == 0 ? inner.pid : 0;
}

static void describe_group(struct stint_group *record, struct agent *agent)
{
    struct agent_clocks offset;
    char host[HOST_NAME_MAX + 1] = "";

    (void)gethostname(host, sizeof(host) - 1); /* stays empty */
    snprintf(record->name, sizeof(record->name), "%s", agent->config->group);
    snprintf(record->host, sizeof(record->host), "%.63s", host);
    record->agent_pid = agent->inner_pid;
    record->agent_pgid = agent->inner_pgid;
    record->agent_sid = agent->inner_sid;
    record->root_pid = agent->inner_root;
    record->last_pid = read_last_pid(agent);
    if (isatty(STDIN_FILENO) || isatty(STDOUT_FILENO) || isatty(STDERR_FILENO))
        record->flags |= STINT_GROUP_TERMINAL;
    record->foreground_pgid = read_foreground(agent);
    record->uid = getuid();
    record->gid = getgid();
    agent_proc_clocks(agent->root, &offset);
    record->realtime_ns = clock_ns(CLOCK_REALTIME, 0);
    record->monotonic_ns = clock_ns(CLOCK_MONOTONIC, offset.monotonic_ns);
    record->boottime_ns = clock_ns(CLOCK_BOOTTIME, offset.boottime_ns);
}

/* The parent as the program sees it: what stands outside of it is the agent, or the
 * restorer's stand-in with the old agent's pid. */
static pid_t inner_parent(const struct agent *agent, const struct agent_group *group,
                          pid_t ppid)
{
    const struct agent_member *parent = agent_group_member(group, ppid);

    return parent ? parent->record.pid : agent->inner_pid;
}

static char *image_name(const char *group, pid_t pid, const char *comm)
{
    char clean[16], *name;
    size_t i;

    for (i = 0; comm[i] && i < sizeof(clean) - 1; i++) {
        char c = comm[i];

        clean[i] = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
                           || c == '.' || c == '_' || c == '-'
                       ? c
                       : '_';
    }
    clean[i] = '\0';
    if (asprintf(&name, "%s-%d-%s.img", group, (int)pid, clean) < 0)
        return NULL;
    return name;
}

static int describe_member(struct agent_group *group, struct agent *agent,
                           const struct agent_proc *proc, struct stint_err *err)
{
    struct agent_member *member = &group->members[group->nmembers];
    struct stint_member *record = &member->record;
    struct agent_inner inner;

    if (agent_proc_inner(proc->pid, &inner) < 0)
        return stint_err_set(err, -EAGAIN, "process %d (%s) was killed meanwhile.",
                             (int)proc->pid, proc->comm);
    member->pid = proc->pid;
    record->pid = inner.pid;
    record->ppid = inner_parent(agent, group, proc->ppid);
    record->pgid = inner.pgid ? inner.pgid : agent->inner_pgid;
    record->sid = inner.sid ? inner.sid : agent->inner_sid;
    memcpy(record->comm, proc->comm, sizeof(record->comm));
    if (inner.pid > group->record.last_pid)
        group->record.last_pid = inner.pid;
    if (agent_proc_is_zombie(proc)) {
        record->state = STINT_MEMBER_ZOMBIE;
        record->exit_status = proc->exit_code;
    } else {
        bool stopped = agent_stopped_is_stopped(agent, proc->pid);

        record->state = stopped ? STINT_MEMBER_STOPPED : STINT_MEMBER_RUNNING;
        record->stop_signal = stopped ? proc->exit_code & 0x7f : 0;
        member->image_name = image_name(group->record.name, inner.pid, proc->comm);
        if (!member->image_name)
            return stint_err_set(err, -ENOMEM, "describe the processes");
    }
    group->nmembers++;
    return 0;
}

int agent_group_describe(struct agent_group *group, struct agent *agent,
                         const struct agent_procs *procs, struct stint_err *err)
{
    describe_group(&group->record, agent);
    group->members = calloc(procs->count + 1, sizeof(*group->members));
    if (!group->members)
        return stint_err_set(err, -ENOMEM, "describe the processes");
    for (size_t i = 0; i < procs->count; i++) {
        int ret = describe_member(group, agent, &procs->list[i], err);

        if (ret < 0)
            return ret;
    }
    return 0;
}

const struct agent_member *agent_group_member(const struct agent_group *group, pid_t pid)
{
    for (size_t i = 0; i < group->nmembers; i++) {
        if (group->members[i].pid == pid)
            return &group->members[i];
    }
    return NULL;
}

int agent_group_add_undo(struct agent_group *group, pid_t pid,
                         const struct stint_ckpt_sem_undo *undo)
{
    struct stint_sem_undo *list
        = reallocarray(group->undo, group->nundo + 1, sizeof(*list));

    if (!list)
        return -ENOMEM;
    group->undo = list;
    list[group->nundo++] = (struct stint_sem_undo){
        .pid = pid, .id = undo->id, .number = undo->number, .adjustment = undo->adjustment};
    return 0;
}

/* --- write ------------------------------------------------------------------- */

static size_t length(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static int write_record(struct stint_image_writer *writer, enum stint_record_type type,
                        const void *record, size_t len, const void *more, size_t more_len,
                        const void *last, size_t last_len, struct stint_err *err)
{
    const struct iovec parts[] = {
        {(void *)record, len}, {(void *)more, more_len}, {(void *)last, last_len}};
    size_t nparts = last_len ? 3 : more_len ? 2 : 1;

    return stint_image_writer_record(writer, type, STINT_RECORD_REQUIRED, parts, nparts, err);
}

static int store_objects(struct agent_group *group, struct stint_image_writer *writer,
                         struct stint_err *err)
{
    for (size_t i = 0; i < group->objects.count; i++) {
        struct agent_object *object = group->objects.list[i];
        int ret;

        if (object->left_out || object->severed || !object->kind->store)
            continue;
        ret = object->kind->store(object, writer, err);
        if (ret < 0)
            return stint_err_prefix(err, "process %d (%s), descriptor %d", (int)object->pid,
                                    object->comm, object->number);
    }
    return 0;
}

static int write_members(struct agent_group *group, struct stint_image_writer *writer,
                         struct stint_err *err)
{
    int ret = 0;

    for (size_t i = 0; i < group->nmembers && ret == 0; i++) {
        struct agent_member *member = &group->members[i];

        member->record.name_len = (uint32_t)length(member->image_name);
        ret = write_record(writer, STINT_REC_MEMBER, &member->record, sizeof(member->record),
                           member->image_name, member->record.name_len, NULL, 0, err);
    }
    return ret;
}

static int write_segments(struct agent_group *group, struct stint_image_writer *writer,
                          struct stint_err *err)
{
    int ret = 0;

    for (size_t i = 0; i < group->segments.count && ret == 0; i++) {
        struct agent_segment *segment = &group->segments.list[i];

        segment->record.name_len = (uint32_t)length(segment->image_name);
        segment->record.path_len
            = (uint32_t)length(segment->path ? segment->path : segment->name);
        ret = write_record(writer, STINT_REC_SEGMENT, &segment->record,
                           sizeof(segment->record), segment->image_name,
                           segment->record.name_len,
                           segment->path ? segment->path : segment->name,
                           segment->record.path_len, err);
    }
    return ret;
}

static int write_objects(struct agent_group *group, struct stint_image_writer *writer,
                         struct stint_err *err)
{
    int ret = 0;

    for (size_t i = 0; i < group->objects.count && ret == 0; i++) {
        struct agent_object *object = group->objects.list[i];

        if (object->left_out)
            continue;
        object->record.path_len = (uint32_t)length(object->path);
        object->record.extra_len = (uint32_t)object->extra_len;
        ret = write_record(writer, STINT_REC_OBJECT, &object->record, sizeof(object->record),
                           object->path, object->record.path_len, object->extra,
                           object->extra_len, err);
    }
    return ret;
}

/* One record per process, with the descriptors that it has. */
static int write_fds(struct agent_group *group, struct stint_image_writer *writer,
                     struct stint_err *err)
{
    const struct agent_objects *all = &group->objects;
    STINT_AUTO_FREE struct stint_fd *list = calloc(all->nfds + 1, sizeof(*list));
    int ret = 0;

    if (!list)
        return stint_err_set(err, -ENOMEM, "write descriptors");
    for (size_t i = 0; i < all->nfds && ret == 0;) {
        struct stint_fds record = {.pid = all->fds[i].pid};

        for (; i < all->nfds && all->fds[i].pid == record.pid; i++) {
            if (all->fds[i].object->left_out)
                continue;
            list[record.count++] = (struct stint_fd){
                .fd = all->fds[i].number,
                .flags = all->fds[i].cloexec,
                .object_id = all->fds[i].object->record.id,
            };
        }
        ret = write_record(writer, STINT_REC_FDS, &record, sizeof(record), list,
                           record.count * sizeof(*list), NULL, 0, err);
    }
    return ret;
}

static int write_all(struct agent_group *group, struct stint_image_writer *writer,
                     void (*copied)(void *arg), void *arg, struct stint_err *err)
{
    int ret = store_objects(group, writer, err);

    if (ret < 0)
        return ret;
    ret = agent_ipc_store(group->ipc, writer, err);
    if (ret == 0)
        ret = agent_mqueue_store(group->objects.mqueues, writer, err);
    if (ret == 0 && group->saved)
        ret = agent_saved_store(group->saved, writer, err);
    if (ret < 0)
        return ret;
    copied(arg);
    group->record.nmembers = (uint32_t)group->nmembers;
    group->record.nsegments = (uint32_t)group->segments.count;
    for (size_t i = 0; i < group->objects.count; i++)
        group->record.nobjects += !group->objects.list[i]->left_out;
    ret = write_record(writer, STINT_REC_GROUP, &group->record, sizeof(group->record), NULL,
                       0, NULL, 0, err);
    if (ret == 0)
        ret = write_members(group, writer, err);
    if (ret == 0)
        ret = write_segments(group, writer, err);
    if (ret == 0)
        ret = write_objects(group, writer, err);
    if (ret == 0)
        ret = write_fds(group, writer, err);
    if (ret == 0)
        ret = agent_ipc_write(group->ipc, writer, err);
    if (ret == 0)
        ret = agent_mqueue_write(group->objects.mqueues, writer, err);
    if (ret == 0 && group->saved)
        ret = agent_saved_write(group->saved, writer, err);
    if (ret == 0 && group->nundo > 0)
        ret = write_record(writer, STINT_REC_SEM_UNDO, group->undo,
                           group->nundo * sizeof(*group->undo), NULL, 0, NULL, 0, err);
    if (ret == 0 && group->nlocks > 0)
        ret = write_record(writer, STINT_REC_LOCKS, group->locks,
                           group->nlocks * sizeof(*group->locks), NULL, 0, NULL, 0, err);
    return ret;
}

int agent_group_write(struct agent_group *group, int fd, const char *name,
                      uint64_t generation, const uint8_t *gen_id,
                      void (*copied)(void *arg), void *arg, struct stint_err *err)
{
    struct stint_image_writer *writer;
    int ret = stint_image_writer_new(&writer, fd, name, STINT_IMAGE_GROUP, generation,
                                     gen_id, err);

    if (ret < 0)
        return ret;
    ret = write_all(group, writer, copied, arg, err);
    if (ret == 0)
        ret = stint_image_writer_finish(writer, NULL, err);
    stint_image_writer_free(writer);
    return ret;
}

void agent_group_deinit(struct agent_group *group)
{
    for (size_t i = 0; i < group->nmembers; i++)
        free(group->members[i].image_name);
    free(group->members);
    free(group->locks);
    free(group->undo);
    agent_ipc_free(group->ipc);
    agent_saved_free(group->saved);
    agent_objects_deinit(&group->objects);
    agent_segments_deinit(&group->segments);
    memset(group, 0, sizeof(*group));
}
