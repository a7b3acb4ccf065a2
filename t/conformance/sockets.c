/* Conformance: UNIX and internet sockets whose other end is in the job too.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static void put(int fd, const char *text)
{
    CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect(int fd, const char *want)
{
    char buf[256] = "";
    size_t len = 0;

    while (len < strlen(want)) {
        ssize_t got = SYS(read(fd, buf + len, strlen(want) - len));

        CHECK(got > 0);
        len += (size_t)got;
    }
    CHECK_STR(buf, want);
}

static void expect_end(int fd)
{
    char c;

    CHECK_EQ(read(fd, &c, 1), 0);
}

static void expect_nothing(int fd)
{
    char c;

    CHECK_EQ(recv(fd, &c, 1, MSG_DONTWAIT), -1);
    CHECK_EQ(errno, EAGAIN);
}

static void both_ways(int a, int b)
{
    put(a, "from a");
    put(b, "from b");
    expect(a, "from b");
    expect(b, "from a");
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;

    SYS(getsockopt(fd, level, name, &value, &len));
    return value;
}

/* --- UNIX ----------------------------------------------------------------------- */

static socklen_t unix_address(struct sockaddr_un *name, const char *path)
{
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(name->sun_path, sizeof name->sun_path, "%s", path);
    if (path[0] != '@')
        return sizeof *name;
    name->sun_path[0] = '\0'; /* abstract: unique by this process's id */
    (void)snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "conf-%d-%s", getpid(),
                   path + 1);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                       strlen(name->sun_path + 1));
}

static int unix_bound(int type, const char *path)
{
    struct sockaddr_un name;
    int fd = (int)SYS(socket(AF_UNIX, type, 0));

    SYS(bind(fd, (struct sockaddr *)&name, unix_address(&name, path)));
    return fd;
}

static int unix_connected(int type, const char *path)
{
    struct sockaddr_un name;
    int fd = (int)SYS(socket(AF_UNIX, type, 0));

    SYS(connect(fd, (struct sockaddr *)&name, unix_address(&name, path)));
    return fd;
}

CASE(unix_pair_stream)
{
    int s[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    put(s[0], "one ");
    put(s[0], "two");
    put(s[1], "back");
    hold();
    expect(s[1], "one two");
    expect(s[0], "back");
    both_ways(s[0], s[1]);
}

CASE(unix_pair_datagram)
{
    char buf[64];
    int s[2];

    SYS(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    put(s[0], "one");
    put(s[0], "second");
    SYS(send(s[0], "", 0, 0));
    hold();
    CHECK_EQ(recv(s[1], buf, sizeof buf, 0), 3);
    CHECK_EQ(recv(s[1], buf, sizeof buf, 0), 6);
    CHECK_MEM(buf, "second", 6);
    CHECK_EQ(recv(s[1], buf, sizeof buf, 0), 0);
    expect_nothing(s[1]);
    both_ways(s[0], s[1]);
}

CASE(unix_pair_seqpacket)
{
    char buf[64];
    int s[2];

    SYS(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
    put(s[0], "one");
    put(s[0], "second");
    hold();
    CHECK_EQ(recv(s[1], buf, sizeof buf, 0), 3);
    CHECK_EQ(recv(s[1], buf, sizeof buf, 0), 6);
    both_ways(s[0], s[1]);
}

static void echo(void *fds)
{
    int *s = fds;
    char c;

    SYS(close(s[0]));
    while (SYS(read(s[1], &c, 1)) == 1)
        CHECK_EQ(write(s[1], &c, 1), 1);
}

CASE(unix_pair_with_child)
{
    int s[2];
    pid_t pid;

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    pid = child(echo, s);
    SYS(close(s[1]));
    put(s[0], "before");
    expect(s[0], "before");
    hold();
    put(s[0], "after");
    expect(s[0], "after");
    SYS(close(s[0]));
    reap(pid);
}

CASE(unix_pair_half_closed)
{
    int s[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    put(s[0], "last");
    SYS(shutdown(s[0], SHUT_WR));
    hold();
    expect(s[1], "last");
    expect_end(s[1]);
    put(s[1], "answer");
    expect(s[0], "answer");
    CHECK_EQ(send(s[0], "x", 1, MSG_NOSIGNAL), -1);
    CHECK_EQ(errno, EPIPE);
}

CASE(unix_pair_peer_gone)
{
    int s[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    put(s[1], "last");
    SYS(close(s[1]));
    hold();
    expect(s[0], "last");
    expect_end(s[0]);
    CHECK_EQ(send(s[0], "x", 1, MSG_NOSIGNAL), -1);
    CHECK_EQ(errno, EPIPE);
}

CASE(unix_pair_full)
{
    static char buf[4096];
    size_t sent = 0, got = 0;
    int s[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    memset(buf, 'x', sizeof buf);
    for (ssize_t n; (n = send(s[0], buf, sizeof buf, MSG_DONTWAIT)) > 0;)
        sent += (size_t)n;
    hold();
    for (ssize_t n; (n = recv(s[1], buf, sizeof buf, MSG_DONTWAIT)) > 0;)
        got += (size_t)n;
    CHECK_EQ(got, sent);
}

CASE(unix_named_stream)
{
    int listener = unix_bound(SOCK_STREAM, "socket"), client, server;
    struct sockaddr_un name;
    socklen_t len = sizeof name;

    SYS(listen(listener, 5));
    client = unix_connected(SOCK_STREAM, "socket");
    server = (int)SYS(accept(listener, NULL, NULL));
    put(client, "hello");
    hold();
    expect(server, "hello");
    both_ways(client, server);
    SYS(getpeername(client, (struct sockaddr *)&name, &len));
    CHECK_STR(name.sun_path, "socket");
    client = unix_connected(SOCK_STREAM, "socket");
    server = (int)SYS(accept(listener, NULL, NULL));
    both_ways(client, server);
}

CASE(unix_abstract_stream)
{
    int listener = unix_bound(SOCK_STREAM, "@stream"), client, server;

    SYS(listen(listener, 5));
    client = unix_connected(SOCK_STREAM, "@stream");
    server = (int)SYS(accept(listener, NULL, NULL));
    hold();
    both_ways(client, server);
    client = unix_connected(SOCK_STREAM, "@stream");
    server = (int)SYS(accept(listener, NULL, NULL));
    both_ways(client, server);
}

CASE(unix_backlog)
{
    int listener = unix_bound(SOCK_STREAM, "socket"), clients[3], server;

    SYS(listen(listener, 5));
    for (int i = 0; i < 3; i++) {
        clients[i] = unix_connected(SOCK_STREAM, "socket");
        put(clients[i], i == 0 ? "a" : i == 1 ? "b" : "c");
    }
    hold();
    for (int i = 0; i < 3; i++) {
        server = (int)SYS(accept(listener, NULL, NULL));
        expect(server, i == 0 ? "a" : i == 1 ? "b" : "c");
        both_ways(clients[i], server);
    }
}

static void *accepts(void *listener)
{
    int server = (int)SYS(accept(*(int *)listener, NULL, NULL));

    put(server, "welcome");
    return NULL;
}

CASE(unix_accept_blocked)
{
    int listener = unix_bound(SOCK_STREAM, "socket"), client;
    pthread_t id;

    SYS(listen(listener, 5));
    id = thread(accepts, &listener);
    hold();
    client = unix_connected(SOCK_STREAM, "socket");
    expect(client, "welcome");
    PTH(pthread_join(id, NULL));
}

CASE(unix_named_datagram)
{
    struct sockaddr_un name, from;
    socklen_t from_len = sizeof from;
    char buf[16] = "";
    int receiver = unix_bound(SOCK_DGRAM, "receiver"), sender = unix_bound(SOCK_DGRAM, "sender");

    SYS(sendto(sender, "one", 3, 0, (struct sockaddr *)&name, unix_address(&name, "receiver")));
    hold();
    CHECK_EQ(recvfrom(receiver, buf, sizeof buf, 0, (struct sockaddr *)&from, &from_len), 3);
    CHECK_STR(from.sun_path, "sender");
    SYS(sendto(sender, "two", 3, 0, (struct sockaddr *)&name, unix_address(&name, "receiver")));
    CHECK_EQ(recv(receiver, buf, sizeof buf, 0), 3);
    CHECK_STR(buf, "two");
}

CASE(unix_unlinked_name)
{
    int listener = unix_bound(SOCK_STREAM, "socket"), client, server;

    SYS(listen(listener, 5));
    client = unix_connected(SOCK_STREAM, "socket");
    server = (int)SYS(accept(listener, NULL, NULL));
    SYS(unlink("socket"));
    hold();
    both_ways(client, server);
    CHECK_EQ(access("socket", F_OK), -1);
}

static void send_fd(int socket, int fd)
{
    char control[CMSG_SPACE(sizeof fd)] = {0}, byte = 'F';
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
                               .cmsg_len = CMSG_LEN(sizeof fd)};
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    CHECK_EQ(sendmsg(socket, &message, 0), 1);
}

static int receive_fd(int socket)
{
    char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header;
    int fd;

    CHECK_EQ(recvmsg(socket, &message, 0), 1);
    CHECK_EQ(byte, 'F');
    header = CMSG_FIRSTHDR(&message);
    CHECK(header && header->cmsg_type == SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

CASE(unix_descriptor_in_flight)
{
    int s[2], p[2], got;

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    SYS(pipe(p));
    send_fd(s[0], p[0]);
    SYS(close(p[0]));

    CHECK_EQ(write(p[1], "through", 7), 7);
    hold();
    got = receive_fd(s[1]);
    expect(got, "through");
}

CASE(unix_options)
{
    struct timeval limit = {.tv_sec = 77, .tv_usec = 500000}, got;
    socklen_t len = sizeof got;
    int s[2], on = 1, size = 50000, before;

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    SYS(setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    SYS(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    SYS(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SYS(fcntl(s[0], F_SETFL, O_NONBLOCK));
    before = option(s[0], SOL_SOCKET, SO_SNDBUF);
    hold();
    CHECK_EQ(option(s[0], SOL_SOCKET, SO_PASSCRED), 1);
    CHECK_EQ(option(s[1], SOL_SOCKET, SO_PASSCRED), 0);
    CHECK_EQ(option(s[0], SOL_SOCKET, SO_SNDBUF), before);
    SYS(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &got, &len));
    CHECK_EQ(got.tv_sec, 77);
    CHECK(fcntl(s[0], F_GETFL) & O_NONBLOCK);
    CHECK(!(fcntl(s[1], F_GETFL) & O_NONBLOCK));
}

CASE(unix_credentials_of_peer)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    int s[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    hold();
    SYS(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &peer, &len));
    CHECK_EQ(peer.pid, getpid());
    CHECK_EQ(peer.uid, getuid());
    CHECK_EQ(peer.gid, getgid());
}

CASE(unix_unconnected)
{
    int fd = (int)SYS(socket(AF_UNIX, SOCK_STREAM, 0)), listener;

    hold();
    listener = unix_bound(SOCK_STREAM, "socket");
    SYS(listen(listener, 5));
    struct sockaddr_un name;
    SYS(connect(fd, (struct sockaddr *)&name, unix_address(&name, "socket")));
    both_ways(fd, (int)SYS(accept(listener, NULL, NULL)));
}

/* --- internet ------------------------------------------------------------------- */

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t len;
};

static struct address loopback(int family, int port)
{
    struct address to = {.len = family == AF_INET ? sizeof to.v4 : sizeof to.v6};

    if (family == AF_INET)
        to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    else
        to.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                      .sin6_port = htons((uint16_t)port),
                                      .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    return to;
}

static int port_of(int fd)
{
    struct address name = {.len = sizeof name.v6};

    SYS(getsockname(fd, &name.any, &name.len));
    return ntohs(name.v4.sin_port); /* at the same place in both families */
}

static int inet_bound(int family, int type)
{
    struct address at = loopback(family, 0);
    int fd = (int)SYS(socket(family, type, 0));

    if (bind(fd, &at.any, at.len) != 0 && errno == EADDRNOTAVAIL)
        skip("no such loopback address here");
    return fd;
}

static int inet_connected(int family, int type, int port)
{
    struct address to = loopback(family, port);
    int fd = (int)SYS(socket(family, type, 0));

    SYS(connect(fd, &to.any, to.len));
    return fd;
}

static void tcp_pair(int family, int s[3])
{
    s[2] = inet_bound(family, SOCK_STREAM);
    SYS(listen(s[2], 5));
    s[0] = inet_connected(family, SOCK_STREAM, port_of(s[2]));
    s[1] = (int)SYS(accept(s[2], NULL, NULL));
}

static void tcp_goes_on(int family)
{
    int s[3], port, peer;

    tcp_pair(family, s);
    port = port_of(s[2]);
    peer = port_of(s[0]);
    put(s[0], "to the server");
    put(s[1], "to the client");
    hold();
    expect(s[1], "to the server");
    expect(s[0], "to the client");
    both_ways(s[0], s[1]);
    CHECK_EQ(port_of(s[2]), port);
    CHECK_EQ(port_of(s[1]), port);
    CHECK_EQ(port_of(s[0]), peer);
    int client = inet_connected(family, SOCK_STREAM, port);
    both_ways(client, (int)SYS(accept(s[2], NULL, NULL)));
}

CASE(tcp_ipv4)
{
    tcp_goes_on(AF_INET);
}

CASE(tcp_ipv6)
{
    tcp_goes_on(AF_INET6);
}

static void tcp_echo(void *fds)
{
    int *s = fds;
    char buf[4096];
    ssize_t got;

    SYS(close(s[0]));
    SYS(close(s[2]));
    while ((got = SYS(read(s[1], buf, sizeof buf))) > 0)
        CHECK_EQ(write(s[1], buf, (size_t)got), got);
}

CASE(tcp_with_child)
{
    int s[3];
    pid_t pid;

    tcp_pair(AF_INET, s);
    pid = child(tcp_echo, s);
    SYS(close(s[1]));
    put(s[0], "before");
    expect(s[0], "before");
    hold();
    put(s[0], "after");
    expect(s[0], "after");
    SYS(close(s[0]));
    reap(pid);
}

CASE(tcp_many_bytes_in_flight)
{
    static char out[3000000], in[3000000];
    size_t sent = 0, got = 0;
    int s[3];

    tcp_pair(AF_INET, s);
    fill(out, sizeof out, 6);
    for (ssize_t n; sent < sizeof out &&
                    (n = send(s[0], out + sent, sizeof out - sent, MSG_DONTWAIT)) > 0;)
        sent += (size_t)n;
    hold();
    while (got < sent) {
        ssize_t n = SYS(read(s[1], in + got, sent - got));

        CHECK(n > 0);
        got += (size_t)n;
    }
    CHECK(filled(in, got, 6));
    expect_nothing(s[1]);
    both_ways(s[0], s[1]);
}

CASE(tcp_half_closed)
{
    int s[3];

    tcp_pair(AF_INET, s);
    put(s[0], "last");
    SYS(shutdown(s[0], SHUT_WR));
    hold();
    expect(s[1], "last");
    expect_end(s[1]);
    put(s[1], "answer");
    expect(s[0], "answer");
}

CASE(tcp_peer_closed)
{
    int s[3];

    tcp_pair(AF_INET, s);
    put(s[1], "last");
    SYS(close(s[1]));
    hold();
    expect(s[0], "last");
    expect_end(s[0]);
}

CASE(tcp_backlog)
{
    int listener = inet_bound(AF_INET, SOCK_STREAM), clients[2];

    SYS(listen(listener, 5));
    for (int i = 0; i < 2; i++) {
        clients[i] = inet_connected(AF_INET, SOCK_STREAM, port_of(listener));
        put(clients[i], i ? "second" : "first");
    }
    hold();
    for (int i = 0; i < 2; i++) {
        int server = (int)SYS(accept(listener, NULL, NULL));

        expect(server, i ? "second" : "first");
        both_ways(clients[i], server);
    }
}

CASE(tcp_options)
{
    int s[3], on = 1, idle = 123;

    tcp_pair(AF_INET, s);
    SYS(setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    SYS(setsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on));
    SYS(setsockopt(s[0], IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle));
    SYS(setsockopt(s[2], SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    hold();
    CHECK_EQ(option(s[0], IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQ(option(s[1], IPPROTO_TCP, TCP_NODELAY), 0);
    CHECK_EQ(option(s[0], SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ(option(s[0], IPPROTO_TCP, TCP_KEEPIDLE), 123);
    CHECK_EQ(option(s[2], SOL_SOCKET, SO_REUSEADDR), 1);
}

CASE(tcp_listener_alone)
{
    int listener = inet_bound(AF_INET, SOCK_STREAM), port = port_of(listener), client;

    SYS(listen(listener, 7));
    hold();
    CHECK_EQ(port_of(listener), port);
    CHECK_EQ(option(listener, SOL_SOCKET, SO_ACCEPTCONN), 1);
    client = inet_connected(AF_INET, SOCK_STREAM, port);
    both_ways(client, (int)SYS(accept(listener, NULL, NULL)));
}

CASE(udp_bound_with_datagrams)
{
    char buf[64] = "";
    struct address from = {.len = sizeof from.v6};
    int receiver = inet_bound(AF_INET, SOCK_DGRAM), sender = inet_bound(AF_INET, SOCK_DGRAM);
    struct address to = loopback(AF_INET, port_of(receiver));
    int port = port_of(sender);

    SYS(sendto(sender, "one", 3, 0, &to.any, to.len));
    hold();
    CHECK_EQ(recvfrom(receiver, buf, sizeof buf, 0, &from.any, &from.len), 3);
    CHECK_EQ(ntohs(from.v4.sin_port), port);
    SYS(sendto(sender, "two", 3, 0, &to.any, to.len));
    CHECK_EQ(recv(receiver, buf, sizeof buf, 0), 3);
    CHECK_STR(buf, "two");
}

CASE(udp_connected)
{
    int a = inet_bound(AF_INET, SOCK_DGRAM), b = inet_connected(AF_INET, SOCK_DGRAM, port_of(a));
    struct address to = loopback(AF_INET, port_of(b));

    hold();
    SYS(connect(a, &to.any, to.len));
    both_ways(a, b);
}

CASE(unconnected)
{
    int tcp = (int)SYS(socket(AF_INET, SOCK_STREAM, 0)), on = 1, listener;
    int udp = (int)SYS(socket(AF_INET6, SOCK_DGRAM, 0));
    struct address to;

    SYS(setsockopt(tcp, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    hold();
    CHECK_EQ(option(tcp, IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQ(option(udp, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
    listener = inet_bound(AF_INET, SOCK_STREAM);
    SYS(listen(listener, 5));
    to = loopback(AF_INET, port_of(listener));
    SYS(connect(tcp, &to.any, to.len));
    both_ways(tcp, (int)SYS(accept(listener, NULL, NULL)));
}
