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

#define WAIT_MS    300000 /* for the other groups to be restored, too */
#define GREET_MS   5000
#define SEND_MS    30000
#define POLL_MS    200
#define BACKLOG    1024
#define NAME_ROOM  80
#define GREETING   "STINT-S1"

/* What the end that connects says first. */
struct greeting {
    char magic[8];
    uint8_t gen_id[16];
    char from[NAME_ROOM], to[NAME_ROOM]; /* old addresses, NUL-padded */
};

/* Where the other end of a connection listens. */
struct place {
    char key[256]; /* GROUP/OLD-ADDRESS */
    uint16_t port; /* network order */
    size_t count;
    char addresses[16][INET6_ADDRSTRLEN]; /* to be tried in this order */
};

struct listener {
    char name[NAME_ROOM]; /* old address */
    int fd;
};

struct meeting {
    struct stint_sockets *sockets;
    struct listener *listeners;
    size_t nlisteners;
    struct place *places;
    size_t nplaces;
    int64_t deadline_ms;
};

static int64_t now_ms(void)
{
    struct timespec now = {0, 0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* exists */
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- names --------------------------------------------------------------------------- */

/* IPv4 mapped into IPv6 is IPv4: the two ends of a connection may see it differently. */
static void print_name(const struct sockaddr *name, char text[NAME_ROOM])
{
    const struct sockaddr_in *in = (const void *)name;
    const struct sockaddr_in6 *in6 = (const void *)name;
    char host[INET6_ADDRSTRLEN] = "?";

    memset(text, 0, NAME_ROOM);
    if (name->sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host)); /* fits */
    else if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        (void)inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], host, sizeof(host)); /* fits */
    else
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host)); /* fits */
    (void)snprintf(text, NAME_ROOM, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
                   ntohs(in->sin_port)); /* fits */
}

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
    char own[NAME_ROOM], other[NAME_ROOM];

    if (port_of(sock->name) != port_of(sock->peer_name))
        return port_of(sock->name) < port_of(sock->peer_name);
    print_name(sock->name, own);
    print_name(sock->peer_name, other);
    return strcmp(own, other) < 0;
}

/* --- where to meet --------------------------------------------------------------------- */

static int add_listener(struct meeting *meeting, const struct stint_restored_socket *sock,
                        struct stint_err *err)
{
    struct listener *listener = &meeting->listeners[meeting->nlisteners];
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);
    char name[NAME_ROOM];

    print_name(sock->name, name);
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

/* "at KEY PORT ADDRESS..." */
static void note_place(struct meeting *meeting, char *text)
{
    struct place *places, *place;
    char *save, *word = strtok_r(text, " ", &save);

    places = reallocarray(meeting->places, meeting->nplaces + 1, sizeof(*places));
    if (!places || !word || strcmp(word, "at") != 0)
        return; /* without it the time runs out, and that is told */
    meeting->places = places;
    place = &places[meeting->nplaces];
    memset(place, 0, sizeof(*place));
    word = strtok_r(NULL, " ", &save);
    (void)snprintf(place->key, sizeof(place->key), "%s", word ? word : ""); /* cut: no match */
    word = strtok_r(NULL, " ", &save);
    place->port = htons((uint16_t)(word ? strtoul(word, NULL, 10) : 0));
    while (place->count < 16 && (word = strtok_r(NULL, " ", &save)))
        (void)snprintf(place->addresses[place->count++], INET6_ADDRSTRLEN, "%s", word);
    if (place->key[0] && place->port && place->count)
        meeting->nplaces++;
}

/* Returns 0, or -errno with *err when the agent has gone or the time is over. */
static int hear(struct meeting *meeting, const char *group, struct stint_err *err)
{
    char text[4096];
    int r = stint_control_receive(meeting->sockets->restore, text, sizeof(text), POLL_MS);

    if (r < 0)
        return stint_err_set(err, -ECANCELED, "the agent has gone.");
    if (r > 0)
        note_place(meeting, text);
    if (now_ms() < meeting->deadline_ms)
        return 0;
    return stint_err_set(err, -ETIMEDOUT,
                         "the group %s, which has the other ends of TCP connections, was not "
                         "restored within %d s (stint restart --join --group %s DIR).",
                         group, WAIT_MS / 1000, group);
}

static const struct place *find_place(const struct meeting *meeting, const char *key)
{
    for (size_t i = meeting->nplaces; i > 0; i--) {
        if (strcmp(meeting->places[i - 1].key, key) == 0)
            return &meeting->places[i - 1];
    }
    return NULL;
}

/* --- the end that connects ------------------------------------------------------------- */

/* An address in the socket's family. Returns its length, 0 when there is none. */
static socklen_t make_address(const struct stint_restored_socket *sock, const char *text,
                              uint16_t port, struct sockaddr_storage *to)
{
    struct sockaddr_in *in = (void *)to;
    struct sockaddr_in6 *in6 = (void *)to;
    char mapped[INET6_ADDRSTRLEN + 8];

    memset(to, 0, sizeof(*to));
    to->ss_family = sock->record->family;
    if (to->ss_family == AF_INET) {
        in->sin_port = port;
        return inet_pton(AF_INET, text, &in->sin_addr) == 1 ? sizeof(*in) : 0;
    }
    in6->sin6_port = port;
    (void)snprintf(mapped, sizeof(mapped), strchr(text, ':') ? "%s" : "::ffff:%s", text);
    return inet_pton(AF_INET6, mapped, &in6->sin6_addr) == 1 ? sizeof(*in6) : 0;
}

static int send_all(int fd, const void *bytes, size_t len, int timeout_ms)
{
    int64_t deadline = now_ms() + timeout_ms;
    size_t done = 0;

    while (done < len) {
        ssize_t n = send(fd, (const char *)bytes + done, len - done,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n >= 0)
            done += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return -errno;
        else if (now_ms() > deadline)
            return -ETIMEDOUT;
        else
            (void)stint_socket_wait(fd, POLLOUT, POLL_MS); /* the deadline counts */
    }
    return 0;
}

static int greet(const struct stint_sockets *sockets,
                 const struct stint_restored_socket *sock, int fd)
{
    struct greeting greeting = {.magic = GREETING};

    memcpy(greeting.gen_id, sockets->restore->group_image->header.gen_id,
           sizeof(greeting.gen_id));
    print_name(sock->name, greeting.from);
    print_name(sock->peer_name, greeting.to);
    return send_all(fd, &greeting, sizeof(greeting), GREET_MS);
}

/* Make room for what the other side sends again: more than a fresh connection has. */
static void make_room(const struct stint_restored_socket *sock, int fd)
{
    uint64_t want = sock->object->object->data_len;
    int bytes = want > 1 << 30 ? 1 << 30 : (int)want + 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes)); /* as it allows */
}

static int try_address(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                       const char *address, uint16_t port, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    struct sockaddr_storage to;
    socklen_t len = make_address(sock, address, port, &to);
    int r;

    if (len == 0)
        return -EAFNOSUPPORT;
    fd = stint_inet_bound(sockets, sock, err);
    if (fd < 0)
        return fd;
    make_room(sock, fd);
    r = stint_inet_connect_soon(fd, (const struct sockaddr *)&to, len);
    if (r == 0)
        r = greet(sockets, sock, fd);
    return r < 0 ? r : stint_socket_keep(sockets, sock, stint_steal_fd(&fd), err);
}

static int connect_end(struct meeting *meeting, struct stint_restored_socket *sock,
                       struct stint_err *err)
{
    const struct place *place;
    char name[NAME_ROOM], key[256];
    int r = 0;

    print_name(sock->peer_name, name);
    (void)snprintf(key, sizeof(key), "%.100s/%s", sock->dir, name); /* fits */
    while (!(place = find_place(meeting, key))) {
        r = hear(meeting, sock->dir, err);
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
    int64_t deadline = now_ms() + GREET_MS;
    size_t done = 0;

    while (done < sizeof(*greeting)) {
        ssize_t n = recv(fd, (char *)greeting + done, sizeof(*greeting) - done, MSG_DONTWAIT);

        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR) || now_ms() > deadline)
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
        char own[NAME_ROOM], other[NAME_ROOM];

        if (!stint_remote_is(sock) || sock->object->fd >= 0)
            continue;
        print_name(sock->name, own);
        print_name(sock->peer_name, other);
        if (memcmp(own, greeting->to, NAME_ROOM) == 0
            && memcmp(other, greeting->from, NAME_ROOM) == 0)
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
    make_room(sock, fd);
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
        if (r == 0 && (fds[meeting->nlisteners].revents || now_ms() >= meeting->deadline_ms))
            r = hear(meeting, awaited->dir, err);
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
    struct meeting meeting = {.sockets = sockets, .deadline_ms = now_ms() + WAIT_MS};
    int r;

    if (!find_awaited(sockets))
        return 0;
    meeting.listeners = calloc(sockets->count, sizeof(*meeting.listeners));
    if (!meeting.listeners)
        return stint_err_set(err, -ENOMEM, "restore sockets");
    r = meet(&meeting, err);
    for (size_t i = 0; i < meeting.nlisteners; i++)
        (void)close(meeting.listeners[i].fd); /* of no more use */
    free(meeting.listeners);
    free(meeting.places);
    if (r == 0)
        stint_control_send(sockets->restore, "connected");
    return r;
}

/* --- bytes -------------------------------------------------------------------------------- */

static bool is_other_end(const struct stint_restored_socket *sock,
                         const struct stint_restored_socket *other)
{
    char own[NAME_ROOM], peer[NAME_ROOM], other_own[NAME_ROOM], other_peer[NAME_ROOM];

    if (!stint_remote_is(other))
        return false;
    print_name(sock->name, own);
    print_name(sock->peer_name, peer);
    print_name(other->name, other_own);
    print_name(other->peer_name, other_peer);
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
        r = send_all(sock->object->fd, piece.bytes, piece.record->len, SEND_MS);
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
    int64_t deadline = now_ms() + SEND_MS;
    struct stint_socket_piece piece;
    size_t cursor = 0, want = 0;
    int arrived = 0;

    while (stint_socket_next(sock, &cursor, &piece))
        want += piece.record->len;
    while (now_ms() < deadline
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
