/* Conformance: a checkpoint interrupts system calls; the program must not see it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * These are the calls that fail with EINTR after any signal handler, even one with
 * SA_RESTART (signal(7)). Each waits in a thread or child of its own while the case holds.
 */
#include "harness.h"

#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/un.h>

static int ends[2];

static void wake(void)
{
    CHECK_EQ(write(ends[1], "x", 1), 1);
}

/* Run fn in a thread, hold, make the pipe readable, join. */
static void across(void *(*fn)(void *))
{
    pthread_t id;

    SYS(pipe(ends));
    id = thread(fn, NULL);
    await("waiting");
    hold();
    wake();
    PTH(pthread_join(id, NULL));
}

static void *in_poll(void *timeout)
{
    struct pollfd fd = {.fd = ends[0], .events = POLLIN};

    mark("waiting");
    CHECK_EQ(poll(&fd, 1, -1), 1);
    return NULL;
}

CASE(poll_forever)
{
    across(in_poll);
}

static void *in_poll_timeout(void *arg)
{
    double start = monotonic_s();

    mark("waiting");
    CHECK_EQ(poll(NULL, 0, 4000), 0);
    CHECK(monotonic_s() - start >= 3.99);
    CHECK(monotonic_s() - start < 60);
    return NULL;
}

CASE(poll_with_timeout)
{
    across(in_poll_timeout);
}

static void *in_ppoll(void *arg)
{
    struct pollfd fd = {.fd = ends[0], .events = POLLIN};
    struct timespec limit = {.tv_sec = 500};
    sigset_t mask;

    SYS(sigemptyset(&mask));
    mark("waiting");
    CHECK_EQ(ppoll(&fd, 1, &limit, &mask), 1);
    return NULL;
}

CASE(ppoll_with_mask)
{
    across(in_ppoll);
}

static void *in_select(void *arg)
{
    fd_set set;
    struct timeval limit = {.tv_sec = 500};

    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    mark("waiting");
    CHECK_EQ(select(ends[0] + 1, &set, NULL, NULL, &limit), 1);
    CHECK(FD_ISSET(ends[0], &set));
    return NULL;
}

CASE(select_with_timeout)
{
    across(in_select);
}

static void *in_select_expiring(void *arg)
{
    double start = monotonic_s();
    struct timeval limit = {.tv_sec = 4};

    mark("waiting");
    CHECK_EQ(select(0, NULL, NULL, NULL, &limit), 0);
    CHECK(monotonic_s() - start >= 3.99);
    return NULL;
}

CASE(select_expires)
{
    across(in_select_expiring);
}

static void *in_pselect(void *arg)
{
    fd_set set;
    sigset_t mask;

    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    SYS(sigemptyset(&mask));
    mark("waiting");
    CHECK_EQ(pselect(ends[0] + 1, &set, NULL, NULL, NULL, &mask), 1);
    return NULL;
}

CASE(pselect_forever)
{
    across(in_pselect);
}

static int queue_fd;

static void *in_epoll(void *arg)
{
    struct epoll_event event;

    mark("waiting");
    CHECK_EQ(epoll_wait(queue_fd, &event, 1, -1), 1);
    CHECK_EQ(event.data.u64, 77);
    return NULL;
}

static void *in_epoll_pwait(void *arg)
{
    struct epoll_event event;
    sigset_t mask;

    SYS(sigemptyset(&mask));
    mark("waiting");
    CHECK_EQ(epoll_pwait(queue_fd, &event, 1, 500000, &mask), 1);
    CHECK_EQ(event.data.u64, 77);
    return NULL;
}

static void across_epoll(void *(*fn)(void *))
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 77};
    pthread_t id;

    SYS(pipe(ends));
    queue_fd = (int)SYS(epoll_create1(EPOLL_CLOEXEC));
    SYS(epoll_ctl(queue_fd, EPOLL_CTL_ADD, ends[0], &event));
    id = thread(fn, NULL);
    await("waiting");
    hold();
    wake();
    PTH(pthread_join(id, NULL));
}

CASE(epoll_wait_forever)
{
    across_epoll(in_epoll);
}

CASE(epoll_pwait_with_mask)
{
    across_epoll(in_epoll_pwait);
}

static void *in_read(void *arg)
{
    char c;

    mark("waiting");
    CHECK_EQ(read(ends[0], &c, 1), 1);
    return NULL;
}

CASE(read_of_pipe)
{
    across(in_read);
}

static sem_t semaphore;

static void *in_sem_wait(void *arg)
{
    mark("waiting");
    CHECK_EQ(sem_wait(&semaphore), 0);
    return NULL;
}

static void *in_sem_timedwait(void *arg)
{
    struct timespec deadline;

    SYS(clock_gettime(CLOCK_REALTIME, &deadline));
    deadline.tv_sec += 500;
    mark("waiting");
    CHECK_EQ(sem_timedwait(&semaphore, &deadline), 0);
    return NULL;
}

static void across_semaphore(void *(*fn)(void *))
{
    pthread_t id;

    SYS(sem_init(&semaphore, 0, 0));
    id = thread(fn, NULL);
    await("waiting");
    hold();
    SYS(sem_post(&semaphore));
    PTH(pthread_join(id, NULL));
}

CASE(sem_wait_forever)
{
    across_semaphore(in_sem_wait);
}

CASE(sem_timedwait_with_deadline)
{
    across_semaphore(in_sem_timedwait);
}

static int futex_word;

static void *in_futex(void *arg)
{
    struct timespec limit = {.tv_sec = 500};
    long got;

    mark("waiting");
    got = syscall(SYS_futex, &futex_word, 0 /* FUTEX_WAIT */, 0, &limit, NULL, 0);
    /* EAGAIN: the word had changed before the wait began (again) */
    CHECK(got == 0 || errno == EAGAIN);
    CHECK_EQ(futex_word, 1);
    return NULL;
}

CASE(raw_futex_with_timeout)
{
    pthread_t id = thread(in_futex, NULL);

    await("waiting");
    hold();
    futex_word = 1;
    SYS(syscall(SYS_futex, &futex_word, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0));
    PTH(pthread_join(id, NULL));
}

static void *in_futex_until(void *arg)
{
    struct timespec until;
    double start = monotonic_s();
    long got;

    SYS(clock_gettime(CLOCK_MONOTONIC, &until));
    until.tv_sec += 4;
    mark("waiting");
    got = syscall(SYS_futex, &futex_word, 9 /* FUTEX_WAIT_BITSET */, 0, &until, NULL, ~0u);
    CHECK(got == -1 && errno == ETIMEDOUT);
    CHECK(monotonic_s() - start >= 3.99);
    CHECK(monotonic_s() - start < 60);
    return NULL;
}

static void *in_futex_for(void *arg)
{
    const struct timespec limit = {.tv_sec = 4};
    double start = monotonic_s();
    long got;

    mark("waiting");
    got = syscall(SYS_futex, &futex_word, 0 /* FUTEX_WAIT */, 0, &limit, NULL, 0);
    CHECK(got == -1 && errno == ETIMEDOUT);
    CHECK(monotonic_s() - start >= 3.99);
    CHECK(monotonic_s() - start < 60);
    return NULL;
}

static void across_timeout(void *(*fn)(void *))
{
    pthread_t id = thread(fn, NULL);

    await("waiting");
    hold();
    PTH(pthread_join(id, NULL));
}

CASE(raw_futex_until)
{
    across_timeout(in_futex_until);
}

CASE(raw_futex_timeout_passes)
{
    across_timeout(in_futex_for);
}

/* All six arguments, errno, and numbers that have no function in glibc. */
CASE(raw_syscalls)
{
    char *page = (char *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(page != MAP_FAILED);
    *page = 1;
    hold();
    SYS(syscall(SYS_munmap, page, 4096));
    errno = 0;
    CHECK_EQ(syscall(SYS_close, -1), -1);
    CHECK_EQ(errno, EBADF);
    CHECK_EQ(syscall(SYS_gettid), gettid());
    CHECK_EQ(syscall(SYS_futex, &futex_word, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0), 0);
    CHECK_EQ(syscall(SYS_futex, &futex_word, 0 /* FUTEX_WAIT */, 1, NULL, NULL, 0), -1);
    CHECK_EQ(errno, EAGAIN);
}

static void waits_for_grandchild(void *arg)
{
    pid_t pid = (pid_t)SYS(fork());
    int status = 0;

    if (pid == 0) {
        UNTIL(held_no_more());
        _exit(9);
    }
    mark("waiting");
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 9 << 8);
}

CASE(waitpid_blocked)
{
    pid_t pid = child(waits_for_grandchild, NULL);

    await("waiting");
    await_syscall(pid, pid, SYS_wait4);
    hold();
    reap(pid);
}

static void waitid_for_grandchild(void *arg)
{
    pid_t pid = (pid_t)SYS(fork());
    siginfo_t info;

    if (pid == 0) {
        UNTIL(held_no_more());
        _exit(9);
    }
    mark("waiting");
    SYS(waitid(P_ALL, 0, &info, WEXITED));
    CHECK_EQ(info.si_pid, pid);
    CHECK_EQ(info.si_status, 9);
}

CASE(waitid_blocked)
{
    pid_t pid = child(waitid_for_grandchild, NULL);

    await("waiting");
    await_syscall(pid, pid, SYS_waitid);
    hold();
    reap(pid);
}

static int lock_fd;

static void locks(void *arg)
{
    int fd = (int)SYS(open("lock", O_RDWR));

    mark("waiting");
    SYS(flock(fd, LOCK_EX));
    CHECK_EQ(access("unlocked", F_OK), 0);
}

CASE(flock_blocked)
{
    pid_t pid;

    make_text("lock", "");
    lock_fd = (int)SYS(open("lock", O_RDWR | O_CLOEXEC));
    SYS(flock(lock_fd, LOCK_EX));
    pid = child(locks, NULL);
    await_syscall(pid, pid, SYS_flock);
    hold();
    mark("unlocked");
    SYS(flock(lock_fd, LOCK_UN));
    reap(pid);
}

static int sysv_id;

static void in_semop(void *arg)
{
    struct sembuf operation = {.sem_op = -1};

    SYS(semop(sysv_id, &operation, 1));
}

static void in_semtimedop(void *arg)
{
    struct sembuf operation = {.sem_op = -1};
    struct timespec limit = {.tv_sec = 500};

    SYS(semtimedop(sysv_id, &operation, 1, &limit));
}

static void across_sysv_semaphore(void (*fn)(void *), long number)
{
    struct sembuf operation = {.sem_op = 1};
    pid_t pid;

    sysv_id = leaves_id("semaphores", (int)SYS(semget(IPC_PRIVATE, 1, 0600)));
    pid = child(fn, NULL);
    await_syscall(pid, pid, number);
    hold();
    SYS(semop(sysv_id, &operation, 1));
    reap(pid);
    SYS(semctl(sysv_id, 0, IPC_RMID));
}

CASE(semop_blocked)
{
    across_sysv_semaphore(in_semop, SYS_semtimedop); /* as glibc does it */
}

CASE(semtimedop_blocked)
{
    across_sysv_semaphore(in_semtimedop, SYS_semtimedop);
}

struct message {
    long type;
    char text[16];
};

static void in_msgrcv(void *arg)
{
    struct message message;

    CHECK_EQ(msgrcv(sysv_id, &message, sizeof message.text, 3, 0), 6);
    CHECK_STR(message.text, "hello");
}

CASE(msgrcv_blocked)
{
    struct message message = {.type = 3, .text = "hello"};
    pid_t pid;

    sysv_id = leaves_id("messages", (int)SYS(msgget(IPC_PRIVATE, 0600)));
    pid = child(in_msgrcv, NULL);
    await_syscall(pid, pid, SYS_msgrcv);
    hold();
    SYS(msgsnd(sysv_id, &message, 6, 0));
    reap(pid);
    SYS(msgctl(sysv_id, IPC_RMID, NULL));
}

static void *in_recv_timeout(void *arg)
{
    struct timeval limit = {.tv_sec = 500};
    char c;

    SYS(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    mark("waiting");
    CHECK_EQ(recv(ends[0], &c, 1, 0), 1);
    return NULL;
}

CASE(recv_with_timeout)
{
    pthread_t id;

    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    id = thread(in_recv_timeout, NULL);
    await("waiting");
    hold();
    wake();
    PTH(pthread_join(id, NULL));
}

static void *in_accept_timeout(void *fd)
{
    struct timeval limit = {.tv_sec = 500};

    SYS(setsockopt(*(int *)fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    mark("waiting");
    SYS(accept(*(int *)fd, NULL, NULL));
    return NULL;
}

CASE(accept_with_timeout)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int fd = (int)SYS(socket(AF_UNIX, SOCK_STREAM, 0));
    int client = (int)SYS(socket(AF_UNIX, SOCK_STREAM, 0));
    pthread_t id;

    SYS(bind(fd, (struct sockaddr *)&name, sizeof name));
    SYS(listen(fd, 5));
    id = thread(in_accept_timeout, &fd);
    await("waiting");
    hold();
    SYS(connect(client, (struct sockaddr *)&name, sizeof name));
    PTH(pthread_join(id, NULL));
}

static void *many_short_waits(void *arg)
{
    struct pollfd fd = {.fd = ends[0], .events = POLLIN};
    struct timespec ts = {.tv_nsec = 1000000};

    mark("waiting");
    while (!held_no_more()) {
        CHECK_EQ(poll(&fd, 1, 1), 0);
        CHECK_EQ(nanosleep(&ts, NULL), 0);
        CHECK_EQ(usleep(1000), 0);
    }
    return NULL;
}

CASE(many_short_waits_in_threads)
{
    pthread_t ids[4];

    SYS(pipe(ends));
    for (int i = 0; i < 4; i++)
        ids[i] = thread(many_short_waits, NULL);
    await("waiting");
    hold();
    for (int i = 0; i < 4; i++)
        PTH(pthread_join(ids[i], NULL));
}

static volatile sig_atomic_t own_signals;

static void on_own(int signo)
{
    own_signals++;
}

static void interrupted_by_its_own(void *arg)
{
    struct sigaction act = {.sa_handler = on_own};

    SYS(sigaction(SIGUSR1, &act, NULL));
    mark("waiting");
    CHECK_EQ(poll(NULL, 0, -1), -1);
    CHECK_EQ(errno, EINTR);
    CHECK_EQ(own_signals, 1);
}

/* The program's own signals still interrupt: hiding ours must not hide those. */
CASE(own_signal_still_interrupts)
{
    pid_t pid = child(interrupted_by_its_own, NULL);

    await("waiting");
    await_syscall(pid, pid, SYS_poll);
    hold();
    SYS(kill(pid, SIGUSR1));
    reap(pid);
}

static void *errno_keeper(void *arg)
{
    while (!held_no_more()) {
        errno = 4242;
        for (volatile int i = 0; i < 10000; i++)
            CHECK_EQ(errno, 4242);
        nap();
    }
    return NULL;
}

CASE(errno_is_kept)
{
    pthread_t id = thread(errno_keeper, NULL);

    hold();
    PTH(pthread_join(id, NULL));
}
