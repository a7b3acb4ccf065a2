/* Clients that a TCP listener of the program has not accepted yet.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_backlog.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "coordinator/agent_inet.h"
#include "coordinator/agent_policy.h"

#define ADDRESS_ROOM (INET6_ADDRSTRLEN + 16)

struct client {
    const struct agent_tcp_waiting *waiting;
    struct agent_object *object; /* of this group, or NULL */
    const json_t *row;           /* of another group: in `sought`; or NULL */
    json_int_t inode;            /* of its socket, on its host; 0: unknown */
};

static uint32_t queue_length(const struct agent_object *listener)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    (void)getsockopt(listener->fd, IPPROTO_TCP, TCP_INFO, &info, &len); /* then: 0 */
    return info.tcpi_state == TCP_LISTEN ? info.tcpi_unacked : 0;
}

static bool is_listener(const struct agent_object *object)
{
    return object->socket && object->extra
           && (object->socket->record.family == AF_INET
               || object->socket->record.family == AF_INET6)
           && object->socket->record.state == STINT_SOCKET_LISTENING;
}

/* --- whose they are ----------------------------------------------------------------------- */

static struct agent_object *find_own(const struct agent_objects *all,
                                     const struct agent_object *listener,
                                     const struct agent_tcp_waiting *waiting)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct agent_socket *sock = all->list[i]->socket;

        if (sock && sock->record.state == STINT_SOCKET_PENDING
            && !(sock->record.flags & STINT_SOCKET_REMOTE)
            && sock->record.peer == listener->record.id
            && agent_inet_is_same(&sock->name, &waiting->peer)
            && agent_inet_is_same(&sock->peer_name, &waiting->name))
            return all->list[i];
    }
    return NULL;
}

static bool is_about(const json_t *row, const struct agent_object *listener)
{
    return json_integer_value(json_array_get(row, 0)) == (json_int_t)listener->record.id;
}

static bool has_address(const json_t *row, const struct sockaddr_storage *name)
{
    const char *own = json_string_value(json_array_get(row, 2));
    char text[ADDRESS_ROOM];

    agent_policy_name(name, text, sizeof(text));
    return own && strcmp(own, text) == 0;
}

static const json_t *find_row(const json_t *sought, const struct agent_object *listener,
                              const struct agent_tcp_waiting *waiting)
{
    const json_t *row;
    size_t i;

    json_array_foreach (sought, i, row) {
        if (is_about(row, listener) && has_address(row, &waiting->peer))
            return row;
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const struct client *x = a, *y = b;

    if (x->waiting->established != y->waiting->established)
        return x->waiting->established < y->waiting->established ? -1 : 1;
    return x->inode < y->inode ? -1 : x->inode > y->inode;
}

/* Returns how many there are; *clients is for the caller to free, and so is *waiting, which
 * they refer to. Or -errno. */
static ssize_t find_clients(const struct agent_objects *all, struct agent_object *listener,
                            const json_t *sought, struct agent_tcp_waiting **waiting,
                            struct client **clients)
{
    ssize_t count = agent_sockdiag_waiting(listener->socket->record.family,
                                           agent_inet_port(&listener->socket->name), waiting);
    size_t n = 0;

    if (count < 0)
        return count;
    *clients = calloc((size_t)count + 1, sizeof(**clients));
    if (!*clients)
        return -ENOMEM;
    for (ssize_t i = 0; i < count; i++) {
        struct client *client = &(*clients)[n];

        client->waiting = &(*waiting)[i];
        if (agent_inet_listener(all, &client->waiting->name) != listener)
            continue;
        client->object = find_own(all, listener, client->waiting);
        client->row = find_row(sought, listener, client->waiting);
        client->inode = client->object ? (json_int_t)client->object->st.st_ino
                                       : json_integer_value(json_array_get(client->row, 3));
        n++;
    }
    qsort(*clients, n, sizeof(**clients), compare);
    return (ssize_t)n;
}

/* --- what is noted ------------------------------------------------------------------------ */

static int note_order(struct agent_object *object, uint32_t order, struct stint_err *err)
{
    object->socket->record.order = order;
    return agent_socket_pack(object, err);
}

static int note_remote(struct agent_object *listener, const struct client *client,
                       uint32_t order, struct stint_err *err)
{
    struct agent_message *message;
    char *text;

    if (client->waiting->has_data)
        return stint_err_set(err, -EAGAIN,
                             "process %d (%s), descriptor %d: what a client on another host "
                             "has sent over TCP cannot be read before process %d (%s) accepts "
                             "the connection.",
                             (int)listener->pid, listener->comm, listener->number,
                             (int)listener->pid, listener->comm);
    if (asprintf(&text, "%s %s", json_string_value(json_array_get(client->row, 1)),
                 json_string_value(json_array_get(client->row, 2)))
        < 0)
        return stint_err_set(err, -ENOMEM, "describe a socket");
    message = agent_socket_add_message(listener->socket, text, strlen(text) + 1);
    if (!message)
        return stint_err_set(err, -ENOMEM, "describe a socket");
    message->record.order = order;
    return 0;
}

/* One that is in `sought` as established waits here, or has been accepted. */
static bool is_known(const struct agent_objects *all, const struct agent_object *listener,
                     const struct client *clients, size_t n, const json_t *row)
{
    for (size_t i = 0; i < n; i++) {
        if (clients[i].row == row)
            return true;
    }
    for (size_t i = 0; i < all->count; i++) {
        const struct agent_socket *sock = all->list[i]->socket;

        if (sock && sock->leaves && has_address(row, &sock->peer_name)
            && agent_inet_port(&sock->name) == agent_inet_port(&listener->socket->name))
            return true;
    }
    return false;
}

static int check_sought(const struct agent_objects *all, const struct agent_object *listener,
                        const struct client *clients, size_t n, const json_t *sought,
                        struct stint_err *err)
{
    const json_t *row;
    size_t i;

    json_array_foreach (sought, i, row) {
        if (is_about(row, listener) && json_integer_value(json_array_get(row, 3)) != 0
            && !is_known(all, listener, clients, n, row))
            return stint_err_set(err, -EAGAIN,
                                 "process %d (%s), descriptor %d: a TCP connection from %s is "
                                 "just being made or ended.",
                                 (int)listener->pid, listener->comm, listener->number,
                                 json_string_value(json_array_get(row, 2)));
    }
    return 0;
}

static int tell_strangers(const struct agent_objects *all, const struct agent_object *listener,
                          size_t count, struct stint_err *err)
{
    if (count == 0)
        return 0;
    if (agent_policy_general(all->sockets, AGENT_POLICY_RESET) == AGENT_POLICY_REFUSE)
        return stint_err_set(err, -EAGAIN,
                             "process %d (%s), descriptor %d: connections that were not "
                             "accepted yet come from outside of the program (see --sockets).",
                             (int)listener->pid, listener->comm, listener->number);
    stint_info("process %d (%s), descriptor %d: %zu connections that were not accepted yet "
               "come from outside of the program: they are lost at a restart",
               (int)listener->pid, listener->comm, listener->number, count);
    return 0;
}

static int note_clients(const struct agent_objects *all, struct agent_object *listener,
                        const struct client *clients, size_t n, struct stint_err *err)
{
    uint32_t length = queue_length(listener);
    size_t known = 0, before = listener->socket->nmessages;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < n; i++) {
        known += clients[i].object || clients[i].row;
        if (clients[i].object)
            ret = note_order(clients[i].object, (uint32_t)i, err);
        else if (json_integer_value(json_array_get(clients[i].row, 3)) != 0)
            ret = note_remote(listener, &clients[i], (uint32_t)i, err);
    }
    if (ret == 0)
        ret = tell_strangers(all, listener, length > known ? length - known : 0, err);
    if (ret == 0 && listener->socket->nmessages > before)
        ret = agent_socket_pack(listener, err);
    return ret;
}

int agent_backlog_describe(struct agent_objects *all, const json_t *sought,
                           struct stint_err *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < all->count; i++) {
        STINT_AUTO_FREE struct agent_tcp_waiting *waiting = NULL;
        STINT_AUTO_FREE struct client *clients = NULL;
        struct agent_object *listener = all->list[i];
        ssize_t n = 0;

        if (!is_listener(listener))
            continue;
        if (queue_length(listener) > 0)
            n = find_clients(all, listener, sought, &waiting, &clients);
        if (n < 0)
            return stint_err_set(err, (int)n, "ask the kernel who waits at a listener");
        ret = check_sought(all, listener, clients, (size_t)n, sought, err);
        if (ret == 0)
            ret = note_clients(all, listener, clients, (size_t)n, err);
    }
    return ret;
}
