/* The coordinator's actions: what is done at each transition.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/endpoint.h"
#include "common/log.h"
#include "common/manifest.h"
#include "common/timefmt.h"
#include "common/wire.h"
#include "coordinator/coordinator_private.h"
#include "coordinator/generation.h"

#define LEAVE_MS 5000 /* for answers to go out */
#define RETRY_MS 10000

static void leave_generation(struct coordinator *c)
{
    FOR_EACH_AGENT(c, peer)
    {
        peer->part = PART_NONE;
        peer_forget_connections(peer);
    }
    generation_free(c->generation);
    c->generation = NULL;
}

static void action_start(struct coordinator *c)
{
    const struct coordinator_hooks *hooks = c->config->hooks;
    struct stint_err err;
    uint64_t room;
    int code;

    peers_move(c, WAIT_NEXT, WAIT_CURRENT);
    c->failure[0] = '\0';
    c->is_end_failure = 0;
    code = hooks && hooks->prepare ? hooks->prepare(c, &err, c->config->arg) : 0;
    if (code) {
        coordinator_fail(c, code, "%s", err.text);
        return;
    }
    /* what an aborted generation left while its agents still wrote */
    if (stint_dir_clean(c->gen_fd, NULL, &err) < 0)
        stint_debug("%s", err.text);
    if (stint_dir_room(c->gen_fd, &room, &err) == 0 && room < c->history.bytes) {
        char have[STINT_SIZE_TEXT_MAX], need[STINT_SIZE_TEXT_MAX];

        coordinator_fail(c, 1, "no room: %s are free, the last checkpoint took %s",
                         stint_size_format(room, have),
                         stint_size_format(c->history.bytes, need));
        return;
    }
    if (generation_begin(c->gen_fd, c->gen_dir, &c->generation, &err) < 0) {
        coordinator_fail(c, 1, "%s", err.text);
        return;
    }
    FOR_EACH_AGENT(c, peer)
    peer_send_checkpoint(peer);
}

static void action_capture(struct coordinator *c)
{
    uint64_t now = coordinator_now_ms();

    FOR_EACH_AGENT(c, peer)
    if (peer->part == PART_QUIESCED) {
        peer->part = PART_CAPTURING;
        peer->heard_ms = now;
        peer->grown_ms = now;
        peer->bytes = 0;
        (void)stint_wire_sendf(peer->wire, "capture", "s:I, s:O*, s:O*, s:O*", "generation",
                               (json_int_t)c->generation->number, "remote", peer->remote,
                               "found", peer->found, "sought",
                               peer->sought); /* else: closed */
    }
}

static void record_success(struct coordinator *c,
                           const struct stint_manifest *m,
                           uint64_t duration_ms)
{
    struct history *h = &c->history;
    char size[STINT_SIZE_TEXT_MAX], took[STINT_DURATION_TEXT_MAX];

    h->generation = m->generation;
    h->committed = m->committed;
    h->duration_ms = duration_ms;
    h->stall_ms = m->stall_ms;
    h->bytes = m->bytes;
    h->processes = m->processes;
    h->count++;
    h->failure[0] = '\0';
    if (duration_ms > h->longest_ms)
        h->longest_ms = duration_ms;
    stint_info("generation %llu committed: %s, %llu processes, %s",
               (unsigned long long)m->generation, stint_size_format(m->bytes, size),
               (unsigned long long)m->processes,
               stint_duration_format((double)duration_ms / 1000, took));
}

static void action_commit(struct coordinator *c)
{
    const struct coordinator_hooks *hooks = c->config->hooks;
    struct stint_manifest manifest = {0};
    struct generation_facts facts = {
        .slurm_job = c->config->slurm_job ? c->config->slurm_job : "",
        .run = (uint64_t)c->slurm.info.restart_count + 1,
        .duration_ms = coordinator_now_ms() - c->generation->started_ms,
        .held = c->current.kill || c->current.final,
    };
    struct stint_err err;

    if (generation_commit(c->generation, c->gen_fd, &facts, &manifest, &err) < 0) {
        coordinator_fail(c, 1, "%s", err.text);
        return;
    }
    record_success(c, &manifest, coordinator_now_ms() - c->generation->started_ms);
    if (hooks && hooks->committed)
        hooks->committed(c, &manifest, c->config->arg);
    stint_manifest_deinit(&manifest);
    if (stint_dir_prune(c->gen_fd, c->config->keep, NULL, &err) < 0)
        stint_warn("%s", err.text);
    peers_send_part(c, "committed", NULL);
    coordinator_event(c, c->current.final  ? EVENT_COMMITTED_HOLD
                         : c->current.kill ? EVENT_COMMITTED_END
                                           : EVENT_COMMITTED);
}

/* The interval counts from the start of the last checkpoint; however long that took,
 * the program gets a moment to work. */
static void set_next_due(struct coordinator *c, uint64_t started_ms)
{
    uint64_t soonest = coordinator_now_ms() + 1000;
    uint64_t at = started_ms + (uint64_t)c->interval_s * 1000;

    if (c->interval_s)
        coordinator_set_due(c, at > soonest ? at : soonest);
}

static void action_announce(struct coordinator *c)
{
    uint64_t started_ms = c->generation->started_ms;

    peers_answer(c, WAIT_CURRENT, 0, NULL);
    leave_generation(c);
    set_next_due(c, started_ms);
    end_of_stint_committed(c);
    memset(&c->current, 0, sizeof(c->current));
    coordinator_start_next(c);
}

static void action_requeue(struct coordinator *c)
{
    peers_answer(c, WAIT_CURRENT, 0, NULL);
    end_of_stint_committed(c);
    end_of_stint_requeue(c);
}

static void record_failure(struct coordinator *c)
{
    unsigned long long number = c->generation ? c->generation->number : 0;

    c->history.failures++;
    /* said once, not at every interval; and not at all where nobody could have wished
     * it */
    if (strcmp(c->failure, c->history.failure) == 0 || c->is_end_failure)
        stint_info("no checkpoint: %s", c->failure);
    else if (number)
        stint_warn("checkpoint %llu failed: %s", number, c->failure);
    else
        stint_warn("no checkpoint: %s", c->failure);
    snprintf(c->history.failure, sizeof(c->history.failure), "%s", c->failure);
}

static void abort_generation(struct coordinator *c)
{
    record_failure(c);
    if (c->generation) {
        peers_send_part(c, "abort", c->failure);
        generation_drop(c->generation, c->gen_fd);
    }
    peers_answer(c, WAIT_CURRENT, c->failure_code, c->failure);
    leave_generation(c);
}

static void action_abort(struct coordinator *c)
{
    uint64_t wait_ms = (uint64_t)c->interval_s * 1000;

    abort_generation(c);
    if (c->failure_code == 75 && wait_ms > RETRY_MS)
        wait_ms = RETRY_MS;
    if (c->interval_s)
        coordinator_set_due(c, coordinator_now_ms() + wait_ms);
    end_of_stint_failed(c);
    memset(&c->current, 0, sizeof(c->current));
    coordinator_start_next(c);
}

static void action_resume(struct coordinator *c)
{
    uint64_t started_ms = c->generation->started_ms;

    stint_warn("checkpoint %llu is good, but the job was not requeued: %s",
               (unsigned long long)c->generation->number, c->failure);
    snprintf(c->history.failure, sizeof(c->history.failure), "%s", c->failure);
    peers_send_part(c, "resume", NULL);
    leave_generation(c);
    set_next_due(c, started_ms);
    end_of_stint_failed(c);
    memset(&c->current, 0, sizeof(c->current));
    coordinator_start_next(c);
}

static void action_end(struct coordinator *c)
{
    json_int_t number = c->generation ? (json_int_t)c->generation->number : 0;

    if (!c->end_reason[0])
        snprintf(c->end_reason, sizeof(c->end_reason), "ended after checkpoint %lld",
                 (long long)number);
    peers_move(c, WAIT_CURRENT, WAIT_END);
    memset(&c->next, 0, sizeof(c->next));
    peers_answer(c, WAIT_NEXT, 1, "the programs are being ended");
    FOR_EACH_AGENT(c, peer)
    (void)stint_wire_sendf(peer->wire, "end", "s:I, s:s, s:b", "generation", number,
                           "reason", c->end_reason, "requeued",
                           c->current.final); /* else: closed */
    leave_generation(c);
}

static void action_ended(struct coordinator *c)
{
    const struct coordinator_hooks *hooks = c->config->hooks;

    c->end_reason[0] = '\0';
    c->had_agent = 0;
    peers_answer(c, WAIT_END, 0, NULL);
    if (hooks && hooks->emptied)
        hooks->emptied(c, c->config->arg);
}

static int is_left(const struct coordinator *c)
{
    return c->peers == NULL;
}

/* Everybody is answered, the directory is free for another coordinator; the loop goes
 * on until the answers have gone out. */
static void action_finish(struct coordinator *c)
{
    const struct timeval limit = {LEAVE_MS / 1000, 0};

    end_of_stint_stop(c);
    (void)unlinkat(c->dir_fd, STINT_ENDPOINT_NAME, 0); /* a stale one does no harm */
    if (c->listener)
        evconnlistener_free(c->listener);
    c->listener = NULL;
    event_del(c->tick);
    event_del(c->due);
    peers_answer(c, WAIT_NEXT, 1, "the program has ended");
    peers_answer(c, WAIT_CURRENT, 1, "the program has ended");
    stint_cleanup_close(&c->lock_fd);
    c->lock_fd = -1;
    peers_answer(c, WAIT_END, 0, NULL);
    for (struct peer *peer = c->peers; peer; peer = peer->next)
        stint_wire_finish(peer->wire);
    if (is_left(c))
        event_base_loopbreak(c->base);
    else
        (void)event_base_loopexit(c->base, &limit); /* else peers end it */
}

void coordinator_perform(struct coordinator *c, enum coordinator_action action)
{
    switch (action) {
    case ACTION_START:
        action_start(c);
        break;
    case ACTION_CAPTURE:
        action_capture(c);
        break;
    case ACTION_COMMIT:
        action_commit(c);
        break;
    case ACTION_ANNOUNCE:
        action_announce(c);
        break;
    case ACTION_REQUEUE:
        action_requeue(c);
        break;
    case ACTION_ABORT:
        action_abort(c);
        break;
    case ACTION_RESUME:
        action_resume(c);
        break;
    case ACTION_END:
        action_end(c);
        break;
    case ACTION_ABORT_END:
        snprintf(c->failure, sizeof(c->failure), "%s", c->end_reason);
        c->failure_code = 1;
        abort_generation(c);
        memset(&c->current, 0, sizeof(c->current));
        action_end(c);
        break;
    case ACTION_ABORT_FINISH:
        c->is_end_failure = 1;
        if (!c->failure[0])
            snprintf(c->failure, sizeof(c->failure), "the program has ended");
        c->failure_code = 1;
        abort_generation(c);
        action_finish(c);
        break;
    case ACTION_FINISH:
        action_finish(c);
        break;
    case ACTION_ENDED:
        action_ended(c);
        break;
    case ACTION_NONE:
    default:
        break;
    }
}
