/* inotify: watches with their numbers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Numbers are given out one after the other and not again: those in between are made by
 * watching something that the program does not, and removing it.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "runtime/restorer/objects.h"
#include "runtime/restorer/pathmap.h"

#define NUMBERS_MAX 1000000

int stint_object_open_inotify(struct stint_restore *restore, struct stint_restored_object *o,
                              struct stint_err *err)
{
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    return fd < 0 ? stint_err_set(err, -errno, "make an inotify instance") : fd;
}

/* Every removed watch leaves an event. */
static void drop_events(int fd)
{
    char buf[65536];

    while (read(fd, buf, sizeof(buf)) > 0)
        ;
}

/* Returns 0 or -errno. */
static int watch(int fd, const struct stint_inotify_watch *record, const char *path, int *next)
{
    int wd;

    if (record->wd < *next || record->wd > NUMBERS_MAX)
        return -EBADMSG;
    for (; *next < record->wd; (*next)++) {
        wd = inotify_add_watch(fd, "/proc/self/fdinfo", IN_DELETE_SELF);
        if (wd != *next || inotify_rm_watch(fd, wd) < 0)
            return wd < 0 ? -errno : -EEXIST;
        if (wd % 1000 == 0)
            drop_events(fd);
    }
    /* fdinfo says of a one-shot that has not fired what it was made with */
    wd = inotify_add_watch(fd, stint_path_now(path), record->mask);
    if (wd < 0)
        return -errno;
    (*next)++;
    return wd == record->wd ? 0 : -EEXIST;
}

static void watch_all(struct stint_restore *restore, const struct stint_restored_object *o)
{
    const char *at = stint_object_extra(o->object);
    const char *end = at + o->object->extra_len;
    int next = 1;

    while (end - at >= (ptrdiff_t)sizeof(struct stint_inotify_watch)) {
        const struct stint_inotify_watch *record = (const void *)at;
        const char *path = at + sizeof(*record);
        int r;

        if (record->path_len == 0 || record->path_len > (size_t)(end - path)
            || path[record->path_len - 1] != '\0')
            return;
        r = watch(o->fd, record, path, &next);
        if (r < 0)
            stint_restore_note(restore, "cannot watch %s again: %s", path, strerror(-r));
        at = path + ((record->path_len + 7) & ~7u);
    }
    drop_events(o->fd);
}

void stint_objects_watch(struct stint_restore *restore)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_restored_object *o = &restore->objects[i];
        int off = 0;

        if (o->object->kind != STINT_OBJ_INOTIFY || o->fd < 0)
            continue;
        watch_all(restore, o);
        if (!(o->object->open_flags & IN_NONBLOCK))
            (void)ioctl(o->fd, FIONBIO, &off); /* a flag that inotify knows */
    }
}
