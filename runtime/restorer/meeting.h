/* Where sockets of other groups are at a restart: what the agent tells of that.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A meeting starts with packets `connections GROUP` for each group that is waited for. From
 * then on the agent says all that it knows and learns, until `connected`.
 */
#ifndef STINT_RESTORER_MEETING_H
#define STINT_RESTORER_MEETING_H

#include <netinet/in.h>

#include "runtime/restorer/restore.h"
#include "runtime/restorer/sockets.h"

#define STINT_MEETING_NAME 80

struct stint_place {
    char key[256]; /* GROUP/OLD-ADDRESS, GROUP/#ID, GROUP/#ID<ADDRESS: doc/protocol.md */
    uint16_t port; /* network order */
    size_t count;
    char addresses[16][INET6_ADDRSTRLEN]; /* to be tried in this order */
};

struct stint_meeting {
    struct stint_restore *restore;
    struct stint_place *places;
    size_t nplaces;
    int64_t deadline_ms;
};

int64_t stint_meeting_now(void);

void stint_meeting_start(struct stint_meeting *meeting, struct stint_restore *restore);
/* done: all that was awaited is there, and the agent is told. */
void stint_meeting_end(struct stint_meeting *meeting, bool done);

/* Wait up to timeout_ms for the next packet, for the sake of that group. Returns 0, or -errno
 * with *err when the agent has gone or the time is over. */
int stint_meeting_hear(struct stint_meeting *meeting, const char *group, int timeout_ms,
                       struct stint_err *err);

/* The newest place of that key, or NULL. Valid until the next packet. */
const struct stint_place *stint_meeting_find(const struct stint_meeting *meeting,
                                             const char *key);

/* As text, NUL-padded. IPv4 mapped into IPv6 is IPv4: the two ends of a connection may see
 * it differently. */
void stint_meeting_print(const struct sockaddr *name, char text[STINT_MEETING_NAME]);

/* An address in the socket's family; port in network order. Returns its length, 0 when there
 * is none. */
socklen_t stint_meeting_address(const struct stint_restored_socket *sock, const char *text,
                                uint16_t port, struct sockaddr_storage *to);

/* Send all of it. Returns 0 or -errno. */
int stint_meeting_send(int fd, const void *bytes, size_t len, int timeout_ms);

#endif
