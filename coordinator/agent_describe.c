/* Find out what a program that stands still consists of.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_describe.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/log.h"
#include "coordinator/agent_confined.h"
#include "coordinator/agent_contents.h"
#include "coordinator/agent_group.h"
#include "coordinator/agent_ipc.h"
#include "coordinator/agent_lock.h"
#include "coordinator/agent_mqueue.h"
#include "coordinator/agent_object.h"
#include "coordinator/agent_quiesce.h"
#include "coordinator/agent_socket.h"
#include "coordinator/agent_state.h"

#define SLICE_MS 100 /* how long the loop has to wait */

struct agent_describe {
    struct agent *agent;
    struct agent_quiesce *quiesce;
    struct agent_group *group;
    bool ignore;
    agent_describe_f done;
    void *arg;
    struct event *timer;
    size_t stage, at; /* the next piece */
    uint64_t pieces;
};

/* What is refused is no reason to fail when that is to be ignored. */
static int leave_out(const struct agent_describe *describe, int ret,
                     const struct stint_err *err)
{
    if (ret != AGENT_OBJECT_E_REFUSED || !describe->ignore)
        return ret;
    stint_warn("%s: it is left out of the checkpoint", err->text);
    return 0;
}

/* --- pieces ------------------------------------------------------------------ */

static int check_confined(struct agent_describe *describe, size_t at, struct stint_err *err)
{
    (void)at; /* the only one */
    return describe->ignore ? 0
                            : agent_confined_check(describe->agent, describe->quiesce, err);
}

static int describe_members(struct agent_describe *describe, size_t at, struct stint_err *err)
{
    (void)at; /* the only one */
    return agent_group_describe(describe->group, describe->agent,
                                agent_quiesce_procs(describe->quiesce), err);
}

static size_t count_procs(const struct agent_describe *describe)
{
    return agent_quiesce_procs(describe->quiesce)->count;
}

static int read_segments(struct agent_describe *describe, size_t at, struct stint_err *err)
{
    const struct agent_proc *proc = &agent_quiesce_procs(describe->quiesce)->list[at];
    const struct agent_peer *peer = agent_quiesce_peer(describe->quiesce, proc->pid);

    return peer ? agent_segments_read(&describe->group->segments, proc, peer->inner, err)
                : 0;
}

static int choose_segments(struct agent_describe *describe, size_t at, struct stint_err *err)
{
    struct agent_segments *segments = &describe->group->segments;

    (void)at; /* the only one */
    agent_segments_size(segments, &describe->group->objects);
    return agent_segments_choose(segments, err);
}

static size_t count_members(const struct agent_describe *describe)
{
    return describe->group->nmembers;
}

static int add_mapped(struct agent_describe *describe, size_t at, struct stint_err *err)
{
    const struct agent_member *member = &describe->group->members[at];

    return member->image_name
               ? agent_contents_add_mapped(&describe->group->objects, member, err)
               : 0;
}

static int look_at_sockets(struct agent_describe *describe, size_t at, struct stint_err *err)
{
    (void)at; /* the only one */
    return agent_sockets_look(&describe->group->objects, err);
}

static size_t count_objects(const struct agent_describe *describe)
{
    return describe->group->objects.count;
}

static int describe_object(struct agent_describe *describe, size_t at, struct stint_err *err)
{
    struct agent_object *object = describe->group->objects.list[at];
    int ret = agent_object_describe(&describe->group->objects, object,
                                    &describe->group->segments, err);

    object->left_out = ret == AGENT_OBJECT_E_REFUSED && describe->ignore;
    return leave_out(describe, ret, err);
}

static int read_ipc(struct agent_describe *describe, size_t at, struct stint_err *err)
{
    (void)at; /* the only one */
    return leave_out(describe, agent_ipc_read(describe->group, describe->agent, err), err);
}

static int take_queues(struct agent_describe *describe, size_t at, struct stint_err *err)
{
    (void)at; /* the only one */
    return leave_out(describe, agent_mqueue_take_closed(&describe->group->objects, err), err);
}

static int read_object_locks(struct agent_describe *describe, size_t at,
                             struct stint_err *err)
{
    return agent_locks_read_object(describe->group, at, err);
}

static size_t count_fds(const struct agent_describe *describe)
{
    return describe->group->objects.nfds;
}

static int read_fd_locks(struct agent_describe *describe, size_t at, struct stint_err *err)
{
    return agent_locks_read_fd(describe->group, at, err);
}

/* In this order: each may rely on those before it. */
static const struct {
    size_t (*count)(const struct agent_describe *describe); /* NULL: one piece */
    int (*piece)(struct agent_describe *describe, size_t at, struct stint_err *err);
} stages[] = {
    {NULL, check_confined},
    {NULL, describe_members},
    {count_procs, read_segments},
    {NULL, choose_segments},
    {count_members, add_mapped},
    {NULL, look_at_sockets},
    {count_objects, describe_object},
    {NULL, read_ipc},
    {NULL, take_queues},
    {count_objects, read_object_locks},
    {count_fds, read_fd_locks},
};

/* --- one after the other -------------------------------------------------------- */

static bool is_over(const struct agent_describe *describe)
{
    return describe->stage == sizeof(stages) / sizeof(stages[0]);
}

/* Tests slow it down. */
static void dawdle(void)
{
    static bool slow;

    if (stint_fault("describe-slowly"))
        slow = true;
    if (slow)
        (void)usleep(350000); /* not exact */
}

/* Do the next piece, or go to the next stage where there is none. */
static int step(struct agent_describe *describe, struct stint_err *err)
{
    size_t count = stages[describe->stage].count ? stages[describe->stage].count(describe) : 1;
    int ret;

    if (describe->at == count) {
        describe->stage++;
        describe->at = 0;
        return 0;
    }
    dawdle();
    ret = stages[describe->stage].piece(describe, describe->at++, err);
    describe->pieces++;
    return ret;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval at_once = {0, 0};
    struct agent_describe *describe = arg;
    int64_t until = agent_now_ms() + SLICE_MS;
    struct stint_err err;
    int ret = 0;

    while (ret == 0 && !is_over(describe)) {
        ret = step(describe, &err);
        if (ret == 0 && agent_now_ms() >= until) {
            evtimer_add(describe->timer, &at_once);
            return;
        }
    }
    describe->done(ret, &err, describe->arg);
}

int agent_describe_start(struct agent *agent, struct agent_quiesce *quiesce,
                         struct agent_group *group, bool ignore, agent_describe_f done,
                         void *arg, struct agent_describe **describe, struct stint_err *err)
{
    static const struct timeval at_once = {0, 0};
    struct agent_describe *fresh = calloc(1, sizeof(*fresh));

    if (!fresh)
        return stint_err_set(err, -ENOMEM, "describe the program");
    *fresh = (struct agent_describe){.agent = agent, .quiesce = quiesce, .group = group,
                                     .ignore = ignore, .done = done, .arg = arg};
    fresh->timer = evtimer_new(agent->base, on_timer, fresh);
    if (!fresh->timer || evtimer_add(fresh->timer, &at_once) < 0) {
        agent_describe_free(fresh);
        return stint_err_set(err, -ENOMEM, "describe the program");
    }
    *describe = fresh;
    return 0;
}

uint64_t agent_describe_pieces(const struct agent_describe *describe)
{
    return describe->pieces;
}

void agent_describe_free(struct agent_describe *describe)
{
    if (!describe)
        return;
    if (describe->timer)
        event_free(describe->timer);
    free(describe);
}
