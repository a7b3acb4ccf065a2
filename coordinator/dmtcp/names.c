/* Reading and writing ckpt_PROGRAM_ID.dmtcp.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/dmtcp/names.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/manifest.h"
#include "common/wire.h"
#include "coordinator/dmtcp/script.h"

#define FORMAT        1
#define NAME_FILE_MAX (64u << 10)

char *dmtcp_files_path(const char *ckptdir, const char *computation)
{
    char *path;

    return asprintf(&path, "%s/ckpt_%s_files", ckptdir, computation) < 0 ? NULL : path;
}

int dmtcp_make_directory(const char *path, struct stint_err *err)
{
    char part[PATH_MAX];

    if (strlen(path) >= sizeof(part))
        return stint_err_set(err, -ENAMETOOLONG, "%s", path);
    for (const char *p = path; *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
        if (mkdir(part, 0777) < 0 && errno != EEXIST)
            return stint_err_set(err, -errno, "make directory %s", part);
    }
    if (access(path, W_OK | X_OK) < 0)
        return stint_err_set(err, -errno, "write to the checkpoint directory %s", path);
    return 0;
}

/* --- writing -------------------------------------------------------------------- */

/* PROGRAM in file names: one that a glob finds and a shell need not quote. */
static void clean_program(const char *program, char *out, size_t size)
{
    size_t n = 0;

    for (; *program && n < size - 1; program++)
        out[n++] = isalnum((unsigned char)*program) || strchr("._+-", *program) ? *program
                                                                                : '_';
    out[n] = '\0';
}

static void file_name(const struct dmtcp_names_order *order, const char *group,
                      const struct stint_manifest_file *file, char name[NAME_MAX + 1])
{
    const char *program = order->program(group, file->pid, order->arg);
    char clean[128], number[16] = "";

    clean_program(program && *program ? program : file->comm, clean, sizeof(clean));
    if (order->unique)
        snprintf(number, sizeof(number), "_%05llu",
                 (unsigned long long)order->manifest->generation);
    snprintf(name, NAME_MAX + 1, "ckpt_%s_%s-%lld-%s%s.dmtcp", clean[0] ? clean : "program",
             order->computation, (long long)file->pid, group, number);
}

static int write_text(const char *dir, const char *name, const char *text, mode_t mode,
                      struct stint_err *err)
{
    STINT_AUTO_FREE char *path = NULL, *temporary = NULL;
    STINT_AUTO_CLOSE int fd = -1;
    size_t len = strlen(text);
    int ret = 0;

    if (asprintf(&path, "%s/%s", dir, name) < 0
        || asprintf(&temporary, "%s/.%s.%d.tmp", dir, name, (int)getpid()) < 0)
        return stint_err_set(err, -ENOMEM, "write %s", name);
    (void)unlink(temporary); /* of a process that had this pid */
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return stint_err_set(err, -errno, "write %s", path);
    errno = 0;
    if (write(fd, text, len) != (ssize_t)len)
        ret = stint_err_set(err, errno ? -errno : -ENOSPC, "write %s", path);
    else if (fsync(fd) < 0 || rename(temporary, path) < 0)
        ret = stint_err_set(err, -errno, "write %s", path);
    if (ret < 0)
        (void)unlink(temporary);
    return ret;
}

static int write_name(const struct dmtcp_names_order *order, const char *dir,
                      const struct stint_manifest_group *group,
                      const struct stint_manifest_file *file, struct stint_err *err)
{
    const char *program = order->program(group->name, file->pid, order->arg);
    char name[NAME_MAX + 1], *text;
    json_t *json;
    int ret;

    json = json_pack("{s:i, s:s, s:I, s:s, s:I, s:o, s:o, s:o, s:o, s:i, s:b, s:b}",
                     "stint_dmtcp", FORMAT, "computation", order->computation, "generation",
                     (json_int_t)order->manifest->generation, "group", group->name, "pid",
                     (json_int_t)file->pid, "program",
                     stint_json_text(program && *program ? program : file->comm), "files",
                     stint_json_text(order->files), "ckptdir", stint_json_text(dir),
                     "command", stint_json_text(group->command), "interval",
                     (int)order->interval_s, "unique", order->unique, "open_files",
                     order->open_files);
    text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
    json_decref(json);
    if (!text)
        return stint_err_set(err, -ENOMEM, "write the names of a checkpoint");
    file_name(order, group->name, file, name);
    ret = write_text(dir, name, text, 0600, err);
    free(text);
    return ret;
}

static const char *dir_of(const struct dmtcp_names_order *order, const char *group)
{
    const char *dir = order->ckptdir(group, order->arg);

    return dir ? dir : order->default_dir;
}

/* Is `name` the file of a process of this generation? */
static bool is_current(const struct dmtcp_names_order *order, const char *dir,
                       const char *name)
{
    const struct stint_manifest *m = order->manifest;
    char current[NAME_MAX + 1];

    for (size_t i = 0; i < m->ngroups; i++) {
        if (strcmp(dir_of(order, m->groups[i].name), dir) != 0)
            continue;
        for (size_t j = 0; j < m->groups[i].nfiles; j++) {
            if (strcmp(m->groups[i].files[j].kind, "process") != 0)
                continue;
            file_name(order, m->groups[i].name, &m->groups[i].files[j], current);
            if (strcmp(current, name) == 0)
                return true;
        }
    }
    return false;
}

/* A process that has ended is not part of the computation any more: its file would make
 * the glob ckpt_*.dmtcp name two generations. */
static void remove_stale(const struct dmtcp_names_order *order, const char *dir)
{
    STINT_AUTO_CLOSEDIR DIR *list = opendir(dir);
    char mark[DMTCP_COMPUTATION_DIGITS + 4];
    struct dirent *entry;

    if (!list || order->unique)
        return;
    snprintf(mark, sizeof(mark), "_%s-", order->computation);
    while ((entry = readdir(list))) {
        const char *name = entry->d_name;
        size_t len = strlen(name);

        if (strncmp(name, "ckpt_", 5) != 0 || len < 6 || !strstr(name, mark)
            || strcmp(name + len - 6, ".dmtcp") != 0 || is_current(order, dir, name))
            continue;
        (void)unlinkat(dirfd(list), name, 0); /* one that stays is refused at a restart */
    }
}

static void sync_directory(const char *dir)
{
    STINT_AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0)
        (void)fsync(fd); /* the generation itself is durable; its names can be made anew */
}

static int write_script(const struct dmtcp_names_order *order, const char *dir, char **paths,
                        struct stint_err *err)
{
    STINT_AUTO_FREE char *text = dmtcp_script_text(order, paths), *link_path = NULL,
                         *temporary = NULL;
    char name[NAME_MAX + 1];
    int ret;

    snprintf(name, sizeof(name), "dmtcp_restart_script_%s.sh", order->computation);
    if (!text || asprintf(&link_path, "%s/dmtcp_restart_script.sh", dir) < 0
        || asprintf(&temporary, "%s/.dmtcp_restart_script.%d.tmp", dir, (int)getpid()) < 0)
        return stint_err_set(err, -ENOMEM, "write the restart script");
    ret = write_text(dir, name, text, 0700, err);
    if (ret < 0)
        return ret;
    (void)unlink(temporary); /* of a process that had this pid */
    if (symlink(name, temporary) < 0 || rename(temporary, link_path) < 0) {
        ret = stint_err_set(err, -errno, "make %s", link_path);
        (void)unlink(temporary);
    }
    return ret;
}

/* All paths of the generation's files, one entry for each group: a list separated by
 * newlines. */
static char *group_paths(const struct dmtcp_names_order *order,
                         const struct stint_manifest_group *group)
{
    const char *dir = dir_of(order, group->name);
    char *text = NULL, name[NAME_MAX + 1];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    for (size_t i = 0; i < group->nfiles; i++) {
        if (strcmp(group->files[i].kind, "process") != 0)
            continue;
        file_name(order, group->name, &group->files[i], name);
        fprintf(out, "%s/%s\n", dir, name);
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* The directories that get a script, each once: those of the groups and the
 * coordinator's. */
static size_t script_dirs(const struct dmtcp_names_order *order, const char **dirs)
{
    const struct stint_manifest *m = order->manifest;
    size_t n = 0;

    for (size_t i = 0; i <= m->ngroups; i++) {
        const char *dir = i < m->ngroups ? dir_of(order, m->groups[i].name)
                                         : order->coordinator_dir;
        bool is_there = !dir;

        for (size_t j = 0; j < n; j++)
            is_there |= dir && strcmp(dirs[j], dir) == 0;
        if (!is_there)
            dirs[n++] = dir;
    }
    return n;
}

static void keep_first(int ret, const struct stint_err *failure, int *first,
                       struct stint_err *err)
{
    if (ret >= 0 || *first < 0)
        return;
    *first = ret;
    if (err)
        *err = *failure;
}

int dmtcp_names_write(const struct dmtcp_names_order *order, struct stint_err *err)
{
    const struct stint_manifest *m = order->manifest;
    STINT_AUTO_FREE const char **dirs = calloc(m->ngroups + 1, sizeof(*dirs));
    STINT_AUTO_FREE char **paths = calloc(m->ngroups + 1, sizeof(*paths));
    struct stint_err failure;
    size_t ndirs;
    int first = 0;

    if (!dirs || !paths)
        return stint_err_set(err, -ENOMEM, "write the names of a checkpoint");
    ndirs = script_dirs(order, dirs);
    for (size_t i = 0; i < ndirs; i++)
        keep_first(dmtcp_make_directory(dirs[i], &failure), &failure, &first, err);
    for (size_t i = 0; i < m->ngroups; i++) {
        const struct stint_manifest_group *group = &m->groups[i];

        for (size_t j = 0; j < group->nfiles; j++)
            if (strcmp(group->files[j].kind, "process") == 0)
                keep_first(write_name(order, dir_of(order, group->name), group,
                                      &group->files[j], &failure),
                           &failure, &first, err);
        paths[i] = group_paths(order, group);
    }
    for (size_t i = 0; i < ndirs; i++) {
        keep_first(write_script(order, dirs[i], paths, &failure), &failure, &first, err);
        remove_stale(order, dirs[i]);
        sync_directory(dirs[i]);
    }
    for (size_t i = 0; i < m->ngroups; i++)
        free(paths[i]);
    return first;
}

/* --- reading --------------------------------------------------------------------- */

void dmtcp_name_deinit(struct dmtcp_name *name)
{
    free(name->path);
    free(name->files);
    free(name->ckptdir);
    free(name->program);
    memset(name, 0, sizeof(*name));
}

static bool has_generation(const char *files, int64_t generation)
{
    char path[PATH_MAX], name[STINT_GENERATION_NAME_MAX];

    snprintf(path, sizeof(path), "%s/%s/" STINT_MANIFEST_NAME, files,
             stint_generation_name((uint64_t)generation, 0, name));
    return access(path, F_OK) == 0;
}

/* The data lies beside the name where both were moved; else where it was. */
static char *find_files(const char *path, const json_t *json, const char *computation)
{
    int64_t generation = stint_json_int(json, "generation", 1, INT64_MAX, 0);
    STINT_AUTO_FREE char *copy = strdup(path), *beside = NULL;
    const char *said = stint_json_string(json, "files", "");
    char *slash = copy ? strrchr(copy, '/') : NULL;

    if (!copy)
        return NULL;
    if (slash)
        *slash = '\0';
    beside = dmtcp_files_path(slash ? (copy[0] ? copy : "/") : ".", computation);
    if (beside && has_generation(beside, generation))
        return realpath(beside, NULL);
    if (beside && access(beside, F_OK) == 0 && access(said, F_OK) < 0)
        return realpath(beside, NULL);
    return strdup(said);
}

static int parse(const char *path, const json_t *json, struct dmtcp_name *name,
                 struct stint_err *err)
{
    const char *computation = stint_json_string(json, "computation", "");
    const char *group = stint_json_string(json, "group", "");
    size_t len = strlen(computation);

    if (stint_json_int(json, "stint_dmtcp", 0, INT32_MAX, 0) != FORMAT)
        return stint_err_set(err, -EBADMSG, "%s is not a file of this version.", path);
    if (len != DMTCP_COMPUTATION_DIGITS || strspn(computation, "0123456789abcdef") != len
        || !*group || strlen(group) >= sizeof(name->group) || strchr(group, '/'))
        return stint_err_set(err, -EBADMSG, "%s is damaged.", path);
    memcpy(name->computation, computation, len + 1);
    snprintf(name->group, sizeof(name->group), "%s", group);
    name->generation = (uint64_t)stint_json_int(json, "generation", 1, INT64_MAX, 0);
    name->pid = stint_json_int(json, "pid", 1, INT32_MAX, 0);
    name->interval_s = (unsigned)stint_json_int(json, "interval", 0, INT32_MAX, 0);
    name->unique = stint_json_bool(json, "unique", 0);
    name->open_files = stint_json_bool(json, "open_files", 0);
    name->path = strdup(path);
    name->program = strdup(stint_json_string(json, "program", ""));
    name->ckptdir = strdup(stint_json_string(json, "ckptdir", ""));
    name->files = find_files(path, json, computation);
    if (!name->path || !name->program || !name->ckptdir || !name->files)
        return stint_err_set(err, -ENOMEM, "read %s", path);
    if (!name->generation || !name->pid)
        return stint_err_set(err, -EBADMSG, "%s is damaged.", path);
    return 0;
}

int dmtcp_name_read(const char *path, struct dmtcp_name *out, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    STINT_AUTO_FREE char *text = malloc(NAME_FILE_MAX);
    struct dmtcp_name name = {0};
    json_t *json = NULL;
    struct stat st;
    ssize_t len;
    int ret;

    if (fd < 0)
        return stint_err_set(err, -errno, "%s", path);
    if (!text)
        return stint_err_set(err, -ENOMEM, "read %s", path);
    if (fstat(fd, &st) < 0 || st.st_uid != geteuid())
        return stint_err_set(err, -EPERM, "%s belongs to another user.", path);
    len = read(fd, text, NAME_FILE_MAX);
    if (len < 0)
        return stint_err_set(err, -errno, "read %s", path);
    json = json_loadb(text, (size_t)len, 0, NULL);
    if (!json)
        return stint_err_set(err, -EBADMSG,
                             "%s is not a checkpoint of stint (those of DMTCP itself cannot "
                             "be read).",
                             path);
    ret = parse(path, json, &name, err);
    json_decref(json);
    if (ret < 0)
        dmtcp_name_deinit(&name);
    else
        *out = name;
    return ret;
}
