/* Signals to the agent are signals to its program.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They are read from a signalfd, which says where they came from: one that the
 * terminal sent has gone to the whole foreground process group, so a program that
 * shares the agent's group has had it already. Signals that were ignored when the
 * agent started (nohup) stay ignored here and in the program. The stop signals
 * keep their default: the agent stops with its program, as the shell expects.
 */
#include "coordinator/agent_state.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "coordinator/agent_sigterm.h"

static const int forwarded[] = {
    SIGHUP, SIGINT,  SIGQUIT,   SIGUSR1, SIGUSR2,  SIGALRM, SIGTERM, SIGSTKFLT, SIGCONT,
    SIGURG, SIGXCPU, SIGVTALRM, SIGPROF, SIGWINCH, SIGIO,   SIGPWR,
};

static void pass_on(struct agent *agent, const struct signalfd_siginfo *info)
{
    int signo = (int)info->ssi_signo, ret;

    if (agent->root <= 0) {
        if (!agent->root_ended
            && (signo == SIGTERM || signo == SIGINT || signo == SIGQUIT || signo == SIGHUP)) {
            agent->interrupted = signo;
            event_base_loopbreak(agent->base);
        }
        return;
    }
    if (info->ssi_code == SI_KERNEL && getpgid(agent->root) == getpgrp())
        return;
    if (signo == SIGCONT && getpgid(agent->root) != getpgrp()) {
        ret = kill(-getpgid(agent->root), signo); /* of a restored program: as the shell would */
    } else if (info->ssi_code == SI_QUEUE) {
        union sigval value = {.sival_ptr = (void *)(uintptr_t)info->ssi_ptr};

        ret = sigqueue(agent->root, signo, value);
    } else {
        ret = kill(agent->root, signo);
    }
    if (ret < 0 && errno != ESRCH)
        stint_warn("pass signal %d (%s) on to process %d: %s", signo, strsignal(signo),
                   (int)agent->root, strerror(errno));
}

static void handle(struct agent *agent, const struct signalfd_siginfo *info)
{
    if (info->ssi_signo == SIGCHLD) {
        agent_reap(agent);
        return;
    }
    if (info->ssi_signo == SIGTERM && agent->config->hold_sigterm && agent->root > 0) {
        agent_sigterm_came(agent);
        return;
    }
    pass_on(agent, info);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct signalfd_siginfo info;

    while (read(fd, &info, sizeof(info)) == sizeof(info))
        handle(arg, &info);
}

static bool is_ignored(int signo)
{
    struct sigaction action;

    return sigaction(signo, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

int agent_signals_init(struct agent *agent, struct stint_err *err)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, standard = {.sa_handler = SIG_DFL};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++) {
        if (!is_ignored(forwarded[i]))
            sigaddset(&set, forwarded[i]);
    }
    for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++) {
        if (!is_ignored(signo))
            sigaddset(&set, signo);
    }
    (void)sigaction(SIGPIPE, &ignore, &agent->original_pipe); /* cannot fail */
    (void)sigaction(SIGCHLD, &standard, &agent->original_child); /* cannot fail */
    (void)sigprocmask(SIG_BLOCK, &set, &agent->original_mask); /* cannot fail */
    agent->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (agent->signal_fd < 0)
        return stint_err_set(err, -errno, "make a signalfd");
    agent->signal_event
        = event_new(agent->base, agent->signal_fd, EV_READ | EV_PERSIST, on_readable, agent);
    if (!agent->signal_event || event_add(agent->signal_event, NULL) < 0)
        return stint_err_set(err, -ENOMEM, "watch signals");
    return 0;
}

void agent_signals_deinit(struct agent *agent)
{
    if (agent->signal_event)
        event_free(agent->signal_event);
    agent->signal_event = NULL;
    agent_sigterm_free(agent);
    if (agent->signal_fd >= 0)
        agent_signals_child(agent);
    stint_cleanup_close(&agent->signal_fd);
    agent->signal_fd = -1;
}

void agent_signals_child(const struct agent *agent)
{
    (void)sigaction(SIGPIPE, &agent->original_pipe, NULL); /* cannot fail */
    (void)sigaction(SIGCHLD, &agent->original_child, NULL); /* cannot fail */
    (void)sigprocmask(SIG_SETMASK, &agent->original_mask, NULL); /* cannot fail */
}

void agent_signals_deliver(struct agent *agent, int signo)
{
    if (agent->root > 0 && kill(agent->root, signo) < 0 && errno != ESRCH)
        stint_warn("deliver signal %d to process %d: %s", signo, (int)agent->root,
                   strerror(errno));
}

void agent_signals_die(int signo)
{
    struct rlimit none = {0, 0};
    sigset_t set;

    /* The core, if one was wanted, is the program's and is there already. */
    (void)setrlimit(RLIMIT_CORE, &none); /* lowering it cannot fail */
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)signal(signo, SIG_DFL); /* SIGKILL is refused, and needs it not */
    sigemptyset(&set);
    sigaddset(&set, signo);
    (void)kill(getpid(), signo);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL); /* delivered before this returns */
    _exit(128 + signo);
}
