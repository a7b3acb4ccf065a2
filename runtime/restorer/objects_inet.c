/* TCP and UDP sockets.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A connection between two sockets of the job is made again between the same addresses,
 * by a temporary listener at the address of one end. Where an address is not one of this
 * machine's, the loopback address takes its place; where a port is taken, another one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/remote.h"
#include "runtime/restorer/seek.h"
#include "runtime/restorer/sockets.h"
#include "runtime/restorer/time_wait.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14 */
#endif

#define CONNECT_MS   5000
#define TIME_WAIT_MS 2000 /* after one second the kernel uses such a pair of ports again */
#define FORGOTTEN_MS 62000 /* TIME_WAIT lasts a minute */
#define QUEUED_MS    1000 /* for the end of a handshake on this machine */
#define ROUNDS       16   /* of making the buffers of a connection grow */

static bool is_inet(const struct stint_restored_socket *sock)
{
    return sock->record->family == AF_INET || sock->record->family == AF_INET6;
}

static bool is_tcp(const struct stint_restored_socket *sock)
{
    return is_inet(sock) && sock->record->type == SOCK_STREAM;
}

static int64_t now_ms(void)
{
    struct timespec now = {0, 0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* exists */
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- addresses ------------------------------------------------------------------------ */

struct address {
    struct sockaddr_storage name;
    socklen_t len;
};

static struct address address_of(const struct sockaddr *name, socklen_t len)
{
    struct address address = {.len = len};

    memcpy(&address.name, name, len);
    return address;
}

static uint16_t *port_of(struct address *address)
{
    return address->name.ss_family == AF_INET6
               ? &((struct sockaddr_in6 *)(void *)&address->name)->sin6_port
               : &((struct sockaddr_in *)(void *)&address->name)->sin_port;
}

static bool is_mapped(const struct address *address)
{
    return address->name.ss_family == AF_INET6
           && IN6_IS_ADDR_V4MAPPED(
               &((const struct sockaddr_in6 *)(const void *)&address->name)->sin6_addr);
}

static bool is_wildcard(const struct address *address)
{
    if (address->name.ss_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)&address->name)->sin_addr.s_addr
               == INADDR_ANY;
    return IN6_IS_ADDR_UNSPECIFIED(
        &((const struct sockaddr_in6 *)(const void *)&address->name)->sin6_addr);
}

/* The same port at the loopback address (or at any). */
static struct address replaced(const struct address *address, bool any)
{
    struct address other = *address;

    if (address->name.ss_family == AF_INET) {
        ((struct sockaddr_in *)(void *)&other.name)->sin_addr.s_addr
            = htonl(any ? INADDR_ANY : INADDR_LOOPBACK);
    } else {
        struct sockaddr_in6 *in6 = (void *)&other.name;

        if (any)
            in6->sin6_addr = in6addr_any;
        else if (is_mapped(address))
            (void)inet_pton(AF_INET6, "::ffff:127.0.0.1", &in6->sin6_addr); /* valid */
        else
            in6->sin6_addr = in6addr_loopback;
        in6->sin6_scope_id = 0;
    }
    return other;
}

/* Loopback, port 0, in the family of a socket. */
static struct address nowhere(const struct stint_restored_socket *sock)
{
    struct address address = {.len = sizeof(struct sockaddr_in)};

    if (sock->record->name_len)
        address = address_of(sock->name, sock->record->name_len);
    address.name.ss_family = sock->record->family;
    if (sock->record->family == AF_INET6)
        address.len = sizeof(struct sockaddr_in6);
    *port_of(&address) = 0;
    return replaced(&address, false);
}

static const char *print(const struct address *address, char text[80])
{
    char host[INET6_ADDRSTRLEN] = "?";
    struct address copy = *address;

    if (address->name.ss_family == AF_INET)
        (void)inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)&copy.name)->sin_addr, host,
                        sizeof(host)); /* fits */
    else
        (void)inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)&copy.name)->sin6_addr,
                        host, sizeof(host)); /* fits */
    (void)snprintf(text, 80, address->name.ss_family == AF_INET ? "%s:%u" : "[%s]:%u", host,
                   ntohs(*port_of(&copy))); /* fits */
    return text;
}

/* Ports that the kernel gives out by itself: nobody has chosen one of them. */
static bool is_ephemeral(uint16_t port)
{
    static int low = -1, high;

    if (low < 0) {
        STINT_AUTO_FCLOSE FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

        if (!file || fscanf(file, "%d %d", &low, &high) != 2) {
            low = 32768;
            high = 60999;
        }
    }
    return ntohs(port) >= low && ntohs(port) <= high;
}

static int try_bind(int fd, const struct address *address)
{
    return bind(fd, (const struct sockaddr *)&address->name, address->len) < 0 ? -errno : 0;
}

/* One whose other end was on another machine: the kernel forgets after a minute. */
static int bind_when_forgotten(struct stint_sockets *sockets, int fd, struct address *address)
{
    int64_t deadline = now_ms() + FORGOTTEN_MS;
    struct pollfd wait = {fd, 0, 0};
    char text[80];
    int r = -EADDRINUSE;

    while (r == -EADDRINUSE && now_ms() < deadline && stint_time_wait_holds(*port_of(address))) {
        if (deadline - now_ms() >= FORGOTTEN_MS)
            stint_control_send(sockets->restore, "note waiting for %s: a connection of the "
                                                 "first life is remembered by the kernel",
                               print(address, text));
        (void)poll(&wait, 0, 200); /* nothing announces the end of that time */
        r = try_bind(fd, address);
    }
    return r;
}

static bool is_stream(int fd)
{
    int type = 0;
    socklen_t len = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

/* Bind, to something near it where it has to be. any: the wildcard and not the loopback
 * address replaces one that this machine does not have. fixed: the port matters. */
static int bind_near(struct stint_sockets *sockets, int fd, const struct address *wanted,
                     bool any, bool fixed, struct stint_err *err)
{
    struct address address = *wanted;
    char text[80], instead[80];
    int r = try_bind(fd, &address);

    if (r == -EADDRNOTAVAIL || r == -ENODEV || r == -EINVAL) {
        address = replaced(wanted, any);
        r = try_bind(fd, &address);
        if (r == 0)
            stint_restore_note(sockets->restore, "%s is not an address of this machine: a "
                                                 "socket is at %s",
                               print(wanted, text), print(&address, instead));
    }
    if (r == -EADDRINUSE && is_stream(fd) && stint_time_wait_end(*port_of(&address)))
        r = try_bind(fd, &address);
    if (r == -EADDRINUSE && !fixed) {
        *port_of(&address) = 0;
        r = try_bind(fd, &address);
        if (r == 0)
            stint_restore_note(sockets->restore,
                               "port %s is taken: a socket of the program has another one",
                               print(wanted, text));
    }
    if (r == -EADDRINUSE && is_stream(fd))
        r = bind_when_forgotten(sockets, fd, &address);
    return r < 0 ? stint_err_set(err, r, "bind a socket to %s again", print(wanted, text)) : 0;
}

/* --- TCP connections -------------------------------------------------------------------- */

/* Until the options are set for good, all of ours may share ports. */
static void share_port(int fd)
{
    const int one = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)); /* valid */
}

static int make_tcp(const struct stint_restored_socket *sock, struct stint_err *err)
{
    int fd = stint_socket_make(sock, err);

    if (fd >= 0) {
        share_port(fd);
        stint_socket_early_options(sock, fd);
    }
    return fd;
}

static int finish_connect(int fd)
{
    int error = 0, r = stint_socket_wait(fd, POLLOUT, CONNECT_MS);
    socklen_t len = sizeof(error);

    if (r == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return r < 0 ? r : -error;
}

/* Connect on this machine. The same two ports may still be noted from the first life. */
static int connect_soon(int fd, const struct address *to)
{
    int64_t deadline = now_ms() + TIME_WAIT_MS;

    for (;;) {
        struct pollfd wait = {fd, 0, 0};

        if (connect(fd, (const struct sockaddr *)&to->name, to->len) == 0)
            return 0;
        if (errno == EINPROGRESS)
            return finish_connect(fd);
        if (errno != EADDRNOTAVAIL || now_ms() > deadline)
            return -errno;
        (void)poll(&wait, 1, 50); /* nothing announces the end of that time */
    }
}

struct link {
    struct address client, server; /* where each end should be */
    const struct stint_restored_socket *client_sock, *server_sock; /* options, family */
    int client_fd, server_fd;
};

static int make_client(struct stint_sockets *sockets, struct link *link, bool own_port,
                       struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = make_tcp(link->client_sock, err);
    struct address client = link->client;
    int r;

    if (fd < 0)
        return fd;
    if (!own_port)
        *port_of(&client) = 0;
    r = bind_near(sockets, fd, &client, false, false, err);
    return r < 0 ? r : stint_steal_fd(&fd);
}

/* The address that the listener is at, for a client of the client's family. */
static struct address server_address(const struct link *link, int listener)
{
    struct address at = {.len = sizeof(at.name)}, to;
    uint16_t port;

    (void)getsockname(listener, (struct sockaddr *)&at.name, &at.len); /* it is bound */
    if (at.name.ss_family == link->client_sock->record->family)
        return at;
    /* one end is v4, the other has it mapped into v6 */
    port = *port_of(&at);
    to = (struct address){.len = link->client_sock->record->family == AF_INET
                                     ? sizeof(struct sockaddr_in)
                                     : sizeof(struct sockaddr_in6)};
    to.name.ss_family = link->client_sock->record->family;
    if (to.name.ss_family == AF_INET) {
        memcpy(&((struct sockaddr_in *)(void *)&to.name)->sin_addr,
               &((struct sockaddr_in6 *)(void *)&at.name)->sin6_addr.s6_addr[12], 4);
    } else {
        struct in6_addr *in6 = &((struct sockaddr_in6 *)(void *)&to.name)->sin6_addr;

        in6->s6_addr[10] = in6->s6_addr[11] = 0xff;
        memcpy(&in6->s6_addr[12], &((struct sockaddr_in *)(void *)&at.name)->sin_addr, 4);
    }
    *port_of(&to) = port;
    return to;
}

static int connect_link(struct stint_sockets *sockets, struct link *link,
                        struct stint_err *err)
{
    STINT_AUTO_CLOSE int listener = make_tcp(link->server_sock, err);
    STINT_AUTO_CLOSE int client = -1;
    struct address to;
    int r;

    if (listener < 0)
        return listener;
    r = bind_near(sockets, listener, &link->server, false, false, err);
    if (r < 0)
        return r;
    if (listen(listener, 1) < 0)
        return stint_err_set(err, -errno, "listen for a connection to be made again");
    to = server_address(link, listener);
    for (int own_port = 1; own_port >= 0; own_port--) {
        stint_cleanup_close(&client);
        client = make_client(sockets, link, own_port, err);
        if (client < 0)
            return client;
        r = connect_soon(client, &to);
        if (r != -EADDRNOTAVAIL)
            break;
    }
    if (r < 0) {
        char text[80];

        return stint_err_set(err, r, "connect to %s again", print(&to, text));
    }
    link->server_fd = stint_socket_accept(listener);
    if (link->server_fd < 0)
        return stint_err_set(err, link->server_fd, "accept a connection again");
    share_port(link->server_fd);
    stint_socket_early_options(link->server_sock, link->server_fd);
    link->client_fd = stint_steal_fd(&client);
    return 0;
}

static bool has_listener(const struct stint_sockets *sockets,
                         const struct stint_restored_socket *sock)
{
    struct address own = address_of(sock->name, sock->record->name_len);

    for (size_t i = 0; i < sockets->count; i++) {
        const struct stint_restored_socket *other = &sockets->list[i];
        struct address at;

        if (!is_tcp(other) || other->record->state != STINT_SOCKET_LISTENING
            || !other->record->name_len)
            continue;
        at = address_of(other->name, other->record->name_len);
        if (*port_of(&at) == *port_of(&own))
            return true;
    }
    return false;
}

static bool is_named(const struct stint_restored_socket *sock)
{
    size_t least = sock->record->family == AF_INET ? sizeof(struct sockaddr_in)
                                                   : sizeof(struct sockaddr_in6);

    return sock->record->name_len >= least;
}

static int open_pair(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                     struct stint_err *err)
{
    struct stint_restored_socket *peer = stint_socket_by_id(sockets, sock->record->peer);
    struct stint_restored_socket *client = sock, *server = peer;
    struct link link;
    int r;

    if (!peer || peer == sock || !is_tcp(peer) || peer->object->fd >= 0 || !is_named(sock)
        || !is_named(peer))
        return stint_err_set(err, -EBADMSG, "the image names no other end of TCP socket %u.",
                             sock->object->object->id);
    if (has_listener(sockets, sock)) {
        client = peer;
        server = sock;
    }
    link = (struct link){address_of(client->name, client->record->name_len),
                         address_of(server->name, server->record->name_len),
                         client, server, -1, -1};
    r = connect_link(sockets, &link, err);
    if (r < 0)
        return r;
    sock->paired = peer->paired = true;
    r = stint_socket_keep(sockets, client, link.client_fd, err);
    if (r < 0) {
        (void)close(link.server_fd); /* of no use */
        return r;
    }
    return stint_socket_keep(sockets, server, link.server_fd, err);
}

/* To a service outside of the job. Returns 1 when that cannot be. */
static int connect_again(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                         struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    struct address to = address_of(sock->peer_name, sock->record->peer_name_len);
    char text[80];
    int r;

    if (!(sock->record->flags & STINT_SOCKET_AGAIN)
        || sock->record->peer_name_len < sizeof(struct sockaddr_in))
        return 1;
    fd = stint_socket_make(sock, err);
    if (fd < 0)
        return fd;
    stint_socket_early_options(sock, fd);
    r = connect_soon(fd, &to);
    stint_restore_note(sockets->restore, "a TCP socket %s connected to %s again%s%s",
                       r < 0 ? "cannot be" : "is", print(&to, text), r < 0 ? ": " : "",
                       r < 0 ? strerror(-r) : "");
    return r < 0 ? 1 : stint_socket_keep(sockets, sock, stint_steal_fd(&fd), err);
}

/* With a temporary other end, which has the address of the one that is gone if it can. */
static int open_alone(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                      struct stint_err *err)
{
    bool faithful = sock->record->state == STINT_SOCKET_ENDED
                    && !(sock->record->flags & STINT_SOCKET_OUTSIDE)
                    && sock->record->peer_name_len && is_named(sock);
    struct link link = {nowhere(sock), nowhere(sock), sock, sock, -1, -1};
    int r;

    if (faithful && has_listener(sockets, sock)) {
        link.client = address_of(sock->peer_name, sock->record->peer_name_len);
        link.server = address_of(sock->name, sock->record->name_len);
    } else if (faithful) {
        link.client = address_of(sock->name, sock->record->name_len);
        link.server = address_of(sock->peer_name, sock->record->peer_name_len);
    }
    r = connect_link(sockets, &link, err);
    if (r < 0)
        return r;
    if (faithful && has_listener(sockets, sock)) {
        sock->temp = link.client_fd;
        return stint_socket_keep(sockets, sock, link.server_fd, err);
    }
    sock->temp = link.server_fd;
    return stint_socket_keep(sockets, sock, link.client_fd, err);
}

/* Returns 0 or -errno with *err. */
static int open_outside(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                        struct stint_err *err)
{
    struct address peer = address_of(sock->peer_name, sock->record->peer_name_len);
    char text[80];
    int r = connect_again(sockets, sock, err);

    if (r <= 0)
        return r;
    stint_restore_note(sockets->restore, "the TCP connection to %s, which is not part of the "
                                         "program, %s",
                       print(&peer, text),
                       sock->record->state == STINT_SOCKET_RESET ? "is reset" : "has ended");
    return open_alone(sockets, sock, err);
}

/* connect(2) to a port where nobody listens: the error waits for the program. */
static int open_refused(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                        struct stint_err *err)
{
    STINT_AUTO_CLOSE int closed = make_tcp(sock, err);
    struct address at = nowhere(sock);
    int fd;

    if (closed < 0)
        return closed;
    if (try_bind(closed, &at) < 0
        || getsockname(closed, (struct sockaddr *)&at.name, &at.len) < 0)
        return stint_err_set(err, -errno, "find a port");
    fd = make_tcp(sock, err);
    if (fd < 0)
        return fd;
    (void)connect(fd, (const struct sockaddr *)&at.name, at.len); /* fails: that is meant */
    return stint_socket_keep(sockets, sock, fd, err);
}

static int open_bound(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                      struct stint_err *err)
{
    struct address at = address_of(sock->name, sock->record->name_len);
    int fd = is_tcp(sock) ? make_tcp(sock, err) : stint_socket_make(sock, err);
    bool listening = sock->record->state == STINT_SOCKET_LISTENING;
    bool fixed;
    int r;

    if (fd < 0)
        return fd;
    if (!is_tcp(sock))
        stint_socket_early_options(sock, fd);
    r = stint_socket_keep(sockets, sock, fd, err);
    if (r < 0 || !is_named(sock) || *port_of(&at) == 0)
        return r;
    fixed = listening
            || (sock->record->state == STINT_SOCKET_NEW && !is_ephemeral(*port_of(&at)));
    return bind_near(sockets, sock->object->fd, &at, true, fixed, err);
}

static int open_one(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                    struct stint_err *err)
{
    if (!is_tcp(sock))
        return open_bound(sockets, sock, err);
    switch (sock->record->state) {
    case STINT_SOCKET_CONNECTED:
        return open_pair(sockets, sock, err);
    case STINT_SOCKET_ENDED:
    case STINT_SOCKET_RESET:
    case STINT_SOCKET_CLOSED:
        return sock->record->flags & STINT_SOCKET_OUTSIDE ? open_outside(sockets, sock, err)
                                                          : open_alone(sockets, sock, err);
    case STINT_SOCKET_REFUSED:
        return open_refused(sockets, sock, err);
    default:
        return open_bound(sockets, sock, err);
    }
}

static bool is_connection(const struct stint_restored_socket *sock)
{
    uint32_t state = sock->record->state;

    return is_tcp(sock)
           && (state == STINT_SOCKET_CONNECTED || state == STINT_SOCKET_ENDED
               || state == STINT_SOCKET_RESET || state == STINT_SOCKET_CLOSED);
}

static int start_listening(struct stint_restored_socket *sock, struct stint_err *err)
{
    char text[80];
    struct address at = address_of(sock->name, sock->record->name_len);

    if (listen(sock->object->fd, (int)sock->record->backlog) < 0)
        return stint_err_set(err, -errno, "listen at %s again", print(&at, text));
    return 0;
}

int stint_inet_bound(struct stint_sockets *sockets, const struct stint_restored_socket *sock,
                     struct stint_err *err)
{
    struct address at = address_of(sock->name, sock->record->name_len);
    STINT_AUTO_CLOSE int fd = make_tcp(sock, err);
    int r = fd < 0 ? fd : bind_near(sockets, fd, &at, true, false, err);

    return r < 0 ? r : stint_steal_fd(&fd);
}

void stint_inet_accepted(const struct stint_restored_socket *sock, int fd)
{
    share_port(fd);
    stint_socket_early_options(sock, fd);
}

int stint_inet_connect_soon(int fd, const struct sockaddr *to, socklen_t len)
{
    struct address address = address_of(to, len);

    return connect_soon(fd, &address);
}

int stint_inet_open(struct stint_sockets *sockets, struct stint_err *err)
{
    int r = stint_remote_open(sockets, err);

    /* connections first: their temporary listeners are at the addresses of the real ones */
    for (int rest = 0; rest < 2; rest++) {
        for (size_t i = 0; r == 0 && i < sockets->count; i++) {
            struct stint_restored_socket *sock = &sockets->list[i];

            if (is_inet(sock) && sock->object->fd < 0 && is_connection(sock) == (rest == 0))
                r = open_one(sockets, sock, err);
        }
    }
    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        if (is_tcp(&sockets->list[i])
            && sockets->list[i].record->state == STINT_SOCKET_LISTENING)
            r = start_listening(&sockets->list[i], err);
    }
    return r;
}

/* --- bytes --------------------------------------------------------------------------------- */

/* Send as much as there is room for. Returns how much. */
static size_t send_all(int from, int to, const uint8_t *bytes, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = send(from, bytes + done, len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        int before = 0, after = 0;

        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        if (n < 0 && errno != EAGAIN)
            break;
        /* while the receiver's kernel still takes some, room comes */
        (void)ioctl(to, SIOCINQ, &before); /* connected: cannot fail */
        if (stint_socket_wait(from, POLLOUT, 20) == 0)
            continue;
        (void)ioctl(to, SIOCINQ, &after); /* likewise */
        if (after == before)
            break;
    }
    return done;
}

/* Read and forget everything that is on its way from one to the other. */
static void drain(int from, int to, uint8_t *scratch, size_t size)
{
    for (;;) {
        int left = 0;
        ssize_t n = recv(to, scratch, size, MSG_DONTWAIT);

        if (n > 0)
            continue;
        (void)ioctl(from, SIOCOUTQ, &left); /* connected: cannot fail */
        if (left == 0 || stint_socket_wait(to, POLLIN, 500) < 0)
            break;
    }
    (void)recv(to, scratch, size, MSG_DONTWAIT); /* what came between the two questions */
}

void stint_inet_make_room(const struct stint_restored_socket *sock, int fd)
{
    uint64_t want = sock->object->object->data_len;
    int bytes = want > 1 << 30 ? 1 << 30 : (int)want + 1;
    const int none = 0;

    if (want) /* a size of the program's own does not grow; it is set with the options */
        (void)setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &none, sizeof(none)); /* as it allows */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes)); /* likewise */
}

/* A fresh connection has less room than one whose buffers TCP has adapted to much traffic.
 * Traffic is what makes them grow: so it is given some. */
static int send_stream(int from, int to, const uint8_t *bytes, size_t len,
                       struct stint_err *err)
{
    STINT_AUTO_FREE uint8_t *scratch = NULL;
    const size_t size = 1 << 20;

    for (int round = 0; round < ROUNDS; round++) {
        size_t done = send_all(from, to, bytes, len);

        if (done == len)
            return 0;
        if (!scratch)
            scratch = calloc(1, size);
        if (!scratch)
            return stint_err_set(err, -ENOMEM, "restore what was under way");
        drain(from, to, scratch, size);
        for (size_t more = 0; more < 8 * len; more += size) {
            (void)send_all(from, to, scratch, size); /* how much does not matter */
            drain(from, to, scratch, size);
        }
    }
    return stint_err_set(err, -ENOBUFS, "%zu bytes under way in a TCP connection have no room "
                                        "on this machine (net.ipv4.tcp_rmem, tcp_wmem).",
                         len);
}

/* The temporary other end goes as the real one has gone. */
static int leave(struct stint_restored_socket *sock, struct stint_err *err)
{
    const struct linger at_once = {1, 0};
    int fd = sock->object->fd;

    switch (sock->record->state) {
    case STINT_SOCKET_RESET:
        if (setsockopt(sock->temp, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) < 0)
            return stint_err_set(err, -errno, "reset a connection");
        break;
    case STINT_SOCKET_CLOSED:
        (void)shutdown(sock->temp, SHUT_WR); /* connected: cannot fail */
        (void)stint_socket_wait(fd, POLLRDHUP, 1000); /* bounded; it is on this machine */
        (void)shutdown(fd, SHUT_RDWR); /* likewise */
        (void)stint_socket_wait(fd, POLLHUP, 1000);
        break;
    default:
        break;
    }
    stint_cleanup_close(&sock->temp);
    sock->temp = -1;
    if (sock->record->state == STINT_SOCKET_ENDED)
        (void)stint_socket_wait(fd, POLLRDHUP, 1000); /* bounded; it is on this machine */
    if (sock->record->state == STINT_SOCKET_ENDED
        && (sock->record->shutdown & STINT_SOCKET_SHUT_WRITE))
        (void)shutdown(fd, SHUT_WR); /* connected: cannot fail */
    return 0;
}

static int fill_stream(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                       struct stint_err *err)
{
    const struct stint_restored_socket *peer
        = stint_socket_by_id(sockets, sock->record->peer);
    int from = sock->temp >= 0 ? sock->temp : peer ? peer->object->fd : -1;
    struct stint_socket_piece piece;
    size_t cursor = 0;
    int r = 0;

    if (!is_connection(sock) || stint_remote_is(sock))
        return 0;
    if (sock->object->object->data_len)
        stint_inet_make_room(sock, sock->object->fd);
    while (r == 0 && from >= 0 && stint_socket_next(sock, &cursor, &piece))
        r = send_stream(from, sock->object->fd, piece.bytes, piece.record->len, err);
    return r == 0 && sock->temp >= 0 ? leave(sock, err) : r;
}

/* --- datagrams ------------------------------------------------------------------------------ */

/* Where a datagram for the socket has to be sent to by a sender at `from`. */
static struct address target_of(const struct stint_restored_socket *sock,
                                const struct address *from)
{
    struct address own = {.len = sizeof(own.name)};

    (void)getsockname(sock->object->fd, (struct sockaddr *)&own.name, &own.len); /* exists */
    if (is_wildcard(&own) && own.name.ss_family == from->name.ss_family) {
        uint16_t port = *port_of(&own);

        own = *from; /* an address of this machine, or the sender could not be bound to it */
        *port_of(&own) = port;
    } else if (is_wildcard(&own)) {
        own = replaced(&own, false);
    }
    return own;
}

static int make_sender(const struct stint_restored_socket *sock, const struct address *from,
                       struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = stint_socket_make(sock, err);
    int r;

    if (fd < 0)
        return fd;
    share_port(fd);
    r = try_bind(fd, from);
    return r < 0 ? r : stint_steal_fd(&fd);
}

/* Datagrams get lost, and one whose sender was elsewhere is. */
static void send_datagram(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                          const struct stint_socket_piece *piece)
{
    const struct stint_restored_socket *sender
        = stint_socket_by_id(sockets, piece->record->sender);
    struct address from = address_of(piece->name, piece->record->name_len), to;
    STINT_AUTO_CLOSE int temp = -1;
    char text[80];
    int fd = sender ? sender->object->fd : -1;

    if (fd < 0) {
        fd = temp = make_sender(sock, &from, NULL);
        if (temp < 0)
            goto lost;
    }
    to = target_of(sock, &from);
    if (sendto(fd, piece->bytes, piece->record->len, MSG_DONTWAIT | MSG_NOSIGNAL,
               (const struct sockaddr *)&to.name, to.len)
        >= 0)
        return;
lost:
    stint_restore_note(sockets->restore, "a datagram of %u bytes from %s is lost",
                       piece->record->len, print(&from, text));
}

static int fill_datagrams(struct stint_sockets *sockets, struct stint_restored_socket *sock)
{
    struct stint_socket_piece piece;
    size_t cursor = 0;

    while (stint_socket_next(sock, &cursor, &piece)) {
        if (piece.record->name_len >= sizeof(struct sockaddr_in)
            && piece.record->order == 0) /* else: the sender's group does */
            send_datagram(sockets, sock, &piece);
    }
    return 0;
}

int stint_inet_fill(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                    struct stint_err *err)
{
    return is_tcp(sock) ? fill_stream(sockets, sock, err) : fill_datagrams(sockets, sock);
}

/* --- what comes after ------------------------------------------------------------------------ */

/* How many clients wait to be accepted; -1 when the kernel does not tell: one that is to
 * send something first (TCP_DEFER_ACCEPT) does not count yet. */
static int count_waiting(int listener)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    int deferred = 0;
    socklen_t int_len = sizeof(deferred);

    if (getsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &deferred, &int_len) < 0
        || deferred || getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return -1;
    return (int)info.tcpi_unacked; /* of a listener: the length of its queue */
}

/* connect(2) returns when the client's last packet is on its way. On a busy machine the next
 * client, on another CPU, may overtake it. */
static void wait_until_queued(int listener, int before)
{
    int64_t deadline = now_ms() + QUEUED_MS;
    struct pollfd wait = {-1, 0, 0};

    while (before >= 0 && count_waiting(listener) == before && now_ms() < deadline)
        (void)poll(&wait, 1, 1); /* a listener with others in its queue announces nothing */
}

int stint_inet_connect_pending(struct stint_sockets *sockets,
                               struct stint_restored_socket *sock, struct stint_err *err)
{
    const struct stint_restored_socket *listener
        = stint_socket_by_id(sockets, sock->record->peer);
    struct address to = address_of(sock->peer_name, sock->record->peer_name_len);
    struct address at = {.len = sizeof(at.name)};
    char text[80];
    int r, waiting;

    waiting = count_waiting(listener->object->fd);
    (void)getsockname(listener->object->fd, (struct sockaddr *)&at.name, &at.len); /* bound */
    *port_of(&to) = *port_of(&at);
    r = connect_soon(sock->object->fd, &to);
    if (r == -EADDRNOTAVAIL || r == -ENETUNREACH || r == -ECONNREFUSED) {
        to = replaced(&to, false);
        r = connect_soon(sock->object->fd, &to);
    }
    if (r < 0)
        return stint_err_set(err, r, "connect to %s again", print(&to, text));
    wait_until_queued(listener->object->fd, waiting);
    return 0;
}

/* Does this machine have that address? */
static bool is_here(const struct address *address)
{
    STINT_AUTO_CLOSE int fd = socket(address->name.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct address any_port = *address;

    *port_of(&any_port) = 0;
    return fd >= 0 && try_bind(fd, &any_port) == 0;
}

/* Where a socket's peer is now, when it is one of this group's. */
static struct address peer_address(struct stint_sockets *sockets,
                                   const struct stint_restored_socket *sock)
{
    struct address to = address_of(sock->peer_name, sock->record->peer_name_len);
    const struct stint_restored_socket *peer
        = stint_socket_by_id(sockets, sock->record->peer);
    struct address at = {.len = sizeof(at.name)};

    if (!peer || getsockname(peer->object->fd, (struct sockaddr *)&at.name, &at.len) < 0)
        return to;
    *port_of(&to) = *port_of(&at);
    return is_here(&to) ? to : replaced(&to, false);
}

static void connect_one(struct stint_sockets *sockets, struct stint_restored_socket *sock)
{
    struct address to = peer_address(sockets, sock);
    char text[80];

    if (connect(sock->object->fd, (const struct sockaddr *)&to.name, to.len) == 0
        || errno == EINPROGRESS)
        return;
    stint_restore_note(sockets->restore, "a socket cannot be connected to %s again: %s",
                       print(&to, text), strerror(errno));
}

int stint_inet_connect(struct stint_sockets *sockets, bool late, struct stint_err *err)
{
    int r;

    if (late)
        return 0;
    for (size_t i = 0; i < sockets->count; i++) {
        struct stint_restored_socket *sock = &sockets->list[i];

        if (is_inet(sock) && sock->record->type == SOCK_DGRAM
            && sock->record->state == STINT_SOCKET_CONNECTED && !stint_seek_is(sock)
            && sock->record->peer_name_len >= sizeof(struct sockaddr_in))
            connect_one(sockets, sock);
    }
    r = stint_seek_all(sockets, err);
    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        struct stint_restored_socket *sock = &sockets->list[i];

        if (is_tcp(sock) && sock->record->state == STINT_SOCKET_CONNECTING
            && !stint_seek_is(sock)
            && sock->record->peer_name_len >= sizeof(struct sockaddr_in))
            connect_one(sockets, sock);
    }
    return r;
}
