/* memfd_create(2), with seals.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_object.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "coordinator/agent_contents.h"
#include "coordinator/agent_segment.h"

#define PREFIX  "/memfd:"
#define DELETED " (deleted)"

static bool match_memfd(const struct agent_object *object)
{
    return S_ISREG(object->st.st_mode) && strncmp(object->link, PREFIX, strlen(PREFIX)) == 0;
}

/* a: segment, 0 = none; b: seals; c: size of huge pages, 0 = none. */
static int describe_memfd(struct agent_objects *all, struct agent_object *object,
                          const struct agent_segments *segments, struct stint_err *err)
{
    const struct agent_segment *segment
        = agent_segments_find(segments, object->st.st_dev, object->st.st_ino);
    int seals = fcntl(object->fd, F_GET_SEALS);
    const char *name = object->link + strlen(PREFIX);
    size_t len = strlen(name);
    struct statfs fs;

    if (fstatfs(object->fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC)
        object->record.c = (uint64_t)fs.f_bsize;
    if (segment)
        object->record.a = segment->record.id;
    object->record.b = seals < 0 ? 0 : (uint64_t)seals;
    agent_contents_want(all, object, segment);
    if (len > strlen(DELETED) && strcmp(name + len - strlen(DELETED), DELETED) == 0)
        len -= strlen(DELETED);
    object->path = strndup(name, len);
    if (!object->path)
        return stint_err_set(err, -ENOMEM, "describe a memfd");
    return 0;
}

const struct agent_fdkind agent_fd_memfd = {
    .kind = STINT_OBJ_MEMFD,
    .match = match_memfd,
    .describe = describe_memfd,
    .store = agent_contents_store,
};
