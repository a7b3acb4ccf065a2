/* One generation while it is made.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/generation.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/image.h"
#include "common/log.h"
#include "common/manifest.h"
#include "common/wire.h"

void generation_free(struct generation *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->nparts; i++) {
        json_decref(g->parts[i].hello);
        json_decref(g->parts[i].captured);
    }
    free(g->parts);
    free(g->path);
    stint_cleanup_close(&g->fd);
    free(g);
}

int generation_begin(int dir_fd,
                     const char *dir,
                     struct generation **out,
                     struct stint_err *err)
{
    struct generation *g = calloc(1, sizeof(*g));
    char name[STINT_GENERATION_NAME_MAX];
    struct timespec now;
    int ret;

    if (!g)
        return stint_err_set(err, -ENOMEM, "begin a generation");
    g->fd = -1;
    ret = stint_dir_next(dir_fd, &g->number, err);
    if (ret == 0
        && asprintf(&g->path, "%s/%s", dir, stint_generation_name(g->number, 1, name))
               < 0)
        ret = stint_err_set(err, -ENOMEM, "begin a generation");
    if (ret == 0)
        ret = stint_dir_begin(dir_fd, g->number, &g->fd, err);
    if (ret < 0) {
        generation_free(g);
        return ret;
    }
    randombytes_buf(g->id, sizeof(g->id));
    sodium_bin2hex(g->id_hex, sizeof(g->id_hex), g->id, sizeof(g->id));
    clock_gettime(CLOCK_MONOTONIC, &now);
    g->started_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    g->started = time(NULL);
    *out = g;
    return 0;
}

int generation_add(struct generation *g, json_t *hello, json_t *captured)
{
    struct generation_part *more = realloc(g->parts, (g->nparts + 1) * sizeof(*more));

    if (!more)
        return -ENOMEM;
    g->parts = more;
    g->parts[g->nparts].hello = json_incref(hello);
    g->parts[g->nparts].captured = json_incref(captured);
    g->nparts++;
    return 0;
}

void generation_drop(const struct generation *g, int dir_fd)
{
    struct stint_err err;

    if (stint_dir_drop(dir_fd, g->number, &err) < 0)
        stint_warn("%s", err.text);
}

static uint32_t kind_number(const char *kind)
{
    if (strcmp(kind, "process") == 0)
        return STINT_IMAGE_PROCESS;
    if (strcmp(kind, "group") == 0)
        return STINT_IMAGE_GROUP;
    return strcmp(kind, "shared") == 0 ? STINT_IMAGE_SHARED : 0;
}

static int header_is_sound(const struct stint_image_header *header)
{
    struct stint_image_header copy = *header;

    copy.header_xxh3 = 0;
    return memcmp(header->magic, STINT_IMAGE_MAGIC, sizeof(header->magic)) == 0
           && header->header_xxh3 == XXH3_64bits(&copy, sizeof(copy));
}

/* The header is written last: where it is sound and of this generation, its writer had
 * come to the end. Its checksum stands for the whole file. */
static int check_file(const struct generation *g,
                      struct stint_manifest_file *file,
                      struct stint_err *err)
{
    struct stint_image_header header;
    STINT_AUTO_CLOSE int fd = -1;
    struct stat st;

    fd = openat(g->fd, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return stint_err_set(err, -errno, "image %s", file->name);
    if (!S_ISREG(st.st_mode)
        || pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header)
        || !header_is_sound(&header))
        return stint_err_set(err, -EBADMSG, "image %s is torn.", file->name);
    if (memcmp(header.gen_id, g->id, sizeof(g->id)) != 0
        || header.generation != g->number || header.kind != kind_number(file->kind))
        return stint_err_set(err, -EBADMSG,
                             "image %s is of another generation or kind.", file->name);
    if (header.file_len != (uint64_t)st.st_size)
        return stint_err_set(err, -EBADMSG, "image %s has not its full length.",
                             file->name);
    file->bytes = header.file_len;
    file->xxh3 = header.header_xxh3;
    return 0;
}

static int dup_member(const json_t *object,
                      const char *name,
                      const char *otherwise,
                      char **out,
                      struct stint_err *err)
{
    const char *text = stint_json_string(object, name, otherwise);

    if (!text)
        return stint_err_set(err, -EBADMSG, "an agent's answer lacks %s.", name);
    *out = strdup(text);
    return *out ? 0 : stint_err_set(err, -ENOMEM, "write the manifest");
}

static int fill_file(const struct generation *g,
                     const json_t *said,
                     struct stint_manifest_file *file,
                     struct stint_err *err)
{
    int ret = dup_member(said, "name", NULL, &file->name, err);

    if (ret == 0)
        ret = dup_member(said, "kind", NULL, &file->kind, err);
    if (ret == 0)
        ret = dup_member(said, "comm", "", &file->comm, err);
    if (ret < 0)
        return ret;
    if (strchr(file->name, '/') || file->name[0] == '.')
        return stint_err_set(err, -EBADMSG, "an agent named a file '%s'.", file->name);
    file->pid = stint_json_int(said, "pid", 0, INT32_MAX, 0);
    return check_file(g, file, err);
}

static int fill_group(const struct generation *g,
                      const struct generation_part *part,
                      struct stint_manifest_group *group,
                      struct stint_err *err)
{
    const json_t *files = json_object_get(part->captured, "files");
    int ret = dup_member(part->hello, "group", NULL, &group->name, err);

    if (ret == 0)
        ret = dup_member(part->hello, "host", "", &group->host, err);
    if (ret == 0)
        ret = dup_member(part->hello, "kernel", "", &group->kernel, err);
    if (ret == 0)
        ret = dup_member(part->hello, "command", "", &group->command, err);
    if (ret == 0)
        ret = dup_member(part->captured, "group_image", NULL, &group->image, err);
    if (ret < 0)
        return ret;
    group->root_pid = stint_json_int(part->hello, "root_pid", 0, INT32_MAX, 0);
    group->processes =
        (uint64_t)stint_json_int(part->captured, "processes", 0, INT32_MAX, 0);
    group->stall_ms =
        (uint64_t)stint_json_int(part->captured, "stall_ms", 0, UINT32_MAX, 0);
    if (json_array_size(files) == 0)
        return stint_err_set(err, -EBADMSG, "the agent of %s named no files.",
                             group->name);
    group->files = calloc(json_array_size(files), sizeof(*group->files));
    if (!group->files)
        return stint_err_set(err, -ENOMEM, "write the manifest");
    group->nfiles = json_array_size(files);
    for (size_t i = 0; i < group->nfiles; i++) {
        ret = fill_file(g, json_array_get(files, i), &group->files[i], err);
        if (ret < 0)
            return ret;
        group->bytes += group->files[i].bytes;
    }
    return 0;
}

static uint64_t restored_from(const struct generation *g)
{
    int64_t newest = 0;

    for (size_t i = 0; i < g->nparts; i++) {
        int64_t from = stint_json_int(g->parts[i].hello, "generation", 0, INT64_MAX, 0);

        if (from > newest)
            newest = from;
    }
    return (uint64_t)newest;
}

static int fill_manifest(const struct generation *g,
                         const struct generation_facts *facts,
                         struct stint_manifest *m,
                         struct stint_err *err)
{
    m->generation = g->number;
    memcpy(m->gen_id, g->id_hex, sizeof(m->gen_id));
    m->restored_from = restored_from(g);
    m->run = facts->run;
    m->started = g->started;
    m->committed = time(NULL);
    m->duration_ms = facts->duration_ms;
    m->held = facts->held;
    m->stint_version = strdup(STINT_VERSION);
    m->slurm_job = strdup(facts->slurm_job);
    m->groups = calloc(g->nparts, sizeof(*m->groups));
    if (!m->stint_version || !m->slurm_job || !m->groups)
        return stint_err_set(err, -ENOMEM, "write the manifest");
    m->ngroups = g->nparts;
    for (size_t i = 0; i < g->nparts; i++) {
        int ret = fill_group(g, &g->parts[i], &m->groups[i], err);

        if (ret < 0)
            return ret;
        m->bytes += m->groups[i].bytes;
        m->processes += m->groups[i].processes;
        if (m->groups[i].stall_ms > m->stall_ms)
            m->stall_ms = m->groups[i].stall_ms;
    }
    return 0;
}

int generation_commit(const struct generation *g,
                      int dir_fd,
                      const struct generation_facts *facts,
                      struct stint_manifest *manifest,
                      struct stint_err *err)
{
    struct stint_manifest m = {0};
    int ret;

    if (g->nparts == 0)
        return stint_err_set(err, -ECANCELED, "no program is left in it.");
    ret = fill_manifest(g, facts, &m, err);
    if (ret == 0)
        ret = stint_manifest_write(&m, g->fd, err);
    if (ret == 0)
        ret = stint_dir_commit(dir_fd, g->number, err);
    if (ret < 0) {
        stint_manifest_deinit(&m);
        return ret;
    }
    *manifest = m;
    return 0;
}
