/* Sockets that lead to a socket of another group of the job which does not know of them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A TCP connection that was not accepted yet or is only being made, and a connected UDP
 * socket: their other end is a listener, or a UDP socket that may be connected to nobody.
 *
 *   quiesced   `bound`: under which names the sockets of this group are reached;
 *              `seeks`: which names those of its sockets lead to that lead out of it
 *   capture    `found`: whose they are; `sought`: which of ours others lead to
 *
 * At a restart the group that has the other end tells where that is now (agent_meet.h).
 */
#ifndef STINT_COORDINATOR_AGENT_SEEK_H
#define STINT_COORDINATOR_AGENT_SEEK_H

#include <jansson.h>

#include "coordinator/agent_object.h"

/* Lists of [name, id] and [id, name, own address, inode or 0]. The inode is that of an
 * established connection. Return a new reference or NULL for want of memory. */
json_t *agent_seek_bound(const struct agent_objects *all);
json_t *agent_seek_list(const struct agent_objects *all);

/* found: a list of [id, group, its id there]. Note in the socket what it says of it; not in
 * object->extra. Returns 1 when it did, 0 when it says nothing, -errno with *err. */
int agent_seek_found(struct agent_object *object, const json_t *found, struct stint_err *err);

/* Describe connections that are being made and UDP sockets once more, with what `found` and
 * `sought` say. sought: a list of [id, group, the other's own address, inode or 0].
 * Returns 0 or -errno with *err. */
int agent_seek_describe(struct agent_objects *all, const json_t *found, const json_t *sought,
                        struct stint_err *err);

#endif
