/* TCP connections to other groups of the job, on this host or another.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RESTORER_REMOTE_H
#define STINT_RESTORER_REMOTE_H

#include <stdbool.h>

#include "runtime/restorer/sockets.h"

/* Is its other end in another group? */
bool stint_remote_is(const struct stint_restored_socket *sock);

/* Make all of them, together with the restorers of the other groups; waits for these,
 * bounded. Nothing else listens yet. Returns 0 or -errno with *err. */
int stint_remote_open(struct stint_sockets *sockets, struct stint_err *err);

/* Send what had arrived at the other ends, and wait, bounded, for what had arrived here.
 * Returns 0 or -errno with *err. */
int stint_remote_fill(struct stint_sockets *sockets, struct stint_err *err);

#endif
