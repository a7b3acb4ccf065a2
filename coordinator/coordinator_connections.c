/* Sockets that lead from the program of one agent to that of another.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "common/wire.h"
#include "coordinator/coordinator_private.h"
#include "coordinator/generation.h"

#define KEY_ROOM   160
#define OFFERS_MAX 4096

/* "FROM TO" for row = [from, to], or with the two exchanged. Returns whether it is one. */
static int make_key(const json_t *row, int exchanged, char key[KEY_ROOM])
{
    const char *from = json_string_value(json_array_get(row, exchanged ? 1 : 0));
    const char *to = json_string_value(json_array_get(row, exchanged ? 0 : 1));

    return from && to && snprintf(key, KEY_ROOM, "%s %s", from, to) < KEY_ROOM;
}

/* Which group has the end with that key: an object. NULL for want of memory. */
static json_t *index_ends(const struct coordinator *c)
{
    json_t *index = json_object();

    FOR_EACH_AGENT(c, peer)
    {
        const json_t *row;
        char key[KEY_ROOM];
        size_t i;

        if (peer->part != PART_QUIESCED)
            continue;
        json_array_foreach (peer->connections, i, row) {
            if (make_key(row, 0, key)
                && json_object_set(index, key, json_object_get(peer->hello, "group")) < 0) {
                json_decref(index);
                return NULL;
            }
        }
    }
    return index;
}

static json_t *find_remote(const struct peer *peer, const json_t *index)
{
    json_t *remote = json_array();
    const json_t *row;
    char key[KEY_ROOM];
    size_t i;

    json_array_foreach (peer->connections, i, row) {
        json_t *group = make_key(row, 1, key) ? json_object_get(index, key) : NULL;

        if (group) /* without memory it counts as one that leaves the job */
            (void)json_array_append_new(
                remote, json_pack("[O, O, O]", json_array_get(row, 0), json_array_get(row, 1),
                                  group));
    }
    return remote;
}

/* --- those whose other end does not know of them -------------------------------------- */

/* Whose the names are: [group, id]. A name that two groups have (an address that is private
 * to each host) is nobody's. NULL for want of memory. */
static json_t *index_names(const struct coordinator *c)
{
    json_t *index = json_object();

    FOR_EACH_AGENT(c, peer)
    {
        json_t *group = json_object_get(peer->hello, "group");
        const json_t *row;
        size_t i;

        if (peer->part != PART_QUIESCED)
            continue;
        json_array_foreach (peer->bound, i, row) {
            const char *name = json_string_value(json_array_get(row, 0));
            const json_t *known = name ? json_object_get(index, name) : NULL;
            json_t *value = known && !json_equal(json_array_get(known, 0), group)
                                ? json_null()
                                : json_pack("[O, O*]", group, json_array_get(row, 1));

            if (name && json_object_set_new(index, name, value) < 0) {
                json_decref(index);
                return NULL;
            }
        }
    }
    return index;
}

static struct peer *find_agent(const struct coordinator *c, const json_t *group)
{
    FOR_EACH_AGENT(c, peer)
    if (peer->part == PART_QUIESCED && json_equal(json_object_get(peer->hello, "group"), group))
        return peer;
    return NULL;
}

/* row: [id, name, own address, inode]. Both sides are told, or neither. */
static void note_found(const struct coordinator *c, struct peer *peer, const json_t *row,
                       const json_t *index)
{
    const char *name = json_string_value(json_array_get(row, 1));
    const json_t *owner = name ? json_object_get(index, name) : NULL;
    json_t *own_group = json_object_get(peer->hello, "group");
    json_t *group = json_array_get(owner, 0), *id = json_array_get(owner, 1);
    struct peer *other = group ? find_agent(c, group) : NULL;
    json_t *found, *sought;

    if (!other || other == peer)
        return;
    found = json_pack("[O*, O, O]", json_array_get(row, 0), group, id);
    sought = json_pack("[O, O, O*, O*]", id, own_group, json_array_get(row, 2),
                       json_array_get(row, 3));
    if (found && sought && json_array_append(other->sought, sought) == 0
        && json_array_append(peer->found, found) < 0)
        (void)json_array_remove(other->sought, json_array_size(other->sought) - 1);
    json_decref(found); /* without memory it counts as one that leaves the job */
    json_decref(sought);
}

static void find_sought(const struct coordinator *c)
{
    json_t *index = index_names(c);

    FOR_EACH_AGENT(c, peer)
    {
        json_decref(peer->found);
        json_decref(peer->sought);
        peer->found = json_array();
        peer->sought = json_array();
    }
    FOR_EACH_AGENT(c, peer)
    {
        const json_t *row;
        size_t i;

        json_array_foreach (peer->seeks, i, row)
            note_found(c, peer, row, index);
    }
    json_decref(index);
}

int peers_drain(struct coordinator *c)
{
    json_t *index = NULL;
    int awaited = 0;

    if (coordinator_count_agents(c) < 2)
        return 0;
    FOR_EACH_AGENT(c, peer)
    {
        if (peer->part != PART_QUIESCED || peer->remote)
            continue;
        if (!index) {
            index = index_ends(c);
            find_sought(c);
        }
        peer->remote = find_remote(peer, index);
    }
    FOR_EACH_AGENT(c, peer)
    {
        /* those who were asked have drained when they are here again */
        if (!index || peer->part != PART_QUIESCED || json_array_size(peer->remote) == 0)
            continue;
        peer->part = PART_DRAINING;
        awaited = 1;
        (void)stint_wire_sendf(peer->wire, "drain", "s:I, s:O", "generation",
                               (json_int_t)c->generation->number, "remote",
                               peer->remote); /* else: closed */
    }
    json_decref(index);
    return awaited;
}

void peer_forget_connections(struct peer *peer)
{
    json_decref(peer->connections);
    json_decref(peer->remote);
    json_decref(peer->bound);
    json_decref(peer->seeks);
    json_decref(peer->found);
    json_decref(peer->sought);
    peer->connections = peer->remote = peer->bound = peer->seeks = NULL;
    peer->found = peer->sought = NULL;
}

/* --- at a restart --------------------------------------------------------------------- */

static const char *group_of(const struct peer *peer)
{
    return stint_json_string(peer->hello, "group", "");
}

static void pass_on(struct peer *to, const json_t *offer)
{
    (void)stint_wire_send(to->wire, json_copy((json_t *)offer)); /* else: closed */
}

/* One of the same key takes its place: an agent repeats itself when it connects again. */
static void keep(struct coordinator *c, json_t *offer)
{
    const json_t *key = json_object_get(offer, "key"), *old;
    size_t i;

    if (!c->offers)
        c->offers = json_array();
    json_array_foreach (c->offers, i, old) {
        if (json_equal(json_object_get(old, "key"), key)) {
            (void)json_array_set(c->offers, i, offer); /* else: the old one stays */
            return;
        }
    }
    if (json_array_size(c->offers) < OFFERS_MAX)
        (void)json_array_append(c->offers, offer); /* else: only those here are told */
}

void peer_offer(struct peer *from, json_t *message)
{
    struct coordinator *c = from->coordinator;

    if (json_object_set(message, "group", json_object_get(from->hello, "group")) < 0)
        return;
    keep(c, message);
    FOR_EACH_AGENT(c, peer)
    if (peer != from)
        pass_on(peer, message);
}

void peer_send_offers(struct peer *to)
{
    const json_t *offer;
    size_t i;

    json_array_foreach (to->coordinator->offers, i, offer) {
        if (strcmp(stint_json_string(offer, "group", ""), group_of(to)) != 0)
            pass_on(to, offer);
    }
}

void peer_drop_offers(const struct peer *of)
{
    json_t *offers = of->coordinator->offers;

    for (size_t i = json_array_size(offers); i > 0; i--) {
        const json_t *offer = json_array_get(offers, i - 1);

        if (strcmp(stint_json_string(offer, "group", ""), group_of(of)) == 0)
            (void)json_array_remove(offers, i - 1); /* it is there */
    }
}
