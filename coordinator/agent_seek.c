/* Sockets that lead to a socket of another group of the job which does not know of them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_seek.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/endpoint.h"
#include "coordinator/agent_inet.h"
#include "coordinator/agent_meet.h"
#include "coordinator/agent_policy.h"

#define ADDRESS_ROOM (INET6_ADDRSTRLEN + 16)
#define NAME_ROOM    256

static bool is_inet(const struct agent_object *object)
{
    return object->socket && !object->severed && !object->left_out
           && (object->socket->record.family == AF_INET
               || object->socket->record.family == AF_INET6);
}

static bool is_udp(const struct agent_object *object)
{
    return is_inet(object) && object->socket->record.type == SOCK_DGRAM
           && object->socket->record.protocol == IPPROTO_UDP;
}

static bool is_listener(const struct agent_object *object)
{
    return is_inet(object) && object->socket->record.state == STINT_SOCKET_LISTENING;
}

/* --- names ---------------------------------------------------------------------------- */

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]", 5) == 0;
}

/* "udp 10.0.0.1:53". Loopback addresses are those of one network namespace. */
static void make_name(const struct agent_object *object, const char *address, char *name)
{
    char network[128] = "";

    if (is_loopback(address))
        agent_meet_network(network, sizeof(network));
    snprintf(name, NAME_ROOM, "%s %s%s%s", is_udp(object) ? "udp" : "tcp", address,
             network[0] ? "@" : "", network);
}

static int add_name(json_t *list, const struct agent_object *object, const char *address)
{
    char name[NAME_ROOM];

    make_name(object, address, name);
    return json_array_append_new(
        list, json_pack("[s, I]", name, (json_int_t)object->record.id));
}

/* Can one that is bound to the wildcard address of its family have this address? */
static bool takes(const struct agent_object *object, const char *address)
{
    bool is_v6 = strchr(address, ':') != NULL;

    if (object->socket->record.family == AF_INET)
        return !is_v6;
    return is_v6 || !agent_socket_int(object, IPPROTO_IPV6, IPV6_V6ONLY, 0);
}

static int add_wildcard(json_t *list, const struct agent_object *object,
                        const json_t *addresses)
{
    unsigned port = ntohs(agent_inet_port(&object->socket->name));
    const json_t *item;
    size_t i;

    json_array_foreach (addresses, i, item) {
        const char *text = json_string_value(item);
        char address[ADDRESS_ROOM];

        if (!text || !takes(object, text))
            continue;
        snprintf(address, sizeof(address), strchr(text, ':') ? "[%s]:%u" : "%s:%u", text,
                 port);
        if (add_name(list, object, address) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int add_bound(json_t *list, const struct agent_object *object, const json_t *addresses)
{
    char address[ADDRESS_ROOM];

    if (!(is_udp(object) || is_listener(object))
        || agent_inet_port(&object->socket->name) == 0)
        return 0;
    if (agent_inet_is_any(&object->socket->name))
        return add_wildcard(list, object, addresses);
    agent_policy_name(&object->socket->name, address, sizeof(address));
    return add_name(list, object, address);
}

json_t *agent_seek_bound(const struct agent_objects *all)
{
    json_t *list = json_array(), *addresses = stint_endpoint_own_addresses();
    int ret = list && addresses ? 0 : -ENOMEM;

    for (size_t i = 0; ret == 0 && i < all->count; i++)
        ret = add_bound(list, all->list[i], addresses);
    json_decref(addresses);
    if (ret == 0)
        return list;
    json_decref(list);
    return NULL;
}

/* --- those that seek ---------------------------------------------------------------------- */

/* Established, but perhaps the other end was not accepted yet: it cannot have ended then. */
static bool may_wait(const struct agent_object *object)
{
    return is_inet(object) && object->socket->leaves
           && !agent_inet_has_got_fin(object->socket->tcp_state);
}

/* Those that find their peer within the group have it in their record. */
static bool is_open(const struct agent_object *object)
{
    const struct stint_socket *record;

    if (!is_inet(object) || !object->socket->record.peer_name_len)
        return false;
    record = &object->socket->record;
    if (record->peer && !(record->flags & STINT_SOCKET_REMOTE))
        return false;
    return is_udp(object) ? record->state == STINT_SOCKET_CONNECTED
                          : record->state == STINT_SOCKET_CONNECTING;
}

json_t *agent_seek_list(const struct agent_objects *all)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < all->count; i++) {
        const struct agent_object *object = all->list[i];
        char own[ADDRESS_ROOM], other[ADDRESS_ROOM], name[NAME_ROOM];
        bool waits = may_wait(object);

        if (!waits && !is_open(object))
            continue;
        agent_policy_name(&object->socket->name, own, sizeof(own));
        agent_policy_name(&object->socket->peer_name, other, sizeof(other));
        make_name(object, other, name);
        if (json_array_append_new(list, json_pack("[I, s, s, I]",
                                                  (json_int_t)object->record.id, name, own,
                                                  (json_int_t)(waits ? object->st.st_ino : 0)))
            < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* --- what came of it ------------------------------------------------------------------------ */

static bool is_about(const json_t *row, const struct agent_object *object)
{
    return json_integer_value(json_array_get(row, 0)) == (json_int_t)object->record.id;
}

int agent_seek_found(struct agent_object *object, const json_t *found, struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    const json_t *row;
    size_t i;

    json_array_foreach (found, i, row) {
        const char *group = json_string_value(json_array_get(row, 1));

        if (!is_about(row, object) || !group)
            continue;
        sock->dir = strdup(group);
        if (!sock->dir)
            return stint_err_set(err, -ENOMEM, "describe a socket");
        sock->record.peer = (uint32_t)json_integer_value(json_array_get(row, 2));
        sock->record.flags |= STINT_SOCKET_REMOTE;
        return 1;
    }
    return 0;
}

/* Datagrams that came from there are sent from there again. */
static void leave_messages(struct agent_object *object, const char *own)
{
    struct agent_socket *sock = object->socket;

    for (size_t i = 0; own && i < sock->nmessages; i++) {
        char sender[ADDRESS_ROOM];

        agent_policy_name(&sock->messages[i].name, sender, sizeof(sender));
        if (strcmp(sender, own) == 0)
            sock->messages[i].record.order = 1;
    }
}

static bool note_sought(struct agent_object *object, const json_t *sought)
{
    bool is_sought = false;
    const json_t *row;
    size_t i;

    json_array_foreach (sought, i, row) {
        if (!is_about(row, object))
            continue;
        is_sought = true;
        if (is_udp(object))
            leave_messages(object, json_string_value(json_array_get(row, 2)));
    }
    if (is_sought)
        object->socket->record.flags |= STINT_SOCKET_SOUGHT;
    return is_sought;
}

int agent_seek_describe(struct agent_objects *all, const json_t *found, const json_t *sought,
                        struct stint_err *err)
{
    for (size_t i = 0; i < all->count; i++) {
        struct agent_object *object = all->list[i];
        bool is_sought;
        int ret;

        if (!is_inet(object) || !object->extra)
            continue;
        is_sought = note_sought(object, sought);
        ret = is_open(object) ? agent_seek_found(object, found, err) : 0;
        if (ret > 0 || (ret == 0 && is_sought))
            ret = agent_socket_pack(object, err);
        if (ret < 0)
            return ret;
    }
    return 0;
}
