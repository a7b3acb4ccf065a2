/* Regular files, deleted files, directories, paths, memfds.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/gone.h"
#include "runtime/restorer/objects.h"
#include "runtime/restorer/pathmap.h"

static bool is_written(const struct stint_object *object)
{
    return (object->open_flags & O_ACCMODE) != O_RDONLY;
}

/* The file is gone, as a temporary one is that was removed after the checkpoint. */
static int make_again(struct stint_restore *restore, const struct stint_object *object,
                      const char *path, struct stint_err *err)
{
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {(time_t)(object->mtime_ns / 1000000000), (long)(object->mtime_ns % 1000000000)}};
    STINT_AUTO_CLOSE int fd = -1;
    int r = stint_make_parents(path, err);

    if (r < 0)
        return r;
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return stint_err_set(err, -errno, "make %s again", path);
    r = stint_object_put_data(restore, object, fd, err);
    if (r < 0)
        return r;
    if (ftruncate(fd, (off_t)object->size) < 0 || fchmod(fd, object->mode & 07777) < 0 ||
        futimens(fd, times) < 0)
        return stint_err_set(err, -errno, "make %s again", path);
    stint_restore_note(restore, "%s is gone: made again from the checkpoint", path);
    return 0;
}

static int open_path(struct stint_restore *restore, const struct stint_object *object,
                     struct stint_err *err)
{
    const char *path = stint_path_now(stint_object_path(object));
    const struct stint_object *spare = stint_object_spare(restore, object);
    int flags = stint_object_flags(object);
    int fd = open(path, flags);

    if (fd < 0 && errno == ENOENT && spare) {
        int r = make_again(restore, spare, path, err);

        if (r < 0)
            return r;
        fd = open(path, flags);
    }
    if (fd < 0 && errno == EPERM && flags & O_NOATIME)
        fd = open(path, flags & ~O_NOATIME); /* the file has another owner now */
    return fd < 0 ? stint_err_set(err, -errno, "open %s", path) : fd;
}

static int seek(int fd, const struct stint_object *object, struct stint_err *err)
{
    if (object->pos > 0 && lseek(fd, object->pos, SEEK_SET) < 0)
        return stint_err_set(err, -errno, "seek to %lld in %s", (long long)object->pos,
                             stint_object_path(object));
    return 0;
}

/* Compare with what the file was; decide whether it is cut back at `go`. */
static void look_at_size(struct stint_restore *restore, struct stint_restored_object *o,
                         const struct stat *st)
{
    const struct stint_object *object = o->object;
    const char *path = stint_object_path(object);

    if ((uint64_t)st->st_size > object->size && is_written(object))
        o->cut = !(object->flags & STINT_OBJFLAG_KEEP_SIZE);
    else if ((uint64_t)st->st_size < object->size)
        stint_restore_note(restore, "%s has %lld bytes, it had %llu at the checkpoint", path,
                           (long long)st->st_size, (unsigned long long)object->size);
    else if (!is_written(object) &&
             ((uint64_t)st->st_size != object->size ||
              st->st_mtim.tv_sec * INT64_C(1000000000) + st->st_mtim.tv_nsec !=
                  object->mtime_ns))
        stint_restore_note(restore, "%s, which the program is reading, has changed since the "
                                    "checkpoint",
                           path);
}

int stint_object_open_file(struct stint_restore *restore,
                           struct stint_restored_object *o, struct stint_err *err)
{
    struct stint_restored_segment *segment =
        stint_segment_of(restore, o->object->dev, o->object->ino);
    const char *path = stint_object_path(o->object);
    STINT_AUTO_CLOSE int fd = -1;
    struct stat st;
    int r;

    fd = segment ? stint_reopen(segment->fd, stint_object_flags(o->object))
                 : open_path(restore, o->object, err);
    if (fd < 0)
        return segment ? stint_err_set(err, fd, "open %s", path) : fd;
    if (fstat(fd, &st) < 0)
        return stint_err_set(err, -errno, "look at %s", path);
    /* a file that takes another's place is meant to */
    if (!segment && stint_path_now(path) == path &&
        !(o->object->flags & STINT_OBJFLAG_CONTENTS))
        look_at_size(restore, o, &st);
    r = seek(fd, o->object, err);
    return r < 0 ? r : stint_steal_fd(&fd);
}

int stint_nameless_file(struct stint_restore *restore, const char *path,
                        struct stint_err *err)
{
    char dir[4096];
    char *slash;
    int fd = -1;

    if (path && (size_t)snprintf(dir, sizeof(dir), "%s", path) < sizeof(dir) &&
        (slash = strrchr(dir, '/'))) {
        slash[slash == dir] = '\0';
        fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    }
    if (fd < 0)
        fd = openat(restore->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    /* a file system without O_TMPFILE (NFS): a name for a moment */
    (void)snprintf(dir, sizeof(dir), ".nameless-%d", (int)getpid()); /* fits; 0700 dir */
    fd = openat(restore->dirfd, dir, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return stint_err_set(err, -errno, "make a nameless file in %s", restore->dir);
    (void)unlinkat(restore->dirfd, dir, 0); /* just made */
    return fd;
}

/* Two descriptions of one deleted file: the first made it, the second opens it. */
static int find_twin(struct stint_restore *restore, const struct stint_object *object)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_restored_object *o = &restore->objects[i];

        if (o->fd >= 0 && o->object->kind == object->kind && o->object->ino == object->ino &&
            o->object->dev == object->dev)
            return o->fd;
    }
    return -1;
}

/* The contents are stored with one of the descriptions of the file. */
static const struct stint_object *contents_of(struct stint_restore *restore,
                                              const struct stint_object *object)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_object *other = restore->objects[i].object;

        if (other->kind == object->kind && other->ino == object->ino &&
            other->dev == object->dev && other->data_len > 0)
            return other;
    }
    return object;
}

static int make_deleted(struct stint_restore *restore, const struct stint_object *object,
                        struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = stint_nameless_file(restore, stint_object_path(object), err);
    int r;

    if (fd < 0)
        return fd;
    r = stint_object_put_data(restore, contents_of(restore, object), fd, err);
    if (r < 0)
        return r;
    if (ftruncate(fd, (off_t)object->size) < 0)
        return stint_err_set(err, -errno, "restore the deleted file %s",
                             stint_object_path(object));
    (void)fchmod(fd, object->mode & 07777); /* own file; only the bits may be refused */
    return stint_steal_fd(&fd);
}

int stint_object_open_deleted(struct stint_restore *restore,
                              struct stint_restored_object *o, struct stint_err *err)
{
    struct stint_restored_segment *segment =
        stint_segment_of(restore, o->object->dev, o->object->ino);
    STINT_AUTO_CLOSE int made = -1;
    STINT_AUTO_CLOSE int fd = -1;
    int base = segment ? segment->fd : find_twin(restore, o->object);
    int r;

    if (base < 0) {
        made = make_deleted(restore, o->object, err);
        if (made < 0)
            return made;
        base = made;
    }
    /* the owner may open it in any way, whatever its mode says */
    if (made >= 0)
        (void)fchmod(made, 0600); /* own file */
    fd = stint_reopen(base, stint_object_flags(o->object) & ~O_TMPFILE);
    if (made >= 0)
        (void)fchmod(made, o->object->mode & 07777); /* as above */
    if (fd < 0)
        return stint_err_set(err, fd, "open the deleted file %s",
                             stint_object_path(o->object));
    r = seek(fd, o->object, err);
    return r < 0 ? r : stint_steal_fd(&fd);
}

static int open_dir(struct stint_restore *restore, const struct stint_object *object,
                    struct stint_err *err)
{
    const char *path = stint_path_now(stint_object_path(object));
    int fd;
    int r;

    if (object->flags & STINT_OBJFLAG_REMOVED)
        return stint_open_removed_dir(restore, object->mode, stint_object_flags(object), err);
    fd = open(path, stint_object_flags(object) | O_DIRECTORY);
    if (fd < 0 && errno == ENOENT) {
        r = stint_make_dir_again(restore, path, object->mode, err);
        if (r < 0)
            return r;
        fd = open(path, stint_object_flags(object) | O_DIRECTORY);
    }
    return fd < 0 ? stint_err_set(err, -errno, "open %s", path) : fd;
}

int stint_object_open_dir(struct stint_restore *restore,
                          struct stint_restored_object *o, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = open_dir(restore, o->object, err);

    if (fd < 0)
        return fd;
    /* positions are the file system's own: elsewhere this one may mean nothing */
    if (o->object->pos > 0 && lseek(fd, o->object->pos, SEEK_SET) < 0)
        stint_restore_note(restore, "%s: the position in the directory is lost",
                           stint_object_path(o->object));
    return stint_steal_fd(&fd);
}

int stint_object_open_path(struct stint_restore *restore,
                           struct stint_restored_object *o, struct stint_err *err)
{
    int fd = open(stint_object_path(o->object),
                  O_PATH | O_CLOEXEC | (int)(o->object->open_flags & (O_NOFOLLOW | O_DIRECTORY)));

    return fd < 0 ? stint_err_set(err, -errno, "open %s", stint_object_path(o->object)) : fd;
}

/* One that nobody maps: its contents come with it. */
static int make_memfd(struct stint_restore *restore, const struct stint_object *object,
                      struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd =
        memfd_create(stint_object_path(object),
                     MFD_CLOEXEC | MFD_ALLOW_SEALING | stint_memfd_huge(object->c));
    int r;

    if (fd < 0)
        return stint_err_set(err, -errno, "make the memfd %s", stint_object_path(object));
    r = stint_object_put_data(restore, contents_of(restore, object), fd, err);
    if (r < 0)
        return r;
    if (ftruncate(fd, (off_t)object->size) < 0 || fchmod(fd, object->mode & 07777) < 0)
        return stint_err_set(err, -errno, "restore the memfd %s", stint_object_path(object));
    return stint_steal_fd(&fd);
}

/* A seal against writing has to stand before what can only be read is mapped; one
 * against writing in the future, and against sealing, come last (stint_objects_seal). */
static int seal(int fd, int seals, struct stint_err *err)
{
    if (seals && fcntl(fd, F_ADD_SEALS, seals) < 0 &&
        (fcntl(fd, F_GET_SEALS) & seals) != seals)
        return stint_err_set(err, -errno, "seal a memfd");
    return 0;
}

int stint_object_open_memfd(struct stint_restore *restore,
                            struct stint_restored_object *o, struct stint_err *err)
{
    struct stint_restored_segment *segment =
        stint_segment_of(restore, o->object->dev, o->object->ino);
    STINT_AUTO_CLOSE int made = -1;
    STINT_AUTO_CLOSE int fd = -1;
    int base = segment ? segment->fd : find_twin(restore, o->object);
    int r;

    if (base < 0)
        base = made = make_memfd(restore, o->object, err);
    if (base < 0)
        return base;
    fd = stint_reopen(base, stint_object_flags(o->object));
    if (fd < 0)
        return stint_err_set(err, fd, "open the memfd %s", stint_object_path(o->object));
    if (segment || made >= 0) {
        r = seal(base, (int)o->object->b & ~(F_SEAL_SEAL | F_SEAL_FUTURE_WRITE), err);
        if (r < 0)
            return r;
    }
    r = seek(fd, o->object, err);
    return r < 0 ? r : stint_steal_fd(&fd);
}

void stint_objects_seal(struct stint_restore *restore)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_restored_object *o = &restore->objects[i];
        int seals = (int)o->object->b & (F_SEAL_SEAL | F_SEAL_FUTURE_WRITE);
        STINT_AUTO_CLOSE int fd = -1;
        struct stint_err err;

        if (o->object->kind != STINT_OBJ_MEMFD || !seals || o->fd < 0)
            continue;
        fd = stint_reopen(o->fd, O_RDWR);
        if (fd >= 0 && seals & F_SEAL_FUTURE_WRITE &&
            seal(fd, F_SEAL_FUTURE_WRITE, &err) < 0)
            stint_restore_note(restore, "%s", err.text);
        if (fd >= 0 && seals & F_SEAL_SEAL && seal(fd, F_SEAL_SEAL, &err) < 0)
            stint_restore_note(restore, "%s", err.text);
    }
}
