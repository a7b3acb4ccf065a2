/* What belongs to a process as a whole, besides memory and threads.
 * SPDX-License-Identifier: Apache-2.0
 */
#define STINT_BLOB
#include "runtime/restorer/blob/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#ifndef PR_SET_MDWE /* Linux 6.3 */
#define PR_SET_MDWE 65
#endif

#ifndef PR_TIMER_CREATE_RESTORE_IDS /* Linux 6.15 */
#define PR_TIMER_CREATE_RESTORE_IDS     77
#define PR_TIMER_CREATE_RESTORE_IDS_OFF 0
#define PR_TIMER_CREATE_RESTORE_IDS_ON  1
#endif

#define TIMER_ID_TRIES 1000000

struct kernel_sigevent {
    uint64_t value;
    int32_t signo;
    int32_t notify;
    int32_t tid;
    char padding[44];
};

static void restore_layout(struct blob_args *args)
{
    const struct stint_process *p = &args->process;
    struct prctl_mm_map map = {
        .start_code = p->start_code,
        .end_code = p->end_code,
        .start_data = p->start_data,
        .end_data = p->end_data,
        .start_brk = p->start_brk,
        .brk = p->brk,
        .start_stack = p->start_stack,
        .arg_start = p->arg_start,
        .arg_end = p->arg_end,
        .env_start = p->env_start,
        .env_end = p->env_end,
        .auxv = args->auxv_len ? BLOB_AT(args, args->auxv_offset, __u64) : NULL,
        .auxv_size = args->auxv_len,
        .exe_fd = (uint32_t)args->exe_fd,
    };
    long ret = raw_syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0);

    if (ret != 0)
        blob_fail(args, ret, "set brk, arguments and executable (PR_SET_MM_MAP)", NULL);
}

static void restore_sigactions(struct blob_args *args)
{
    const struct stint_sigaction *actions =
        BLOB_AT(args, args->sigactions_offset, struct stint_sigaction);

    for (int signo = 1; signo <= 64; signo++) {
        long ret;

        if (signo == SIGKILL || signo == SIGSTOP)
            continue;
        ret = raw_syscall(SYS_rt_sigaction, signo, &actions[signo - 1], NULL,
                          sizeof(actions->mask));
        if (ret != 0)
            blob_fail(args, ret, "set a signal's action", NULL);
    }
}

void blob_restore_early(struct blob_args *args)
{
    restore_layout(args);
    restore_sigactions(args);
}

/* --- timers ------------------------------------------------------------------------ */

static long create_timer(const struct stint_timer *timer, int32_t *id)
{
    struct kernel_sigevent event = {
        .value = timer->sigval,
        .signo = timer->signo,
        .notify = timer->notify,
        .tid = timer->notify_tid,
    };

    return raw_syscall(SYS_timer_create, timer->clockid, &event, id);
}

/* Before Linux 6.15 ids can only be counted up to. */
static long count_up_to(const struct stint_timer *timer)
{
    for (int i = 0; i < TIMER_ID_TRIES; i++) {
        int32_t id = 0;
        long ret = create_timer(timer, &id);

        if (ret != 0)
            return ret;
        if (id == timer->id)
            return 0;
        (void)raw_syscall(SYS_timer_delete, id); /* just made */
        if (id > timer->id)
            return -EEXIST;
    }
    return -EAGAIN;
}

static void create_timers(struct blob_args *args)
{
    const struct stint_timer *timers = BLOB_AT(args, args->timers_offset, struct stint_timer);
    int exact;

    if (args->ntimers == 0)
        return;
    exact = raw_syscall(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS,
                        PR_TIMER_CREATE_RESTORE_IDS_ON, 0, 0, 0) == 0;
    for (uint32_t i = 0; i < args->ntimers; i++) {
        int32_t id = timers[i].id;
        long ret = exact ? create_timer(&timers[i], &id) : count_up_to(&timers[i]);

        if (ret != 0)
            blob_fail(args, ret, "create a POSIX timer with its old id", NULL);
    }
    if (exact)
        (void)raw_syscall(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS,
                          PR_TIMER_CREATE_RESTORE_IDS_OFF, 0, 0, 0); /* it was on */
}

static struct timespec to_timespec(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
}

void blob_arm_timers(struct blob_args *args)
{
    const struct stint_timer *timers = BLOB_AT(args, args->timers_offset, struct stint_timer);

    for (uint32_t i = 0; i < args->ntimers; i++) {
        struct itimerspec spec = {to_timespec(timers[i].interval_ns),
                                  to_timespec(timers[i].value_ns)};

        if (timers[i].value_ns)
            (void)raw_syscall(SYS_timer_settime, timers[i].id, 0, &spec, NULL); /* valid */
    }
    for (int which = 0; args->has_itimers && which < 3; which++) {
        const struct stint_itimer *timer = &args->itimers[which];
        uint64_t value = timer->value_us;
        uint64_t spec[4];

        /* Its signal was pending: the kernel starts it again when that is taken, unless it
         * looks disarmed (kernel/time/itimer.c). A disarmed one has no interval either. */
        if (which == ITIMER_REAL && !value)
            value = timer->interval_us;
        spec[0] = timer->interval_us / 1000000;
        spec[1] = timer->interval_us % 1000000;
        spec[2] = value / 1000000;
        spec[3] = value % 1000000;
        if (value)
            (void)raw_syscall(SYS_setitimer, which, spec, NULL); /* valid */
    }
}

/* --- the rest ---------------------------------------------------------------------- */

/* What the making of the tree left behind: children that ended or stopped. */
static void drop_stray_signals(void)
{
    uint64_t set = 1ull << (SIGCHLD - 1) | 1ull << (SIGCONT - 1);
    struct timespec now = {0, 0};

    while (raw_syscall(SYS_rt_sigtimedwait, &set, NULL, &now, sizeof(set)) > 0)
        ;
}

static void restore_pending(struct blob_args *args)
{
    char *info = BLOB_AT(args, args->pending_offset, char);

    for (uint32_t i = 0; i < args->pending_count; i++, info += 128)
        (void)raw_syscall(SYS_rt_sigqueueinfo, args->process.pid, *(int *)info,
                          info); /* only a limit (RLIMIT_SIGPENDING) can refuse it */
}

void blob_settle_children(struct blob_args *args)
{
    const struct blob_stopped_child *children =
        BLOB_AT(args, args->children_offset, struct blob_stopped_child);
    char *info = BLOB_AT(args, args->pending_offset, char);

    if (args->nchildren == 0)
        return;
    for (uint32_t i = 0; i < args->nchildren; i++) {
        if (children[i].is_known)
            (void)raw_syscall(SYS_waitid, P_PID, children[i].pid, NULL, WSTOPPED | WNOHANG,
                              NULL); /* not stopped: then there is nothing to be told */
    }
    drop_stray_signals();
    for (uint32_t i = 0; i < args->pending_count; i++, info += 128) {
        if (*(int *)info == SIGCHLD || *(int *)info == SIGCONT)
            (void)raw_syscall(SYS_rt_sigqueueinfo, args->process.pid, *(int *)info,
                              info); /* as in restore_pending() */
    }
}

void blob_stop(struct blob_args *args)
{
    const struct stint_sigaction standard = {0},
                                 *old = BLOB_AT(args, args->sigactions_offset,
                                                struct stint_sigaction)
                                        + args->stopped - 1;
    uint64_t all = ~0ull, others = ~(1ull << (args->stopped - 1));
    long signo = args->stopped;

    /* All of these are valid, and SIGSTOP needs but the kill(). */
    if (signo != SIGSTOP)
        (void)raw_syscall(SYS_rt_sigaction, signo, &standard, NULL, sizeof(all));
    (void)raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &others, NULL, sizeof(others));
    (void)raw_syscall(SYS_kill, args->process.pid, signo); /* stops right here */
    (void)raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
    if (signo != SIGSTOP)
        (void)raw_syscall(SYS_rt_sigaction, signo, old, NULL, sizeof(all));
}

/* A limit that may not be raised stays as near as it can. */
static void restore_rlimits(struct blob_args *args)
{
    for (int i = 0; args->has_rlimits && i < 16; i++) {
        struct stint_rlimit want = args->rlimits[i], have;

        if (raw_syscall(SYS_prlimit64, 0, i, &want, NULL) == 0 ||
            raw_syscall(SYS_prlimit64, 0, i, NULL, &have) != 0)
            continue;
        if (want.max > have.max)
            want.max = have.max;
        if (want.cur > want.max)
            want.cur = want.max;
        (void)raw_syscall(SYS_prlimit64, 0, i, &want, NULL); /* lowered: allowed */
    }
}

static void close_own(struct blob_args *args)
{
    const int32_t *fds = BLOB_AT(args, args->close_offset, int32_t);

    for (uint32_t i = 0; i < args->nclose; i++)
        (void)raw_syscall(SYS_close, fds[i]); /* nothing was written through them */
}

/* From now on no descriptor may be closed: that would drop them again. */
static void take_locks(struct blob_args *args)
{
    const struct stint_lock *locks = BLOB_AT(args, args->locks_offset, struct stint_lock);

    for (uint32_t i = 0; i < args->nlocks; i++) {
        struct flock range = {.l_type = (short)locks[i].type, .l_whence = SEEK_SET,
                              .l_start = locks[i].start, .l_len = locks[i].len};
        long ret = raw_syscall(SYS_fcntl, locks[i].fd, F_SETLK, &range);

        if (ret == -EAGAIN || ret == -EACCES)
            blob_fail(args, ret, "a file is locked by another program now", NULL);
        if (ret != 0)
            blob_fail(args, ret, "lock a file again", NULL);
    }
}

void blob_restore_late(struct blob_args *args)
{
    const struct stint_process *p = &args->process;
    struct blob_thread *leader = BLOB_AT(args, args->threads_offset, struct blob_thread);
    uint32_t mdwe;

    close_own(args);
    take_locks(args);
    create_timers(args);
    drop_stray_signals();
    restore_pending(args);
    /* inherited from whoever started the restorer: also to be taken back */
    (void)raw_syscall(SYS_prctl, PR_SET_THP_DISABLE,
                      p->flags & STINT_PROC_THP_DISABLE ? 1 : 0, 0, 0, 0); /* cannot fail */
    (void)raw_syscall(SYS_personality, p->personality); /* cannot fail */
    restore_rlimits(args);
    blob_restore_thread(args, leader);
    (void)raw_syscall(SYS_prctl, PR_SET_DUMPABLE, p->dumpable == 1); /* cannot fail */
    /* last: nothing gets PROT_EXEC after it */
    mdwe = p->flags >> STINT_PROC_MDWE_SHIFT & STINT_PROC_MDWE_MASK;
    if (mdwe && raw_syscall(SYS_prctl, PR_SET_MDWE, mdwe, 0, 0, 0) != 0)
        blob_note(args, "PR_SET_MDWE is not known to this kernel", NULL);
}
