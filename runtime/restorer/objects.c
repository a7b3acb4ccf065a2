/* The table of kinds of open file descriptions, and what all have in common.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/restorer/objects.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/pathmap.h"
#include "runtime/restorer/sockets.h"

static const struct {
    uint32_t kind;
    const char *name;
    mode_t type; /* the path has to be of this type; 0: there is no path */
    stint_object_open_f open;
} kinds[] = {
    {STINT_OBJ_FILE, "file", S_IFREG, stint_object_open_file},
    {STINT_OBJ_DELETED, "deleted file", 0, stint_object_open_deleted},
    {STINT_OBJ_DIR, "directory", S_IFDIR, stint_object_open_dir},
    {STINT_OBJ_PIPE, "pipe", 0, stint_object_open_pipe},
    {STINT_OBJ_FIFO, "named pipe", S_IFIFO, stint_object_open_fifo},
    {STINT_OBJ_CHARDEV, "device", S_IFCHR, stint_object_open_chardev},
    {STINT_OBJ_STDIO, "stdio", 0, stint_object_open_stdio},
    {STINT_OBJ_TTY, "terminal", 0, stint_object_open_tty},
    {STINT_OBJ_PATH, "path", 0, stint_object_open_path},
    {STINT_OBJ_MEMFD, "memfd", 0, stint_object_open_memfd},
    {STINT_OBJ_EVENTFD, "eventfd", 0, stint_object_open_eventfd},
    {STINT_OBJ_EPOLL, "epoll", 0, stint_object_open_epoll},
    {STINT_OBJ_SIGNALFD, "signalfd", 0, stint_object_open_signalfd},
    {STINT_OBJ_TIMERFD, "timerfd", 0, stint_object_open_timerfd},
    {STINT_OBJ_PIDFD, "pidfd", 0, stint_object_open_pidfd},
    {STINT_OBJ_INOTIFY, "inotify", 0, stint_object_open_inotify},
    {STINT_OBJ_PTY, "pseudo-terminal", 0, stint_object_open_pty},
    {STINT_OBJ_PROC, "entry of /proc", 0, stint_object_open_proc},
    {STINT_OBJ_MQUEUE, "message queue", 0, stint_object_open_mqueue},
    /* opened together, by stint_sockets_open() */
    {STINT_OBJ_UNIX, "UNIX socket", 0, NULL},
    {STINT_OBJ_INET, "IP socket", 0, NULL},
    {STINT_OBJ_NETLINK, "netlink socket", 0, NULL},
};

static int row_of(uint32_t kind)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].kind == kind)
            return (int)i;
    }
    return -1;
}

static int check_object(struct stint_restore *restore, const struct stint_object *object,
                        struct stint_err *err)
{
    int row = row_of(object->kind);
    const char *path = stint_path_now(stint_object_path(object));
    struct stat st;

    if (row < 0)
        return stint_err_set(err, -EPROTONOSUPPORT,
                             "the program holds a descriptor of a kind (%u) that this stint "
                             "cannot restore.",
                             object->kind);
    if (!kinds[row].type)
        return 0;
    if (object->kind == STINT_OBJ_FILE && object->a
        && stint_restore_segment(restore, (uint32_t)object->a))
        return 0; /* it is shared memory as well, and made with it */
    if (object->kind == STINT_OBJ_DIR && object->flags & STINT_OBJFLAG_REMOVED)
        return 0;
    if (stat(path, &st) < 0 && errno == ENOENT &&
        (object->kind == STINT_OBJ_DIR || stint_object_spare(restore, object)))
        return 0; /* it is made again */
    if (stat(path, &st) < 0)
        return stint_err_set(err, -errno, "the program has the %s %s open", kinds[row].name,
                             path);
    if ((st.st_mode & S_IFMT) != kinds[row].type)
        return stint_err_set(err, -ESTALE, "the program has the %s %s open; it is something "
                                           "else now.",
                             kinds[row].name, path);
    return 0;
}

int stint_objects_check(struct stint_restore *restore, struct stint_err *err)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        int r = check_object(restore, restore->objects[i].object, err);

        if (r < 0)
            return r;
    }
    return 0;
}

int stint_objects_open(struct stint_restore *restore, struct stint_err *err)
{
    int r = stint_segments_make(restore, err);

    if (r == 0)
        r = stint_mqueues_make(restore, err);
    if (r == 0)
        r = stint_ptys_make(restore, err);
    if (r == 0)
        r = stint_sockets_open(restore, err);
    for (size_t i = 0; r == 0 && i < restore->nobjects; i++) {
        struct stint_restored_object *o = &restore->objects[i];
        int fd;

        if (o->fd >= 0)
            continue; /* came along with another one */
        if (stint_object_is_late(o->object)) {
            r = stint_object_promise(restore, o, err);
            continue;
        }
        fd = kinds[row_of(o->object->kind)].open(restore, o, err);
        if (fd < 0)
            return fd;
        o->fd = stint_restore_keep_fd(restore, fd, err);
        r = o->fd < 0 ? o->fd : 0;
    }
    return r < 0 ? r : stint_sockets_fill(restore, false, err);
}

int stint_objects_open_late(struct stint_restore *restore, struct stint_err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < restore->nobjects; i++) {
        struct stint_restored_object *o = &restore->objects[i];
        int fd;

        if (!o->late)
            continue;
        fd = kinds[row_of(o->object->kind)].open(restore, o, err);
        r = fd < 0 ? fd : stint_object_keep_promise(restore, o, fd, err);
    }
    if (r == 0)
        r = stint_sockets_fill(restore, true, err);
    return r < 0 ? r : stint_objects_link_epoll(restore, 0, err);
}

void stint_objects_set_owners(struct stint_restore *restore)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_restored_object *o = &restore->objects[i];
        struct f_owner_ex owner;

        if (o->object->owner == 0 && o->object->owner_signal == 0)
            continue;
        owner = (struct f_owner_ex){
            (int)o->object->owner_type,
            o->object->owner < 0 ? -o->object->owner : o->object->owner};
        if (fcntl(o->fd, F_SETOWN_EX, &owner) < 0 ||
            fcntl(o->fd, F_SETSIG, o->object->owner_signal) < 0)
            stint_restore_note(restore, "%s: cannot send SIGIO to process %d again: %s",
                               stint_object_path(o->object), o->object->owner,
                               strerror(errno));
        if (o->object->open_flags & O_ASYNC)
            (void)fcntl(o->fd, F_SETFL, o->object->open_flags); /* refused where useless */
    }
}

/* What the program writes from now on comes behind what is there. */
static void keep_output(struct stint_restore *restore, const struct stint_restored_object *o)
{
    if (o->object->pos >= (int64_t)o->object->size && lseek(o->fd, 0, SEEK_END) < 0)
        stint_restore_note(restore, "cannot go to the end of %s: %s",
                           stint_object_path(o->object), strerror(errno));
}

void stint_objects_cut(struct stint_restore *restore)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_restored_object *o = &restore->objects[i];

        if (o->cut && restore->keep_output)
            keep_output(restore, o);
        else if (o->cut && ftruncate(o->fd, (off_t)o->object->size) < 0)
            stint_restore_note(restore, "cannot cut %s back to %llu bytes: %s",
                               stint_object_path(o->object),
                               (unsigned long long)o->object->size, strerror(errno));
    }
}

int stint_reopen(int fd, int flags)
{
    char path[64];
    int fresh;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* fits */
    fresh = open(path, (flags & ~O_NOFOLLOW) | O_CLOEXEC | O_NOCTTY);
    return fresh < 0 ? -errno : fresh;
}

int stint_object_flags(const struct stint_object *object)
{
    return (int)(object->open_flags &
                 ~(unsigned)(O_CREAT | O_EXCL | O_TRUNC | O_ASYNC | O_NOFOLLOW)) |
           O_CLOEXEC | O_NOCTTY;
}

static bool is_zero(const char *bytes, size_t len)
{
    return len > 0 && bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

/* Into a file of huge pages, which cannot be written to; what is zero stays a hole. */
static int put_data_mapped(struct stint_restore *restore, const struct stint_object *object,
                           int fd, struct stint_err *err)
{
    static const size_t piece = 64 << 10;
    STINT_AUTO_FREE char *buf = malloc(piece);
    char *at;
    int r = 0;

    if (!buf)
        return stint_err_set(err, -ENOMEM, "restore contents");
    if (ftruncate(fd, (off_t)object->size) < 0)
        return stint_err_set(err, -errno, "make a file of huge pages");
    if (object->size == 0)
        return 0;
    at = mmap(NULL, object->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (at == MAP_FAILED)
        return stint_err_set(err, -errno, "map a file of huge pages");
    for (uint64_t done = 0; r == 0 && done < object->data_len && done < object->size;) {
        size_t want = object->data_len - done < piece ? object->data_len - done : piece;
        off_t from = (off_t)(object->data_offset + done);
        ssize_t got = pread(restore->group_image->fd, buf, want, from);

        /* by way of the kernel, which says so when there is no page left */
        if (got > 0 && !is_zero(buf, (size_t)got))
            got = pread(restore->group_image->fd, at + done, (size_t)got, from);
        if (got <= 0)
            r = stint_err_set(err, got < 0 ? -errno : -EIO, "fill a file of huge pages");
        done += got > 0 ? (uint64_t)got : 0;
    }
    (void)munmap(at, object->size); /* just mapped */
    return r;
}

int stint_object_put_data(struct stint_restore *restore, const struct stint_object *object,
                          int fd, struct stint_err *err)
{
    static const size_t piece = 64 << 10; /* also the grain of holes */
    STINT_AUTO_FREE char *buf = malloc(piece);
    bool sparse = object->kind == STINT_OBJ_DELETED; /* its size is set afterwards */
    uint64_t done = 0;

    if (!buf)
        return stint_err_set(err, -ENOMEM, "restore contents");
    if (stint_is_huge(fd))
        return put_data_mapped(restore, object, fd, err);
    while (done < object->data_len) {
        size_t want = object->data_len - done < piece ? object->data_len - done : piece;
        ssize_t got = pread(restore->group_image->fd, buf, want,
                            (off_t)(object->data_offset + done));

        if (got <= 0)
            return stint_err_set(err, got < 0 ? -errno : -EIO, "image %s: read",
                                 restore->group_image->path);
        if (sparse && is_zero(buf, (size_t)got) &&
            lseek(fd, (off_t)got, SEEK_CUR) >= 0) {
            done += (uint64_t)got;
            continue;
        }
        for (ssize_t put = 0; put < got;) {
            ssize_t n = write(fd, buf + put, (size_t)(got - put));

            if (n < 0)
                return stint_err_set(err, -errno, "put back %llu bytes of contents",
                                     (unsigned long long)object->data_len);
            put += n;
        }
        done += (uint64_t)got;
    }
    return 0;
}
