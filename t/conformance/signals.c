/* Conformance: dispositions, masks, pending signals, alternate stacks, SIGURG.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <setjmp.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

static volatile sig_atomic_t count[65];
static siginfo_t infos[64];
static volatile sig_atomic_t ninfos;

static void on_signal(int signo)
{
    count[signo]++;
}

static void on_info(int signo, siginfo_t *info, void *context)
{
    count[signo]++;
    if (ninfos < 64)
        infos[ninfos++] = *info;
}

static void handle(int signo, void (*handler)(int), int flags)
{
    struct sigaction act = {.sa_handler = handler, .sa_flags = flags};

    SYS(sigaction(signo, &act, NULL));
}

static void handle_info(int signo)
{
    struct sigaction act = {.sa_sigaction = on_info, .sa_flags = SA_SIGINFO};

    SYS(sigaction(signo, &act, NULL));
}

static sigset_t set_of(int signo)
{
    sigset_t set;

    SYS(sigemptyset(&set));
    SYS(sigaddset(&set, signo));
    return set;
}

static void block(int signo)
{
    sigset_t set = set_of(signo);

    PTH(pthread_sigmask(SIG_BLOCK, &set, NULL));
}

static void unblock(int signo)
{
    sigset_t set = set_of(signo);

    PTH(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
}

static bool is_pending(int signo)
{
    sigset_t set;

    SYS(sigpending(&set));
    return sigismember(&set, signo);
}

static void queue(int signo, int value)
{
    SYS(sigqueue(getpid(), signo, (union sigval){.sival_int = value}));
}

CASE(dispositions)
{
    struct sigaction before[65], after;

    for (int s = 1; s < 65; s++) {
        struct sigaction act = {.sa_handler = s % 3 ? on_signal : SIG_IGN,
                                .sa_flags = (s % 2 ? SA_RESTART : 0) |
                                            (s % 5 ? SA_ONSTACK : 0) |
                                            (s % 7 ? 0 : SA_NODEFER)};

        SYS(sigemptyset(&act.sa_mask));
        SYS(sigaddset(&act.sa_mask, s % 31 + 1));
        if (s == SIGKILL || s == SIGSTOP || s == 32 || s == 33)
            continue;
        SYS(sigaction(s, &act, NULL));
        SYS(sigaction(s, NULL, &before[s]));
    }
    hold();
    for (int s = 1; s < 65; s++) {
        if (s == SIGKILL || s == SIGSTOP || s == 32 || s == 33)
            continue;
        SYS(sigaction(s, NULL, &after));
        CHECK(after.sa_handler == before[s].sa_handler);
        CHECK_EQ(after.sa_flags, before[s].sa_flags);
        for (int m = 1; m < 65; m++)
            CHECK_EQ(sigismember(&after.sa_mask, m), sigismember(&before[s].sa_mask, m));
    }
    SYS(raise(SIGUSR2)); /* 12: ignored */
    SYS(raise(SIGUSR1));
    CHECK_EQ(count[SIGUSR1], 1);
}

/* SIGINT and SIGQUIT may be ignored from the start: shells do so in the background. */
CASE(defaults_stay_defaults)
{
    struct sigaction before[65], act;

    for (int s = 1; s < 65; s++)
        if (s != 32 && s != 33)
            SYS(sigaction(s, NULL, &before[s]));
    hold();
    for (int s = 1; s < 65; s++) {
        if (s == 32 || s == 33)
            continue;
        SYS(sigaction(s, NULL, &act));
        CHECK(act.sa_handler == before[s].sa_handler);
        CHECK(act.sa_handler == SIG_DFL || act.sa_handler == SIG_IGN);
        CHECK_EQ(act.sa_flags, before[s].sa_flags);
    }
    SYS(sigaction(SIGURG, NULL, &act));
    CHECK(act.sa_handler == SIG_DFL);
}

CASE(mask)
{
    sigset_t before, after;

    block(SIGUSR1);
    block(SIGRTMIN + 5);
    block(SIGTERM);
    PTH(pthread_sigmask(SIG_BLOCK, NULL, &before));
    hold();
    PTH(pthread_sigmask(SIG_BLOCK, NULL, &after));
    for (int s = 1; s < 65; s++)
        CHECK_EQ(sigismember(&after, s), sigismember(&before, s));
    CHECK_EQ(sigismember(&after, SIGUSR1), 1);
    CHECK_EQ(sigismember(&after, SIGUSR2), 0);
    CHECK_EQ(sigismember(&after, SIGURG), 0);
}

CASE(everything_blocked)
{
    sigset_t all, after;

    SYS(sigfillset(&all));
    SYS(sigprocmask(SIG_SETMASK, &all, NULL));
    hold();
    SYS(sigprocmask(SIG_SETMASK, NULL, &after));
    for (int s = 1; s < 65; s++)
        if (s != SIGKILL && s != SIGSTOP && s != 32 && s != 33)
            CHECK_EQ(sigismember(&after, s), 1);
}

static void *blocked_thread(void *arg)
{
    sigset_t all, after;

    SYS(sigfillset(&all));
    PTH(pthread_sigmask(SIG_SETMASK, &all, NULL));
    mark("blocked");
    UNTIL(held_no_more());
    PTH(pthread_sigmask(SIG_SETMASK, NULL, &after));
    CHECK_EQ(sigismember(&after, SIGURG), 1);
    CHECK_EQ(sigismember(&after, SIGTERM), 1);
    return NULL;
}

CASE(everything_blocked_in_a_thread)
{
    pthread_t id = thread(blocked_thread, NULL);

    await("blocked");
    hold();
    PTH(pthread_join(id, NULL));
    handle(SIGUSR1, on_signal, 0);
    SYS(kill(getpid(), SIGUSR1));
    CHECK_EQ(count[SIGUSR1], 1);
}

/* Threads that not even the runtime's signal reaches, since their mask was set without libc:
 * one sleeps, one wakes up all the time, one never does anything but compute. */
static volatile int deaf_end;
static int deaf_ends[2];

static void *behind_a_full_mask(void (*fn)(void))
{
    const uint64_t all = ~0ull & ~(1ull << (SIGKILL - 1)) & ~(1ull << (SIGSTOP - 1));
    uint64_t now = 0;

    SYS(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all));
    mark("deaf");
    fn();
    SYS(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &now, sizeof now));
    CHECK_EQ(now, all);
    return NULL;
}

static void sleeps(void)
{
    char byte;

    CHECK_EQ(read(deaf_ends[0], &byte, 1), 1);
}

static void naps(void)
{
    const struct timespec moment = {0, 1000000};

    while (!deaf_end)
        (void)nanosleep(&moment, NULL);
}

static void computes(void)
{
    while (!deaf_end)
        ;
}

static void *sleeps_deaf(void *arg)
{
    return behind_a_full_mask(sleeps);
}

static void *naps_deaf(void *arg)
{
    return behind_a_full_mask(naps);
}

static void *computes_deaf(void *arg)
{
    return behind_a_full_mask(computes);
}

static void across_a_deaf_thread(void *(*fn)(void *))
{
    pthread_t id;

    SYS(pipe(deaf_ends));
    id = thread(fn, NULL);
    await("deaf");
    hold();
    deaf_end = 1;
    CHECK_EQ(write(deaf_ends[1], "x", 1), 1);
    PTH(pthread_join(id, NULL));
}

CASE(deaf_thread_that_sleeps)
{
    across_a_deaf_thread(sleeps_deaf);
}

CASE(deaf_thread_that_naps)
{
    across_a_deaf_thread(naps_deaf);
}

CASE(deaf_thread_that_computes)
{
    across_a_deaf_thread(computes_deaf);
}

CASE(pending_for_process)
{
    handle_info(SIGUSR1);
    block(SIGUSR1);
    SYS(kill(getpid(), SIGUSR1));
    hold();
    CHECK_EQ(count[SIGUSR1], 0);
    CHECK(is_pending(SIGUSR1));
    unblock(SIGUSR1);
    CHECK_EQ(count[SIGUSR1], 1);
    CHECK_EQ(infos[0].si_code, SI_USER);
    CHECK_EQ(infos[0].si_pid, getpid());
}

CASE(pending_for_thread)
{
    handle_info(SIGUSR2);
    block(SIGUSR2);
    PTH(pthread_kill(pthread_self(), SIGUSR2));
    hold();
    CHECK(is_pending(SIGUSR2));
    unblock(SIGUSR2);
    CHECK_EQ(count[SIGUSR2], 1);
    CHECK_EQ(infos[0].si_code, SI_TKILL);
}

static void *pending_thread(void *arg)
{
    siginfo_t info;
    sigset_t set = set_of(SIGUSR1);

    PTH(pthread_sigmask(SIG_BLOCK, &set, NULL));
    PTH(pthread_kill(pthread_self(), SIGUSR1));
    mark("sent");
    UNTIL(held_no_more());
    CHECK_EQ(sigwaitinfo(&set, &info), SIGUSR1);
    CHECK_EQ(info.si_pid, getpid());
    return NULL;
}

CASE(pending_for_the_right_thread)
{
    pthread_t id;

    block(SIGUSR1);
    id = thread(pending_thread, NULL);
    await("sent");
    hold();
    CHECK(!is_pending(SIGUSR1));
    PTH(pthread_join(id, NULL));
}

CASE(pending_queue_in_order)
{
    handle_info(SIGRTMIN + 1);
    handle_info(SIGRTMIN + 4);
    block(SIGRTMIN + 1);
    block(SIGRTMIN + 4);
    for (int i = 0; i < 10; i++) {
        queue(SIGRTMIN + 4, 100 + i);
        queue(SIGRTMIN + 1, i);
    }
    hold();
    unblock(SIGRTMIN + 1);
    unblock(SIGRTMIN + 4);
    CHECK_EQ(ninfos, 20);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(infos[i].si_value.sival_int, i < 10 ? i : 90 + i);
        CHECK_EQ(infos[i].si_code, SI_QUEUE);
        CHECK_EQ(infos[i].si_pid, getpid());
        CHECK_EQ(infos[i].si_uid, getuid());
    }
}

CASE(pending_many)
{
    enum { COUNT = 1000 };
    siginfo_t info;
    sigset_t set = set_of(SIGRTMIN + 2);

    block(SIGRTMIN + 2);
    for (int i = 0; i < COUNT; i++)
        queue(SIGRTMIN + 2, i);
    hold();
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 2);
        CHECK_EQ(info.si_value.sival_int, i);
    }
    CHECK(!is_pending(SIGRTMIN + 2));
}

static void exits_with_7(void *arg)
{
    _exit(7);
}

CASE(pending_sigchld)
{
    siginfo_t info;
    sigset_t set = set_of(SIGCHLD);
    pid_t pid;

    block(SIGCHLD);
    pid = child(exits_with_7, NULL);
    UNTIL(is_pending(SIGCHLD));
    hold();
    CHECK_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    CHECK_EQ(info.si_code, CLD_EXITED);
    CHECK_EQ(info.si_pid, pid);
    CHECK_EQ(info.si_status, 7);
    reap_status(pid, 7 << 8);
}

CASE(alternate_stack)
{
    static char stack[65536];
    stack_t want = {.ss_sp = stack, .ss_size = sizeof stack}, got;

    SYS(sigaltstack(&want, NULL));
    hold();
    SYS(sigaltstack(NULL, &got));
    CHECK(got.ss_sp == stack);
    CHECK_EQ(got.ss_size, sizeof stack);
    CHECK_EQ(got.ss_flags, 0);
}

static char alt_stack[65536];
static volatile bool on_alt;

static void holds_on_alt(int signo)
{
    char here;
    stack_t got;

    hold();
    SYS(sigaltstack(NULL, &got));
    on_alt = &here >= alt_stack && &here < alt_stack + sizeof alt_stack &&
             got.ss_flags & SS_ONSTACK;
}

CASE(running_on_alternate_stack)
{
    stack_t want = {.ss_sp = alt_stack, .ss_size = sizeof alt_stack}, got;

    SYS(sigaltstack(&want, NULL));
    handle(SIGUSR1, holds_on_alt, SA_ONSTACK);
    SYS(raise(SIGUSR1));
    CHECK(on_alt);
    SYS(sigaltstack(NULL, &got));
    CHECK_EQ(got.ss_flags, 0);
    CHECK(got.ss_sp == alt_stack);
}

static void holds(int signo)
{
    sigset_t mask;

    hold();
    SYS(sigprocmask(SIG_BLOCK, NULL, &mask));
    CHECK_EQ(sigismember(&mask, signo), 1);
    count[signo]++;
}

CASE(inside_a_handler)
{
    sigset_t mask;

    handle(SIGUSR1, holds, 0);
    SYS(raise(SIGUSR1));
    CHECK_EQ(count[SIGUSR1], 1);
    SYS(sigprocmask(SIG_BLOCK, NULL, &mask));
    CHECK_EQ(sigismember(&mask, SIGUSR1), 0);
}

static sigjmp_buf jump;

static void holds_and_jumps(int signo)
{
    hold();
    siglongjmp(jump, 5);
}

CASE(jump_out_of_a_handler)
{
    sigset_t mask;
    int value;

    handle(SIGUSR1, holds_and_jumps, 0);
    value = sigsetjmp(jump, 1);
    if (value == 0)
        SYS(raise(SIGUSR1));
    CHECK_EQ(value, 5);
    SYS(sigprocmask(SIG_BLOCK, NULL, &mask));
    CHECK_EQ(sigismember(&mask, SIGUSR1), 0);
}

CASE(one_shot_handler)
{
    struct sigaction act;

    handle(SIGUSR1, on_signal, (int)SA_RESETHAND);
    hold();
    SYS(sigaction(SIGUSR1, NULL, &act));
    CHECK(act.sa_flags & (int)SA_RESETHAND);
    SYS(raise(SIGUSR1));
    SYS(sigaction(SIGUSR1, NULL, &act));
    CHECK(act.sa_handler == SIG_DFL);
}

static void *waits_for_info(void *arg)
{
    sigset_t set = set_of(SIGRTMIN + 7);
    siginfo_t info;

    CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 7);
    CHECK_EQ(info.si_value.sival_int, 77);
    return NULL;
}

CASE(sigwaitinfo_in_a_thread)
{
    pthread_t id;

    block(SIGRTMIN + 7);
    id = thread(waits_for_info, NULL);
    hold();
    queue(SIGRTMIN + 7, 77);
    PTH(pthread_join(id, NULL));
}

static void *waits_plainly(void *arg)
{
    sigset_t set = set_of(SIGUSR1);
    int signo = 0;

    PTH(sigwait(&set, &signo));
    CHECK_EQ(signo, SIGUSR1);
    return NULL;
}

CASE(sigwait_in_a_thread)
{
    pthread_t id;

    block(SIGUSR1);
    id = thread(waits_plainly, NULL);
    hold();
    SYS(kill(getpid(), SIGUSR1));
    PTH(pthread_join(id, NULL));
}

static void *timed_wait(void *arg)
{
    sigset_t set = set_of(SIGUSR1);
    struct timespec limit = {.tv_sec = 500};

    CHECK_EQ(sigtimedwait(&set, NULL, &limit), SIGUSR1);
    return NULL;
}

CASE(sigtimedwait_in_a_thread)
{
    pthread_t id;

    block(SIGUSR1);
    id = thread(timed_wait, NULL);
    hold();
    SYS(kill(getpid(), SIGUSR1));
    PTH(pthread_join(id, NULL));
}

static void suspends(void *arg)
{
    sigset_t open;

    block(SIGUSR1);
    handle(SIGUSR1, on_signal, 0);
    SYS(sigemptyset(&open));
    mark("suspending");
    CHECK_EQ(sigsuspend(&open), -1);
    CHECK_EQ(errno, EINTR);
    CHECK_EQ(count[SIGUSR1], 1); /* it was that signal, not a checkpoint */
    CHECK(!is_pending(SIGUSR1));
}

CASE(sigsuspend_in_a_child)
{
    pid_t pid = child(suspends, NULL);

    await("suspending");
    await_syscall(pid, pid, SYS_rt_sigsuspend);
    hold();
    SYS(kill(pid, SIGUSR1));
    reap(pid);
}

static void pauses(void *arg)
{
    handle(SIGUSR1, on_signal, 0);
    mark("pausing");
    CHECK_EQ(pause(), -1);
    CHECK_EQ(count[SIGUSR1], 1);
}

CASE(pause_in_a_child)
{
    pid_t pid = child(pauses, NULL);

    await("pausing");
    await_syscall(pid, pid, SYS_pause);
    hold();
    SYS(kill(pid, SIGUSR1));
    reap(pid);
}

CASE(urg_handler)
{
    handle_info(SIGURG);
    SYS(kill(getpid(), SIGURG));
    CHECK_EQ(count[SIGURG], 1);
    hold();
    CHECK_EQ(count[SIGURG], 1); /* checkpoints are not seen */
    SYS(kill(getpid(), SIGURG));
    CHECK_EQ(count[SIGURG], 2);
    CHECK_EQ(infos[1].si_code, SI_USER);
    queue(SIGURG, 5);
    CHECK_EQ(count[SIGURG], 3);
    CHECK_EQ(infos[2].si_value.sival_int, 5);
}

CASE(urg_disposition_as_the_program_set_it)
{
    struct sigaction act, old;

    SYS(sigaction(SIGURG, NULL, &old));
    CHECK(old.sa_handler == SIG_DFL);
    handle(SIGURG, on_signal, SA_RESTART | SA_NODEFER);
    hold();
    SYS(sigaction(SIGURG, NULL, &act));
    CHECK(act.sa_handler == on_signal);
    CHECK_EQ(act.sa_flags & (SA_RESTART | SA_NODEFER | SA_SIGINFO), SA_RESTART | SA_NODEFER);
    CHECK(signal(SIGURG, SIG_IGN) == on_signal);
    SYS(raise(SIGURG));
    CHECK_EQ(count[SIGURG], 0);
    CHECK(signal(SIGURG, SIG_DFL) == SIG_IGN);
}

CASE(urg_blocked_and_pending)
{
    sigset_t mask;

    handle(SIGURG, on_signal, 0);
    block(SIGURG);
    SYS(kill(getpid(), SIGURG));
    CHECK(is_pending(SIGURG));
    hold();
    CHECK_EQ(count[SIGURG], 0);
    CHECK(is_pending(SIGURG));
    SYS(sigprocmask(SIG_BLOCK, NULL, &mask));
    CHECK_EQ(sigismember(&mask, SIGURG), 1);
    unblock(SIGURG);
    CHECK_EQ(count[SIGURG], 1);
}

CASE(urg_blocked_and_not_pending)
{
    handle(SIGURG, on_signal, 0);
    block(SIGURG);
    hold();
    CHECK(!is_pending(SIGURG));
    unblock(SIGURG);
    CHECK_EQ(count[SIGURG], 0);
}

static void *waits_for_urg(void *arg)
{
    sigset_t set = set_of(SIGURG);
    int signo = 0;

    PTH(sigwait(&set, &signo));
    CHECK_EQ(signo, SIGURG);
    mark("got-urg");
    return NULL;
}

CASE(urg_by_sigwait)
{
    pthread_t id;

    block(SIGURG);
    id = thread(waits_for_urg, NULL);
    hold();
    CHECK_EQ(access("got-urg", F_OK), -1);
    SYS(kill(getpid(), SIGURG));
    PTH(pthread_join(id, NULL));
}

CASE(urg_ignored)
{
    struct sigaction act;

    CHECK(signal(SIGURG, SIG_IGN) == SIG_DFL);
    hold();
    SYS(sigaction(SIGURG, NULL, &act));
    CHECK(act.sa_handler == SIG_IGN);
    SYS(raise(SIGURG));
}

static void *killed_thread(void *arg)
{
    UNTIL(held_no_more());
    UNTIL(count[SIGUSR1] == 1);
    return NULL;
}

CASE(sent_to_a_thread_afterwards)
{
    pthread_t id;

    handle(SIGUSR1, on_signal, SA_RESTART);
    id = thread(killed_thread, NULL);
    hold();
    PTH(pthread_kill(id, SIGUSR1));
    PTH(pthread_join(id, NULL));
}

static void faults(int signo, siginfo_t *info, void *context)
{
    count[signo]++;
    infos[0] = *info;
    siglongjmp(jump, 1);
}

CASE(segv_handler)
{
    struct sigaction act = {.sa_sigaction = faults, .sa_flags = SA_SIGINFO};
    volatile int *volatile bad = (volatile int *)16;

    SYS(sigaction(SIGSEGV, &act, NULL));
    hold();
    if (sigsetjmp(jump, 1) == 0)
        *bad = 1;
    CHECK_EQ(count[SIGSEGV], 1);
    CHECK_EQ((intptr_t)infos[0].si_addr, 16);
}

static void dies_of_default(void *arg)
{
    hold();
    SYS(raise(SIGTERM));
}

CASE(default_action_kills)
{
    pid_t pid = child(dies_of_default, NULL);

    hold();
    reap_status(pid, SIGTERM);
}

CASE(storm_of_signals)
{
    handle(SIGUSR1, on_signal, SA_RESTART);
    mark("ready");
    for (int i = 0; i < 20000 || !held_no_more(); i++) {
        int before = count[SIGUSR1];

        SYS(raise(SIGUSR1));
        CHECK_EQ(count[SIGUSR1], before + 1);
    }
}
