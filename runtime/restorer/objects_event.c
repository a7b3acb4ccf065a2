/* eventfd, signalfd, timerfd, pidfd.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "runtime/restorer/objects.h"

#define SECOND_NS 1000000000u

#ifndef TFD_IOC_SET_TICKS /* linux/timerfd.h is at odds with sys/timerfd.h */
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif

static const void *extra_of(const struct stint_object *object, size_t len)
{
    return object->extra_len >= len ? stint_object_extra(object) : NULL;
}

int stint_object_open_eventfd(struct stint_restore *restore, struct stint_restored_object *o,
                              struct stint_err *err)
{
    const struct stint_object *object = o->object;
    int flags = (int)object->open_flags & O_NONBLOCK; /* EFD_NONBLOCK */
    STINT_AUTO_CLOSE int fd = eventfd(0, EFD_CLOEXEC | flags | (object->b ? EFD_SEMAPHORE : 0));

    if (fd < 0)
        return stint_err_set(err, -errno, "make an eventfd");
    if (object->a && write(fd, &object->a, sizeof(object->a)) != sizeof(object->a))
        return stint_err_set(err, -errno, "set an eventfd to %llu",
                             (unsigned long long)object->a);
    return stint_steal_fd(&fd);
}

int stint_object_open_signalfd(struct stint_restore *restore,
                               struct stint_restored_object *o, struct stint_err *err)
{
    int flags = (int)o->object->open_flags & O_NONBLOCK; /* SFD_NONBLOCK */
    int fd = (int)syscall(SYS_signalfd4, -1, &o->object->a, sizeof(o->object->a),
                          O_CLOEXEC | flags);

    return fd < 0 ? stint_err_set(err, -errno, "make a signalfd") : fd;
}

/* --- timerfd -------------------------------------------------------------------- */

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now = {0};

    (void)clock_gettime(clock, &now); /* a clock that timerfd takes */
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static struct timespec time_of(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / SECOND_NS), (long)(ns % SECOND_NS)};
}

/* Unread expirations, where the ioctl is not built in: one that is due already fires at
 * once, and a periodic one counts the periods since then. */
static int expire(int fd, const struct stint_timerfd *timer)
{
    struct itimerspec spec = {.it_interval = time_of(timer->interval_ns),
                              .it_value = {.tv_nsec = 1}};
    uint64_t behind = timer->ticks * timer->interval_ns;
    uint64_t next = now_ns(timer->clockid) + timer->value_ns;

    if (timer->interval_ns && next > behind)
        spec.it_value = time_of(next - behind);
    return timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0 ? -errno : 0;
}

static int arm(int fd, const struct stint_timerfd *timer)
{
    struct itimerspec spec = {.it_interval = time_of(timer->interval_ns)};
    int flags = (int)timer->settime_flags & (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET);
    uint64_t value = timer->value_ns;

    /* A time of the wall clock stays what it was; elapsed time did not pass in between. */
    if (value && flags & TFD_TIMER_ABSTIME)
        value += timer->clockid == CLOCK_REALTIME || timer->clockid == CLOCK_REALTIME_ALARM
                     ? timer->realtime_ns
                     : now_ns(timer->clockid);
    spec.it_value = time_of(value);
    return timerfd_settime(fd, flags, &spec, NULL) < 0 ? -errno : 0;
}

int stint_object_open_timerfd(struct stint_restore *restore, struct stint_restored_object *o,
                              struct stint_err *err)
{
    const struct stint_timerfd *timer = extra_of(o->object, sizeof(*timer));
    STINT_AUTO_CLOSE int fd = -1;
    int r;

    if (!timer)
        return stint_err_set(err, -EBADMSG, "a timer is not described.");
    fd = timerfd_create(timer->clockid, TFD_CLOEXEC | ((int)o->object->open_flags & O_NONBLOCK));
    if (fd < 0)
        return stint_err_set(err, -errno, "make a timer on clock %d", timer->clockid);
    r = arm(fd, timer);
    if (r == 0 && timer->ticks && ioctl(fd, TFD_IOC_SET_TICKS, &timer->ticks) < 0)
        r = expire(fd, timer);
    return r < 0 ? stint_err_set(err, r, "set a timer") : stint_steal_fd(&fd);
}

/* --- pidfd ---------------------------------------------------------------------- */

/* Of a process that lives (or is a zombie): it has to exist first. */
static int open_living(const struct stint_object *object, struct stint_err *err)
{
    /* PIDFD_NONBLOCK and PIDFD_THREAD are these flags */
    int flags = (int)object->open_flags & (O_NONBLOCK | O_EXCL);
    int fd = (int)syscall(SYS_pidfd_open, (pid_t)object->a, flags);

    if (fd < 0)
        return stint_err_set(err, -errno, "open a pidfd of process %llu",
                             (unsigned long long)object->a);
    return fd;
}

/* Of one that has been reaped: all of them look the same. */
static int open_dead(const struct stint_object *object, struct stint_err *err)
{
    int fd = -1;
    struct clone_args args = {.flags = CLONE_PIDFD, .pidfd = (uint64_t)&fd,
                              .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &args, sizeof(args));

    if (pid == 0)
        _exit(0);
    if (pid < 0)
        return stint_err_set(err, -errno, "make a process for a pidfd");
    (void)waitpid((pid_t)pid, NULL, 0); /* our child: it is there */
    if (object->open_flags & O_NONBLOCK)
        (void)fcntl(fd, F_SETFL, O_NONBLOCK); /* a flag that pidfds know */
    return fd;
}

int stint_object_open_pidfd(struct stint_restore *restore, struct stint_restored_object *o,
                            struct stint_err *err)
{
    return o->object->a ? open_living(o->object, err) : open_dead(o->object, err);
}
