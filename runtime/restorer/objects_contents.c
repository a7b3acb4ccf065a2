/* Contents of files that the program changes in place, and of output that was emptied.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They may have been changed after the checkpoint. Only what differs is written, so that
 * an unchanged file stays untouched.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/objects.h"

#define PIECE (1u << 20)

static bool has_contents(const struct stint_object *object)
{
    return object->kind == STINT_OBJ_DELETED || object->kind == STINT_OBJ_MEMFD ||
           (object->kind == STINT_OBJ_FILE && object->flags & STINT_OBJFLAG_CONTENTS);
}

const struct stint_object *stint_object_spare(struct stint_restore *restore,
                                              const struct stint_object *object)
{
    bool can = object->kind == STINT_OBJ_FILE || object->kind == STINT_OBJ_STDIO;

    for (size_t i = 0; can && i < restore->nobjects; i++) {
        const struct stint_object *other = restore->objects[i].object;

        if (other->kind == object->kind && other->dev == object->dev &&
            other->ino == object->ino &&
            other->flags & (STINT_OBJFLAG_CONTENTS | STINT_OBJFLAG_SPARE))
            return other;
    }
    return NULL;
}

int stint_segments_complete(struct stint_restore *restore, struct stint_err *err)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_object *object = restore->objects[i].object;
        const struct stint_restored_segment *segment;
        int r;

        if (!has_contents(object) || !object->data_len)
            continue;
        segment = stint_segment_of(restore, object->dev, object->ino);
        if (!segment)
            continue;
        if (lseek(segment->fd, 0, SEEK_SET) < 0)
            return stint_err_set(err, -errno, "fill shared memory");
        r = stint_object_put_data(restore, object, segment->fd, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int put_piece(int fd, const char *bytes, size_t len, off_t at)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, bytes, len, at);

        if (n < 0)
            return -errno;
        bytes += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Write what differs. Returns 0 or -errno. */
static int put_differences(struct stint_restore *restore, const struct stint_object *object,
                           int fd)
{
    STINT_AUTO_FREE char *wanted = malloc(PIECE);
    STINT_AUTO_FREE char *present = malloc(PIECE);
    int r = wanted && present ? 0 : -ENOMEM;

    for (uint64_t done = 0; r == 0 && done < object->data_len;) {
        size_t len = object->data_len - done < PIECE ? object->data_len - done : PIECE;
        ssize_t got = pread(restore->group_image->fd, wanted, len,
                            (off_t)(object->data_offset + done));

        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        if (pread(fd, present, (size_t)got, (off_t)done) != got ||
            memcmp(wanted, present, (size_t)got) != 0)
            r = put_piece(fd, wanted, (size_t)got, (off_t)done);
        done += (uint64_t)got;
    }
    return r;
}

static int put_back(struct stint_restore *restore, const struct stint_object *object, int fd)
{
    struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {(time_t)(object->mtime_ns / 1000000000), (long)(object->mtime_ns % 1000000000)}};
    struct stat st;
    int r = put_differences(restore, object, fd);

    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_size != object->size && ftruncate(fd, (off_t)object->size) < 0)
        return -errno;
    (void)futimens(fd, times); /* another's file: then it shows when it was restored */
    return 0;
}

void stint_objects_put_back(struct stint_restore *restore)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_restored_object *o = &restore->objects[i];
        STINT_AUTO_CLOSE int fd = -1;
        int r;

        if (!o->emptied && (o->object->kind != STINT_OBJ_FILE || !has_contents(o->object)))
            continue;
        if (stint_segment_of(restore, o->object->dev, o->object->ino))
            continue;
        fd = stint_reopen(o->fd, O_RDWR);
        r = fd < 0 ? fd : put_back(restore, o->object, fd);
        if (r < 0)
            stint_restore_note(restore, "cannot put the contents of %s back: %s",
                               stint_object_path(o->object), strerror(-r));
    }
}
