/* Devices, terminals, and the descriptors that the new run gives.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/objects.h"

static int open_null(struct stint_err *err)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    return fd < 0 ? stint_err_set(err, -errno, "open /dev/null") : fd;
}

int stint_object_open_chardev(struct stint_restore *restore,
                              struct stint_restored_object *o, struct stint_err *err)
{
    const char *path = stint_object_path(o->object);
    int fd = open(path, stint_object_flags(o->object));

    return fd < 0 ? stint_err_set(err, -errno, "open %s", path) : fd;
}

/* Does the new run hand the same file over (a job's output file, appended to)? */
static bool is_same_file(int fd, const struct stint_object *object, const struct stat *st)
{
    char path[4096];
    ssize_t len;
    char link[64];

    if (st->st_ino == object->ino && st->st_dev == object->dev)
        return true;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd); /* fits */
    len = readlink(link, path, sizeof(path) - 1);
    if (len <= 0)
        return false;
    path[len] = '\0';
    return strcmp(path, stint_object_path(object)) == 0;
}

int stint_object_open_stdio(struct stint_restore *restore,
                            struct stint_restored_object *o, struct stint_err *err)
{
    const struct stint_object *object = o->object, *spare;
    STINT_AUTO_CLOSE int fd = -1;
    struct stat st;

    if (object->a > 2)
        return stint_err_set(err, -EBADMSG, "the agent has no descriptor %llu.",
                             (unsigned long long)object->a);
    fd = fcntl((int)object->a, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        stint_restore_note(restore, "descriptor %llu is closed here: the program gets "
                                    "/dev/null",
                           (unsigned long long)object->a);
        return open_null(err);
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !S_ISREG(object->mode) ||
        !is_same_file(fd, object, &st))
        return stint_steal_fd(&fd);
    if ((uint64_t)st.st_size > object->size &&
        (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
        o->cut = !(object->flags & STINT_OBJFLAG_KEEP_SIZE);
    /* The new run may have written to it already what is not the program's. */
    spare = stint_object_spare(restore, object);
    if (restore->keep_output && (uint64_t)st.st_size >= object->size)
        spare = NULL;
    o->emptied = spare == object;
    /* without contents a hole of zeroes would help nobody */
    if ((st.st_size >= object->pos || spare) && lseek(fd, object->pos, SEEK_SET) < 0)
        return stint_err_set(err, -errno, "seek in descriptor %d", (int)object->a);
    return stint_steal_fd(&fd);
}

/* The terminal of the new run, opened afresh: the one the image names is another
 * user's by now, or none at all. */
int stint_object_open_tty(struct stint_restore *restore,
                          struct stint_restored_object *o, struct stint_err *err)
{
    int flags = stint_object_flags(o->object);
    int fd = -1;

    if (strcmp(stint_object_path(o->object), "/dev/tty") == 0)
        fd = open("/dev/tty", flags);
    for (int i = 0; fd < 0 && i <= 2; i++) {
        if (isatty(i))
            fd = stint_reopen(i, flags);
    }
    if (fd >= 0)
        return fd;
    stint_restore_note(restore, "there is no terminal now: the program gets /dev/null for %s",
                       stint_object_path(o->object));
    return open_null(err);
}
