/* What the program asks of its agent: runtime/api.c has the protocol.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_API_H
#define STINT_COORDINATOR_AGENT_API_H

struct agent;

/* Listen for the program whose STINT_JOB is `job`. Without it (another agent listens for
 * a copy of the program on this host) the program is told that nobody answers. */
void agent_api_listen(struct agent *agent, const char *job);

/* The same for a restored program, whose root process is there. */
void agent_api_listen_restored(struct agent *agent);

void agent_api_free(struct agent *agent);

#endif
