/* eventfd, signalfd, timerfd and pidfd.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_object.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "coordinator/agent_fdinfo.h"
#include "coordinator/agent_group.h"

static bool is_anonymous(const struct agent_object *object, const char *name)
{
    return strncmp(object->link, "anon_inode:", 11) == 0
           && strcmp(object->link + 11, name) == 0;
}

static int unknown(const struct agent_object *object, struct stint_err *err)
{
    return stint_err_set(err, -ENOTSUP, "/proc/self/fdinfo does not describe %s.",
                         object->link);
}

/* --- eventfd -------------------------------------------------------------------- */

static bool match_eventfd(const struct agent_object *object)
{
    return is_anonymous(object, "[eventfd]");
}

/* Kernels before 6.9 do not tell whether it is a semaphore: reading it does, and the
 * count is put back. Nobody else runs. */
static int probe_semaphore(int fd, uint64_t count, bool *semaphore)
{
    uint64_t add = 2, one = 1, got;
    bool added = count < UINT64_MAX / 2; /* else it is large enough, and could block */

    if (added && write(fd, &add, sizeof(add)) != sizeof(add))
        return -errno;
    if (read(fd, &got, sizeof(got)) != sizeof(got))
        return -errno;
    *semaphore = got == 1;
    if (!*semaphore)
        return count == 0 || write(fd, &count, sizeof(count)) == sizeof(count) ? 0 : -errno;
    if (added)
        return read(fd, &got, sizeof(got)) == sizeof(got) ? 0 : -errno;
    return write(fd, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
}

static int describe_eventfd(struct agent_objects *all, struct agent_object *object,
                            const struct agent_segments *segments, struct stint_err *err)
{
    STINT_AUTO_FREE char *text = NULL;
    bool semaphore = false;
    int ret = agent_fdinfo_read(0, object->fd, &text, err);

    if (ret < 0)
        return ret;
    if (!agent_fdinfo_number(text, "eventfd-count", 16, &object->record.a))
        return unknown(object, err);
    if (agent_fdinfo_number(text, "eventfd-semaphore", 10, &object->record.b) || all->glance)
        return 0;
    ret = probe_semaphore(object->fd, object->record.a, &semaphore);
    if (ret < 0)
        return stint_err_set(err, ret, "look at an eventfd");
    object->record.b = semaphore;
    return 0;
}

const struct agent_fdkind agent_fd_eventfd = {
    .kind = STINT_OBJ_EVENTFD,
    .match = match_eventfd,
    .describe = describe_eventfd,
};

/* --- signalfd ------------------------------------------------------------------- */

static bool match_signalfd(const struct agent_object *object)
{
    return is_anonymous(object, "[signalfd]");
}

static int describe_signalfd(struct agent_objects *all, struct agent_object *object,
                             const struct agent_segments *segments, struct stint_err *err)
{
    STINT_AUTO_FREE char *text = NULL;
    int ret = agent_fdinfo_read(0, object->fd, &text, err);

    if (ret < 0)
        return ret;
    if (!agent_fdinfo_number(text, "sigmask", 16, &object->record.a))
        return unknown(object, err);
    return 0;
}

const struct agent_fdkind agent_fd_signalfd = {
    .kind = STINT_OBJ_SIGNALFD,
    .match = match_signalfd,
    .describe = describe_signalfd,
};

/* --- timerfd -------------------------------------------------------------------- */

static bool match_timerfd(const struct agent_object *object)
{
    return is_anonymous(object, "[timerfd]");
}

static bool read_time(const char *text, const char *key, uint64_t *ns)
{
    const char *at = agent_fdinfo_find(text, key, NULL);
    uint64_t seconds, rest;

    if (!at || sscanf(at, "(%" SCNu64 ", %" SCNu64 ")", &seconds, &rest) != 2)
        return false;
    *ns = seconds * 1000000000u + rest;
    return true;
}

static int describe_timerfd(struct agent_objects *all, struct agent_object *object,
                            const struct agent_segments *segments, struct stint_err *err)
{
    STINT_AUTO_FREE struct stint_timerfd *timer = calloc(1, sizeof(*timer));
    STINT_AUTO_FREE char *text = NULL;
    struct itimerspec ignored;
    struct timespec now;
    uint64_t clockid, flags;
    int ret;

    if (!timer)
        return stint_err_set(err, -ENOMEM, "describe a timer");
    /* A periodic timer that has fired stands still until somebody asks: then the kernel
     * counts what it missed and tells when the next one is due. */
    if (timerfd_gettime(object->fd, &ignored) < 0)
        return stint_err_set(err, -errno, "look at a timer");
    ret = agent_fdinfo_read(0, object->fd, &text, err);
    if (ret < 0)
        return ret;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!agent_fdinfo_number(text, "clockid", 10, &clockid)
        || !agent_fdinfo_number(text, "ticks", 10, &timer->ticks)
        || !agent_fdinfo_number(text, "settime flags", 8, &flags)
        || !read_time(text, "it_value", &timer->value_ns)
        || !read_time(text, "it_interval", &timer->interval_ns))
        return unknown(object, err);
    timer->clockid = (int32_t)clockid;
    timer->settime_flags = (uint32_t)flags;
    timer->realtime_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    object->extra = stint_steal_pointer(&timer);
    object->extra_len = sizeof(*timer);
    return 0;
}

const struct agent_fdkind agent_fd_timerfd = {
    .kind = STINT_OBJ_TIMERFD,
    .match = match_timerfd,
    .describe = describe_timerfd,
};

/* --- pidfd ---------------------------------------------------------------------- */

static bool match_pidfd(const struct agent_object *object)
{
    return is_anonymous(object, "[pidfd]");
}

static int describe_pidfd(struct agent_objects *all, struct agent_object *object,
                          const struct agent_segments *segments, struct stint_err *err)
{
    STINT_AUTO_FREE char *text = NULL;
    const struct agent_member *member;
    const char *at;
    int ret = agent_fdinfo_read(0, object->fd, &text, err);
    int pid;

    if (ret < 0)
        return ret;
    at = agent_fdinfo_find(text, "Pid", NULL);
    if (!at)
        return unknown(object, err);
    pid = atoi(at);
    if (pid <= 0) {
        object->record.a = 0; /* reaped: nobody can tell it from another dead one */
        return 0;
    }
    member = agent_group_member(all->group, pid);
    if (!member)
        return agent_object_refuse(object, err, "a pidfd of process %d, which does not belong "
                                                "to the job, is not supported", pid);
    object->record.a = (uint64_t)member->record.pid;
    return 0;
}

const struct agent_fdkind agent_fd_pidfd = {
    .kind = STINT_OBJ_PIDFD,
    .match = match_pidfd,
    .describe = describe_pidfd,
};
