/* Clients that were not accepted yet, and sockets that lead to sockets of other groups which
 * do not know of them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RESTORER_SEEK_H
#define STINT_RESTORER_SEEK_H

#include <stdbool.h>

#include "runtime/restorer/sockets.h"

/* Is its other end a listener or a UDP socket of another group? */
bool stint_seek_is(const struct stint_restored_socket *sock);

/* Connect all of them, together with the restorers of the other groups; waits for these,
 * bounded. All listeners listen. Returns 0 or -errno with *err. */
int stint_seek_all(struct stint_sockets *sockets, struct stint_err *err);

#endif
