/* Pipes and named pipes, with the bytes that were in them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
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

/* What is written after a stream goes on in its last page, packet or not: but not when that
 * page came from another pipe. */
static int put_stream(int fd, const char *bytes, size_t len)
{
    STINT_AUTO_CLOSE int read_end = -1;
    STINT_AUTO_CLOSE int write_end = -1;
    int fds[2];

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    read_end = fds[0];
    write_end = fds[1];
    while (len > 0) {
        ssize_t n = write(write_end, bytes, len);

        if (n <= 0)
            return -errno;
        bytes += n;
        len -= (size_t)n;
        while (n > 0) {
            ssize_t moved = splice(read_end, NULL, fd, NULL, (size_t)n, SPLICE_F_NONBLOCK);

            if (moved <= 0)
                return moved < 0 ? -errno : -EIO;
            n -= moved;
        }
    }
    return 0;
}

static int put_piece(int fd, const char *bytes, uint32_t len, bool packet, bool last)
{
    if (!packet && !last)
        return put_stream(fd, bytes, len);
    if (fcntl(fd, F_SETFL, O_NONBLOCK | (packet ? O_DIRECT : 0)) < 0)
        return -errno;
    return write(fd, bytes, len) == (ssize_t)len ? 0 : -(errno ? errno : EIO);
}

static int put_pieces(const void *pieces, size_t count, const char *bytes, uint64_t len,
                      int fd, struct stint_err *err)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t piece, size;
        int r;

        memcpy(&piece, (const char *)pieces + i * sizeof(piece), sizeof(piece));
        size = piece & ~STINT_PIPE_PACKET;
        if (size > len)
            return stint_err_set(err, -EBADMSG, "the contents of a pipe are damaged.");
        r = put_piece(fd, bytes, size, (piece & STINT_PIPE_PACKET) != 0, i == count - 1);
        if (r < 0)
            return stint_err_set(err, r, "fill a pipe");
        bytes += size;
        len -= size;
    }
    return 0;
}

/* Packets and what lies between them: a write for each. */
static int fill_pieces(struct stint_restore *restore, const struct stint_object *contents,
                       int fd, struct stint_err *err)
{
    STINT_AUTO_FREE char *bytes = malloc(contents->data_len + 1);
    int flags = fcntl(fd, F_GETFL);
    int r = bytes ? stint_image_read_data(restore->group_image, contents->data_offset,
                                          contents->data_len, contents->data_xxh3, bytes, err)
                  : stint_err_set(err, -ENOMEM, "fill a pipe");

    if (r == 0)
        r = put_pieces(stint_object_extra(contents), contents->extra_len / sizeof(uint32_t),
                       bytes, contents->data_len, fd, err);
    (void)fcntl(fd, F_SETFL, flags); /* as it was: works */
    return r;
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
    if (contents && contents->extra_len)
        return fill_pieces(restore, contents, fd, err);
    return contents ? stint_object_put_data(restore, contents, fd, err) : 0;
}

/* Packet mode (O_DIRECT) is nothing that a pipe can be opened with: it is set then. */
static int open_flags(const struct stint_object *object)
{
    return (stint_object_flags(object) & ~O_DIRECT) | O_NONBLOCK;
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
        fd = stint_reopen(pipe_fds[0], open_flags(o->object));
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
    fd = stint_reopen(read_end, open_flags(o->object));
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
    fd = stint_reopen(holder, open_flags(o->object));
    if (fd < 0)
        return stint_err_set(err, fd, "open %s", path);
    (void)fcntl(fd, F_SETFL, o->object->open_flags & ~(unsigned)O_ASYNC); /* open: works */
    return fd;
}
