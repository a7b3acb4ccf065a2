/* epoll: which open file descriptions it watches, and how.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A registration is a pair of a file and the number under which it was registered, by
 * whichever process did that; the number may be closed by now, or mean something else.
 * kcmp(2) tells which of the job's descriptions the file is.
 */
#include "coordinator/agent_object.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "coordinator/agent_fdinfo.h"

static bool match_epoll(const struct agent_object *object)
{
    return strcmp(object->link, "anon_inode:[eventpoll]") == 0;
}

/* The object behind the nth registration of the number tfd. *found: NULL when it is none
 * of the job's. Returns 0 or -errno. */
static int find_target(const struct agent_objects *all, const struct agent_object *epoll,
                       int tfd, uint32_t nth, const struct agent_object **found)
{
    struct kcmp_epoll_slot slot
        = {.efd = (uint32_t)epoll->fd, .tfd = (uint32_t)tfd, .toff = nth};
    size_t low = 0, high = all->count;
    pid_t self = getpid();

    *found = NULL;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        long order = syscall(SYS_kcmp, self, self, KCMP_EPOLL_TFD,
                             (unsigned long)all->sorted[middle]->fd, &slot);

        if (order < 0)
            return -errno;
        if (order == 0) {
            *found = all->sorted[middle];
            return 0;
        }
        if (order == 2)
            high = middle;
        else
            low = middle + 1;
    }
    return 0;
}

/* How many of the targets so far were registered under this number. */
static uint32_t count_same(const struct stint_epoll_target *targets, size_t count, int fd)
{
    uint32_t same = 0;

    for (size_t i = 0; i < count; i++)
        same += targets[i].fd == fd;
    return same;
}

static int read_target(const struct agent_objects *all, struct agent_object *epoll,
                       const char *line, struct stint_epoll_target *targets, size_t count,
                       struct stint_err *err)
{
    struct stint_epoll_target *target = &targets[count];
    const struct agent_object *object;
    int ret;

    *target = (struct stint_epoll_target){0};
    if (sscanf(line, "%" SCNd32 " events: %" SCNx32 " data: %" SCNx64, &target->fd,
               &target->events, &target->data)
        != 3)
        return stint_err_set(err, -ENOTSUP, "/proc/self/fdinfo does not describe epoll.");
    ret = find_target(all, epoll, target->fd, count_same(targets, count, target->fd),
                      &object);
    if (ret < 0)
        return stint_err_set(err, ret, "look at what epoll watches (kcmp)");
    if (!object)
        return agent_object_refuse(epoll, err, "epoll watches something (registered as "
                                               "descriptor %d) that no process of the job "
                                               "has open, which is not supported",
                                   target->fd);
    target->object_id = object->record.id;
    return 0;
}

static int describe_epoll(struct agent_objects *all, struct agent_object *object,
                          const struct agent_segments *segments, struct stint_err *err)
{
    STINT_AUTO_FREE char *text = NULL;
    struct stint_epoll_target *targets;
    const char *at = NULL;
    size_t count = 0, lines = 0;
    int ret = agent_fdinfo_read(0, object->fd, &text, err);

    if (ret < 0)
        return ret;
    while ((at = agent_fdinfo_find(text, "tfd", at)))
        lines++;
    if (lines == 0)
        return 0;
    targets = calloc(lines, sizeof(*targets));
    if (!targets)
        return stint_err_set(err, -ENOMEM, "describe epoll");
    object->extra = targets;
    while (ret == 0 && (at = agent_fdinfo_find(text, "tfd", at)))
        ret = read_target(all, object, at, targets, count++, err);
    object->extra_len = lines * sizeof(*targets);
    return ret;
}

const struct agent_fdkind agent_fd_epoll = {
    .kind = STINT_OBJ_EPOLL,
    .match = match_epoll,
    .describe = describe_epoll,
};
