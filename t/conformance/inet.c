/* Conformance: TCP, UDP and netlink sockets.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void put(int fd, const char *text)
{
    CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect(int fd, const char *want)
{
    char buf[256] = "";

    CHECK_EQ(recv(fd, buf, strlen(want), MSG_WAITALL), strlen(want));
    CHECK_STR(buf, want);
}

static void expect_end(int fd)
{
    char c;

    CHECK_EQ(recv(fd, &c, 1, 0), 0);
}

static void expect_error(int fd, int error)
{
    char c;

    CHECK_EQ(recv(fd, &c, 1, 0), -1);
    CHECK_EQ(errno, error);
}

static void both_ways(int a, int b)
{
    put(a, "there");
    expect(b, "there");
    put(b, "back");
    expect(a, "back");
}

union name {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

static union name name_of(int fd, bool peer)
{
    union name name;
    socklen_t len = sizeof name;

    memset(&name, 0, sizeof name);
    SYS(peer ? getpeername(fd, &name.any, &len) : getsockname(fd, &name.any, &len));
    return name;
}

static socklen_t size_of(const union name *name)
{
    return name->any.sa_family == AF_INET ? sizeof name->in : sizeof name->in6;
}

static void same_name(int fd, bool peer, const union name *want)
{
    union name name = name_of(fd, peer);

    CHECK_MEM(&name, want, sizeof name);
}

static int bound(int family, int type)
{
    union name name;
    int fd = (int)SYS(socket(family, type, 0));

    memset(&name, 0, sizeof name);
    name.any.sa_family = (sa_family_t)family;
    if (family == AF_INET)
        name.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        name.in6.sin6_addr = in6addr_loopback;
    SYS(bind(fd, &name.any, size_of(&name)));
    return fd;
}

static int listening(int family, int backlog)
{
    int fd = bound(family, SOCK_STREAM);

    SYS(listen(fd, backlog));
    return fd;
}

static int connected(int listener)
{
    union name name = name_of(listener, false);
    int fd = (int)SYS(socket(name.any.sa_family, SOCK_STREAM, 0));

    SYS(connect(fd, &name.any, size_of(&name)));
    return fd;
}

struct link {
    int listener, client, server;
};

static struct link linked(int family)
{
    struct link link = {.listener = listening(family, 8)};

    link.client = connected(link.listener);
    link.server = (int)SYS(accept(link.listener, NULL, NULL));
    return link;
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;

    SYS(getsockopt(fd, level, name, &value, &len));
    return value;
}

static void set_option(int fd, int level, int name, int value)
{
    SYS(setsockopt(fd, level, name, &value, sizeof value));
}

/* --- TCP ----------------------------------------------------------------------------- */

static void names_and_bytes(int family)
{
    struct link link = linked(family);
    union name own = name_of(link.client, false), peer = name_of(link.client, true);

    put(link.client, "to the server");
    put(link.server, "to the client");
    hold();
    same_name(link.client, false, &own);
    same_name(link.client, true, &peer);
    same_name(link.server, false, &peer);
    same_name(link.server, true, &own);
    expect(link.server, "to the server");
    expect(link.client, "to the client");
    both_ways(link.client, link.server);
}

CASE(tcp)
{
    names_and_bytes(AF_INET);
}

CASE(tcp_v6)
{
    names_and_bytes(AF_INET6);
}

CASE(tcp_still_listening)
{
    struct link link = linked(AF_INET);
    int client;

    hold();
    client = connected(link.listener);
    both_ways(client, (int)SYS(accept(link.listener, NULL, NULL)));
    both_ways(link.client, link.server);
}

CASE(tcp_without_listener)
{
    struct link link = linked(AF_INET);

    SYS(close(link.listener));
    put(link.client, "x");
    hold();
    expect(link.server, "x");
    both_ways(link.client, link.server);
}

CASE(tcp_v4_in_v6)
{
    union name name;
    int listener = (int)SYS(socket(AF_INET6, SOCK_STREAM, 0)), client, server;

    memset(&name, 0, sizeof name);
    name.in6.sin6_family = AF_INET6;
    SYS(bind(listener, &name.any, sizeof name.in6));
    SYS(listen(listener, 4));
    name.in.sin_port = name_of(listener, false).in6.sin6_port;
    name.in.sin_family = AF_INET;
    name.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client = (int)SYS(socket(AF_INET, SOCK_STREAM, 0));
    SYS(connect(client, &name.any, sizeof name.in));
    server = (int)SYS(accept(listener, NULL, NULL));
    put(client, "mapped");
    hold();
    expect(server, "mapped");
    name = name_of(server, true);
    CHECK(IN6_IS_ADDR_V4MAPPED(&name.in6.sin6_addr));
    both_ways(client, server);
}

CASE(tcp_many)
{
    enum { N = 30 };
    int listener = listening(AF_INET, 64), client[N], server[N];
    char text[32];

    for (int i = 0; i < N; i++) {
        client[i] = connected(listener);
        server[i] = (int)SYS(accept(listener, NULL, NULL));
        (void)snprintf(text, sizeof text, "number %d", i);
        put(client[i], text);
    }
    hold();
    for (int i = 0; i < N; i++) {
        (void)snprintf(text, sizeof text, "number %d", i);
        expect(server[i], text);
        both_ways(client[i], server[i]);
    }
}

static size_t send_until_full(int fd, const char *buf, size_t len)
{
    size_t done = 0;
    ssize_t n;

    while (done < len && (n = send(fd, buf + done, len - done, MSG_DONTWAIT)) > 0)
        done += (size_t)n;
    return done;
}

static void check_stream(int fd, size_t len, unsigned seed)
{
    char *got = malloc(len + 1);

    CHECK(got != NULL);
    CHECK_EQ(recv(fd, got, len, MSG_WAITALL), len);
    CHECK(filled(got, len, seed));
    free(got);
}

CASE(tcp_window_full)
{
    struct link link = linked(AF_INET);
    size_t len = 64 << 20, there, back;
    char *buf = malloc(len);

    CHECK(buf != NULL);
    fill(buf, len, 5);
    there = send_until_full(link.client, buf, len);
    fill(buf, len, 6);
    back = send_until_full(link.server, buf, len);
    CHECK(there > 100000 && there < len);
    hold();
    check_stream(link.server, there, 5);
    check_stream(link.client, back, 6);
    both_ways(link.client, link.server);
}

CASE(tcp_window_full_at_the_end)
{
    struct link link = linked(AF_INET);
    size_t len = 64 << 20, there;
    char *buf = malloc(len);

    CHECK(buf != NULL);
    fill(buf, len, 5);
    there = send_until_full(link.client, buf, len);
    CHECK(there > 100000 && there < len);
    SYS(shutdown(link.client, SHUT_WR));
    hold();
    check_stream(link.server, there, 5);
    expect_end(link.server);
    put(link.server, "goes on");
    expect(link.client, "goes on");
}

CASE(tcp_small_window_full)
{
    struct link link = linked(AF_INET);
    size_t len = 64 << 20, there;
    char *buf = malloc(len);
    int size;

    CHECK(buf != NULL);
    set_option(link.server, SOL_SOCKET, SO_RCVBUF, 10000);
    /* the kernel's timer lets little at a time through a window below a segment's size */
    set_option(link.client, SOL_SOCKET, SO_SNDBUF, 60000);
    size = option(link.server, SOL_SOCKET, SO_RCVBUF);
    fill(buf, len, 7);
    there = send_until_full(link.client, buf, len);
    CHECK(there > 10000 && there < len);
    hold();
    CHECK_EQ(option(link.server, SOL_SOCKET, SO_RCVBUF), size);
    check_stream(link.server, there, 7);
    both_ways(link.client, link.server);
}

CASE(tcp_grown_buffers)
{
    struct link link = linked(AF_INET);
    size_t len = 64 << 20, there = 0, total = 0;
    char *buf = malloc(len);

    CHECK(buf != NULL);
    /* traffic makes the buffers grow */
    for (int i = 0; i < 200; i++) {
        ssize_t n = send(link.client, buf, 1 << 18, MSG_DONTWAIT);

        while ((n = recv(link.server, buf, 1 << 18, MSG_DONTWAIT)) > 0)
            total += (size_t)n;
    }
    fill(buf, len, 9);
    UNTIL(recv(link.server, buf, 1, MSG_DONTWAIT | MSG_PEEK) == -1 ||
          recv(link.server, buf, 1 << 18, MSG_DONTWAIT) < 0);
    fill(buf, len, 9);
    there = send_until_full(link.client, buf, len);
    hold();
    check_stream(link.server, there, 9);
    both_ways(link.client, link.server);
}

CASE(tcp_half_closed)
{
    struct link link = linked(AF_INET);

    put(link.client, "request");
    SYS(shutdown(link.client, SHUT_WR));
    put(link.server, "answer ");
    hold();
    expect(link.server, "request");
    expect_end(link.server);
    put(link.server, "goes on");
    expect(link.client, "answer goes on");
    CHECK_EQ(send(link.client, "x", 1, MSG_NOSIGNAL), -1);
    CHECK_EQ(errno, EPIPE);
}

CASE(tcp_peer_closed)
{
    struct link link = linked(AF_INET);
    union name peer = name_of(link.client, true);

    put(link.server, "last words");
    SYS(close(link.server));
    hold();
    same_name(link.client, true, &peer);
    expect(link.client, "last words");
    expect_end(link.client);
}

CASE(tcp_both_closed)
{
    struct link link = linked(AF_INET);
    struct pollfd poll_fd = {link.client, POLLIN, 0};

    put(link.server, "rest");
    SYS(shutdown(link.server, SHUT_WR));
    SYS(shutdown(link.client, SHUT_WR));
    CHECK_EQ(poll(&poll_fd, 1, 5000), 1);
    hold();
    expect(link.client, "rest");
    expect_end(link.client);
    expect_end(link.server);
}

CASE(tcp_was_reset)
{
    struct link link = linked(AF_INET);
    const struct linger at_once = {1, 0};

    put(link.server, "data");
    SYS(setsockopt(link.server, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    SYS(close(link.server));
    hold();
    expect(link.client, "data");
    expect_error(link.client, ECONNRESET);
    expect_end(link.client);
}

CASE(tcp_shut_for_reading)
{
    struct link link = linked(AF_INET);

    SYS(shutdown(link.client, SHUT_RD));
    hold();
    expect_end(link.client);
    put(link.client, "out");
    expect(link.server, "out");
}

CASE(tcp_backlog_in_order)
{
    int listener = listening(AF_INET, 8), client[4];

    for (int i = 0; i < 4; i++) {
        client[i] = connected(listener);
        nap();
        nap();
    }
    hold();
    for (int i = 0; i < 4; i++) {
        int server = (int)SYS(accept(listener, NULL, NULL));
        union name name = name_of(client[i], false); /* another's may have its old port */

        same_name(server, true, &name);
        both_ways(client[i], server);
    }
}

CASE(tcp_bound)
{
    int fd = bound(AF_INET, SOCK_STREAM), client;
    union name name = name_of(fd, false);

    hold();
    same_name(fd, false, &name);
    SYS(listen(fd, 3));
    client = connected(fd);
    both_ways(client, (int)SYS(accept(fd, NULL, NULL)));
}

CASE(tcp_fresh)
{
    int listener = listening(AF_INET, 3), fd = (int)SYS(socket(AF_INET, SOCK_STREAM, 0));
    union name name = name_of(listener, false);

    hold();
    expect_error(fd, ENOTCONN);
    SYS(connect(fd, &name.any, size_of(&name)));
    both_ways(fd, (int)SYS(accept(listener, NULL, NULL)));
}

CASE(tcp_refused)
{
    int closed = bound(AF_INET, SOCK_STREAM);
    int fd = (int)SYS(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    union name name = name_of(closed, false);

    CHECK_EQ(connect(fd, &name.any, size_of(&name)), -1);
    hold();
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
}

CASE(tcp_connecting)
{
    /* the queue of this listener is full: a further connection stays half made */
    int listener = listening(AF_INET, 0), fd, first = connected(listener);
    union name name = name_of(listener, false);
    struct pollfd poll_fd;

    fd = (int)SYS(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    CHECK_EQ(connect(fd, &name.any, size_of(&name)), -1);
    CHECK_EQ(errno, EINPROGRESS);
    hold();
    both_ways(first, (int)SYS(accept(listener, NULL, NULL)));
    poll_fd = (struct pollfd){fd, POLLOUT, 0};
    CHECK_EQ(poll(&poll_fd, 1, 20000), 1);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ERROR), 0);
    same_name(fd, true, &name);
}

CASE(tcp_options)
{
    struct link link = linked(AF_INET);
    const struct linger linger = {1, 7};
    struct linger got;
    socklen_t len = sizeof got;
    int rcvbuf;

    set_option(link.client, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(link.client, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(link.client, IPPROTO_TCP, TCP_KEEPIDLE, 77);
    set_option(link.client, IPPROTO_TCP, TCP_KEEPINTVL, 11);
    set_option(link.client, IPPROTO_TCP, TCP_KEEPCNT, 4);
    set_option(link.client, IPPROTO_TCP, TCP_USER_TIMEOUT, 12345);
    set_option(link.client, SOL_SOCKET, SO_RCVBUF, 50000);
    set_option(link.client, IPPROTO_IP, IP_TOS, 0x10);
    set_option(link.server, IPPROTO_TCP, TCP_CORK, 1);
    set_option(link.listener, SOL_SOCKET, SO_REUSEADDR, 1);
    SYS(setsockopt(link.server, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    rcvbuf = option(link.client, SOL_SOCKET, SO_RCVBUF);
    hold();
    CHECK_EQ(option(link.client, IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQ(option(link.server, IPPROTO_TCP, TCP_NODELAY), 0);
    CHECK_EQ(option(link.client, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ(option(link.client, IPPROTO_TCP, TCP_KEEPIDLE), 77);
    CHECK_EQ(option(link.client, IPPROTO_TCP, TCP_KEEPINTVL), 11);
    CHECK_EQ(option(link.client, IPPROTO_TCP, TCP_KEEPCNT), 4);
    CHECK_EQ(option(link.client, IPPROTO_TCP, TCP_USER_TIMEOUT), 12345);
    CHECK_EQ(option(link.client, SOL_SOCKET, SO_RCVBUF), rcvbuf);
    CHECK_EQ(option(link.client, IPPROTO_IP, IP_TOS), 0x10);
    CHECK_EQ(option(link.server, IPPROTO_TCP, TCP_CORK), 1);
    CHECK_EQ(option(link.listener, SOL_SOCKET, SO_REUSEADDR), 1);
    CHECK_EQ(option(link.client, SOL_SOCKET, SO_REUSEADDR), 0);
    SYS(getsockopt(link.server, SOL_SOCKET, SO_LINGER, &got, &len));
    CHECK_EQ(got.l_onoff, 1);
    CHECK_EQ(got.l_linger, 7);
}

CASE(tcp_v6only)
{
    union name name;
    int fd = (int)SYS(socket(AF_INET6, SOCK_STREAM, 0));

    memset(&name, 0, sizeof name);
    name.in6.sin6_family = AF_INET6;
    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    SYS(bind(fd, &name.any, sizeof name.in6));
    SYS(listen(fd, 5));
    name = name_of(fd, false);
    hold();
    CHECK_EQ(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    same_name(fd, false, &name);
}

CASE(tcp_corked)
{
    struct link link = linked(AF_INET);

    set_option(link.client, IPPROTO_TCP, TCP_CORK, 1);
    put(link.client, "held back");
    hold();
    expect(link.server, "held back");
    both_ways(link.server, link.client);
}

CASE(tcp_between_processes)
{
    struct link link = {.listener = listening(AF_INET, 2)};
    pid_t pid = (pid_t)SYS(fork());

    if (pid == 0) {
        link.client = connected(link.listener);
        expect(link.client, "go on");
        put(link.client, "done");
        _exit(0);
    }
    link.server = (int)SYS(accept(link.listener, NULL, NULL));
    await_syscall(pid, pid, SYS_recvfrom);
    hold();
    put(link.server, "go on");
    expect(link.server, "done");
    reap(pid);
}

/* --- UDP ------------------------------------------------------------------------------- */

static void expect_from(int fd, const char *want, const union name *from)
{
    union name name;
    socklen_t len = sizeof name;
    char buf[256] = "";

    memset(&name, 0, sizeof name);
    CHECK_EQ(recvfrom(fd, buf, sizeof buf, MSG_DONTWAIT, &name.any, &len), strlen(want));
    CHECK_STR(buf, want);
    CHECK_MEM(&name, from, sizeof name);
}

static void datagrams(int family)
{
    int box = bound(family, SOCK_DGRAM), a = bound(family, SOCK_DGRAM);
    int b = (int)SYS(socket(family, SOCK_DGRAM, 0)), gone = bound(family, SOCK_DGRAM);
    union name to = name_of(box, false), from_a = name_of(a, false), from_b, from_gone;

    SYS(connect(b, &to.any, size_of(&to)));
    from_b = name_of(b, false);
    from_gone = name_of(gone, false);
    SYS(sendto(a, "one", 3, 0, &to.any, size_of(&to)));
    put(b, "two");
    SYS(sendto(gone, "three", 5, 0, &to.any, size_of(&to)));
    SYS(sendto(a, "", 0, 0, &to.any, size_of(&to)));
    put(b, "five");
    SYS(close(gone));
    hold();
    same_name(b, true, &to);
    same_name(b, false, &from_b);
    expect_from(box, "one", &from_a);
    expect_from(box, "two", &from_b);
    expect_from(box, "three", &from_gone);
    expect_from(box, "", &from_a);
    expect_from(box, "five", &from_b);
    put(b, "six");
    expect_from(box, "six", &from_b);
    SYS(sendto(box, "back", 4, 0, &from_b.any, size_of(&from_b)));
    expect(b, "back");
}

CASE(udp)
{
    datagrams(AF_INET);
}

CASE(udp_v6)
{
    datagrams(AF_INET6);
}

CASE(udp_connected_pair)
{
    int a = bound(AF_INET, SOCK_DGRAM), b = bound(AF_INET, SOCK_DGRAM);
    union name name_a = name_of(a, false), name_b = name_of(b, false);

    SYS(connect(a, &name_b.any, size_of(&name_b)));
    SYS(connect(b, &name_a.any, size_of(&name_a)));
    put(a, "x1");
    put(b, "y1");
    put(a, "x2");
    hold();
    expect_from(b, "x1", &name_a);
    expect_from(b, "x2", &name_a);
    expect_from(a, "y1", &name_b);
    both_ways(a, b);
}

CASE(udp_options)
{
    int fd = bound(AF_INET, SOCK_DGRAM);

    set_option(fd, SOL_SOCKET, SO_BROADCAST, 1);
    set_option(fd, SOL_SOCKET, SO_TIMESTAMP, 1);
    set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
    set_option(fd, IPPROTO_IP, IP_TTL, 9);
    set_option(fd, IPPROTO_IP, IP_MULTICAST_TTL, 5);
    hold();
    CHECK_EQ(option(fd, SOL_SOCKET, SO_BROADCAST), 1);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_TIMESTAMP), 1);
    CHECK_EQ(option(fd, IPPROTO_IP, IP_PKTINFO), 1);
    CHECK_EQ(option(fd, IPPROTO_IP, IP_TTL), 9);
    CHECK_EQ(option(fd, IPPROTO_IP, IP_MULTICAST_TTL), 5);
}

CASE(udp_unbound)
{
    int box = bound(AF_INET, SOCK_DGRAM), fd = (int)SYS(socket(AF_INET, SOCK_DGRAM, 0));
    union name to = name_of(box, false);

    hold();
    CHECK_EQ(name_of(fd, false).in.sin_port, 0);
    SYS(sendto(fd, "x", 1, 0, &to.any, size_of(&to)));
    expect(box, "x");
}

/* --- netlink ------------------------------------------------------------------------------ */

CASE(netlink)
{
    struct sockaddr_nl name = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK}, got;
    socklen_t len = sizeof name;
    struct {
        struct nlmsghdr head;
        struct ifinfomsg info;
    } request = {{sizeof request, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0},
                 {.ifi_family = AF_UNSPEC}};
    char buf[8192];
    int fd = (int)SYS(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));

    SYS(bind(fd, (void *)&name, sizeof name));
    SYS(getsockname(fd, (void *)&name, &len));
    set_option(fd, 270 /* SOL_NETLINK */, NETLINK_EXT_ACK, 1);
    hold();
    len = sizeof got;
    SYS(getsockname(fd, (void *)&got, &len));
    CHECK_EQ(got.nl_groups, name.nl_groups);
    CHECK_EQ(got.nl_pid, name.nl_pid);
    SYS(send(fd, &request, sizeof request, 0));
    CHECK(SYS(recv(fd, buf, sizeof buf, 0)) > (long)sizeof(struct nlmsghdr));
}
