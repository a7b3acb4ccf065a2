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
#include "common/image_objects.h"
#include "common/image_write.h"

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
    int size = fcntl(object->fd, F_GETPIPE_SZ);

    number_pipe(all, object);
    object->record.pipe_size = size > 0 ? (uint32_t)size : 0;
    object->record.pos = 0;
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

/* Does somebody write packets into it? */
static bool is_direct(const struct agent_objects *all, const struct agent_object *object)
{
    for (size_t i = 0; i < all->count; i++) {
        if (is_same_pipe(object, all->list[i]) && can_write(all->list[i])
            && all->list[i]->open_flags & O_DIRECT)
            return true;
    }
    return false;
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

/* Copy what is in the pipe into a scratch pipe as large. Returns 0 with its ends, or
 * -errno. */
static int tee_contents(int fd, int size, int *read_end, int *write_end)
{
    int fds[2];
    ssize_t n;

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    *read_end = fds[0];
    *write_end = fds[1];
    if (fcntl(*write_end, F_SETPIPE_SZ, size) < 0)
        return -errno;
    do
        n = tee(fd, *write_end, (size_t)size, SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    return n < 0 && errno != EAGAIN ? -errno : 0;
}

/* --- packets ------------------------------------------------------------------------ */

/* What is in a pipe: pieces of a stream, and packets (O_DIRECT). A read ends with a packet,
 * and what does not fit of it is lost: so one copy is read as a whole, another byte by byte
 * where it has to be known how long a packet is. */
struct contents {
    char *bytes;
    size_t len;
    uint32_t *pieces; /* as in the image */
    size_t npieces;
    bool packets; /* there is one */
    int measure;  /* the second copy: as much of it was read as of the first */
};

static int add_piece(struct contents *contents, uint32_t len, uint32_t flag)
{
    uint32_t *pieces
        = reallocarray(contents->pieces, contents->npieces + 1, sizeof(*pieces));

    if (!pieces)
        return -ENOMEM;
    contents->pieces = pieces;
    pieces[contents->npieces++] = len | flag;
    contents->packets |= flag != 0;
    return 0;
}

/* A read has given len bytes, of which the last ones are a packet: how many? Or -errno. */
static int measure_packet(const struct contents *contents, size_t len)
{
    for (size_t stream = 0;; stream++) {
        int before, after;
        char byte;

        if (ioctl(contents->measure, FIONREAD, &before) < 0
            || read(contents->measure, &byte, 1) != 1
            || ioctl(contents->measure, FIONREAD, &after) < 0)
            return -EIO;
        if (stream == len - 1 || before - after != 1)
            return (int)(len - stream);
    }
}

static int add_read(struct contents *contents, size_t len, bool ends_with_packet)
{
    int packet = ends_with_packet ? measure_packet(contents, len) : 0, ret = 0;

    if (packet < 0)
        return packet;
    if (len > (size_t)packet)
        ret = add_piece(contents, (uint32_t)len - (uint32_t)packet, 0);
    if (ret == 0 && packet > 0)
        ret = add_piece(contents, (uint32_t)packet, STINT_PIPE_PACKET);
    contents->len += len;
    return ret;
}

/* from: the copy, with `marked` one more byte, of a stream, at its end. */
static int read_contents(struct contents *contents, int from, size_t pending, bool marked,
                         bool direct)
{
    size_t whole = pending + marked;
    int ret = 0;

    contents->bytes = malloc(whole + 1);
    if (!contents->bytes)
        return -ENOMEM;
    while (ret == 0 && contents->len < pending) {
        ssize_t n = read(from, contents->bytes + contents->len, whole - contents->len);
        size_t len = n > 0 ? (size_t)n : 0;

        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        if (contents->len + len == whole)
            ret = add_read(contents, len - marked, !marked && direct);
        else
            ret = add_read(contents, len, true);
    }
    return ret;
}

static int copy_contents(const struct agent_object *object, size_t pending,
                         struct contents *contents)
{
    STINT_AUTO_CLOSE int read_end = -1;
    STINT_AUTO_CLOSE int write_end = -1;
    STINT_AUTO_CLOSE int measure_write = -1;
    int size = (int)object->record.pipe_size;
    int ret = tee_contents(object->fd, size, &read_end, &write_end);
    bool marked;

    if (ret == 0)
        ret = tee_contents(object->fd, size, &contents->measure, &measure_write);
    if (ret < 0)
        return ret;
    /* without the mark a last packet looks like a stream; the user's pipes may be too large */
    (void)fcntl(write_end, F_SETPIPE_SZ, size + 1);
    marked = write(write_end, "", 1) == 1;
    return read_contents(contents, read_end, pending, marked, object->record.b != 0);
}

/* --- store ----------------------------------------------------------------------- */

static void contents_deinit(struct contents *contents)
{
    stint_cleanup_close(&contents->measure);
    free(contents->bytes);
    free(contents->pieces);
}

static int store_contents(struct agent_object *object, const struct contents *contents,
                          struct stint_image_writer *writer, struct stint_err *err)
{
    return stint_image_writer_contents(writer, contents->bytes, contents->len,
                                       &object->record.data_offset,
                                       &object->record.data_len, &object->record.data_xxh3,
                                       err);
}

static int store_any(struct agent_object *object, struct stint_image_writer *writer,
                     struct stint_err *err)
{
    struct contents contents = {.measure = -1};
    int pending = 0, ret = 0;

    if (!object->record.c) /* set by describe: this one stores */
        return 0;
    object->record.c = 0;
    if (ioctl(object->fd, FIONREAD, &pending) < 0)
        return stint_err_set(err, -errno, "look into %s", object->link);
    if (pending > 0) {
        ret = copy_contents(object, (size_t)pending, &contents);
        ret = ret < 0 ? stint_err_set(err, ret, "copy what is in %s", object->link)
                      : store_contents(object, &contents, writer, err);
    }
    if (ret == 0 && contents.packets) {
        object->extra = stint_steal_pointer(&contents.pieces);
        object->extra_len = contents.npieces * sizeof(*contents.pieces);
    }
    object->record.b = 0;
    contents_deinit(&contents);
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
    object->record.b = is_direct(all, object);
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
    object->record.b = is_direct(all, object);
    return describe_any(all, object, err);
}

const struct agent_fdkind agent_fd_fifo = {
    .kind = STINT_OBJ_FIFO,
    .match = match_fifo,
    .describe = describe_fifo,
    .store = store_any,
};
