/* Directories that are gone at the restart.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/restorer/gone.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define DELETED " (deleted)"

int stint_make_parents(const char *path, struct stint_err *err)
{
    char dir[PATH_MAX];

    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        if (snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path) >= (int)sizeof(dir))
            return stint_err_set(err, -ENAMETOOLONG, "make %s again", path);
        if (mkdir(dir, 0700) < 0 && errno != EEXIST && access(dir, F_OK) < 0)
            return stint_err_set(err, -errno, "make the directory %s again", dir);
    }
    return 0;
}

int stint_make_dir_again(struct stint_restore *restore, const char *path, uint32_t mode,
                         struct stint_err *err)
{
    int r = stint_make_parents(path, err);

    if (r < 0)
        return r;
    if (mkdir(path, mode & 07777) == 0)
        stint_restore_note(restore, "the directory %s is gone: made again, empty", path);
    else if (errno != EEXIST)
        return stint_err_set(err, -errno, "make the directory %s again", path);
    return 0;
}

int stint_open_removed_dir(struct stint_restore *restore, uint32_t mode, int flags,
                           struct stint_err *err)
{
    char path[PATH_MAX];
    int fd;
    int r;

    if (snprintf(path, sizeof(path), "%s/.removed-%d", restore->dir, (int)getpid()) >=
        (int)sizeof(path))
        return stint_err_set(err, -ENAMETOOLONG, "make a directory in %s", restore->dir);
    if (mkdir(path, 0700) < 0)
        return stint_err_set(err, -errno, "make the directory %s", path);
    fd = open(path, flags | O_DIRECTORY);
    r = fd < 0 ? stint_err_set(err, -errno, "open %s", path) : 0;
    (void)rmdir(path); /* just made, empty */
    if (r < 0)
        return r;
    (void)fchmod(fd, mode & 07777); /* own; only the bits may be refused */
    return fd;
}

static bool has_no_name(const char *path)
{
    size_t len = strlen(path);

    return len > strlen(DELETED) && strcmp(path + len - strlen(DELETED), DELETED) == 0;
}

int stint_enter_dir(struct stint_restore *restore, const char *path, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    int r;

    if (chdir(path) == 0)
        return 0;
    if (errno != ENOENT)
        return stint_err_set(err, -errno, "change the directory to %s", path);
    if (has_no_name(path)) {
        fd = stint_open_removed_dir(restore, 0700, O_RDONLY | O_CLOEXEC, err);
        r = fd < 0 ? fd : 0;
        if (r == 0 && fchdir(fd) < 0)
            r = stint_err_set(err, -errno, "enter a removed directory");
        return r;
    }
    r = stint_make_dir_again(restore, path, 0700, err);
    if (r == 0 && chdir(path) < 0)
        r = stint_err_set(err, -errno, "change the directory to %s", path);
    return r;
}
