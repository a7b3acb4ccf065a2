/* Descriptors of POSIX message queues.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <linux/magic.h>
#include <sys/vfs.h>

#include "coordinator/agent_mqueue.h"
#include "coordinator/agent_object.h"

#ifndef MQUEUE_MAGIC
#define MQUEUE_MAGIC 0x19800202
#endif

static bool match_mqueue(const struct agent_object *object)
{
    struct statfs fs;

    return S_ISREG(object->st.st_mode) && fstatfs(object->fd, &fs) == 0
           && fs.f_type == MQUEUE_MAGIC;
}

static int describe_mqueue(struct agent_objects *all, struct agent_object *object,
                           const struct agent_segments *segments, struct stint_err *err)
{
    uint32_t id;
    int ret = agent_mqueue_take(all, object, &id, err);

    if (ret != 0)
        return ret;
    object->record.a = id;
    object->record.pos = 0; /* of the text that cat(1) shows: it is made anew */
    return 0;
}

const struct agent_fdkind agent_fd_mqueue = {
    .kind = STINT_OBJ_MQUEUE,
    .match = match_mqueue,
    .describe = describe_mqueue,
};
