/* Locks that belong to open file descriptions. Those of processes are taken in the blob.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/image_objects.h"
#include "runtime/restorer/objects.h"

static int take_lock(int fd, const struct stint_lock *lock)
{
    struct flock range = {.l_type = (short)lock->type, .l_whence = SEEK_SET,
                          .l_start = lock->start, .l_len = lock->len};
    int r = 0;

    switch ((enum stint_lock_kind)lock->kind) {
    case STINT_LOCK_FLOCK:
        r = flock(fd, (lock->type == F_WRLCK ? LOCK_EX : LOCK_SH) | LOCK_NB);
        break;
    case STINT_LOCK_OFD:
        r = fcntl(fd, F_OFD_SETLK, &range);
        break;
    case STINT_LOCK_LEASE:
        r = fcntl(fd, F_SETLEASE, lock->type);
        break;
    case STINT_LOCK_POSIX:
        break;
    }
    return r < 0 ? -errno : 0;
}

int stint_locks_take(struct stint_restore *restore, struct stint_err *err)
{
    uint64_t len = 0;
    const struct stint_lock *locks =
        stint_image_find(restore->group_image, STINT_REC_LOCKS, &len);

    for (size_t i = 0; i < len / sizeof(*locks); i++) {
        const struct stint_restored_object *o =
            stint_restore_object(restore, locks[i].object_id);
        int r = o && o->fd >= 0 ? take_lock(o->fd, &locks[i]) : 0;

        if (r == -EAGAIN || r == -EACCES)
            return stint_err_set(err, r, "%s is locked by another program now",
                                 stint_object_path(o->object));
        if (r < 0)
            return stint_err_set(err, r, "lock %s again", stint_object_path(o->object));
    }
    return 0;
}
