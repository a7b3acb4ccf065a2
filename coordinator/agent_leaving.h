/* TCP connections that leave this group of processes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Their other ends belong to another group of the job, on this host or another one, or are
 * not part of the job at all. Only the coordinator can tell, when all groups stand still:
 *
 *   quiesced   names both ends of each of them
 *   drain      says which have their other end in another group: what was sent into these
 *              arrives there
 *   capture    says so again: what has arrived here is copied
 *
 * One that its listener has not accepted yet has no other end that could be named there:
 * agent_seek.h.
 */
#ifndef STINT_COORDINATOR_AGENT_LEAVING_H
#define STINT_COORDINATOR_AGENT_LEAVING_H

#include <jansson.h>

#include "coordinator/agent_object.h"

/* A list of [own address, other address]. Returns a new reference or NULL. */
json_t *agent_leaving_list(const struct agent_objects *all);

/* Wait, bounded, until everything has arrived at the other ends. remote: a list of [own
 * address, other address, group], or NULL. Returns 0 or -errno with *err (-EAGAIN: not now). */
int agent_leaving_drain(const struct agent_objects *all, const json_t *remote,
                        struct stint_err *err);

/* Describe all that leave. found: agent_seek.h. Returns as agent_object_describe(). */
int agent_leaving_describe(struct agent_objects *all, const json_t *remote,
                           const json_t *found, struct stint_err *err);

/* What becomes of one whose other end is not part of the job. Returns likewise. */
int agent_leaving_outside(const struct agent_objects *all, struct agent_object *object,
                          struct stint_err *err);

#endif
