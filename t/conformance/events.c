/* Event descriptors: epoll, eventfd, timerfd, signalfd, pidfd.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static uint64_t take(int fd)
{
    uint64_t value = 0;

    CHECK_EQ(read(fd, &value, sizeof value), sizeof value);
    return value;
}

static void give(int fd, uint64_t value)
{
    CHECK_EQ(write(fd, &value, sizeof value), sizeof value);
}

/* --- eventfd -------------------------------------------------------------------- */

CASE(eventfd_count)
{
    int fd = (int)SYS(eventfd(7, EFD_NONBLOCK));
    uint64_t value;

    give(fd, 5000000000);
    hold();
    CHECK_EQ(take(fd), 5000000007);
    CHECK_EQ(read(fd, &value, sizeof value), -1);
    CHECK_EQ(errno, EAGAIN);
}

CASE(eventfd_semaphore)
{
    int fd = (int)SYS(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC));
    uint64_t value;

    hold();
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(take(fd), 1);
    CHECK_EQ(read(fd, &value, sizeof value), -1);
}

CASE(eventfd_full)
{
    int fd = (int)SYS(eventfd(0, EFD_NONBLOCK));
    uint64_t one = 1;

    give(fd, UINT64_MAX - 1);
    hold();
    CHECK_EQ(write(fd, &one, sizeof one), -1);
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(take(fd), UINT64_MAX - 1);
}

static void *read_eventfd(void *fd)
{
    CHECK_EQ(take(*(int *)fd), 41);
    return NULL;
}

CASE(eventfd_reader_blocked)
{
    int fd = (int)SYS(eventfd(0, 0));
    pthread_t id = thread(read_eventfd, &fd);

    hold();
    give(fd, 41);
    PTH(pthread_join(id, NULL));
}

static void add_to_eventfd(void *fd)
{
    hold();
    give(*(int *)fd, 2);
}

CASE(eventfd_shared_by_fork)
{
    int fd = (int)SYS(eventfd(1, 0));
    pid_t pid = child(add_to_eventfd, &fd);

    hold();
    reap(pid);
    CHECK_EQ(take(fd), 3);
}

/* --- timerfd -------------------------------------------------------------------- */

static struct itimerspec spec(double value, double interval)
{
    return (struct itimerspec){
        .it_value = {(time_t)value, (long)((value - (double)(time_t)value) * 1e9)},
        .it_interval = {(time_t)interval,
                        (long)((interval - (double)(time_t)interval) * 1e9)}};
}

static double left(int fd)
{
    struct itimerspec now;

    SYS(timerfd_gettime(fd, &now));
    return (double)now.it_value.tv_sec + (double)now.it_value.tv_nsec / 1e9;
}

CASE(timerfd_remaining)
{
    struct itimerspec set = spec(1000, 0);
    int fd = (int)SYS(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    uint64_t value;

    SYS(timerfd_settime(fd, 0, &set, NULL));
    hold();
    CHECK(left(fd) > 500 && left(fd) <= 1000);
    CHECK_EQ(read(fd, &value, sizeof value), -1);
    CHECK_EQ(errno, EAGAIN);
}

CASE(timerfd_fires_later)
{
    struct itimerspec set = spec(1.5, 0);
    int fd = (int)SYS(timerfd_create(CLOCK_MONOTONIC, 0));

    SYS(timerfd_settime(fd, 0, &set, NULL));
    hold();
    CHECK_EQ(take(fd), 1);
}

CASE(timerfd_fired)
{
    struct itimerspec set = spec(0.001, 0);
    struct pollfd poll_fd;
    int fd = (int)SYS(timerfd_create(CLOCK_MONOTONIC, 0));

    SYS(timerfd_settime(fd, 0, &set, NULL));
    poll_fd = (struct pollfd){.fd = fd, .events = POLLIN};
    CHECK_EQ(poll(&poll_fd, 1, 10000), 1);
    hold();
    CHECK_EQ(take(fd), 1);
    CHECK(left(fd) == 0);
}

CASE(timerfd_periods_missed)
{
    struct itimerspec set = spec(0.01, 0.01);
    int fd = (int)SYS(timerfd_create(CLOCK_MONOTONIC, 0));
    double begin = monotonic_s(), ticks;

    SYS(timerfd_settime(fd, 0, &set, NULL));
    UNTIL(monotonic_s() - begin > 0.5);
    hold();
    ticks = (double)take(fd);
    CHECK(ticks >= 50);
    /* what passed on this clock, restart included; it is stopped a moment (0.2 s on a busy
     * machine) before the ticks are counted */
    CHECK(ticks <= (monotonic_s() - begin) * 100 + 20);
    CHECK(take(fd) >= 1);
}

CASE(timerfd_wall_clock)
{
    struct itimerspec set = {0}, now;
    struct timespec clock;
    int fd = (int)SYS(timerfd_create(CLOCK_REALTIME, 0));
    double expected;

    SYS(clock_gettime(CLOCK_REALTIME, &clock));
    set.it_value.tv_sec = clock.tv_sec + 5000;
    SYS(timerfd_settime(fd, TFD_TIMER_ABSTIME, &set, NULL));
    hold();
    SYS(clock_gettime(CLOCK_REALTIME, &clock));
    SYS(timerfd_gettime(fd, &now));
    expected = (double)(set.it_value.tv_sec - clock.tv_sec) - (double)clock.tv_nsec / 1e9;
    CHECK(left(fd) - expected < 0.5 && expected - left(fd) < 0.5);
}

CASE(timerfd_disarmed)
{
    int fd = (int)SYS(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK));
    struct itimerspec set = spec(0.01, 0);

    hold();
    CHECK(left(fd) == 0);
    SYS(timerfd_settime(fd, 0, &set, NULL));
    SYS(fcntl(fd, F_SETFL, 0));
    CHECK_EQ(take(fd), 1);
}

/* --- signalfd ------------------------------------------------------------------- */

CASE(signalfd_pending)
{
    struct signalfd_siginfo info;
    union sigval value = {.sival_int = 99};
    sigset_t set;
    int fd;

    (void)sigemptyset(&set); /* valid */
    (void)sigaddset(&set, SIGUSR1);
    (void)sigaddset(&set, SIGRTMIN + 3);
    SYS(sigprocmask(SIG_BLOCK, &set, NULL));
    fd = (int)SYS(signalfd(-1, &set, SFD_NONBLOCK));
    SYS(sigqueue(getpid(), SIGRTMIN + 3, value));
    hold();
    CHECK_EQ(read(fd, &info, sizeof info), sizeof info);
    CHECK_EQ(info.ssi_signo, SIGRTMIN + 3);
    CHECK_EQ(info.ssi_int, 99);
    CHECK_EQ(read(fd, &info, sizeof info), -1);
    SYS(raise(SIGUSR1));
    CHECK_EQ(read(fd, &info, sizeof info), sizeof info);
    CHECK_EQ(info.ssi_signo, SIGUSR1);
}

static void *read_signal(void *fd)
{
    struct signalfd_siginfo info;

    CHECK_EQ(read(*(int *)fd, &info, sizeof info), sizeof info);
    CHECK_EQ(info.ssi_signo, SIGUSR2);
    return NULL;
}

CASE(signalfd_reader_blocked)
{
    pthread_t id;
    sigset_t set;
    int fd;

    (void)sigemptyset(&set); /* valid */
    (void)sigaddset(&set, SIGUSR2);
    SYS(sigprocmask(SIG_BLOCK, &set, NULL));
    fd = (int)SYS(signalfd(-1, &set, 0));
    id = thread(read_signal, &fd);
    hold();
    SYS(kill(getpid(), SIGUSR2));
    PTH(pthread_join(id, NULL));
}

/* --- epoll ---------------------------------------------------------------------- */

static void watch(int ep, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};

    SYS(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
}

/* Exactly these events, of this registration. */
static void expect(int ep, uint32_t events, uint64_t data)
{
    struct epoll_event event[4];

    CHECK_EQ(epoll_wait(ep, event, 4, 5000), 1);
    CHECK_EQ(event[0].events, events);
    CHECK_EQ(event[0].data.u64, data);
}

static void expect_none(int ep)
{
    struct epoll_event event;

    CHECK_EQ(epoll_wait(ep, &event, 1, 0), 0);
}

CASE(epoll_level)
{
    int ep = (int)SYS(epoll_create1(0)), p[2];
    struct epoll_event event;

    SYS(pipe(p));
    watch(ep, p[0], EPOLLIN, 0x123456789abcdef0);
    CHECK_EQ(write(p[1], "x", 1), 1);
    hold();
    expect(ep, EPOLLIN, 0x123456789abcdef0);
    expect(ep, EPOLLIN, 0x123456789abcdef0);
    SYS(close(p[1]));
    /* whoever restored this may hold a copy for a moment more */
    UNTIL(epoll_wait(ep, &event, 1, 0) == 1 && event.events == (EPOLLIN | EPOLLHUP));
    CHECK_EQ(event.data.u64, 0x123456789abcdef0);
    SYS(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
    expect_none(ep);
}

CASE(epoll_edge)
{
    int ep = (int)SYS(epoll_create1(0)), p[2];
    struct epoll_event event;

    SYS(pipe(p));
    watch(ep, p[0], EPOLLIN | EPOLLET, 1);
    CHECK_EQ(write(p[1], "x", 1), 1);
    expect(ep, EPOLLIN, 1);
    expect_none(ep);
    hold();
    /* one more report of what is still there does no harm, two would */
    (void)epoll_wait(ep, &event, 1, 0);
    expect_none(ep);
    CHECK_EQ(write(p[1], "y", 1), 1);
    expect(ep, EPOLLIN, 1);
    expect_none(ep);
}

CASE(epoll_oneshot)
{
    int ep = (int)SYS(epoll_create1(0)), used = (int)SYS(eventfd(1, 0)), fresh;
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 5};

    fresh = (int)SYS(eventfd(0, 0));
    watch(ep, used, EPOLLIN | EPOLLONESHOT, 5);
    watch(ep, fresh, EPOLLIN | EPOLLONESHOT, 6);
    expect(ep, EPOLLIN, 5);
    expect_none(ep);
    hold();
    expect_none(ep);
    give(fresh, 1);
    expect(ep, EPOLLIN, 6);
    expect_none(ep);
    SYS(epoll_ctl(ep, EPOLL_CTL_MOD, used, &event));
    expect(ep, EPOLLIN, 5);
}

CASE(epoll_oneshot_idle)
{
    int ep = (int)SYS(epoll_create1(0)), p[2];
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 5};
    char c;

    SYS(pipe(p));
    watch(ep, p[0], EPOLLIN | EPOLLONESHOT, 5);
    CHECK_EQ(write(p[1], "x", 1), 1);
    expect(ep, EPOLLIN, 5);
    CHECK_EQ(read(p[0], &c, 1), 1);
    hold();
    CHECK_EQ(write(p[1], "y", 1), 1);
    expect_none(ep);
    SYS(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &event));
    expect(ep, EPOLLIN, 5);
}

CASE(epoll_nested)
{
    int outer = (int)SYS(epoll_create1(0)), inner = (int)SYS(epoll_create1(EPOLL_CLOEXEC));
    int fd = (int)SYS(eventfd(0, 0));

    watch(inner, fd, EPOLLIN, 1);
    watch(outer, inner, EPOLLIN, 2);
    hold();
    expect_none(outer);
    give(fd, 1);
    expect(outer, EPOLLIN, 2);
    expect(inner, EPOLLIN, 1);
}

CASE(epoll_duplicate)
{
    int ep = (int)SYS(epoll_create1(0)), fd = (int)SYS(eventfd(0, 0)), copy;

    watch(ep, fd, EPOLLIN, 1);
    copy = (int)SYS(dup(fd));
    watch(ep, copy, EPOLLOUT, 2);
    hold();
    expect(ep, EPOLLOUT, 2);
    SYS(epoll_ctl(ep, EPOLL_CTL_DEL, copy, NULL));
    expect_none(ep);
    give(copy, 1);
    expect(ep, EPOLLIN, 1);
    SYS(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
}

/* The registration outlives its number, which means something else by now. */
CASE(epoll_number_reused)
{
    int ep = (int)SYS(epoll_create1(0)), fd = (int)SYS(eventfd(0, 0)), copy, other;

    watch(ep, fd, EPOLLIN, 1);
    copy = (int)SYS(dup(fd));
    other = (int)SYS(eventfd(1, 0));
    SYS(dup2(other, fd));
    watch(ep, fd, EPOLLIN, 2);
    hold();
    expect(ep, EPOLLIN, 2);
    CHECK_EQ(take(other), 1);
    expect_none(ep);
    give(copy, 1);
    expect(ep, EPOLLIN, 1);
    SYS(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
    expect(ep, EPOLLIN, 1);
}

CASE(epoll_high_number)
{
    int ep = (int)SYS(epoll_create1(0)), fd = (int)SYS(eventfd(1, 0));
    int high = (int)SYS(fcntl(fd, F_DUPFD, 900));

    watch(ep, high, EPOLLIN, 900);
    SYS(close(high));
    hold();
    expect(ep, EPOLLIN, 900);
}

static void *wait_epoll(void *ep)
{
    struct epoll_event event;

    CHECK_EQ(epoll_wait(*(int *)ep, &event, 1, -1), 1);
    CHECK_EQ(event.events, EPOLLIN);
    CHECK_EQ(event.data.u64, 8);
    return NULL;
}

CASE(epoll_waiter_blocked)
{
    int ep = (int)SYS(epoll_create1(0)), fd = (int)SYS(eventfd(0, 0));
    pthread_t id;

    watch(ep, fd, EPOLLIN, 8);
    id = thread(wait_epoll, &ep);
    hold();
    give(fd, 1);
    PTH(pthread_join(id, NULL));
}

static void child_uses_epoll(void *fds)
{
    int *f = fds;

    hold();
    await("given");
    expect(f[0], EPOLLIN, 3);
    SYS(epoll_ctl(f[0], EPOLL_CTL_DEL, f[1], NULL));
}

CASE(epoll_shared_by_fork)
{
    int f[2] = {(int)SYS(epoll_create1(0)), (int)SYS(eventfd(0, 0))};
    pid_t pid;

    watch(f[0], f[1], EPOLLIN, 3);
    pid = child(child_uses_epoll, f);
    hold();
    expect_none(f[0]);
    give(f[1], 1);
    expect(f[0], EPOLLIN, 3);
    mark("given");
    reap(pid);
    expect_none(f[0]);
}

CASE(epoll_of_many_kinds)
{
    int ep = (int)SYS(epoll_create1(0)), tfd, sfd;
    struct itimerspec set = spec(1.2, 0);
    sigset_t mask;

    tfd = (int)SYS(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    SYS(timerfd_settime(tfd, 0, &set, NULL));
    (void)sigemptyset(&mask); /* valid */
    (void)sigaddset(&mask, SIGUSR1);
    SYS(sigprocmask(SIG_BLOCK, &mask, NULL));
    sfd = (int)SYS(signalfd(-1, &mask, SFD_NONBLOCK));
    watch(ep, tfd, EPOLLIN | EPOLLET, 10);
    watch(ep, sfd, EPOLLIN | EPOLLEXCLUSIVE, 11);
    hold();
    expect(ep, EPOLLIN, 10);
    SYS(kill(getpid(), SIGUSR1));
    expect(ep, EPOLLIN, 11);
}

CASE(epoll_many)
{
    enum { COUNT = 500 };
    static int fds[COUNT];
    int ep = (int)SYS(epoll_create1(0));

    for (int i = 0; i < COUNT; i++) {
        fds[i] = (int)SYS(eventfd(0, 0));
        watch(ep, fds[i], EPOLLIN, (uint64_t)i);
    }
    hold();
    for (int i = 0; i < COUNT; i++) {
        give(fds[i], 1);
        expect(ep, EPOLLIN, (uint64_t)i);
        CHECK_EQ(take(fds[i]), 1);
    }
}

/* --- pidfd ---------------------------------------------------------------------- */

static int open_pidfd(pid_t pid, unsigned flags)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, flags);

    if (fd < 0 && errno == ENOSYS)
        skip("no pidfd_open");
    return (int)SYS(fd);
}

static void end_when_told(void *arg)
{
    hold();
    await("end");
}

CASE(pidfd_of_child)
{
    pid_t pid = child(end_when_told, NULL);
    int fd = open_pidfd(pid, 0), ep = (int)SYS(epoll_create1(0));
    siginfo_t info = {0};

    watch(ep, fd, EPOLLIN, 77);
    hold();
    expect_none(ep);
    mark("end");
    expect(ep, EPOLLIN, 77);
    SYS(waitid((idtype_t)3 /* P_PIDFD */, (id_t)fd, &info, WEXITED));
    CHECK_EQ(info.si_pid, pid);
    SYS(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
}

CASE(pidfd_signals)
{
    pid_t pid = child(end_when_told, NULL);
    int fd = open_pidfd(pid, O_NONBLOCK);

    hold();
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    SYS(syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0));
    reap_status(pid, SIGKILL);
}

CASE(pidfd_of_zombie)
{
    pid_t pid = (pid_t)SYS(fork());
    struct pollfd poll_fd;
    siginfo_t info;

    if (pid == 0)
        _exit(3);
    poll_fd = (struct pollfd){.fd = open_pidfd(pid, 0), .events = POLLIN};
    SYS(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
    hold();
    CHECK_EQ(poll(&poll_fd, 1, 0), 1);
    SYS(waitid((idtype_t)3 /* P_PIDFD */, (id_t)poll_fd.fd, &info, WEXITED));
    CHECK_EQ(info.si_status, 3);
}

CASE(pidfd_of_reaped)
{
    pid_t pid = (pid_t)SYS(fork());
    struct pollfd poll_fd;

    if (pid == 0)
        _exit(0);
    poll_fd = (struct pollfd){.fd = open_pidfd(pid, 0), .events = POLLIN};
    reap(pid);
    hold();
    CHECK_EQ(poll(&poll_fd, 1, 0), 1);
    CHECK_EQ(syscall(SYS_pidfd_send_signal, poll_fd.fd, 0, NULL, 0), -1);
    CHECK_EQ(errno, ESRCH);
}

CASE(pidfd_of_self)
{
    int fd = open_pidfd(getpid(), 0);

    hold();
    SYS(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
}
