/* Conformance: UNIX sockets.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NAME_AT offsetof(struct sockaddr_un, sun_path)

static void put(int fd, const char *text)
{
    CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect(int fd, const char *want)
{
    char buf[256] = "";

    CHECK_EQ(recv(fd, buf, sizeof buf - 1, 0), strlen(want));
    CHECK_STR(buf, want);
}

static void expect_end(int fd)
{
    char c;

    CHECK_EQ(recv(fd, &c, 1, 0), 0);
}

static void expect_empty(int fd)
{
    char c;

    CHECK_EQ(recv(fd, &c, 1, MSG_DONTWAIT), -1);
    CHECK_EQ(errno, EAGAIN);
}

static void both_ways(int a, int b)
{
    put(a, "there");
    expect(b, "there");
    put(b, "back");
    expect(a, "back");
}

static socklen_t path_name(struct sockaddr_un *un, const char *path)
{
    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    CHECK(strlen(path) < sizeof un->sun_path);
    memcpy(un->sun_path, path, strlen(path) + 1);
    return (socklen_t)(NAME_AT + strlen(path) + 1);
}

/* Abstract, and this process's only. */
static socklen_t abstract_name(struct sockaddr_un *un, const char *what)
{
    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    return (socklen_t)NAME_AT + 1
           + (socklen_t)snprintf(un->sun_path + 1, sizeof un->sun_path - 1, "conf.%s.%d", what,
                                 (int)getpid());
}

static int bound(int type, const struct sockaddr_un *un, socklen_t len)
{
    int fd = (int)SYS(socket(AF_UNIX, type, 0));

    SYS(bind(fd, (const void *)un, len));
    return fd;
}

static int connected(int type, const struct sockaddr_un *un, socklen_t len)
{
    int fd = (int)SYS(socket(AF_UNIX, type, 0));

    SYS(connect(fd, (const void *)un, len));
    return fd;
}

/* A connection that is made now. */
static void meet(int listener, int type, const struct sockaddr_un *un, socklen_t len)
{
    int client = connected(type, un, len);

    both_ways(client, (int)SYS(accept(listener, NULL, NULL)));
}

static void check_name(int fd, bool peer, const struct sockaddr_un *want, socklen_t want_len)
{
    struct sockaddr_un un = {0};
    socklen_t len = sizeof un;

    SYS(peer ? getpeername(fd, (void *)&un, &len) : getsockname(fd, (void *)&un, &len));
    CHECK_EQ(len, want_len);
    CHECK_MEM(&un, want, want_len);
}

static void send_fd(int via, const char *text, int fd)
{
    union {
        struct cmsghdr c;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                       .msg_controllen = sizeof control};

    memset(&control, 0, sizeof control);
    control.c.cmsg_level = SOL_SOCKET;
    control.c.cmsg_type = SCM_RIGHTS;
    control.c.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.c), &fd, sizeof fd);
    CHECK_EQ(sendmsg(via, &m, 0), strlen(text));
}

/* Returns the descriptor that came along, or -1. */
static int take_fd(int via, const char *want)
{
    union {
        struct cmsghdr c;
        char bytes[CMSG_SPACE(sizeof(int) * 4)];
    } control;
    char buf[64] = "";
    struct iovec iov = {buf, sizeof buf - 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                       .msg_controllen = sizeof control};
    int fd = -1;

    CHECK_EQ(recvmsg(via, &m, 0), strlen(want));
    CHECK_STR(buf, want);
    if (m.msg_controllen >= sizeof(struct cmsghdr) && control.c.cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(&control.c), sizeof fd);
    return fd;
}

static int option(int fd, int name)
{
    int value = -1;
    socklen_t len = sizeof value;

    SYS(getsockopt(fd, SOL_SOCKET, name, &value, &len));
    return value;
}

static void set_option(int fd, int name, int value)
{
    SYS(setsockopt(fd, SOL_SOCKET, name, &value, sizeof value));
}

/* --- pairs ------------------------------------------------------------------------ */

CASE(pair_stream)
{
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    put(p[0], "one ");
    put(p[0], "two");
    put(p[1], "three");
    hold();
    expect(p[1], "one two");
    expect(p[0], "three");
    both_ways(p[0], p[1]);
}

CASE(pair_datagram)
{
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
    put(p[0], "one");
    CHECK_EQ(send(p[0], "", 0, 0), 0);
    put(p[0], "three");
    put(p[1], "four");
    hold();
    expect(p[1], "one");
    expect(p[1], "");
    expect(p[1], "three");
    expect_empty(p[1]);
    expect(p[0], "four");
    both_ways(p[0], p[1]);
}

CASE(pair_seqpacket)
{
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p));
    put(p[0], "one");
    CHECK_EQ(send(p[0], "", 0, 0), 0);
    put(p[0], "three");
    put(p[1], "four");
    hold();
    expect(p[1], "one");
    expect(p[1], "");
    expect(p[1], "three");
    expect_empty(p[1]);
    expect(p[0], "four");
    both_ways(p[0], p[1]);
}

CASE(pair_empty)
{
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p));
    hold();
    CHECK(fcntl(p[0], F_GETFL) & O_NONBLOCK);
    expect_empty(p[0]);
    both_ways(p[0], p[1]);
}

CASE(stream_full)
{
    static char buf[4 << 20], got[sizeof buf];
    size_t len = 0, back = 0;
    ssize_t n;
    int p[2];

    fill(buf, sizeof buf, 7);
    SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p));
    while (len < sizeof buf && (n = write(p[0], buf + len, 3000)) > 0)
        len += (size_t)n;
    CHECK_EQ(errno, EAGAIN);
    hold();
    CHECK_EQ(ioctl(p[1], FIONREAD, &n), 0);
    CHECK_EQ((int)n, len);
    while ((n = read(p[1], got + back, sizeof got - back)) > 0)
        back += (size_t)n;
    CHECK_EQ(back, len);
    CHECK(filled(got, back, 7));
    both_ways(p[0], p[1]);
}

CASE(datagram_large)
{
    static char buf[150000], got[200000];
    int p[2];

    fill(buf, sizeof buf, 3);
    SYS(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
    CHECK_EQ(send(p[0], buf, sizeof buf, 0), sizeof buf);
    put(p[0], "small");
    hold();
    CHECK_EQ(recv(p[1], got, sizeof got, 0), sizeof buf);
    CHECK(filled(got, sizeof buf, 3));
    expect(p[1], "small");
}

CASE(partly_read)
{
    char buf[4] = "";
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    put(p[0], "abcdefgh");
    CHECK_EQ(read(p[1], buf, 3), 3);
    hold();
    expect(p[1], "defgh");
}

CASE(shared_by_dup_and_fork)
{
    int p[2], copy;
    pid_t pid;

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    copy = (int)SYS(dup(p[1]));
    pid = (pid_t)SYS(fork());
    if (pid == 0) {
        while (!held_no_more())
            nap();
        put(p[0], "child");
        SYS(fcntl(p[1], F_SETFL, O_NONBLOCK));
        mark("child.done");
        _exit(0);
    }
    hold();
    await("child.done");
    expect(copy, "child");
    CHECK(fcntl(p[1], F_GETFL) & O_NONBLOCK);
    reap(pid);
}

/* --- ends ------------------------------------------------------------------------- */

CASE(peer_closed)
{
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    put(p[0], "last words");
    SYS(close(p[0]));
    hold();
    expect(p[1], "last words");
    expect_end(p[1]);
    CHECK_EQ(send(p[1], "x", 1, MSG_NOSIGNAL), -1);
    CHECK_EQ(errno, EPIPE);
}

CASE(peer_closed_unread)
{
    char c;
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    put(p[1], "never read");
    put(p[0], "last");
    SYS(close(p[0]));
    hold();
    expect(p[1], "last");
    CHECK_EQ(recv(p[1], &c, 1, 0), -1);
    CHECK_EQ(errno, ECONNRESET);
    expect_end(p[1]);
}

CASE(seqpacket_peer_closed)
{
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p));
    put(p[0], "last");
    SYS(close(p[0]));
    hold();
    expect(p[1], "last");
    expect_end(p[1]);
}

CASE(shutdown_write)
{
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    put(p[0], "all");
    SYS(shutdown(p[0], SHUT_WR));
    hold();
    expect(p[1], "all");
    expect_end(p[1]);
    put(p[1], "still");
    expect(p[0], "still");
    CHECK_EQ(send(p[0], "x", 1, MSG_NOSIGNAL), -1);
    CHECK_EQ(errno, EPIPE);
}

CASE(shutdown_read)
{
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    SYS(shutdown(p[0], SHUT_RD));
    hold();
    expect_end(p[0]);
    CHECK_EQ(send(p[1], "x", 1, MSG_NOSIGNAL), -1);
    CHECK_EQ(errno, EPIPE);
    put(p[0], "out");
    expect(p[1], "out");
}

CASE(shutdown_both)
{
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    put(p[0], "rest");
    SYS(shutdown(p[0], SHUT_RDWR));
    hold();
    expect(p[1], "rest");
    expect_end(p[1]);
    expect_end(p[0]);
    CHECK_EQ(send(p[1], "x", 1, MSG_NOSIGNAL), -1);
}

CASE(datagram_peer_closed)
{
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
    put(p[0], "last");
    SYS(close(p[0]));
    hold();
    expect(p[1], "last");
    CHECK_EQ(send(p[1], "x", 1, 0), -1);
    CHECK(errno == ECONNREFUSED || errno == ECONNRESET);
}

/* --- names ------------------------------------------------------------------------ */

CASE(named_stream)
{
    struct sockaddr_un un, none = {.sun_family = AF_UNIX};
    socklen_t len = path_name(&un, "named");
    int l = bound(SOCK_STREAM, &un, len), c, s;

    SYS(listen(l, 7));
    c = connected(SOCK_STREAM, &un, len);
    s = (int)SYS(accept(l, NULL, NULL));
    put(c, "request");
    hold();
    check_name(s, false, &un, len);
    check_name(c, true, &un, len);
    check_name(s, true, &none, NAME_AT);
    expect(s, "request");
    both_ways(c, s);
    c = connected(SOCK_STREAM, &un, len);
    s = (int)SYS(accept(l, NULL, NULL));
    both_ways(c, s);
}

CASE(named_by_full_path)
{
    char path[90];
    struct sockaddr_un un;
    struct stat st;
    socklen_t len;
    int l, c;

    CHECK(getcwd(path, sizeof path - 10) != NULL);
    strcat(path, "/sock");
    len = path_name(&un, path);
    l = bound(SOCK_STREAM, &un, len);
    SYS(chmod(path, 0640));
    SYS(listen(l, 3));
    hold();
    SYS(stat(path, &st));
    CHECK_EQ(st.st_mode & 07777, 0640);
    c = connected(SOCK_STREAM, &un, len);
    both_ways(c, (int)SYS(accept(l, NULL, NULL)));
}

CASE(unlinked_path)
{
    struct sockaddr_un un;
    socklen_t len = path_name(&un, "gone");
    int l = bound(SOCK_STREAM, &un, len), c, s;

    SYS(listen(l, 3));
    c = connected(SOCK_STREAM, &un, len);
    s = (int)SYS(accept(l, NULL, NULL));
    SYS(unlink("gone"));
    hold();
    check_name(l, false, &un, len);
    check_name(s, false, &un, len);
    CHECK_EQ(access("gone", F_OK), -1);
    both_ways(c, s);
}

CASE(two_sockets_of_one_path)
{
    struct sockaddr_un un;
    socklen_t len = path_name(&un, "path");
    int old = bound(SOCK_DGRAM, &un, len), to_old = connected(SOCK_DGRAM, &un, len), fresh;
    int to_fresh;

    SYS(unlink("path"));
    fresh = bound(SOCK_DGRAM, &un, len);
    to_fresh = connected(SOCK_DGRAM, &un, len);
    put(to_old, "first");
    hold();
    expect(old, "first");
    put(to_old, "old");
    put(to_fresh, "fresh");
    expect(old, "old");
    expect(fresh, "fresh");
}

CASE(abstract_stream)
{
    struct sockaddr_un un;
    socklen_t len = abstract_name(&un, "stream");
    int l = bound(SOCK_STREAM, &un, len), c, s;

    SYS(listen(l, 3));
    c = connected(SOCK_STREAM, &un, len);
    s = (int)SYS(accept(l, NULL, NULL));
    put(s, "answer");
    hold();
    check_name(l, false, &un, len);
    check_name(c, true, &un, len);
    expect(c, "answer");
    both_ways(c, s);
    meet(l, SOCK_STREAM, &un, len);
}

CASE(autobound)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX}, from = {0};
    socklen_t len = NAME_AT, from_len = sizeof from;
    int a = bound(SOCK_DGRAM, &un, len), b = (int)SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
    char c;

    len = sizeof un;
    SYS(getsockname(a, (void *)&un, &len));
    CHECK_EQ(len, NAME_AT + 6);
    hold();
    check_name(a, false, &un, len);
    SYS(sendto(b, "x", 1, 0, (void *)&un, len));
    CHECK_EQ(recvfrom(a, &c, 1, 0, (void *)&from, &from_len), 1);
}

CASE(bound_client)
{
    struct sockaddr_un un, own;
    socklen_t len = path_name(&un, "server"), own_len = path_name(&own, "client");
    int l = bound(SOCK_SEQPACKET, &un, len), c, s;

    SYS(listen(l, 3));
    c = bound(SOCK_SEQPACKET, &own, own_len);
    SYS(connect(c, (void *)&un, len));
    s = (int)SYS(accept(l, NULL, NULL));
    put(c, "m1");
    put(c, "m2");
    hold();
    check_name(s, true, &own, own_len);
    check_name(c, false, &own, own_len);
    expect(s, "m1");
    expect(s, "m2");
    both_ways(c, s);
}

CASE(bound_not_listening)
{
    struct sockaddr_un un;
    socklen_t len = path_name(&un, "later");
    int l = bound(SOCK_STREAM, &un, len);

    hold();
    SYS(listen(l, 3));
    meet(l, SOCK_STREAM, &un, len);
}

CASE(stale_path_is_replaced)
{
    struct sockaddr_un un;
    socklen_t len = path_name(&un, "stale");
    int l = bound(SOCK_STREAM, &un, len), c;

    SYS(listen(l, 1));
    hold();
    c = connected(SOCK_STREAM, &un, len);
    both_ways(c, (int)SYS(accept(l, NULL, NULL)));
    SYS(unlink("stale"));
}

/* --- listeners --------------------------------------------------------------------- */

CASE(backlog)
{
    struct sockaddr_un un, own;
    socklen_t len = path_name(&un, "queue");
    int l = bound(SOCK_STREAM, &un, len), c[4];

    SYS(listen(l, 8));
    for (int i = 0; i < 4; i++) {
        char name[8];

        (void)snprintf(name, sizeof name, "c%d", i);
        c[i] = bound(SOCK_STREAM, &own, path_name(&own, name));
        SYS(connect(c[i], (void *)&un, len));
    }
    hold();
    for (int i = 0; i < 4; i++) {
        int s = (int)SYS(accept(l, NULL, NULL));
        char name[8];

        (void)snprintf(name, sizeof name, "c%d", i);
        check_name(s, true, &own, path_name(&own, name));
        both_ways(c[i], s);
    }
    SYS(fcntl(l, F_SETFL, O_NONBLOCK));
    CHECK_EQ(accept(l, NULL, NULL), -1);
    CHECK_EQ(errno, EAGAIN);
}

CASE(backlog_length)
{
    struct sockaddr_un un;
    socklen_t len = abstract_name(&un, "length");
    int l = bound(SOCK_STREAM, &un, len), c;

    SYS(listen(l, 1));
    hold();
    for (int i = 0; i < 2; i++)
        (void)connected(SOCK_STREAM, &un, len);
    c = (int)SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    CHECK_EQ(connect(c, (void *)&un, len), -1);
    CHECK_EQ(errno, EAGAIN);
}

CASE(backlog_half_closed)
{
    struct sockaddr_un un;
    socklen_t len = abstract_name(&un, "half");
    int l = bound(SOCK_STREAM, &un, len), c, s;

    SYS(listen(l, 3));
    c = connected(SOCK_STREAM, &un, len);
    SYS(shutdown(c, SHUT_WR));
    hold();
    s = (int)SYS(accept(l, NULL, NULL));
    expect_end(s);
    put(s, "answer");
    expect(c, "answer");
}

/* --- datagrams ---------------------------------------------------------------------- */

CASE(datagram_named_senders)
{
    struct sockaddr_un un, own, from;
    socklen_t len = path_name(&un, "box"), own_len, from_len = sizeof from;
    int box = bound(SOCK_DGRAM, &un, len), kept, gone;
    char buf[16];

    own_len = path_name(&own, "kept");
    kept = bound(SOCK_DGRAM, &own, own_len);
    gone = bound(SOCK_DGRAM, &own, path_name(&own, "dead"));
    SYS(sendto(kept, "1", 1, 0, (void *)&un, len));
    SYS(sendto(gone, "2", 1, 0, (void *)&un, len));
    SYS(close(gone));
    SYS(sendto((int)SYS(socket(AF_UNIX, SOCK_DGRAM, 0)), "3", 1, 0, (void *)&un, len));
    hold();
    CHECK_EQ(recvfrom(box, buf, sizeof buf, 0, (void *)&from, &from_len), 1);
    CHECK_EQ(buf[0], '1');
    CHECK_STR(from.sun_path, "kept");
    from_len = sizeof from;
    CHECK_EQ(recvfrom(box, buf, sizeof buf, 0, (void *)&from, &from_len), 1);
    CHECK_EQ(buf[0], '2');
    CHECK_STR(from.sun_path, "dead");
    from_len = sizeof from;
    CHECK_EQ(recvfrom(box, buf, sizeof buf, 0, (void *)&from, &from_len), 1);
    CHECK_EQ(buf[0], '3');
    CHECK(from_len <= NAME_AT);
    SYS(sendto(box, "back", 4, 0, (void *)&own, path_name(&own, "kept")));
    expect(kept, "back");
}

CASE(datagram_connected)
{
    struct sockaddr_un un;
    socklen_t len = abstract_name(&un, "dgram");
    int box = bound(SOCK_DGRAM, &un, len), a, b;

    a = connected(SOCK_DGRAM, &un, len);
    b = connected(SOCK_DGRAM, &un, len);
    put(a, "from a");
    put(b, "from b");
    put(a, "again");
    hold();
    expect(box, "from a");
    expect(box, "from b");
    expect(box, "again");
    put(a, "new");
    expect(box, "new");
    check_name(b, true, &un, len);
}

CASE(datagram_queue_full)
{
    int p[2], n = 0, m = 0;
    char buf[8];

    SYS(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, p));
    while (n < 2000 && send(p[0], &n, sizeof n, 0) == sizeof n)
        n++;
    hold();
    CHECK_EQ(send(p[0], &n, sizeof n, 0), -1);
    CHECK_EQ(errno, EAGAIN);
    for (; m < n; m++) {
        CHECK_EQ(recv(p[1], buf, sizeof buf, 0), sizeof m);
        CHECK_MEM(buf, &m, sizeof m);
    }
    expect_empty(p[1]);
}

/* --- descriptors under way ------------------------------------------------------------ */

CASE(rights_in_flight)
{
    int p[2], fd = (int)SYS(open("file", O_RDWR | O_CREAT, 0600)), got;
    char buf[8] = "";

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    CHECK_EQ(write(fd, "contents", 8), 8);
    SYS(lseek(fd, 3, SEEK_SET));
    put(p[0], "before");
    send_fd(p[0], "fd", fd);
    put(p[0], "after");
    SYS(close(fd));
    hold();
    CHECK_EQ(recv(p[1], buf, 6, 0), 6);
    got = take_fd(p[1], "fd");
    CHECK(got >= 0);
    CHECK_EQ(read(got, buf, 5), 5);
    CHECK_MEM(buf, "tents", 5);
    expect(p[1], "after");
}

CASE(rights_share_an_offset)
{
    int p[2], fd = (int)SYS(open("file", O_RDWR | O_CREAT, 0600)), got;

    SYS(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p));
    CHECK_EQ(write(fd, "contents", 8), 8);
    send_fd(p[0], "fd", fd);
    hold();
    got = take_fd(p[1], "fd");
    CHECK_EQ(lseek(got, 0, SEEK_CUR), 8);
    SYS(lseek(fd, 2, SEEK_SET));
    CHECK_EQ(lseek(got, 0, SEEK_CUR), 2);
}

CASE(rights_nested)
{
    int p[2], q[2], in, out;

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    SYS(socketpair(AF_UNIX, SOCK_DGRAM, 0, q));
    put(q[0], "deep");
    send_fd(q[0], "self", q[0]);
    send_fd(p[0], "a", q[1]);
    send_fd(p[0], "b", p[0]);
    SYS(close(q[0]));
    SYS(close(q[1]));
    SYS(close(p[0]));
    hold();
    in = take_fd(p[1], "a");
    out = take_fd(p[1], "b");
    CHECK(in >= 0 && out >= 0);
    put(out, "alive");
    expect(p[1], "alive");
    expect(in, "deep");
    out = take_fd(in, "self");
    put(out, "sent");
    expect(in, "sent");
}

CASE(rights_of_a_pipe)
{
    int p[2], pipe_fds[2], got;
    char buf[8] = "";

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    SYS(pipe(pipe_fds));
    CHECK_EQ(write(pipe_fds[1], "inpipe", 6), 6);
    send_fd(p[0], "r", pipe_fds[0]);
    SYS(close(pipe_fds[0]));
    hold();
    got = take_fd(p[1], "r");
    SYS(close(pipe_fds[1]));
    CHECK_EQ(read(got, buf, 8), 6);
    CHECK_EQ(read(got, buf, 8), 0);
}

/* --- credentials ---------------------------------------------------------------------- */

static struct ucred take_credentials(int via)
{
    union {
        struct cmsghdr c;
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct ucred credentials = {0};
    char buf[16];
    struct iovec iov = {buf, sizeof buf};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                       .msg_controllen = sizeof control};

    CHECK(SYS(recvmsg(via, &m, 0)) > 0);
    CHECK(m.msg_controllen >= sizeof control.c && control.c.cmsg_type == SCM_CREDENTIALS);
    memcpy(&credentials, CMSG_DATA(&control.c), sizeof credentials);
    return credentials;
}

CASE(credentials_of_messages)
{
    struct ucred credentials;
    int p[2];
    pid_t pid;

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    set_option(p[1], SO_PASSCRED, 1);
    put(p[0], "mine");
    pid = (pid_t)SYS(fork());
    if (pid == 0) {
        put(p[0], "child's");
        mark("sent");
        while (!held_no_more())
            nap();
        await("done");
        _exit(0);
    }
    await("sent");
    hold();
    credentials = take_credentials(p[1]);
    CHECK_EQ(credentials.pid, getpid());
    CHECK_EQ(credentials.uid, getuid());
    credentials = take_credentials(p[1]);
    CHECK_EQ(credentials.pid, pid);
    mark("done");
    reap(pid);
}

CASE(credentials_of_a_pair)
{
    struct ucred credentials = {0};
    socklen_t len = sizeof credentials;
    int p[2];

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    hold();
    SYS(getsockopt(p[0], SOL_SOCKET, SO_PEERCRED, &credentials, &len));
    CHECK_EQ(credentials.pid, getpid());
    CHECK_EQ(credentials.uid, getuid());
    CHECK_EQ(credentials.gid, getgid());
}

CASE(credentials_of_ends)
{
    struct sockaddr_un un;
    struct ucred credentials = {0};
    socklen_t len = path_name(&un, "server"), size = sizeof credentials;
    int l = bound(SOCK_STREAM, &un, len), s;
    pid_t pid;

    SYS(listen(l, 2));
    pid = (pid_t)SYS(fork());
    if (pid == 0) {
        int c = connected(SOCK_STREAM, &un, len);

        while (!held_no_more())
            nap();
        SYS(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &credentials, &size));
        CHECK_EQ(credentials.pid, getppid());
        expect_end(c);
        _exit(0);
    }
    s = (int)SYS(accept(l, NULL, NULL));
    hold();
    SYS(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &credentials, &size));
    CHECK_EQ(credentials.pid, pid);
    SYS(getsockopt(l, SOL_SOCKET, SO_PEERCRED, &credentials, &size));
    CHECK_EQ(credentials.pid, getpid());
    SYS(shutdown(s, SHUT_RDWR));
    reap(pid);
}

CASE(credentials_of_another)
{
    /* a pair that neither its holder nor anybody alive has made, and one of the parent's */
    struct ucred credentials = {0};
    socklen_t len = sizeof credentials;
    int ours[2], theirs[2], p[2];
    pid_t self = getpid(), maker, holder = 0;

    SYS(pipe(p));
    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, ours));
    maker = (pid_t)SYS(fork());
    if (maker == 0) {
        SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, theirs));
        maker = getpid();
        holder = (pid_t)SYS(fork());
        if (holder != 0) {
            CHECK_EQ(write(p[1], &holder, sizeof holder), sizeof holder);
            _exit(0);
        }
        mark("held");
        while (!held_no_more())
            nap();
        SYS(getsockopt(theirs[0], SOL_SOCKET, SO_PEERCRED, &credentials, &len));
        CHECK_EQ(credentials.pid, maker);
        SYS(getsockopt(ours[1], SOL_SOCKET, SO_PEERCRED, &credentials, &len));
        put(ours[0], credentials.pid == self ? "right" : "wrong");
        _exit(0);
    }
    CHECK_EQ(read(p[0], &holder, sizeof holder), sizeof holder);
    reap(maker);
    await("held");
    SYS(close(ours[0]));
    hold();
    expect(ours[1], "right");
}

/* --- options ----------------------------------------------------------------------------- */

CASE(options)
{
    const struct timeval second = {3, 500000};
    struct timeval got;
    socklen_t len = sizeof got;
    int p[2], sndbuf, rcvbuf, standard;

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    standard = option(p[1], SO_SNDBUF);
    set_option(p[0], SO_SNDBUF, 20000);
    set_option(p[0], SO_RCVBUF, 30000);
    set_option(p[0], SO_PASSCRED, 1);
    set_option(p[0], SO_PRIORITY, 3);
    SYS(setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second));
    SYS(setsockopt(p[0], SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second));
    set_option(p[1], SO_PEEK_OFF, 5);
    sndbuf = option(p[0], SO_SNDBUF);
    rcvbuf = option(p[0], SO_RCVBUF);
    hold();
    CHECK_EQ(option(p[0], SO_SNDBUF), sndbuf);
    CHECK_EQ(option(p[0], SO_RCVBUF), rcvbuf);
    CHECK_EQ(option(p[1], SO_SNDBUF), standard);
    CHECK_EQ(option(p[0], SO_PASSCRED), 1);
    CHECK_EQ(option(p[1], SO_PASSCRED), 0);
    CHECK_EQ(option(p[0], SO_PRIORITY), 3);
    CHECK_EQ(option(p[1], SO_PEEK_OFF), 5);
    CHECK_EQ(option(p[0], SO_PEEK_OFF), -1);
    SYS(getsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &got, &len));
    CHECK_EQ(got.tv_sec * 1000000 + got.tv_usec, 3500000);
    SYS(getsockopt(p[0], SOL_SOCKET, SO_SNDTIMEO, &got, &len));
    CHECK_EQ(got.tv_sec * 1000000 + got.tv_usec, 3500000);
}

CASE(blocked_reader)
{
    int p[2];
    pid_t pid;

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    pid = (pid_t)SYS(fork());
    if (pid == 0) {
        expect(p[1], "wake up");
        _exit(0);
    }
    await_syscall(pid, pid, SYS_recvfrom);
    hold();
    put(p[0], "wake up");
    reap(pid);
}

CASE(polled)
{
    int p[2];
    struct pollfd poll_fd;

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    put(p[0], "x");
    hold();
    poll_fd = (struct pollfd){p[1], POLLIN | POLLOUT, 0};
    CHECK_EQ(poll(&poll_fd, 1, 0), 1);
    CHECK_EQ(poll_fd.revents, POLLIN | POLLOUT);
    poll_fd = (struct pollfd){p[0], POLLIN, 0};
    CHECK_EQ(poll(&poll_fd, 1, 0), 0);
}

CASE(asynchronous)
{
    sigset_t set;
    siginfo_t info;
    int p[2];

    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    SYS(sigprocmask(SIG_BLOCK, &set, NULL));
    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    SYS(fcntl(p[1], F_SETOWN, getpid()));
    SYS(fcntl(p[1], F_SETFL, O_ASYNC));
    hold();
    CHECK_EQ(fcntl(p[1], F_GETOWN), getpid());
    CHECK(fcntl(p[1], F_GETFL) & O_ASYNC);
    put(p[0], "x");
    CHECK_EQ(sigwaitinfo(&set, &info), SIGIO);
}
