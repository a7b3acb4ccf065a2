/* Who forks whom, and when, so that every process gets its parent, session and
 * process group back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A session is inherited at birth and can be left only by making one's own. So a
 * process is born either before its creator calls setsid (`early`) or after; one
 * whose session belongs neither to its parent nor to itself (an orphan that was
 * re-parented) is born below a process of that session which then ends, as it
 * was in the first life. Sessions and groups whose leader is dead get a temporary
 * one with that pid. Pure computation: no system calls here.
 */
#ifndef STINT_RESTORER_PLAN_H
#define STINT_RESTORER_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/image.h"
#include "runtime/restorer/numbers.h"

enum stint_node_kind {
    STINT_NODE_STANDIN, /* in the place of the old agent */
    STINT_NODE_MEMBER,
    STINT_NODE_ZOMBIE,
    STINT_NODE_TEMP, /* ends when all process groups stand */
};

#define STINT_CREATOR_INIT (-1) /* created by pid 1 of the namespace */
#define STINT_CREATOR_NONE (-2) /* is pid 1 of the namespace */

struct stint_node {
    enum stint_node_kind kind;
    int32_t pid;
    int32_t sid;  /* 0: the session that the restorer itself was started in */
    int32_t pgid; /* 0: what it is born with */
    int creator;  /* index, or STINT_CREATOR_* */
    bool early;   /* born before the creator's setsid */
    bool leads_session;
    bool subreaper;
    bool has_birth; /* birth is decided */
    int32_t birth;  /* the session it is born in */
    int member;     /* index, or -1 */
};

struct stint_plan {
    struct stint_node *nodes; /* [0] is the stand-in */
    int count, max;
    bool outer_session; /* the old agent's session is re-created */
    int32_t outer_sid;
};

/* members: nmembers pointers, parents first; subreaper: flags of the same length.
 * pids: all process, thread, group and session ids are in it; ids for temporary
 * processes are taken from it.
 * outer_session: re-create the old agent's session too.
 *
 * Returns 0 with *plan (stint_plan_deinit), or -errno with *err. */
int stint_plan_init(struct stint_plan *plan, const struct stint_group *group,
                    const struct stint_member *const *members, const bool *subreaper,
                    size_t nmembers, bool outer_session, struct stint_numbers *pids,
                    struct stint_err *err);
void stint_plan_deinit(struct stint_plan *plan);

int stint_plan_find(const struct stint_plan *plan, int32_t pid);

#endif
