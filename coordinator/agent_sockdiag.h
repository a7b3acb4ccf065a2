/* What the kernel tells of a socket that its descriptor does not: sock_diag(7).
 * SPDX-License-Identifier: Apache-2.0
 *
 * No privilege is needed. Answers are about sockets of the agent's network namespace.
 */
#ifndef STINT_COORDINATOR_AGENT_SOCKDIAG_H
#define STINT_COORDINATOR_AGENT_SOCKDIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct agent_unix_diag {
    bool has_peer;
    uint32_t peer_ino;    /* 0: the other end is closed, or not accepted yet */
    uint32_t rqueue;      /* bytes of a stream, length of a listener's queue */
    uint32_t wqueue;      /* memory of what was sent and not read, a listener's backlog */
    uint8_t shutdown;     /* 1 reading, 2 writing */
    uint32_t file_ino;    /* of the file that it is bound to, 0 = none */
    uint32_t *queue;      /* inodes of the clients that wait at a listener, in order */
    size_t nqueue;
};

void agent_unix_diag_deinit(struct agent_unix_diag *diag);

/* One UNIX socket by its inode. *diag is for the caller to release.
 * Returns 0, -ENOENT when there is none in this network namespace, or -errno. */
int agent_sockdiag_unix(uint32_t ino, struct agent_unix_diag *diag);

struct agent_tcp_diag {
    uint8_t state; /* TCP_* */
    uint8_t shutdown;
    uint32_t ino; /* 0: not accepted, or nobody's any more */
    uint32_t rqueue, wqueue;
    uint32_t sent_ms; /* how long ago something was sent last, or it was established */
};

/* One TCP socket by its two ends, as it would name them itself (AF_INET or AF_INET6).
 * Returns 0, -ENOENT or -errno. */
int agent_sockdiag_tcp(const struct sockaddr_storage *local,
                       const struct sockaddr_storage *peer, struct agent_tcp_diag *diag);

/* A connection that waits to be accepted. */
struct agent_tcp_waiting {
    struct sockaddr_storage name, peer;
    int64_t established; /* when: in ticks of the kernel, from an arbitrary moment on */
    bool has_data;       /* the client has sent something */
};

/* All connections that wait at listeners of this family and port (network order), oldest
 * first. *list is for the caller to free. Returns their number or -errno. */
ssize_t agent_sockdiag_waiting(int family, uint16_t port, struct agent_tcp_waiting **list);

/* Where a TCP socket that is connecting (SYN_SENT) is connecting to: getpeername(2) does
 * not tell. Returns 0 with *peer and *len, -ENOENT or -errno. */
int agent_sockdiag_connecting(int family, uint32_t ino, struct sockaddr_storage *peer,
                              socklen_t *len);

#endif
