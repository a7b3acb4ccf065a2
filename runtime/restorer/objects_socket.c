/* What the families of sockets have in common.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/remote.h"
#include "runtime/restorer/sockets.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14 */
#endif

/* --- reading the image ----------------------------------------------------------- */

/* Take len bytes, padded, off a range. Returns NULL when it is shorter. */
static const void *take(const uint8_t **at, const uint8_t *end, size_t len)
{
    const uint8_t *taken = *at;

    if (len > (size_t)(end - taken) || stint_socket_padded(len) > (size_t)(end - taken))
        return NULL;
    *at += stint_socket_padded(len);
    return taken;
}

bool stint_socket_parse(struct stint_restored_socket *sock)
{
    const struct stint_object *object = sock->object->object;
    const uint8_t *at = stint_object_extra(object), *end = at + object->extra_len;
    const uint8_t *options;

    sock->record = take(&at, end, sizeof(*sock->record));
    if (!sock->record || sock->record->version != STINT_SOCKET_VERSION
        || sock->record->name_len > sizeof(struct sockaddr_storage)
        || sock->record->peer_name_len > sizeof(struct sockaddr_storage))
        return false;
    sock->name = take(&at, end, sock->record->name_len);
    sock->peer_name = take(&at, end, sock->record->peer_name_len);
    sock->dir = take(&at, end, sock->record->dir_len);
    if (!sock->name || !sock->peer_name || !sock->dir)
        return false;
    if (sock->record->dir_len == 0)
        sock->dir = "";
    else if (sock->dir[sock->record->dir_len - 1])
        return false;
    sock->options = options = at;
    for (uint32_t i = 0; i < sock->record->noptions; i++) {
        const struct stint_socket_option *option = take(&options, end, sizeof(*option));

        if (!option || !take(&options, end, option->len))
            return false;
    }
    sock->options_end = options;
    return true;
}

int stint_socket_next(const struct stint_restored_socket *sock, size_t *cursor,
                      struct stint_socket_piece *piece)
{
    const uint8_t *at = sock->data + *cursor;
    const uint8_t *end = sock->data + sock->object->object->data_len;

    if (!sock->data)
        return 0;
    piece->record = take(&at, end, sizeof(*piece->record));
    if (!piece->record || piece->record->nfds > 4096)
        return 0;
    piece->passed = take(&at, end, piece->record->nfds * sizeof(uint32_t));
    piece->name = take(&at, end, piece->record->name_len);
    piece->bytes = take(&at, end, piece->record->len);
    if (!piece->passed || !piece->name || !piece->bytes)
        return 0;
    *cursor = (size_t)(at - sock->data);
    return 1;
}

int stint_socket_load_data(const struct stint_image *image,
                           struct stint_restored_socket *sock, struct stint_err *err)
{
    const struct stint_object *object = sock->object->object;

    if (object->data_len == 0)
        return 0;
    sock->data = malloc(object->data_len);
    if (!sock->data)
        return stint_err_set(err, -ENOMEM, "restore sockets");
    return stint_image_read_data(image, object->data_offset, object->data_len,
                                 object->data_xxh3, sock->data, err);
}

static int read_messages(struct stint_restore *restore, struct stint_restored_socket *sock,
                         struct stint_err *err)
{
    const struct stint_object *object = sock->object->object;
    struct stint_socket_piece piece;
    size_t cursor = 0;
    uint32_t n = 0;
    int r = stint_socket_load_data(restore->group_image, sock, err);

    if (r < 0 || object->data_len == 0)
        return r;
    while (stint_socket_next(sock, &cursor, &piece)) {
        const struct stint_restored_object *passed;

        n++;
        if (piece.record->pid && (sock->record->flags & STINT_SOCKET_PASSCRED))
            sock->late = true;
        for (uint32_t i = 0; i < piece.record->nfds; i++) {
            passed = stint_restore_object(restore, piece.passed[i]);
            if (passed && stint_object_is_late(passed->object))
                sock->late = true;
        }
    }
    if (n != sock->record->nmessages || cursor != object->data_len)
        return stint_err_set(err, -EBADMSG, "image %s: the messages of object %u do not "
                                            "parse.",
                             restore->group_image->path, object->id);
    if (sock->record->state == STINT_SOCKET_ENDED || sock->record->state == STINT_SOCKET_RESET)
        sock->late = false; /* its other end must not be inherited */
    return 0;
}

static bool is_socket(const struct stint_object *object)
{
    return object->kind == STINT_OBJ_UNIX || object->kind == STINT_OBJ_INET
           || object->kind == STINT_OBJ_NETLINK;
}

static int load(struct stint_restore *restore, struct stint_err *err)
{
    struct stint_sockets *sockets = calloc(1, sizeof(*sockets));

    if (!sockets)
        return stint_err_set(err, -ENOMEM, "restore sockets");
    restore->sockets = sockets;
    sockets->restore = restore;
    sockets->cwd = sockets->scratch = -1;
    sockets->list = calloc(restore->nobjects + 1, sizeof(*sockets->list));
    if (!sockets->list)
        return stint_err_set(err, -ENOMEM, "restore sockets");
    for (size_t i = 0; i < restore->nobjects; i++) {
        struct stint_restored_socket *sock = &sockets->list[sockets->count];
        int r;

        if (!is_socket(restore->objects[i].object))
            continue;
        sock->object = &restore->objects[i];
        sock->temp = -1;
        if (!stint_socket_parse(sock))
            return stint_err_set(err, -EBADMSG, "image %s: object %u does not parse.",
                                 restore->group_image->path, sock->object->object->id);
        sockets->count++;
        r = read_messages(restore, sock, err);
        if (r < 0)
            return r;
    }
    return 0;
}

void stint_sockets_free(struct stint_sockets *sockets)
{
    if (!sockets)
        return;
    for (size_t i = 0; i < sockets->count; i++) {
        free(sockets->list[i].data);
        free(sockets->list[i].reach);
        stint_cleanup_close(&sockets->list[i].temp);
    }
    stint_cleanup_close(&sockets->cwd);
    stint_cleanup_close(&sockets->scratch);
    free(sockets->list);
    free(sockets);
}

/* --- helpers ------------------------------------------------------------------------ */

struct stint_restored_socket *stint_socket_by_id(struct stint_sockets *sockets, uint32_t id)
{
    for (size_t i = 0; id && i < sockets->count; i++) {
        if (sockets->list[i].object->object->id == id)
            return &sockets->list[i];
    }
    return NULL;
}

int stint_socket_keep(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                      int fd, struct stint_err *err)
{
    sock->object->fd = stint_restore_keep_fd(sockets->restore, fd, err);
    return sock->object->fd < 0 ? sock->object->fd : 0;
}

int stint_socket_make(const struct stint_restored_socket *sock, struct stint_err *err)
{
    const struct stint_socket *record = sock->record;
    int fd = socket(record->family, record->type | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    (int)record->protocol);

    if (fd < 0)
        return stint_err_set(err, -errno, "make a socket (family %u, type %u, protocol %u)",
                             record->family, record->type, record->protocol);
    return fd;
}

int stint_socket_wait(int fd, short events, int timeout_ms)
{
    struct pollfd poll_fd = {fd, events, 0};
    int r;

    do
        r = poll(&poll_fd, 1, timeout_ms);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

int stint_socket_accept(int listener)
{
    int r = stint_socket_wait(listener, POLLIN, 5000);
    int fd;

    if (r < 0)
        return r;
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* --- options -------------------------------------------------------------------------- */

struct option {
    int level, name;
    const void *value;
    socklen_t len;
};

static bool next_option(const struct stint_restored_socket *sock, const uint8_t **at,
                        struct option *option)
{
    const struct stint_socket_option *record;

    if (*at >= sock->options_end)
        return false;
    record = take(at, sock->options_end, sizeof(*record));
    option->level = record->level;
    option->name = record->name;
    option->len = record->len;
    option->value = take(at, sock->options_end, record->len);
    return true;
}

static bool is_size(const struct option *option)
{
    return option->level == SOL_SOCKET
           && (option->name == SO_SNDBUF || option->name == SO_RCVBUF);
}

static bool is_early(const struct option *option)
{
    int value = 0;

    if (option->level == SOL_SOCKET && option->name == SO_REUSEADDR) {
        memcpy(&value, option->value, option->len < sizeof(value) ? option->len : sizeof(value));
        return value != 0; /* all of ours share ports meanwhile */
    }
    if (option->level == SOL_SOCKET)
        return is_size(option) || option->name == SO_REUSEPORT;
    if (option->level == IPPROTO_IP)
        return option->name == IP_FREEBIND || option->name == IP_TRANSPARENT
               || option->name == IP_BIND_ADDRESS_NO_PORT;
    return option->level == IPPROTO_IPV6
           && (option->name == IPV6_V6ONLY || option->name == IPV6_FREEBIND);
}

/* TCP has it, but only an accepted connection, and it cannot be set there. */
static bool is_moot(const struct stint_restored_socket *sock, const struct option *option)
{
    return sock->record->type == SOCK_STREAM && option->level == IPPROTO_IP
           && option->name == IP_MULTICAST_TTL;
}

static bool is_set(int fd, const struct option *option)
{
    char value[64];
    socklen_t len = sizeof(value);

    return option->len <= sizeof(value)
           && getsockopt(fd, option->level, option->name, value, &len) == 0
           && len == option->len && memcmp(value, option->value, len) == 0;
}

/* The kernel tells twice what was set. */
static int set_size(int fd, const struct option *option)
{
    int force = option->name == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
    int size;

    memcpy(&size, option->value, sizeof(size));
    size /= 2;
    return setsockopt(fd, SOL_SOCKET, force, &size, sizeof(size)) == 0
                   || setsockopt(fd, SOL_SOCKET, option->name, &size, sizeof(size)) == 0
               ? 0
               : -errno;
}

static int set_one(int fd, const struct option *option)
{
    if (is_set(fd, option))
        return 0;
    if (is_size(option))
        return set_size(fd, option);
    if (option->level == SOL_SOCKET && option->name == SO_ATTACH_FILTER) {
        struct sock_fprog program = {(unsigned short)(option->len / sizeof(struct sock_filter)),
                                     (struct sock_filter *)(uintptr_t)option->value};

        return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0
                   ? -errno
                   : 0;
    }
    return setsockopt(fd, option->level, option->name, option->value, option->len) < 0 ? -errno
                                                                                       : 0;
}

void stint_socket_early_options(const struct stint_restored_socket *sock, int fd)
{
    const uint8_t *at = sock->options;
    struct option option;

    while (next_option(sock, &at, &option)) {
        if (is_early(&option))
            (void)set_one(fd, &option); /* set_options() tries again, and tells */
    }
}

/* Some options change others (IP_TOS the priority): the second round sets those right. */
static void set_options(struct stint_sockets *sockets, struct stint_restored_socket *sock)
{
    int fd = sock->object->fd;
    const int no_locks = 0;
    struct option option;

    if (sock->sndbuf) {
        int half = sock->sndbuf / 2;

        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &half, sizeof(half)); /* as it was */
        (void)setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &no_locks, sizeof(no_locks)); /* too */
        sock->sndbuf = 0;
    }
    for (int round = 0; round < 2; round++) {
        const uint8_t *at = sock->options;

        while (next_option(sock, &at, &option)) {
            int r = is_moot(sock, &option) ? 0 : set_one(fd, &option);

            if (r < 0 && round == 1)
                stint_restore_note(sockets->restore,
                                   "a socket's option %d of level %d cannot be set again: %s",
                                   option.name, option.level, strerror(-r));
        }
    }
}

void stint_socket_widen(struct stint_restored_socket *sock, int fd)
{
    int size = 1 << 30, now = 0;
    socklen_t len = sizeof(now);

    (void)getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &now, &len); /* valid */
    if (sock->object->fd == fd && !sock->sndbuf)
        sock->sndbuf = now;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)); /* the limit */
}

/* --- netlink ---------------------------------------------------------------------------- */

static int open_netlink(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                        struct stint_err *err)
{
    /* struct sockaddr_nl: family, padding, port, groups */
    uint32_t name[3] = {AF_NETLINK, 0, sock->record->groups};
    int fd = stint_socket_make(sock, err);

    if (fd < 0)
        return fd;
    if (sock->record->name_len >= sizeof(name))
        memcpy(name, sock->name, sizeof(name));
    if ((name[1] || name[2]) && bind(fd, (void *)name, sizeof(name)) < 0) {
        stint_restore_note(sockets->restore, "the netlink address %u is taken: a socket has "
                                             "another one",
                           name[1]);
        name[1] = 0;
        if (bind(fd, (void *)name, sizeof(name)) < 0) {
            int r = stint_err_set(err, -errno, "bind a netlink socket");

            (void)close(fd); /* of no use */
            return r;
        }
    }
    return stint_socket_keep(sockets, sock, fd, err);
}

/* --- the whole --------------------------------------------------------------------------- */

int stint_sockets_open(struct stint_restore *restore, struct stint_err *err)
{
    struct stint_sockets *sockets;
    int r = load(restore, err);

    if (r < 0)
        return r;
    sockets = restore->sockets;
    if (sockets->count == 0)
        return 0;
    sockets->cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    r = stint_unix_open(sockets, err);
    if (r == 0)
        r = stint_inet_open(sockets, err);
    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        if (sockets->list[i].record->family == AF_NETLINK)
            r = open_netlink(sockets, &sockets->list[i], err);
    }
    return r;
}

static int fill(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                struct stint_err *err)
{
    switch (sock->record->family) {
    case AF_UNIX:
        return stint_unix_fill(sockets, sock, err);
    case AF_INET:
    case AF_INET6:
        return stint_inet_fill(sockets, sock, err);
    default:
        return 0;
    }
}

/* Directions of a stream are closed when what was in them is there again. */
static int end_directions(const struct stint_restored_socket *sock)
{
    uint32_t closed = sock->record->shutdown;

    if (sock->record->state != STINT_SOCKET_CONNECTED
        && sock->record->state != STINT_SOCKET_PENDING
        && sock->record->state != STINT_SOCKET_NEW)
        return 0;
    if (closed == 0)
        return 0;
    return shutdown(sock->object->fd, closed == 3                        ? SHUT_RDWR
                                      : closed == STINT_SOCKET_SHUT_READ ? SHUT_RD
                                                                         : SHUT_WR);
}

static int finish(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                  struct stint_err *err)
{
    uint32_t flags = sock->object->object->open_flags;

    (void)end_directions(sock); /* not connected: then there is nothing to close */
    set_options(sockets, sock);
    if (fcntl(sock->object->fd, F_SETFL, flags & ~(uint32_t)O_ASYNC) < 0)
        return stint_err_set(err, -errno, "restore the flags of a socket");
    return 0;
}

/* The other end of what is filled late may not be finished before it. */
static bool is_due(struct stint_sockets *sockets, const struct stint_restored_socket *sock,
                   bool late)
{
    const struct stint_restored_socket *peer
        = stint_socket_by_id(sockets, sock->record->peer);

    return !sock->done && (late || !(sock->late || (peer && peer->late)));
}

int stint_sockets_fill(struct stint_restore *restore, bool late, struct stint_err *err)
{
    struct stint_sockets *sockets = restore->sockets;
    int r = 0;

    if (!sockets || sockets->count == 0)
        return 0;
    if (!late)
        r = stint_remote_fill(sockets, err);
    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        if (late == sockets->list[i].late)
            r = fill(sockets, &sockets->list[i], err);
    }
    if (r == 0)
        r = stint_unix_connect(sockets, late, err);
    if (r == 0)
        r = stint_inet_connect(sockets, late, err);
    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        struct stint_restored_socket *sock = &sockets->list[i];

        if (sock->done && sock->sndbuf)
            set_options(sockets, sock); /* it has sent to one that was filled late */
        if (!is_due(sockets, sock, late))
            continue;
        sock->done = true;
        r = finish(sockets, sock, err);
    }
    if (late)
        stint_unix_clean(sockets);
    return r;
}
