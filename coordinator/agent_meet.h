/* TCP connections between groups, at a restart: who listens where.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The restorer says where it listens; that goes through the coordinator to the agents of the
 * other groups (`offer`, doc/protocol.md), and from these to restorers that wait for it.
 */
#ifndef STINT_COORDINATOR_AGENT_MEET_H
#define STINT_COORDINATOR_AGENT_MEET_H

#include <jansson.h>
#include <stdbool.h>

struct agent;
struct agent_meet;

/* Returns NULL for want of memory. control: to the restorer, borrowed. */
struct agent_meet *agent_meet_new(struct agent *agent, int control);
void agent_meet_free(struct agent_meet *meet);

/* A packet of the restorer. Returns whether it is one for here. */
bool agent_meet_packet(struct agent_meet *meet, const char *text);

/* The coordinator is there (again): it is told what was offered so far. */
void agent_meet_connected(struct agent_meet *meet);

/* The network that this host's addresses belong to: two hosts have the same loopback address. */
void agent_meet_network(char *text, size_t size);

/* `offer` of another group. */
void agent_meet_offer(struct agent_meet *meet, const json_t *message);

#endif
