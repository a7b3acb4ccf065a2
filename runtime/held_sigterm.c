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
 * Those end, and whoever waits for them goes on as if they had failed: that is told to the
 * agent, too, so that it does not become part of a checkpoint.
 *
 * root's own programs cannot tell Slurm's from any other, and are left alone.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "common/raw.h"
#include "runtime/api.h"
#include "runtime/arch/x86_64/arch.h"
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

/* Ours in place of the program's. Nothing interrupts ours, a checkpoint least of all: its
 * frame would be in the image, and the next run would take this run's signal for its own.
 * Calls are restarted after it, see stint_arch_interrupt(). */
static void replace(struct sigaction *action)
{
    term.action = *action;
    if (action->sa_handler == SIG_DFL)
        action->sa_flags = SA_ONSTACK;
    action->sa_flags &= ~(int)(SA_RESETHAND | SA_NODEFER);
    action->sa_flags |= (int)(SA_SIGINFO | SA_RESTART);
    memset(&action->sa_mask, 0xff, sizeof(action->sa_mask)); /* as in signal.c's handler */
    action->sa_sigaction = on_sigterm;
}

int sigterm_action(__typeof__(&sigaction) real,
                   struct sigaction *action,
                   struct sigaction *old)
{
    const struct sigaction before = term.action;
    struct sigaction kernels;
    int ret;

    /* A child of vfork(2) has dispositions of its own, but its parent's variables. And who
     * knows the address of ours has it from elsewhere, and means what is there. */
    if (action && action->sa_handler != SIG_IGN && action->sa_sigaction != on_sigterm
        && stint_signal_is_own_state())
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

bool sigterm_take_waited(siginfo_t *info, uint32_t restarts)
{
    if (api_restarts() != restarts && sigterm_is_slurms(info))
        return false; /* it was the last run's */
    return sigterm_take(info);
}

/* The program's handler runs as it has asked for; sigreturn(2) puts the mask back. */
static void run_handler(int signo, siginfo_t *info, ucontext_t *uc)
{
    const struct sigaction action = term.action;
    const uint64_t own = 1ull << (SIGTERM - 1);
    uint64_t mask, more;

    if (action.sa_flags & (int)SA_RESETHAND)
        term.action.sa_handler = SIG_DFL;
    if (!(action.sa_flags & SA_RESTART))
        stint_arch_interrupt(uc);
    memcpy(&mask, &uc->uc_sigmask, sizeof(mask));
    memcpy(&more, &action.sa_mask, sizeof(more));
    mask |= more | (action.sa_flags & SA_NODEFER ? 0 : own);
    (void)raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
    action.sa_sigaction(signo, info, uc); /* one that takes the number only gets more */
}

static void on_sigterm(int signo, siginfo_t *info, void *context)
{
    if (!sigterm_take(info))
        stint_note_interrupted(context);
    else if (term.action.sa_handler == SIG_DFL)
        die();
    else
        run_handler(signo, info, context);
}

/* --- children that could not hold it back ------------------------------------------ */

static void note_end(pid_t pid, int status)
{
    int saved = errno;

    if (term.on && pid > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM
        && stint_signal_is_own_state())
        (void)api_tell("sigterm-child"); /* no agent: no checkpoint */
    errno = saved;
}

/* What the wait for a child has given goes to who asked. */
static pid_t tell_parent(pid_t pid, int own, int *status)
{
    note_end(pid, own);
    if (status && pid > 0)
        *status = own;
    return pid;
}

STINT_EXPORT pid_t wait(int *status)
{
    int own = 0;
    pid_t pid = INTERPOSE_REAL(wait)(&own);

    return tell_parent(pid, own, status);
}

STINT_EXPORT pid_t waitpid(pid_t which, int *status, int options)
{
    int own = 0;
    pid_t pid = INTERPOSE_REAL(waitpid)(which, &own, options);

    return tell_parent(pid, own, status);
}

STINT_EXPORT pid_t wait3(int *status, int options, struct rusage *usage)
{
    int own = 0;
    pid_t pid = INTERPOSE_REAL(wait3)(&own, options, usage);

    return tell_parent(pid, own, status);
}

STINT_EXPORT pid_t wait4(pid_t which, int *status, int options, struct rusage *usage)
{
    int own = 0;
    pid_t pid = INTERPOSE_REAL(wait4)(which, &own, options, usage);

    return tell_parent(pid, own, status);
}

STINT_EXPORT int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    siginfo_t own = {0};
    int ret = INTERPOSE_REAL(waitid)(type, id, info ? info : &own, options);
    const siginfo_t *got = info ? info : &own;

    if (ret == 0 && got->si_pid > 0 && got->si_code == CLD_KILLED)
        note_end(got->si_pid, got->si_status);
    return ret;
}
