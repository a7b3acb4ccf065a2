/* Contents of files that go into a checkpoint.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_contents.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_write.h"
#include "common/log.h"
#include "coordinator/agent_group.h"
#include "coordinator/agent_segment.h"

#define COPY_BYTES    (1u << 20)
#define DEFAULT_LIMIT (UINT64_C(1) << 30)
#define SPARE_FILE    (UINT64_C(16) << 20) /* a larger one is not kept in case it vanishes */
#define SPARE_ALL     (UINT64_C(64) << 20)
#define DELETED       " (deleted)"

/* --- which -------------------------------------------------------------------------- */

static bool is_same_file(const struct agent_object *a, const struct agent_object *b)
{
    return a->st.st_dev == b->st.st_dev && a->st.st_ino == b->st.st_ino;
}

static bool is_kept_already(const struct agent_objects *all,
                            const struct agent_object *object, uint32_t but)
{
    for (size_t i = 0; i < all->count; i++) {
        if (all->list[i]->contents && !(all->list[i]->record.flags & but)
            && is_same_file(all->list[i], object))
            return true;
    }
    return false;
}

void agent_contents_want(struct agent_objects *all, struct agent_object *object,
                         const struct agent_segment *segment)
{
    object->contents = !(segment && segment->complete) && !is_kept_already(all, object, 0);
}

static uint64_t limit(void)
{
    const char *text = getenv("STINT_SAVE_OPEN_FILES");
    char *end;
    uint64_t value;

    if (!text || !*text)
        return DEFAULT_LIMIT;
    if (strcmp(text, "all") == 0)
        return UINT64_MAX;
    value = strtoull(text, &end, 10);
    if (strchr("kKmMgG", *end) && *end)
        value <<= *end == 'k' || *end == 'K' ? 10 : *end == 'm' || *end == 'M' ? 20 : 30;
    return value;
}

/* A log, or any output: what has been written is not written again. */
static bool is_only_appended(const struct agent_object *object)
{
    if (object->open_flags & O_APPEND)
        return true;
    return (object->open_flags & O_ACCMODE) == O_WRONLY
           && object->record.pos >= object->st.st_size;
}

bool agent_contents_take_room(struct agent_objects *all, uint64_t size)
{
    if (size > limit() || all->contents_len > limit() - size)
        return false;
    all->contents_len += size;
    return true;
}

bool agent_contents_take_spare_room(struct agent_objects *all, uint64_t size)
{
    uint64_t most = limit();

    if (most < UINT64_MAX
        && (size > SPARE_FILE || size > most || all->spare_len > SPARE_ALL - size))
        return false;
    all->spare_len += size;
    return true;
}

bool agent_contents_claim(struct agent_object *object, bool same_name)
{
    bool is_read = (object->open_flags & (O_ACCMODE | O_PATH)) == O_RDONLY;

    if (object->record.flags & STINT_OBJFLAG_CONTENTS)
        return same_name;
    if (is_read) {
        if (object->record.flags & STINT_OBJFLAG_SPARE && same_name) {
            object->record.flags &= ~STINT_OBJFLAG_SPARE;
            object->contents = false;
        }
        return false;
    }
    if (!object->contents) {
        object->contents = true;
        object->record.flags
            |= is_only_appended(object) ? STINT_OBJFLAG_SPARE : STINT_OBJFLAG_CONTENTS;
    }
    return true;
}

/* Within the limit, or say that "it DOES the file HOW". */
static void want_whole(struct agent_objects *all, struct agent_object *object, uint32_t flag,
                       const char *does_what, const char *how)
{
    uint64_t size = (uint64_t)object->st.st_size;

    if (!agent_contents_take_room(all, size)) {
        stint_warn("process %d (%s) %s %s%s: its %" PRIu64 " bytes are not part of "
                   "the checkpoint (STINT_SAVE_OPEN_FILES)",
                   (int)object->pid, object->comm, does_what, object->link, how, size);
        return;
    }
    object->contents = true;
    object->record.flags |= flag;
}

void agent_contents_want_file(struct agent_objects *all, struct agent_object *object,
                              const struct agent_segment *segment)
{
    if (is_only_appended(object) || (segment && segment->complete)
        || is_kept_already(all, object, STINT_OBJFLAG_SPARE))
        return;
    want_whole(all, object, STINT_OBJFLAG_CONTENTS, "changes", " in place");
}

void agent_contents_want_output(struct agent_objects *all, struct agent_object *object)
{
    if (!is_kept_already(all, object, 0))
        want_whole(all, object, STINT_OBJFLAG_SPARE, "writes to",
                   ", which Slurm empties (--open-mode=truncate)");
}

void agent_contents_want_spare(struct agent_objects *all, struct agent_object *object,
                               const struct agent_segment *segment)
{
    if (object->contents || (segment && segment->complete)
        || object->st.st_uid != geteuid() || is_kept_already(all, object, 0)
        || !agent_contents_take_spare_room(all, (uint64_t)object->st.st_size))
        return;
    object->contents = true;
    object->record.flags |= STINT_OBJFLAG_SPARE;
}

/* --- store -------------------------------------------------------------------------- */

/* The description may be write-only: its contents are read by another one. */
static int open_contents(const struct agent_object *object)
{
    char path[64];

    if ((object->open_flags & O_ACCMODE) != O_WRONLY && !(object->open_flags & O_DIRECT))
        return fcntl(object->fd, F_DUPFD_CLOEXEC, 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", object->fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

int agent_contents_store(struct agent_object *object, struct stint_image_writer *writer,
                         struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    STINT_AUTO_FREE char *buf = NULL;
    off_t at = 0;
    ssize_t n;
    int ret = 0;

    if (!object->contents)
        return 0;
    fd = open_contents(object);
    if (fd < 0 && object->record.flags & STINT_OBJFLAG_SPARE) {
        object->record.flags &= ~STINT_OBJFLAG_SPARE; /* it may not be read: do without */
        return 0;
    }
    buf = malloc(COPY_BYTES);
    if (fd < 0 || !buf)
        return stint_err_set(err, -errno, "read %s", object->path);
    while (ret == 0 && (n = pread(fd, buf, COPY_BYTES, at)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return stint_err_set(err, -errno, "read %s", object->path);
        ret = stint_image_writer_data(writer, buf, (size_t)n, err);
        at += n;
    }
    if (ret == 0)
        ret = stint_image_writer_data_end(writer, &object->record.data_offset,
                                          &object->record.data_len,
                                          &object->record.data_xxh3, err);
    return ret;
}

/* --- mapped ------------------------------------------------------------------------- */

/* "start-end perms offset major:minor inode   path". Returns the path of an ordinary
 * file that is mapped shared and writable, or NULL. */
static const char *parse(char *line, uint64_t *ino)
{
    char perms[5];
    int path = 0;
    size_t len;

    if (sscanf(line, "%*x-%*x %4s %*x %*x:%*x %" SCNu64 " %n", perms, ino, &path) < 2
        || perms[1] != 'w' || perms[3] != 's' || line[path] != '/')
        return NULL;
    line[strcspn(line, "\n")] = '\0';
    len = strlen(line);
    if (strncmp(line + path, "/dev/", 5) == 0 || strncmp(line + path, "/memfd:", 7) == 0
        || strncmp(line + path, "/SYSV", 5) == 0
        || (len > strlen(DELETED) && strcmp(line + len - strlen(DELETED), DELETED) == 0))
        return NULL;
    return line + path;
}

static bool is_open_for_writing(const struct agent_objects *all, const struct stat *st)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct agent_object *object = all->list[i];

        if (object->st.st_dev == st->st_dev && object->st.st_ino == st->st_ino
            && (object->open_flags & (O_ACCMODE | O_APPEND)) == O_RDWR)
            return true;
    }
    return false;
}

static int add_file(struct agent_objects *all, const struct agent_member *member,
                    const char *path, struct stint_err *err)
{
    struct agent_object via = {.pid = member->record.pid, .number = -1}, *object;
    STINT_AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;

    /* What cannot be opened cannot be put back either: it stays as it is then. */
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || is_open_for_writing(all, &st))
        return 0;
    (void)fcntl(fd, F_SETFL, 0); /* a flag that regular files do not know */
    memcpy(via.comm, member->record.comm, sizeof(via.comm));
    return agent_objects_add_passed(all, &via, stint_steal_fd(&fd), &object, err);
}

int agent_contents_add_mapped(struct agent_objects *all, const struct agent_member *member,
                              struct stint_err *err)
{
    STINT_AUTO_FCLOSE FILE *maps = NULL;
    STINT_AUTO_FREE char *line = NULL;
    uint64_t ino, last = 0;
    size_t room = 0;
    char path[64];
    int ret = 0;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)agent_proc_task(member->pid));
    maps = fopen(path, "re");
    if (!maps)
        return stint_err_set(err, -errno, "read the mappings of process %d (%s)",
                             (int)member->record.pid, member->record.comm);
    while (ret == 0 && getline(&line, &room, maps) > 0) {
        const char *file = parse(line, &ino);

        if (file && ino != last)
            ret = add_file(all, member, file, err);
        if (file)
            last = ino;
    }
    return ret;
}
