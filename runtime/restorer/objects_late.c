/* Objects that need the processes to exist: opened by init when they do.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The processes have inherited the receiving end of a socket in the object's place.
 * Init sends the descriptor once; everybody peeks at it, which gives each a copy.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/objects.h"

union rights {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

bool stint_object_is_late(const struct stint_object *object)
{
    if (object->kind == STINT_OBJ_PIDFD)
        return object->a != 0;
    return object->kind == STINT_OBJ_PROC && object->a != 0 && object->b == 0;
}

int stint_object_promise(struct stint_restore *restore, struct stint_restored_object *o,
                         struct stint_err *err)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) < 0)
        return stint_err_set(err, -errno, "make a socket pair");
    o->fd = stint_restore_keep_fd(restore, ends[0], err);
    if (o->fd < 0) {
        (void)close(ends[1]); /* of no use */
        return o->fd;
    }
    o->offer = stint_restore_keep_fd(restore, ends[1], err);
    o->late = true;
    return o->offer < 0 ? o->offer : 0;
}

int stint_object_keep_promise(struct stint_restore *restore, struct stint_restored_object *o,
                              int fd, struct stint_err *err)
{
    STINT_AUTO_CLOSE int kept = stint_restore_keep_fd(restore, fd, err);
    union rights control;
    char byte = 0;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof(control)};

    if (kept < 0)
        return kept;
    memset(&control, 0, sizeof(control));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &kept, sizeof(kept));
    if (sendmsg(o->offer, &message, MSG_NOSIGNAL) < 0)
        return stint_err_set(err, -errno, "hand a descriptor over");
    (void)close(o->offer); /* the message stays in the other end */
    (void)close(o->fd);    /* the processes have theirs */
    o->offer = -1;
    o->fd = stint_steal_fd(&kept);
    o->late = false;
    return 0;
}

static int take(const struct stint_restored_object *o, struct stint_err *err)
{
    union rights control;
    char byte;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    int fd;

    if (recvmsg(o->fd, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
        return stint_err_set(err, -errno, "take a descriptor over");
    if (message.msg_controllen < sizeof(struct cmsghdr))
        return stint_err_set(err, -EMFILE, "take a descriptor over");
    memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
    return fd;
}

int stint_objects_take_late(struct stint_restore *restore, struct stint_err *err)
{
    if (shared_wait(restore->shared, STINT_PHASE_LATE) < 0)
        return -ECANCELED;
    for (size_t i = 0; i < restore->nobjects; i++) {
        struct stint_restored_object *o = &restore->objects[i];
        int fd;

        if (!o->late)
            continue;
        fd = take(o, err);
        if (fd < 0)
            return fd;
        o->fd = stint_restore_keep_fd(restore, fd, err);
        if (o->fd < 0)
            return o->fd;
        o->late = false;
    }
    return 0;
}
