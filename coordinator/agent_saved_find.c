/* Which files are saved.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fts.h>
#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "coordinator/agent_contents.h"
#include "coordinator/agent_group.h"
#include "coordinator/agent_saved.h"
#include "coordinator/agent_state.h"

#define FILES_MAX   1000000
#define OFFERED_MAX 20000
#define PATIENCE_S  60 /* everything stands still meanwhile */

#ifndef ZFS_SUPER_MAGIC
#define ZFS_SUPER_MAGIC 0x2fc12fc1
#endif
#ifndef BCACHEFS_SUPER_MAGIC
#define BCACHEFS_SUPER_MAGIC 0xca451a4e
#endif

struct search {
    struct agent_saved *saved;
    struct agent_group *group;
    struct stat excluded[2]; /* directories of checkpoints */
    size_t nexcluded;
    time_t until;
    uint32_t flags; /* STINT_SAVED_* of what is found now */
    size_t left_out;      /* of an offered directory: no room */
    uint64_t left_out_len;
};

/* --- one file --------------------------------------------------------------------------- */

static bool is_of_kind(mode_t mode)
{
    return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode);
}

/* What a process has open is that object's to keep, but for what it only reads. */
static bool is_kept_by_object(struct search *search, const char *path, const struct stat *st)
{
    struct agent_objects *all = &search->group->objects;

    if (agent_segments_find(&search->group->segments, st->st_dev, st->st_ino))
        return true;
    for (size_t i = 0; i < all->count; i++) {
        struct agent_object *object = all->list[i];

        if (object->st.st_dev != st->st_dev || object->st.st_ino != st->st_ino
            || object->left_out)
            continue;
        if (object->record.kind == STINT_OBJ_STDIO || search->flags & STINT_SAVED_MISSING)
            return true;
        if (object->record.kind == STINT_OBJ_FILE
            && agent_contents_claim(object, strcmp(object->link, path) == 0))
            return true;
    }
    return false;
}

static bool has_room(struct search *search, const struct stat *st)
{
    uint64_t size = (uint64_t)st->st_blocks * 512;
    bool room;

    if (!(search->flags & STINT_SAVED_OFFERED) || !S_ISREG(st->st_mode))
        return true;
    if (size > (uint64_t)st->st_size)
        size = (uint64_t)st->st_size; /* else: it has holes */
    room = search->flags & STINT_SAVED_MISSING
               ? agent_contents_take_spare_room(&search->group->objects, size)
               : agent_contents_take_room(&search->group->objects, size);
    if (!room) {
        search->left_out++;
        search->left_out_len += size;
    }
    return room;
}

static int append(struct agent_saved *saved, const char *path, const struct stat *st,
                  uint32_t flags)
{
    struct agent_saved_file *file;
    char target[PATH_MAX] = "";

    if (saved->count == saved->room) {
        size_t room = saved->room ? 2 * saved->room : 64;
        struct agent_saved_file *list = reallocarray(saved->list, room, sizeof(*list));

        if (!list)
            return -ENOMEM;
        saved->list = list;
        saved->room = room;
    }
    if (S_ISLNK(st->st_mode) && readlink(path, target, sizeof(target) - 1) <= 0)
        return 0; /* it has gone, which is not ours to prevent */
    file = &saved->list[saved->count];
    *file = (struct agent_saved_file){
        .record = {.mode = st->st_mode,
                   .flags = flags,
                   .dev = st->st_dev,
                   .ino = st->st_ino,
                   .size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
                   .mtime_ns = st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec},
        .has_twins = S_ISREG(st->st_mode) && st->st_nlink > 1,
    };
    file->path = strdup(path);
    file->target = target[0] ? strdup(target) : NULL;
    if (!file->path || (target[0] && !file->target)) {
        free(file->path);
        free(file->target);
        return -ENOMEM;
    }
    saved->count++;
    return 0;
}

static int take(struct search *search, const char *path, const struct stat *st,
                struct stint_err *err)
{
    bool offered = search->flags & STINT_SAVED_OFFERED;

    if (!is_of_kind(st->st_mode))
        return 0;
    if (st->st_uid != geteuid() || (S_ISREG(st->st_mode) && eaccess(path, R_OK) < 0)) {
        if (!offered && !S_ISDIR(st->st_mode))
            stint_warn("%s is not saved: it %s", path,
                       st->st_uid != geteuid() ? "belongs to somebody else" : "cannot be read");
        return 0;
    }
    if (S_ISREG(st->st_mode) && is_kept_by_object(search, path, st))
        return 0;
    if (!has_room(search, st))
        return 0;
    if (search->saved->count >= FILES_MAX)
        return stint_err_set(err, -EFBIG, "--save-files matches more than %d files.", FILES_MAX);
    if (append(search->saved, path, st, search->flags) < 0)
        return stint_err_set(err, -ENOMEM, "save files");
    return 0;
}

/* --- one tree --------------------------------------------------------------------------- */

static bool is_excluded(const struct search *search, const struct stat *st)
{
    for (size_t i = 0; i < search->nexcluded; i++) {
        if (search->excluded[i].st_dev == st->st_dev && search->excluded[i].st_ino == st->st_ino)
            return true;
    }
    return false;
}

static int check_patience(const struct search *search, struct stint_err *err)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec <= search->until)
        return 0;
    return stint_err_set(err, -ETIMEDOUT, "it takes longer than %d s to list the files to save.",
                         PATIENCE_S);
}

/* Everything from `path` on that is on the same file system. */
static int walk(struct search *search, const char *path, size_t most, struct stint_err *err)
{
    char *const roots[] = {(char *)path, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    size_t before = search->saved->count;
    FTSENT *entry;
    int ret = 0;

    if (!tree)
        return stint_err_set(err, -errno, "list %s", path);
    while (ret == 0 && (entry = fts_read(tree))) {
        bool is_dir = entry->fts_info == FTS_D;

        if (is_dir && is_excluded(search, entry->fts_statp)) {
            (void)fts_set(tree, entry, FTS_SKIP); /* an entry of this tree: cannot fail */
            continue;
        }
        if (is_dir)
            ret = check_patience(search, err);
        if (ret == 0
            && (is_dir || entry->fts_info == FTS_F || entry->fts_info == FTS_SL
                || entry->fts_info == FTS_SLNONE || entry->fts_info == FTS_DEFAULT))
            ret = take(search, entry->fts_path, entry->fts_statp, err);
        if (most && search->saved->count - before >= most) {
            stint_warn("%s has more than %zu files: not all of them are saved", path, most);
            break;
        }
    }
    (void)fts_close(tree); /* read only */
    return ret;
}

/* --- what the user names ------------------------------------------------------------------ */

static int find_pattern(struct search *search, const char *pattern, struct stint_err *err)
{
    glob_t found = {0};
    int ret = 0, matched = glob(pattern, GLOB_NOSORT, NULL, &found);

    if (matched == GLOB_NOSPACE)
        ret = stint_err_set(err, -ENOMEM, "list %s", pattern);
    for (size_t i = 0; matched == 0 && ret == 0 && i < found.gl_pathc; i++) {
        /* a link stands for what it leads to; below, links are links */
        STINT_AUTO_FREE char *path = realpath(found.gl_pathv[i], NULL);

        if (path)
            ret = walk(search, path, 0, err);
    }
    globfree(&found);
    return ret;
}

static int find_patterns(struct search *search, const char *patterns, struct stint_err *err)
{
    STINT_AUTO_FREE char *copy = strdup(patterns);
    char *saved = NULL;
    int ret = copy ? 0 : stint_err_set(err, -ENOMEM, "save files");

    for (char *pattern = copy ? strtok_r(copy, ":", &saved) : NULL; pattern && ret == 0;
         pattern = strtok_r(NULL, ":", &saved))
        ret = find_pattern(search, pattern, err);
    return ret;
}

/* --- temporary directories ---------------------------------------------------------------- */

static bool is_local(const char *dir)
{
    struct statfs fs;

    if (statfs(dir, &fs) < 0)
        return false;
    switch ((unsigned long)fs.f_type) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
    case EXT4_SUPER_MAGIC: /* ext2 and ext3, too */
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case OVERLAYFS_SUPER_MAGIC:
    case ZFS_SUPER_MAGIC:
    case BCACHEFS_SUPER_MAGIC:
        return true;
    default:
        return false; /* others see it, or nobody knows */
    }
}

static bool is_within(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

/* Is it a /tmp that was made for this job, as job_container/tmpfs does? */
static bool is_private(const char *dir)
{
    struct stat st;

    return geteuid() != 0 && lstat(dir, &st) == 0 && S_ISDIR(st.st_mode)
           && st.st_uid == geteuid() && (st.st_mode & 077) == 0;
}

/* Slurm removes it with all that is in it when it sends SIGTERM for a requeue, before the
 * job's processes have ended. */
static int check_private(const char *dir, struct stint_err *err)
{
    struct stat st;

    if (!is_private(dir) || lstat(dir, &st) < 0 || st.st_nlink > 0)
        return 0;
    return stint_err_set(err, -ENOENT, "Slurm has removed the job's own %s already.", dir);
}

static bool is_in_private(const char *path)
{
    return (is_within(path, "/tmp") && is_private("/tmp"))
           || (is_within(path, "/var/tmp") && is_private("/var/tmp"));
}

/* Does the path hold the job's id, as in /scratch/me.1234? */
static bool holds_number(const char *path, const char *job)
{
    size_t len = job ? strlen(job) : 0;

    for (const char *at = path; len > 0 && (at = strstr(at, job)); at++) {
        if ((at[-1] < '0' || at[-1] > '9') && (at[len] < '0' || at[len] > '9'))
            return true; /* the path begins with a slash */
    }
    return false;
}

static bool is_ones_own(const char *path)
{
    const char *home = getenv("HOME");
    struct stat st;

    return strcmp(path, "/") != 0 && lstat(path, &st) == 0 && S_ISDIR(st.st_mode)
           && st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH))
           && !(home && home[0] == '/' && is_within(home, path));
}

/* A directory that is surely the job's is kept as it is; of another one of the user's small
 * files are kept for the case that they are missing. */
static int offer(struct search *search, const char *dir, const char *job, struct stint_err *err)
{
    STINT_AUTO_FREE char *path = realpath(dir, NULL);
    int ret;

    if (dir[0] != '/' || !path || !is_ones_own(path) || !is_local(path))
        return 0;
    search->flags = STINT_SAVED_OFFERED;
    if (!is_in_private(path) && !holds_number(path, job))
        search->flags |= STINT_SAVED_MISSING;
    search->left_out = search->left_out_len = 0;
    ret = walk(search, path, OFFERED_MAX, err);
    if (ret == 0 && search->left_out > 0 && !(search->flags & STINT_SAVED_MISSING))
        stint_warn("%zu files in %s with %" PRIu64 " bytes are not part of the checkpoint "
                   "(STINT_SAVE_OPEN_FILES, --save-files)",
                   search->left_out, path, search->left_out_len);
    return ret;
}

/* Returns the process's environment (NUL after NUL), or NULL. */
static char *read_environment(pid_t pid, size_t *len)
{
    STINT_AUTO_FCLOSE FILE *file = NULL;
    char path[64], *text = NULL;
    size_t room = 0, used = 0;

    snprintf(path, sizeof(path), "/proc/%d/environ", (int)agent_proc_task(pid));
    file = fopen(path, "re");
    while (file && !feof(file) && !ferror(file)) {
        char *more = realloc(text, room + 16385);

        if (!more)
            break;
        text = more;
        room += 16384;
        used += fread(text + used, 1, room - used, file);
        text[used] = '\0';
    }
    *len = used;
    return text;
}

static const char *find_variable(const char *text, size_t len, const char *name)
{
    size_t wanted = strlen(name);

    for (const char *at = text; at < text + len; at += strlen(at) + 1) {
        if (strncmp(at, name, wanted) == 0 && at[wanted] == '=')
            return at + wanted + 1;
    }
    return NULL;
}

/* What the processes were started with; without TMPDIR it is /tmp. */
static int find_temporary(struct search *search, struct stint_err *err)
{
    const struct agent_group *group = search->group;
    STINT_AUTO_FREE char *last = NULL;
    int ret = check_private("/tmp", err);

    if (ret == 0)
        ret = check_private("/var/tmp", err);
    for (size_t i = 0; i < group->nmembers && ret == 0; i++) {
        STINT_AUTO_FREE char *text = NULL;
        const char *dir, *job;
        size_t len;

        if (!group->members[i].image_name)
            continue;
        text = read_environment(group->members[i].pid, &len);
        dir = text ? find_variable(text, len, "TMPDIR") : NULL;
        if (!dir || (last && strcmp(dir, last) == 0))
            continue; /* mostly that of its parent */
        job = find_variable(text, len, "SLURM_JOB_ID");
        ret = offer(search, dir, job, err);
        free(last);
        last = strdup(dir);
    }
    if (ret == 0 && is_private("/tmp"))
        ret = offer(search, "/tmp", NULL, err);
    if (ret == 0 && is_private("/var/tmp"))
        ret = offer(search, "/var/tmp", NULL, err);
    return ret;
}

/* --- all ------------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
    const struct agent_saved_file *x = a, *y = b;
    int order = strcmp(x->path, y->path);

    return order ? order : (x->record.flags > y->record.flags) - (x->record.flags < y->record.flags);
}

/* Parents first; of what was found several times the firmest wish. */
static void sort(struct agent_saved *saved)
{
    size_t count = 0;

    if (saved->count > 0)
        qsort(saved->list, saved->count, sizeof(*saved->list), compare);
    for (size_t i = 0; i < saved->count; i++) {
        if (count > 0 && strcmp(saved->list[count - 1].path, saved->list[i].path) == 0) {
            free(saved->list[i].path);
            free(saved->list[i].target);
        } else {
            saved->list[count++] = saved->list[i];
        }
    }
    saved->count = count;
}

static void exclude(struct search *search, const char *dir)
{
    if (dir && stat(dir, &search->excluded[search->nexcluded]) == 0)
        search->nexcluded++;
}

int agent_saved_find(struct agent_group *group, const char *patterns,
                     struct agent_saved **saved, struct stint_err *err)
{
    const struct stint_agent_config *config = group->objects.agent->config;
    struct search search = {.group = group, .saved = calloc(1, sizeof(*search.saved))};
    struct timespec now;
    int ret;

    if (!search.saved)
        return stint_err_set(err, -ENOMEM, "save files");
    clock_gettime(CLOCK_MONOTONIC, &now);
    search.until = now.tv_sec + PATIENCE_S;
    exclude(&search, config->dir);
    exclude(&search, config->restore_dir);
    ret = find_patterns(&search, patterns, err);
    if (ret == 0)
        ret = find_temporary(&search, err);
    if (ret < 0) {
        agent_saved_free(search.saved);
        return ret;
    }
    sort(search.saved);
    *saved = search.saved;
    return 0;
}
