/* The end of a stint: watches the job's time, makes the final checkpoint, requeues.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "common/timefmt.h"
#include "common/wire.h"
#include "coordinator/coordinator_private.h"
#include "coordinator/generation.h"
#include "coordinator/slurm.h"

#define FIRST_LOOK_AGAIN_MS 10000 /* after a call that failed */
#define RETRY_MAX_S         30u
#define ATTEMPTS_HELD       3 /* while the program waits for its SIGTERM */

static int64_t lead_s(const struct coordinator *c)
{
    return slurm_lead(&c->slurm.info, c->config->margin_s, c->history.longest_ms);
}

static int is_held_back(const struct coordinator *c)
{
    FOR_EACH_AGENT(c, peer)
    if (peer->held_signal)
        return 1;
    return 0;
}

static void deliver_all(struct coordinator *c)
{
    FOR_EACH_AGENT(c, peer)
    if (peer->held_signal) {
        (void)stint_wire_sendf(peer->wire, "deliver", "s:i",
                               "signal", /* else: closed */
                               peer->held_signal);
        peer->held_signal = 0;
    }
}

/* What cannot be requeued gets its SIGTERM when the last checkpoint is made or cannot
 * be. */
static void deliver_after_last(struct coordinator *c)
{
    if (c->slurm.has_info && !c->slurm.info.is_batch && c->slurm.is_final_wanted)
        deliver_all(c);
}

/* --- what Slurm says ---------------------------------------------------------- */

static void first_info(struct coordinator *c, const struct slurm_info *info)
{
    if (!info->is_batch)
        stint_warn("this is no batch job: Slurm cannot queue it again; before its time "
                   "is over "
                   "a last checkpoint is written, to be restarted by hand");
    else if (!info->can_requeue)
        stint_warn(
            "this job was submitted with --no-requeue: at the end of its time stint "
            "allows the requeue (Requeue=1), so that it can go on");
}

static void cancelled(struct coordinator *c)
{
    if (!c->slurm.is_cancelled)
        stint_info("the job was cancelled: it ends without a checkpoint");
    c->slurm.is_cancelled = 1;
    c->slurm.is_final_wanted = 0;
    if (c->current.final && (c->state == STATE_QUIESCE || c->state == STATE_CAPTURE))
        coordinator_fail(c, 1, "the job was cancelled");
    deliver_all(c);
}

/* Slurm is killing the job, and there has been no last checkpoint. What this run has
 * committed is not lost, though: it goes on from there. A run that committed nothing is
 * not repeated, else a job that can never be checkpointed would run for ever. */
static void fall_back(struct coordinator *c)
{
    if (c->slurm.has_fallen_back || c->history.count == 0 || c->slurm.is_cancelled
        || !c->slurm.info.is_batch)
        return;
    c->slurm.has_fallen_back = 1;
    stint_warn("there is no last checkpoint (%s): the job is queued again and goes on from "
               "checkpoint %llu",
               c->history.failure, (unsigned long long)c->history.generation);
    slurm_requeue(c->slurm.link);
}

/* A last checkpoint has failed while SIGTERM is held back. Where this run has committed
 * nothing else, the program is left to save what it can by itself. */
static void do_without_last(struct coordinator *c)
{
    int is_hopeless = c->failure_code != 75 || c->slurm.attempts >= ATTEMPTS_HELD;

    fall_back(c);
    if (c->history.count > 0 || !is_hopeless)
        return;
    stint_warn("there is no last checkpoint (%s), and no other of this run: the program gets "
               "its SIGTERM",
               c->history.failure);
    deliver_all(c);
}

static void judge_held_back(struct coordinator *c, const struct slurm_info *fresh)
{
    const struct slurm_info *last = c->slurm.has_info ? &c->slurm.info : NULL;

    switch (slurm_judge_sigterm(fresh, last, lead_s(c), time(NULL))) {
    case SLURM_CANCELLED:
        cancelled(c);
        break;
    case SLURM_FINAL:
        if (!c->slurm.is_final_wanted)
            stint_info("SIGTERM near the end of the job's time: final checkpoint");
        c->slurm.is_final_wanted = 1;
        if (c->slurm.attempts > 0)
            do_without_last(c);
        if (c->state == STATE_IDLE && c->slurm.retry_ms == UINT64_MAX)
            deliver_after_last(c); /* which has been made */
        break;
    case SLURM_DELIVER:
    default:
        deliver_all(c);
        break;
    }
}

static void start_final(struct coordinator *c)
{
    if (!c->slurm.is_final_wanted || c->slurm.is_cancelled || c->state != STATE_IDLE
        || coordinator_count_agents(c) == 0 || coordinator_now_ms() < c->slurm.retry_ms)
        return;
    c->next.wanted = 1;
    c->next.final = c->slurm.info.is_batch;
    if (!c->next.final)
        c->slurm.retry_ms =
            UINT64_MAX; /* once is enough where nothing comes after it */
    coordinator_start_next(c);
}

static void
on_info(const struct slurm_info *info, int is_stale, const char *why, void *arg)
{
    struct coordinator *c = arg;
    uint64_t now_ms = coordinator_now_ms();
    int was_end = c->slurm.has_info && c->slurm.info.end_time != 0;
    int restart_count = c->slurm.info.restart_count;

    if (!info) {
        stint_debug("job %s: %s", c->config->slurm_job, why);
        c->slurm.poll_ms = now_ms + FIRST_LOOK_AGAIN_MS;
    } else {
        if (was_end && c->slurm.info.end_time != info->end_time)
            stint_info("the end of the job's time has been moved by %lld s",
                       (long long)(info->end_time - c->slurm.info.end_time));
        if (!c->slurm.has_info)
            first_info(c, info);
        c->slurm.info = *info;
        if (c->slurm.has_info) /* requeued while this run ends, it counts the next one */
            c->slurm.info.restart_count = restart_count;
        c->slurm.has_info = 1;
        c->slurm.poll_ms =
            now_ms + 1000u * (uint64_t)slurm_poll_after(info, lead_s(c), time(NULL));
        if (strcmp(info->state, "CANCELLED") == 0)
            cancelled(c);
    }
    if (is_held_back(c)
        && !is_stale) /* what was asked before the signal tells nothing */
        judge_held_back(c, info);
    start_final(c);
}

static void on_requeued(int ok, const char *why, void *arg)
{
    struct coordinator *c = arg;

    if (c->state != STATE_HELD) {
        if (!ok)
            stint_error("the job was not queued again: %s", why);
        else
            deliver_all(c); /* what the program still does is done again */
        return;
    }
    if (!ok) {
        coordinator_fail(c, 1, "%s", why);
        return;
    }
    snprintf(c->end_reason, sizeof(c->end_reason),
             "the job is queued again and goes on from checkpoint %llu",
             (unsigned long long)c->generation->number);
    stint_info("%s", c->end_reason);
    coordinator_event(c, EVENT_REQUEUED);
}

/* --- called by the coordinator -------------------------------------------------- */

int end_of_stint_start(struct coordinator *c, struct stint_err *err)
{
    static const struct slurm_callbacks callbacks = {on_info, on_requeued};
    int ret =
        slurm_new(c->base, c->config->slurm_job, &callbacks, c, &c->slurm.link, err);

    if (ret == 0)
        slurm_ask(c->slurm.link);
    c->slurm.poll_ms = UINT64_MAX; /* until the answer */
    return ret;
}

void end_of_stint_stop(struct coordinator *c)
{
    slurm_free(c->slurm.link);
    c->slurm.link = NULL;
}

void end_of_stint_tick(struct coordinator *c, uint64_t now_ms)
{
    if (!c->slurm.link)
        return;
    if (now_ms >= c->slurm.poll_ms) {
        c->slurm.poll_ms = UINT64_MAX;
        slurm_ask(c->slurm.link);
    }
    if (!c->slurm.has_info || c->slurm.is_cancelled)
        return;
    if (!is_held_back(c)) {
        int is_due = slurm_is_final_due(&c->slurm.info, lead_s(c), time(NULL));

        if (is_due && !c->slurm.is_final_wanted)
            stint_info("the job's time is nearly over: final checkpoint");
        c->slurm.is_final_wanted = is_due; /* an admin may have given it more time */
        if (!is_due) {
            c->slurm.attempts = 0;
            c->slurm.retry_ms = 0;
        } else if (c->slurm.attempts > 0 && c->slurm.info.end_time
                   && time(NULL) >= c->slurm.info.end_time) {
            fall_back(c); /* Slurm may kill the program before the agent hears of it */
        }
    }
    start_final(c);
}

void end_of_stint_sigterm(struct coordinator *c, struct peer *peer)
{
    if (c->slurm.is_cancelled)
        deliver_all(c);
    else
        slurm_ask(c->slurm.link);
}

void end_of_stint_committed(struct coordinator *c)
{
    const struct history *h = &c->history;
    char text[160], clock[16], took[STINT_DURATION_TEXT_MAX];
    struct tm tm;
    time_t when = (time_t)h->committed;

    if (!c->slurm.link)
        return;
    localtime_r(&when, &tm);
    strftime(clock, sizeof(clock), "%H:%M", &tm);
    snprintf(text, sizeof(text), "stint: run %d, generation %llu committed %s, %s",
             c->slurm.info.restart_count + 1, (unsigned long long)h->generation, clock,
             stint_duration_format((double)h->duration_ms / 1000, took));
    slurm_comment(c->slurm.link, text);
    deliver_after_last(c);
}

void end_of_stint_requeue(struct coordinator *c)
{
    if (c->slurm.is_cancelled)
        coordinator_fail(c, 1, "the job was cancelled");
    else
        slurm_requeue(c->slurm.link);
}

void end_of_stint_failed(struct coordinator *c)
{
    unsigned wait_s = c->slurm.attempts < 5 ? 1u << c->slurm.attempts : RETRY_MAX_S;

    if (c->slurm.link)
        deliver_after_last(c);
    if (!c->slurm.link || !c->current.final || c->slurm.is_cancelled)
        return;
    c->slurm.attempts++;
    if (is_held_back(c))
        do_without_last(c);
    c->slurm.retry_ms = coordinator_now_ms() + 1000u * wait_s;
    slurm_ask(c->slurm.link);
}

int end_of_stint_is_near(const struct coordinator *c)
{
    int64_t time_s = (int64_t)(c->history.longest_ms / 1000) + 2;

    if (!c->slurm.link || !c->slurm.has_info || !c->slurm.info.is_batch)
        return 0;
    return c->slurm.is_final_wanted
           || slurm_is_final_due(&c->slurm.info, lead_s(c) + time_s, time(NULL));
}

json_t *end_of_stint_json(const struct coordinator *c)
{
    const struct slurm_info *info = &c->slurm.info;

    if (!c->config->slurm_job)
        return NULL;
    if (!c->slurm.has_info)
        return json_pack("{s:s}", "job", c->config->slurm_job);
    return json_pack("{s:s, s:s, s:i, s:I, s:I, s:b, s:b}", "job", c->config->slurm_job,
                     "state", info->state, "run", info->restart_count + 1, "end_time",
                     (json_int_t)info->end_time, "lead_s", (json_int_t)lead_s(c),
                     "final", c->slurm.is_final_wanted, "cancelled",
                     c->slurm.is_cancelled);
}
