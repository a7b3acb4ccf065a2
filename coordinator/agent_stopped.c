/* Let a stopped process take part in a checkpoint.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_stopped.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/ckpt.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "coordinator/agent_state.h"

#define STOP_TIMEOUT_MS 1000
#define SIGNALS_MAX     80 /* that may be pending in front of ours */

#define BIT(signo) (1ull << ((signo)-1))

struct thread {
    pid_t tid;
    bool inside;   /* the runtime's handler runs in it */
    bool watched;  /* its system calls are: it may be about to leave */
    bool leaving;  /* it has called rt_sigreturn */
    bool let_go;   /* not ours any more: it has left, or ended */
    uint64_t mask; /* the program's, when it was stopped; 0: unknown */
};

struct agent_stopped {
    struct agent_stopped *next;
    pid_t pid;
    bool continued; /* by SIGCONT, since it is traced */
    struct thread *threads;
    size_t nthreads;
};

void agent_stopped_siginfo(uint64_t cookie, siginfo_t *info)
{
    memset(info, 0, sizeof(*info));
    info->si_signo = SIGURG;
    info->si_code = STINT_SI_CHECKPOINT;
    info->si_pid = getpid();
    info->si_uid = getuid();
    info->si_value.sival_ptr = (void *)(uintptr_t)cookie;
}

static struct agent_stopped *find(const struct agent *agent, pid_t pid)
{
    struct agent_stopped *stopped = agent->stopped;

    while (stopped && stopped->pid != pid)
        stopped = stopped->next;
    return stopped;
}

static void drop(struct agent *agent, struct agent_stopped *stopped)
{
    struct agent_stopped **link = &agent->stopped;

    while (*link && *link != stopped)
        link = &(*link)->next;
    if (*link)
        *link = stopped->next;
    free(stopped->threads);
    free(stopped);
}

/* --- one thread ------------------------------------------------------------------- */

static bool is_stop_signal(int signo)
{
    return signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
}

/* A stop that is no signal: the process's own, SIGCONT, or PTRACE_INTERRUPT. */
static bool is_event(int status)
{
    return status >> 16 == PTRACE_EVENT_STOP;
}

static bool is_syscall(int status)
{
    return status >> 8 == (SIGTRAP | 0x80); /* PTRACE_O_TRACESYSGOOD */
}

/* Whoever is traced and told to run comes to its next stop at once: it is on its way
 * back from the kernel, with a signal pending. Returns 0 or -errno. */
static int wait_for_stop(pid_t tid, int *status)
{
    int64_t deadline = agent_now_ms() + STOP_TIMEOUT_MS;
    const struct timespec pause = {0, 100000};

    for (;;) {
        pid_t got = waitpid(tid, status, __WALL | WNOHANG);

        if (got == tid)
            return WIFSTOPPED(*status) ? 0 : -ESRCH;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (agent_now_ms() > deadline)
            return -ETIMEDOUT;
        (void)nanosleep(&pause, NULL); /* shorter is fine: it is asked again */
    }
}

static int set_mask(pid_t tid, uint64_t mask)
{
    return ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask) < 0 ? -errno : 0;
}

/* A thread that blocks SIGURG was made to hear it (agent_unblock.h). Where nothing came of
 * that the runtime has not put it back. */
static void block_again(const struct thread *thread)
{
    uint64_t mask;

    if (thread->mask & BIT(SIGURG)
        && ptrace(PTRACE_GETSIGMASK, thread->tid, sizeof(mask), &mask) == 0
        && !(mask & BIT(SIGURG)))
        (void)set_mask(thread->tid, mask | BIT(SIGURG)); /* killed meanwhile */
}

/* The signal that a stop keeps from being delivered, 0 = none. */
static int held_signal(int status)
{
    return is_event(status) || is_syscall(status) ? 0 : WSTOPSIG(status);
}

/* Only a thread that stands still can be let go. One that was continued before it was
 * traced runs: it would come to its next stop with nobody there to let it run on. */
static void let_go(struct thread *thread)
{
    int status;

    block_again(thread);
    if (ptrace(PTRACE_DETACH, thread->tid, NULL, NULL) < 0
        && ptrace(PTRACE_INTERRUPT, thread->tid, NULL, NULL) == 0
        && wait_for_stop(thread->tid, &status) == 0) {
        block_again(thread);
        /* One that was killed meanwhile is not there to be let go. */
        (void)ptrace(PTRACE_DETACH, thread->tid, NULL, (long)held_signal(status));
    }
    thread->let_go = true;
}

static void run_on(struct thread *thread, int signo)
{
    (void)ptrace(thread->watched ? PTRACE_SYSCALL : PTRACE_CONT, thread->tid, NULL,
                 (long)signo); /* killed meanwhile: its end is the next event */
}

/* From HELD to INSIDE; SIGURG is pending. What is pending besides would be delivered
 * first: a thread that is stopped gets none, so it is put back, which the kernel does
 * with a signal that turns out to be blocked. The handler's frame gets the thread's own
 * mask again. Returns 0 or -errno. */
static int let_in(struct agent_stopped *stopped, struct thread *thread)
{
    uint64_t mask;
    bool masked = false;
    long inject = 0;
    int ret = 0;

    if (ptrace(PTRACE_GETSIGMASK, thread->tid, sizeof(mask), &mask) < 0)
        return -errno;
    for (int i = 0; i < SIGNALS_MAX && ret == 0; i++) {
        int status, signo;

        if (ptrace(PTRACE_SYSCALL, thread->tid, NULL, inject) < 0)
            return -errno;
        thread->inside = inject == SIGURG;
        if (thread->inside)
            return 0;
        ret = wait_for_stop(thread->tid, &status);
        if (ret < 0)
            return ret;
        signo = WSTOPSIG(status);
        inject = 0;
        if (is_event(status)) {
            stopped->continued |= signo == SIGTRAP;
        } else if (signo == SIGURG) {
            ret = masked ? set_mask(thread->tid, mask) : 0;
            inject = SIGURG;
        } else if (!is_stop_signal(signo)) { /* those mean nothing to a stopped process */
            ret = set_mask(thread->tid, ~BIT(SIGURG));
            masked = true;
            inject = signo;
        }
    }
    return ret < 0 ? ret : -ELOOP;
}

static uint64_t status_mask(pid_t tid, const char *name)
{
    STINT_AUTO_FCLOSE FILE *file = NULL;
    STINT_AUTO_FREE char *line = NULL;
    size_t room = 0, len = strlen(name);
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
    file = fopen(path, "re");
    while (file && getline(&line, &room, file) > 0) {
        if (strncmp(line, name, len) == 0)
            return strtoull(line + len, NULL, 16);
    }
    return 0;
}

/* --- entering --------------------------------------------------------------------- */

static int add_thread(struct agent_stopped *stopped, pid_t tid)
{
    struct thread *threads
        = reallocarray(stopped->threads, stopped->nthreads + 1, sizeof(*threads));

    if (!threads)
        return -ENOMEM;
    stopped->threads = threads;
    threads[stopped->nthreads++] = (struct thread){.tid = tid, .watched = true};
    return 0;
}

/* Trace one thread. It has to be stopped by the process's stop. */
static int hold(struct agent_stopped *stopped, pid_t tid)
{
    int status, ret;

    if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)(intptr_t)PTRACE_O_TRACESYSGOOD) < 0)
        return errno == ESRCH ? -EAGAIN : -errno;
    ret = add_thread(stopped, tid);
    if (ret < 0) {
        (void)ptrace(PTRACE_DETACH, tid, NULL, NULL); /* as in let_go() */
        return ret;
    }
    ret = wait_for_stop(tid, &status);
    if (ret < 0)
        return -EAGAIN;
    if (!is_event(status) || !is_stop_signal(WSTOPSIG(status)))
        return -EAGAIN;
    return ptrace(PTRACE_GETSIGMASK, tid, sizeof(uint64_t),
                  &stopped->threads[stopped->nthreads - 1].mask)
                   < 0
               ? -EAGAIN
               : 0;
}

static int hold_all(struct agent_stopped *stopped)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    struct dirent *entry;
    char path[64];
    int ret = 0;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)stopped->pid);
    dir = opendir(path);
    if (!dir)
        return -EAGAIN;
    while (ret == 0 && (entry = readdir(dir))) {
        pid_t tid = (pid_t)atoi(entry->d_name);

        if (tid > 0)
            ret = hold(stopped, tid);
    }
    return ret == 0 && stopped->nthreads == 0 ? -EAGAIN : ret;
}

/* A thread that hears the signal, and has no other one like it pending already. */
static struct thread *choose_leader(const struct agent_stopped *stopped)
{
    for (size_t i = 0; i < stopped->nthreads; i++) {
        pid_t tid = stopped->threads[i].tid;

        if (!((status_mask(tid, "SigBlk:") | status_mask(tid, "SigPnd:")) & BIT(SIGURG)))
            return &stopped->threads[i];
    }
    return NULL;
}

static bool can_watch_syscalls(pid_t tid)
{
    struct __ptrace_syscall_info info;

    return ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) > 0;
}

static int start_leader(struct agent_stopped *stopped, uint64_t cookie)
{
    struct thread *leader = choose_leader(stopped);
    siginfo_t info;

    if (!leader)
        return -EAGAIN;
    if (!can_watch_syscalls(leader->tid))
        return -ENOSYS; /* before Linux 5.3 */
    agent_stopped_siginfo(cookie, &info);
    if (syscall(SYS_rt_tgsigqueueinfo, stopped->pid, leader->tid, SIGURG, &info) < 0)
        return -EAGAIN;
    return let_in(stopped, leader);
}

static void release(struct agent_stopped *stopped)
{
    for (size_t i = 0; i < stopped->nthreads; i++)
        let_go(&stopped->threads[i]);
    free(stopped->threads);
    free(stopped);
}

int agent_stopped_enter(struct agent *agent, const struct agent_proc *proc, uint64_t cookie,
                        struct stint_err *err)
{
    struct agent_stopped *stopped = calloc(1, sizeof(*stopped));
    int ret;

    if (!stopped)
        return stint_err_set(err, -ENOMEM, "trace process %d", (int)proc->pid);
    stopped->pid = proc->pid;
    ret = hold_all(stopped);
    if (ret == 0)
        ret = start_leader(stopped, cookie);
    if (ret == 0) {
        stopped->next = agent->stopped;
        agent->stopped = stopped;
        return 0;
    }
    release(stopped);
    return ret == -EAGAIN ? ret
                          : stint_err_set(err, ret, "trace process %d", (int)proc->pid);
}

int agent_stopped_carry(struct agent *agent, pid_t pid, struct stint_err *err)
{
    struct agent_stopped *stopped = calloc(1, sizeof(*stopped));
    int ret;

    if (!stopped)
        return stint_err_set(err, -ENOMEM, "trace process %d", (int)pid);
    stopped->pid = pid;
    ret = hold_all(stopped);
    if (ret < 0) {
        release(stopped);
        return stint_err_set(err, ret, "trace process %d", (int)pid);
    }
    stopped->next = agent->stopped;
    agent->stopped = stopped;
    for (size_t i = 0; i < stopped->nthreads; i++) {
        stopped->threads[i].inside = true;
        stopped->threads[i].mask = 0; /* the restorer's */
        run_on(&stopped->threads[i], 0);
    }
    return 0;
}

void agent_stopped_arrived(struct agent *agent, pid_t pid)
{
    struct agent_stopped *stopped = find(agent, pid);

    if (!stopped)
        return;
    for (size_t i = 0; i < stopped->nthreads; i++)
        stopped->threads[i].watched = false;
}

static bool is_signalled(pid_t tid)
{
    return status_mask(tid, "SigPnd:") & ~status_mask(tid, "SigBlk:") & BIT(SIGURG);
}

void agent_stopped_step(struct agent *agent)
{
    for (struct agent_stopped *stopped = agent->stopped; stopped; stopped = stopped->next) {
        for (size_t i = 0; i < stopped->nthreads; i++) {
            struct thread *thread = &stopped->threads[i];

            if (thread->inside || thread->let_go || !is_signalled(thread->tid))
                continue;
            if (let_in(stopped, thread) < 0 && !thread->inside)
                let_go(thread); /* killed, or the leader will miss it and say so */
        }
    }
}

/* --- inside, and out -------------------------------------------------------------- */

static bool all_gone(const struct agent_stopped *stopped)
{
    for (size_t i = 0; i < stopped->nthreads; i++) {
        if (!stopped->threads[i].let_go)
            return false;
    }
    return true;
}

/* Where a watched thread is. Returns true when it has come out of the handler: the
 * system call that returns from it is over, and the registers are the program's. */
static bool has_come_out(struct thread *thread)
{
    struct __ptrace_syscall_info info;

    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread->tid, sizeof(info), &info) <= 0)
        return false;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
        thread->leaving = info.entry.nr == SYS_rt_sigreturn;
    return info.op == PTRACE_SYSCALL_INFO_EXIT && thread->leaving;
}

/* The first to come out uncalled for is a leader that did not want to be one: the
 * process is tried again later. */
static void let_rest_go(struct agent_stopped *stopped)
{
    for (size_t i = 0; i < stopped->nthreads; i++) {
        if (!stopped->threads[i].inside && !stopped->threads[i].let_go)
            let_go(&stopped->threads[i]);
    }
}

static void take_stop(struct agent_stopped *stopped, struct thread *thread, int status)
{
    int signo = WSTOPSIG(status);

    if (is_syscall(status)) {
        if (has_come_out(thread)) {
            let_go(thread);
            let_rest_go(stopped);
        } else {
            run_on(thread, 0);
        }
    } else if (is_event(status)) {
        stopped->continued |= signo == SIGTRAP;
        run_on(thread, 0);
    } else {
        /* All signals are blocked in there, but for those that cannot be. */
        run_on(thread, is_stop_signal(signo) ? 0 : signo);
    }
}

bool agent_stopped_event(struct agent *agent, pid_t tid, int status)
{
    for (struct agent_stopped *stopped = agent->stopped; stopped; stopped = stopped->next) {
        for (size_t i = 0; i < stopped->nthreads; i++) {
            struct thread *thread = &stopped->threads[i];
            bool is_process = tid == stopped->pid;

            if (thread->tid != tid || thread->let_go)
                continue;
            if (WIFSTOPPED(status) && thread->inside)
                take_stop(stopped, thread, status);
            else if (!WIFSTOPPED(status))
                thread->let_go = true;
            if (all_gone(stopped))
                drop(agent, stopped);
            return WIFSTOPPED(status) || !is_process;
        }
    }
    /* Not traced any more, as far as we know: let_go() did not see it stop in time. One
     * that was never traced cannot be detached from. */
    if (WIFSTOPPED(status))
        (void)ptrace(PTRACE_DETACH, tid, NULL, (long)held_signal(status));
    return WIFSTOPPED(status);
}

static void leave(struct agent_stopped *stopped)
{
    let_rest_go(stopped);
    for (size_t i = 0; i < stopped->nthreads; i++) {
        struct thread *thread = &stopped->threads[i];

        if (thread->let_go || thread->watched)
            continue;
        /* From here on it does not get back to the program unseen: its next stop, at the
         * latest then, finds that it is to be watched. */
        thread->watched = true;
        (void)ptrace(PTRACE_INTERRUPT, thread->tid, NULL, NULL); /* gone: an event */
    }
}

void agent_stopped_leave(struct agent *agent, pid_t pid)
{
    struct agent_stopped *stopped = find(agent, pid);

    if (!stopped)
        return;
    leave(stopped);
    if (all_gone(stopped))
        drop(agent, stopped);
}

void agent_stopped_leave_all(struct agent *agent)
{
    struct agent_stopped *stopped = agent->stopped, *next;

    for (; stopped; stopped = next) {
        next = stopped->next;
        leave(stopped);
        if (all_gone(stopped))
            drop(agent, stopped);
    }
}

bool agent_stopped_has(const struct agent *agent, pid_t pid)
{
    return pid ? find(agent, pid) != NULL : agent->stopped != NULL;
}

bool agent_stopped_is_stopped(const struct agent *agent, pid_t pid)
{
    const struct agent_stopped *stopped = find(agent, pid);

    return stopped && !stopped->continued;
}

void agent_stopped_free(struct agent *agent)
{
    while (agent->stopped)
        drop(agent, agent->stopped);
}
