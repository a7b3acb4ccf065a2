/* Clients that a TCP listener of the program has not accepted yet.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They may belong to this group, to another one, or to nobody of the job. Their order is
 * that of the listener's kernel, which is asked when all groups stand still.
 */
#ifndef STINT_COORDINATOR_AGENT_BACKLOG_H
#define STINT_COORDINATOR_AGENT_BACKLOG_H

#include <jansson.h>

#include "coordinator/agent_object.h"

/* Note the order of those that wait, and at the listener which of them are in other groups.
 * sought: as for agent_seek_describe(), which comes before.
 * Returns 0, -EAGAIN (not now) or -errno, with *err. */
int agent_backlog_describe(struct agent_objects *all, const json_t *sought,
                           struct stint_err *err);

#endif
