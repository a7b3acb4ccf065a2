/* DIR/coordinator.yaml: where the coordinator of a checkpoint directory listens.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COMMON_ENDPOINT_H
#define STINT_COMMON_ENDPOINT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/err.h"

#define STINT_ENDPOINT_NAME          "coordinator.yaml"
#define STINT_ENDPOINT_ADDRESSES_MAX 16

struct stint_endpoint {
    char *host;
    int64_t pid;
    size_t count;
    struct sockaddr_storage addresses[STINT_ENDPOINT_ADDRESSES_MAX]; /* best first */
};

/* Read it; it is not trusted (who answers there has to prove the key).
 * Returns 0 (stint_endpoint_deinit() by the caller); -ENOENT when there is no
 * coordinator; -EBADMSG or another -errno; *err is set. */
int stint_endpoint_read(int dir_fd,
                        struct stint_endpoint *endpoint,
                        struct stint_err *err);

/* Write it for a coordinator that listens on this port on all addresses of this host.
 * Appears complete, by rename. Returns 0, or -errno with *err set. */
int stint_endpoint_write(int dir_fd, uint16_t port, struct stint_err *err);

/* Addresses of this host as a list of strings, those that others can reach first. Returns a
 * new reference, NULL for want of memory. */
json_t *stint_endpoint_own_addresses(void);

/* How far an address is: this host's own, in a network that this host is attached to, or
 * further. */
enum stint_distance { STINT_DISTANCE_OWN, STINT_DISTANCE_NEAR, STINT_DISTANCE_FAR };
enum stint_distance stint_endpoint_distance(const char *address);

void stint_endpoint_deinit(struct stint_endpoint *endpoint);

#endif
