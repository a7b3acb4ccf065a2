/* TCP and UDP sockets.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Connections with both ends in the job are made anew at a restart, between the same
 * addresses where they are free; a connection that leaves the job is reset.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "coordinator/agent_inet.h"
#include "coordinator/agent_leaving.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define OPT(level, name) {level, name, sizeof(int)}

static const struct agent_socket_option ip_options[] = {
    OPT(IPPROTO_IP, IP_TOS),          OPT(IPPROTO_IP, IP_TTL),
    OPT(IPPROTO_IP, IP_RECVTOS),      OPT(IPPROTO_IP, IP_RECVTTL),
    OPT(IPPROTO_IP, IP_PKTINFO),      OPT(IPPROTO_IP, IP_RECVERR),
    OPT(IPPROTO_IP, IP_MTU_DISCOVER), OPT(IPPROTO_IP, IP_FREEBIND),
    OPT(IPPROTO_IP, IP_MINTTL),       OPT(IPPROTO_IP, IP_MULTICAST_TTL),
    OPT(IPPROTO_IP, IP_MULTICAST_LOOP), OPT(IPPROTO_IP, IP_MULTICAST_ALL),
    OPT(IPPROTO_IP, IP_MULTICAST_IF), OPT(IPPROTO_IP, IP_RECVORIGDSTADDR),
    OPT(IPPROTO_IP, IP_TRANSPARENT),  OPT(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT),
};

static const struct agent_socket_option ip6_options[] = {
    OPT(IPPROTO_IPV6, IPV6_V6ONLY),         OPT(IPPROTO_IPV6, IPV6_UNICAST_HOPS),
    OPT(IPPROTO_IPV6, IPV6_TCLASS),         OPT(IPPROTO_IPV6, IPV6_RECVPKTINFO),
    OPT(IPPROTO_IPV6, IPV6_RECVHOPLIMIT),   OPT(IPPROTO_IPV6, IPV6_RECVTCLASS),
    OPT(IPPROTO_IPV6, IPV6_MTU_DISCOVER),   OPT(IPPROTO_IPV6, IPV6_RECVERR),
    OPT(IPPROTO_IPV6, IPV6_DONTFRAG),       OPT(IPPROTO_IPV6, IPV6_MULTICAST_HOPS),
    OPT(IPPROTO_IPV6, IPV6_MULTICAST_LOOP), OPT(IPPROTO_IPV6, IPV6_MULTICAST_IF),
    OPT(IPPROTO_IPV6, IPV6_MULTICAST_ALL),  OPT(IPPROTO_IPV6, IPV6_FREEBIND),
    OPT(IPPROTO_IPV6, IPV6_AUTOFLOWLABEL),  OPT(IPPROTO_IPV6, IPV6_RECVORIGDSTADDR),
};

static const struct agent_socket_option tcp_options[] = {
    OPT(IPPROTO_TCP, TCP_NODELAY),       OPT(IPPROTO_TCP, TCP_CORK),
    OPT(IPPROTO_TCP, TCP_KEEPIDLE),      OPT(IPPROTO_TCP, TCP_KEEPINTVL),
    OPT(IPPROTO_TCP, TCP_KEEPCNT),       OPT(IPPROTO_TCP, TCP_SYNCNT),
    OPT(IPPROTO_TCP, TCP_LINGER2),       OPT(IPPROTO_TCP, TCP_DEFER_ACCEPT),
    OPT(IPPROTO_TCP, TCP_USER_TIMEOUT),  OPT(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS),
    OPT(IPPROTO_TCP, TCP_FASTOPEN),      OPT(IPPROTO_TCP, TCP_NOTSENT_LOWAT),
    OPT(IPPROTO_TCP, TCP_FASTOPEN_CONNECT), OPT(IPPROTO_TCP, TCP_INQ),
    {IPPROTO_TCP, TCP_CONGESTION, 16},
};

static const struct agent_socket_option udp_options[] = {
    OPT(IPPROTO_UDP, UDP_CORK),
    OPT(IPPROTO_UDP, UDP_SEGMENT),
    OPT(IPPROTO_UDP, UDP_GRO),
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

bool agent_inet_is_tcp(const struct agent_socket *sock)
{
    return sock->record.type == SOCK_STREAM;
}

int agent_inet_look(struct agent_objects *all, struct agent_object *object,
                    struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    int ret = agent_socket_read_options(object, ip_options, COUNT(ip_options), err);

    if (ret == 0 && sock->record.family == AF_INET6)
        ret = agent_socket_read_options(object, ip6_options, COUNT(ip6_options), err);
    if (ret == 0 && agent_inet_is_tcp(sock))
        ret = agent_socket_read_options(object, tcp_options, COUNT(tcp_options), err);
    if (ret == 0 && sock->record.protocol == IPPROTO_UDP)
        ret = agent_socket_read_options(object, udp_options, COUNT(udp_options), err);
    if (ret < 0 || !agent_inet_is_tcp(sock))
        return ret;
    sock->tcp_state = TCP_CLOSE;
    if (getsockopt(object->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
        sock->tcp_state = info.tcpi_state;
    if (sock->tcp_state == TCP_LISTEN) { /* what the two mean for a listener */
        sock->queue_len = info.tcpi_unacked;
        sock->record.backlog = info.tcpi_sacked;
    }
    return 0;
}

/* Is it an address of this host? */
static bool is_own_address(const struct sockaddr_storage *name)
{
    STINT_AUTO_CLOSE int fd = socket(name->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage at = *name;

    ((struct sockaddr_in *)(void *)&at)->sin_port = 0; /* at the same place in both families */
    return fd >= 0
           && bind(fd, (const struct sockaddr *)&at,
                   at.ss_family == AF_INET ? sizeof(struct sockaddr_in)
                                           : sizeof(struct sockaddr_in6))
                  == 0;
}

/* --- UDP ------------------------------------------------------------------------- */

static struct agent_object *find_bound(const struct agent_objects *all,
                                       const struct agent_object *self,
                                       const struct sockaddr_storage *name)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct agent_socket *other = all->list[i]->socket;

        if (other && all->list[i] != self
            && (other->record.family == AF_INET || other->record.family == AF_INET6)
            && other->record.type == SOCK_DGRAM
            && other->record.protocol == self->socket->record.protocol
            && agent_inet_may_be(&other->name, name))
            return all->list[i];
    }
    return NULL;
}

/* Returns 1 with a datagram copied, 0 at the end, or -errno with *err. */
static int peek_datagram(struct agent_objects *all, struct agent_object *object,
                         struct stint_err *err)
{
    STINT_AUTO_FREE char *bytes = malloc(65536); /* the largest there is */
    struct agent_message *message;
    struct agent_object *sender;
    struct sockaddr_storage name;
    socklen_t len = sizeof(name);
    ssize_t n;

    if (!bytes)
        return stint_err_set(err, -ENOMEM, "copy datagrams");
    n = recvfrom(object->fd, bytes, 65536, MSG_PEEK | MSG_DONTWAIT, (struct sockaddr *)&name,
                 &len);
    if (n < 0)
        return errno == EAGAIN ? 0 : stint_err_set(err, -errno, "copy datagrams");
    message = agent_socket_add_message(object->socket, stint_steal_pointer(&bytes),
                                       (size_t)n);
    if (!message)
        return stint_err_set(err, -ENOMEM, "copy datagrams");
    message->bytes = realloc(message->bytes, (size_t)n + 1);
    message->name = name;
    message->record.name_len = len;
    sender = find_bound(all, object, &name);
    message->record.sender = sender ? sender->record.id : 0;
    return 1;
}

static int describe_datagram(struct agent_objects *all, struct agent_object *object,
                             struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    int offset = agent_socket_int(object, SOL_SOCKET, SO_PEEK_OFF, -1);
    const int zero = 0;
    int pending = 0, ret = 1;

    if (sock->record.type != SOCK_DGRAM)
        return agent_object_refuse(object, err, "a raw socket is not supported");
    if (sock->record.protocol == IPPROTO_UDP
        && agent_socket_int(object, IPPROTO_UDP, UDP_ENCAP, 0) != 0)
        return agent_object_refuse(object, err, "a UDP socket that carries a tunnel is not "
                                                "supported");
    if (agent_socket_int(object, IPPROTO_UDP, UDP_CORK, 0)
        && ioctl(object->fd, SIOCOUTQ, &pending) == 0 && pending > 0)
        return stint_err_set(err, -EAGAIN, "process %d (%s), descriptor %d: a corked "
                                           "datagram is half written.",
                             (int)object->pid, object->comm, object->number);
    if (all->glance)
        return 0;
    sock->record.state
        = sock->record.peer_name_len ? STINT_SOCKET_CONNECTED : STINT_SOCKET_NEW;
    if (sock->record.peer_name_len && is_own_address(&sock->peer_name)) {
        const struct agent_object *other = find_bound(all, object, &sock->peer_name);

        sock->record.peer = other ? other->record.id : 0;
    }
    /* looking would take the error that the program is to get */
    if (sock->record.protocol != IPPROTO_UDP || (sock->revents & POLLERR)
        || !(sock->revents & POLLIN)
        || setsockopt(object->fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) < 0)
        return 0;
    while (ret > 0)
        ret = peek_datagram(all, object, err);
    (void)setsockopt(object->fd, SOL_SOCKET, SO_PEEK_OFF, &offset,
                     sizeof(offset)); /* what it was is valid */
    return ret;
}

/* --- TCP ------------------------------------------------------------------------- */

/* The other end is in no object of this group: in another group's, perhaps, which is known
 * when all of them stand still. */
static int join_leaving(const struct agent_objects *all, struct agent_object *object)
{
    object->socket->leaves = agent_inet_has_got_fin(object->socket->tcp_state)
                             || !agent_object_sever(all, object);
    return 0;
}

/* No descriptor of the job is the other end. */
static int join_alone(struct agent_objects *all, struct agent_object *object,
                      struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    struct agent_tcp_diag other = {0};
    bool is_here = agent_sockdiag_tcp(&sock->peer_name, &sock->name, &other) == 0;

    if (is_here && other.ino == 0
        && (other.state == TCP_ESTABLISHED || other.state == TCP_CLOSE_WAIT)) {
        int ret = agent_inet_join_pending(all, object, &other, err);

        if (ret != -ENOENT)
            return ret;
    }
    if (is_here && other.ino == 0 && other.wqueue > 1)
        return stint_err_set(err, -EAGAIN,
                             "process %d (%s), descriptor %d: a TCP connection was closed at "
                             "the other end with data that has no room at this one yet.",
                             (int)object->pid, object->comm, object->number);
    return join_leaving(all, object);
}

/* When the program has ended, one end of each connection is remembered for a minute (TIME
 * WAIT), and keeps the port from a listener at a restart, unless its socket had this. A
 * restart can make the kernel forget, where both ends were on one machine. */
static void leave_port(const struct agent_objects *all, const struct agent_object *object,
                       const struct agent_object *other)
{
    const int one = 1;

    if (other && !all->ending)
        return; /* the program goes on, and could tell */
    (void)setsockopt(object->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)); /* valid */
}

static int join_connected(struct agent_objects *all, struct agent_object *object,
                          struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    struct agent_object *other = agent_inet_other_end(all, object);
    struct agent_tcp_diag diag;
    int ret;

    leave_port(all, object, other);
    if (agent_inet_has_sent_fin(sock->tcp_state))
        sock->record.shutdown |= STINT_SOCKET_SHUT_WRITE;
    if (!agent_inet_has_got_fin(sock->tcp_state)
        && agent_sockdiag_tcp(&sock->name, &sock->peer_name, &diag) == 0)
        sock->record.shutdown |= diag.shutdown & STINT_SOCKET_SHUT_READ;
    if (!other) {
        ret = join_alone(all, object, err);
        return ret == 0 && !object->severed && !sock->leaves ? agent_inet_peek(object, err)
                                                             : ret;
    }
    sock->record.state = STINT_SOCKET_CONNECTED;
    sock->record.peer = other->record.id;
    return agent_inet_settle(other, object, err);
}

/* Never connected, or over: only reading tells. */
static int join_closed(struct agent_object *object, struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    char byte;

    if (sock->revents & POLLERR) {
        (void)getsockopt(object->fd, IPPROTO_TCP, TCP_INFO, &info, &len); /* zeros */
        /* without an answer there never was a round-trip time */
        sock->record.state = info.tcpi_rtt ? STINT_SOCKET_RESET : STINT_SOCKET_REFUSED;
        return agent_inet_peek(object, err);
    }
    if (recv(object->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0) {
        sock->record.state = STINT_SOCKET_NEW;
        return 0;
    }
    sock->record.state = STINT_SOCKET_CLOSED;
    return agent_inet_peek(object, err);
}

static int join_connecting(const struct agent_objects *all, struct agent_object *object,
                           struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    const struct agent_object *listener;
    socklen_t len = 0;
    int ret = agent_sockdiag_connecting(sock->record.family, (uint32_t)object->st.st_ino,
                                        &sock->peer_name, &len);

    if (ret < 0)
        return stint_err_set(err, -EAGAIN, "process %d (%s), descriptor %d: a TCP connection "
                                           "is just being made.",
                             (int)object->pid, object->comm, object->number);
    sock->record.state = STINT_SOCKET_CONNECTING;
    sock->record.peer_name_len = len;
    listener = is_own_address(&sock->peer_name) ? agent_inet_listener(all, &sock->peer_name)
                                                : NULL;
    sock->record.peer = listener ? listener->record.id : 0;
    return 0;
}

/* What the user has said of connections to outside; nothing that is passing. */
static int glance_at_tcp(struct agent_objects *all, struct agent_object *object,
                         struct stint_err *err)
{
    uint8_t state = object->socket->tcp_state;

    if ((state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT)
        || agent_inet_other_end(all, object))
        return 0;
    return agent_object_sever(all, object) ? 0 : agent_leaving_outside(all, object, err);
}

static int describe_tcp(struct agent_objects *all, struct agent_object *object,
                        struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    int urgent = 0;

    if (sock->record.protocol == IPPROTO_MPTCP && sock->tcp_state != TCP_LISTEN
        && sock->tcp_state != TCP_CLOSE)
        return agent_object_refuse(object, err, "a multipath TCP connection is not "
                                                "supported");
    if (sock->record.protocol != IPPROTO_TCP && sock->record.protocol != IPPROTO_MPTCP)
        return agent_object_refuse(object, err, "a stream socket of protocol %u is not "
                                                "supported",
                                   sock->record.protocol);
    if ((sock->revents & POLLPRI) || (ioctl(object->fd, SIOCATMARK, &urgent) == 0 && urgent))
        return stint_err_set(err, -EAGAIN, "process %d (%s), descriptor %d: a TCP socket has "
                                           "urgent data under way.",
                             (int)object->pid, object->comm, object->number);
    if (all->glance)
        return glance_at_tcp(all, object, err);
    switch (sock->tcp_state) {
    case TCP_LISTEN:
        sock->record.state = STINT_SOCKET_LISTENING;
        return 0; /* who waits there is known when all stand still: agent_backlog.c */
    case TCP_SYN_SENT:
        return join_connecting(all, object, err);
    case TCP_SYN_RECV:
        return stint_err_set(err, -EAGAIN, "process %d (%s), descriptor %d: a TCP connection "
                                           "is being made.",
                             (int)object->pid, object->comm, object->number);
    case TCP_CLOSE:
        return join_closed(object, err);
    default:
        return join_connected(all, object, err);
    }
}

static bool match(const struct agent_object *object)
{
    return object->socket
           && (object->socket->record.family == AF_INET
               || object->socket->record.family == AF_INET6);
}

static int describe(struct agent_objects *all, struct agent_object *object,
                    const struct agent_segments *segments, struct stint_err *err)
{
    int ret = agent_socket_verdict(object, err);

    if (ret == 0)
        ret = agent_inet_is_tcp(object->socket) ? describe_tcp(all, object, err)
                                                : describe_datagram(all, object, err);
    return ret == 0 && !object->severed && !object->socket->leaves
               ? agent_socket_pack(object, err)
               : ret;
}

const struct agent_fdkind agent_fd_inet = {
    .kind = STINT_OBJ_INET,
    .match = match,
    .describe = describe,
    .store = agent_socket_store,
};
