/* Which checkpoint is meant by the images on a command line.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/dmtcp/images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "coordinator/dmtcp/names.h"

#define PREFIX     "ckpt_"
#define SUFFIX     ".dmtcp"
#define DIR_SUFFIX "_files"

/* What the words came to. */
struct found {
    struct dmtcp_name *names;
    size_t count;
    char *directory; /* a ckpt_*_files that was named; the last of them */
};

static void found_deinit(struct found *found)
{
    for (size_t i = 0; i < found->count; i++)
        dmtcp_name_deinit(&found->names[i]);
    free(found->names);
    free(found->directory);
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static bool is_image_name(const char *name)
{
    return strncmp(name, PREFIX, strlen(PREFIX)) == 0 && ends_with(name, SUFFIX);
}

/* --- collecting ------------------------------------------------------------------ */

static int add_name(struct found *found, const char *path, struct stint_err *err)
{
    struct dmtcp_name *more;
    int ret;

    more = reallocarray(found->names, found->count + 1, sizeof(*more));
    if (!more)
        return stint_err_set(err, -ENOMEM, "read %s", path);
    found->names = more;
    ret = dmtcp_name_read(path, &more[found->count], err);
    if (ret == 0)
        found->count++;
    return ret;
}

static int add_directory(struct found *found, const char *path, struct stint_err *err)
{
    char *absolute = realpath(path, NULL);

    if (!absolute)
        return stint_err_set(err, -errno, "%s", path);
    free(found->directory);
    found->directory = absolute;
    return 0;
}

static int compare_names(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* All images below a directory; wanted: only one of that name. Data directories are not
 * descended into. */
static int add_below(struct found *found, const char *directory, const char *wanted, int depth,
                     struct stint_err *err)
{
    char *const roots[] = {(char *)directory, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, compare_names);
    size_t before = found->count;
    FTSENT *entry;
    int ret = 0;

    if (!tree)
        return stint_err_set(err, -errno, "%s", directory);
    while (ret == 0 && (entry = fts_read(tree))) {
        if (entry->fts_info == FTS_D
            && ((strncmp(entry->fts_name, PREFIX, strlen(PREFIX)) == 0
                 && ends_with(entry->fts_name, DIR_SUFFIX))
                || entry->fts_level > depth))
            (void)fts_set(tree, entry, FTS_SKIP); /* cannot fail */
        else if (entry->fts_info == FTS_F
                 && (wanted ? strcmp(entry->fts_name, wanted) == 0
                            : is_image_name(entry->fts_name)))
            ret = add_name(found, entry->fts_path, err);
    }
    fts_close(tree);
    if (ret == 0 && found->count == before)
        return stint_err_set(err, -ENOENT, "there is no %s in %s.",
                             wanted ? wanted : "ckpt_*.dmtcp", directory);
    return ret;
}

static int add_word(struct found *found, const char *word, const char *restartdir,
                    struct stint_err *err)
{
    struct stat st;

    if (restartdir)
        return add_below(found, restartdir, base_name(word), 8, err);
    if (stat(word, &st) < 0) {
        int error = errno;

        if (error == ENOENT && strchr(word, '*'))
            return stint_err_set(err, -ENOENT,
                                 "there is no file %s: nothing has been checkpointed here.",
                                 word);
        return stint_err_set(err, -error, "%s", word);
    }
    if (!S_ISDIR(st.st_mode))
        return add_name(found, word, err);
    {
        STINT_AUTO_FREE char *real = realpath(word, NULL);

        if (real && ends_with(real, DIR_SUFFIX))
            return add_directory(found, word, err);
    }
    return add_below(found, word, NULL, 0, err);
}

/* --- one checkpoint? ----------------------------------------------------------------- */

static int check_same(const struct found *found, struct stint_err *err)
{
    const struct dmtcp_name *first = &found->names[0], *newest = first;

    for (size_t i = 1; i < found->count; i++) {
        const struct dmtcp_name *name = &found->names[i];

        if (strcmp(name->computation, first->computation) != 0)
            return stint_err_set(err, -EINVAL,
                                 "these are images of two computations: %s and %s. Restart "
                                 "one of them: dmtcp_restart ckpt_*_%s-*.dmtcp, or "
                                 "dmtcp_restart ckpt_*_%s-*.dmtcp.",
                                 first->path, name->path, first->computation,
                                 name->computation);
        if (name->generation > newest->generation)
            newest = name;
    }
    for (size_t i = 0; i < found->count; i++) {
        const struct dmtcp_name *name = &found->names[i];
        const char *number = strrchr(newest->path, '_');

        if (name->generation == newest->generation)
            continue;
        if (newest->unique && number)
            return stint_err_set(err, -EINVAL,
                                 "these are images of several checkpoints, %llu to %llu. For "
                                 "the newest: dmtcp_restart ckpt_*%s.",
                                 (unsigned long long)name->generation,
                                 (unsigned long long)newest->generation, number);
        return stint_err_set(err, -EINVAL,
                             "%s is of checkpoint %llu, %s of %llu. For the newest: "
                             "dmtcp_restart_script.sh, or dmtcp_restart %s.",
                             name->path, (unsigned long long)name->generation, newest->path,
                             (unsigned long long)newest->generation, newest->files);
    }
    return 0;
}

static bool has_process(const struct found *found, const char *group, int64_t pid)
{
    for (size_t i = 0; i < found->count; i++)
        if (found->names[i].pid == pid && strcmp(found->names[i].group, group) == 0)
            return true;
    return false;
}

/* The directory part of a path, for what to type. */
static void dir_part(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');

    snprintf(out, size, "%.*s", slash ? (int)(slash - path + 1) : 0, path);
}

/* Every program that is named has to be named with all of its processes. */
static int check_complete(const struct found *found, struct dmtcp_images *images,
                          struct stint_err *err)
{
    for (size_t i = 0; i < images->manifest.ngroups; i++) {
        const struct stint_manifest_group *group = &images->manifest.groups[i];
        const struct stint_manifest_file *missing = NULL;
        size_t given = 0, processes = 0;
        char dir[PATH_MAX];

        for (size_t j = 0; j < group->nfiles; j++) {
            if (strcmp(group->files[j].kind, "process") != 0)
                continue;
            processes++;
            if (has_process(found, group->name, group->files[j].pid))
                given++;
            else
                missing = &group->files[j];
        }
        if (!given)
            continue;
        if (missing) {
            dir_part(found->names[0].path, dir, sizeof(dir));
            return stint_err_set(err, -EINVAL,
                                 "%zu of the %zu processes of checkpoint %llu are named; "
                                 "process %lld (%s) is not. All of them: dmtcp_restart "
                                 "%sckpt_*_%s-*.dmtcp.",
                                 given, processes,
                                 (unsigned long long)images->manifest.generation,
                                 (long long)missing->pid, missing->comm, dir,
                                 images->computation);
        }
        images->programs[i].is_given = true;
        images->ngiven++;
    }
    if (images->ngiven == 0)
        return stint_err_set(err, -EINVAL, "%s does not belong to the checkpoint in %s.",
                             found->names[0].path, images->files);
    return 0;
}

/* --- whole ------------------------------------------------------------------------------ */

static int read_manifest(struct dmtcp_images *images, uint64_t generation,
                         struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    uint64_t newest = 0;
    int ret = stint_dir_open(images->files, &fd, NULL, err);

    if (ret == -ENOENT)
        return stint_err_set(err, -ENOENT,
                             "the data of this checkpoint, %s, is not there any more.",
                             images->files);
    if (ret == 0)
        ret = stint_manifest_read(fd, generation, &images->manifest, err);
    if (ret == -ENOENT && generation && stint_dir_newest(fd, &newest, NULL) == 0 && newest)
        return stint_err_set(err, -ENOENT,
                             "checkpoint %llu is not there any more. For the newest, %llu: "
                             "dmtcp_restart %s.",
                             (unsigned long long)generation, (unsigned long long)newest,
                             images->files);
    if (ret < 0)
        return ret;
    images->programs = calloc(images->manifest.ngroups + 1, sizeof(*images->programs));
    if (!images->programs)
        return stint_err_set(err, -ENOMEM, "read the checkpoint");
    for (size_t i = 0; i < images->manifest.ngroups; i++)
        images->programs[i].group = &images->manifest.groups[i];
    return 0;
}

/* By files: the checkpoint that they name. */
static int from_names(const struct found *found, struct dmtcp_images *images,
                      struct stint_err *err)
{
    const struct dmtcp_name *first = &found->names[0];
    int ret = check_same(found, err);

    if (ret < 0)
        return ret;
    memcpy(images->computation, first->computation, sizeof(images->computation));
    images->interval_s = first->interval_s;
    images->unique = first->unique;
    images->open_files = first->open_files;
    images->files = strdup(first->files);
    if (!images->files)
        return stint_err_set(err, -ENOMEM, "read the checkpoint");
    ret = read_manifest(images, first->generation, err);
    if (ret == 0)
        ret = check_complete(found, images, err);
    for (size_t i = 0; ret == 0 && i < found->count; i++)
        for (size_t j = 0; j < images->manifest.ngroups; j++)
            if (strcmp(images->programs[j].group->name, found->names[i].group) == 0
                && !images->programs[j].ckptdir)
                images->programs[j].ckptdir = strdup(found->names[i].ckptdir);
    return ret;
}

/* By the directory with the data: its newest checkpoint, all of it. */
static int from_directory(const struct found *found, struct dmtcp_images *images,
                          struct stint_err *err)
{
    const char *name = base_name(found->directory);
    int ret;

    if (strlen(name) != strlen(PREFIX DIR_SUFFIX) + DMTCP_COMPUTATION_DIGITS)
        return stint_err_set(err, -EINVAL, "%s is no checkpoint.", found->directory);
    snprintf(images->computation, sizeof(images->computation), "%s", name + strlen(PREFIX));
    images->files = strdup(found->directory);
    if (!images->files)
        return stint_err_set(err, -ENOMEM, "read the checkpoint");
    ret = read_manifest(images, 0, err);
    if (ret < 0)
        return ret;
    images->ngiven = images->manifest.ngroups;
    for (size_t i = 0; i < images->manifest.ngroups; i++) {
        images->programs[i].is_given = true;
        images->programs[i].ckptdir =
            strndup(found->directory, (size_t)(name - found->directory) - 1);
    }
    return 0;
}

int dmtcp_images_find(int count, char **words, const char *restartdir,
                      struct dmtcp_images *images, struct stint_err *err)
{
    struct found found = {0};
    int ret = 0;

    memset(images, 0, sizeof(*images));
    if (count == 0 && restartdir)
        ret = add_below(&found, restartdir, NULL, 8, err);
    for (int i = 0; i < count && ret == 0; i++)
        ret = add_word(&found, words[i], restartdir, err);
    if (ret == 0)
        ret = found.count ? from_names(&found, images, err)
                          : from_directory(&found, images, err);
    found_deinit(&found);
    if (ret < 0)
        dmtcp_images_deinit(images);
    return ret;
}

void dmtcp_images_deinit(struct dmtcp_images *images)
{
    for (size_t i = 0; images->programs && i < images->manifest.ngroups; i++)
        free(images->programs[i].ckptdir);
    free(images->programs);
    free(images->files);
    stint_manifest_deinit(&images->manifest);
    memset(images, 0, sizeof(*images));
}
