/* Locks that the program holds on files.
 * SPDX-License-Identifier: Apache-2.0
 *
 * fdinfo lists the locks that were taken through an open file description, those of a
 * process only in that process's own. Nobody waits for one here: the call that waits is
 * made again when the program goes on.
 */
#include "coordinator/agent_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "coordinator/agent_fdinfo.h"
#include "coordinator/agent_group.h"

/* "1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF". Returns false when it is not held. */
static bool parse(const char *line, struct stint_lock *lock)
{
    static const struct {
        const char *name;
        enum stint_lock_kind kind;
    } kinds[] = {{"FLOCK", STINT_LOCK_FLOCK}, {"OFDLCK", STINT_LOCK_OFD},
                 {"LEASE", STINT_LOCK_LEASE}, {"POSIX", STINT_LOCK_POSIX}};
    char kind[16], mode[16], type[16], end[32];

    *lock = (struct stint_lock){0};
    if (sscanf(line, "%*d: %15s %15s %15s %*d %*x:%*x:%*u %" SCNd64 " %31s", kind, mode, type,
               &lock->start, end)
        != 5)
        return false;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kind, kinds[i].name) == 0)
            lock->kind = kinds[i].kind;
    }
    if (strcmp(type, "WRITE") == 0)
        lock->type = F_WRLCK;
    else if (strcmp(type, "READ") == 0)
        lock->type = F_RDLCK;
    else
        return false; /* a lease that is being taken away */
    if (strcmp(end, "EOF") != 0)
        lock->len = strtoll(end, NULL, 10) - lock->start + 1;
    return lock->kind != 0;
}

static int append(struct agent_group *group, const struct stint_lock *lock)
{
    struct stint_lock *list
        = reallocarray(group->locks, group->nlocks + 1, sizeof(*list));

    if (!list)
        return -ENOMEM;
    group->locks = list;
    list[group->nlocks++] = *lock;
    return 0;
}

/* Add what a fdinfo says, POSIX locks or all others. */
static int add_locks(struct agent_group *group, const char *text, bool posix,
                     const struct stint_lock *owner, struct stint_err *err)
{
    const char *at = NULL;

    while ((at = agent_fdinfo_find(text, "lock", at))) {
        struct stint_lock lock;

        if (!parse(at, &lock) || (lock.kind == STINT_LOCK_POSIX) != posix)
            continue;
        lock.object_id = owner->object_id;
        lock.pid = owner->pid;
        lock.fd = owner->fd;
        if (append(group, &lock) < 0)
            return stint_err_set(err, -ENOMEM, "list locks");
    }
    return 0;
}

static bool can_be_locked(const struct agent_object *object)
{
    return !object->left_out && !object->severed && !(object->open_flags & O_PATH)
           && (S_ISREG(object->st.st_mode) || S_ISDIR(object->st.st_mode));
}

static pid_t outer_pid(const struct agent_group *group, pid_t inner)
{
    for (size_t i = 0; i < group->nmembers; i++) {
        if (group->members[i].record.pid == inner)
            return group->members[i].pid;
    }
    return 0;
}

int agent_locks_read_object(struct agent_group *group, size_t at, struct stint_err *err)
{
    const struct agent_object *object = group->objects.list[at];
    struct stint_lock owner = {.object_id = object->record.id, .fd = -1};
    STINT_AUTO_FREE char *text = NULL;
    int ret;

    if (!can_be_locked(object) || object->stdio >= 0)
        return 0;
    ret = agent_fdinfo_read(0, object->fd, &text, err);
    return ret == 0 ? add_locks(group, text, false, &owner, err) : ret;
}

int agent_locks_read_fd(struct agent_group *group, size_t at, struct stint_err *err)
{
    const struct agent_fd *fd = &group->objects.fds[at];
    struct stint_lock owner
        = {.object_id = fd->object->record.id, .pid = fd->pid, .fd = fd->number};
    STINT_AUTO_FREE char *text = NULL;
    int ret;

    if (!can_be_locked(fd->object))
        return 0;
    ret = agent_fdinfo_read(outer_pid(group, fd->pid), fd->number, &text, err);
    return ret == 0 ? add_locks(group, text, true, &owner, err) : ret;
}
