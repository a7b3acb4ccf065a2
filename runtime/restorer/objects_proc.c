/* Files of /proc.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/objects.h"

static int open_proc(const struct stint_object *object, const char *path,
                     struct stint_err *err)
{
    int fd = open(path, stint_object_flags(object));

    return fd < 0 ? stint_err_set(err, -errno, "open %s", path) : fd;
}

/* Of a process that has been reaped: reading gives what it gives of any dead one. */
static int open_dead(const struct stint_object *object, struct stint_err *err)
{
    const char *rest = stint_object_path(object) + strlen("/proc/");
    char path[4096];
    pid_t pid = fork();
    int fd;

    if (pid == 0)
        for (;;)
            (void)pause(); /* until it is killed, next */
    if (pid < 0)
        return stint_err_set(err, -errno, "make a process for %s", stint_object_path(object));
    rest += strcspn(rest, "/");
    (void)snprintf(path, sizeof(path), "/proc/%d%s", (int)pid, rest); /* as long as it was */
    fd = open_proc(object, path, err);
    (void)kill(pid, SIGKILL); /* our child: it is there */
    (void)waitpid(pid, NULL, 0);
    return fd;
}

int stint_object_open_proc(struct stint_restore *restore, struct stint_restored_object *o,
                           struct stint_err *err)
{
    const struct stint_object *object = o->object;
    const char *path = stint_object_path(object);
    int fd;

    if (strncmp(path, "/proc/", 6) != 0)
        return stint_err_set(err, -EBADMSG, "%s is not in /proc.", path);
    fd = object->b ? open_dead(object, err) : open_proc(object, path, err);
    if (fd >= 0 && object->pos > 0 && lseek(fd, object->pos, SEEK_SET) < 0)
        stint_restore_note(restore, "%s: the position in it is lost: %s", path,
                           strerror(errno));
    return fd;
}
