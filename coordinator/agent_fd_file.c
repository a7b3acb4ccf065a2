/* Regular files, directories, and descriptors opened with O_PATH.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A file that still has its name is opened again by it at a restart. One that has
 * none any more is stored.
 */
#include "coordinator/agent_object.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_write.h"
#include "coordinator/agent_segment.h"

#define DELETED    " (deleted)"
#define COPY_BYTES (1u << 20)

static bool is_memfd(const struct agent_object *object)
{
    return strncmp(object->link, "/memfd:", 7) == 0;
}

static bool can_write(const struct agent_object *object)
{
    return (object->open_flags & O_ACCMODE) != O_RDONLY;
}

/* Does the path lead to this very file? NFS keeps a file that was removed while open
 * under a name of its own, and removes it with the last descriptor. */
static bool has_name(const struct agent_object *object)
{
    const char *name = strrchr(object->link, '/');
    struct stat st;

    if (object->link[0] != '/' || object->st.st_nlink == 0)
        return false;
    if (name && strncmp(name, "/.nfs", 5) == 0 && isxdigit((unsigned char)name[5]))
        return false;
    return lstat(object->link, &st) == 0 && st.st_dev == object->st.st_dev
           && st.st_ino == object->st.st_ino;
}

/* --- of /proc ---------------------------------------------------------------- */

/* "/proc/12/stat": it holds pids as the agent sees them, and belongs to a process. */
static bool is_of_process(const struct agent_object *object)
{
    return strncmp(object->link, "/proc/", 6) == 0
           && (isdigit((unsigned char)object->link[6]) || object->link[6] == '\0');
}

static int take_path(struct agent_object *object, struct stint_err *err)
{
    if (is_of_process(object))
        return agent_object_refuse(object, err, "%s is not supported yet", object->link);
    object->path = strdup(object->link);
    if (!object->path)
        return stint_err_set(err, -ENOMEM, "describe %s", object->link);
    return 0;
}

/* --- regular files ------------------------------------------------------------- */

static bool match_regular(const struct agent_object *object)
{
    return S_ISREG(object->st.st_mode) && !is_memfd(object);
}

/* Another description of the same file that will store it. */
static const struct agent_object *find_stored(const struct agent_objects *all,
                                              const struct agent_object *object)
{
    for (size_t i = 0; i < all->count && all->list[i] != object; i++) {
        if (all->list[i]->record.kind == STINT_OBJ_DELETED
            && all->list[i]->st.st_dev == object->st.st_dev
            && all->list[i]->st.st_ino == object->st.st_ino)
            return all->list[i];
    }
    return NULL;
}

/* A size that is too small to be true: files of /proc and /sys have none. */
static bool is_synthetic(const struct agent_object *object)
{
    struct statfs fs;

    return fstatfs(object->fd, &fs) == 0
           && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC
               || fs.f_type == CGROUP2_SUPER_MAGIC || fs.f_type == CGROUP_SUPER_MAGIC);
}

static int describe_regular(struct agent_objects *all, struct agent_object *object,
                            const struct agent_segments *segments, struct stint_err *err)
{
    const struct agent_segment *segment
        = agent_segments_find(segments, object->st.st_dev, object->st.st_ino);
    const struct agent_object *stored;

    if (segment)
        object->record.a = segment->record.id;
    if (has_name(object)) {
        if (!can_write(object) || is_synthetic(object))
            object->record.flags |= STINT_OBJFLAG_KEEP_SIZE;
        return take_path(object, err);
    }
    object->record.kind = STINT_OBJ_DELETED;
    stored = find_stored(all, object);
    if (stored)
        object->record.b = stored->record.id;
    object->path = strdup(object->link);
    if (!object->path)
        return stint_err_set(err, -ENOMEM, "describe %s", object->link);
    if (strlen(object->path) > strlen(DELETED)
        && strcmp(object->path + strlen(object->path) - strlen(DELETED), DELETED) == 0)
        object->path[strlen(object->path) - strlen(DELETED)] = '\0';
    return 0;
}

/* The description may be write-only: its contents are read by another one. */
static int open_contents(const struct agent_object *object)
{
    char path[64];

    if ((object->open_flags & O_ACCMODE) != O_WRONLY && !(object->open_flags & O_DIRECT))
        return fcntl(object->fd, F_DUPFD_CLOEXEC, 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", object->fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static int store_regular(struct agent_object *object, struct stint_image_writer *writer,
                         struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    STINT_AUTO_FREE char *buf = NULL;
    off_t at = 0;
    ssize_t n;
    int ret = 0;

    /* Kept by its name, by another description, or as shared memory. */
    if (object->record.kind != STINT_OBJ_DELETED || object->record.a || object->record.b)
        return 0;
    fd = open_contents(object);
    buf = malloc(COPY_BYTES);
    if (fd < 0 || !buf)
        return stint_err_set(err, -errno, "read the deleted file %s", object->path);
    while (ret == 0 && (n = pread(fd, buf, COPY_BYTES, at)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return stint_err_set(err, -errno, "read the deleted file %s", object->path);
        ret = stint_image_writer_data(writer, buf, (size_t)n, err);
        at += n;
    }
    if (ret == 0)
        ret = stint_image_writer_data_end(writer, &object->record.data_offset,
                                          &object->record.data_len,
                                          &object->record.data_xxh3, err);
    return ret;
}

const struct agent_fdkind agent_fd_regular = {
    .kind = STINT_OBJ_FILE,
    .match = match_regular,
    .describe = describe_regular,
    .store = store_regular,
};

/* --- directories ------------------------------------------------------------------ */

static bool match_directory(const struct agent_object *object)
{
    return S_ISDIR(object->st.st_mode);
}

static int describe_directory(struct agent_objects *all, struct agent_object *object,
                              const struct agent_segments *segments, struct stint_err *err)
{
    if (!has_name(object) && strcmp(object->link, "/") != 0)
        return agent_object_refuse(object, err, "the removed directory %s is not supported",
                                   object->link);
    return take_path(object, err);
}

const struct agent_fdkind agent_fd_directory = {
    .kind = STINT_OBJ_DIR,
    .match = match_directory,
    .describe = describe_directory,
};

/* --- O_PATH ------------------------------------------------------------------------- */

static bool match_path(const struct agent_object *object)
{
    return object->open_flags & O_PATH;
}

static int describe_path(struct agent_objects *all, struct agent_object *object,
                         const struct agent_segments *segments, struct stint_err *err)
{
    if (!has_name(object) && !S_ISDIR(object->st.st_mode))
        return agent_object_refuse(object, err, "O_PATH to the removed %s is not supported",
                                   object->link);
    return take_path(object, err);
}

const struct agent_fdkind agent_fd_path = {
    .kind = STINT_OBJ_PATH,
    .match = match_path,
    .describe = describe_path,
};
