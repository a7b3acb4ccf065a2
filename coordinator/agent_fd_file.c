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
#include "coordinator/agent_contents.h"
#include "coordinator/agent_segment.h"

#define DELETED " (deleted)"

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
    return S_ISREG(object->st.st_mode);
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

    if (segment)
        object->record.a = segment->record.id;
    if (has_name(object)) {
        if (!can_write(object) || is_synthetic(object))
            object->record.flags |= STINT_OBJFLAG_KEEP_SIZE;
        else
            agent_contents_want_file(all, object, segment);
        if (!is_synthetic(object))
            agent_contents_want_spare(all, object, segment);
        return take_path(object, err);
    }
    object->record.kind = STINT_OBJ_DELETED;
    agent_contents_want(all, object, segment);
    object->path = strdup(object->link);
    if (!object->path)
        return stint_err_set(err, -ENOMEM, "describe %s", object->link);
    if (strlen(object->path) > strlen(DELETED)
        && strcmp(object->path + strlen(object->path) - strlen(DELETED), DELETED) == 0)
        object->path[strlen(object->path) - strlen(DELETED)] = '\0';
    return 0;
}

const struct agent_fdkind agent_fd_regular = {
    .kind = STINT_OBJ_FILE,
    .match = match_regular,
    .describe = describe_regular,
    .store = agent_contents_store,
};

/* --- directories ------------------------------------------------------------------ */

static bool match_directory(const struct agent_object *object)
{
    return S_ISDIR(object->st.st_mode);
}

static int describe_directory(struct agent_objects *all, struct agent_object *object,
                              const struct agent_segments *segments, struct stint_err *err)
{
    if (!has_name(object) && strcmp(object->link, "/") != 0) {
        if (object->st.st_nlink > 0)
            return agent_object_refuse(object, err, "the directory %s is not under this name",
                                       object->link);
        object->record.flags |= STINT_OBJFLAG_REMOVED;
    }
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
