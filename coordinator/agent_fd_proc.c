/* Files and directories of /proc.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They are opened again by path: contents are the kernel's, made anew for each reader.
 * A restored program has a /proc of its own, in which its processes have their pids, so
 * the numbers in these paths are the program's own, seen from wherever.
 */
#include "coordinator/agent_object.h"

#include <ctype.h>
#include <errno.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/image_objects.h"
#include "coordinator/agent_group.h"
#include "coordinator/agent_state.h"

static bool match_proc(const struct agent_object *object)
{
    struct statfs fs;

    return object->link[0] == '/' && (S_ISREG(object->st.st_mode) || S_ISDIR(object->st.st_mode))
           && fstatfs(object->fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

static bool is_member(const struct agent_group *group, long pid)
{
    for (size_t i = 0; i < group->nmembers; i++) {
        if (group->members[i].record.pid == pid)
            return true;
    }
    return false;
}

/* Has a process that is not there been one of the job's? The number may mean another one
 * by now. */
static bool is_dead(const struct agent *agent, const struct agent_object *object, long pid)
{
    char byte;

    if (pread(object->fd, &byte, 1, 0) < 0 && errno == ESRCH)
        return true;
    if (agent->restore) /* nothing else is in that /proc but the restorer's own */
        return pid != 1 && pid != agent->inner_pid;
    return kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

/* "/proc/12/task/13/stat": threads other than the first come back too late for that. */
static bool is_of_other_thread(const char *path, long pid)
{
    const char *task = strstr(path, "/task/");

    return task && isdigit((unsigned char)task[6]) && strtol(task + 6, NULL, 10) != pid;
}

static int describe_proc(struct agent_objects *all, struct agent_object *object,
                         const struct agent_segments *segments, struct stint_err *err)
{
    long pid;

    object->path = strdup(object->link);
    if (!object->path)
        return stint_err_set(err, -ENOMEM, "describe %s", object->link);
    if (strncmp(object->path, "/proc/", 6) != 0)
        return agent_object_refuse(object, err, "%s, on a /proc that is mounted elsewhere, is "
                                                "not supported",
                                   object->path);
    object->record.flags |= STINT_OBJFLAG_KEEP_SIZE;
    if (!isdigit((unsigned char)object->path[6]))
        return 0;
    pid = strtol(object->path + 6, NULL, 10);
    object->record.a = (uint64_t)pid;
    if (!is_member(all->group, pid) && is_dead(all->agent, object, pid)) {
        object->record.b = 1;
        return 0;
    }
    if (!is_member(all->group, pid))
        return agent_object_refuse(object, err, "%s, of a process that does not belong to the "
                                                "job, is not supported",
                                   object->path);
    if (is_of_other_thread(object->path, pid))
        return agent_object_refuse(object, err, "%s, of a thread other than the first, is not "
                                                "supported",
                                   object->path);
    return 0;
}

const struct agent_fdkind agent_fd_proc = {
    .kind = STINT_OBJ_PROC,
    .match = match_proc,
    .describe = describe_proc,
};
