/* TCP connections that leave this group of processes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_leaving.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "coordinator/agent_inet.h"
#include "coordinator/agent_policy.h"
#include "coordinator/agent_seek.h"
#include "coordinator/agent_state.h"

#define DRAIN_MS  2000
#define NAME_ROOM (INET6_ADDRSTRLEN + 16)

static bool leaves(const struct agent_object *object)
{
    return object->socket && object->socket->leaves;
}

json_t *agent_leaving_list(const struct agent_objects *all)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < all->count; i++) {
        char own[NAME_ROOM], other[NAME_ROOM];

        if (!leaves(all->list[i]))
            continue;
        agent_policy_name(&all->list[i]->socket->name, own, sizeof(own));
        agent_policy_name(&all->list[i]->socket->peer_name, other, sizeof(other));
        if (json_array_append_new(list, json_pack("[s, s]", own, other)) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* The group that has the other end, or NULL. */
static const char *find_group(const struct agent_object *object, const json_t *remote)
{
    char own[NAME_ROOM], other[NAME_ROOM];
    const json_t *row;
    size_t i;

    agent_policy_name(&object->socket->name, own, sizeof(own));
    agent_policy_name(&object->socket->peer_name, other, sizeof(other));
    json_array_foreach (remote, i, row) {
        const char *a = json_string_value(json_array_get(row, 0));
        const char *b = json_string_value(json_array_get(row, 1));

        if (a && b && strcmp(a, own) == 0 && strcmp(b, other) == 0)
            return json_string_value(json_array_get(row, 2));
    }
    return NULL;
}

/* --- draining ------------------------------------------------------------------------- */

static int under_way(const struct agent_object *object)
{
    int bytes = 0;

    return ioctl(object->fd, SIOCOUTQ, &bytes) < 0 ? 0 : bytes;
}

/* Corked segments are sent, and the cork is put back. */
static void push(const struct agent_object *object)
{
    const int zero = 0, one = 1;

    if (!agent_socket_int(object, IPPROTO_TCP, TCP_CORK, 0))
        return;
    (void)setsockopt(object->fd, IPPROTO_TCP, TCP_CORK, &zero, sizeof(zero)); /* valid */
    (void)setsockopt(object->fd, IPPROTO_TCP, TCP_CORK, &one, sizeof(one));   /* valid */
}

static int drain(const struct agent_object *object, int64_t deadline, struct stint_err *err)
{
    push(object);
    while (under_way(object) > 0) {
        if (agent_now_ms() > deadline)
            return stint_err_set(err, -EAGAIN,
                                 "process %d (%s), descriptor %d: bytes in a TCP connection "
                                 "to another host wait for room at the receiver.",
                                 (int)object->pid, object->comm, object->number);
        (void)poll(NULL, 0, 2); /* nothing announces an empty send queue */
    }
    return 0;
}

int agent_leaving_drain(const struct agent_objects *all, const json_t *remote,
                        struct stint_err *err)
{
    int64_t deadline = agent_now_ms() + DRAIN_MS;
    int ret = 0;

    for (size_t i = 0; i < all->count; i++) {
        if (leaves(all->list[i]) && find_group(all->list[i], remote))
            (void)agent_inet_make_room(all->list[i]); /* the other side tells what remains */
    }
    for (size_t i = 0; ret == 0 && i < all->count; i++) {
        if (leaves(all->list[i]) && find_group(all->list[i], remote))
            ret = drain(all->list[i], deadline, err);
    }
    return ret;
}

/* --- describing ----------------------------------------------------------------------- */

/* It may have changed while others were still being stopped. */
static int look_again(struct agent_object *object, struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(object->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0
        || info.tcpi_state == TCP_CLOSE)
        return stint_err_set(err, -EAGAIN,
                             "process %d (%s), descriptor %d: a TCP connection has just been "
                             "ended by its other end.",
                             (int)object->pid, object->comm, object->number);
    sock->tcp_state = info.tcpi_state;
    if (agent_inet_has_sent_fin(sock->tcp_state))
        sock->record.shutdown |= STINT_SOCKET_SHUT_WRITE;
    return 0;
}

int agent_leaving_outside(const struct agent_objects *all, struct agent_object *object,
                          struct stint_err *err)
{
    enum agent_policy policy;
    char peer[NAME_ROOM], name[256];

    if (agent_inet_has_got_fin(object->socket->tcp_state)) {
        object->socket->record.state = STINT_SOCKET_ENDED;
        return 0;
    }
    agent_policy_name(&object->socket->peer_name, peer, sizeof(peer));
    policy = agent_policy_find(all->sockets, peer, AGENT_POLICY_RESET);
    if (policy == AGENT_POLICY_REFUSE) {
        agent_object_name(object, name, sizeof(name));
        return agent_object_refuse(object, err,
                                   "the other end (%s) of the %s is not part of the program "
                                   "(see --sockets)",
                                   peer, name);
    }
    agent_socket_cut(object, policy, peer);
    return 0;
}

static int describe_remote(struct agent_object *object, const char *group,
                           struct stint_err *err)
{
    struct agent_socket *sock = object->socket;

    sock->record.state = STINT_SOCKET_CONNECTED;
    sock->record.flags |= STINT_SOCKET_REMOTE;
    sock->dir = strdup(group);
    return sock->dir ? 0 : stint_err_set(err, -ENOMEM, "describe a socket");
}

/* Not accepted yet: what was sent can be read nowhere. */
static int describe_waiting(struct agent_object *object, struct stint_err *err)
{
    if (under_way(object) > 1) /* 1: the end */
        return stint_err_set(err, -EAGAIN,
                             "process %d (%s), descriptor %d: what was sent over TCP cannot "
                             "be read before the group %s accepts the connection.",
                             (int)object->pid, object->comm, object->number,
                             object->socket->dir);
    object->socket->record.state = STINT_SOCKET_PENDING;
    return 0;
}

static int describe_other(const struct agent_objects *all, struct agent_object *object,
                          const json_t *found, struct stint_err *err)
{
    int ret = agent_inet_has_got_fin(object->socket->tcp_state)
                  ? 0
                  : agent_seek_found(object, found, err);

    if (ret < 0)
        return ret;
    return ret ? describe_waiting(object, err) : agent_leaving_outside(all, object, err);
}

static int describe(const struct agent_objects *all, struct agent_object *object,
                    const json_t *remote, const json_t *found, struct stint_err *err)
{
    const char *group = find_group(object, remote);
    int ret = look_again(object, err);

    if (ret == 0)
        ret = group ? describe_remote(object, group, err)
                    : describe_other(all, object, found, err);
    if (ret == 0)
        ret = agent_inet_peek(object, err);
    return ret == 0 ? agent_socket_pack(object, err) : ret;
}

int agent_leaving_describe(struct agent_objects *all, const json_t *remote,
                           const json_t *found, struct stint_err *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < all->count; i++) {
        if (leaves(all->list[i]))
            ret = describe(all, all->list[i], remote, found, err);
    }
    return ret;
}
