/* inotify instances of the program.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The kernel tells which inodes are watched, libstint.so under which paths. Events that
 * nobody has read yet cannot be put into another instance: then the checkpoint has to be
 * tried again.
 */
#include "coordinator/agent_inotify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "coordinator/agent_fdinfo.h"

struct agent_watched {
    struct agent_watched *next;
    uint64_t dev, ino;
    char path[];
};

int agent_inotify_note(struct agent_objects *all, const struct stint_ckpt_watch *watch)
{
    size_t len = strlen(watch->path) + 1;
    struct agent_watched *fresh = malloc(sizeof(*fresh) + len);

    if (!fresh)
        return -ENOMEM;
    fresh->dev = watch->dev;
    fresh->ino = watch->ino;
    memcpy(fresh->path, watch->path, len);
    fresh->next = all->watched;
    all->watched = fresh;
    return 0;
}

void agent_inotify_forget(struct agent_objects *all)
{
    while (all->watched) {
        struct agent_watched *next = all->watched->next;

        free(all->watched);
        all->watched = next;
    }
}

static bool match_inotify(const struct agent_object *object)
{
    return strcmp(object->link, "anon_inode:inotify") == 0;
}

/* A path that still leads to that inode. */
static const char *find_path(const struct agent_objects *all, uint64_t ino)
{
    for (const struct agent_watched *w = all->watched; w; w = w->next) {
        struct stat st;

        if (w->ino == ino && lstat(w->path, &st) == 0 && st.st_ino == ino)
            return w->path;
    }
    return NULL;
}

struct watch {
    struct stint_inotify_watch record;
    const char *path;
};

static int by_number(const void *a, const void *b)
{
    const struct watch *x = a, *y = b;

    return x->record.wd < y->record.wd ? -1 : x->record.wd > y->record.wd;
}

/* "wd:1 ino:5678 sdev:fe00000 mask:100 ...", all in hexadecimal, even where it is not said. */
static int read_watches(struct agent_objects *all, const struct agent_object *object,
                        const char *text, struct watch *watches, size_t *count,
                        struct stint_err *err)
{
    const char *at = text;

    *count = 0;
    while ((at = strstr(at, "inotify wd:"))) {
        struct watch *watch = &watches[(*count)++];
        unsigned wd, mask;
        uint64_t ino;

        if (sscanf(at, "inotify wd:%x ino:%" SCNx64 " sdev:%*x mask:%x", &wd, &ino, &mask) != 3)
            return stint_err_set(err, -ENOTSUP, "fdinfo does not describe inotify.");
        at++;
        *watch = (struct watch){.record = {.wd = (int32_t)wd, .mask = mask}};
        watch->path = find_path(all, ino);
        if (!watch->path)
            return agent_object_refuse(object, err, "inotify watches something of which the "
                                                    "path is not known (inode %" PRIu64 ")",
                                       ino);
        watch->record.path_len = (uint32_t)strlen(watch->path) + 1;
    }
    qsort(watches, *count, sizeof(*watches), by_number);
    return 0;
}

static int pack(struct agent_object *object, const struct watch *watches, size_t count)
{
    size_t len = 0;
    char *to;

    for (size_t i = 0; i < count; i++)
        len += sizeof(watches[i].record) + ((watches[i].record.path_len + 7) & ~7u);
    object->extra = to = calloc(1, len + 1);
    if (!to)
        return -ENOMEM;
    object->extra_len = len;
    for (size_t i = 0; i < count; i++) {
        memcpy(to, &watches[i].record, sizeof(watches[i].record));
        to += sizeof(watches[i].record);
        memcpy(to, watches[i].path, watches[i].record.path_len);
        to += (watches[i].record.path_len + 7) & ~7u;
    }
    return 0;
}

static int describe_inotify(struct agent_objects *all, struct agent_object *object,
                            const struct agent_segments *segments, struct stint_err *err)
{
    STINT_AUTO_FREE struct watch *watches = NULL;
    STINT_AUTO_FREE char *text = NULL;
    size_t count = 0;
    int unread = 0, ret = agent_fdinfo_read(0, object->fd, &text, err);

    if (ret < 0 || all->glance) /* the paths are known to libstint.so only */
        return ret;
    if (ioctl(object->fd, FIONREAD, &unread) == 0 && unread > 0)
        return stint_err_set(err, -EAGAIN,
                             "process %d (%s), descriptor %d: inotify has events that the "
                             "program has not read yet.",
                             (int)object->pid, object->comm, object->number);
    for (const char *at = text; (at = strstr(at, "inotify wd:")); at++)
        count++;
    watches = calloc(count + 1, sizeof(*watches));
    if (!watches)
        return stint_err_set(err, -ENOMEM, "describe inotify");
    ret = read_watches(all, object, text, watches, &count, err);
    if (ret == 0 && pack(object, watches, count) < 0)
        return stint_err_set(err, -ENOMEM, "describe inotify");
    return ret;
}

const struct agent_fdkind agent_fd_inotify = {
    .kind = STINT_OBJ_INOTIFY,
    .match = match_inotify,
    .describe = describe_inotify,
};
