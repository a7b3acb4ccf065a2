/* What an image says of a socket: kind-specific bytes of struct stint_object.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Objects of the kinds UNIX, INET and NETLINK carry a struct stint_socket in `extra`,
 * followed by, each padded to 8 bytes: name, peer_name (raw struct sockaddr), dir (NUL-
 * terminated) and noptions times struct stint_socket_option with its value. The contents
 * (data_offset, data_len) are nmessages times struct stint_socket_message with what
 * follows it. All lengths are without padding.
 */
#ifndef STINT_COMMON_IMAGE_SOCKET_H
#define STINT_COMMON_IMAGE_SOCKET_H

#include <stddef.h>
#include <stdint.h>

#define STINT_SOCKET_VERSION 1u

enum stint_socket_state {
    STINT_SOCKET_NEW = 1, /* not connected; bound when it has a name */
    STINT_SOCKET_LISTENING = 2,
    /* peer: the other end, when the job holds it (0: peer_name only, as a datagram
     * socket that sends to the world outside) */
    STINT_SOCKET_CONNECTED = 3,
    STINT_SOCKET_PENDING = 4,    /* peer: the listener that has not accepted it yet */
    /* connect(2) to peer_name is in progress. peer: the listener, 0: not in the job */
    STINT_SOCKET_CONNECTING = 5,
    STINT_SOCKET_ENDED = 6,      /* the other end was closed: end of file after the data */
    STINT_SOCKET_RESET = 7,      /* likewise, with ECONNRESET after the data */
    STINT_SOCKET_CLOSED = 8,     /* TCP: over in both directions */
    STINT_SOCKET_REFUSED = 9,    /* TCP: connect(2) has failed, which is not known yet */
};

#define STINT_SOCKET_LINKED    1u /* UNIX: its name is a file that can be connected to */
#define STINT_SOCKET_PASSCRED  2u /* UNIX: messages carry their senders' credentials */
#define STINT_SOCKET_OUTSIDE   4u /* RESET or ENDED because its peer is not in the job */
#define STINT_SOCKET_AGAIN     8u /* OUTSIDE: to be connected to peer_name again */
/* TCP, CONNECTED: the other end is in the group `dir`. TCP, PENDING or CONNECTING, and UDP,
 * CONNECTED: likewise, and peer is the object's id there */
#define STINT_SOCKET_REMOTE   16u
#define STINT_SOCKET_SOUGHT   32u /* such a one of another group has it as its peer */
#define STINT_SOCKET_SHUT_READ  1u
#define STINT_SOCKET_SHUT_WRITE 2u

struct stint_socket {
    uint32_t version;
    uint16_t family, type; /* socket(2) */
    uint32_t protocol;
    uint32_t state; /* enum stint_socket_state */
    uint32_t flags; /* STINT_SOCKET_* */
    uint32_t peer;  /* object id, 0 = none */
    uint32_t backlog;
    uint32_t order;    /* PENDING: place in the listener's queue */
    uint32_t shutdown; /* STINT_SOCKET_SHUT_* */
    int32_t peer_pid;  /* SO_PEERCRED as the program sees it; 0 = unknown */
    uint32_t peer_uid, peer_gid;
    uint32_t file_mode, file_uid, file_gid; /* of the file, when LINKED */
    uint32_t name_len, peer_name_len;
    uint32_t dir_len; /* directory that a relative UNIX name starts from, or for REMOTE the
                       * other end's group; with the NUL */
    uint32_t noptions;
    uint32_t nmessages;
    uint32_t groups; /* NETLINK: the first 32 multicast groups */
    uint32_t reserved[11];
};

struct stint_socket_option {
    int32_t level, name; /* setsockopt(2) */
    uint32_t len;
    uint32_t reserved;
};

/* Bytes of a stream that arrived together, or one datagram. Followed by, each padded to
 * 8 bytes: nfds times uint32_t (object ids of descriptors under way), the sender's name
 * (raw struct sockaddr), the bytes.
 * Of a TCP listener: a client of another group that it has not accepted yet. The bytes are
 * "GROUP ADDRESS" with the NUL: the client's group and its own address. */
struct stint_socket_message {
    uint32_t len;
    uint32_t nfds;
    uint32_t name_len;
    int32_t pid; /* of the sender as the program sees it; 0 = not told */
    uint32_t uid, gid;
    uint32_t sender;   /* object id of the sending socket; 0 = not in the job (any more) */
    /* UDP: 1 = the group that has the sender sends it again. TCP listener: place in the
     * queue, among those of PENDING sockets of this group, too */
    uint32_t order;
};

static inline size_t stint_socket_padded(size_t len)
{
    return (len + 7) & ~(size_t)7;
}

_Static_assert(sizeof(struct stint_socket) == 128, "on-disk layout");
_Static_assert(sizeof(struct stint_socket_option) == 16, "on-disk layout");
_Static_assert(sizeof(struct stint_socket_message) == 32, "on-disk layout");

#endif
