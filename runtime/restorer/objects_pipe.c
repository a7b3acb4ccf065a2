/* Pipes and named pipes, with the bytes that were in them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/objects.h"

/* The contents belong to the pipe: they are stored with one of its read ends. */
static const struct stint_object *contents_of(const struct stint_restore *restore,
                                              const struct stint_object *end)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_object *other = restore->objects[i].object;

        if (other->kind == end->kind && other->pipe_id == end->pipe_id && other->data_len > 0)
            return other;
    }
    return NULL;
}

/* fd: a write end, not blocking, so that too small a pipe is an error and no hang. */
static int fill(struct stint_restore *restore, const struct stint_object *end, int fd,
                struct stint_err *err)
{
    const struct stint_object *contents = contents_of(restore, end);

    if (end->pipe_size && fcntl(fd, F_GETPIPE_SZ) != (int)end->pipe_size &&
        fcntl(fd, F_SETPIPE_SZ, (int)end->pipe_size) < 0)
        stint_restore_note(restore, "a pipe of %u bytes has the usual size now: the limit "
                                    "fs.pipe-user-pages-soft is reached",
                           end->pipe_size);
    return contents ? stint_object_put_data(restore, contents, fd, err) : 0;
}

/* The first end that comes makes the pipe, and all other ends at once: they have
 * to be there before the pipe's own two descriptors go. */
static int open_ends(struct stint_restore *restore, const struct stint_object *first,
                     const int pipe_fds[2], struct stint_err *err)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        struct stint_restored_object *o = &restore->objects[i];
        int fd;

        if (o->object->kind != first->kind || o->object->pipe_id != first->pipe_id ||
            o->fd >= 0 || o->object == first)
            continue;
        fd = stint_reopen(pipe_fds[0], stint_object_flags(o->object) | O_NONBLOCK);
        if (fd < 0)
            return stint_err_set(err, fd, "open an end of a pipe");
        (void)fcntl(fd, F_SETFL, o->object->open_flags & ~(unsigned)O_ASYNC); /* open: works */
        o->fd = stint_restore_keep_fd(restore, fd, err);
        if (o->fd < 0)
            return o->fd;
    }
    return 0;
}

int stint_object_open_pipe(struct stint_restore *restore,
                           struct stint_restored_object *o, struct stint_err *err)
{
    int fds[2];
    STINT_AUTO_CLOSE int read_end = -1;
    STINT_AUTO_CLOSE int write_end = -1;
    int fd, r;

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return stint_err_set(err, -errno, "make a pipe");
    read_end = fds[0];
    write_end = fds[1];
    r = fill(restore, o->object, write_end, err);
    if (r == 0)
        r = open_ends(restore, o->object, fds, err);
    if (r < 0)
        return r;
    fd = stint_reopen(read_end, stint_object_flags(o->object) | O_NONBLOCK);
    if (fd < 0)
        return stint_err_set(err, fd, "open an end of a pipe");
    (void)fcntl(fd, F_SETFL, o->object->open_flags & ~(unsigned)O_ASYNC); /* open: works */
    return fd;
}

/* Held open for reading and writing meanwhile, no end blocks or loses bytes. */
int stint_object_open_fifo(struct stint_restore *restore,
                           struct stint_restored_object *o, struct stint_err *err)
{
    const char *path = stint_object_path(o->object);
    STINT_AUTO_CLOSE int holder = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int fd, r;

    if (holder < 0)
        return stint_err_set(err, -errno, "open %s", path);
    if (o->object->pipe_id) {
        int fds[2] = {holder, holder};

        r = fill(restore, o->object, holder, err);
        if (r == 0)
            r = open_ends(restore, o->object, fds, err);
    } else {
        r = stint_object_put_data(restore, o->object, holder, err);
    }
    if (r < 0)
        return r;
    fd = stint_reopen(holder, stint_object_flags(o->object) | O_NONBLOCK);
    if (fd < 0)
        return stint_err_set(err, fd, "open %s", path);
    (void)fcntl(fd, F_SETFL, o->object->open_flags & ~(unsigned)O_ASYNC); /* open: works */
    return fd;
}
