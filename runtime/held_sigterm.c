/* Slurm's SIGTERM, held back until the coordinator has decided about it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Under proctrack/linuxproc (and SignalChildrenProcesses in cgroup.conf) slurmstepd sends
 * the SIGTERM at the end of a job's time to each of its processes, not to the task alone:
 * a program that has no handler would be dead before its last checkpoint. So where the
 * agent holds SIGTERM back, the kernel's handler for it is ours. One that root sent is
 * Slurm's: the agent is told, and sends it on (STINT_SI_DELIVER) when the program is to
 * have it. Any other takes its course at once: the handler that the program has set, or
 * its end. An ignored SIGTERM is left to the kernel, and so are programs that set their
 * handler by a raw system call, and signalfd(2).
 *
 * root's own programs cannot tell Slurm's from any other, and are left alone.
 */
#include <string.h>

#include "common/raw.h"
#include "runtime/api.h"
#include "runtime/environment.h"
#include "runtime/interpose.h"

/* Ordinary variables: part of the image, and of a fork. */
static struct {
    bool on;
    struct sigaction action; /* the program's; its mask without SIGURG */
} term;

static void on_sigterm(int signo, siginfo_t *info, void *context);

bool sigterm_is_held(void)
{
    return term.on;
}

bool sigterm_is_slurms(const siginfo_t *info)
{
    /* Another user's signal gets here from root alone. Root is 0, or nobody in a user
     * namespace: whoever it is, it is not this user. */
    return term.on && info->si_signo == SIGTERM && info->si_code == SI_USER
           && info->si_uid != (uid_t)raw_syscall(SYS_getuid);
}

/* --- dispositions ------------------------------------------------------------- */

void sigterm_init(void)
{
    const char *job = environment_job();
    size_t len = job ? strlen(job) : 0;
    struct stint_sigaction now;
    const struct sigaction standard = {.sa_handler = SIG_DFL};

    if (len == 0 || job[len - 1] != STINT_JOB_HELD[0] || raw_syscall(SYS_getuid) == 0)
        return;
    term.on = true;
    if (raw_syscall(SYS_rt_sigaction, SIGTERM, NULL, &now, sizeof(now.mask)) == 0
        && now.handler == (uint64_t)SIG_DFL)
        (void)sigaction(SIGTERM, &standard, NULL); /* at worst it is as without us */
}

/* Ours in place of the program's. */
static void replace(struct sigaction *action)
{
    term.action = *action;
    if (action->sa_handler == SIG_DFL) {
        action->sa_flags = (int)(SA_RESTART | SA_ONSTACK);
        sigemptyset(&action->sa_mask);
    }
    action->sa_flags = (action->sa_flags & ~(int)SA_RESETHAND) | SA_SIGINFO;
    action->sa_sigaction = on_sigterm;
}

int sigterm_action(__typeof__(&sigaction) real,
                   struct sigaction *action,
                   struct sigaction *old)
{
    const struct sigaction before = term.action;
    struct sigaction kernels;
    int ret;

    if (action && action->sa_handler != SIG_IGN)
        replace(action);
    ret = real(SIGTERM, action, &kernels);
    if (ret == 0 && old)
        *old = kernels.sa_sigaction == on_sigterm ? before : kernels;
    return ret;
}

/* --- the signal ---------------------------------------------------------------- */

static void die(void)
{
    struct stint_sigaction standard = {.handler = (uint64_t)SIG_DFL};
    const uint64_t set = 1ull << (SIGTERM - 1);

    (void)raw_syscall(SYS_rt_sigaction, SIGTERM, &standard, NULL, sizeof(standard.mask));
    (void)raw_syscall(SYS_tgkill, raw_syscall(SYS_getpid), raw_syscall(SYS_gettid), SIGTERM);
    (void)raw_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, NULL, sizeof(set));
}

bool sigterm_take(siginfo_t *info)
{
    if (!term.on || info->si_signo != SIGTERM)
        return true;
    if (info->si_code == STINT_SI_DELIVER) {
        info->si_code = SI_USER;
        return true;
    }
    /* In a child of vfork(2) it is for the program to come: that will not see it. */
    return !sigterm_is_slurms(info) || (stint_signal_is_own_state() && api_tell("sigterm") != 0);
}

static void on_sigterm(int signo, siginfo_t *info, void *context)
{
    void (*handler)(int, siginfo_t *, void *) = term.action.sa_sigaction;

    if (!sigterm_take(info)) {
        stint_note_interrupted(context);
    } else if (term.action.sa_handler == SIG_DFL) {
        die();
    } else {
        if (term.action.sa_flags & (int)SA_RESETHAND)
            term.action.sa_handler = SIG_DFL;
        handler(signo, info, context); /* one that takes the number only gets more */
    }
}
