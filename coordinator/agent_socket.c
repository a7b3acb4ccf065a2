/* What the families of sockets have in common.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include "common/cleanup.h"
#include "common/image_write.h"
#include "common/log.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76 /* Linux 6.5 */
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14 */
#endif

/* Set again in this order. */
static const struct agent_socket_option general[] = {
    {SOL_SOCKET, SO_REUSEADDR, sizeof(int)},
    {SOL_SOCKET, SO_REUSEPORT, sizeof(int)},
    {SOL_SOCKET, SO_KEEPALIVE, sizeof(int)},
    {SOL_SOCKET, SO_BROADCAST, sizeof(int)},
    {SOL_SOCKET, SO_OOBINLINE, sizeof(int)},
    {SOL_SOCKET, SO_LINGER, sizeof(struct linger)},
    {SOL_SOCKET, SO_RCVTIMEO, sizeof(struct timeval)},
    {SOL_SOCKET, SO_SNDTIMEO, sizeof(struct timeval)},
    {SOL_SOCKET, SO_RCVLOWAT, sizeof(int)},
    {SOL_SOCKET, SO_PRIORITY, sizeof(int)},
    {SOL_SOCKET, SO_MARK, sizeof(int)},
    {SOL_SOCKET, SO_DONTROUTE, sizeof(int)},
    {SOL_SOCKET, SO_NO_CHECK, sizeof(int)},
    {SOL_SOCKET, SO_TIMESTAMP, sizeof(int)},
    {SOL_SOCKET, SO_TIMESTAMPNS, sizeof(int)},
    {SOL_SOCKET, SO_TIMESTAMPING, sizeof(int)},
    {SOL_SOCKET, SO_RXQ_OVFL, sizeof(int)},
    {SOL_SOCKET, SO_PASSCRED, sizeof(int)},
    {SOL_SOCKET, SO_PASSSEC, sizeof(int)},
    {SOL_SOCKET, SO_PASSPIDFD, sizeof(int)},
    {SOL_SOCKET, SO_PASSRIGHTS, sizeof(int)},
    {SOL_SOCKET, SO_PEEK_OFF, sizeof(int)},
    {SOL_SOCKET, SO_MAX_PACING_RATE, sizeof(int)},
};

/* --- what look() found out --------------------------------------------------- */

void agent_socket_note(struct agent_socket *sock, int how, const char *fmt, ...)
{
    va_list args;

    if (sock->refused)
        return;
    sock->refused = how;
    va_start(args, fmt);
    vsnprintf(sock->reason, sizeof(sock->reason), fmt, args);
    va_end(args);
}

int agent_socket_verdict(const struct agent_object *object, struct stint_err *err)
{
    const struct agent_socket *sock = object->socket;

    if (sock->refused == AGENT_OBJECT_E_REFUSED)
        return agent_object_refuse(object, err, "%s", sock->reason);
    if (sock->refused)
        return stint_err_set(err, sock->refused, "process %d (%s), descriptor %d: %s.",
                             (int)object->pid, object->comm, object->number, sock->reason);
    return 0;
}

struct agent_object *agent_socket_by_ino(const struct agent_objects *all, uint64_t ino)
{
    for (size_t i = 0; i < all->count; i++) {
        if (all->list[i]->socket && all->list[i]->st.st_ino == ino)
            return all->list[i];
    }
    return NULL;
}

/* --- options ------------------------------------------------------------------- */

int agent_socket_int(const struct agent_object *object, int level, int name, int fallback)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(object->fd, level, name, &value, &len) < 0 ? fallback : value;
}

int agent_socket_keep_option(struct agent_socket *sock, int level, int name,
                             const void *value, size_t len, struct stint_err *err)
{
    const struct stint_socket_option option = {level, name, (uint32_t)len, 0};
    size_t need = sock->options_len + sizeof(option) + stint_socket_padded(len);

    if (need > sock->options_room) {
        char *options = realloc(sock->options, need + 1024);

        if (!options)
            return stint_err_set(err, -ENOMEM, "describe a socket");
        sock->options = options;
        sock->options_room = need + 1024;
    }
    memset(sock->options + sock->options_len, 0, need - sock->options_len);
    memcpy(sock->options + sock->options_len, &option, sizeof(option));
    memcpy(sock->options + sock->options_len + sizeof(option), value, len);
    sock->options_len = need;
    sock->record.noptions++;
    return 0;
}

int agent_socket_read_options(struct agent_object *object,
                              const struct agent_socket_option *table, size_t n,
                              struct stint_err *err)
{
    for (size_t i = 0; i < n; i++) {
        char value[AGENT_OPTION_MAX];
        socklen_t len = table[i].len;
        int ret;

        if (getsockopt(object->fd, table[i].level, table[i].name, value, &len) < 0)
            continue; /* this kind of socket, or this kernel, does not have it */
        ret = agent_socket_keep_option(object->socket, table[i].level, table[i].name, value,
                                       len, err);
        if (ret < 0)
            return ret;
    }
    return 0;
}

/* Sizes that the program has set itself; the others follow the machine's defaults, and
 * setting them would stop TCP from adapting them. */
static int read_buffers(struct agent_object *object, struct stint_err *err)
{
    int locks = agent_socket_int(object, SOL_SOCKET, SO_BUF_LOCK, 0);
    const struct {
        int bit, name;
    } buffers[] = {{1, SO_SNDBUF}, {2, SO_RCVBUF}};

    for (size_t i = 0; i < 2; i++) {
        int size = agent_socket_int(object, SOL_SOCKET, buffers[i].name, 0);
        int ret = 0;

        if (locks & buffers[i].bit)
            ret = agent_socket_keep_option(object->socket, SOL_SOCKET, buffers[i].name,
                                           &size, sizeof(size), err);
        if (ret < 0)
            return ret;
    }
    return 0;
}

static int read_device(struct agent_object *object, struct stint_err *err)
{
    char name[AGENT_OPTION_MAX] = "";
    socklen_t len = sizeof(name);

    if (getsockopt(object->fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) < 0 || !name[0])
        return 0;
    return agent_socket_keep_option(object->socket, SOL_SOCKET, SO_BINDTODEVICE, name,
                                    strlen(name) + 1, err);
}

/* A classic filter can be read; one in eBPF cannot. */
static int read_filter(struct agent_object *object, struct stint_err *err)
{
    socklen_t n = 0; /* in instructions */
    STINT_AUTO_FREE struct sock_filter *code = NULL;

    if (getsockopt(object->fd, SOL_SOCKET, SO_GET_FILTER, NULL, &n) < 0) {
        if (errno == EACCES)
            agent_socket_note(object->socket, AGENT_OBJECT_E_REFUSED,
                              "a socket with an eBPF filter is not supported");
        return 0;
    }
    if (n == 0)
        return 0;
    code = calloc(n, sizeof(*code));
    if (!code)
        return stint_err_set(err, -ENOMEM, "describe a socket");
    if (getsockopt(object->fd, SOL_SOCKET, SO_GET_FILTER, code, &n) < 0)
        return stint_err_set(err, -errno, "read a socket's filter");
    return agent_socket_keep_option(object->socket, SOL_SOCKET, SO_ATTACH_FILTER, code,
                                    n * sizeof(*code), err);
}

/* --- messages ------------------------------------------------------------------ */

struct agent_message *agent_socket_add_message(struct agent_socket *sock, char *bytes,
                                               size_t len)
{
    struct agent_message *messages
        = reallocarray(sock->messages, sock->nmessages + 1, sizeof(*messages));
    struct agent_message *message;

    if (!messages) {
        free(bytes);
        return NULL;
    }
    sock->messages = messages;
    message = &messages[sock->nmessages++];
    *message = (struct agent_message){.record = {.len = (uint32_t)len}, .bytes = bytes};
    return message;
}

void agent_socket_free(struct agent_socket *sock)
{
    if (!sock)
        return;
    for (size_t i = 0; i < sock->nmessages; i++) {
        free(sock->messages[i].passed);
        free(sock->messages[i].bytes);
    }
    free(sock->messages);
    free(sock->options);
    free(sock->dir);
    agent_unix_diag_deinit(&sock->unix_diag);
    free(sock);
}

static int put_padded(struct stint_image_writer *writer, const void *data, size_t len,
                      struct stint_err *err)
{
    static const char zero[8];
    int ret = len ? stint_image_writer_data(writer, data, len, err) : 0;
    size_t pad = stint_socket_padded(len) - len;

    return ret == 0 && pad ? stint_image_writer_data(writer, zero, pad, err) : ret;
}

static int store_message(const struct agent_message *message,
                         struct stint_image_writer *writer, struct stint_err *err)
{
    STINT_AUTO_FREE uint32_t *ids = calloc(message->record.nfds + 1, sizeof(*ids));
    int ret;

    if (!ids)
        return stint_err_set(err, -ENOMEM, "store a socket's messages");
    for (uint32_t i = 0; i < message->record.nfds; i++)
        ids[i] = message->passed[i]->left_out ? 0 : message->passed[i]->record.id;
    ret = put_padded(writer, &message->record, sizeof(message->record), err);
    if (ret == 0)
        ret = put_padded(writer, ids, message->record.nfds * sizeof(*ids), err);
    if (ret == 0)
        ret = put_padded(writer, &message->name, message->record.name_len, err);
    if (ret == 0)
        ret = put_padded(writer, message->bytes, message->record.len, err);
    return ret;
}

int agent_socket_store(struct agent_object *object, struct stint_image_writer *writer,
                       struct stint_err *err)
{
    const struct agent_socket *sock = object->socket;

    if (object->severed)
        return 0;
    for (size_t i = 0; i < sock->nmessages; i++) {
        int ret = store_message(&sock->messages[i], writer, err);

        if (ret < 0)
            return ret;
    }
    if (sock->nmessages == 0)
        return 0;
    return stint_image_writer_data_end(writer, &object->record.data_offset,
                                       &object->record.data_len, &object->record.data_xxh3,
                                       err);
}

/* --- other ends outside --------------------------------------------------------- */

static void tell_cut(const struct agent_object *object, enum agent_policy policy,
                     const char *peer)
{
    static const char *const what[] = {
        [AGENT_POLICY_RESET] = "the program will see the connection reset",
        [AGENT_POLICY_END] = "the program will see the end of the connection",
        [AGENT_POLICY_RECONNECT] = "it will be connected again",
        [AGENT_POLICY_REFUSE] = "",
    };
    char name[256];

    agent_object_name(object, name, sizeof(name));
    stint_info("process %d (%s), descriptor %d: the other end (%s) of the %s is not part of "
               "the program: after a restart %s",
               (int)object->pid, object->comm, object->number, peer, name, what[policy]);
}

void agent_socket_cut(struct agent_object *object, enum agent_policy policy, const char *peer)
{
    struct agent_socket *sock = object->socket;
    int pending = 0;

    /* what has arrived belongs to this connection, and is read before its end */
    if (policy == AGENT_POLICY_RECONNECT
        && (sock->record.peer_name_len <= sizeof(sa_family_t) || sock->record.shutdown
            || ioctl(object->fd, SIOCINQ, &pending) < 0 || pending > 0))
        policy = AGENT_POLICY_END;
    sock->record.flags |= STINT_SOCKET_OUTSIDE;
    if (policy == AGENT_POLICY_RECONNECT)
        sock->record.flags |= STINT_SOCKET_AGAIN;
    sock->record.state = policy == AGENT_POLICY_RESET ? STINT_SOCKET_RESET
                                                      : STINT_SOCKET_ENDED;
    tell_cut(object, policy, peer);
}

/* --- the whole ------------------------------------------------------------------ */

int agent_socket_pack(struct agent_object *object, struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    struct stint_socket *record = &sock->record;
    size_t name = stint_socket_padded(record->name_len);
    size_t peer_name = stint_socket_padded(record->peer_name_len);
    size_t dir;
    char *at;

    record->dir_len = sock->dir ? (uint32_t)strlen(sock->dir) + 1 : 0;
    record->nmessages = (uint32_t)sock->nmessages;
    dir = stint_socket_padded(record->dir_len);
    free(object->extra); /* of a first time */
    object->extra_len = sizeof(*record) + name + peer_name + dir + sock->options_len;
    object->extra = at = calloc(1, object->extra_len);
    if (!at)
        return stint_err_set(err, -ENOMEM, "describe a socket");
    object->record.pos = 0;
    object->record.mtime_ns = 0;
    memcpy(at, record, sizeof(*record));
    at += sizeof(*record);
    memcpy(at, &sock->name, record->name_len);
    memcpy(at + name, &sock->peer_name, record->peer_name_len);
    if (sock->dir)
        memcpy(at + name + peer_name, sock->dir, record->dir_len);
    if (sock->options)
        memcpy(at + name + peer_name + dir, sock->options, sock->options_len);
    return 0;
}

static void read_names(struct agent_object *object)
{
    struct agent_socket *sock = object->socket;
    socklen_t len = sizeof(sock->name);

    if (getsockname(object->fd, (struct sockaddr *)&sock->name, &len) == 0)
        sock->record.name_len = len;
    len = sizeof(sock->peer_name);
    if (getpeername(object->fd, (struct sockaddr *)&sock->peer_name, &len) == 0)
        sock->record.peer_name_len = len;
}

static int look_at(struct agent_objects *all, struct agent_object *object,
                   struct stint_err *err)
{
    struct pollfd poll_fd = {object->fd, POLLIN | POLLPRI | POLLOUT, 0};
    struct agent_socket *sock = calloc(1, sizeof(*sock));
    int ret;

    if (!sock)
        return stint_err_set(err, -ENOMEM, "describe a socket");
    object->socket = sock;
    sock->record.version = STINT_SOCKET_VERSION;
    sock->record.family = (uint16_t)agent_socket_int(object, SOL_SOCKET, SO_DOMAIN, 0);
    sock->record.type = (uint16_t)agent_socket_int(object, SOL_SOCKET, SO_TYPE, 0);
    sock->record.protocol = (uint32_t)agent_socket_int(object, SOL_SOCKET, SO_PROTOCOL, 0);
    if (poll(&poll_fd, 1, 0) > 0)
        sock->revents = poll_fd.revents;
    read_names(object);
    ret = agent_socket_read_options(object, general, sizeof(general) / sizeof(general[0]),
                                    err);
    if (ret == 0)
        ret = read_buffers(object, err);
    if (ret == 0)
        ret = read_device(object, err);
    if (ret == 0)
        ret = read_filter(object, err);
    if (ret < 0)
        return ret;
    switch (sock->record.family) {
    case AF_UNIX:
        return agent_unix_look(all, object, err);
    case AF_INET:
    case AF_INET6:
        return agent_inet_look(all, object, err);
    case AF_NETLINK:
        return agent_netlink_look(all, object, err);
    default:
        return 0; /* no kind takes it: refused by name */
    }
}

int agent_sockets_look(struct agent_objects *all, struct stint_err *err)
{
    /* the list grows while descriptors under way are found */
    for (size_t i = 0; i < all->count; i++) {
        struct agent_object *object = all->list[i];
        int ret;

        if (!S_ISSOCK(object->st.st_mode) || (object->open_flags & O_PATH)
            || object->stdio >= 0)
            continue;
        ret = look_at(all, object, err);
        if (ret < 0)
            return ret;
    }
    return 0;
}
