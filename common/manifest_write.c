/* The manifest of a generation: writing it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/wire.h"
#include "common/yaml.h"

static json_t *group_json(const struct stint_manifest_group *g)
{
    json_t *files = json_array();

    for (size_t i = 0; files && i < g->nfiles; i++) {
        const struct stint_manifest_file *f = &g->files[i];
        char hex[17];

        snprintf(hex, sizeof(hex), "%016" PRIx64, f->xxh3);
        if (json_array_append_new(files, json_pack("{s:s, s:s, s:o, s:I, s:I, s:s}",
                                                   "name", f->name, "kind", f->kind,
                                                   "comm", stint_json_text(f->comm),
                                                   "pid", (json_int_t)f->pid, "bytes",
                                                   (json_int_t)f->bytes, "xxh3", hex))
            < 0) {
            json_decref(files);
            files = NULL;
        }
    }
    /* a NULL in "o" makes the whole NULL */
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:I, s:I, s:I, s:I, s:o}", "name",
                     g->name, "host", g->host, "kernel", g->kernel, "command",
                     stint_json_text(g->command), "image", g->image, "root_pid",
                     (json_int_t)g->root_pid, "processes", (json_int_t)g->processes,
                     "bytes", (json_int_t)g->bytes, "stall_ms", (json_int_t)g->stall_ms,
                     "files", files);
}

json_t *stint_manifest_json(const struct stint_manifest *m)
{
    json_t *groups = json_array();

    for (size_t i = 0; groups && i < m->ngroups; i++)
        if (json_array_append_new(groups, group_json(&m->groups[i])) < 0) {
            json_decref(groups);
            groups = NULL;
        }
    return json_pack(
        "{s:i, s:I, s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, "
        "s:o, "
        "s:b}",
        "stint", STINT_MANIFEST_VERSION, "generation", (json_int_t)m->generation,
        "gen_id", m->gen_id, "parent", (json_int_t)m->parent, "restored_from",
        (json_int_t)m->restored_from, "stint_version", m->stint_version, "slurm_job",
        m->slurm_job, "run", (json_int_t)m->run, "started", (json_int_t)m->started,
        "committed", (json_int_t)m->committed, "duration_ms",
        (json_int_t)m->duration_ms, "stall_ms", (json_int_t)m->stall_ms, "bytes",
        (json_int_t)m->bytes, "processes", (json_int_t)m->processes, "held", m->held,
        "groups", groups,
        /* at the end, so that a manifest cut between two groups is seen to be */
        "complete", 1);
}

static int write_text(int gen_fd, const char *text, size_t len)
{
    STINT_AUTO_CLOSE int fd = -1;

    fd = openat(gen_fd, STINT_MANIFEST_NAME,
                O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        len -= (size_t)n;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int stint_manifest_write(const struct stint_manifest *m,
                         int gen_fd,
                         struct stint_err *err)
{
    STINT_AUTO_FREE char *text = NULL;
    struct stint_manifest back;
    json_t *file = stint_manifest_json(m);
    size_t len = 0;
    int ret;

    if (!file)
        return stint_err_set(err, -EINVAL, "a value that cannot be in a manifest.");
    ret = stint_yaml_dump(file, &text, &len, err);
    json_decref(file);
    if (ret < 0)
        return ret;
    /* what cannot be read back must not be committed */
    ret = stint_manifest_parse(text, len, m->generation, &back, err);
    if (ret < 0)
        return ret;
    stint_manifest_deinit(&back);
    ret = write_text(gen_fd, text, len);
    if (ret < 0) {
        if (ret != -EEXIST)
            (void)unlinkat(gen_fd, STINT_MANIFEST_NAME,
                           0); /* dropped with the directory */
        return stint_err_set(err, ret, "write " STINT_MANIFEST_NAME);
    }
    return 0;
}
