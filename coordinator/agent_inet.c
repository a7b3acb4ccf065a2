/* TCP connections of the program.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The program stands still, but the kernel does not: what has been sent moves on to the
 * receiver's queue as long as there is room, and is copied there by peeking. A queue that is
 * full is given more room. Only when that is not enough must bytes be taken out to see those
 * behind them; they are sent again at once, so the program finds the same bytes in the same
 * order.
 */
#include "coordinator/agent_inet.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "coordinator/agent_state.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14 */
#endif
#ifndef SOCK_RCVBUF_LOCK
#define SOCK_RCVBUF_LOCK 2
#endif

#define SETTLE_MS   400  /* longer than any delayed acknowledgement */
#define PUSH_MS      8000
#define PUT_BACK_MS 15000
#define PIECE       (256u << 10)

/* --- addresses --------------------------------------------------------------------- */

/* An address in one form for both families: v4 as mapped v6. */
struct end {
    struct in6_addr address;
    uint16_t port;
};

static struct end end_of(const struct sockaddr_storage *name)
{
    struct end end = {.port = 0};

    if (name->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)name;

        end.address.s6_addr[10] = end.address.s6_addr[11] = 0xff;
        memcpy(&end.address.s6_addr[12], &in->sin_addr, sizeof(in->sin_addr));
        end.port = in->sin_port;
    } else if (name->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)name;

        end.address = in6->sin6_addr;
        end.port = in6->sin6_port;
    }
    return end;
}

bool agent_inet_is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    const struct end x = end_of(a), y = end_of(b);

    return x.port == y.port && memcmp(&x.address, &y.address, sizeof(x.address)) == 0;
}

bool agent_inet_is_any(const struct sockaddr_storage *name)
{
    static const struct in6_addr any;
    static const unsigned char any4[16] = {[10] = 0xff, [11] = 0xff};
    const struct end end = end_of(name);

    return memcmp(&end.address, &any, sizeof(any)) == 0
           || memcmp(&end.address, any4, sizeof(any4)) == 0;
}

uint16_t agent_inet_port(const struct sockaddr_storage *name)
{
    return end_of(name).port;
}

bool agent_inet_may_be(const struct sockaddr_storage *bound,
                       const struct sockaddr_storage *name)
{
    const struct end end = end_of(bound);

    return agent_inet_is_same(bound, name)
           || (end.port != 0 && end.port == end_of(name).port && agent_inet_is_any(bound));
}

struct agent_object *agent_inet_other_end(const struct agent_objects *all,
                                          const struct agent_object *object)
{
    const struct agent_socket *sock = object->socket;

    for (size_t i = 0; i < all->count; i++) {
        const struct agent_socket *other = all->list[i]->socket;

        if (other && all->list[i] != object && other->record.type == SOCK_STREAM
            && (other->record.family == AF_INET || other->record.family == AF_INET6)
            && other->record.peer_name_len && sock->record.peer_name_len
            && agent_inet_is_same(&other->name, &sock->peer_name)
            && agent_inet_is_same(&other->peer_name, &sock->name))
            return all->list[i];
    }
    return NULL;
}

bool agent_inet_has_sent_fin(uint8_t state)
{
    return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING
           || state == TCP_LAST_ACK;
}

bool agent_inet_has_got_fin(uint8_t state)
{
    return state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK || state == TCP_CLOSING;
}

/* --- bytes ------------------------------------------------------------------------- */

static int queued(const struct agent_object *object, unsigned long request)
{
    int bytes = 0;

    return ioctl(object->fd, request, &bytes) < 0 ? 0 : bytes;
}

int agent_inet_peek(struct agent_object *object, struct stint_err *err)
{
    int pending = queued(object, SIOCINQ), offset;
    const int none = -1;
    char *bytes;
    ssize_t n;

    if (pending <= 0)
        return 0;
    bytes = malloc((size_t)pending);
    if (!bytes)
        return stint_err_set(err, -ENOMEM, "copy what is under way");
    offset = agent_socket_int(object, SOL_SOCKET, SO_PEEK_OFF, -1);
    if (offset >= 0)
        (void)setsockopt(object->fd, SOL_SOCKET, SO_PEEK_OFF, &none, sizeof(none)); /* valid */
    n = recv(object->fd, bytes, (size_t)pending, MSG_PEEK | MSG_DONTWAIT);
    if (offset >= 0)
        (void)setsockopt(object->fd, SOL_SOCKET, SO_PEEK_OFF, &offset,
                         sizeof(offset)); /* what it was is valid */
    if (n != pending) {
        free(bytes);
        return stint_err_set(err, n < 0 ? -errno : -EIO,
                             "copy the %d bytes under way in a TCP socket", pending);
    }
    return agent_socket_add_message(object->socket, bytes, (size_t)n)
               ? 0
               : stint_err_set(err, -ENOMEM, "copy what is under way");
}

/* Make the kernel deliver what it only holds back: acknowledgements that wait for company,
 * and corked segments. Returns whether everything has arrived. */
static bool push(const struct agent_object *from, const struct agent_object *to)
{
    const int zero = 0, one = 1;
    int corked = agent_socket_int(from, IPPROTO_TCP, TCP_CORK, 0);
    int64_t last = agent_now_ms(), end = last + PUSH_MS;
    int before = queued(from, SIOCOUTQ);

    if (before == 0)
        return true;
    if (corked)
        (void)setsockopt(from->fd, IPPROTO_TCP, TCP_CORK, &zero, sizeof(zero)); /* valid */
    while (before > 0 && agent_now_ms() < last + SETTLE_MS && agent_now_ms() < end) {
        struct pollfd wait = {from->fd, 0, 0};
        int now;

        (void)setsockopt(to->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one)); /* valid */
        now = queued(from, SIOCOUTQ);
        if (now < before)
            last = agent_now_ms(); /* it goes on */
        before = now;
        if (now > 0)
            (void)poll(&wait, 1, 5); /* nothing announces an empty send queue */
    }
    if (corked)
        (void)setsockopt(from->fd, IPPROTO_TCP, TCP_CORK, &one, sizeof(one)); /* valid */
    return queued(from, SIOCOUTQ) == 0;
}

/* --- room -------------------------------------------------------------------------- */

static bool is_full(const struct agent_object *object)
{
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof(info);

    return getsockopt(object->fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0
           && info[SK_MEMINFO_RMEM_ALLOC] > 0
           && info[SK_MEMINFO_RMEM_ALLOC] >= info[SK_MEMINFO_RCVBUF] / 2;
}

/* A size that the program has set does not grow: it is as if it had not, for a while. */
static void unlock_size(struct agent_object *object)
{
    int locks = agent_socket_int(object, SOL_SOCKET, SO_BUF_LOCK, 0);
    int size = agent_socket_int(object, SOL_SOCKET, SO_RCVBUF, 0);

    if (!(locks & SOCK_RCVBUF_LOCK) || object->socket->rcvbuf)
        return;
    locks &= ~SOCK_RCVBUF_LOCK;
    if (setsockopt(object->fd, SOL_SOCKET, SO_BUF_LOCK, &locks, sizeof(locks)) == 0)
        object->socket->rcvbuf = size;
}

/* A receive queue grows as TCP adapts it to traffic, or for a reader that wants to sleep until
 * so much is there. Nobody wants that: but the room stays. */
bool agent_inet_make_room(struct agent_object *object)
{
    int before = agent_socket_int(object, SOL_SOCKET, SO_RCVBUF, 0);
    int lowat = agent_socket_int(object, SOL_SOCKET, SO_RCVLOWAT, 1);
    int offset = agent_socket_int(object, SOL_SOCKET, SO_PEEK_OFF, -1);
    const int most = 1 << 30, none = -1;
    char byte;

    if (!is_full(object))
        return false;
    unlock_size(object);
    (void)setsockopt(object->fd, SOL_SOCKET, SO_RCVLOWAT, &most, sizeof(most)); /* valid */
    (void)setsockopt(object->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat, sizeof(lowat)); /* it was */
    if (agent_socket_int(object, SOL_SOCKET, SO_RCVBUF, 0) <= before)
        return false;
    /* a reader tells the sender of room: also one that leaves everything where it is */
    if (offset >= 0)
        (void)setsockopt(object->fd, SOL_SOCKET, SO_PEEK_OFF, &none, sizeof(none)); /* valid */
    (void)recv(object->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT); /* nothing: nothing to tell */
    if (offset >= 0)
        (void)setsockopt(object->fd, SOL_SOCKET, SO_PEEK_OFF, &offset,
                         sizeof(offset)); /* what it was is valid */
    return true;
}

/* What is in the queue by now stays there. */
void agent_inet_end_room(struct agent_object *object)
{
    int half;

    if (!object->socket || !object->socket->rcvbuf || object->fd < 0)
        return;
    half = object->socket->rcvbuf / 2; /* the kernel tells twice what was set */
    object->socket->rcvbuf = 0;
    if (setsockopt(object->fd, SOL_SOCKET, SO_RCVBUFFORCE, &half, sizeof(half)) < 0)
        (void)setsockopt(object->fd, SOL_SOCKET, SO_RCVBUF, &half, sizeof(half)); /* it was */
}

/* --- the whole stream ----------------------------------------------------------------- */

struct taken {
    char *bytes;
    size_t len, room;
};

/* Take bytes out until the sender's queue is empty and ours too. */
static int take_out(const struct agent_object *from, const struct agent_object *to,
                    struct taken *taken)
{
    int64_t deadline = agent_now_ms() + PUT_BACK_MS;

    for (;;) {
        struct pollfd wait = {to->fd, POLLIN, 0};
        ssize_t n;

        if (taken->room - taken->len < PIECE) {
            char *bytes = realloc(taken->bytes, taken->room * 2 + 4 * PIECE);

            if (!bytes)
                return -ENOMEM;
            taken->bytes = bytes;
            taken->room = taken->room * 2 + 4 * PIECE;
        }
        n = recv(to->fd, taken->bytes + taken->len, PIECE, MSG_DONTWAIT);
        if (n > 0) {
            taken->len += (size_t)n;
            continue;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            return n == 0 ? -EPIPE : -errno;
        if (push(from, to) && queued(to, SIOCINQ) == 0)
            return 0;
        if (agent_now_ms() > deadline)
            return -ETIMEDOUT;
        (void)poll(&wait, 1, 20); /* the window opens: more comes */
    }
}

/* Send them again. The room they had is there. */
static int put_back(const struct agent_object *from, const struct taken *taken)
{
    int64_t deadline = agent_now_ms() + PUT_BACK_MS;
    size_t done = 0;

    while (done < taken->len) {
        struct pollfd wait = {from->fd, POLLOUT, 0};
        ssize_t n = send(from->fd, taken->bytes + done, taken->len - done,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n >= 0) {
            done += (size_t)n;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (agent_now_ms() > deadline)
            return -ETIMEDOUT;
        (void)poll(&wait, 1, 20); /* the receiver's kernel takes more */
    }
    return 0;
}

/* The window is full: turn the whole stream once around. */
static int turn_around(struct agent_object *from, struct agent_object *to,
                       struct stint_err *err)
{
    struct taken taken = {0};
    int ret = take_out(from, to, &taken), again = put_back(from, &taken);

    if (again < 0) {
        /* Cannot happen with both ends alive and as much room as before; but if it does,
         * the stream has a hole, and the program must see an error and no wrong data. */
        stint_error("process %d (%s), descriptor %d: a TCP stream could not be put back; the "
                    "connection is cut: %s",
                    (int)to->pid, to->comm, to->number, strerror(-again));
        (void)shutdown(from->fd, SHUT_RDWR); /* all that is left to do */
        (void)shutdown(to->fd, SHUT_RDWR);   /* likewise */
        free(taken.bytes);
        return stint_err_set(err, again, "put a TCP stream back");
    }
    if (ret < 0) {
        free(taken.bytes);
        return stint_err_set(err, ret, "copy what is under way in a TCP connection");
    }
    return agent_socket_add_message(to->socket, taken.bytes, taken.len)
               ? 0
               : stint_err_set(err, -ENOMEM, "copy what is under way");
}

int agent_inet_settle(struct agent_object *from, struct agent_object *to,
                      struct stint_err *err)
{
    uint8_t state = from->socket->tcp_state;

    if (push(from, to) || (agent_inet_make_room(to) && push(from, to)))
        return agent_inet_peek(to, err);
    if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT)
        return stint_err_set(err, -EAGAIN,
                             "process %d (%s), descriptor %d: the end of a TCP stream waits "
                             "for room in the receiver's queue.",
                             (int)to->pid, to->comm, to->number);
    return turn_around(from, to, err);
}

/* --- listeners ----------------------------------------------------------------------- */

struct agent_object *agent_inet_listener(const struct agent_objects *all,
                                         const struct sockaddr_storage *name)
{
    struct agent_object *found = NULL;

    for (size_t i = 0; i < all->count; i++) {
        const struct agent_socket *sock = all->list[i]->socket;

        if (!sock || sock->record.type != SOCK_STREAM || sock->tcp_state != TCP_LISTEN
            || !agent_inet_may_be(&sock->name, name))
            continue;
        if (!found || agent_inet_is_same(&sock->name, name))
            found = all->list[i]; /* the exact address comes first, as in the kernel */
    }
    return found;
}

int agent_inet_join_pending(struct agent_objects *all, struct agent_object *object,
                            const struct agent_tcp_diag *other, struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    struct agent_object *listener = agent_inet_listener(all, &sock->peer_name);

    if (!listener || listener->socket->queue_len == 0)
        return -ENOENT;
    /* Its bytes are in a socket that nobody has a descriptor of. sock_diag tells their number
     * only; TCP_REPAIR wants CAP_NET_ADMIN in the network namespace. accept(2) would do, but
     * nothing puts a connection back: the client would have to be disconnected and connected
     * again while the program runs, behind those that have come since, in a queue that may be
     * full; and strangers ahead of it would have to be accepted, too, and be lost. */
    if (other->rqueue > (other->state == TCP_CLOSE_WAIT) || queued(object, SIOCOUTQ) > 1)
        return stint_err_set(err, -EAGAIN,
                             "process %d (%s), descriptor %d: what was sent over TCP cannot "
                             "be read before process %d (%s) accepts the connection.",
                             (int)object->pid, object->comm, object->number,
                             (int)listener->pid, listener->comm);
    sock->record.state = STINT_SOCKET_PENDING;
    sock->record.peer = listener->record.id;
    return 0;
}
