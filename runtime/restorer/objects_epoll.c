/* epoll: made empty with the other objects, filled when all of them exist.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A registration remembers the number under which it was made: the target gets that
 * number in init for a moment. One of a signalfd also remembers whose signals are meant:
 * those of the process that made it, which has to make it again.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "runtime/restorer/objects.h"

#define MODE_BITS (EPOLLONESHOT | EPOLLET | EPOLLWAKEUP | EPOLLEXCLUSIVE)

int stint_object_open_epoll(struct stint_restore *restore, struct stint_restored_object *o,
                            struct stint_err *err)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);

    return fd < 0 ? stint_err_set(err, -errno, "make an epoll descriptor") : fd;
}

/* epoll_ctl(2) on `target` as if it had that number. Returns 0 or -errno. */
static int control(int epoll, int op, int number, int target, struct epoll_event *event)
{
    int in_use = fcntl(number, F_GETFD), saved = -1, r;

    /* none of the two may be hidden by the other, or by what is here already */
    STINT_AUTO_CLOSE int ours = fcntl(epoll, F_DUPFD_CLOEXEC, number + 1);
    STINT_AUTO_CLOSE int theirs = fcntl(target, F_DUPFD_CLOEXEC, number + 1);

    if (in_use >= 0)
        saved = fcntl(number, F_DUPFD_CLOEXEC, number + 1);
    if (ours < 0 || theirs < 0 || (in_use >= 0 && saved < 0)
        || dup3(theirs, number, O_CLOEXEC) < 0)
        r = -errno;
    else
        r = epoll_ctl(ours, op, number, event) < 0 ? -errno : 0;
    if (in_use < 0) {
        (void)close(number); /* a copy */
    } else if (saved >= 0) {
        (void)dup3(saved, number, in_use & FD_CLOEXEC ? O_CLOEXEC : 0); /* as it was */
        (void)close(saved); /* a copy */
    }
    return r;
}

static bool is_disarmed(const struct stint_epoll_target *target)
{
    return target->events & EPOLLONESHOT && !(target->events & ~(uint32_t)MODE_BITS);
}

/* A one-shot registration that has fired: let it fire again and take the event. What is
 * not ready for anything keeps waiting for EPOLLERR and EPOLLHUP, which cannot be left
 * out. The set holds nothing else yet that could fire. */
static int add_disarmed(int epoll, const struct stint_epoll_target *target, int fd)
{
    struct epoll_event event = {.events = target->events | EPOLLIN | EPOLLOUT | EPOLLPRI
                                          | EPOLLRDNORM | EPOLLWRNORM,
                                .data.u64 = target->data};
    struct epoll_event fired;
    int r = control(epoll, EPOLL_CTL_ADD, target->fd, fd, &event);

    if (r < 0 || epoll_wait(epoll, &fired, 1, 0) == 1)
        return r;
    event.events = target->events;
    return control(epoll, EPOLL_CTL_MOD, target->fd, fd, &event);
}

static int add(int epoll, const struct stint_epoll_target *target, int fd)
{
    struct epoll_event event = {.events = target->events, .data.u64 = target->data};

    if (is_disarmed(target))
        return add_disarmed(epoll, target, fd);
    return control(epoll, EPOLL_CTL_ADD, target->fd, fd, &event);
}

static int link_target(struct stint_restore *restore,
                       const struct stint_restored_object *epoll,
                       const struct stint_epoll_target *target, struct stint_err *err)
{
    const struct stint_restored_object *o = stint_restore_object(restore, target->object_id);
    int r;

    if (!o || o->fd < 0) {
        stint_restore_note(restore, "epoll: what was registered as descriptor %d is not there "
                                    "any more",
                           target->fd);
        return 0;
    }
    r = add(epoll->fd, target, o->fd);
    return r < 0 ? stint_err_set(err, r, "register descriptor %d in epoll again", target->fd)
                 : 0;
}

/* Which process has the signals that a signalfd in an epoll tells about? The one that
 * registered it: the eldest that has both, the signalfd under that number if possible. */
static int32_t registrant(struct stint_restore *restore,
                          const struct stint_restored_object *epoll,
                          const struct stint_epoll_target *target)
{
    struct stint_image_record rec;
    size_t cursor = 0;
    int32_t second = 0;

    while (stint_image_next_of(restore->group_image, STINT_REC_FDS, &cursor, &rec)) {
        const struct stint_fds *fds = rec.payload;
        const struct stint_fd *fd = (const void *)(fds + 1);
        bool has_epoll = false, has_target = false, has_number = false;

        for (uint32_t i = 0; i < fds->count; i++) {
            has_epoll |= fd[i].object_id == epoll->object->id;
            has_target |= fd[i].object_id == target->object_id;
            has_number |= fd[i].object_id == target->object_id && fd[i].fd == target->fd;
        }
        if (has_epoll && has_number)
            return fds->pid;
        if (has_epoll && has_target && !second)
            second = fds->pid;
    }
    return second;
}

static bool is_signalfd(struct stint_restore *restore, const struct stint_epoll_target *target)
{
    const struct stint_restored_object *o = stint_restore_object(restore, target->object_id);

    return o && o->object->kind == STINT_OBJ_SIGNALFD;
}

/* pid: 0 for what init registers, else for what that process has to. */
static int link_one(struct stint_restore *restore, const struct stint_restored_object *epoll,
                    int32_t pid, bool disarmed, struct stint_err *err)
{
    const struct stint_epoll_target *targets = stint_object_extra(epoll->object);
    size_t count = epoll->object->extra_len / sizeof(*targets);

    for (size_t i = 0; i < count; i++) {
        int32_t owner = is_signalfd(restore, &targets[i])
                            ? registrant(restore, epoll, &targets[i])
                            : 0;
        int r = 0;

        if (is_disarmed(&targets[i]) == disarmed && owner == pid)
            r = link_target(restore, epoll, &targets[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

int stint_objects_link_epoll(struct stint_restore *restore, int32_t pid, struct stint_err *err)
{
    for (int disarmed = 1; disarmed >= 0; disarmed--) {
        for (size_t i = 0; i < restore->nobjects; i++) {
            const struct stint_restored_object *o = &restore->objects[i];
            int r = o->object->kind == STINT_OBJ_EPOLL && o->fd >= 0
                        ? link_one(restore, o, pid, disarmed, err)
                        : 0;

            if (r < 0)
                return r;
        }
    }
    return 0;
}
