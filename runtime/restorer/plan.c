/* Who forks whom, and when.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/restorer/plan.h"

#include <errno.h>
#include <stdlib.h>

#define STANDIN 0

int stint_plan_find(const struct stint_plan *plan, int32_t pid)
{
    for (int i = 0; i < plan->count; i++) {
        if (plan->nodes[i].pid == pid)
            return i;
    }
    return -1;
}

/* Room for all was reserved by stint_plan_init(). */
static int add_node(struct stint_plan *plan, struct stint_node node)
{
    plan->nodes[plan->count] = node;
    return plan->count++;
}

/* The session the restorer was started in has no number inside the namespace. */
static int32_t session_of(const struct stint_plan *plan, int32_t sid)
{
    return !plan->outer_session && sid == plan->outer_sid ? 0 : sid;
}

/* The node that leads a session, or is in the outer one and outlives its making;
 * a session whose leader is dead gets a temporary one. */
static int session_host(struct stint_plan *plan, int32_t sid)
{
    int leader = sid ? stint_plan_find(plan, sid) : STANDIN;

    if (leader >= 0)
        return leader;
    return add_node(plan, (struct stint_node){.kind = STINT_NODE_TEMP, .pid = sid,
                                              .sid = sid, .pgid = sid, .creator = STANDIN,
                                              .leads_session = true, .member = -1});
}

/* Can this node be born in that session? Then it is settled that it will be. */
static bool be_born_in(struct stint_plan *plan, int index, int32_t sid)
{
    struct stint_node *node = &plan->nodes[index];
    const struct stint_node *creator;
    bool early = false;

    if (node->has_birth)
        return node->birth == sid;
    if (node->creator < 0) {
        if (sid != 0)
            return false;
    } else {
        creator = &plan->nodes[node->creator];
        if (creator->sid != sid) {
            if (!creator->leads_session || !be_born_in(plan, node->creator, sid))
                return false;
            early = true;
        }
    }
    node->has_birth = true;
    node->birth = sid;
    node->early = early;
    return true;
}

/* An orphan: born below a process of its session that ends, then re-parented. */
static int adopt(struct stint_plan *plan, int index, struct stint_numbers *pids,
                 struct stint_err *err)
{
    struct stint_node *node = &plan->nodes[index];
    int host = session_host(plan, node->sid);
    int pid;

    node = &plan->nodes[index];
    if (plan->nodes[host].kind == STINT_NODE_MEMBER ||
        plan->nodes[host].kind == STINT_NODE_STANDIN) {
        pid = stint_numbers_take(pids, 2);
        if (pid < 0)
            return stint_err_set(err, -EAGAIN, "no process id is free");
        host = add_node(plan, (struct stint_node){.kind = STINT_NODE_TEMP, .pid = pid,
                                                  .sid = node->sid, .creator = host,
                                                  .member = -1});
    }
    node->creator = host;
    return 0;
}

static int place(struct stint_plan *plan, int index, int32_t ppid, struct stint_numbers *pids,
                 struct stint_err *err)
{
    struct stint_node *node = &plan->nodes[index];
    int parent = stint_plan_find(plan, ppid);

    if (parent < 0 || parent == index)
        return stint_err_set(err, -EINVAL,
                             "process %d has the parent %d, which is not in the image.",
                             node->pid, ppid);
    if (node->leads_session) {
        node->creator = parent; /* born in any session, until a child of its own cares */
        return 0;
    }
    if (plan->nodes[parent].sid == node->sid) {
        node->creator = parent;
    } else if (plan->nodes[parent].leads_session && be_born_in(plan, parent, node->sid)) {
        node->creator = parent;
        node->early = true;
    } else {
        int r = adopt(plan, index, pids, err);

        if (r < 0)
            return r;
        node = &plan->nodes[index];
    }
    node->has_birth = true;
    node->birth = node->sid;
    return 0;
}

static int add_standin(struct stint_plan *plan, const struct stint_group *group,
                       bool outer_session, struct stint_err *err)
{
    struct stint_node standin = {.kind = STINT_NODE_STANDIN, .pid = group->agent_pid,
                                 .pgid = group->agent_pgid, .creator = STINT_CREATOR_INIT,
                                 .subreaper = true, .member = -1};

    if (group->agent_pid <= 0)
        return stint_err_set(err, -EINVAL, "the agent's process id %d is impossible.",
                             group->agent_pid);
    plan->outer_sid = group->agent_sid;
    plan->outer_session = outer_session && group->agent_sid > 0;
    if (group->agent_pid == 1) {
        /* pid 1 is born in a session that nobody here can make again */
        standin.creator = STINT_CREATOR_NONE;
        plan->outer_session = plan->outer_session && group->agent_sid == 1;
    }
    standin.sid = session_of(plan, group->agent_sid);
    standin.leads_session = standin.sid == standin.pid;
    (void)add_node(plan, standin); /* index 0 */
    if (plan->outer_session && group->agent_sid != group->agent_pid)
        plan->nodes[STANDIN].creator = add_node(
            plan, (struct stint_node){.kind = STINT_NODE_TEMP, .pid = group->agent_sid,
                                      .sid = group->agent_sid, .pgid = group->agent_sid,
                                      .creator = STINT_CREATOR_INIT,
                                      .leads_session = true, .member = -1});
    return 0;
}

static int add_member(struct stint_plan *plan, const struct stint_member *member,
                      bool subreaper, int index, struct stint_err *err)
{
    struct stint_node node = {.pid = member->pid, .pgid = member->pgid,
                              .sid = session_of(plan, member->sid), .subreaper = subreaper,
                              .member = index};

    if (member->pid <= 1 || member->ppid <= 0 || member->pgid < 0 || member->sid < 0)
        return stint_err_set(err, -EINVAL,
                             "process %d (parent %d, group %d, session %d) cannot be made "
                             "again: it was in another PID namespace.",
                             member->pid, member->ppid, member->pgid, member->sid);
    if (stint_plan_find(plan, member->pid) >= 0)
        return stint_err_set(err, -EINVAL, "process id %d is there twice.", member->pid);
    node.kind = member->state == STINT_MEMBER_ZOMBIE ? STINT_NODE_ZOMBIE : STINT_NODE_MEMBER;
    node.leads_session = node.sid == node.pid;
    (void)add_node(plan, node);
    return 0;
}

/* Every process group needs a process with its number at first. */
static void add_group_leaders(struct stint_plan *plan)
{
    int count = plan->count;

    for (int i = 0; i < count; i++) {
        struct stint_node node = plan->nodes[i];
        int host;

        if (node.pgid == 0 || stint_plan_find(plan, node.pgid) >= 0)
            continue;
        host = session_host(plan, node.sid);
        (void)add_node(plan, (struct stint_node){.kind = STINT_NODE_TEMP, .pid = node.pgid,
                                                 .pgid = node.pgid, .sid = node.sid,
                                                 .creator = host, .member = -1});
    }
}

/* Every node hangs, over others, from init: else nobody would ever create it. */
static int check_rooted(const struct stint_plan *plan, struct stint_err *err)
{
    for (int i = 0; i < plan->count; i++) {
        int at = i, steps = 0;

        while (at >= 0 && steps++ <= plan->count)
            at = plan->nodes[at].creator;
        if (at >= 0)
            return stint_err_set(err, -EINVAL, "process %d is its own ancestor.",
                                 plan->nodes[i].pid);
    }
    return 0;
}

int stint_plan_init(struct stint_plan *plan, const struct stint_group *group,
                    const struct stint_member *const *members, const bool *subreaper,
                    size_t nmembers, bool outer_session, struct stint_numbers *pids,
                    struct stint_err *err)
{
    int r;
    int first;

    *plan = (struct stint_plan){.max = (int)(nmembers * 4 + 8)};
    plan->nodes = calloc((size_t)plan->max, sizeof(*plan->nodes));
    if (!plan->nodes)
        return stint_err_set(err, -ENOMEM, "plan the processes");
    r = add_standin(plan, group, outer_session, err);
    first = plan->count;
    for (size_t i = 0; r == 0 && i < nmembers; i++)
        r = add_member(plan, members[i], subreaper[i], (int)i, err);
    for (size_t i = 0; r == 0 && i < nmembers; i++)
        r = place(plan, first + (int)i, members[i]->ppid, pids, err);
    if (r == 0) {
        add_group_leaders(plan);
        r = check_rooted(plan, err);
    }
    if (r < 0)
        stint_plan_deinit(plan);
    return r;
}

void stint_plan_deinit(struct stint_plan *plan)
{
    free(plan->nodes);
    *plan = (struct stint_plan){0};
}
