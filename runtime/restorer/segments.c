/* Shared memory: one file per segment, filled from its image.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/objects.h"

static int make_memfd(const struct stint_segment *segment, struct stint_err *err)
{
    const char *path = stint_segment_path(segment);
    char name[240]; /* the kernel takes 249 */
    char *end;
    int fd;

    /* "/memfd:NAME (deleted)" */
    if (strncmp(path, "/memfd:", 7) == 0)
        path += 7;
    (void)strncpy(name, *path && segment->kind == STINT_SEG_MEMFD ? path : "stint-shared",
                  sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    end = strstr(name, " (deleted)");
    if (end)
        *end = '\0';
    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | stint_memfd_huge(segment->huge_page));
    return fd < 0 ? stint_err_set(err, -errno, "make shared memory") : fd;
}

static int make_shm_file(struct stint_restore *restore, const struct stint_segment *segment,
                         struct stint_err *err)
{
    const char *path = stint_segment_path(segment);
    mode_t mode = segment->a ? (mode_t)segment->a & 07777 : 0600;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);

    return fd < 0 ? stint_err_set(err, -errno, "make %s", path) : fd;
}

static int make(struct stint_restore *restore, const struct stint_segment *segment,
                struct stint_err *err)
{
    switch ((enum stint_segment_kind)segment->kind) {
    case STINT_SEG_ANON:
    case STINT_SEG_MEMFD:
        return make_memfd(segment, err);
    case STINT_SEG_DELETED:
        return stint_nameless_file(restore, stint_segment_path(segment), err);
    case STINT_SEG_SHMFILE:
        return make_shm_file(restore, segment, err);
    case STINT_SEG_SYSV:
    case STINT_SEG_PART:
        break;
    }
    return stint_err_set(err, -EPROTONOSUPPORT,
                         "the program uses shared memory of a kind (%u) that this stint cannot "
                         "restore.",
                         segment->kind);
}

static int put_extent(const struct stint_image *image, const struct stint_extent *e, int fd,
                      uint64_t size, char *buf, struct stint_err *err)
{
    uint64_t len = e->addr + e->len > size ? size - e->addr : e->len;
    int r;

    if (e->encoding == STINT_ENC_ZERO || e->addr >= size)
        return 0; /* it is a fresh file */
    r = stint_image_read_data(image, e->offset, e->stored_len, e->xxh3, buf, err);
    if (r < 0)
        return r;
    if (pwrite(fd, buf, len, (off_t)e->addr) != (ssize_t)len)
        return stint_err_set(err, errno ? -errno : -ENOSPC, "fill shared memory");
    return 0;
}

/* Files of huge pages cannot be written to. */
static int fill_mapped(const struct stint_image *image, int fd, uint64_t size,
                       struct stint_err *err)
{
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    int r;

    if (at == MAP_FAILED)
        return stint_err_set(err, -errno, "map shared memory of huge pages");
    r = stint_segment_load(image, at, size, err);
    (void)munmap(at, size); /* just mapped */
    return r;
}

static int fill(const struct stint_image *image, int fd, uint64_t size,
                struct stint_err *err)
{
    STINT_AUTO_FREE char *buf = malloc(STINT_EXTENT_MAX);
    struct stint_image_record rec;
    size_t cursor = 0;

    if (stint_is_huge(fd))
        return fill_mapped(image, fd, size, err);
    if (!buf)
        return stint_err_set(err, -ENOMEM, "fill shared memory");
    while (stint_image_next_of(image, STINT_REC_EXTENTS, &cursor, &rec)) {
        const struct stint_extent *e = rec.payload;

        for (size_t i = 0; i < rec.len / sizeof(*e); i++) {
            int r = put_extent(image, &e[i], fd, size, buf, err);

            if (r < 0)
                return r;
        }
    }
    return 0;
}

int stint_segment_load(const struct stint_image *image, char *to, uint64_t size,
                       struct stint_err *err)
{
    struct stint_image_record rec;
    size_t cursor = 0;

    while (stint_image_next_of(image, STINT_REC_EXTENTS, &cursor, &rec)) {
        const struct stint_extent *e = rec.payload;

        for (size_t i = 0; i < rec.len / sizeof(*e); i++) {
            int r;

            if (e[i].encoding == STINT_ENC_ZERO || e[i].addr + e[i].len > size)
                continue; /* it is fresh memory, and whole pages */
            r = stint_image_read_data(image, e[i].offset, e[i].stored_len, e[i].xxh3,
                                      to + e[i].addr, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* Into the segment that it belongs to; System V shared memory is filled when it is there. */
static int fill_part(struct stint_restore *restore, const struct stint_restored_segment *part,
                     struct stint_err *err)
{
    const struct stint_restored_segment *whole =
        stint_restore_segment(restore, (uint32_t)part->segment->a);

    if (!whole || !part->image || (whole->fd < 0 && whole->segment->kind != STINT_SEG_SYSV))
        return stint_err_set(err, -EBADMSG, "a part of shared memory belongs to nothing.");
    return whole->fd < 0 ? 0 : fill(part->image, whole->fd, whole->segment->size, err);
}

static int make_segment(struct stint_restore *restore, struct stint_restored_segment *s,
                        struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    int r;

    if (s->segment->kind == STINT_SEG_SYSV)
        return 0; /* stint_ipc_make() */
    if (s->segment->kind == STINT_SEG_PART)
        return fill_part(restore, s, err);
    fd = make(restore, s->segment, err);
    if (fd < 0)
        return fd;
    /* an existing file of /dev/shm is emptied first: what is zero is not stored */
    if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)s->segment->size) < 0)
        return stint_err_set(err, -errno, "make shared memory of %llu bytes",
                             (unsigned long long)s->segment->size);
    r = s->image ? fill(s->image, fd, s->segment->size, err) : 0;
    if (r < 0)
        return r;
    s->fd = stint_restore_keep_fd(restore, stint_steal_fd(&fd), err);
    return s->fd < 0 ? s->fd : 0;
}

int stint_segments_make(struct stint_restore *restore, struct stint_err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < restore->nsegments; i++)
        r = make_segment(restore, &restore->segments[i], err);
    if (r == 0)
        r = stint_ipc_make(restore, err);
    return r < 0 ? r : stint_segments_complete(restore, err);
}

struct stint_restored_segment *stint_segment_of(struct stint_restore *restore, uint64_t dev,
                                                uint64_t ino)
{
    for (size_t i = 0; i < restore->nsegments; i++) {
        struct stint_restored_segment *s = &restore->segments[i];

        if (s->fd >= 0 && s->segment->ino == ino && s->segment->dev == dev && ino)
            return s;
    }
    return NULL;
}
