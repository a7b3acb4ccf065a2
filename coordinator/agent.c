/* The agent: start or restore, run the loop until the program ends, end likewise.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/log.h"
#include "coordinator/agent_api.h"
#include "coordinator/agent_checkpoint.h"
#include "coordinator/agent_state.h"
#include "coordinator/agent_stopped.h"
#include "coordinator/agent_terminal.h"

int64_t agent_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

void agent_say(const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    stint_info("%s", text);
    dprintf(STDERR_FILENO, "stint: %s\n", text);
}

static void on_wait_over(evutil_socket_t fd, short what, void *arg)
{
    /* The loop returns after it, and the time is looked at. */
}

bool agent_wait(struct agent *agent, unsigned seconds, bool (*done)(const struct agent *))
{
    const struct timeval limit = {(time_t)seconds, 0};
    struct event *timer = evtimer_new(agent->base, on_wait_over, NULL);

    if (!timer || evtimer_add(timer, &limit) < 0)
        return done(agent);
    while (!done(agent) && evtimer_pending(timer, NULL))
        event_base_loop(agent->base, EVLOOP_ONCE);
    event_free(timer);
    return done(agent);
}

void agent_reap(struct agent *agent)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (agent_stopped_event(agent, pid, status))
            continue;
        agent->reaped++;
        if (agent_link_reaped(agent, pid, status) || agent_restore_reaped(agent, pid)
            || agent_checkpoint_reaped(agent, pid))
            continue;
        if (pid == agent->root)
            agent_root_ended(agent, status);
    }
}

void agent_root_ended(struct agent *agent, int status)
{
    if (agent->root_ended)
        return;
    agent->root = 0;
    agent->root_ended = true;
    agent->root_status = status;
    agent_checkpoint_abort(agent, "the program has ended");
    event_base_loopbreak(agent->base);
}

/* A descriptor of ours on 0, 1 or 2 would be taken for one of these by whatever writes
 * messages. The program starts with it closed, as it was. */
static void fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", O_RDWR | O_CLOEXEC); /* the lowest free one: fd */
    }
}

static void open_log(const struct agent *agent)
{
    STINT_AUTO_CLOSE int dir = open(agent->config->dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    STINT_AUTO_CLOSE int fd = -1;
    struct stint_err err;

    stint_log_init(NULL, 1);
    if (dir >= 0)
        fd = stint_dir_log(dir, &err);
    if (fd >= 0)
        (void)stint_log_file(fd); /* messages still go to stderr */
}

static int prepare(struct agent *agent, struct stint_err *err)
{
    int ret = agent_program_note_inherited(agent);

    if (ret < 0)
        return stint_err_set(err, ret, "list descriptors");
    if (sodium_init() < 0)
        return stint_err_set(err, -EIO, "initialise libsodium.");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return stint_err_set(err, -errno, "become the reaper of orphans");
    agent->base = event_base_new();
    if (!agent->base)
        return stint_err_set(err, -ENOMEM, "make an event loop");
    if (agent->config->restore)
        ret = agent_restore_prepare(agent, err);
    if (ret == 0)
        ret = agent_signals_init(agent, err);
    if (ret == 0)
        ret = agent_link_start(agent, err);
    return ret;
}

/* Returns 0 when the program runs, and the coordinator is being connected to. */
static int start(struct agent *agent, struct stint_err *err)
{
    int ret = prepare(agent, err);

    if (ret != 0)
        return ret;
    if (agent->config->restore) {
        /* It may take long, and a coordinator does not wait for ever for an agent. */
        agent_link_connect(agent);
        ret = agent_restore_run(agent, err);
        if (ret == 0 && agent_terminal_start(agent, err) < 0)
            stint_warn("%s", err->text); /* the program runs */
        return ret;
    }
    ret = agent_program_start(agent, err);
    if (ret == 0)
        agent_link_connect(agent);
    return ret;
}

static void run(struct agent *agent)
{
    while (!agent->root_ended)
        event_base_loop(agent->base, 0);
    agent_restore_finish(agent);
    agent_link_finish(agent);
}

static void release(struct agent *agent)
{
    agent_checkpoint_abort(agent, "the agent ends");
    agent_api_free(agent);
    agent_link_free(agent);
    agent_terminal_free(agent);
    agent_restore_free(agent);
    agent_signals_deinit(agent);
    agent_stopped_free(agent);
    free(agent->inherited);
    if (agent->base)
        event_base_free(agent->base);
}

int stint_agent_run(const struct stint_agent_config *config, struct stint_err *err)
{
    struct agent agent = {
        .config = config, .signal_fd = -1, .generation = config->restore};
    int ret;

    fill_standard_descriptors();
    open_log(&agent);
    ret = start(&agent, err);
    if (ret == 0)
        run(&agent);
    release(&agent);
    if (agent.interrupted && !agent.root_ended)
        agent_signals_die(agent.interrupted);
    if (ret != 0)
        return ret;
    if (agent.ended_after && agent.requeued)
        agent_say("checkpoint committed (generation %" PRIu64 "), the job is queued again",
                  agent.ended_after);
    else if (agent.ended_after)
        agent_say("checkpoint committed (generation %" PRIu64 "), program ended; go on "
                  "with: %s%s",
                  agent.ended_after,
                  config->restart_hint ? config->restart_hint : "stint restart ",
                  config->restart_hint ? "" : config->dir);
    if (agent.ended_after)
        return AGENT_EXIT_AGAIN;
    if (WIFSIGNALED(agent.root_status))
        agent_signals_die(WTERMSIG(agent.root_status));
    return WEXITSTATUS(agent.root_status);
}
