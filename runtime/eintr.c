/* System calls that the kernel never restarts after a handler: go on with the time
 * that is left when a checkpoint was all that interrupted them. signal(7).
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/raw.h"
#include "runtime/interpose.h"

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull

uint64_t interpose_now_ns(void)
{
    struct timespec now;
    int saved = errno;

    clock_gettime(CLOCK_MONOTONIC, &now);
    errno = saved;
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t interpose_left_ns(uint64_t deadline_ns)
{
    uint64_t now = interpose_now_ns();

    return deadline_ns > now ? deadline_ns - now : 0;
}

uint64_t interpose_deadline(const struct timespec *timeout)
{
    uint64_t span;

    if (timeout->tv_sec < 0 || timeout->tv_sec > INT32_MAX)
        span = (uint64_t)INT32_MAX * NS_PER_S; /* invalid ones fail at once anyway */
    else
        span = (uint64_t)timeout->tv_sec * NS_PER_S + (uint64_t)timeout->tv_nsec;
    return interpose_now_ns() + span;
}

struct timespec interpose_left(uint64_t deadline_ns)
{
    uint64_t left = interpose_left_ns(deadline_ns);

    return (struct timespec){(time_t)(left / NS_PER_S), (long)(left % NS_PER_S)};
}

/* Rounded up, as the kernel does, so that a retry never ends early. */
static int left_ms(uint64_t deadline_ns)
{
    return (int)((interpose_left_ns(deadline_ns) + NS_PER_MS - 1) / NS_PER_MS);
}

static uint64_t deadline_of_ms(int timeout_ms)
{
    return timeout_ms > 0 ? interpose_now_ns() + (uint64_t)timeout_ms * NS_PER_MS : 0;
}

/* Repeat `call` while checkpoints interrupt it; `again` prepares the retry. */
#define UNINTERRUPTED(ret, call, again)                                                      \
    for (int errno_ = errno;; errno = errno_) {                                              \
        interpose_arm();                                                                     \
        (ret) = (call);                                                                      \
        if (!interpose_ours((long)(ret)))                                                    \
            break;                                                                           \
        again;                                                                               \
    }

static void nothing(void)
{
}

/* What of a timeout (NULL: none) is left for the retry; stands in *left. */
static const struct timespec *shorten(const struct timespec *timeout, uint64_t deadline,
                                      struct timespec *left)
{
    if (!timeout)
        return NULL;
    *left = interpose_left(deadline);
    return left;
}

/* --- waiting for descriptors ---------------------------------------------------- */

STINT_EXPORT int poll(struct pollfd *fds, nfds_t nfds, int timeout)
{
    uint64_t deadline = deadline_of_ms(timeout);
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(poll)(fds, nfds, timeout),
                  timeout = timeout > 0 ? left_ms(deadline) : timeout);
    return ret;
}

/* With a mask of signals, SIGURG stays out of it: a checkpoint must get through. */
static const sigset_t *open_mask(const sigset_t *mask, sigset_t *copy)
{
    if (!mask || !stint_runtime.state)
        return mask;
    *copy = *mask;
    sigdelset(copy, SIGURG);
    return copy;
}

STINT_EXPORT int ppoll(struct pollfd *fds,
                       nfds_t nfds,
                       const struct timespec *timeout,
                       const sigset_t *mask)
{
    uint64_t deadline = timeout ? interpose_deadline(timeout) : 0;
    struct timespec left;
    sigset_t copy;
    int ret;

    mask = open_mask(mask, &copy);
    UNINTERRUPTED(ret, INTERPOSE_REAL(ppoll)(fds, nfds, timeout, mask), timeout = shorten(timeout, deadline, &left));
    return ret;
}

/* select(2) leaves the sets alone when it fails, and Linux puts the time left into
 * the timeout, which the retry then uses. */
STINT_EXPORT int select(int nfds, fd_set *in, fd_set *out, fd_set *ex, struct timeval *timeout)
{
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(select)(nfds, in, out, ex, timeout), nothing());
    return ret;
}

STINT_EXPORT int pselect(int nfds,
                         fd_set *in,
                         fd_set *out,
                         fd_set *ex,
                         const struct timespec *timeout,
                         const sigset_t *mask)
{
    uint64_t deadline = timeout ? interpose_deadline(timeout) : 0;
    struct timespec left;
    sigset_t copy;
    int ret;

    mask = open_mask(mask, &copy);
    UNINTERRUPTED(ret, INTERPOSE_REAL(pselect)(nfds, in, out, ex, timeout, mask),
                  timeout = shorten(timeout, deadline, &left));
    return ret;
}

STINT_EXPORT int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
    uint64_t deadline = deadline_of_ms(timeout);
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(epoll_wait)(epfd, events, max, timeout),
                  timeout = timeout > 0 ? left_ms(deadline) : timeout);
    return ret;
}

STINT_EXPORT int epoll_pwait(int epfd,
                             struct epoll_event *events,
                             int max,
                             int timeout,
                             const sigset_t *mask)
{
    uint64_t deadline = deadline_of_ms(timeout);
    sigset_t copy;
    int ret;

    mask = open_mask(mask, &copy);
    UNINTERRUPTED(ret, INTERPOSE_REAL(epoll_pwait)(epfd, events, max, timeout, mask),
                  timeout = timeout > 0 ? left_ms(deadline) : timeout);
    return ret;
}

STINT_EXPORT int epoll_pwait2(int epfd,
                              struct epoll_event *events,
                              int max,
                              const struct timespec *timeout,
                              const sigset_t *mask)
{
    uint64_t deadline = timeout ? interpose_deadline(timeout) : 0;
    struct timespec left;
    sigset_t copy;
    int ret;

    mask = open_mask(mask, &copy);
    UNINTERRUPTED(ret, INTERPOSE_REAL(epoll_pwait2)(epfd, events, max, timeout, mask),
                  timeout = shorten(timeout, deadline, &left));
    return ret;
}

STINT_EXPORT int signalfd(int fd, const sigset_t *mask, int flags)
{
    sigset_t copy;

    return INTERPOSE_REAL(signalfd)(fd, open_mask(mask, &copy), flags);
}

/* --- sleeping ------------------------------------------------------------------------ */

/* The kernel puts the time left into `rem` of a relative sleep. */
STINT_EXPORT int nanosleep(const struct timespec *req, struct timespec *rem)
{
    struct timespec left, next;
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(nanosleep)(req, &left), {
        next = left;
        req = &next;
    });
    if (ret == -1 && errno == EINTR && rem)
        *rem = left;
    return ret;
}

STINT_EXPORT int clock_nanosleep(clockid_t clock,
                                 int flags,
                                 const struct timespec *req,
                                 struct timespec *rem)
{
    struct timespec left, next;
    int ret, error;

    for (;;) {
        interpose_arm();
        ret = INTERPOSE_REAL(clock_nanosleep)(clock, flags, req, &left);
        error = errno;
        errno = ret; /* it returns the error, and leaves errno alone */
        if (!interpose_ours(ret ? -1 : 0))
            break;
        if (!(flags & TIMER_ABSTIME)) {
            next = left;
            req = &next;
        }
        errno = error;
    }
    errno = error;
    if (ret == EINTR && rem && !(flags & TIMER_ABSTIME))
        *rem = left;
    return ret;
}

STINT_EXPORT int usleep(useconds_t usec)
{
    struct timespec req = {usec / 1000000, (long)(usec % 1000000) * 1000};

    return nanosleep(&req, NULL);
}

STINT_EXPORT unsigned int sleep(unsigned int seconds)
{
    struct timespec req = {seconds, 0}, rem = {0, 0};
    int saved = errno;

    if (nanosleep(&req, &rem) == 0) {
        errno = saved;
        return 0;
    }
    return (unsigned int)rem.tv_sec + (rem.tv_nsec >= 500000000);
}

STINT_EXPORT int pause(void)
{
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(pause)(), nothing());
    return ret;
}

/* --- System V ---------------------------------------------------------------------------- */

STINT_EXPORT int semop(int id, struct sembuf *ops, size_t nops)
{
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(semop)(id, ops, nops), nothing());
    return ret;
}

STINT_EXPORT int semtimedop(int id,
                            struct sembuf *ops,
                            size_t nops,
                            const struct timespec *timeout)
{
    uint64_t deadline = timeout ? interpose_deadline(timeout) : 0;
    struct timespec left;
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(semtimedop)(id, ops, nops, timeout), timeout = shorten(timeout, deadline, &left));
    return ret;
}

STINT_EXPORT ssize_t msgrcv(int id, void *message, size_t size, long type, int flags)
{
    ssize_t ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(msgrcv)(id, message, size, type, flags), nothing());
    return ret;
}

STINT_EXPORT int msgsnd(int id, const void *message, size_t size, int flags)
{
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(msgsnd)(id, message, size, flags), nothing());
    return ret;
}

/* --- timed waits on futexes that report EINTR ------------------------------------------------ */

STINT_EXPORT int sem_timedwait(sem_t *sem, const struct timespec *until)
{
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(sem_timedwait)(sem, until), nothing());
    return ret;
}

STINT_EXPORT int sem_clockwait(sem_t *sem, clockid_t clock, const struct timespec *until)
{
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(sem_clockwait)(sem, clock, until), nothing());
    return ret;
}

/* --- futex(2) by syscall(2) --------------------------------------------------------------------
 * glibc has no function for it: Rust, libstdc++ and others wait like this. The kernel restarts
 * a wait after a handler only when it has no timeout. */

long stint_eintr_result(long ret)
{
    if (!raw_is_error(ret))
        return ret;
    errno = (int)-ret;
    return -1;
}

long stint_eintr_futex(long number, uint32_t *word, int op, uint32_t value,
                       const struct timespec *timeout, uint32_t *word2, uint32_t value3)
{
    int command = op & FUTEX_CMD_MASK;
    uint64_t deadline;
    struct timespec left;
    long ret;

    if ((command != FUTEX_WAIT && command != FUTEX_WAIT_BITSET) || !timeout)
        return stint_eintr_result(
            raw_syscall(number, word, op, value, timeout, word2, value3));
    deadline = command == FUTEX_WAIT ? interpose_deadline(timeout) : 0;
    UNINTERRUPTED(ret,
                  stint_eintr_result(
                      raw_syscall(number, word, op, value, timeout, word2, value3)),
                  timeout = command == FUTEX_WAIT ? shorten(timeout, deadline, &left)
                                                  : timeout);
    return ret;
}

/* --- sockets with SO_RCVTIMEO or SO_SNDTIMEO ---------------------------------------------------
 * Without a timeout the kernel restarts these; with one the wait starts anew, so it
 * can last longer by what had passed. */

STINT_EXPORT ssize_t recv(int fd, void *buf, size_t len, int flags)
{
    size_t done = 0;
    ssize_t ret;

    for (;;) {
        bool stopped;

        UNINTERRUPTED(ret, INTERPOSE_REAL(recv)(fd, (char *)buf + done, len - done, flags),
                      nothing());
        stopped = interpose_stopped();
        if (ret <= 0)
            return done > 0 ? (ssize_t)done : ret;
        done += (size_t)ret;
        if (!(flags & MSG_WAITALL) || done == len || !stopped)
            return (ssize_t)done;
    }
}

STINT_EXPORT ssize_t
recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *from, socklen_t *from_len)
{
    ssize_t ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(recvfrom)(fd, buf, len, flags, from, from_len),
                  nothing());
    return ret;
}

STINT_EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(recvmsg)(fd, message, flags), nothing());
    return ret;
}

/* A signal ends a send or write that has moved some bytes: go on with the rest. */
STINT_EXPORT ssize_t send(int fd, const void *buf, size_t len, int flags)
{
    size_t done = 0;
    ssize_t ret;

    for (;;) {
        UNINTERRUPTED(ret,
                      INTERPOSE_REAL(send)(fd, (const char *)buf + done, len - done, flags),
                      nothing());
        if (ret < 0)
            return done > 0 ? (ssize_t)done : ret;
        done += (size_t)ret;
        if (done == len || ret == 0 || !interpose_stopped())
            return (ssize_t)done;
    }
}

/* glibc's own name for it: no look-up, since signal handlers call write(2). */
extern ssize_t __write(int fd, const void *buf, size_t len) __attribute__((weak));

static ssize_t write_once(int fd, const void *buf, size_t len)
{
    return __write ? __write(fd, buf, len)
                   : stint_eintr_result(raw_syscall(SYS_write, fd, buf, len)); /* musl */
}

STINT_EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
    int saved = errno;
    size_t done = 0;
    ssize_t ret;

    for (;;) {
        interpose_arm();
        ret = write_once(fd, (const char *)buf + done, len - done);
        if (interpose_ours(ret)) {
            errno = saved;
            continue;
        }
        if (ret < 0)
            return done > 0 ? (ssize_t)done : ret;
        done += (size_t)ret;
        if (done == len || ret == 0 || !interpose_stopped())
            return (ssize_t)done;
    }
}

STINT_EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
    size_t done = 0, skip;
    ssize_t ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(writev)(fd, iov, count), nothing());
    if (ret <= 0 || !interpose_stopped())
        return ret;
    done = (size_t)ret;
    skip = done;
    for (int i = 0; i < count; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        ret = write(fd, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        if (ret <= 0)
            break;
        done += (size_t)ret;
        if ((size_t)ret < iov[i].iov_len - skip)
            break;
        skip = 0;
    }
    return (ssize_t)done;
}

STINT_EXPORT ssize_t
sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to, socklen_t to_len)
{
    ssize_t ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(sendto)(fd, buf, len, flags, to, to_len), nothing());
    return ret;
}

STINT_EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(sendmsg)(fd, message, flags), nothing());
    return ret;
}

STINT_EXPORT int accept(int fd, struct sockaddr *address, socklen_t *len)
{
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(accept)(fd, address, len), nothing());
    return ret;
}

STINT_EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    int ret;

    UNINTERRUPTED(ret, INTERPOSE_REAL(accept4)(fd, address, len, flags), nothing());
    return ret;
}
