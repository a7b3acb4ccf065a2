/* What was given to mq_notify(3): the kernel tells only by whom, and with which signal.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One entry per queue, the newest last, kept when the kernel drops the registration (it ends with the first
 * message): the agent asks the kernel whether there is one. With SIGEV_THREAD glibc gives the
 * kernel a cookie of its own and a netlink socket on which its helper thread waits; the
 * cookie is known, the socket is the one that the first such call has made.
 */
#include "runtime/mqueues.h"

#include <errno.h>
#include <mqueue.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/ckpt.h"
#include "common/raw.h"
#include "runtime/interpose.h"

#define MAX        64 /* more than a process has queues that tell it of messages */
#define LOCK_TRIES 10000
#define FDS_MAX    65536

static struct {
    struct entry {
        mqd_t queue; /* as long as the kernel keeps the registration this is the queue: it
                      * drops it when the descriptor is closed */
        struct stint_ckpt_mq_notify packet;
    } entries[MAX];
    _Atomic uint32_t count;
    _Atomic uint32_t lock;
    _Atomic int socket; /* glibc's, + 1; 0: none yet, -1: which one is not known */
} mqueues;

/* The union notify_data of glibc (sysdeps/unix/sysv/linux/mq_notify.c). */
union cookie {
    struct {
        void (*function)(union sigval value);
        union sigval value;
        void *attributes; /* a copy of glibc's own */
    };
    uint8_t bytes[32];
};

static bool lock(void)
{
    /* in a child of fork the holder may be a thread that does not exist here */
    for (int tries = 0; atomic_exchange(&mqueues.lock, 1); tries++) {
        if (tries == LOCK_TRIES)
            return false;
        (void)raw_syscall(SYS_sched_yield);
    }
    return true;
}

static bool is_netlink(int fd)
{
    int domain = 0;
    socklen_t len = sizeof(domain);

    return raw_syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0
           && domain == AF_NETLINK;
}

/* The highest netlink socket, and how many there are. */
static int count_netlink(int *highest)
{
    struct rlimit limit = {FDS_MAX, FDS_MAX};
    int count = 0;

    (void)raw_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit); /* valid */
    for (int fd = 0; fd < FDS_MAX && (rlim_t)fd < limit.rlim_cur; fd++) {
        if (is_netlink(fd)) {
            *highest = fd;
            count++;
        }
    }
    return count;
}

/* Other netlink sockets of the program make it a guess: then it stays unknown. */
static void find_socket(void)
{
    int fd = -1;

    if (mqueues.socket == 0)
        mqueues.socket = count_netlink(&fd) == 1 ? fd + 1 : -1;
}

static bool look(mqd_t queue, uint64_t *dev, uint64_t *ino)
{
    struct stat st;

    if (raw_syscall(SYS_fstat, queue, &st) != 0)
        return false;
    *dev = st.st_dev;
    *ino = st.st_ino;
    return true;
}

/* Forget what was noted of this queue, through whichever descriptor. */
static void forget(const struct entry *fresh)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < mqueues.count; i++) {
        const struct entry *old = &mqueues.entries[i];
        uint64_t dev, ino;

        if (old->queue != fresh->queue && look(old->queue, &dev, &ino)
            && (dev != fresh->packet.dev || ino != fresh->packet.ino))
            mqueues.entries[kept++] = *old;
    }
    mqueues.count = kept;
}

static void describe(struct stint_ckpt_mq_notify *packet, const struct sigevent *event)
{
    union cookie cookie = {.bytes = {0}};

    packet->notify = event->sigev_notify;
    packet->signo = event->sigev_signo;
    packet->value = (uint64_t)event->sigev_value.sival_ptr;
    if (event->sigev_notify != SIGEV_THREAD)
        return;
    find_socket();
    cookie.function = event->sigev_notify_function;
    cookie.value = event->sigev_value;
    memcpy(packet->cookie, cookie.bytes, sizeof(packet->cookie));
    packet->signo = event->sigev_notify_attributes || mqueues.socket < 0 ? -1
                                                                         : mqueues.socket - 1;
}

static void note(mqd_t queue, const struct sigevent *event)
{
    struct entry fresh = {.queue = queue};

    if (!look(queue, &fresh.packet.dev, &fresh.packet.ino))
        return;
    describe(&fresh.packet, event);
    if (!lock())
        return;
    forget(&fresh);
    if (mqueues.count < MAX)
        mqueues.entries[mqueues.count++] = fresh;
    atomic_store(&mqueues.lock, 0);
}

STINT_EXPORT int mq_notify(mqd_t queue, const struct sigevent *event)
{
    int ret = INTERPOSE_REAL(mq_notify)(queue, event), saved = errno;

    if (ret == 0 && event)
        note(queue, event);
    errno = saved;
    return ret;
}

void mqueues_send(int channel)
{
    for (uint32_t i = 0; i < mqueues.count; i++) {
        struct stint_ckpt_mq_notify packet = mqueues.entries[i].packet;
        long n;

        /* after a restart the queue is another file */
        if (!look(mqueues.entries[i].queue, &packet.dev, &packet.ino))
            continue;
        packet.header = (struct stint_ckpt_header){STINT_CKPT_MAGIC, STINT_CKPT_VERSION,
                                                   STINT_CKPT_MQ_NOTIFY};
        do
            n = raw_syscall(SYS_sendto, channel, &packet, sizeof(packet), MSG_NOSIGNAL, NULL, 0);
        while (n == -EINTR);
    }
}
