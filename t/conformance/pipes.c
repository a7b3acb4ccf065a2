/* Conformance: pipes and what is in them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <poll.h>
#include <sys/ioctl.h>

static void put(int fd, const char *text)
{
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
}

static void expect(int fd, const char *want)
{
    char buf[256] = "";

    CHECK_EQ(read(fd, buf, strlen(want)), strlen(want));
    CHECK_STR(buf, want);
}

static int waiting(int fd)
{
    int bytes = -1;

    SYS(ioctl(fd, FIONREAD, &bytes));
    return bytes;
}

CASE(bytes)
{
    int p[2];

    SYS(pipe(p));
    put(p[1], "hello ");
    put(p[1], "world");
    hold();
    CHECK_EQ(waiting(p[0]), 11);
    expect(p[0], "hello world");
    put(p[1], "again");
    expect(p[0], "again");
}

CASE(empty)
{
    char c;
    int p[2];

    SYS(pipe2(p, O_NONBLOCK));
    hold();
    CHECK_EQ(read(p[0], &c, 1), -1);
    CHECK_EQ(errno, EAGAIN);
    put(p[1], "x");
    expect(p[0], "x");
}

CASE(full)
{
    char *buf = malloc(65536);
    int p[2];

    CHECK(buf != NULL);
    SYS(pipe2(p, O_NONBLOCK));
    fill(buf, 65536, 1);
    CHECK_EQ(write(p[1], buf, 65536), 65536);
    CHECK_EQ(write(p[1], buf, 1), -1);
    hold();
    CHECK_EQ(write(p[1], buf, 1), -1);
    CHECK_EQ(errno, EAGAIN);
    memset(buf, 0, 65536);
    CHECK_EQ(read(p[0], buf, 65536), 65536);
    CHECK(filled(buf, 65536, 1));
    CHECK_EQ(waiting(p[0]), 0);
}

CASE(full_of_single_bytes)
{
    char c;
    int count = 0, p[2];

    SYS(pipe2(p, O_NONBLOCK | O_DIRECT));
    for (c = 0; write(p[1], &c, 1) == 1; c++)
        count++;
    hold();
    for (int i = 0; i < count; i++) {
        CHECK_EQ(read(p[0], &c, 1), 1);
        CHECK_EQ(c, (char)i);
    }
    CHECK_EQ(waiting(p[0]), 0);
}

CASE(resized)
{
    char *buf = malloc(500000);
    int p[2];

    CHECK(buf != NULL);
    SYS(pipe(p));
    if (fcntl(p[1], F_SETPIPE_SZ, 1 << 20) < 0)
        skip("pipes of 1 MiB are not allowed here");
    fill(buf, 500000, 2);
    CHECK_EQ(write(p[1], buf, 500000), 500000);
    hold();
    CHECK_EQ(fcntl(p[0], F_GETPIPE_SZ), 1 << 20);
    memset(buf, 0, 500000);
    for (size_t len = 0; len < 500000;)
        len += (size_t)SYS(read(p[0], buf + len, 500000 - len));
    CHECK(filled(buf, 500000, 2));
}

CASE(small)
{
    int p[2];

    SYS(pipe(p));
    SYS(fcntl(p[1], F_SETPIPE_SZ, 4096));
    put(p[1], "x");
    hold();
    CHECK_EQ(fcntl(p[0], F_GETPIPE_SZ), 4096);
    expect(p[0], "x");
}

CASE(packets)
{
    char buf[4096];
    int p[2];

    SYS(pipe2(p, O_DIRECT));
    put(p[1], "one");
    put(p[1], "two two");
    put(p[1], "3");
    hold();
    CHECK(fcntl(p[1], F_GETFL) & O_DIRECT);
    CHECK_EQ(read(p[0], buf, sizeof buf), 3);
    CHECK_EQ(read(p[0], buf, sizeof buf), 7);
    CHECK_MEM(buf, "two two", 7);
    CHECK_EQ(read(p[0], buf, sizeof buf), 1);
    put(p[1], "four");
    put(p[1], "five");
    CHECK_EQ(read(p[0], buf, sizeof buf), 4);
}

/* The writer has gone, and with it the flag that says so. */
CASE(packets_without_writer)
{
    char buf[4096];
    int p[2];

    SYS(pipe2(p, O_DIRECT));
    put(p[1], "one");
    put(p[1], "2");
    SYS(close(p[1]));
    hold();
    CHECK_EQ(read(p[0], buf, sizeof buf), 3);
    CHECK_EQ(read(p[0], buf, sizeof buf), 1);
    CHECK_EQ(read(p[0], buf, sizeof buf), 0);
}

/* A write in packet mode goes on in the page of a stream before it, if it fits there: a
 * whole page does not. */
CASE(packets_and_stream)
{
    char page[4096], buf[10000];
    int p[2];

    SYS(pipe2(p, O_DIRECT));
    put(p[1], "packet");
    SYS(fcntl(p[1], F_SETFL, 0));
    put(p[1], "stream");
    SYS(fcntl(p[1], F_SETFL, O_DIRECT));
    fill(page, sizeof page, 6);
    CHECK_EQ(write(p[1], page, sizeof page), sizeof page);
    put(p[1], "p");
    SYS(fcntl(p[1], F_SETFL, 0));
    put(p[1], "the ");
    hold();
    put(p[1], "end");
    CHECK_EQ(read(p[0], buf, 3), 3); /* the rest of the packet is lost */
    CHECK_MEM(buf, "pac", 3);
    CHECK_EQ(read(p[0], buf, sizeof buf), 6 + 4096);
    CHECK_MEM(buf, "stream", 6);
    CHECK_MEM(buf + 6, page, sizeof page);
    CHECK_EQ(read(p[0], buf, sizeof buf), 1);
    CHECK_EQ(buf[0], 'p');
    expect(p[0], "the end");
    CHECK_EQ(waiting(p[0]), 0);
}

CASE(packet_after_stream)
{
    char page[4096], buf[5000];
    int p[2];

    SYS(pipe(p));
    put(p[1], "a");
    SYS(fcntl(p[1], F_SETFL, O_DIRECT));
    fill(page, sizeof page, 7);
    CHECK_EQ(write(p[1], page, sizeof page), sizeof page);
    hold();
    CHECK_EQ(read(p[0], buf, 2), 2); /* one byte of the packet: the rest is lost */
    CHECK_EQ(buf[0], 'a');
    CHECK_EQ(buf[1], page[0]);
    CHECK_EQ(waiting(p[0]), 0);
}

CASE(writer_gone)
{
    char c;
    int p[2];

    SYS(pipe(p));
    put(p[1], "last words");
    SYS(close(p[1]));
    hold();
    expect(p[0], "last words");
    CHECK_EQ(read(p[0], &c, 1), 0);
}

CASE(reader_gone)
{
    struct pollfd poll_fd;
    int p[2];

    (void)signal(SIGPIPE, SIG_IGN); /* valid signal */
    SYS(pipe(p));
    SYS(close(p[0]));
    hold();
    CHECK_EQ(write(p[1], "x", 1), -1);
    CHECK_EQ(errno, EPIPE);
    poll_fd = (struct pollfd){.fd = p[1], .events = POLLOUT};
    CHECK_EQ(poll(&poll_fd, 1, 0), 1);
    CHECK(poll_fd.revents & POLLERR);
}

CASE(flags_of_each_end)
{
    int p[2];

    SYS(pipe(p));
    SYS(fcntl(p[0], F_SETFL, O_NONBLOCK));
    SYS(fcntl(p[1], F_SETFD, FD_CLOEXEC));
    hold();
    CHECK(fcntl(p[0], F_GETFL) & O_NONBLOCK);
    CHECK(!(fcntl(p[1], F_GETFL) & O_NONBLOCK));
    CHECK_EQ(fcntl(p[0], F_GETFD), 0);
    CHECK_EQ(fcntl(p[1], F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(p[0], F_GETFL) & O_ACCMODE, O_RDONLY);
    CHECK_EQ(fcntl(p[1], F_GETFL) & O_ACCMODE, O_WRONLY);
}

CASE(duplicated_ends)
{
    char c;
    int p[2], copy;

    SYS(pipe(p));
    copy = (int)SYS(dup(p[1]));
    put(p[1], "a");
    SYS(close(p[1]));
    hold();
    put(copy, "b");
    expect(p[0], "ab");
    SYS(close(copy));
    CHECK_EQ(read(p[0], &c, 1), 0);
}

CASE(reopened_through_proc)
{
    char path[64];
    int p[2], again;

    SYS(pipe(p));
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", p[0]);
    again = (int)SYS(open(path, O_RDONLY | O_NONBLOCK));
    put(p[1], "abcd");
    expect(p[0], "a");
    hold();
    expect(again, "bc");
    expect(p[0], "d");
    CHECK(!(fcntl(p[0], F_GETFL) & O_NONBLOCK));
    CHECK(fcntl(again, F_GETFL) & O_NONBLOCK);
}

static void blocked_reader(void *ends)
{
    int *p = ends;

    SYS(close(p[1]));
    expect(p[0], "at last");
}

CASE(reader_blocked)
{
    int p[2];
    pid_t pid;

    SYS(pipe(p));
    pid = child(blocked_reader, p);
    await_syscall(pid, pid, SYS_read);
    hold();
    put(p[1], "at last");
    reap(pid);
}

static void blocked_writer(void *ends)
{
    static char buf[200000];
    int *p = ends;

    SYS(close(p[0]));
    fill(buf, sizeof buf, 5);
    CHECK_EQ(write(p[1], buf, sizeof buf), sizeof buf);
}

CASE(writer_blocked)
{
    static char buf[200000];
    size_t len = 0;
    int p[2];
    pid_t pid;

    SYS(pipe(p));
    pid = child(blocked_writer, p);
    await_syscall(pid, pid, SYS_write);
    SYS(close(p[1]));
    hold();
    for (ssize_t got; (got = SYS(read(p[0], buf + len, sizeof buf - len))) > 0;)
        len += (size_t)got;
    CHECK_EQ(len, sizeof buf);
    CHECK(filled(buf, sizeof buf, 5));
    reap(pid);
}

static void *poller(void *fd)
{
    struct pollfd poll_fd = {.fd = *(int *)fd, .events = POLLIN};

    CHECK_EQ(poll(&poll_fd, 1, -1), 1);
    CHECK_EQ(poll_fd.revents, POLLIN);
    return NULL;
}

CASE(polled)
{
    pthread_t id;
    int p[2];

    SYS(pipe(p));
    id = thread(poller, &p[0]);
    hold();
    put(p[1], "x");
    PTH(pthread_join(id, NULL));
}

static void stream_producer(void *fd)
{
    uint32_t block[256];

    for (uint32_t i = 0; !held_no_more() || i < 100; i++) {
        for (uint32_t j = 0; j < 256; j++)
            block[j] = i * 256 + j;
        CHECK_EQ(write(*(int *)fd, block, sizeof block), sizeof block);
        if (i % 2 == 0)
            nap();
    }
}

static void stream_filter(void *ends)
{
    uint32_t word;
    int *p = ends;
    ssize_t got;

    SYS(close(p[1]));
    SYS(close(p[2]));
    while ((got = SYS(read(p[0], &word, sizeof word))) > 0) {
        CHECK_EQ(got, sizeof word);
        word ^= 0x5a5a5a5a;
        CHECK_EQ(write(p[3], &word, sizeof word), sizeof word);
    }
}

/* producer | filter | this: nothing lost, nothing doubled, nothing out of order */
CASE(stream)
{
    uint32_t expected = 0, word;
    int p[4];
    ssize_t got;
    pid_t producer, filter;

    SYS(pipe(p));
    SYS(pipe(p + 2));
    producer = child(stream_producer, &p[1]);
    filter = child(stream_filter, p);
    SYS(close(p[0]));
    SYS(close(p[1]));
    SYS(close(p[3]));
    mark("ready");
    while ((got = SYS(read(p[2], &word, sizeof word))) > 0) {
        CHECK_EQ(got, sizeof word);
        CHECK_EQ(word ^ 0x5a5a5a5a, expected);
        expected++;
    }
    CHECK(expected >= 256 * 100);
    SYS(close(p[2]));
    /* the producer got the other ends from fork: the filter's end is what ends this */
    reap(producer);
    reap(filter);
}

CASE(many)
{
    enum { COUNT = 100 };
    char text[32];
    int p[COUNT][2];

    for (int i = 0; i < COUNT; i++) {
        SYS(pipe(p[i]));
        (void)snprintf(text, sizeof text, "pipe %d", i);
        put(p[i][1], text);
    }
    hold();
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(text, sizeof text, "pipe %d", i);
        expect(p[i][0], text);
    }
}

static void keeps_both_ends(void *ends)
{
    int *p = ends;

    hold();
    await("closed");
    expect(p[0], "inherited");
}

CASE(only_in_the_child)
{
    int p[2];
    pid_t pid;

    SYS(pipe(p));
    put(p[1], "inherited");
    pid = child(keeps_both_ends, p);
    SYS(close(p[0]));
    SYS(close(p[1]));
    hold();
    mark("closed");
    reap(pid);
}

CASE(spliced)
{
    int a[2], b[2];

    SYS(pipe(a));
    SYS(pipe(b));
    put(a[1], "abcdef");
    CHECK_EQ(tee(a[0], b[1], 3, 0), 3);
    hold();
    expect(b[0], "abc");
    CHECK_EQ(splice(a[0], NULL, b[1], NULL, 6, 0), 6);
    expect(b[0], "abcdef");
}

