/* The coordinator's connections: what agents and clients say, and what they are told.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/timefmt.h"
#include "common/wire.h"
#include "coordinator/coordinator_private.h"
#include "coordinator/generation.h"

#define STRANGERS_MAX 128u /* connections that have not said hello */
#define PEERS_MAX     100000u

/* --- telling ---------------------------------------------------------------- */

static json_t *answer_new(struct coordinator *c, int code, const char *text)
{
    const struct history *h = &c->history;
    char message[160], size[STINT_SIZE_TEXT_MAX], took[STINT_DURATION_TEXT_MAX];

    if (code)
        return json_pack("{s:s, s:b, s:i, s:o}", "t", "reply", "ok", 0, "code", code,
                         "message", stint_json_text(text));
    snprintf(message, sizeof(message), "generation %llu committed: %s, %s",
             (unsigned long long)h->generation, stint_size_format(h->bytes, size),
             stint_duration_format((double)h->duration_ms / 1000, took));
    return json_pack("{s:s, s:b, s:i, s:s, s:I, s:I, s:I, s:I, s:I}", "t", "reply",
                     "ok", 1, "code", 0, "message", message, "generation",
                     (json_int_t)h->generation, "bytes", (json_int_t)h->bytes,
                     "duration_ms", (json_int_t)h->duration_ms, "stall_ms",
                     (json_int_t)h->stall_ms, "processes", (json_int_t)h->processes);
}

void peers_answer(struct coordinator *c,
                  enum peer_wait wait,
                  int code,
                  const char *text)
{
    for (struct peer *peer = c->peers; peer; peer = peer->next) {
        if (peer->role != PEER_CLIENT || peer->wait != wait)
            continue;
        peer->wait = WAIT_NONE;
        /* a client that has gone is told nothing */
        (void)stint_wire_send(peer->wire, peer->answer
                                              ? stint_steal_pointer(&peer->answer)
                                              : answer_new(c, code, text));
    }
}

void peers_move(struct coordinator *c, enum peer_wait from, enum peer_wait to)
{
    for (struct peer *peer = c->peers; peer; peer = peer->next) {
        if (peer->role != PEER_CLIENT || peer->wait != from)
            continue;
        peer->wait = to;
        if (to == WAIT_END) /* what it says is fixed now: nothing later can undo it */
            peer->answer = answer_new(c, 0, NULL);
    }
}

void peers_send_part(struct coordinator *c, const char *t, const char *reason)
{
    json_int_t number = (json_int_t)c->generation->number;

    FOR_EACH_AGENT(c, peer)
    {
        if (peer->part == PART_NONE)
            continue;
        if (reason) /* a failure to send is the connection's end, and told as such */
            (void)stint_wire_sendf(peer->wire, t, "s:I, s:o", "generation", number,
                                   "reason", stint_json_text(reason));
        else
            (void)stint_wire_sendf(peer->wire, t, "s:I", "generation", number);
    }
}

void peer_send_checkpoint(struct peer *peer)
{
    struct coordinator *c = peer->coordinator;
    const struct generation *g = c->generation;

    peer->part = PART_QUIESCING;
    peer->heard_ms = peer->grown_ms = coordinator_now_ms();
    peer->bytes = peer->described = 0;
    (void)stint_wire_sendf(
        peer->wire, "checkpoint", "s:I, s:s, s:s, s:b, s:i, s:s, s:s, s:s", /* else: */
        "generation", (json_int_t)g->number, "dir", g->path, "gen_id", g->id_hex,
        "hold", c->current.kill || c->current.final, "timeout_ms", 60000,
        "on_unsupported", c->config->ignore_unsupported ? "ignore" : "refuse", "sockets",
        c->config->sockets ? c->config->sockets : "", "save_files",
        c->config->save_files ? c->config->save_files : "");
}

/* --- agents ------------------------------------------------------------------ */

/* Messages about a generation count only when it is the one being made. */
static int is_current(const struct peer *peer, const json_t *message)
{
    const struct coordinator *c = peer->coordinator;

    return c->generation && peer->part != PART_NONE
           && stint_json_int(message, "generation", 0, INT64_MAX, -1)
                  == (int64_t)c->generation->number;
}

static void agent_captured(struct peer *peer, json_t *message)
{
    struct coordinator *c = peer->coordinator;
    const char *code = stint_json_string(message, "code", "error");
    const char *group = stint_json_string(peer->hello, "group", "?");

    if (!is_current(peer, message) || peer->part == PART_CAPTURED)
        return;
    if (!stint_json_bool(message, "ok", 0)) {
        peer->part = PART_NONE; /* its programs run again: nothing to abort there */
        coordinator_fail(c, strcmp(code, "retry") == 0 ? 75 : 1, "%s: %s", group,
                         stint_json_string(message, "reason", "failed"));
        return;
    }
    if (peer->part != PART_CAPTURING) {
        coordinator_fail(c, 1, "the agent of %s answered before it was asked", group);
        return;
    }
    if (generation_add(c->generation, peer->hello, message) < 0) {
        coordinator_fail(c, 1, "out of memory");
        return;
    }
    peer->part = PART_CAPTURED;
    coordinator_check_parts(c);
}

static void agent_quiesced(struct peer *peer, const char *t, const json_t *message)
{
    enum peer_part part = strcmp(t, "drained") == 0 ? PART_DRAINING : PART_QUIESCING;

    if (!is_current(peer, message) || peer->part != part)
        return;
    peer->part = PART_QUIESCED;
    if (part == PART_QUIESCING) {
        peer->connections = json_incref(json_object_get(message, "connections"));
        peer->bound = json_incref(json_object_get(message, "bound"));
        peer->seeks = json_incref(json_object_get(message, "seeks"));
    }
    coordinator_check_parts(peer->coordinator);
}

static void agent_progress(struct peer *peer, const json_t *message)
{
    uint64_t bytes = (uint64_t)stint_json_int(message, "bytes", 0, INT64_MAX, 0);
    uint64_t described = (uint64_t)stint_json_int(message, "described", 0, INT64_MAX, 0);

    if (!is_current(peer, message))
        return;
    if (bytes > peer->bytes || described > peer->described)
        peer->grown_ms = coordinator_now_ms();
    peer->bytes = bytes;
    peer->described = described;
}

static void agent_terminating(struct peer *peer, const json_t *message)
{
    int signal_number = (int)stint_json_int(message, "signal", 1, 64, 15);

    if (!peer->coordinator->slurm.link) {
        (void)stint_wire_sendf(peer->wire, "deliver", "s:i", "signal", signal_number);
        return;
    }
    peer->held_signal = signal_number;
    end_of_stint_sigterm(peer->coordinator, peer);
}

static int agent_message(struct peer *peer, const char *t, json_t *message)
{
    peer->heard_ms = coordinator_now_ms();
    if (strcmp(t, "quiesced") == 0 || strcmp(t, "drained") == 0) {
        agent_quiesced(peer, t, message);
    } else if (strcmp(t, "offer") == 0) {
        peer_offer(peer, message);
    } else if (strcmp(t, "progress") == 0) {
        agent_progress(peer, message);
    } else if (strcmp(t, "captured") == 0) {
        agent_captured(peer, message);
    } else if (strcmp(t, "terminating") == 0) {
        agent_terminating(peer, message);
    } else if (strcmp(t, "exited") == 0) {
        peer->has_exited = 1;
    } else if (strcmp(t, "listed") == 0) {
        peers_list_add(peer, message);
    } else {
        return 0;
    }
    return 1;
}

static struct peer *find_group(const struct coordinator *c, const char *group)
{
    FOR_EACH_AGENT(c, peer)
    if (strcmp(stint_json_string(peer->hello, "group", ""), group) == 0)
        return peer;
    return NULL;
}

static int is_group_name(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len < 64 && name[0] != '.'
           && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                           "0123456789._-")
                  == len;
}

static void lost_agent(struct coordinator *c, const struct peer *peer);

/* Returns NULL, or why it is not taken. */
static const char *take_agent(struct peer *peer, json_t *hello)
{
    struct coordinator *c = peer->coordinator;
    const char *group = stint_json_string(hello, "group", "");
    struct peer *other = find_group(c, group);

    if (!is_group_name(group))
        return "that is no name of a group";
    if (c->state == STATE_ENDING || c->state == STATE_OVER)
        return "the programs are being ended";
    if (other) {
        /* the same agent, whose old connection has broken without a trace */
        if (!json_equal(json_object_get(other->hello, "pid"),
                        json_object_get(hello, "pid"))
            || !json_equal(json_object_get(other->hello, "host"),
                           json_object_get(hello, "host")))
            return "a group of that name is there already";
    }
    peer->hello = json_incref(hello);
    peer->role = PEER_AGENT;
    c->had_agent = 1;
    if (other) {
        other->role = PEER_STRANGER;
        lost_agent(c, other);
        peer_free(other);
    }
    return NULL;
}

static int peers_are_draining(const struct coordinator *c)
{
    FOR_EACH_AGENT(c, peer)
    if (peer->part == PART_DRAINING)
        return 1;
    return 0;
}

static void welcome(struct peer *peer)
{
    struct coordinator *c = peer->coordinator;

    (void)stint_wire_sendf(
        peer->wire, "welcome", "s:i, s:I", "version", /* else: closed */
        STINT_WIRE_VERSION, "generation", (json_int_t)c->history.generation);
    if (peer->role != PEER_AGENT)
        return;
    stint_info("%s on %s has joined: %s", stint_json_string(peer->hello, "group", ""),
               stint_json_string(peer->hello, "host", "?"),
               stint_json_string(peer->hello, "command", "?"));
    if (c->config->hooks && c->config->hooks->joined)
        c->config->hooks->joined(c, peer->hello, c->config->arg);
    peer_send_offers(peer);
    /* while the others still stop, it can be part of it */
    if (c->state == STATE_QUIESCE && c->generation && !peers_are_draining(c))
        peer_send_checkpoint(peer);
}

static void first_message(struct peer *peer, const char *t, json_t *message)
{
    const char *role = stint_json_string(message, "role", "");
    const char *refused = NULL;

    if (strcmp(t, "hello") != 0)
        refused = "say hello first";
    else if (stint_json_int(message, "version", 0, INT32_MAX, 0) != STINT_WIRE_VERSION)
        refused = "another version of stint";
    else if (strcmp(role, "agent") == 0)
        refused = take_agent(peer, message);
    else if (strcmp(role, "client") == 0)
        peer->role = PEER_CLIENT;
    else
        refused = "neither agent nor client";
    if (refused) {
        (void)stint_wire_sendf(peer->wire, "error", "s:s", "reason", refused);
        stint_wire_finish(peer->wire);
        return;
    }
    welcome(peer);
}

/* --- clients ------------------------------------------------------------------- */

static void reply(struct peer *peer, int code, const char *text)
{
    (void)stint_wire_sendf(peer->wire, "reply", "s:b, s:i, s:s", "ok", code == 0,
                           "code", code, "message",
                           text); /* a client that has gone is told nothing */
}

/* Join the checkpoint that is being made while it can still be what was asked for, or
 * ask for the next one. */
static void request_checkpoint(struct peer *peer, const json_t *message)
{
    struct coordinator *c = peer->coordinator;
    int wants_end = stint_json_bool(message, "kill", 0);
    int waits = stint_json_bool(message, "wait", 1);

    if (c->state == STATE_ENDING || c->state == STATE_OVER) {
        reply(peer, 1, "the programs are being ended");
        return;
    }
    if (!waits)
        reply(peer, 0, "a checkpoint was asked for");
    if (c->state == STATE_QUIESCE && (!wants_end || c->current.kill)) {
        peer->wait = waits ? WAIT_CURRENT : WAIT_NONE;
        return;
    }
    peer->wait = waits ? WAIT_NEXT : WAIT_NONE;
    c->next.wanted = 1;
    c->next.kill |= wants_end;
    coordinator_start_next(c);
}

static json_t *agents_json(const struct coordinator *c)
{
    static const char *const copied[] = {"group", "host", "pid", "root_pid", "command"};
    json_t *list = json_array();

    FOR_EACH_AGENT(c, peer)
    {
        json_t *agent = json_object();

        for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++) {
            json_t *member = json_object_get(peer->hello, copied[i]);

            if (member)
                (void)json_object_set(agent, copied[i], member); /* else: not shown */
        }
        (void)json_array_append_new(list, agent); /* else: not shown */
    }
    return list;
}

static json_t *running_json(const struct coordinator *c)
{
    uint64_t bytes = 0;

    if (!c->generation)
        return json_null();
    FOR_EACH_AGENT(c, peer)
    bytes += peer->bytes;
    return json_pack(
        "{s:I, s:s, s:I, s:I, s:b}", "generation", (json_int_t)c->generation->number,
        "phase", coordinator_state_name(c->state), "bytes", (json_int_t)bytes,
        "elapsed_ms", (json_int_t)(coordinator_now_ms() - c->generation->started_ms),
        "final", c->current.final);
}

static json_t *last_json(const struct coordinator *c)
{
    const struct history *h = &c->history;

    if (!h->generation)
        return json_null();
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "generation",
                     (json_int_t)h->generation, "committed", (json_int_t)h->committed,
                     "duration_ms", (json_int_t)h->duration_ms, "longest_ms",
                     (json_int_t)h->longest_ms, "stall_ms", (json_int_t)h->stall_ms,
                     "bytes", (json_int_t)h->bytes, "processes",
                     (json_int_t)h->processes);
}

static void request_status(struct peer *peer)
{
    struct coordinator *c = peer->coordinator;
    uint64_t now = coordinator_now_ms();
    json_t *slurm = end_of_stint_json(c);
    char host[256] = "";

    (void)gethostname(host, sizeof(host) - 1); /* "" then */
    (void)stint_wire_sendf(
        peer->wire, "reply",
        "s:b, s:i, s:s, s:s, s:s, s:i, s:I, s:o, s:I, s:I, s:i, s:i, s:s, s:o, s:o, "
        "s:o",
        "ok", 1, "code", 0, "message", "", "state", coordinator_state_name(c->state),
        "host", host, "pid", (int)getpid(), "uptime_s",
        (json_int_t)((now - c->started_ms) / 1000), "agents", agents_json(c),
        "interval_s", (json_int_t)c->interval_s, "next_in_s",
        c->due_ms ? (json_int_t)(c->due_ms > now ? (c->due_ms - now) / 1000 : 0)
                  : (json_int_t)-1,
        "checkpoints", (int)c->history.count, "failures", (int)c->history.failures,
        "failure", c->history.failure, "running", running_json(c), "last", last_json(c),
        "slurm", slurm ? slurm : json_null());
}

static void request_interval(struct peer *peer, const json_t *message)
{
    int64_t seconds = stint_json_int(message, "seconds", 0, STINT_DURATION_MAX, -1);
    char text[64], interval[STINT_DURATION_TEXT_MAX];

    if (seconds < 0) {
        reply(peer, 1, "that is no interval");
        return;
    }
    coordinator_set_interval(peer->coordinator, (uint32_t)seconds);
    if (seconds)
        snprintf(text, sizeof(text), "a checkpoint every %s",
                 stint_duration_format((double)seconds, interval));
    else
        snprintf(text, sizeof(text), "checkpoints only on request");
    stint_info("%s", text);
    reply(peer, 0, text);
}

static void request_end(struct peer *peer)
{
    struct coordinator *c = peer->coordinator;

    if (!coordinator_transition(c->state, EVENT_STOP)) {
        reply(peer, 75, "not at this moment");
        return;
    }
    if (coordinator_count_agents(c) == 0 && c->config->stays) {
        reply(peer, 0, "nothing runs");
        return;
    }
    snprintf(c->end_reason, sizeof(c->end_reason),
             "ended on request, without a checkpoint");
    peer->wait = WAIT_END;
    peer->answer = json_pack("{s:s, s:b, s:i, s:s}", "t", "reply", "ok", 1, "code", 0,
                             "message", "ended");
    coordinator_event(c, EVENT_STOP);
}

static void request_quit(struct peer *peer)
{
    struct coordinator *c = peer->coordinator;

    peer->wait = WAIT_END;
    peer->answer = json_pack("{s:s, s:b, s:i, s:s}", "t", "reply", "ok", 1, "code", 0,
                             "message", "ended");
    coordinator_quit(c, "ended on request, without a checkpoint");
}

/* What only the front end knows. Returns whether it does. */
static int request_hook(struct peer *peer, const char *command, const json_t *message)
{
    struct coordinator *c = peer->coordinator;
    const struct coordinator_hooks *hooks = c->config->hooks;
    json_t *answer = NULL;

    if (!hooks || !hooks->request
        || !hooks->request(c, command, message, &answer, c->config->arg))
        return 0;
    if (answer && json_object_set_new(answer, "t", json_string("reply")) == 0)
        (void)stint_wire_send(peer->wire, json_incref(answer)); /* gone: told nothing */
    else
        reply(peer, 1, "out of memory");
    json_decref(answer);
    return 1;
}

static void request(struct peer *peer, const json_t *message)
{
    const char *command = stint_json_string(message, "command", "");

    if (peer->wait != WAIT_NONE)
        reply(peer, 1, "one request at a time");
    else if (strcmp(command, "checkpoint") == 0)
        request_checkpoint(peer, message);
    else if (strcmp(command, "status") == 0)
        request_status(peer);
    else if (strcmp(command, "interval") == 0)
        request_interval(peer, message);
    else if (strcmp(command, "stop") == 0 || strcmp(command, "kill") == 0)
        request_end(peer);
    else if (strcmp(command, "quit") == 0)
        request_quit(peer);
    else if (strcmp(command, "list") == 0)
        peers_list_start(peer);
    else if (!request_hook(peer, command, message))
        reply(peer, 1, "this version of stint does not know that command");
}

/* --- connections ------------------------------------------------------------------ */

static void
on_message(struct stint_wire *wire, const char *t, json_t *message, void *arg)
{
    struct peer *peer = arg;
    int known = 0;

    switch (peer->role) {
    case PEER_STRANGER:
        first_message(peer, t, message);
        return;
    case PEER_AGENT:
        known = agent_message(peer, t, message);
        break;
    case PEER_CLIENT:
        known = strcmp(t, "request") == 0;
        if (known)
            request(peer, message);
        break;
    default:
        break;
    }
    if (!known && strcmp(t, "error") == 0)
        stint_warn("%s says: %s", stint_json_string(peer->hello, "group", "a client"),
                   stint_json_string(message, "reason", ""));
    else if (!known)
        (void)stint_wire_sendf(wire, "error", "s:s", "reason", "unknown message");
}

static void unlink_peer(struct peer *peer)
{
    struct coordinator *c = peer->coordinator;

    for (struct peer **at = &c->peers; *at; at = &(*at)->next)
        if (*at == peer) {
            *at = peer->next;
            c->npeers--;
            return;
        }
}

void peer_free(struct peer *peer)
{
    unlink_peer(peer);
    stint_wire_free(peer->wire);
    json_decref(peer->hello);
    json_decref(peer->answer);
    json_decref(peer->listed);
    peer_forget_connections(peer);
    free(peer);
}

/* peer is no agent any more, but still has what it had said. */
static void lost_agent(struct coordinator *c, const struct peer *peer)
{
    const char *group = stint_json_string(peer->hello, "group", "?");
    int is_missed = peer->part != PART_NONE && peer->part != PART_CAPTURED
                    && (c->state == STATE_QUIESCE || c->state == STATE_CAPTURE);

    stint_info("%s on %s has %s", group, stint_json_string(peer->hello, "host", "?"),
               peer->has_exited || c->state == STATE_ENDING ? "ended"
                                                            : "gone without a word");
    peer_drop_offers(peer);
    c->is_end_failure = is_missed && peer->has_exited;
    if (is_missed)
        coordinator_fail(c, 75,
                         peer->has_exited ? "the program of %s has ended"
                                          : "the agent of %s was lost",
                         group);
}

static void on_closed(struct stint_wire *wire, const char *reason, void *arg)
{
    struct peer *peer = arg;
    struct coordinator *c = peer->coordinator;
    int was_agent = peer->role == PEER_AGENT;

    if (peer->role == PEER_STRANGER)
        stint_debug("a connection without hello: %s", reason);
    peer->role = PEER_STRANGER;
    if (was_agent && c->state != STATE_OVER)
        lost_agent(c, peer);
    peer_free(peer);
    if (was_agent)
        peers_list_check(c);
    if (was_agent && coordinator_count_agents(c) == 0)
        coordinator_raise_gone(c);
    if (c->state == STATE_OVER && !c->peers)
        event_base_loopbreak(c->base);
}

void peer_accept(struct coordinator *c, int fd)
{
    static const struct stint_wire_callbacks callbacks = {on_message, on_closed};
    struct peer *peer;
    struct stint_err err;
    unsigned strangers = 0;

    for (const struct peer *p = c->peers; p; p = p->next)
        strangers += p->role == PEER_STRANGER;
    if (strangers >= STRANGERS_MAX || c->npeers >= PEERS_MAX) {
        close(fd);
        return;
    }
    peer = calloc(1, sizeof(*peer));
    if (!peer) {
        close(fd);
        return;
    }
    peer->coordinator = c;
    if (stint_wire_accept(c->base, fd, &c->key, &callbacks, peer, &peer->wire, &err)
        < 0) {
        stint_warn("%s", err.text);
        close(fd);
        free(peer);
        return;
    }
    peer->next = c->peers;
    c->peers = peer;
    c->npeers++;
}
