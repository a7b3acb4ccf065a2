/* What is in a POSIX message queue.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The kernel has no way to look at messages without taking them. They come out by priority,
 * in each priority the oldest first: sent in that order they lie as before. A message that
 * comes into an empty queue is told to whoever has called mq_notify(3), so such a queue is
 * never emptied: see take_last().
 */
#include "coordinator/agent_mqueue.h"

#include <errno.h>
#include <mqueue.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"

#define LOCK_MS     1000
#define PUT_BACK_MS 2000 /* somebody else would have to fill the queue meanwhile */

struct taken {
    int fd;
    char *scratch; /* of msgsize bytes */
    size_t msgsize;
    char *bytes; /* messages as the image has them, room for all */
    size_t len, room;
    unsigned last; /* priority of the newest */
};

/* Take one message. Returns its length or -errno. */
static ssize_t receive(struct taken *taken, unsigned *priority)
{
    ssize_t n;

    do
        n = mq_receive(taken->fd, taken->scratch, taken->msgsize, priority);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int append(struct taken *taken, unsigned priority, size_t len)
{
    struct stint_ipc_message head = {.type = priority, .len = len};
    size_t padded = (len + 7) & ~(size_t)7;

    if (sizeof(head) + padded > taken->room - taken->len)
        return -EOVERFLOW;
    memcpy(taken->bytes + taken->len, &head, sizeof(head));
    memset(taken->bytes + taken->len + sizeof(head), 0, padded);
    memcpy(taken->bytes + taken->len + sizeof(head), taken->scratch, len);
    taken->len += sizeof(head) + padded;
    taken->last = priority;
    return 0;
}

static int take(struct taken *taken, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned priority;
        ssize_t n = receive(taken, &priority);
        int ret = n < 0 ? (int)n : append(taken, priority, (size_t)n);

        if (ret < 0)
            return ret;
    }
    return 0;
}

static int send_again(int fd, const char *text, size_t len, unsigned priority)
{
    const struct timespec pause = {0, 1000000};

    for (int waited_ms = 0;; waited_ms++) {
        if (mq_send(fd, text, len, priority) == 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN || waited_ms == PUT_BACK_MS)
            return -errno;
        nanosleep(&pause, NULL); /* full: somebody outside of the program has sent */
    }
}

/* Send the messages back that have (or have not) the priority `last`. ours: before the first
 * of them stands a message of ours, which goes when that one is there. */
static int put_back(struct taken *taken, bool of_last, bool ours)
{
    for (size_t at = 0; at < taken->len;) {
        struct stint_ipc_message head;
        unsigned ignored;

        memcpy(&head, taken->bytes + at, sizeof(head));
        at += sizeof(head);
        if (of_last == (head.type == (int64_t)taken->last)) {
            int ret = send_again(taken->fd, taken->bytes + at, head.len, (unsigned)head.type);

            if (ret == 0 && ours && receive(taken, &ignored) < 0)
                ret = -EIO;
            if (ret < 0)
                return ret;
            ours = false;
        }
        at += (head.len + 7) & ~UINT64_C(7);
    }
    return 0;
}

/* The queue holds one message of an unknown priority: take it and leave one of ours of the
 * same priority. Ours comes out again as long as its priority is the higher one; of the same
 * priority it stands behind. */
static int take_last(struct taken *taken)
{
    for (unsigned priority = taken->last;; priority--) {
        /* two lengths: the message itself may look like one of them */
        for (size_t probe = 0; probe <= 1; probe++) {
            unsigned got;
            ssize_t n;
            int ret = send_again(taken->fd, "", probe, priority);

            if (ret < 0)
                return ret;
            n = receive(taken, &got);
            if (n < 0)
                return (int)n;
            if ((size_t)n != probe)
                return append(taken, got, (size_t)n);
            if (probe == 1)
                break; /* ours twice */
        }
        if (priority == 0)
            return -EIO; /* cannot be */
    }
}

/* As above, in a queue that must not become empty. */
static int take_told(struct taken *taken, size_t count)
{
    int ret;

    taken->last = MQ_PRIO_MAX - 1;
    ret = take(taken, count - 1);
    if (ret == 0)
        ret = take_last(taken);
    /* only its own priority is there when ours has to come out first */
    if (ret == 0)
        ret = put_back(taken, true, true);
    return ret == 0 ? put_back(taken, false, false) : ret;
}

static int take_untold(struct taken *taken, size_t count)
{
    int ret = take(taken, count), put = put_back(taken, true, false);

    if (put == 0)
        put = put_back(taken, false, false);
    return ret < 0 ? ret : put;
}

/* The agent of another job of the user may be looking at it as well. */
static int lock(int fd)
{
    const struct timespec pause = {0, 1000000};

    for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms++) {
        if (errno != EWOULDBLOCK || waited_ms == LOCK_MS)
            return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        nanosleep(&pause, NULL);
    }
    return 0;
}

int agent_mqueue_copy(int fd, bool told, char **bytes, size_t *len, struct stint_err *err)
{
    struct taken taken = {.fd = fd};
    STINT_AUTO_FREE char *scratch = NULL;
    STINT_AUTO_FREE char *all = NULL;
    struct mq_attr attr;
    int ret;

    ret = lock(fd); /* until fd is closed */
    if (ret < 0)
        return stint_err_set(err, ret, "lock a message queue");
    if (mq_getattr(fd, &attr) < 0)
        return stint_err_set(err, -errno, "look at a message queue");
    *len = 0;
    if (attr.mq_curmsgs == 0)
        return 0;
    if (told && attr.mq_maxmsg == 1)
        return stint_err_set(err, -EAGAIN,
                             "a message queue for one message holds one, and tells of the next "
                             "(mq_notify): it cannot be looked at before that is received.");
    taken.msgsize = (size_t)attr.mq_msgsize;
    taken.room = (size_t)attr.mq_curmsgs * (sizeof(struct stint_ipc_message) + taken.msgsize + 7);
    taken.scratch = scratch = malloc(taken.msgsize + 1);
    taken.bytes = all = malloc(taken.room);
    if (!scratch || !all)
        return stint_err_set(err, -ENOMEM, "copy a message queue");
    ret = told ? take_told(&taken, (size_t)attr.mq_curmsgs)
               : take_untold(&taken, (size_t)attr.mq_curmsgs);
    if (ret < 0)
        return stint_err_set(err, ret, "copy a message queue");
    *bytes = stint_steal_pointer(&all);
    *len = taken.len;
    return 0;
}
