/* The generations in a checkpoint directory.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "common/manifest.h"

#define LINK_TMP ".manifest.yaml.tmp"

const char *stint_generation_name(uint64_t generation,
                                  int unfinished,
                                  char buf[STINT_GENERATION_NAME_MAX])
{
    snprintf(buf, STINT_GENERATION_NAME_MAX, "gen-%06" PRIu64 "%s", generation,
             unfinished ? ".tmp" : "");
    return buf;
}

/* Take a name apart. Only the canonical spelling counts, so that one generation has
 * one name. Returns 1, or 0 when it is none. */
static int parse_name(const char *name, uint64_t *generation, int *unfinished)
{
    char canonical[STINT_GENERATION_NAME_MAX];
    uint64_t value = 0;
    const char *p = name;

    if (strncmp(p, "gen-", 4) != 0)
        return 0;
    for (p += 4; *p >= '0' && *p <= '9'; p++) {
        if (value > UINT64_MAX / 100)
            return 0;
        value = value * 10 + (uint64_t)(*p - '0');
    }
    *unfinished = strcmp(p, ".tmp") == 0;
    if (value == 0
        || strcmp(name, stint_generation_name(value, *unfinished, canonical)) != 0)
        return 0;
    *generation = value;
    return 1;
}

/* Returns NULL with errno set. */
static DIR *open_listing(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir;

    if (fd < 0)
        return NULL;
    dir = fdopendir(fd);
    if (!dir)
        stint_cleanup_close(&fd);
    return dir;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* All generations that are unfinished or not, ascending. */
static int list_numbers(int dir_fd,
                        int want_unfinished,
                        uint64_t **numbers,
                        size_t *count,
                        struct stint_err *err)
{
    STINT_AUTO_CLOSEDIR DIR *dir = open_listing(dir_fd, ".");
    STINT_AUTO_FREE uint64_t *list = NULL;
    size_t n = 0, room = 0;
    struct dirent *entry;

    if (!dir)
        return stint_err_set(err, -errno, "list the checkpoint directory");
    while ((errno = 0, entry = readdir(dir))) {
        uint64_t generation;
        int unfinished;

        if (!parse_name(entry->d_name, &generation, &unfinished)
            || unfinished != want_unfinished)
            continue;
        if (n == room) {
            uint64_t *more = realloc(list, (room + 16) * sizeof(*list));

            if (!more)
                return stint_err_set(err, -ENOMEM, "list the checkpoint directory");
            list = more;
            room += 16;
        }
        list[n++] = generation;
    }
    if (errno)
        return stint_err_set(err, -errno, "list the checkpoint directory");
    if (n > 0)
        qsort(list, n, sizeof(*list), compare_numbers);
    *numbers = stint_steal_pointer(&list);
    *count = n;
    return 0;
}

int stint_dir_list(int dir_fd, uint64_t **numbers, size_t *count, struct stint_err *err)
{
    return list_numbers(dir_fd, 0, numbers, count, err);
}

/* What DIR/manifest.yaml points to; 0 when it is missing or not of our making. */
static uint64_t linked_generation(int dir_fd)
{
    char target[PATH_MAX];
    uint64_t generation;
    int unfinished;
    char *slash;
    ssize_t len;

    len = readlinkat(dir_fd, STINT_MANIFEST_NAME, target, sizeof(target) - 1);
    if (len <= 0)
        return 0;
    target[len] = '\0';
    slash = strchr(target, '/');
    if (!slash || strcmp(slash + 1, STINT_MANIFEST_NAME) != 0)
        return 0;
    *slash = '\0';
    if (!parse_name(target, &generation, &unfinished) || unfinished)
        return 0;
    return generation;
}

static int has_manifest(int dir_fd, uint64_t generation)
{
    char name[STINT_GENERATION_NAME_MAX], path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/" STINT_MANIFEST_NAME,
             stint_generation_name(generation, 0, name));
    return faccessat(dir_fd, path, R_OK, 0) == 0;
}

int stint_dir_newest(int dir_fd, uint64_t *generation, struct stint_err *err)
{
    STINT_AUTO_FREE uint64_t *numbers = NULL;
    uint64_t linked = linked_generation(dir_fd);
    size_t count = 0;
    int ret;

    if (linked && has_manifest(dir_fd, linked)) {
        *generation = linked;
        return 0;
    }
    ret = stint_dir_list(dir_fd, &numbers, &count, err);
    if (ret < 0)
        return ret;
    *generation = 0;
    for (size_t i = count; i-- > 0;)
        if (has_manifest(dir_fd, numbers[i])) {
            *generation = numbers[i];
            break;
        }
    return 0;
}

int stint_dir_next(int dir_fd, uint64_t *generation, struct stint_err *err)
{
    uint64_t highest = linked_generation(dir_fd);

    for (int unfinished = 0; unfinished <= 1; unfinished++) {
        STINT_AUTO_FREE uint64_t *numbers = NULL;
        size_t count = 0;
        int ret = list_numbers(dir_fd, unfinished, &numbers, &count, err);

        if (ret < 0)
            return ret;
        if (count > 0 && numbers[count - 1] > highest)
            highest = numbers[count - 1];
    }
    *generation = highest + 1;
    return 0;
}

int stint_dir_begin(int dir_fd, uint64_t generation, int *fd, struct stint_err *err)
{
    char name[STINT_GENERATION_NAME_MAX];
    int opened;

    stint_generation_name(generation, 1, name);
    if (mkdirat(dir_fd, name, 0700) < 0)
        return stint_err_set(err, -errno, "make %s", name);
    opened = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (opened < 0) {
        int ret = stint_err_set(err, -errno, "open %s", name);

        (void)unlinkat(dir_fd, name, AT_REMOVEDIR); /* cleaned at the next start */
        return ret;
    }
    *fd = opened;
    return 0;
}

/* Point DIR/manifest.yaml to a complete generation, durably. */
static int point_to(int dir_fd, uint64_t generation, struct stint_err *err)
{
    char name[STINT_GENERATION_NAME_MAX], target[PATH_MAX];

    snprintf(target, sizeof(target), "%s/" STINT_MANIFEST_NAME,
             stint_generation_name(generation, 0, name));
    (void)unlinkat(dir_fd, LINK_TMP, 0); /* left by a kill; mostly not there */
    if (symlinkat(target, dir_fd, LINK_TMP) < 0)
        return stint_err_set(err, -errno, "make a symlink to %s", target);
    stint_fault_kill("dir-symlink");
    if (renameat(dir_fd, LINK_TMP, dir_fd, STINT_MANIFEST_NAME) < 0) {
        int ret =
            stint_err_set(err, -errno, "point " STINT_MANIFEST_NAME " to %s", name);

        (void)unlinkat(dir_fd, LINK_TMP, 0); /* cleaned at the next start */
        return ret;
    }
    if (fsync(dir_fd) < 0)
        return stint_err_set(err, -errno, "fsync the checkpoint directory");
    return 0;
}

int stint_dir_commit(int dir_fd, uint64_t generation, struct stint_err *err)
{
    char unfinished[STINT_GENERATION_NAME_MAX], name[STINT_GENERATION_NAME_MAX];
    STINT_AUTO_CLOSE int fd = -1;
    uint64_t before = linked_generation(dir_fd);
    int ret;

    stint_generation_name(generation, 1, unfinished);
    stint_generation_name(generation, 0, name);
    fd = openat(dir_fd, unfinished, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return stint_err_set(err, -errno, "open %s", unfinished);
    if (fsync(fd) < 0)
        return stint_err_set(err, -errno, "fsync %s", unfinished);
    if (renameat(dir_fd, unfinished, dir_fd, name) < 0)
        return stint_err_set(err, -errno, "rename %s to %s", unfinished, name);
    stint_fault_kill("dir-renamed");
    if (fsync(dir_fd) < 0)
        ret = stint_err_set(err, -errno, "fsync the checkpoint directory");
    else
        ret = point_to(dir_fd, generation, err);
    if (ret < 0) {
        /* What failed must not come back as committed: under its unfinished name it
         * is swept; the link goes back where it may have moved already. */
        if (before && linked_generation(dir_fd) == generation)
            (void)point_to(dir_fd, before, NULL);
        (void)renameat(dir_fd, name, dir_fd, unfinished);
    }
    return ret;
}

/* Remove everything in a directory, and it. Never follows a symlink. */
static int remove_tree(int dir_fd, const char *name, int depth, struct stint_err *err)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    struct dirent *entry;

    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    dir = open_listing(dir_fd, name);
    if (!dir)
        return stint_err_set(err, -errno, "remove %s", name);
    while ((errno = 0, entry = readdir(dir))) {
        int ret;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (depth <= 0)
            return stint_err_set(err, -errno, "remove %s/%s", name, entry->d_name);
        ret = remove_tree(dirfd(dir), entry->d_name, depth - 1, err);
        if (ret < 0)
            return ret;
    }
    if (errno)
        return stint_err_set(err, -errno, "list %s", name);
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return stint_err_set(err, -errno, "remove %s", name);
    return 0;
}

int stint_dir_drop(int dir_fd, uint64_t generation, struct stint_err *err)
{
    char name[STINT_GENERATION_NAME_MAX];

    return remove_tree(dir_fd, stint_generation_name(generation, 1, name), 2, err);
}

/* Names that only an interrupted step of ours leaves behind. */
static int is_leftover(const char *name)
{
    size_t len = strlen(name);
    uint64_t generation;
    int unfinished;

    if (parse_name(name, &generation, &unfinished))
        return unfinished;
    if (strcmp(name, LINK_TMP) == 0)
        return 1;
    return (strncmp(name, ".key.", 5) == 0 || strncmp(name, ".coordinator.", 13) == 0)
           && len > 4 && strcmp(name + len - 4, ".tmp") == 0;
}

/* .key.*.tmp of a `stint launch` that is making the key right now is spared. */
static int is_fresh(int dir_fd, const char *name)
{
    struct stat st;
    struct timespec now;

    if (strncmp(name, ".key.", 5) != 0)
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0
           && now.tv_sec - st.st_mtime < 60;
}

static int sweep(int dir_fd, unsigned *removed, struct stint_err *err)
{
    STINT_AUTO_CLOSEDIR DIR *dir = open_listing(dir_fd, ".");
    struct dirent *entry;

    if (!dir)
        return stint_err_set(err, -errno, "list the checkpoint directory");
    while ((errno = 0, entry = readdir(dir))) {
        int ret;

        if (!is_leftover(entry->d_name) || is_fresh(dir_fd, entry->d_name))
            continue;
        ret = remove_tree(dir_fd, entry->d_name, 2, err);
        if (ret < 0)
            return ret;
        (*removed)++;
    }
    return errno ? stint_err_set(err, -errno, "list the checkpoint directory") : 0;
}

int stint_dir_clean(int dir_fd, unsigned *removed, struct stint_err *err)
{
    STINT_AUTO_FREE uint64_t *numbers = NULL;
    uint64_t linked = linked_generation(dir_fd);
    unsigned swept = 0;
    size_t count = 0;
    int ret;

    ret = sweep(dir_fd, &swept, err);
    if (ret < 0)
        return ret;
    ret = stint_dir_list(dir_fd, &numbers, &count, err);
    if (ret < 0)
        return ret;
    for (size_t i = count; i-- > 0 && numbers[i] > linked;)
        if (has_manifest(dir_fd, numbers[i])) {
            ret = point_to(dir_fd, numbers[i], err);
            if (ret < 0)
                return ret;
            break;
        }
    if (removed)
        *removed = swept;
    return 0;
}

/* By way of the unfinished name, so that what a kill interrupts is swept later and is
 * never taken for a generation that lacks files. */
static int remove_generation(int dir_fd, uint64_t generation, struct stint_err *err)
{
    char unfinished[STINT_GENERATION_NAME_MAX], name[STINT_GENERATION_NAME_MAX];

    stint_generation_name(generation, 1, unfinished);
    stint_generation_name(generation, 0, name);
    if (renameat(dir_fd, name, dir_fd, unfinished) < 0)
        return stint_err_set(err, -errno, "remove %s", name);
    stint_fault_kill("dir-pruning");
    return remove_tree(dir_fd, unfinished, 2, err);
}

/* What the run that made this generation was restored from. Returns 0 or -errno. */
static int read_origin(int dir_fd, uint64_t generation, uint64_t *origin)
{
    struct stint_manifest manifest;
    struct stint_err err;
    int ret = stint_manifest_read(dir_fd, generation, &manifest, &err);

    if (ret < 0)
        return ret;
    *origin = manifest.restored_from;
    stint_manifest_deinit(&manifest);
    return 0;
}

/* Which of the generations lie on the way to the newest one. The others were passed over
 * by a restart from an older one: they are damaged, or the user went back. */
static void trace_back(int dir_fd, const uint64_t *numbers, size_t count, uint64_t newest,
                       unsigned char *is_on_way)
{
    uint64_t origin = 0, found = 0;

    for (size_t i = count; i-- > 0;) {
        if (numbers[i] == newest) {
            is_on_way[i] = 1;
            if (read_origin(dir_fd, newest, &origin) < 0)
                return;
        } else if (numbers[i] < newest && read_origin(dir_fd, numbers[i], &found) == 0) {
            is_on_way[i] = numbers[i] <= origin || found == origin;
            if (is_on_way[i])
                origin = found;
        }
    }
}

/* Remove, oldest first, what is (not) on the way until `keep` are left. */
static int prune_some(int dir_fd, const uint64_t *numbers, const unsigned char *is_on_way,
                      size_t count, int wanted, unsigned *excess, struct stint_err *err)
{
    for (size_t i = 0; i < count && *excess > 0; i++) {
        int ret;

        if (is_on_way[i] != wanted)
            continue;
        ret = remove_generation(dir_fd, numbers[i], err);
        if (ret < 0)
            return ret;
        --*excess;
    }
    return 0;
}

int stint_dir_prune(int dir_fd, unsigned keep, unsigned *removed, struct stint_err *err)
{
    STINT_AUTO_FREE uint64_t *numbers = NULL;
    STINT_AUTO_FREE unsigned char *is_on_way = NULL;
    uint64_t newest = 0;
    unsigned excess = 0;
    size_t count = 0;
    int ret;

    if (keep == 0)
        return stint_err_set(err, -EINVAL, "at least one generation has to be kept.");
    ret = stint_dir_newest(dir_fd, &newest, err);
    if (ret == 0)
        ret = stint_dir_list(dir_fd, &numbers, &count, err);
    if (ret < 0)
        return ret;
    is_on_way = calloc(count + 1, 1);
    if (!is_on_way)
        return stint_err_set(err, -ENOMEM, "prune");
    if (count > keep) {
        excess = (unsigned)(count - keep);
        trace_back(dir_fd, numbers, count, newest, is_on_way);
    }
    if (removed)
        *removed = excess;
    ret = prune_some(dir_fd, numbers, is_on_way, count, 0, &excess, err);
    return ret == 0 ? prune_some(dir_fd, numbers, is_on_way, count, 1, &excess, err) : ret;
}
