/* The descriptor table of one restored process.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Objects stand at numbers that no process uses (stint_restore_keep_fd), so no
 * descriptor can be overwritten that is still needed.
 */
#include "runtime/restorer/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"

static int duplicate(struct stint_restore *restore, const struct stint_fd *fd,
                     struct stint_err *err)
{
    const struct stint_restored_object *object = stint_restore_object(restore, fd->object_id);

    if (dup3(object->fd, fd->fd, fd->flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
        return stint_err_set(err, -errno, "restore descriptor %d", fd->fd);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

static void close_span(int32_t first, int32_t last)
{
    if (first > last || close_range((unsigned)first, (unsigned)last, 0) == 0)
        return;
    for (int32_t fd = first; fd <= last && fd < 1 << 20; fd++) /* before Linux 5.9 */
        (void)close(fd); /* most are not open */
}

static void close_others(int32_t *keep, size_t count)
{
    int32_t next = 0;

    qsort(keep, count, sizeof(*keep), by_number);
    for (size_t i = 0; i < count; i++) {
        if (keep[i] < 0)
            continue;
        close_span(next, keep[i] - 1);
        next = keep[i] + 1;
    }
    close_span(next, INT32_MAX);
}

int stint_descriptors_install(struct stint_restore *restore, int32_t pid,
                              const int32_t *own, size_t nown, struct stint_err *err)
{
    const struct stint_fds *fds = NULL;
    const struct stint_fd *fd = NULL;
    STINT_AUTO_FREE int32_t *keep = NULL;
    struct stint_image_record rec;
    size_t cursor = 0, count = 0;

    while (stint_image_next_of(restore->group_image, STINT_REC_FDS, &cursor, &rec)) {
        fds = rec.payload;
        if (fds->pid == pid)
            break;
        fds = NULL;
    }
    keep = malloc((nown + (fds ? fds->count : 0) + 1) * sizeof(*keep));
    if (!keep)
        return stint_err_set(err, -ENOMEM, "restore descriptors");
    for (size_t i = 0; i < nown; i++)
        keep[count++] = own[i];
    fd = fds ? (const void *)(fds + 1) : NULL;
    for (uint32_t i = 0; fds && i < fds->count; i++) {
        int r = duplicate(restore, &fd[i], err);

        if (r < 0)
            return r;
        keep[count++] = fd[i].fd;
    }
    close_others(keep, count);
    return 0;
}
