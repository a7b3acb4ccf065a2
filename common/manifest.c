/* The manifest of a generation: reading it, from a file that is not trusted.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/wire.h"
#include "common/yaml.h"

#define GROUPS_MAX 100000u
#define FILES_MAX  1000000u

void stint_manifest_deinit(struct stint_manifest *m)
{
    int saved = errno;

    for (size_t i = 0; i < m->ngroups; i++) {
        struct stint_manifest_group *g = &m->groups[i];

        for (size_t k = 0; k < g->nfiles; k++) {
            free(g->files[k].name);
            free(g->files[k].kind);
            free(g->files[k].comm);
        }
        free(g->files);
        free(g->name);
        free(g->host);
        free(g->kernel);
        free(g->command);
        free(g->image);
    }
    free(m->groups);
    free(m->stint_version);
    free(m->slurm_job);
    memset(m, 0, sizeof(*m));
    errno = saved;
}

const struct stint_manifest_group *stint_manifest_group(const struct stint_manifest *m,
                                                        const char *name)
{
    for (size_t i = 0; i < m->ngroups; i++)
        if (strcmp(m->groups[i].name, name) == 0)
            return &m->groups[i];
    return NULL;
}

/* Reads members one after the other; after the first failure the rest does nothing. */
struct reader {
    const json_t *object;
    const char *where;
    struct stint_err *err;
    int ret;
};

static void complain(struct reader *r, const char *name, const char *what)
{
    if (r->ret == 0)
        r->ret = stint_err_set(r->err, -EBADMSG, "%s: %s %s.", r->where, name, what);
}

static void read_uint(struct reader *r, const char *name, uint64_t max, uint64_t *out)
{
    if (stint_yaml_uint(r->object, name, max, out) < 0)
        complain(r, name, "is missing or no number");
}

static void read_int(struct reader *r, const char *name, int64_t *out)
{
    uint64_t value = 0;

    read_uint(r, name, INT64_MAX, &value);
    *out = (int64_t)value;
}

static void read_text(struct reader *r, const char *name, char **out)
{
    const char *text = stint_json_string(r->object, name, NULL);

    if (!text) {
        complain(r, name, "is missing or no text");
        return;
    }
    *out = strdup(text);
    if (!*out && r->ret == 0)
        r->ret = stint_err_set(r->err, -ENOMEM, "%s", r->where);
}

static int is_plain_name(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len <= NAME_MAX && name[0] != '.'
           && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                           "0123456789._-")
                  == len;
}

/* The name of a file beside the manifest, or of a group. It may lead nowhere else. */
static void read_name(struct reader *r, const char *name, char **out)
{
    read_text(r, name, out);
    if (r->ret == 0 && !is_plain_name(*out))
        complain(r, name, "is no plain name");
}

static void read_hex(struct reader *r, const char *name, size_t digits, char *out)
{
    const char *text = stint_json_string(r->object, name, "");

    if (strlen(text) != digits || strspn(text, "0123456789abcdef") != digits)
        complain(r, name, "is missing or not of the right form");
    else
        memcpy(out, text, digits + 1);
}

static void read_bool(struct reader *r, const char *name, int *out)
{
    const char *text = stint_json_string(r->object, name, "");

    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        complain(r, name, "is missing or neither true nor false");
    else
        *out = text[0] == 't';
}

/* Room for a list's items; NULL where there are none. */
static void *
read_list(struct reader *r, const char *name, size_t max, size_t size, size_t *count)
{
    const json_t *list = json_object_get(r->object, name);
    void *room;

    if (!json_is_array(list) || json_array_size(list) == 0
        || json_array_size(list) > max) {
        complain(r, name, "is missing, empty or too long");
        return NULL;
    }
    room = calloc(json_array_size(list), size);
    if (!room) {
        if (r->ret == 0)
            r->ret = stint_err_set(r->err, -ENOMEM, "%s", r->where);
        return NULL;
    }
    *count = json_array_size(list);
    return room;
}

static void read_file(struct reader *r, struct stint_manifest_file *file)
{
    char hex[17] = "0";

    read_name(r, "name", &file->name);
    read_text(r, "kind", &file->kind);
    if (r->ret == 0 && strcmp(file->kind, "process") != 0
        && strcmp(file->kind, "group") != 0 && strcmp(file->kind, "shared") != 0)
        complain(r, "kind", "is none of process, group, shared");
    read_text(r, "comm", &file->comm);
    read_int(r, "pid", &file->pid);
    read_uint(r, "bytes", INT64_MAX, &file->bytes);
    read_hex(r, "xxh3", 16, hex);
    file->xxh3 = strtoull(hex, NULL, 16);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Two groups of one name, or two entries of one file, cannot be told apart later. */
static void refuse_twice(struct reader *r, char **names, size_t count, const char *what)
{
    qsort(names, count, sizeof(*names), compare_strings);
    for (size_t i = 1; i < count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            complain(r, names[i], what);
}

static void check_files(struct reader *r, const struct stint_manifest *m)
{
    STINT_AUTO_FREE char **files = NULL;
    STINT_AUTO_FREE char **groups = calloc(m->ngroups, sizeof(*groups));
    size_t total = 0, n = 0;

    for (size_t i = 0; i < m->ngroups; i++)
        total += m->groups[i].nfiles;
    files = calloc(total, sizeof(*files));
    if (!files || !groups) {
        r->ret = stint_err_set(r->err, -ENOMEM, "%s", r->where);
        return;
    }
    for (size_t i = 0; i < m->ngroups; i++) {
        groups[i] = m->groups[i].name;
        for (size_t k = 0; k < m->groups[i].nfiles; k++)
            files[n++] = m->groups[i].files[k].name;
    }
    refuse_twice(r, groups, m->ngroups, "is the name of two groups");
    refuse_twice(r, files, total, "is there twice");
}

static void check_image(struct reader *r, const struct stint_manifest_group *g)
{
    for (size_t i = 0; i < g->nfiles; i++)
        if (strcmp(g->files[i].name, g->image) == 0
            && strcmp(g->files[i].kind, "group") == 0)
            return;
    complain(r, "image", "is none of the group's files");
}

static void read_group(struct reader *r, struct stint_manifest_group *g)
{
    const json_t *object = r->object;

    read_name(r, "name", &g->name);
    read_text(r, "host", &g->host);
    read_text(r, "kernel", &g->kernel);
    read_text(r, "command", &g->command);
    read_name(r, "image", &g->image);
    read_int(r, "root_pid", &g->root_pid);
    read_uint(r, "processes", UINT32_MAX, &g->processes);
    read_uint(r, "bytes", INT64_MAX, &g->bytes);
    read_uint(r, "stall_ms", UINT32_MAX, &g->stall_ms);
    g->files = read_list(r, "files", FILES_MAX, sizeof(*g->files), &g->nfiles);
    for (size_t i = 0; i < g->nfiles && r->ret == 0; i++) {
        r->object = json_array_get(json_object_get(object, "files"), i);
        read_file(r, &g->files[i]);
    }
    if (r->ret == 0)
        check_image(r, g);
}

static int read_manifest(const json_t *file,
                         uint64_t generation,
                         struct stint_manifest *m,
                         struct stint_err *err)
{
    struct reader r = {.object = file, .where = STINT_MANIFEST_NAME, .err = err};
    uint64_t version = 0;
    int is_complete = 0;

    read_uint(&r, "stint", UINT32_MAX, &version);
    if (r.ret == 0 && version != STINT_MANIFEST_VERSION)
        complain(&r, "stint", "is a version that this stint does not know");
    read_uint(&r, "generation", UINT64_MAX / 100, &m->generation);
    if (r.ret == 0 && generation != 0 && m->generation != generation)
        complain(&r, "generation", "is not that of its directory");
    read_hex(&r, "gen_id", 32, m->gen_id);
    read_uint(&r, "parent", UINT64_MAX, &m->parent);
    read_uint(&r, "restored_from", UINT64_MAX, &m->restored_from);
    read_text(&r, "stint_version", &m->stint_version);
    read_text(&r, "slurm_job", &m->slurm_job);
    read_uint(&r, "run", UINT32_MAX, &m->run);
    read_int(&r, "started", &m->started);
    read_int(&r, "committed", &m->committed);
    read_uint(&r, "duration_ms", INT64_MAX, &m->duration_ms);
    read_uint(&r, "stall_ms", UINT32_MAX, &m->stall_ms);
    read_uint(&r, "bytes", INT64_MAX, &m->bytes);
    read_uint(&r, "processes", UINT32_MAX, &m->processes);
    read_bool(&r, "held", &m->held);
    read_bool(&r, "complete", &is_complete);
    if (r.ret == 0 && !is_complete)
        complain(&r, "complete", "is not true");
    m->groups = read_list(&r, "groups", GROUPS_MAX, sizeof(*m->groups), &m->ngroups);
    for (size_t i = 0; i < m->ngroups && r.ret == 0; i++) {
        r.object = json_array_get(json_object_get(file, "groups"), i);
        read_group(&r, &m->groups[i]);
    }
    if (r.ret == 0)
        check_files(&r, m);
    return r.ret;
}

int stint_manifest_parse(const char *text,
                         size_t len,
                         uint64_t generation,
                         struct stint_manifest *m,
                         struct stint_err *err)
{
    struct stint_manifest read = {0};
    json_t *file = NULL;
    int ret;

    ret = stint_yaml_load(text, len, &file, err);
    if (ret < 0)
        return stint_err_prefix(err, STINT_MANIFEST_NAME);
    ret = read_manifest(file, generation, &read, err);
    json_decref(file);
    if (ret < 0) {
        stint_manifest_deinit(&read);
        return ret;
    }
    *m = read;
    return 0;
}

/* The whole file, NUL-terminated. */
static int load_text(int fd, char **text, size_t *len, struct stint_err *err)
{
    STINT_AUTO_FREE char *buffer = NULL;
    struct stat st;
    size_t used = 0;

    if (fstat(fd, &st) < 0)
        return stint_err_set(err, -errno, STINT_MANIFEST_NAME);
    if (!S_ISREG(st.st_mode) || st.st_size > STINT_MANIFEST_MAX_BYTES)
        return stint_err_set(err, -EBADMSG,
                             STINT_MANIFEST_NAME " is too large or no regular file.");
    buffer = malloc((size_t)st.st_size + 1);
    if (!buffer)
        return stint_err_set(err, -ENOMEM, STINT_MANIFEST_NAME);
    while (used < (size_t)st.st_size) {
        ssize_t n = read(fd, buffer + used, (size_t)st.st_size - used);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return stint_err_set(err, -errno, STINT_MANIFEST_NAME);
        if (n == 0)
            break;
        used += (size_t)n;
    }
    buffer[used] = '\0';
    *text = stint_steal_pointer(&buffer);
    *len = used;
    return 0;
}

int stint_manifest_read(int dir_fd,
                        uint64_t generation,
                        struct stint_manifest *m,
                        struct stint_err *err)
{
    char name[STINT_GENERATION_NAME_MAX], path[PATH_MAX];
    STINT_AUTO_CLOSE int fd = -1;
    STINT_AUTO_FREE char *text = NULL;
    size_t len = 0;
    int ret;

    if (generation == 0) {
        ret = stint_dir_newest(dir_fd, &generation, err);
        if (ret < 0)
            return ret;
        if (generation == 0)
            return stint_err_set(err, -ENOENT, "there is no checkpoint yet.");
    }
    stint_generation_name(generation, 0, name);
    snprintf(path, sizeof(path), "%s/" STINT_MANIFEST_NAME, name);
    fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return stint_err_set(err, -ENOENT, "there is no %s.", name);
    if (fd < 0)
        return stint_err_set(err, -errno, "%s", path);
    ret = load_text(fd, &text, &len, err);
    if (ret == 0)
        ret = stint_manifest_parse(text, len, generation, m, err);
    if (ret < 0)
        (void)stint_err_prefix(err, "%s", name);
    return ret;
}
