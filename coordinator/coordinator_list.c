/* Which processes run: asked of all agents, collected, given to the clients that want it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "common/cleanup.h"
#include "common/wire.h"
#include "coordinator/coordinator_private.h"

#define LIST_MS 4000 /* an agent that is silent so long is left out */

void peers_list_start(struct peer *client)
{
    struct coordinator *c = client->coordinator;

    client->wait = WAIT_LIST;
    if (!c->listed_ms) {
        c->listed_ms = coordinator_now_ms();
        FOR_EACH_AGENT(c, peer)
            /* a failure to send is the connection's end: it owes nothing then */
            peer->is_listing = stint_wire_sendf(peer->wire, "list", "") == 0;
    }
    peers_list_check(c);
}

void peers_list_add(struct peer *agent, json_t *message)
{
    json_decref(agent->listed);
    agent->listed = json_incref(message);
    agent->is_listing = 0;
    peers_list_check(agent->coordinator);
}

static json_t *agents_json(const struct coordinator *c)
{
    static const char *const copied[] = {"group", "host", "pid", "root_pid", "command"};
    json_t *list = json_array();

    FOR_EACH_AGENT(c, peer) {
        json_t *agent = json_object(), *processes = NULL;

        for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++) {
            json_t *member = json_object_get(peer->hello, copied[i]);

            if (member)
                (void)json_object_set(agent, copied[i], member); /* else: not shown */
        }
        if (!peer->is_listing)
            processes = json_object_get(peer->listed, "processes");
        (void)json_object_set_new(
            agent, "running",
            json_boolean(!peer->is_listing && stint_json_bool(peer->listed, "running", 0)));
        (void)json_object_set_new(agent, "processes",
                                  processes ? json_incref(processes) : json_array());
        (void)json_array_append_new(list, agent); /* else: not shown */
    }
    return list;
}

static void answer(struct peer *client)
{
    struct coordinator *c = client->coordinator;
    const struct coordinator_hooks *hooks = c->config->hooks;
    json_t *reply = json_pack("{s:s, s:b, s:i, s:s, s:s, s:I, s:o}", "t", "reply", "ok", 1,
                              "code", 0, "message", "", "state",
                              coordinator_state_name(c->state), "interval_s",
                              (json_int_t)c->interval_s, "agents", agents_json(c));

    if (reply && hooks && hooks->describe)
        hooks->describe(c, reply, c->config->arg);
    client->wait = WAIT_NONE;
    (void)stint_wire_send(client->wire, reply); /* a client that has gone is told nothing */
}

static void answer_all(struct coordinator *c)
{
    c->listed_ms = 0;
    for (struct peer *peer = c->peers; peer; peer = peer->next)
        if (peer->role == PEER_CLIENT && peer->wait == WAIT_LIST)
            answer(peer);
    FOR_EACH_AGENT(c, peer)
        peer->is_listing = 0;
}

void peers_list_check(struct coordinator *c)
{
    if (!c->listed_ms)
        return;
    FOR_EACH_AGENT(c, peer)
        if (peer->is_listing)
            return;
    answer_all(c);
}

void peers_list_overdue(struct coordinator *c, uint64_t now_ms)
{
    if (c->listed_ms && now_ms - c->listed_ms > LIST_MS)
        answer_all(c);
}
