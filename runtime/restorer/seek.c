/* Clients that were not accepted yet, and sockets that lead to other groups.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A listener's queue is filled in its old order, whoever its clients belong to: its group
 * lets one after the other have its turn. A client of another group is told by an offer that
 * is meant for it only (GROUP/#ID<ADDRESS), and the next one's turn comes when the queue has
 * grown. Sockets that need no turn wait for the offer GROUP/#ID. Nobody waits for one thing
 * only: two groups that have clients at each other's listeners get on.
 */
#include "runtime/restorer/seek.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/meeting.h"

#define POLL_MS    200
#define TURN_MS    5    /* nothing announces that a queue has grown */
#define ARRIVAL_MS 5000 /* datagrams may get lost */

/* A client that waits at one of our listeners. */
struct turn {
    struct stint_restored_socket *listener;
    struct stint_restored_socket *client; /* NULL: of another group */
    uint32_t order;
    char group[128], address[STINT_MEETING_NAME]; /* of another group */
};

struct seeking {
    struct stint_meeting meeting;
    struct stint_sockets *sockets;
    struct turn *turns;
    size_t nturns, turn; /* turn: the first that has not connected */
    bool is_told;        /* the client of that one knows */
    uint32_t queued;     /* in all queues, when it was told */
    bool *done;          /* of sockets->list: has found its other end */
};

static bool is_inet(const struct stint_restored_socket *sock)
{
    return sock->record->family == AF_INET || sock->record->family == AF_INET6;
}

static bool is_udp(const struct stint_restored_socket *sock)
{
    return is_inet(sock) && sock->record->type == SOCK_DGRAM;
}

static bool is_listener(const struct stint_restored_socket *sock)
{
    return is_inet(sock) && sock->record->type == SOCK_STREAM
           && sock->record->state == STINT_SOCKET_LISTENING;
}

static bool is_pending(const struct stint_restored_socket *sock)
{
    return is_inet(sock) && sock->record->type == SOCK_STREAM
           && sock->record->state == STINT_SOCKET_PENDING;
}

bool stint_seek_is(const struct stint_restored_socket *sock)
{
    uint32_t state = sock->record->state;

    if (!is_inet(sock) || !(sock->record->flags & STINT_SOCKET_REMOTE)
        || sock->record->peer_name_len < sizeof(struct sockaddr_in))
        return false;
    return is_udp(sock) ? state == STINT_SOCKET_CONNECTED
                        : state == STINT_SOCKET_PENDING || state == STINT_SOCKET_CONNECTING;
}

/* --- turns ------------------------------------------------------------------------------ */

/* "GROUP ADDRESS" */
static bool parse_client(const struct stint_socket_piece *piece, struct turn *turn)
{
    char text[256], *space;

    if (piece->record->len == 0 || piece->record->len > sizeof(text)
        || piece->bytes[piece->record->len - 1])
        return false;
    memcpy(text, piece->bytes, piece->record->len);
    space = strchr(text, ' ');
    if (!space || (size_t)(space - text) >= sizeof(turn->group)
        || strlen(space + 1) >= sizeof(turn->address))
        return false;
    memcpy(turn->group, text, (size_t)(space - text));
    memcpy(turn->address, space + 1, strlen(space + 1));
    return true;
}

static int add_remote_turns(struct seeking *seeking, struct stint_restored_socket *listener,
                            struct stint_err *err)
{
    struct stint_socket_piece piece;
    size_t cursor = 0;

    while (stint_socket_next(listener, &cursor, &piece)) {
        struct turn *turn = &seeking->turns[seeking->nturns];

        *turn = (struct turn){.listener = listener, .order = piece.record->order};
        if (!parse_client(&piece, turn))
            return stint_err_set(err, -EBADMSG, "the clients of TCP socket %u do not parse.",
                                 listener->object->object->id);
        seeking->nturns++;
    }
    return 0;
}

static int compare_turns(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;

    if (x->listener != y->listener)
        return x->listener < y->listener ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static int find_turns(struct seeking *seeking, struct stint_err *err)
{
    struct stint_sockets *sockets = seeking->sockets;
    size_t most = sockets->count;
    int r = 0;

    for (size_t i = 0; i < sockets->count; i++)
        most += is_listener(&sockets->list[i]) ? sockets->list[i].record->nmessages : 0;
    seeking->turns = calloc(most + 1, sizeof(*seeking->turns));
    if (!seeking->turns)
        return stint_err_set(err, -ENOMEM, "restore sockets");
    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        struct stint_restored_socket *sock = &sockets->list[i], *listener;

        if (is_listener(sock))
            r = add_remote_turns(seeking, sock, err);
        if (!is_pending(sock) || stint_seek_is(sock))
            continue;
        listener = stint_socket_by_id(sockets, sock->record->peer);
        if (!listener || !is_listener(listener))
            return stint_err_set(err, -EBADMSG, "the image names no listener of TCP socket %u.",
                                 sock->object->object->id);
        seeking->turns[seeking->nturns++]
            = (struct turn){.listener = listener, .client = sock, .order = sock->record->order};
    }
    qsort(seeking->turns, seeking->nturns, sizeof(*seeking->turns), compare_turns);
    return r;
}

static uint16_t port_of(const struct stint_restored_socket *sock)
{
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof(at);

    (void)getsockname(sock->object->fd, (struct sockaddr *)&at, &len); /* then: 0 */
    return ntohs(((const struct sockaddr_in *)(const void *)&at)->sin_port);
}

/* In the queues of all listeners: several may share a port. */
static uint32_t count_queued(const struct stint_sockets *sockets)
{
    uint32_t count = 0;

    for (size_t i = 0; i < sockets->count; i++) {
        struct tcp_info info = {0};
        socklen_t len = sizeof(info);

        if (is_listener(&sockets->list[i])
            && getsockopt(sockets->list[i].object->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
            count += info.tcpi_unacked; /* what it means for a listener */
    }
    return count;
}

/* The next checkpoint tells their order by the kernel's ticks. */
static void await_tick(void)
{
    struct timespec tick = {0, 10000000};

    (void)clock_getres(CLOCK_MONOTONIC_COARSE, &tick); /* else: the longest */
    (void)poll(NULL, 0, (int)(tick.tv_nsec / 1000000) + 1);
}

/* Let as many have their turn as can. Returns 0 or -errno with *err. */
static int take_turns(struct seeking *seeking, struct stint_err *err)
{
    while (seeking->turn < seeking->nturns) {
        const struct turn *turn = &seeking->turns[seeking->turn];

        if (turn->client) {
            int r = stint_inet_connect_pending(seeking->sockets, turn->client, err);

            if (r < 0)
                return r;
        } else if (!seeking->is_told) {
            seeking->is_told = true;
            seeking->queued = count_queued(seeking->sockets);
            stint_control_send(seeking->sockets->restore, "listening #%u<%s %u",
                               turn->listener->object->object->id, turn->address,
                               port_of(turn->listener));
            return 0;
        } else if (count_queued(seeking->sockets) <= seeking->queued) {
            return 0;
        }
        seeking->is_told = false;
        if (++seeking->turn < seeking->nturns)
            await_tick();
    }
    return 0;
}

/* --- those that seek ----------------------------------------------------------------------- */

static int begin_connect(int fd, const struct sockaddr *to, socklen_t len)
{
    return connect(fd, to, len) == 0 || errno == EINPROGRESS ? 0 : -errno;
}

static int try_address(const struct stint_restored_socket *sock, const char *address,
                       uint16_t port)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    struct sockaddr_storage to;
    socklen_t len = stint_meeting_address(sock, address, port, &to);
    int r;

    if (len == 0)
        return -EAFNOSUPPORT;
    if (!is_pending(sock))
        return begin_connect(sock->object->fd, (const struct sockaddr *)&to, len);
    r = stint_inet_connect_soon(sock->object->fd, (const struct sockaddr *)&to, len);
    if (r < 0) /* for the next address; it stays bound */
        (void)connect(sock->object->fd, &nobody, sizeof(nobody));
    return r;
}

static bool is_old_address(const struct stint_restored_socket *sock, const char *address)
{
    char name[STINT_MEETING_NAME];
    const char *at = name;
    size_t len = strlen(address);

    stint_meeting_print(sock->peer_name, name);
    at += *at == '[';
    return strncmp(at, address, len) == 0 && (at[len] == ':' || at[len] == ']');
}

static int connect_to(const struct stint_restored_socket *sock, const struct stint_place *place,
                      struct stint_err *err)
{
    char name[STINT_MEETING_NAME];
    int r = -EADDRNOTAVAIL;

    for (int old = 1; old >= 0; old--)
        for (size_t i = 0; r != 0 && i < place->count; i++) {
            if (is_old_address(sock, place->addresses[i]) == (old == 1))
                r = try_address(sock, place->addresses[i], place->port);
        }
    if (r == 0)
        return 0;
    stint_meeting_print(sock->peer_name, name);
    return stint_err_set(err, r, "connect to %s of the group %s again", name, sock->dir);
}

static void name_key(const struct stint_restored_socket *sock, char *key, size_t size)
{
    char own[STINT_MEETING_NAME];
    int len = snprintf(key, size, "%.100s/#%u", sock->dir, sock->record->peer);

    if (!is_pending(sock))
        return;
    stint_meeting_print(sock->name, own);
    (void)snprintf(key + len, size - (size_t)len, "<%s", own); /* fits */
}

/* Datagrams that this socket had sent, and that were not read there yet, are in the other
 * group's image. They may get lost, as ever. */
static int send_datagrams(const struct stint_restored_socket *sock,
                          const struct stint_image *image, struct stint_err *err)
{
    char own[STINT_MEETING_NAME], sender[STINT_MEETING_NAME];
    struct stint_image_record rec;
    size_t cursor = 0;

    stint_meeting_print(sock->name, own);
    while (stint_image_next_of(image, STINT_REC_OBJECT, &cursor, &rec)) {
        struct stint_restored_object object = {.object = rec.payload, .fd = -1};
        struct stint_restored_socket other = {.object = &object, .temp = -1};
        struct stint_socket_piece piece;
        size_t at = 0;
        int r;

        if (object.object->kind != STINT_OBJ_INET || object.object->id != sock->record->peer
            || !stint_socket_parse(&other))
            continue;
        r = stint_socket_load_data(image, &other, err);
        while (r == 0 && stint_socket_next(&other, &at, &piece)) {
            if (piece.record->order != 1
                || piece.record->name_len < sizeof(struct sockaddr_in))
                continue;
            stint_meeting_print(piece.name, sender);
            if (strcmp(sender, own) == 0)
                (void)stint_meeting_send(sock->object->fd, piece.bytes, piece.record->len, 100);
        }
        free(other.data);
        return r;
    }
    return 0;
}

static int send_again(struct seeking *seeking, const struct stint_restored_socket *sock,
                      struct stint_err *err)
{
    struct stint_image *image = NULL;
    char name[NAME_MAX + 1];
    int r;

    (void)snprintf(name, sizeof(name), "%.200s.grp", sock->dir); /* fits */
    r = stint_restore_open_image(seeking->sockets->restore, name, STINT_IMAGE_GROUP, &image,
                                 err);
    if (r == 0)
        r = send_datagrams(sock, image, err);
    stint_image_close(image);
    return r;
}

/* Connect those of which the other end is known by now. *awaited: one of which it is not. */
static int connect_known(struct seeking *seeking, const struct stint_restored_socket **awaited,
                         struct stint_err *err)
{
    struct stint_sockets *sockets = seeking->sockets;
    int r = 0;

    *awaited = NULL;
    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        const struct stint_restored_socket *sock = &sockets->list[i];
        const struct stint_place *place;
        char key[256];

        if (seeking->done[i] || !stint_seek_is(sock))
            continue;
        name_key(sock, key, sizeof(key));
        place = stint_meeting_find(&seeking->meeting, key);
        if (!place) {
            *awaited = sock;
            continue;
        }
        seeking->done[i] = true;
        r = connect_to(sock, place, err);
        if (r == 0 && is_udp(sock))
            r = send_again(seeking, sock, err);
    }
    return r;
}

/* --- datagrams of others -------------------------------------------------------------------- */

static size_t count_datagrams(int fd)
{
    const int zero = 0, off = -1;
    size_t count = 0;
    char byte;

    if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) < 0)
        return 0;
    while (count < INT_MAX && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC) >= 0)
        count++;
    (void)setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)); /* valid */
    return count;
}

/* Datagrams that others are to send again: those, and how many are there before. */
static size_t count_awaited(const struct stint_restored_socket *sock)
{
    struct stint_socket_piece piece;
    size_t cursor = 0, count = 0;

    while (stint_socket_next(sock, &cursor, &piece))
        count += piece.record->order == 1;
    return count;
}

/* The program finds what had arrived, if the other side is as quick as that. */
static void await_datagrams(const struct stint_sockets *sockets)
{
    int64_t deadline = stint_meeting_now() + ARRIVAL_MS;

    for (size_t i = 0; i < sockets->count; i++) {
        const struct stint_restored_socket *sock = &sockets->list[i];
        size_t wanted;

        if (!is_udp(sock) || !(sock->record->flags & STINT_SOCKET_SOUGHT)
            || count_awaited(sock) == 0)
            continue;
        wanted = sock->record->nmessages;
        while (count_datagrams(sock->object->fd) < wanted && stint_meeting_now() < deadline)
            (void)poll(NULL, 0, TURN_MS); /* nothing announces those behind the first */
    }
}

/* --- all ---------------------------------------------------------------------------------- */

/* Tell where ours of a kind are. */
static void offer(const struct stint_sockets *sockets,
                  bool (*is_kind)(const struct stint_restored_socket *sock))
{
    for (size_t i = 0; i < sockets->count; i++) {
        const struct stint_restored_socket *sock = &sockets->list[i];

        if (is_kind(sock) && (sock->record->flags & STINT_SOCKET_SOUGHT))
            stint_control_send(sockets->restore, "listening #%u %u", sock->object->object->id,
                               port_of(sock));
    }
}

/* Tell for whom we wait. Returns whether there is anybody. */
static bool announce(const struct seeking *seeking)
{
    const struct stint_sockets *sockets = seeking->sockets;
    bool is_meeting = false;

    for (size_t i = 0; i < sockets->count; i++) {
        const struct stint_restored_socket *sock = &sockets->list[i];

        if (stint_seek_is(sock)) {
            stint_control_send(sockets->restore, "connections %s", sock->dir);
            is_meeting = true;
        }
    }
    for (size_t i = 0; i < seeking->nturns; i++) {
        if (!seeking->turns[i].client) {
            stint_control_send(sockets->restore, "connections %s", seeking->turns[i].group);
            is_meeting = true;
        }
    }
    return is_meeting;
}

static int seek(struct seeking *seeking, struct stint_err *err)
{
    const struct stint_restored_socket *awaited = NULL;
    bool turns = true;
    int r;

    for (;;) {
        r = take_turns(seeking, err);
        if (r == 0 && turns && seeking->turn == seeking->nturns) {
            turns = false;
            offer(seeking->sockets, is_listener); /* the queues are as they were */
        }
        if (r == 0)
            r = connect_known(seeking, &awaited, err);
        if (r < 0 || (!turns && !awaited))
            return r;
        r = stint_meeting_hear(&seeking->meeting,
                               turns ? seeking->turns[seeking->turn].group : awaited->dir,
                               turns ? TURN_MS : POLL_MS, err);
        if (r < 0)
            return r;
    }
}

int stint_seek_all(struct stint_sockets *sockets, struct stint_err *err)
{
    struct seeking seeking = {.sockets = sockets};
    bool is_meeting = false;
    int r;

    stint_meeting_start(&seeking.meeting, sockets->restore);
    seeking.done = calloc(sockets->count + 1, sizeof(*seeking.done));
    r = seeking.done ? find_turns(&seeking, err)
                     : stint_err_set(err, -ENOMEM, "restore sockets");
    if (r == 0) {
        offer(sockets, is_udp);
        is_meeting = announce(&seeking);
        r = seek(&seeking, err);
    }
    stint_meeting_end(&seeking.meeting, r == 0 && is_meeting);
    if (r == 0)
        await_datagrams(sockets);
    free(seeking.turns);
    free(seeking.done);
    return r;
}
