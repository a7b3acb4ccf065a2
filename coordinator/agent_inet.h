/* TCP connections of the program: their ends, their bytes, their listeners.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_INET_H
#define STINT_COORDINATOR_AGENT_INET_H

#include <stdbool.h>

#include "coordinator/agent_socket.h"

bool agent_inet_is_tcp(const struct agent_socket *sock);

/* Has this end, or the other one, said that it sends no more? state: of tcp_info. */
bool agent_inet_has_sent_fin(uint8_t state);
bool agent_inet_has_got_fin(uint8_t state);

/* Addresses are the same, too, when one is v4 and the other has it mapped into v6. */
bool agent_inet_is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
bool agent_inet_is_any(const struct sockaddr_storage *name);
uint16_t agent_inet_port(const struct sockaddr_storage *name); /* network order */

/* Can a socket bound to `bound` be the one that others see as `name`? */
bool agent_inet_may_be(const struct sockaddr_storage *bound,
                       const struct sockaddr_storage *name);

/* The object at the other end of a connection, or NULL. */
struct agent_object *agent_inet_other_end(const struct agent_objects *all,
                                          const struct agent_object *object);

/* Copy what is in the receive queue. Returns 0 or -errno with *err. */
int agent_inet_peek(struct agent_object *object, struct stint_err *err);

/* When the receive queue is full: give it more room, so that the sender's kernel gets rid of
 * what waits there. Returns whether there is more. The second one undoes what the program
 * could notice. */
bool agent_inet_make_room(struct agent_object *object);
void agent_inet_end_room(struct agent_object *object);

/* Copy all that `from` has sent and the program has not read from `to`, also what is
 * still waiting for room at the sender. Returns 0 or -errno with *err (-EAGAIN: not now). */
int agent_inet_settle(struct agent_object *from, struct agent_object *to,
                      struct stint_err *err);

/* The other end was not accepted by one of the job's listeners yet: note which one.
 * Returns 0, -ENOENT when it is nobody's of the job, -EAGAIN or -errno with *err. */
int agent_inet_join_pending(struct agent_objects *all, struct agent_object *object,
                            const struct agent_tcp_diag *other, struct stint_err *err);

/* The listener that takes connections to that name, or NULL. */
struct agent_object *agent_inet_listener(const struct agent_objects *all,
                                         const struct sockaddr_storage *name);

#endif
