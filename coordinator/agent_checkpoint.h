/* One checkpoint, as the coordinator orders it: doc/protocol.md.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   QUIESCING -> LISTING (descriptors) -> QUIESCED (coordinator told) -> CAPTURING
 *     -> SYNCING (programs run again, unless hold) -> over, or HELD (hold)
 * A failure or `abort` at any point: the program goes on, what was written is removed.
 */
#ifndef STINT_COORDINATOR_AGENT_CHECKPOINT_H
#define STINT_COORDINATOR_AGENT_CHECKPOINT_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct agent;

/* Messages from the coordinator; those that do not fit the state are ignored. */
void agent_checkpoint_start(struct agent *agent, json_t *message);
/* The program has been restored: an order that waited for that is begun. */
void agent_checkpoint_ready(struct agent *agent);
/* What was sent to other groups arrives there. */
void agent_checkpoint_drain(struct agent *agent, const json_t *message);
void agent_checkpoint_capture(struct agent *agent, const json_t *message);
void agent_checkpoint_committed(struct agent *agent, const json_t *message);
void agent_checkpoint_resume(struct agent *agent);
void agent_checkpoint_end(struct agent *agent, const json_t *message);

/* Drop the checkpoint, if one is under way, without telling the coordinator. */
void agent_checkpoint_abort(struct agent *agent, const char *reason);

/* A child was reaped: was it the helper? */
bool agent_checkpoint_reaped(struct agent *agent, pid_t pid);

#endif
