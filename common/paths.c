/* Where the parts of stint find each other.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

/* Folder of each part, below the root of a build folder. */
static const struct {
    const char *name, *folder;
} parts[] = {
    {"libstint.so", "runtime"}, {"stint-restorer", "runtime/restorer"},
    {"stint-slurm", "spank"},   {"spank_stint.so", "spank"},
    {"stint", "coordinator"},
};

int stint_path_self(char **path, struct stint_err *err)
{
    char buf[PATH_MAX];
    ssize_t len;
    char *copy;

    len = readlink("/proc/self/exe", buf, sizeof(buf) - 1);
    if (len < 0)
        return stint_err_set(err, -errno, "read /proc/self/exe");
    buf[len] = '\0';
    copy = strdup(buf);
    if (!copy)
        return stint_err_set(err, -ENOMEM, "path of this program");
    *path = copy;
    return 0;
}

static const char *part_folder(const char *name)
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (strcmp(parts[i].name, name) == 0)
            return parts[i].folder;
    return NULL;
}

/* The root of the build folder that `self` lies in, as its own place there tells. */
static int build_root(const char *self, char root[PATH_MAX])
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char tail[PATH_MAX];
        size_t len = strlen(self), tail_len;

        snprintf(tail, sizeof(tail), "/%s/%s", parts[i].folder, parts[i].name);
        tail_len = strlen(tail);
        if (len <= tail_len || strcmp(self + len - tail_len, tail) != 0)
            continue;
        snprintf(root, PATH_MAX, "%.*s", (int)(len - tail_len), self);
        return 0;
    }
    return -ENOENT;
}

/* True, with *path set, when dir/name can be read. */
static int
try_place(const char *dir, const char *name, char **path, char tried[PATH_MAX])
{
    char *candidate;
    size_t used;

    if (asprintf(&candidate, "%s/%s", dir, name) < 0)
        return 0;
    if (access(candidate, R_OK) == 0) {
        *path = candidate;
        return 1;
    }
    used = strlen(tried);
    snprintf(tried + used, PATH_MAX - used, "%s%s", used ? ", " : "", candidate);
    free(candidate);
    return 0;
}

int stint_path_find(const char *name, char **path, struct stint_err *err)
{
    STINT_AUTO_FREE char *self = NULL;
    const char *given = getenv("STINT_LIBEXECDIR"), *folder = part_folder(name);
    char root[PATH_MAX], dir[PATH_MAX + 32], tried[PATH_MAX] = "";

    if (given && given[0] == '/' && try_place(given, name, path, tried))
        return 0;
    if (folder && stint_path_self(&self, NULL) == 0 && build_root(self, root) == 0) {
        snprintf(dir, sizeof(dir), "%s/%s", root, folder);
        if (try_place(dir, name, path, tried))
            return 0;
    }
    if (try_place(strcmp(name, "stint") == 0 ? STINT_BINDIR : STINT_LIBEXECDIR, name,
                  path, tried))
        return 0;
    return stint_err_set(err, -ENOENT, "%s is not installed (looked for %s).", name,
                         tried);
}
