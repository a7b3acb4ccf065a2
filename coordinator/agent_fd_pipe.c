/* Pipes and named pipes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Everything stands still, so the bytes in a pipe are copied with tee(2), which does
 * not take them out. Stored with the first description that can read.
 */
#include "coordinator/agent_object.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_write.h"

#define COPY_BYTES (64u << 10)

static bool can_read(const struct agent_object *object)
{
    return (object->open_flags & O_ACCMODE) != O_WRONLY;
}

static bool can_write(const struct agent_object *object)
{
    return (object->open_flags & O_ACCMODE) != O_RDONLY;
}

static bool is_anonymous(const struct agent_object *object)
{
    return strncmp(object->link, "pipe:[", 6) == 0;
}

static bool is_same_pipe(const struct agent_object *a, const struct agent_object *b)
{
    return a->st.st_dev == b->st.st_dev && a->st.st_ino == b->st.st_ino
           && S_ISFIFO(b->st.st_mode);
}

/* Number the pipe, or take the number that its other descriptions have. */
static void number_pipe(struct agent_objects *all, struct agent_object *object)
{
    for (size_t i = 0; i < all->count; i++) {
        if (all->list[i]->record.pipe_id && is_same_pipe(object, all->list[i])) {
            object->record.pipe_id = all->list[i]->record.pipe_id;
            return;
        }
    }
    object->record.pipe_id = ++all->last_pipe_id;
}

/* Has the program an end of this pipe that reads (or writes)? */
static bool has_end(const struct agent_objects *all, const struct agent_object *object,
                    bool reading)
{
    for (size_t i = 0; i < all->count; i++) {
        if (is_same_pipe(object, all->list[i])
            && (reading ? can_read(all->list[i]) : can_write(all->list[i])))
            return true;
    }
    return false;
}

/* The other end is nobody's: reads give end of file, writes SIGPIPE. */
static bool is_other_end_closed(const struct agent_object *object)
{
    struct pollfd poll_fd = {object->fd, POLLIN | POLLOUT, 0};

    return poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & (POLLHUP | POLLERR)) != 0;
}

static int describe_any(struct agent_objects *all, struct agent_object *object,
                        struct stint_err *err)
{
    int size = fcntl(object->fd, F_GETPIPE_SZ), pending = 0;

    number_pipe(all, object);
    object->record.pipe_size = size > 0 ? (uint32_t)size : 0;
    object->record.pos = 0;
    /* A packet's bounds would be lost. */
    if ((object->open_flags & O_DIRECT) && ioctl(object->fd, FIONREAD, &pending) == 0
        && pending > 0)
        return agent_object_refuse(object, err,
                                   "a pipe in packet mode with %d bytes in it is not "
                                   "supported yet",
                                   pending);
    if (has_end(all, object, !can_read(object)) || is_other_end_closed(object))
        return 0;
    if (agent_object_sever(all, object))
        object->record.pipe_id = 0;
    else
        return agent_object_refuse(object, err,
                                   "the other end of %s is in a process that is not part "
                                   "of the program: start that with it, or write to a file",
                                   object->link);
    return 0;
}

/* The first description that can read stores the contents. */
static bool is_store(const struct agent_objects *all, const struct agent_object *object)
{
    if (!can_read(object))
        return false;
    for (size_t i = 0; i < all->count && all->list[i] != object; i++) {
        if (is_same_pipe(object, all->list[i]) && can_read(all->list[i]))
            return false;
    }
    return true;
}

/* Copy what is in the pipe into a scratch pipe as large. Returns its reading end, or
 * -errno. */
static int tee_contents(int fd, int size)
{
    STINT_AUTO_CLOSE int read_end = -1, write_end = -1;
    int fds[2];
    ssize_t n;

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    read_end = fds[0];
    write_end = fds[1];
    if (fcntl(write_end, F_SETPIPE_SZ, size) < 0)
        return -errno;
    do
        n = tee(fd, write_end, (size_t)size, SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        return -errno;
    return stint_steal_fd(&read_end);
}

static int store_any(struct agent_object *object, struct stint_image_writer *writer,
                     struct stint_err *err)
{
    STINT_AUTO_CLOSE int scratch = -1;
    STINT_AUTO_FREE char *buf = NULL;
    int pending = 0, copied = 0, ret = 0;
    ssize_t n;

    if (!object->record.c) /* set by describe: this one stores */
        return 0;
    object->record.c = 0;
    if (ioctl(object->fd, FIONREAD, &pending) < 0)
        return stint_err_set(err, -errno, "look into %s", object->link);
    if (pending == 0)
        return 0;
    scratch = tee_contents(object->fd, (int)object->record.pipe_size);
    buf = malloc(COPY_BYTES);
    if (scratch < 0 || !buf)
        return stint_err_set(err, scratch < 0 ? scratch : -ENOMEM, "copy what is in %s",
                             object->link);
    while (ret == 0 && (n = read(scratch, buf, COPY_BYTES)) > 0) {
        ret = stint_image_writer_data(writer, buf, (size_t)n, err);
        copied += (int)n;
    }
    if (ret == 0 && copied != pending)
        return stint_err_set(err, -EIO, "copied %d bytes of the %d in %s.", copied, pending,
                             object->link);
    if (ret == 0)
        ret = stint_image_writer_data_end(writer, &object->record.data_offset,
                                          &object->record.data_len,
                                          &object->record.data_xxh3, err);
    return ret;
}

static bool match_pipe(const struct agent_object *object)
{
    return S_ISFIFO(object->st.st_mode) && is_anonymous(object);
}

static int describe_pipe(struct agent_objects *all, struct agent_object *object,
                         const struct agent_segments *segments, struct stint_err *err)
{
    object->record.c = is_store(all, object);
    return describe_any(all, object, err);
}

const struct agent_fdkind agent_fd_pipe = {
    .kind = STINT_OBJ_PIPE,
    .match = match_pipe,
    .describe = describe_pipe,
    .store = store_any,
};

static bool match_fifo(const struct agent_object *object)
{
    return S_ISFIFO(object->st.st_mode);
}

static int describe_fifo(struct agent_objects *all, struct agent_object *object,
                         const struct agent_segments *segments, struct stint_err *err)
{
    struct stat st;

    if (lstat(object->link, &st) < 0 || st.st_ino != object->st.st_ino
        || st.st_dev != object->st.st_dev)
        return agent_object_refuse(object, err, "the removed named pipe %s is not supported",
                                   object->link);
    object->path = strdup(object->link);
    if (!object->path)
        return stint_err_set(err, -ENOMEM, "describe %s", object->link);
    object->record.c = is_store(all, object);
    return describe_any(all, object, err);
}

const struct agent_fdkind agent_fd_fifo = {
    .kind = STINT_OBJ_FIFO,
    .match = match_fifo,
    .describe = describe_fifo,
    .store = store_any,
};
