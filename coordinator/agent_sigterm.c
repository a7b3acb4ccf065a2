/* Slurm's SIGTERM: held back in the agent and in the program's processes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_sigterm.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/ckpt.h"
#include "common/log.h"
#include "coordinator/agent_proc.h"
#include "coordinator/agent_state.h"

#define DECIDE_LIMIT_S 10 /* without a coordinator; Slurm's KillWait is 30 s by default */
#define OWN_LIMIT_S    2  /* between a process's SIGTERM and the agent's own */

struct held {
    pid_t pid;
    uint64_t start; /* with the pid: which process it is */
};

struct agent_sigterm {
    bool asked;          /* the agent's own has come, and the coordinator is to decide */
    struct held *list;   /* processes that hold one back */
    size_t count;
    int64_t came_ms;
    struct agent_procs present; /* then */
    int64_t ended_ms; /* when a child was last found to have ended by a SIGTERM; 0: never */
    char ended[64];
    struct event *decide_timer, *own_timer;
};

static bool has_held(const struct agent_sigterm *sigterm, const struct agent_proc *proc)
{
    for (size_t i = 0; i < sigterm->count; i++) {
        if (sigterm->list[i].pid == proc->pid && sigterm->list[i].start == proc->start)
            return true;
    }
    return false;
}

static void give_back(const struct held *held)
{
    siginfo_t info = {.si_signo = SIGTERM, .si_code = STINT_SI_DELIVER};
    struct agent_proc proc;

    if (agent_proc_read(held->pid, &proc) < 0 || proc.start != held->start)
        return; /* it has ended */
    info.si_pid = getpid();
    info.si_uid = getuid();
    if (syscall(SYS_rt_sigqueueinfo, held->pid, SIGTERM, &info) < 0 && errno != ESRCH)
        stint_warn("deliver SIGTERM to process %d: %s", (int)held->pid, strerror(errno));
}

static void give_all_back(struct agent_sigterm *sigterm)
{
    for (size_t i = 0; i < sigterm->count; i++)
        give_back(&sigterm->list[i]);
    sigterm->count = 0;
}

static void on_decided_late(evutil_socket_t fd, short what, void *arg)
{
    agent_sigterm_deliver(arg);
}

static void on_somebody_elses(evutil_socket_t fd, short what, void *arg)
{
    struct agent *agent = arg;

    if (!agent->sigterm->asked)
        give_all_back(agent->sigterm);
}

/* NULL: out of memory. */
static struct agent_sigterm *get(struct agent *agent)
{
    struct agent_sigterm *sigterm = agent->sigterm;

    if (sigterm)
        return sigterm;
    sigterm = calloc(1, sizeof(*sigterm));
    if (!sigterm)
        return NULL;
    sigterm->decide_timer = evtimer_new(agent->base, on_decided_late, agent);
    sigterm->own_timer = evtimer_new(agent->base, on_somebody_elses, agent);
    agent->sigterm = sigterm;
    if (sigterm->decide_timer && sigterm->own_timer)
        return sigterm;
    agent_sigterm_free(agent);
    return NULL;
}

static void ask_coordinator(struct agent *agent)
{
    const struct timeval limit = {DECIDE_LIMIT_S, 0};
    struct event *timer = agent->sigterm->decide_timer;

    if (agent_link_connected(agent))
        agent_link_send(agent, "terminating", "s:i", "signal", SIGTERM);
    else if (!evtimer_pending(timer, NULL) && evtimer_add(timer, &limit) < 0)
        agent_sigterm_deliver(agent);
}

static void look_who_is_present(struct agent *agent)
{
    struct agent_scan scan = {
        .agent = getpid(),
        .coordinator = agent_link_pid(agent),
        .restored = agent->restore != NULL,
    };
    struct stint_err err;

    if (agent_proc_scan(&scan, &agent->sigterm->present, &err) < 0)
        stint_warn("%s", err.text);
}

void agent_sigterm_came(struct agent *agent)
{
    struct agent_sigterm *sigterm = get(agent);

    if (!sigterm) {
        stint_error("out of memory for a SIGTERM");
        return;
    }
    if (!sigterm->asked) {
        sigterm->came_ms = agent_now_ms();
        look_who_is_present(agent);
    }
    sigterm->asked = true;
    ask_coordinator(agent);
}

/* A copy of the program on this host, restored from the same checkpoint, may have an agent
 * of its own and ask this one all the same. */
static bool is_own(struct agent *agent, pid_t pid)
{
    struct agent_proc proc = {.ppid = pid};

    for (int up = 0; up < 1000 && proc.ppid > 1; up++) {
        if (proc.ppid == getpid())
            return true;
        if (agent_proc_read(proc.ppid, &proc) < 0)
            return false;
    }
    return false;
}

void agent_sigterm_noted(struct agent *agent, pid_t pid)
{
    const struct timeval limit = {OWN_LIMIT_S, 0};
    struct agent_sigterm *sigterm = agent->config->hold_sigterm ? get(agent) : NULL;
    struct held one = {.pid = pid}, *list = NULL;
    struct agent_proc proc;

    if (agent_proc_read(pid, &proc) < 0 || (sigterm && has_held(sigterm, &proc)))
        return;
    one.start = proc.start;
    if (sigterm && is_own(agent, pid))
        list = reallocarray(sigterm->list, sigterm->count + 1, sizeof(*list));
    if (!list) {
        give_back(&one);
        return;
    }
    sigterm->list = list;
    sigterm->list[sigterm->count++] = one;
    if (!sigterm->asked && !evtimer_pending(sigterm->own_timer, NULL)
        && evtimer_add(sigterm->own_timer, &limit) < 0)
        give_all_back(sigterm);
}

void agent_sigterm_child_ended(struct agent *agent, pid_t parent)
{
    struct agent_sigterm *sigterm = agent->config->hold_sigterm ? get(agent) : NULL;
    struct agent_proc proc;

    if (!sigterm || !is_own(agent, parent) || agent_proc_read(parent, &proc) < 0)
        return;
    sigterm->ended_ms = agent_now_ms();
    snprintf(sigterm->ended, sizeof(sigterm->ended), "what %s had started", proc.comm);
}

/* An srun that was there and is not any more. It ends itself, with a status of its own. */
static const struct agent_proc *find_ended_srun(const struct agent_sigterm *sigterm)
{
    for (size_t i = 0; i < sigterm->present.count; i++) {
        const struct agent_proc *then = &sigterm->present.list[i];
        struct agent_proc now;

        if (strcmp(then->comm, "srun") == 0
            && (agent_proc_read(then->pid, &now) < 0 || now.start != then->start
                || agent_proc_is_zombie(&now)))
            return then;
    }
    return NULL;
}

/* A zombie of one that nobody has waited for yet. */
static bool is_ended_by_sigterm(const struct agent_proc *proc)
{
    return agent_proc_is_zombie(proc) && WIFSIGNALED(proc->exit_code)
           && WTERMSIG(proc->exit_code) == SIGTERM;
}

bool agent_sigterm_has_ended_one(const struct agent *agent, const struct agent_procs *procs,
                                 char *text, size_t size)
{
    const struct agent_sigterm *sigterm = agent->sigterm;
    const struct agent_proc *ended;

    if (!sigterm || !sigterm->asked)
        return false;
    ended = find_ended_srun(sigterm);
    for (size_t i = 0; i < procs->count && !ended; i++)
        ended = is_ended_by_sigterm(&procs->list[i]) ? &procs->list[i] : NULL;
    if (!ended && (!sigterm->ended_ms || sigterm->ended_ms < sigterm->came_ms - OWN_LIMIT_S * 1000))
        return false;
    snprintf(text, size, "%s has been ended by Slurm's SIGTERM",
             ended ? ended->comm : sigterm->ended);
    return true;
}

void agent_sigterm_deliver(struct agent *agent)
{
    struct agent_sigterm *sigterm = agent->sigterm;
    struct agent_proc root;
    bool root_has;

    if (!sigterm || !sigterm->asked)
        return;
    root_has = agent->root > 0 && agent_proc_read(agent->root, &root) == 0
               && has_held(sigterm, &root);
    sigterm->asked = false;
    agent_procs_deinit(&sigterm->present);
    evtimer_del(sigterm->decide_timer);
    give_all_back(sigterm);
    if (!root_has)
        agent_signals_deliver(agent, SIGTERM);
}

void agent_sigterm_connected(struct agent *agent)
{
    if (!agent->sigterm)
        return;
    evtimer_del(agent->sigterm->decide_timer);
    if (agent->sigterm->asked)
        ask_coordinator(agent);
}

void agent_sigterm_disconnected(struct agent *agent)
{
    if (agent->sigterm && agent->sigterm->asked)
        ask_coordinator(agent);
}

void agent_sigterm_free(struct agent *agent)
{
    struct agent_sigterm *sigterm = agent->sigterm;

    if (!sigterm)
        return;
    if (sigterm->decide_timer)
        event_free(sigterm->decide_timer);
    if (sigterm->own_timer)
        event_free(sigterm->own_timer);
    agent_procs_deinit(&sigterm->present);
    free(sigterm->list);
    free(sigterm);
    agent->sigterm = NULL;
}
