/* The coordinator: life time, timers, transitions.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/coordinator.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/endpoint.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/manifest.h"
#include "common/wire.h"
#include "coordinator/coordinator_private.h"
#include "coordinator/generation.h"

#define LOCK_WAIT_MS 3000 /* a coordinator that is ending */
#define LOCK_POLL_MS 20
#define ALONE_MS     30000 /* without any agent */
#define SILENCE_MS   30000 /* without a sign of life of an agent in a phase */
#define QUIESCE_MS   90000
#define DESCRIBE_MS  300000 /* of QUIESCE, as long as more and more is described */
#define STUCK_MS     600000 /* signs of life, but nothing written */
#define ENDING_MS    30000

uint64_t coordinator_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

unsigned coordinator_count_agents(const struct coordinator *c)
{
    unsigned n = 0;

    FOR_EACH_AGENT(c, peer)
    n++;
    return n;
}

/* --- transitions ------------------------------------------------------------ */

void coordinator_event(struct coordinator *c, enum coordinator_event event)
{
    const struct coordinator_transition *t = coordinator_transition(c->state, event);
    char point[40];

    if (!t)
        return;
    stint_debug("%s -> %s", coordinator_state_name(t->from),
                coordinator_state_name(t->to));
    c->state = t->to;
    c->phase_ms = coordinator_now_ms();
    snprintf(point, sizeof(point), "coordinator-%s", coordinator_state_name(t->to));
    stint_fault_kill(point);
    coordinator_perform(c, t->action);
    if (c->had_agent && coordinator_count_agents(c) == 0)
        coordinator_raise_gone(c);
}

void coordinator_raise_gone(struct coordinator *c)
{
    int stays = c->config->stays && !c->is_quitting;

    coordinator_event(c, stays ? EVENT_EMPTY : EVENT_ALL_GONE);
}

void coordinator_quit(struct coordinator *c, const char *reason)
{
    c->is_quitting = 1;
    snprintf(c->end_reason, sizeof(c->end_reason), "%s", reason);
    if (coordinator_count_agents(c) == 0)
        coordinator_event(c, EVENT_ALL_GONE);
    else
        coordinator_event(c, EVENT_STOP);
}

void coordinator_fail(struct coordinator *c, int code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(c->failure, sizeof(c->failure), fmt, args);
    va_end(args);
    c->failure_code = code;
    coordinator_event(c, EVENT_FAILED);
}

void coordinator_check_parts(struct coordinator *c)
{
    enum peer_part done = c->state == STATE_QUIESCE ? PART_QUIESCED : PART_CAPTURED;

    if (c->state != STATE_QUIESCE && c->state != STATE_CAPTURE)
        return;
    FOR_EACH_AGENT(c, peer)
    if (peer->part != PART_NONE && peer->part < done)
        return;
    if (c->state == STATE_QUIESCE && peers_drain(c))
        return;
    coordinator_event(c, c->state == STATE_QUIESCE ? EVENT_ALL_QUIESCED
                                                   : EVENT_ALL_CAPTURED);
}

void coordinator_start_next(struct coordinator *c)
{
    if (c->state != STATE_IDLE || !c->next.wanted)
        return;
    if (coordinator_count_agents(c) == 0) {
        memset(&c->next, 0, sizeof(c->next));
        peers_answer(c, WAIT_NEXT, 75, "no program has connected yet");
        return;
    }
    c->current = c->next;
    c->current.kill |= c->config->kill_after;
    memset(&c->next, 0, sizeof(c->next));
    coordinator_event(c, EVENT_START);
}

/* --- timers and signals --------------------------------------------------------- */

void coordinator_set_due(struct coordinator *c, uint64_t at_ms)
{
    uint64_t now = coordinator_now_ms();
    uint64_t wait = at_ms > now ? at_ms - now : 0;
    const struct timeval tv = {(time_t)(wait / 1000),
                               (suseconds_t)(wait % 1000 * 1000)};

    c->due_ms = at_ms;
    if (at_ms == 0)
        event_del(c->due);
    else
        (void)evtimer_add(c->due, &tv); /* memory was taken at creation */
}

void coordinator_set_interval(struct coordinator *c, uint32_t seconds)
{
    c->interval_s = seconds;
    coordinator_set_due(c,
                        seconds ? coordinator_now_ms() + (uint64_t)seconds * 1000 : 0);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
    struct coordinator *c = arg;

    if (c->state != STATE_IDLE)
        return; /* the end of what is under way sets the next time */
    if (end_of_stint_is_near(c) || coordinator_count_agents(c) == 0) {
        coordinator_set_due(c, coordinator_now_ms() + (uint64_t)c->interval_s * 1000);
        return;
    }
    c->next.wanted = 1;
    coordinator_start_next(c);
}

/* In QUIESCE. The programs stand still: a slow agent is given more time, but not any. */
static int is_late(const struct coordinator *c, const struct peer *peer, uint64_t now)
{
    uint64_t since = now - c->phase_ms;

    return since > DESCRIBE_MS || (since > QUIESCE_MS && now - peer->grown_ms > SILENCE_MS);
}

static void check_silence(struct coordinator *c, uint64_t now)
{
    enum peer_part done = c->state == STATE_QUIESCE ? PART_QUIESCED : PART_CAPTURED;

    FOR_EACH_AGENT(c, peer)
    {
        const char *group = stint_json_string(peer->hello, "group", "?");
        const char *host = stint_json_string(peer->hello, "host", "?");

        if (peer->part == PART_NONE || peer->part >= done)
            continue;
        if (now - peer->heard_ms > SILENCE_MS)
            coordinator_fail(c, 1, "no sign of life of the agent of %s on %s for %d s",
                             group, host, SILENCE_MS / 1000);
        else if (c->state == STATE_QUIESCE && is_late(c, peer, now))
            coordinator_fail(c, 75, "the programs of %s on %s %s within %d s", group, host,
                             peer->described ? "could not be described" : "did not stop",
                             (int)((now - c->phase_ms) / 1000));
        else if (c->state == STATE_CAPTURE && now - peer->grown_ms > STUCK_MS)
            coordinator_fail(c, 1, "%s on %s has written nothing for %d s", group, host,
                             STUCK_MS / 1000);
        else
            continue;
        return; /* no agent takes part any more */
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct coordinator *c = arg;
    const struct coordinator_hooks *hooks = c->config->hooks;
    uint64_t now = coordinator_now_ms();

    if (c->is_listening_paused && c->listener
        && evconnlistener_enable(c->listener) == 0)
        c->is_listening_paused = 0;
    if (c->state == STATE_QUIESCE || c->state == STATE_CAPTURE)
        check_silence(c, now);
    if (c->state == STATE_ENDING && now - c->phase_ms > ENDING_MS) {
        stint_warn("the programs did not end within %d s", ENDING_MS / 1000);
        coordinator_event(c, EVENT_TIMEOUT);
    } else if (!c->had_agent && !c->config->stays && now - c->started_ms > ALONE_MS) {
        stint_info("no agent has come within %d s", ALONE_MS / 1000);
        coordinator_event(c, EVENT_ALL_GONE);
    }
    if (c->state != STATE_OVER)
        end_of_stint_tick(c, now);
    peers_list_overdue(c, now);
    if (c->state != STATE_OVER && hooks && hooks->tick)
        hooks->tick(c, now, c->config->arg);
}

/* The agents got it as well, if it is meant for the job: they end, or tell. */
static void on_signal(evutil_socket_t signal_number, short what, void *arg)
{
    struct coordinator *c = arg;

    if (c->config->quits_on_signal) {
        if (signal_number != SIGHUP)
            coordinator_quit(c, "the coordinator was told to end");
    } else if (coordinator_count_agents(c) == 0)
        coordinator_event(c, EVENT_ALL_GONE);
    else
        stint_debug("signal %d: agents are connected, going on", (int)signal_number);
}

/* --- start and end -------------------------------------------------------------------
 */

static int busy_error(struct coordinator *c, struct stint_err *err)
{
    struct stint_endpoint endpoint;

    if (stint_endpoint_read(c->dir_fd, &endpoint, NULL) < 0) {
        (void)stint_err_set(err, 0, "another coordinator has the directory.");
        return COORDINATOR_E_BUSY;
    }
    (void)stint_err_set(
        err, 0,
        "a program runs there already (its coordinator is process %lld on "
        "%s).",
        (long long)endpoint.pid, endpoint.host);
    stint_endpoint_deinit(&endpoint);
    return COORDINATOR_E_BUSY;
}

/* The coordinator of a program that has just ended may need a moment to leave. */
static int take_lock(struct coordinator *c, struct stint_err *err)
{
    uint64_t deadline = coordinator_now_ms() + LOCK_WAIT_MS;

    for (;;) {
        int ret = stint_dir_lock(c->dir_fd, &c->lock_fd, err);

        if (ret != STINT_DIR_E_BUSY)
            return ret;
        if (coordinator_now_ms() >= deadline)
            return busy_error(c, err);
        (void)poll(NULL, 0, LOCK_POLL_MS); /* cut short by a signal: asked sooner */
    }
}

/* Take over what earlier coordinators have left in the directory of the generations. */
static int read_generations(struct coordinator *c, struct stint_err *err)
{
    struct stint_manifest newest;
    unsigned removed = 0;
    int ret = stint_dir_clean(c->gen_fd, &removed, err);

    if (ret != 0)
        return ret;
    if (removed)
        stint_info("removed %u leftovers of an interrupted checkpoint", removed);
    c->history.generation = 0;
    c->history.bytes = 0;
    ret = stint_manifest_read(c->gen_fd, 0, &newest, err);
    if (ret == -ENOENT)
        return 0;
    if (ret < 0) {
        stint_warn("%s",
                   err->text); /* whoever restarts from it is told; go on above it */
        return 0;
    }
    c->history.generation = newest.generation;
    c->history.committed = newest.committed;
    c->history.duration_ms = newest.duration_ms;
    c->history.longest_ms = newest.duration_ms;
    c->history.stall_ms = newest.stall_ms;
    c->history.bytes = newest.bytes;
    c->history.processes = newest.processes;
    stint_manifest_deinit(&newest);
    return 0;
}

int coordinator_set_generations(struct coordinator *c,
                                const char *path,
                                struct stint_err *err)
{
    STINT_AUTO_FREE char *absolute = NULL;
    STINT_AUTO_CLOSE int fd = -1;
    struct stat now, then;
    int ret = stint_dir_create(path, &fd, &absolute, err);

    if (ret < 0)
        return ret;
    /* the same directory: not one that was removed and made again */
    if (c->gen_fd >= 0 && fstat(c->gen_fd, &then) == 0 && fstat(fd, &now) == 0
        && then.st_ino == now.st_ino && then.st_dev == now.st_dev) {
        free(c->gen_dir); /* it may have been moved */
        c->gen_dir = stint_steal_pointer(&absolute);
        return 0;
    }
    stint_cleanup_close(&c->gen_fd);
    free(c->gen_dir);
    c->gen_fd = stint_steal_fd(&fd);
    c->gen_dir = stint_steal_pointer(&absolute);
    return read_generations(c, err);
}

static int open_directory(struct coordinator *c, struct stint_err *err)
{
    int ret, log_fd;

    ret = stint_dir_create(c->config->dir, &c->dir_fd, &c->dir, err);
    if (ret == 0)
        ret = take_lock(c, err);
    if (ret == 0)
        ret = stint_dir_key(c->dir_fd, &c->key, err);
    if (ret != 0)
        return ret;
    log_fd = stint_dir_log(c->dir_fd, err);
    if (log_fd < 0)
        return log_fd;
    (void)stint_log_file(log_fd); /* without it there is stderr */
    close(log_fd);
    return coordinator_set_generations(c, c->dir, err);
}

static int start_events(struct coordinator *c, struct stint_err *err)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    const struct timeval second = {1, 0};
    int ok;

    c->base = event_base_new();
    if (!c->base)
        return stint_err_set(err, -ENOMEM, "make an event loop");
    c->tick = event_new(c->base, -1, EV_PERSIST, on_tick, c);
    c->due = evtimer_new(c->base, on_due, c);
    ok = c->tick && c->due && evtimer_add(c->tick, &second) == 0;
    for (int i = 0; ok && i < 3; i++) {
        c->signals[i] = evsignal_new(c->base, numbers[i], on_signal, c);
        ok = c->signals[i] && evsignal_add(c->signals[i], NULL) == 0;
    }
    return ok ? 0 : stint_err_set(err, -ENOMEM, "make timers");
}

static int start(struct coordinator *c, struct stint_err *err)
{
    int ret = open_directory(c, err);

    if (ret == 0)
        ret = start_events(c, err);
    if (ret == 0 && c->config->slurm_job)
        ret = end_of_stint_start(c, err);
    if (ret == 0)
        ret = coordinator_listen(c, err);
    return ret;
}

static void tear_down(struct coordinator *c)
{
    const struct coordinator_hooks *hooks = c->config->hooks;

    if (hooks && hooks->stopping)
        hooks->stopping(c, c->config->arg);
    end_of_stint_stop(c);
    while (c->peers)
        peer_free(c->peers);
    json_decref(c->offers);
    generation_free(c->generation);
    if (c->listener)
        evconnlistener_free(c->listener);
    for (int i = 0; i < 3; i++)
        if (c->signals[i])
            event_free(c->signals[i]);
    if (c->due)
        event_free(c->due);
    if (c->tick)
        event_free(c->tick);
    if (c->base)
        event_base_free(c->base);
    (void)stint_log_file(-1); /* only closes */
    free(c->dir);
    free(c->gen_dir);
    stint_cleanup_close(&c->gen_fd);
    stint_cleanup_close(&c->lock_fd);
    stint_cleanup_close(&c->dir_fd);
}

int coordinator_run(const struct coordinator_config *config, struct stint_err *err)
{
    struct coordinator c = {
        .config = config, .dir_fd = -1, .lock_fd = -1, .gen_fd = -1};
    int ret;

    c.started_ms = coordinator_now_ms();
    c.phase_ms = c.started_ms;
    (void)signal(SIGPIPE, SIG_IGN); /* cannot fail for this number */
    ret = start(&c, err);
    if (ret == 0) {
        coordinator_set_interval(&c, config->interval_s);
        if (config->ready)
            config->ready(config->arg);
        if (config->hooks && config->hooks->started)
            config->hooks->started(&c, c.base, config->arg);
        (void)event_base_dispatch(c.base); /* ends in action_finish() */
    }
    tear_down(&c);
    return ret;
}
