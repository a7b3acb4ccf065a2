/* TCP connections to other groups of the job, on this host or another.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every group is restored by a restorer of its own. Of each connection one end listens, at
 * its old address if this machine has it, and tells its agent where; the coordinator spreads
 * that, and the other end connects and says which connection it is. No end waits before it
 * has said where it listens, and none accepts before it has connected: so they cannot wait
 * for each other for ever.
 *
 * What had arrived at the other end and was not read yet is in the other group's image: it
 * is sent from here again.
 */
#include "runtime/restorer/remote.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "common/cleanup.h"
#include "runtime/restorer/meeting.h"

#define GREET_MS   5000
#define SEND_MS    30000
#define POLL_MS    200
#define BACKLOG    1024
#define GREETING   "STINT-S1"

/* What the end that connects says first. */
struct greeting {
    char magic[8];
    uint8_t gen_id[16];
    char from[STINT_MEETING_NAME], to[STINT_MEETING_NAME]; /* old addresses, NUL-padded */
};

struct listener {
    char name[STINT_MEETING_NAME]; /* old address */
    int fd;
};

struct meeting {
    struct stint_meeting base;
    struct stint_sockets *sockets;
    struct listener *listeners;
    size_t nlisteners;
};

/* --- names --------------------------------------------------------------------------- */

static uint16_t port_of(const struct sockaddr *name)
{
    return ntohs(((const struct sockaddr_in *)(const void *)name)->sin_port);
}

bool stint_remote_is(const struct stint_restored_socket *sock)
{
    return (sock->record->flags & STINT_SOCKET_REMOTE)
           && sock->record->state == STINT_SOCKET_CONNECTED
           && (sock->record->family == AF_INET || sock->record->family == AF_INET6)
           && sock->record->type == SOCK_STREAM
           && sock->record->name_len >= sizeof(struct sockaddr_in)
           && sock->record->peer_name_len >= sizeof(struct sockaddr_in);
}

/* Both sides come to the same answer. Most often the lower port is that of a server. */
static bool listens(const struct stint_restored_socket *sock)
{
    char own[STINT_MEETING_NAME], other[STINT_MEETING_NAME];

    if (port_of(sock->name) != port_of(sock->peer_name))
        return port_of(sock->name) < port_of(sock->peer_name);
    stint_meeting_print(sock->name, own);
    stint_meeting_print(sock->peer_name, other);
    return strcmp(own, other) < 0;
}

/* --- where to meet --------------------------------------------------------------------- */

static int add_listener(struct meeting *meeting, const struct stint_restored_socket *sock,
                        struct stint_err *err)
{
    struct listener *listener = &meeting->listeners[meeting->nlisteners];
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);
    char name[STINT_MEETING_NAME];

    stint_meeting_print(sock->name, name);
    for (size_t i = 0; i < meeting->nlisteners; i++) {
        if (strcmp(meeting->listeners[i].name, name) == 0)
            return 0;
    }
    listener->fd = stint_inet_bound(meeting->sockets, sock, err);
    if (listener->fd < 0)
        return listener->fd;
    memcpy(listener->name, name, sizeof(name));
    meeting->nlisteners++;
    if (listen(listener->fd, BACKLOG) < 0
        || getsockname(listener->fd, (struct sockaddr *)&at, &len) < 0)
        return stint_err_set(err, -errno, "listen for connections of other groups");
    stint_control_send(meeting->sockets->restore, "listening %s %u", name,
                       port_of((const struct sockaddr *)&at));
    return 0;
}

static int listen_all(struct meeting *meeting, struct stint_err *err)
{
    const struct stint_sockets *sockets = meeting->sockets;
    int r = 0;

    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        if (stint_remote_is(&sockets->list[i]) && listens(&sockets->list[i]))
            r = add_listener(meeting, &sockets->list[i], err);
    }
    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        if (stint_remote_is(&sockets->list[i]))
            stint_control_send(sockets->restore, "connections %s", sockets->list[i].dir);
    }
    return r;
}

/* --- the end that connects ------------------------------------------------------------- */

static int greet(const struct stint_sockets *sockets,
                 const struct stint_restored_socket *sock, int fd)
{
    struct greeting greeting = {.magic = GREETING};

    memcpy(greeting.gen_id, sockets->restore->group_image->header.gen_id,
           sizeof(greeting.gen_id));
    stint_meeting_print(sock->name, greeting.from);
    stint_meeting_print(sock->peer_name, greeting.to);
    return stint_meeting_send(fd, &greeting, sizeof(greeting), GREET_MS);
}

static int try_address(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                       const char *address, uint16_t port, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    struct sockaddr_storage to;
    socklen_t len = stint_meeting_address(sock, address, port, &to);
    int r;

    if (len == 0)
        return -EAFNOSUPPORT;
    fd = stint_inet_bound(sockets, sock, err);
    if (fd < 0)
        return fd;
    stint_inet_make_room(sock, fd);
    r = stint_inet_connect_soon(fd, (const struct sockaddr *)&to, len);
    if (r == 0)
        r = greet(sockets, sock, fd);
    return r < 0 ? r : stint_socket_keep(sockets, sock, stint_steal_fd(&fd), err);
}

static int connect_end(struct meeting *meeting, struct stint_restored_socket *sock,
                       struct stint_err *err)
{
    const struct stint_place *place;
    char name[STINT_MEETING_NAME], key[256];
    int r = 0;

    stint_meeting_print(sock->peer_name, name);
    (void)snprintf(key, sizeof(key), "%.100s/%s", sock->dir, name); /* fits */
    while (!(place = stint_meeting_find(&meeting->base, key))) {
        r = stint_meeting_hear(&meeting->base, sock->dir, POLL_MS, err);
        if (r < 0)
            return r;
    }
    r = -EADDRNOTAVAIL;
    for (size_t i = 0; r != 0 && i < place->count; i++)
        r = try_address(meeting->sockets, sock, place->addresses[i], place->port, err);
    return r < 0 ? stint_err_set(err, r, "connect to %s of the group %s again", name, sock->dir)
                 : 0;
}

/* --- the end that listens --------------------------------------------------------------- */

static bool receive_greeting(int fd, struct greeting *greeting)
{
    int64_t deadline = stint_meeting_now() + GREET_MS;
    size_t done = 0;

    while (done < sizeof(*greeting)) {
        ssize_t n = recv(fd, (char *)greeting + done, sizeof(*greeting) - done, MSG_DONTWAIT);

        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR) || stint_meeting_now() > deadline)
            return false;
        else
            (void)stint_socket_wait(fd, POLLIN, POLL_MS); /* the deadline counts */
    }
    return true;
}

static struct stint_restored_socket *find_end(const struct meeting *meeting,
                                              const struct greeting *greeting)
{
    const struct stint_sockets *sockets = meeting->sockets;

    if (memcmp(greeting->magic, GREETING, sizeof(greeting->magic)) != 0
        || memcmp(greeting->gen_id, sockets->restore->group_image->header.gen_id,
                  sizeof(greeting->gen_id))
               != 0)
        return NULL;
    for (size_t i = 0; i < sockets->count; i++) {
        struct stint_restored_socket *sock = &sockets->list[i];
        char own[STINT_MEETING_NAME], other[STINT_MEETING_NAME];

        if (!stint_remote_is(sock) || sock->object->fd >= 0)
            continue;
        stint_meeting_print(sock->name, own);
        stint_meeting_print(sock->peer_name, other);
        if (memcmp(own, greeting->to, STINT_MEETING_NAME) == 0
            && memcmp(other, greeting->from, STINT_MEETING_NAME) == 0)
            return sock;
    }
    return NULL;
}

/* Somebody else may connect by mistake: that is closed again. */
static int accept_one(struct meeting *meeting, int listener, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct stint_restored_socket *sock;
    struct greeting greeting;

    if (fd < 0 || !receive_greeting(fd, &greeting) || !(sock = find_end(meeting, &greeting)))
        return 0;
    stint_inet_make_room(sock, fd);
    stint_inet_accepted(sock, fd);
    return stint_socket_keep(meeting->sockets, sock, stint_steal_fd(&fd), err);
}

static const struct stint_restored_socket *find_awaited(const struct stint_sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++) {
        if (stint_remote_is(&sockets->list[i]) && sockets->list[i].object->fd < 0)
            return &sockets->list[i];
    }
    return NULL;
}

static int accept_all(struct meeting *meeting, struct stint_err *err)
{
    STINT_AUTO_FREE struct pollfd *fds = calloc(meeting->nlisteners + 1, sizeof(*fds));
    const struct stint_restored_socket *awaited;
    int r = 0;

    if (!fds)
        return stint_err_set(err, -ENOMEM, "restore sockets");
    for (size_t i = 0; i < meeting->nlisteners; i++)
        fds[i] = (struct pollfd){meeting->listeners[i].fd, POLLIN, 0};
    fds[meeting->nlisteners] = (struct pollfd){meeting->sockets->restore->control, POLLIN, 0};
    while (r == 0 && (awaited = find_awaited(meeting->sockets))) {
        (void)poll(fds, meeting->nlisteners + 1, POLL_MS); /* the deadline counts */
        for (size_t i = 0; r == 0 && i < meeting->nlisteners; i++) {
            if (fds[i].revents & POLLIN)
                r = accept_one(meeting, fds[i].fd, err);
        }
        if (r == 0 && (fds[meeting->nlisteners].revents
                       || stint_meeting_now() >= meeting->base.deadline_ms))
            r = stint_meeting_hear(&meeting->base, awaited->dir, POLL_MS, err);
    }
    return r;
}

/* --- all --------------------------------------------------------------------------------- */

static int meet(struct meeting *meeting, struct stint_err *err)
{
    struct stint_sockets *sockets = meeting->sockets;
    int r = listen_all(meeting, err);

    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        if (stint_remote_is(&sockets->list[i]) && !listens(&sockets->list[i]))
            r = connect_end(meeting, &sockets->list[i], err);
    }
    return r == 0 ? accept_all(meeting, err) : r;
}

int stint_remote_open(struct stint_sockets *sockets, struct stint_err *err)
{
    struct meeting meeting = {.sockets = sockets};
    int r;

    if (!find_awaited(sockets))
        return 0;
    stint_meeting_start(&meeting.base, sockets->restore);
    meeting.listeners = calloc(sockets->count, sizeof(*meeting.listeners));
    if (!meeting.listeners)
        return stint_err_set(err, -ENOMEM, "restore sockets");
    r = meet(&meeting, err);
    for (size_t i = 0; i < meeting.nlisteners; i++)
        (void)close(meeting.listeners[i].fd); /* of no more use */
    free(meeting.listeners);
    stint_meeting_end(&meeting.base, r == 0);
    return r;
}

/* --- bytes -------------------------------------------------------------------------------- */

static bool is_other_end(const struct stint_restored_socket *sock,
                         const struct stint_restored_socket *other)
{
    char own[STINT_MEETING_NAME], peer[STINT_MEETING_NAME], other_own[STINT_MEETING_NAME], other_peer[STINT_MEETING_NAME];

    if (!stint_remote_is(other))
        return false;
    stint_meeting_print(sock->name, own);
    stint_meeting_print(sock->peer_name, peer);
    stint_meeting_print(other->name, other_own);
    stint_meeting_print(other->peer_name, other_peer);
    return strcmp(own, other_peer) == 0 && strcmp(peer, other_own) == 0;
}

/* Send what the other end's image says that it had received. */
static int send_stored(struct stint_restored_socket *sock, const struct stint_image *image,
                       struct stint_restored_socket *other, struct stint_err *err)
{
    struct stint_socket_piece piece;
    size_t cursor = 0;
    int r = stint_socket_load_data(image, other, err);

    if (r == 0 && other->object->object->data_len)
        stint_socket_widen(sock, sock->object->fd);
    while (r == 0 && stint_socket_next(other, &cursor, &piece)) {
        r = stint_meeting_send(sock->object->fd, piece.bytes, piece.record->len, SEND_MS);
        if (r < 0)
            (void)stint_err_set(err, r, "send what was under way in a TCP connection to the "
                                        "group %s",
                                sock->dir);
    }
    return r;
}

static int fill_from(struct stint_restored_socket *sock, const struct stint_image *image,
                     struct stint_err *err)
{
    struct stint_image_record rec;
    size_t cursor = 0;

    while (stint_image_next_of(image, STINT_REC_OBJECT, &cursor, &rec)) {
        struct stint_restored_object object = {.object = rec.payload, .fd = -1};
        struct stint_restored_socket other = {.object = &object, .temp = -1};
        int r;

        if (object.object->kind != STINT_OBJ_INET || !stint_socket_parse(&other)
            || !is_other_end(sock, &other))
            continue;
        r = send_stored(sock, image, &other, err);
        free(other.data);
        return r;
    }
    return stint_err_set(err, -EBADMSG, "the image of the group %s has no other end of TCP "
                                        "socket %u.",
                         sock->dir, sock->object->object->id);
}

/* The program finds all that had arrived, if the other side is as quick as that. */
static void await_arrival(struct stint_restored_socket *sock)
{
    int64_t deadline = stint_meeting_now() + SEND_MS;
    struct stint_socket_piece piece;
    size_t cursor = 0, want = 0;
    int arrived = 0;

    while (stint_socket_next(sock, &cursor, &piece))
        want += piece.record->len;
    while (stint_meeting_now() < deadline
           && ioctl(sock->object->fd, SIOCINQ, &arrived) == 0 && (size_t)arrived < want) {
        struct pollfd end = {sock->object->fd, POLLRDHUP, 0};

        if (poll(&end, 1, 5) > 0) /* nothing announces bytes behind those that are there */
            break;
    }
}

int stint_remote_fill(struct stint_sockets *sockets, struct stint_err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        struct stint_restored_socket *sock = &sockets->list[i];
        struct stint_image *image = NULL;
        char name[NAME_MAX + 1];

        if (!stint_remote_is(sock))
            continue;
        (void)snprintf(name, sizeof(name), "%.200s.grp", sock->dir); /* fits */
        r = stint_restore_open_image(sockets->restore, name, STINT_IMAGE_GROUP, &image, err);
        if (r == 0)
            r = fill_from(sock, image, err);
        stint_image_close(image);
    }
    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        if (stint_remote_is(&sockets->list[i]))
            await_arrival(&sockets->list[i]);
    }
    return r;
}
