/* SIGURG as the program sees it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's handler for SIGURG is ours and the signal is never blocked. What the
 * program asks for is kept here: its action in `program.action`, and per thread
 * whether it means SIGURG to be blocked. A SIGURG of its own that comes while it
 * is blocked is kept and queued again when the thread unblocks it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "common/raw.h"
#include "runtime/api.h"
#include "runtime/arch/x86_64/arch.h"
#include "runtime/interpose.h"

#define SI_WAKE (-21334) /* to a thread in sigwait(3): look for a pending SIGURG */
#define URG_BIT (1ull << (SIGURG - 1))

enum urg_mask { URG_UNKNOWN = 0, URG_OPEN, URG_BLOCKED };

static struct {
    struct sigaction action;
    uint64_t in_mask; /* signals whose sa_mask has SIGURG, by the program's word */
} program;

static __thread struct {
    enum urg_mask mask;
    bool pending;
    bool stopped;     /* a checkpoint happened since interpose_arm() */
    bool interrupted; /* and made the current system call fail with EINTR */
    siginfo_t info;
} thread __attribute__((tls_model("initial-exec")));

/* A SIGURG of the process that every thread had blocked; standard signals do not
 * queue, so one is enough. state: 0 empty, 1 being written or read, 2 full. */
static struct {
    _Atomic uint32_t state;
    _Atomic int32_t waiter; /* a thread that waits for SIGURG in sigwait(3) and kin */
    siginfo_t info;
} process;

static uint64_t bits_of(const sigset_t *set)
{
    uint64_t bits;

    memcpy(&bits, set, sizeof(bits));
    return bits;
}

static void set_bits(sigset_t *set, uint64_t bits)
{
    memcpy(set, &bits, sizeof(bits));
}

void interpose_init(void)
{
    struct stint_sigaction inherited;

    /* An ignored SIGURG stays ignored across execve(2). */
    if (raw_syscall(SYS_rt_sigaction, SIGURG, NULL, &inherited, 8) == 0
        && inherited.handler == (uint64_t)SIG_IGN)
        program.action.sa_handler = SIG_IGN;
}

void interpose_unblock(void)
{
    uint64_t urg = URG_BIT, old = 0;

    if (raw_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &urg, &old, sizeof(old)) == 0)
        thread.mask = old & URG_BIT ? URG_BLOCKED : URG_OPEN;
}

/* A thread inherits its creator's mask; ours has no trace of SIGURG in it, but who
 * blocks everything has blocked that too. */
static bool is_blocked(void)
{
    const uint64_t signs = 1ull << (SIGIO - 1) | 1ull << (SIGWINCH - 1)
                           | 1ull << (SIGCHLD - 1) | 1ull << (SIGPROF - 1);
    uint64_t mask = 0;

    if (thread.mask == URG_UNKNOWN) {
        (void)raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &mask, sizeof(mask));
        thread.mask = (mask & signs) == signs ? URG_BLOCKED : URG_OPEN;
    }
    return thread.mask == URG_BLOCKED;
}

/* --- pending SIGURGs ------------------------------------------------------------ */

static void queue_to(int32_t tid, const siginfo_t *info)
{
    (void)raw_syscall(SYS_rt_tgsigqueueinfo, raw_syscall(SYS_getpid), tid, SIGURG, info);
}

static bool is_pending(void)
{
    return thread.pending || atomic_load(&process.state) == 2;
}

/* Take one that is pending: the thread's own before the process's, sigwaitinfo(2). */
static bool take_pending(siginfo_t *info)
{
    uint32_t full = 2;

    if (thread.pending) {
        thread.pending = false;
        *info = thread.info;
        return true;
    }
    if (!atomic_compare_exchange_strong(&process.state, &full, 1))
        return false;
    *info = process.info;
    atomic_store(&process.state, 0);
    return true;
}

/* This thread means SIGURG to be blocked: keep it for whoever takes it later. */
static void keep_pending(const siginfo_t *info)
{
    const siginfo_t wake = {.si_signo = SIGURG, .si_code = SI_WAKE};
    uint32_t empty = 0;
    int32_t waiter;

    if (info->si_code == SI_TKILL) { /* for this very thread */
        thread.info = *info;
        thread.pending = true;
    } else if (atomic_compare_exchange_strong(&process.state, &empty, 1)) {
        process.info = *info;
        atomic_store(&process.state, 2);
        waiter = atomic_load(&process.waiter);
        if (waiter)
            queue_to(waiter, &wake); /* it looks here */
    }
}

/* --- a SIGURG that is the program's own -------------------------------------- */

static void set_blocked(bool blocked)
{
    siginfo_t info;

    thread.mask = blocked ? URG_BLOCKED : URG_OPEN;
    if (!blocked && take_pending(&info))
        queue_to((int32_t)raw_syscall(SYS_gettid), &info);
}

void stint_program_signal(int signo, siginfo_t *info, void *context)
{
    struct sigaction action = program.action;
    ucontext_t *uc = context;
    uint64_t mask, old;

    if (info->si_code == SI_WAKE)
        return; /* the wait it was meant for is over */
    if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) {
        if (!is_blocked())
            return;
    }
    if (is_blocked()) {
        keep_pending(info);
        return;
    }
    if (action.sa_flags & (int)SA_RESETHAND)
        program.action.sa_handler = SIG_DFL;
    /* Our handler runs with everything blocked; the program's with what it asked. */
    memcpy(&mask, &uc->uc_sigmask, sizeof(mask));
    mask = (mask | bits_of(&action.sa_mask)) & ~URG_BIT;
    (void)raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &old, sizeof(mask));
    if (!(action.sa_flags & SA_NODEFER))
        thread.mask = URG_BLOCKED;
    if (action.sa_flags & SA_SIGINFO)
        action.sa_sigaction(signo, info, context);
    else
        action.sa_handler(signo);
    (void)raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(mask));
    set_blocked(false);
}

/* --- EINTR that is ours ------------------------------------------------------- */

void stint_note_interrupted(const ucontext_t *uc)
{
    uint64_t pending = 0, blocked = bits_of(&uc->uc_sigmask);

    thread.stopped = true;
    if (!stint_arch_is_eintr(uc))
        return;
    /* Another signal about to be delivered would have interrupted the call too. */
    (void)raw_syscall(SYS_rt_sigpending, &pending, sizeof(pending));
    thread.interrupted = (pending & ~blocked & ~URG_BIT) == 0;
}

void interpose_arm(void)
{
    thread.stopped = false;
    thread.interrupted = false;
}

bool interpose_stopped(void)
{
    return thread.stopped;
}

bool interpose_ours(long ret)
{
    bool ours = ret == -1 && errno == EINTR && thread.interrupted;

    thread.interrupted = false;
    return ours;
}

/* --- dispositions ------------------------------------------------------------- */

static void note_mask_of(uint64_t bit, bool has_urg)
{
    bool had = __atomic_load_n(&program.in_mask, __ATOMIC_RELAXED) & bit;

    if (had == has_urg || !stint_signal_is_own_state())
        return;
    if (has_urg)
        __atomic_fetch_or(&program.in_mask, bit, __ATOMIC_RELAXED);
    else
        __atomic_fetch_and(&program.in_mask, ~bit, __ATOMIC_RELAXED);
}

STINT_EXPORT int sigaction(int signo, const struct sigaction *act, struct sigaction *old)
{
    __typeof__(&sigaction) real = INTERPOSE_REAL(sigaction);
    struct sigaction copy;
    siginfo_t discarded;
    uint64_t bit;
    int ret;

    if (!stint_runtime.state || signo < 1 || signo > 64)
        return real(signo, act, old);
    if (signo == SIGURG) {
        struct sigaction previous = program.action;

        if (act && !stint_signal_is_own_state()) {
            /* a child of vfork(2): what it ignores is ignored after its exec, all else ends */
            if (act->sa_handler == SIG_IGN && real(signo, act, NULL) != 0)
                return -1;
        } else if (act) {
            program.action = *act;
            if (act->sa_handler == SIG_IGN)
                (void)take_pending(&discarded); /* ignoring discards, sigaction(2) */
        }
        if (old)
            *old = previous;
        return 0;
    }
    bit = 1ull << (signo - 1);
    if (act) {
        copy = *act;
        set_bits(&copy.sa_mask, bits_of(&act->sa_mask) & ~URG_BIT);
    }
    if (signo == SIGTERM && sigterm_is_held())
        ret = sigterm_action(real, act ? &copy : NULL, old);
    else
        ret = real(signo, act ? &copy : NULL, old);
    if (ret != 0)
        return ret;
    if (old && (program.in_mask & bit))
        set_bits(&old->sa_mask, bits_of(&old->sa_mask) | URG_BIT);
    if (act)
        note_mask_of(bit, bits_of(&act->sa_mask) & URG_BIT);
    return ret;
}

/* libc's signal(3) and kin call a sigaction(2) of their own. */
static bool is_virtual(int signo)
{
    return stint_runtime.state
           && (signo == SIGURG || (signo == SIGTERM && sigterm_is_held()));
}

static sighandler_t set_handler(int signo, sighandler_t handler, int flags)
{
    const struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    struct sigaction old;

    if (sigaction(signo, &action, &old) != 0)
        return SIG_ERR;
    return old.sa_handler;
}

STINT_EXPORT sighandler_t signal(int signo, sighandler_t handler)
{
    if (is_virtual(signo) && handler != SIG_ERR)
        return set_handler(signo, handler, SA_RESTART);
    return INTERPOSE_REAL(signal)(signo, handler);
}

STINT_EXPORT sighandler_t bsd_signal(int signo, sighandler_t handler);
STINT_EXPORT sighandler_t bsd_signal(int signo, sighandler_t handler)
{
    return signal(signo, handler);
}

STINT_EXPORT sighandler_t ssignal(int signo, sighandler_t handler)
{
    return signal(signo, handler);
}

STINT_EXPORT sighandler_t sysv_signal(int signo, sighandler_t handler)
{
    if (is_virtual(signo) && handler != SIG_ERR)
        return set_handler(signo, handler, (int)(SA_RESETHAND | SA_NODEFER));
    return INTERPOSE_REAL(sysv_signal)(signo, handler);
}

/* --- masks ---------------------------------------------------------------------- */

/* What the mask of this thread looks like to the program. */
static void show_mask(sigset_t *set, bool blocked)
{
    if (set && blocked)
        set_bits(set, bits_of(set) | URG_BIT);
}

static void note_mask(int how, const sigset_t *set)
{
    bool has = set && (bits_of(set) & URG_BIT);

    if (!set)
        return;
    if (how == SIG_SETMASK)
        set_blocked(has);
    else if (has)
        set_blocked(how == SIG_BLOCK);
}

static const sigset_t *without_urg(const sigset_t *set, sigset_t *copy)
{
    if (!set)
        return NULL;
    *copy = *set;
    set_bits(copy, bits_of(set) & ~URG_BIT);
    return copy;
}

static int change_mask(int (*real)(int, const sigset_t *, sigset_t *), int how,
                       const sigset_t *set, sigset_t *old)
{
    sigset_t copy;
    bool blocked;
    int ret;

    if (!stint_runtime.state)
        return real(how, set, old);
    blocked = is_blocked();
    ret = real(how, without_urg(set, &copy), old);
    if (ret == 0) {
        show_mask(old, blocked);
        note_mask(how, set);
    }
    return ret;
}

STINT_EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    return change_mask(INTERPOSE_REAL(sigprocmask), how, set, old);
}

STINT_EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    return change_mask(INTERPOSE_REAL(pthread_sigmask), how, set, old);
}

STINT_EXPORT int sigpending(sigset_t *set)
{
    int ret = INTERPOSE_REAL(sigpending)(set);

    if (ret == 0 && stint_runtime.state)
        set_bits(set, (bits_of(set) & ~URG_BIT) | (is_pending() ? URG_BIT : 0));
    return ret;
}

/* sigsuspend(2) always ends with EINTR: after a checkpoint it goes on waiting. */
STINT_EXPORT int sigsuspend(const sigset_t *set)
{
    __typeof__(&sigsuspend) real = INTERPOSE_REAL(sigsuspend);
    sigset_t copy;
    bool blocked;
    int ret;

    if (!stint_runtime.state)
        return real(set);
    blocked = is_blocked();
    note_mask(SIG_SETMASK, set);
    do {
        interpose_arm();
        ret = real(without_urg(set, &copy));
    } while (interpose_ours(ret));
    thread.mask = blocked ? URG_BLOCKED : URG_OPEN;
    return ret;
}

/* --- waiting for signals ----------------------------------------------------------- */

static void block_urg(bool block)
{
    uint64_t urg = URG_BIT;

    (void)raw_syscall(SYS_rt_sigprocmask, block ? SIG_BLOCK : SIG_UNBLOCK, &urg, NULL,
                      sizeof(urg));
}

/* What a wait for SIGURG gave may be ours: a checkpoint goes to the handler, a wake
 * says that a SIGURG of the process is pending. Returns whether to wait on. */
static bool wait_on(siginfo_t *taken)
{
    if (taken->si_signo != SIGURG)
        return false;
    if (taken->si_code == SI_WAKE)
        return !take_pending(taken);
    if (taken->si_code != STINT_SI_CHECKPOINT && taken->si_code != STINT_SI_PARK)
        return false;
    queue_to((int32_t)raw_syscall(SYS_gettid), taken);
    block_urg(false); /* it is delivered here */
    block_urg(true);
    return true;
}

/* Waiting for SIGURG: while it lasts the thread blocks the signal for real, so that
 * none can slip into the handler between looking and waiting. */
static int wait_for_urg(const sigset_t *set,
                        siginfo_t *taken,
                        const struct timespec *timeout)
{
    __typeof__(&sigtimedwait) real = INTERPOSE_REAL(sigtimedwait);
    uint64_t deadline = timeout ? interpose_deadline(timeout) : 0;
    struct timespec left;
    uint32_t restarts;
    int ret;

    block_urg(true);
    atomic_store(&process.waiter, (int32_t)raw_syscall(SYS_gettid));
    for (bool again = false; !take_pending(taken); again = true) {
        if (timeout)
            left = again ? interpose_left(deadline) : *timeout;
        restarts = api_restarts();
        ret = real(set, taken, timeout ? &left : NULL);
        if (ret <= 0 || !(wait_on(taken) || !sigterm_take_waited(taken, restarts)))
            goto out;
    }
    ret = SIGURG;
out:
    atomic_store(&process.waiter, 0);
    block_urg(false);
    return ret;
}

STINT_EXPORT int sigtimedwait(const sigset_t *set,
                              siginfo_t *info,
                              const struct timespec *timeout)
{
    __typeof__(&sigtimedwait) real = INTERPOSE_REAL(sigtimedwait);
    uint64_t deadline;
    struct timespec left;
    siginfo_t taken;
    uint32_t restarts;
    int ret;

    if (!stint_runtime.state)
        return real(set, info, timeout);
    if (bits_of(set) & URG_BIT) {
        ret = wait_for_urg(set, &taken, timeout);
    } else {
        deadline = timeout ? interpose_deadline(timeout) : 0;
        for (bool again = false;; again = true) {
            if (timeout)
                left = again ? interpose_left(deadline) : *timeout;
            interpose_arm();
            restarts = api_restarts();
            ret = real(set, &taken, timeout ? &left : NULL);
            if (!interpose_ours(ret)
                && (ret != SIGTERM || sigterm_take_waited(&taken, restarts)))
                break;
        }
    }
    if (ret > 0 && info)
        *info = taken;
    return ret;
}

STINT_EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
    return sigtimedwait(set, info, NULL);
}

STINT_EXPORT int sigwait(const sigset_t *set, int *signo)
{
    siginfo_t info;
    int ret;

    do
        ret = sigtimedwait(set, &info, NULL);
    while (ret < 0 && errno == EINTR); /* sigwait(3) does not fail with EINTR */
    if (ret < 0)
        return errno;
    *signo = ret;
    return 0;
}
