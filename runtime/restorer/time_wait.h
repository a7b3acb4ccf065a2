/* Ports that the kernel keeps for connections that are over.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RESTORER_TIME_WAIT_H
#define STINT_RESTORER_TIME_WAIT_H

#include <stdbool.h>
#include <stdint.h>

/* Is the port (in network order) kept by connections in TIME_WAIT, and by no listener? */
bool stint_time_wait_holds(uint16_t port);

/* If so, make the kernel forget those of them whose other end was on this machine.
 * Returns whether it was tried. */
bool stint_time_wait_end(uint16_t port);

#endif
