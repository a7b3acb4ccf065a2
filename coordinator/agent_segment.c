/* Shared memory of the program that is not a file's own storage.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One process stores a segment, the one that maps most of it, others what only they map.
 */
#include "coordinator/agent_segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "coordinator/agent_huge.h"
#include "coordinator/agent_object.h"

#define DELETED " (deleted)"

struct mapping {
    uint64_t start, end, offset, dev, ino;
    bool readable;
    const char *path; /* into the line */
};

/* "start-end perms offset major:minor inode   path". Returns false when it is no shared
 * mapping. */
static bool parse(char *line, struct mapping *mapping)
{
    char perms[5];
    unsigned major, minor;
    int path = 0;

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n",
               &mapping->start, &mapping->end, perms, &mapping->offset, &major, &minor,
               &mapping->ino, &path)
            < 7
        || perms[3] != 's')
        return false;
    line[strcspn(line, "\n")] = '\0';
    mapping->dev = makedev(major, minor);
    mapping->readable = perms[0] == 'r';
    mapping->path = line + path;
    return true;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), tail = strlen(end);

    return len >= tail && strcmp(text + len - tail, end) == 0;
}

/* What is behind a shared mapping. Returns the kind of segment, 0 when it is the storage
 * of an ordinary file, or -1 with *what it is when it is not supported. */
static int classify(const char *path, const char **what)
{
    *what = path;
    if (strncmp(path, "/SYSV", 5) == 0 && ends_with(path, DELETED))
        return STINT_SEG_SYSV; /* the inode number is the id */
    if (strcmp(path, "/dev/zero" DELETED) == 0 || strcmp(path, "/anon_hugepage" DELETED) == 0)
        return STINT_SEG_ANON;
    if (strncmp(path, "/memfd:", 7) == 0)
        return STINT_SEG_MEMFD;
    if (ends_with(path, DELETED))
        return STINT_SEG_DELETED;
    if (strncmp(path, "/dev/shm/", 9) == 0)
        return STINT_SEG_SHMFILE;
    if (path[0] != '/' || strncmp(path, "/dev/", 5) == 0)
        return -1;
    return 0;
}

static char *without_tail(const char *path, size_t skip)
{
    size_t len = strlen(path);

    if (ends_with(path, DELETED))
        len -= strlen(DELETED);
    return strndup(path + skip, len > skip ? len - skip : 0);
}

static struct agent_segment *add_segment(struct agent_segments *segments,
                                         const struct mapping *mapping, int kind)
{
    struct agent_segment *list
        = reallocarray(segments->list, segments->count + 1, sizeof(*list)), *segment;

    if (!list)
        return NULL;
    segments->list = list;
    segment = &list[segments->count];
    memset(segment, 0, sizeof(*segment));
    segment->image_fd = -1;
    if (kind == STINT_SEG_MEMFD)
        segment->name = without_tail(mapping->path, strlen("/memfd:"));
    else if (kind != STINT_SEG_ANON)
        segment->path = without_tail(mapping->path, 0);
    if (kind != STINT_SEG_ANON && !segment->name && !segment->path)
        return NULL;
    segment->record.id = (uint32_t)++segments->count;
    segment->record.kind = (uint32_t)kind;
    segment->record.dev = mapping->dev;
    segment->record.ino = mapping->ino;
    segment->record.huge_page = agent_huge_page_of(mapping->dev);
    return segment;
}

/* Add [start, end) to a sorted list of disjoint ranges. Returns the bytes that are new,
 * or -1 when memory is short. */
static int64_t add_range(struct agent_range **ranges, size_t *count, uint64_t start,
                         uint64_t end)
{
    struct agent_range *list = reallocarray(*ranges, *count + 1, sizeof(*list));
    size_t first = 0, last;
    uint64_t covered = 0, length = end - start;

    if (!list)
        return -1;
    *ranges = list;
    while (first < *count && list[first].end < start)
        first++;
    for (last = first; last < *count && list[last].start <= end; last++) {
        uint64_t from = list[last].start > start ? list[last].start : start;
        uint64_t to = list[last].end < end ? list[last].end : end;

        covered += to > from ? to - from : 0;
    }
    if (last > first) {
        if (list[first].start < start)
            start = list[first].start;
        if (list[last - 1].end > end)
            end = list[last - 1].end;
    }
    memmove(list + first + 1, list + last, (*count - last) * sizeof(*list));
    *count = *count - (last - first) + 1;
    list[first] = (struct agent_range){start, end};
    return (int64_t)(length - covered);
}

/* What one process maps, while its file is being read. */
struct own_ranges {
    struct agent_range *list;
    size_t count;
};

static int note(struct agent_segment *segment, pid_t pid, const struct mapping *mapping,
                struct own_ranges *own)
{
    uint64_t end = mapping->offset + (mapping->end - mapping->start);
    struct agent_mapper *mapper = NULL, *list;
    int64_t fresh;

    if (segment->nmappers > 0 && segment->mappers[segment->nmappers - 1].pid == pid)
        mapper = &segment->mappers[segment->nmappers - 1];
    if (!mapper) {
        list = reallocarray(segment->mappers, segment->nmappers + 1, sizeof(*list));
        if (!list)
            return -ENOMEM;
        segment->mappers = list;
        mapper = &list[segment->nmappers++];
        *mapper = (struct agent_mapper){.pid = pid};
    }
    fresh = add_range(&own->list, &own->count, mapping->offset, end);
    if (fresh < 0
        || add_range(&segment->ranges, &segment->nranges, mapping->offset, end) < 0)
        return -ENOMEM;
    mapper->covered += (uint64_t)fresh;
    mapper->readable |= mapping->readable;
    if (end > segment->end)
        segment->end = end;
    return 0;
}

static int take(struct agent_segments *segments, struct own_ranges **own, size_t *nown,
                const struct agent_proc *proc, pid_t inner, const struct mapping *mapping,
                struct stint_err *err)
{
    struct agent_segment *segment = NULL;
    const char *what;
    int kind = classify(mapping->path, &what);

    if (kind == 0)
        return 0;
    if (kind < 0) {
        stint_err_set(err, -ENOTSUP, "process %d (%s): %s is not supported yet.", (int)inner,
                      proc->comm, what);
        return AGENT_SEGMENT_E_REFUSED;
    }
    for (size_t i = 0; i < segments->count && !segment; i++) {
        if (segments->list[i].record.dev == mapping->dev
            && segments->list[i].record.ino == mapping->ino)
            segment = &segments->list[i];
    }
    if (!segment)
        segment = add_segment(segments, mapping, kind);
    if (segments->count > *nown) {
        struct own_ranges *list = reallocarray(*own, segments->count, sizeof(*list));

        if (!list)
            return stint_err_set(err, -ENOMEM, "list shared memory");
        memset(list + *nown, 0, (segments->count - *nown) * sizeof(*list));
        *own = list;
        *nown = segments->count;
    }
    if (!segment
        || note(segment, proc->pid, mapping, &(*own)[segment->record.id - 1]) < 0)
        return stint_err_set(err, -ENOMEM, "list shared memory");
    return 0;
}

static void keep_ranges(struct agent_segment *segment, pid_t pid, struct own_ranges *own)
{
    struct agent_mapper *last
        = segment->nmappers > 0 ? &segment->mappers[segment->nmappers - 1] : NULL;

    if (last && last->pid == pid) {
        last->ranges = own->list;
        last->nranges = own->count;
    } else {
        free(own->list);
    }
}

int agent_segments_read(struct agent_segments *segments, const struct agent_proc *proc,
                        pid_t inner, struct stint_err *err)
{
    STINT_AUTO_FCLOSE FILE *maps = NULL;
    STINT_AUTO_FREE char *line = NULL;
    struct own_ranges *own = NULL;
    size_t room = 0, nown = 0;
    char path[64];
    int ret = 0;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)agent_proc_task(proc->pid));
    maps = fopen(path, "re");
    if (!maps && errno == EACCES) {
        stint_err_set(err, -ENOTSUP,
                      "process %d (%s) has made itself undumpable: its mappings cannot be "
                      "read.",
                      (int)inner, proc->comm);
        return AGENT_SEGMENT_E_REFUSED;
    }
    if (!maps)
        return stint_err_set(err, -errno, "read the mappings of process %d (%s)",
                             (int)inner, proc->comm);
    while (ret == 0 && (errno = 0, getline(&line, &room, maps) > 0)) {
        struct mapping mapping;

        if (parse(line, &mapping))
            ret = take(segments, &own, &nown, proc, inner, &mapping, err);
    }
    if (ret == 0 && errno)
        ret = stint_err_set(err, -errno, "read the mappings of process %d (%s)", (int)inner,
                            proc->comm);
    for (size_t i = 0; i < nown; i++)
        keep_ranges(&segments->list[i], proc->pid, &own[i]);
    free(own);
    return ret;
}

void agent_segments_size(struct agent_segments *segments, const struct agent_objects *objects)
{
    for (size_t i = 0; i < segments->count; i++) {
        struct agent_segment *segment = &segments->list[i];

        for (size_t j = 0; j < objects->count && !segment->sized; j++) {
            const struct stat *st = &objects->list[j]->st;

            if (st->st_dev != segment->record.dev || st->st_ino != segment->record.ino)
                continue;
            segment->record.size = (uint64_t)st->st_size;
            segment->record.a = st->st_mode & 07777;
            segment->sized = true;
        }
    }
}

/* Who maps most of it. */
static const struct agent_mapper *choose(const struct agent_segment *segment)
{
    const struct agent_mapper *best = NULL;

    for (size_t i = 0; i < segment->nmappers; i++) {
        const struct agent_mapper *mapper = &segment->mappers[i];

        if (!best || mapper->covered > best->covered
            || (mapper->covered == best->covered && mapper->readable && !best->readable))
            best = mapper;
    }
    return best;
}

/* Let a process store what it maps of the segment with that index as well. */
static int add_part(struct agent_segments *segments, size_t index, pid_t pid)
{
    struct agent_segment *list
        = reallocarray(segments->list, segments->count + 1, sizeof(*list)), *part;

    if (!list)
        return -ENOMEM;
    segments->list = list;
    part = &list[segments->count];
    *part = (struct agent_segment){.record = list[index].record, .writer = pid, .image_fd = -1};
    part->mappers = calloc(1, sizeof(*part->mappers));
    if (!part->mappers)
        return -ENOMEM;
    part->mappers[part->nmappers++].pid = pid;
    part->record.id = (uint32_t)++segments->count;
    part->record.kind = STINT_SEG_PART;
    part->record.a = list[index].record.id;
    return 0;
}

static int64_t cover(struct agent_range **ranges, size_t *count,
                     const struct agent_mapper *mapper)
{
    int64_t fresh = 0;

    for (size_t i = 0; i < mapper->nranges; i++) {
        int64_t more
            = add_range(ranges, count, mapper->ranges[i].start, mapper->ranges[i].end);

        if (more < 0)
            return more;
        fresh += more;
    }
    return fresh;
}

/* Whoever maps something that nobody before it does stores a part. */
static int add_parts(struct agent_segments *segments, size_t index,
                     const struct agent_mapper *best)
{
    const struct agent_mapper *mappers = segments->list[index].mappers;
    STINT_AUTO_FREE struct agent_range *ranges = NULL;
    size_t count = 0, nmappers = segments->list[index].nmappers;
    int ret = cover(&ranges, &count, best) < 0 ? -ENOMEM : 0;

    for (size_t i = 0; ret == 0 && i < nmappers; i++) {
        int64_t fresh = cover(&ranges, &count, &mappers[i]);

        if (fresh != 0)
            ret = fresh < 0 ? -ENOMEM : add_part(segments, index, mappers[i].pid);
    }
    return ret;
}

int agent_segments_choose(struct agent_segments *segments, struct stint_err *err)
{
    size_t count = segments->count;

    for (size_t i = 0; i < count; i++) {
        struct agent_segment *segment = &segments->list[i];
        const struct agent_mapper *best = choose(segment);
        uint64_t all = 0;

        for (size_t j = 0; j < segment->nranges; j++)
            all += segment->ranges[j].end - segment->ranges[j].start;
        segment->writer = best->pid;
        if (!segment->sized)
            segment->record.size = segment->end;
        segment->complete = best->covered == all && all >= segment->record.size
                            && segment->nranges == 1;
        /* otherwise somebody has it open: all of it is read there */
        if (best->covered < all && !segment->sized && add_parts(segments, i, best) < 0)
            return stint_err_set(err, -ENOMEM, "list shared memory");
    }
    return 0;
}

const struct agent_segment *agent_segments_find(const struct agent_segments *segments,
                                                uint64_t dev, uint64_t ino)
{
    for (size_t i = 0; i < segments->count; i++) {
        if (segments->list[i].record.dev == dev && segments->list[i].record.ino == ino)
            return &segments->list[i];
    }
    return NULL;
}

bool agent_segment_maps(const struct agent_segment *segment, pid_t pid)
{
    for (size_t i = 0; i < segment->nmappers; i++) {
        if (segment->mappers[i].pid == pid)
            return true;
    }
    return false;
}

void agent_segments_deinit(struct agent_segments *segments)
{
    for (size_t i = 0; i < segments->count; i++) {
        struct agent_segment *segment = &segments->list[i];

        free(segment->name);
        free(segment->path);
        for (size_t j = 0; j < segment->nmappers; j++)
            free(segment->mappers[j].ranges);
        free(segment->mappers);
        free(segment->ranges);
        free(segment->image_name);
        stint_cleanup_close(&segment->image_fd);
    }
    free(segments->list);
    segments->list = NULL;
    segments->count = 0;
}
