/* What can be found wrong before anything is made.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/cleanup.h"
#include "runtime/restorer/objects.h"
#include "runtime/restorer/restore.h"

/* Paths of a process that changed its root are below that root. */
static int stat_in_root(const char *root, const char *path, struct stat *st,
                        struct stint_err *err)
{
    char full[2 * PATH_MAX];

    (void)snprintf(full, sizeof(full), "%s%s", root, path); /* both at most PATH_MAX */
    if (stat(full, st) < 0)
        return stint_err_set(err, -errno, "the program needs %s", full);
    return 0;
}

/* Pages of the file that the program did not change are not in the image. */
static int check_mapped(const char *root, const struct stint_vma *vma, struct stint_err *err)
{
    const char *path = stint_vma_path(vma);
    int64_t mtime_ns;
    struct stat st;
    int r = stat_in_root(root, path, &st, err);

    if (r < 0)
        return r;
    if (!S_ISREG(st.st_mode))
        return stint_err_set(err, -EINVAL, "the program needs %s, which is no file now.",
                             path);
    if (vma->kind == STINT_VMA_SHARED)
        return 0; /* it is the program's to change */
    mtime_ns = st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
    if ((uint64_t)st.st_size != vma->file_size)
        return stint_err_set(err, -ESTALE,
                             "%s has changed since the checkpoint: it has %llu bytes, it had "
                             "%llu.",
                             path, (unsigned long long)st.st_size,
                             (unsigned long long)vma->file_size);
    if (mtime_ns != vma->file_mtime_ns)
        return stint_err_set(err, -ESTALE,
                             "%s has changed since the checkpoint: it was written at "
                             "%lld.%09lld, it was of %lld.%09lld.",
                             path, (long long)(mtime_ns / 1000000000),
                             (long long)(mtime_ns % 1000000000),
                             (long long)(vma->file_mtime_ns / 1000000000),
                             (long long)(vma->file_mtime_ns % 1000000000));
    return 0;
}

static int check_mappings(const struct stint_image *image, const char *root,
                          struct stint_err *err)
{
    struct stint_image_record rec;
    const char *last = "";
    size_t cursor = 0;

    while (stint_image_next_of(image, STINT_REC_VMA, &cursor, &rec)) {
        const struct stint_vma *vma = rec.payload;
        int r;

        if (vma->kind != STINT_VMA_FILE && vma->kind != STINT_VMA_SHARED)
            continue;
        if (strcmp(stint_vma_path(vma), last) == 0)
            continue; /* a library has several mappings in a row */
        last = stint_vma_path(vma);
        r = check_mapped(root, vma, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_encodings(const struct stint_image *image, struct stint_err *err)
{
    struct stint_image_record rec;
    size_t cursor = 0;

    while (stint_image_next_of(image, STINT_REC_EXTENTS, &cursor, &rec)) {
        const struct stint_extent *e = rec.payload;

        for (size_t i = 0; i < rec.len / sizeof(*e); i++) {
            if (e[i].encoding != STINT_ENC_RAW && e[i].encoding != STINT_ENC_ZERO)
                return stint_err_set(err, -EPROTONOSUPPORT,
                                     "image %s: needs a newer stint (encoding %u).",
                                     image->path, e[i].encoding);
        }
    }
    return 0;
}

static int check_process(const struct stint_image *image, struct stint_err *err)
{
    const struct stint_cpu *cpu = stint_image_find(image, STINT_REC_CPU, NULL);
    const char *root = stint_image_find(image, STINT_REC_ROOT, NULL);
    const char *cwd = stint_image_find(image, STINT_REC_CWD, NULL);
    struct stat st;
    int r = cpu ? stint_cpu_check(cpu, err) : 0;

    root = root && strcmp(root, "/") != 0 ? root : "";
    if (r == 0)
        r = check_mappings(image, root, err);
    if (r == 0 && stat_in_root(root, cwd, &st, err) < 0 && err->code != -ENOENT)
        r = err->code; /* one that is gone is made again */
    if (r == 0)
        r = check_encodings(image, err);
    return r;
}

#define PID_MAX_FILE "/proc/sys/kernel/pid_max"

static int read_pid_max(void)
{
    STINT_AUTO_FCLOSE FILE *file = fopen(PID_MAX_FILE, "re");
    int max = 0;

    return file && fscanf(file, "%d", &max) == 1 && max > 0 ? max : 0;
}

/* The lowest process id of the program from `max` on, or 0. */
static int64_t find_pid_above(const struct stint_restore *restore, int max)
{
    for (int64_t pid = max; pid < restore->pids.limit; pid++) {
        if (stint_numbers_has(&restore->pids, pid))
            return pid;
    }
    return 0;
}

int stint_restore_limit_pids(const struct stint_restore *restore, struct stint_err *err)
{
    int max = read_pid_max();
    int64_t pid = max ? find_pid_above(restore, max) : 0;

    if (pid)
        return stint_err_set(err, -ERANGE,
                             "the program has the process id %lld, this machine gives less "
                             "than %d (sysctl kernel.pid_max).",
                             (long long)pid, max);
    if (restore->pid_max && restore->pid_max < max
        && !find_pid_above(restore, restore->pid_max)) {
        STINT_AUTO_FCLOSE FILE *file = fopen(PID_MAX_FILE, "we");

        if (file)
            fprintf(file, "%d\n", restore->pid_max); /* or its ids grow longer: no harm */
    }
    return 0;
}

int stint_restore_check(struct stint_restore *restore, struct stint_err *err)
{
    int r;

    restore->pid_max = read_pid_max();
    for (size_t i = 0; i < restore->nmembers; i++) {
        const struct stint_restored_process *p = &restore->members[i];
        r = p->image ? check_process(p->image, err) : 0;

        if (r < 0)
            return stint_err_prefix(err, "process %d (%s)", p->member->pid, p->member->comm);
    }
    for (size_t i = 0; i < restore->nsegments; i++) {
        const struct stint_image *image = restore->segments[i].image;
        r = image ? check_encodings(image, err) : 0;

        if (r < 0)
            return r;
    }
    r = stint_huge_check(restore, err);
    return r < 0 ? r : stint_objects_check(restore, err);
}
