/* One process of the program during a checkpoint.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_peer.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "coordinator/agent_proc.h"
#include "coordinator/agent_unblock.h"

#define SEND_TIMEOUT_MS 5000

union packet {
    struct stint_ckpt_header header;
    struct stint_ckpt_hello hello;
    struct stint_ckpt_fds fds;
    struct stint_ckpt_captured captured;
    struct stint_ckpt_failed failed;
    struct stint_ckpt_unblock unblock;
    struct stint_ckpt_watch watch;
    struct stint_ckpt_mq_notify mq_notify;
    struct stint_ckpt_sem_undo sem_undo;
    char bytes[STINT_CKPT_PACKET_MAX];
};

union control {
    char bytes[CMSG_SPACE(sizeof(int) * STINT_FDS_MAX)];
    struct cmsghdr align;
};

/* A peer that does not keep to the protocol is one that cannot be checkpointed. */
static void protocol_error(struct agent_peer *peer, const char *what)
{
    peer->state = PEER_FAILED;
    peer->callbacks->failed(peer, EPROTO, what);
}

static void on_hello(struct agent_peer *peer, const union packet *packet, size_t len)
{
    if (len < offsetof(struct stint_ckpt_hello, keyrings) || peer->state != PEER_NEW
        || packet->hello.pid != peer->inner) {
        protocol_error(peer, "unexpected HELLO");
        return;
    }
    memcpy(&peer->hello, &packet->hello, len < sizeof(peer->hello) ? len : sizeof(peer->hello));
    peer->state = PEER_STOPPED;
    peer->callbacks->stopped(peer);
}

/* The process says FAILED by itself when this has not helped. */
static void unblock(struct agent_peer *peer, int32_t tid)
{
    struct stint_err err;

    if (peer->state == PEER_NEW && agent_unblock_thread(peer->pid, tid, &err) < 0)
        stint_warn("process %d (%s): %s", (int)peer->inner, peer->comm, err.text);
}

/* Sort out which descriptors came along. Returns 0, or -errno with all of them closed. */
static int match_descriptors(const struct stint_ckpt_fds *list, const int *got, size_t ngot,
                             int *fds)
{
    size_t next = 0, wanted = 0;

    for (uint32_t i = 0; i < list->count; i++)
        wanted += list->passed[i] != 0;
    if (wanted != ngot) {
        for (size_t i = 0; i < ngot; i++)
            (void)close(got[i]); /* a copy */
        return -EPROTO;
    }
    for (uint32_t i = 0; i < list->count; i++)
        fds[i] = list->passed[i] ? got[next++] : -1;
    return 0;
}

static void on_fds(struct agent_peer *peer, union packet *packet, size_t len, const int *got,
                   size_t ngot)
{
    int fds[STINT_FDS_MAX];

    if (len < sizeof(packet->fds)) /* an older runtime, in a program that was restored */
        memset(packet->fds.peer_pid, 0, sizeof(packet->fds.peer_pid));
    if (len < offsetof(struct stint_ckpt_fds, peer_pid) || peer->state != PEER_LISTING
        || packet->fds.count > STINT_FDS_MAX
        || match_descriptors(&packet->fds, got, ngot, fds) < 0) {
        protocol_error(peer, "its descriptors did not arrive whole (limit of open files?)");
        return;
    }
    if (packet->fds.flags & STINT_FDS_LAST)
        peer->state = PEER_LISTED;
    peer->callbacks->descriptors(peer, &packet->fds, fds);
}

static void on_packet(struct agent_peer *peer, union packet *packet, size_t len,
                      const int *got, size_t ngot)
{
    if (len < sizeof(packet->header) || packet->header.magic != STINT_CKPT_MAGIC
        || packet->header.version != STINT_CKPT_VERSION) {
        protocol_error(peer, "its libstint.so is of another version");
        return;
    }
    switch (packet->header.type) {
    case STINT_CKPT_HELLO:
        on_hello(peer, packet, len);
        return;
    case STINT_CKPT_UNBLOCK:
        if (len >= sizeof(packet->unblock))
            unblock(peer, packet->unblock.tid);
        return;
    case STINT_CKPT_FDS:
        on_fds(peer, packet, len, got, ngot);
        return;
    case STINT_CKPT_WATCH:
        if (len < sizeof(packet->watch))
            break;
        packet->watch.path[sizeof(packet->watch.path) - 1] = '\0';
        if (peer->state == PEER_LISTING)
            peer->callbacks->watch(peer, &packet->watch);
        return;
    case STINT_CKPT_MQ_NOTIFY:
        if (len < sizeof(packet->mq_notify))
            break;
        if (peer->state == PEER_LISTING)
            peer->callbacks->mq_notify(peer, &packet->mq_notify);
        return;
    case STINT_CKPT_SEM_UNDO:
        if (len < sizeof(packet->sem_undo))
            break;
        if (peer->state == PEER_LISTING)
            peer->callbacks->sem_undo(peer, &packet->sem_undo);
        return;
    case STINT_CKPT_CAPTURED:
        if (len < sizeof(packet->captured) || peer->state != PEER_CAPTURING)
            break;
        peer->captured = packet->captured;
        peer->state = PEER_CAPTURED;
        peer->callbacks->captured(peer);
        return;
    case STINT_CKPT_FAILED:
        if (len < sizeof(packet->failed))
            break;
        packet->failed.reason[sizeof(packet->failed.reason) - 1] = '\0';
        peer->state = PEER_FAILED;
        peer->callbacks->failed(peer, packet->failed.error, packet->failed.reason);
        return;
    default:
        break;
    }
    protocol_error(peer, "unexpected packet");
}

static size_t take_descriptors(struct msghdr *message, int *got)
{
    size_t count = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t n;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(got + count, CMSG_DATA(c), n * sizeof(int));
        count += n;
    }
    return count;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct agent_peer *peer = arg;
    union packet packet;
    union control control;
    struct iovec iov = {&packet, sizeof(packet)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    int got[STINT_FDS_MAX];
    size_t ngot;
    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        event_del(peer->event);
        peer->callbacks->gone(peer);
        return;
    }
    ngot = take_descriptors(&message, got);
    if (ngot > 0 && packet.header.type != STINT_CKPT_FDS) {
        for (size_t i = 0; i < ngot; i++)
            (void)close(got[i]); /* sent along with what has none */
        ngot = 0;
    }
    on_packet(peer, &packet, (size_t)n, got, ngot);
}

static int identify(struct agent_peer *peer)
{
    struct agent_inner inner;
    struct agent_proc proc;

    if (agent_proc_read(peer->pid, &proc) < 0 || agent_proc_inner(peer->pid, &inner) < 0)
        return -ESRCH;
    peer->start = proc.start;
    peer->inner = inner.pid;
    memcpy(peer->comm, proc.comm, sizeof(peer->comm));
    return 0;
}

struct agent_peer *agent_peer_new(struct event_base *base, int fd, pid_t pid,
                                  const struct agent_peer_callbacks *callbacks, void *owner)
{
    struct agent_peer *peer = calloc(1, sizeof(*peer));

    if (!peer) {
        (void)close(fd); /* the process goes on */
        return NULL;
    }
    peer->fd = fd;
    peer->image_fd = -1;
    peer->pid = pid;
    peer->callbacks = callbacks;
    peer->owner = owner;
    peer->event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, peer);
    if (!peer->event || event_add(peer->event, NULL) < 0 || identify(peer) < 0) {
        agent_peer_free(peer);
        return NULL;
    }
    return peer;
}

void agent_peer_free(struct agent_peer *peer)
{
    if (!peer)
        return;
    if (peer->event)
        event_free(peer->event);
    stint_cleanup_close(&peer->fd);
    stint_cleanup_close(&peer->image_fd);
    free(peer->image_name);
    free(peer);
}

int agent_peer_send(struct agent_peer *peer, enum stint_ckpt_type type, void *packet,
                    size_t len, int pass)
{
    struct stint_ckpt_header *header = packet;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec iov = {packet, len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct pollfd writable = {peer->fd, POLLOUT, 0};

    header->magic = STINT_CKPT_MAGIC;
    header->version = STINT_CKPT_VERSION;
    header->type = (uint16_t)type;
    if (pass >= 0) {
        struct cmsghdr *cmsg;

        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        cmsg = CMSG_FIRSTHDR(&message);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &pass, sizeof(pass));
    }
    /* The queue is full only when a process has many packets to read: it is reading. */
    while (sendmsg(peer->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -errno;
        if (poll(&writable, 1, SEND_TIMEOUT_MS) == 0)
            return -ETIMEDOUT;
    }
    return 0;
}
