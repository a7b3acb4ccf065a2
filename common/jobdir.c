/* Which checkpoint directory belongs to which Slurm job.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/jobdir.h"

#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"

#define REGISTER_DIR  ".stint/jobs"
#define NAME_LEN_MAX  200
#define LINKS_LOOKED_AT 1000 /* more than that are left for the next time */

bool stint_jobdir_is_id(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 10)
        return false;
    if (text[digits] && strchr("._+", text[digits])) {
        size_t part = strspn(text + digits + 1, "0123456789");

        return part > 0 && part <= 10 && text[digits + 1 + part] == '\0';
    }
    return text[digits] == '\0';
}

static bool is_own_directory(int at, const char *path)
{
    struct stat st;

    return fstatat(at, path, &st, 0) == 0 && S_ISDIR(st.st_mode) &&
           st.st_uid == geteuid();
}

static int open_child(int at, const char *name, int create)
{
    int fd;

    if (create && mkdirat(at, name, 0700) != 0 && errno != EEXIST)
        return -errno;
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Returns a descriptor of HOME/.stint/jobs, or -errno. */
static int open_register_in(const char *path, int create)
{
    STINT_AUTO_CLOSE int home = -1, top = -1;
    struct stat st;

    if (!path || path[0] != '/')
        return -ENOENT;
    home = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (home < 0)
        return -errno;
    /* a home directory that is shared by several users ("/") is nobody's */
    if (fstat(home, &st) != 0 || st.st_uid != geteuid())
        return -EPERM;
    top = open_child(home, ".stint", create);
    if (top < 0)
        return top;
    return open_child(top, "jobs", create);
}

static int open_register(int create)
{
    struct passwd *user = getpwuid(geteuid());
    int fd = open_register_in(user ? user->pw_dir : NULL, create);

    return fd >= 0 ? fd : open_register_in(getenv("HOME"), create);
}

static void remove_stale(int dir_fd)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    struct dirent *entry;
    struct stat st;
    int fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return;
    dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return;
    }
    for (int n = 0; n < LINKS_LOOKED_AT && (entry = readdir(dir)); n++)
        if (entry->d_type == DT_LNK && fstatat(dir_fd, entry->d_name, &st, 0) != 0 &&
            errno == ENOENT)
            (void)unlinkat(dir_fd, entry->d_name, 0); /* the next one tries again */
}

int stint_jobdir_register(const char *cluster, const char *id, const char *path,
                          struct stint_err *err)
{
    char name[NAME_LEN_MAX], temporary[NAME_LEN_MAX + 32];
    STINT_AUTO_CLOSE int dir = open_register(1);

    if (dir < 0)
        return stint_err_set(err, dir, "~/" REGISTER_DIR);
    if (snprintf(name, sizeof(name), "%s-%s", cluster ? cluster : "", id) >=
            (int)sizeof(name) ||
        strchr(name, '/'))
        return stint_err_set(err, -EINVAL, "name of the cluster");
    remove_stale(dir);
    snprintf(temporary, sizeof(temporary), ".%s.%d", name, (int)getpid());
    (void)unlinkat(dir, temporary, 0); /* left by a process that was killed */
    if (symlinkat(path, dir, temporary) != 0 ||
        renameat(dir, temporary, dir, name) != 0) {
        int rc = stint_err_set(err, -errno, "~/" REGISTER_DIR "/%s", name);

        (void)unlinkat(dir, temporary, 0);
        return rc;
    }
    return 0;
}

static char *read_link(int dir, const char *name)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(dir, name, target, sizeof(target) - 1);

    if (len <= 0)
        return NULL;
    target[len] = '\0';
    return is_own_directory(AT_FDCWD, target) ? strdup(target) : NULL;
}

static bool ends_in_id(const char *name, const char *id)
{
    const char *dash = strrchr(name, '-');

    return name[0] != '.' && dash && strcmp(dash + 1, id) == 0;
}

static bool begins_with(const char *name, const char *beginning)
{
    return strncmp(name, beginning, strlen(beginning)) == 0;
}

/* The only directory of which the name is so, or NULL. */
static char *find_only(int dir_fd, bool (*is_it)(const char *name, const char *key),
                       const char *key)
{
    STINT_AUTO_CLOSEDIR DIR *dir = fdopendir(dup(dir_fd));
    struct dirent *entry;
    char *found = NULL;

    if (!dir)
        return NULL;
    rewinddir(dir);
    while ((entry = readdir(dir))) {
        char *path;

        if (!is_it(entry->d_name, key) || !(path = read_link(dir_fd, entry->d_name)))
            continue;
        if (found) { /* which one is meant? */
            free(path);
            free(found);
            return NULL;
        }
        found = path;
    }
    return found;
}

char *stint_jobdir_find(const char *cluster, const char *id)
{
    STINT_AUTO_CLOSE int dir = open_register(0);
    char name[NAME_LEN_MAX];
    char *found;

    if (dir < 0 || !stint_jobdir_is_id(id))
        return NULL;
    if (!cluster || !*cluster)
        return find_only(dir, ends_in_id, id);
    if (snprintf(name, sizeof(name) - 1, "%s-%s", cluster, id) >= (int)sizeof(name) - 1 ||
        strchr(name, '/'))
        return NULL;
    found = read_link(dir, name);
    if (found || id[strspn(id, "0123456789")])
        return found;
    strcat(name, "."); /* a job of srun's has its step's only; room was left */
    return find_only(dir, begins_with, name);
}

char *stint_jobdir_default(const char *base, const char *id)
{
    char *path;

    if (!stint_jobdir_is_id(id) ||
        asprintf(&path, "%s/" STINT_JOBDIR_DEFAULT "/%s", base, id) < 0)
        return NULL;
    if (!is_own_directory(AT_FDCWD, path)) {
        free(path);
        return NULL;
    }
    return path;
}
