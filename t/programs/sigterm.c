/* What a program may do with SIGTERM, checked where the runtime has a hand in it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Prints "as ever", or the line of the first thing that is not.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what)                                                                          \
    do {                                                                                     \
        if (!(what)) {                                                                       \
            printf("line %d: %s\n", __LINE__, #what);                                        \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

static volatile sig_atomic_t count, was_blocked, sender;

static sigset_t just(int signo)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signo);
    return set;
}

static int blocked_now(void)
{
    sigset_t set;

    (void)sigprocmask(SIG_BLOCK, NULL, &set); /* cannot fail */
    return sigismember(&set, SIGTERM) * 2 + sigismember(&set, SIGUSR1);
}

static void on_signal(int signo)
{
    count += signo == SIGTERM;
    was_blocked = blocked_now();
}

static void on_siginfo(int signo, siginfo_t *info, void *context)
{
    on_signal(signo);
    sender = info->si_pid;
}

static sighandler_t on_siginfo_as_handler(void)
{
    return (sighandler_t)(void *)on_siginfo;
}

static sighandler_t current(void)
{
    struct sigaction now;

    CHECK(sigaction(SIGTERM, NULL, &now) == 0);
    return now.sa_handler;
}

/* How a child ends that does this, as wait(2) has it. */
static int fate(void (*act)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        act();
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void raise_once(void)
{
    (void)raise(SIGTERM);
}

static void raise_default(void)
{
    (void)signal(SIGTERM, SIG_DFL);
    (void)raise(SIGTERM);
}

static void raise_twice_sysv(void)
{
    count = 0;
    (void)sysv_signal(SIGTERM, on_signal);
    (void)raise(SIGTERM);
    if (count != 1 || current() != SIG_DFL)
        _exit(9);
    (void)raise(SIGTERM);
}

static void exec_with(const char *what)
{
    (void)execl("/proc/self/exe", "sigterm", what, NULL);
    _exit(8);
}

static void exec_ignoring(void)
{
    (void)signal(SIGTERM, SIG_IGN);
    exec_with("raise");
}

static void exec_handling(void)
{
    (void)signal(SIGTERM, on_signal);
    exec_with("raise");
}

static void exec_pending(void)
{
    sigset_t set = just(SIGTERM);

    (void)signal(SIGTERM, SIG_DFL);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)raise(SIGTERM);
    exec_with("unblock");
}

static void *waits(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static void raise_in_thread(void)
{
    pthread_t thread;

    (void)signal(SIGTERM, SIG_DFL);
    if (pthread_create(&thread, NULL, waits, NULL) == 0) {
        (void)pthread_kill(thread, SIGTERM);
        (void)pthread_join(thread, NULL);
    }
}

/* What a child of vfork(2) sets before its exec is its own (Python, Ruby start theirs so). */
static void vfork_and_set(int signo)
{
    pid_t pid = vfork();

    if (pid == 0) {
        (void)signal(signo, SIG_DFL);
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, NULL, 0) == pid);
}

static void check_vfork(void)
{
    count = 0;
    CHECK(signal(SIGTERM, on_signal) == SIG_DFL && signal(SIGURG, on_signal) == SIG_DFL);
    vfork_and_set(SIGTERM);
    vfork_and_set(SIGURG);
    CHECK(current() == on_signal);
    raise_once();
    CHECK(count == 1);
    CHECK(signal(SIGURG, SIG_DFL) == on_signal && signal(SIGTERM, SIG_DFL) == on_signal);
}

static void vfork_and_die(void)
{
    int status;
    pid_t pid;

    (void)signal(SIGTERM, SIG_DFL);
    pid = vfork();
    if (pid == 0) {
        (void)raise(SIGTERM);
        _exit(7);
    }
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
        _exit(6);
    if (current() != SIG_DFL)
        _exit(5);
}

static void check_handlers(void)
{
    struct sigaction action = {.sa_sigaction = on_siginfo}, old;

    CHECK(current() == SIG_DFL);
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    action.sa_mask = just(SIGUSR1);
    sigaddset(&action.sa_mask, SIGURG);
    CHECK(sigaction(SIGTERM, &action, &old) == 0 && old.sa_handler == SIG_DFL);
    CHECK(sigaction(SIGTERM, NULL, &old) == 0 && old.sa_sigaction == on_siginfo);
    CHECK((old.sa_flags & (int)~0x04000000u) == action.sa_flags); /* libc's SA_RESTORER */
    CHECK(sigismember(&old.sa_mask, SIGUSR1) && sigismember(&old.sa_mask, SIGURG)
          && !sigismember(&old.sa_mask, SIGUSR2));
    raise_once();
    CHECK(count == 1 && sender == getpid() && was_blocked == 3 && blocked_now() == 0);

    CHECK(signal(SIGTERM, on_signal) == on_siginfo_as_handler());
    raise_once();
    raise_once();
    CHECK(count == 3 && was_blocked == 2 && current() == on_signal);
    count = 0;
    CHECK(fate(raise_once) == 0); /* a child inherits the handler */
    CHECK(signal(SIGTERM, SIG_IGN) == on_signal && current() == SIG_IGN);
    raise_once();
    CHECK(count == 0);
    CHECK(signal(SIGTERM, SIG_DFL) == SIG_IGN && current() == SIG_DFL);
    CHECK(signal(SIGTERM, SIG_ERR) == SIG_ERR && errno == EINVAL);
}

/* read(2) of a pipe that a signal interrupts: what it returns. */
static ssize_t read_interrupted(int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    pid_t parent = getpid(), pid;
    char path[64], state = 0, byte;
    ssize_t n;
    int fds[2], saved;

    CHECK(sigaction(SIGTERM, &action, NULL) == 0 && pipe(fds) == 0 && (pid = fork()) >= 0);
    if (pid == 0) {
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)parent);
        while (state != 'S') { /* it sleeps in read(2) */
            FILE *stat = fopen(path, "r");

            if (!stat || fscanf(stat, "%*d %*[^)]) %c", &state) != 1)
                _exit(1);
            fclose(stat);
        }
        (void)kill(parent, SIGTERM);
        (void)usleep(20000); /* with SA_RESTART nothing else would end it */
        (void)write(fds[1], "x", 1);
        _exit(0);
    }
    n = read(fds[0], &byte, 1);
    saved = errno;
    CHECK(waitpid(pid, NULL, 0) == pid);
    CHECK(close(fds[0]) == 0 && close(fds[1]) == 0);
    errno = saved;
    return n;
}

static void check_interrupts(void)
{
    count = 0;
    CHECK(read_interrupted(0) == -1 && errno == EINTR && count == 1);
    CHECK(read_interrupted(SA_RESTART) == 1 && count == 2);
    CHECK(signal(SIGTERM, SIG_DFL) == on_signal);
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* A function of libc's that the runtime does not know. */
static void check_sigset(void)
{
    sighandler_t old;

    count = 0;
    CHECK(signal(SIGTERM, on_siginfo_as_handler()) == SIG_DFL);
    old = sigset(SIGTERM, on_signal);
    CHECK(old != SIG_ERR && signal(SIGTERM, old) != SIG_ERR);
    raise_once();
    CHECK(count == 1);
    CHECK(signal(SIGTERM, SIG_DFL) != SIG_ERR);
}

static void check_ends(void)
{
    CHECK(fate(raise_default) == SIGTERM);
    CHECK(fate(raise_twice_sysv) == SIGTERM);
    CHECK(fate(raise_in_thread) == SIGTERM);
    CHECK(fate(vfork_and_die) == 0);
    CHECK(fate(exec_ignoring) == 0);
    CHECK(fate(exec_handling) == SIGTERM);
    CHECK(fate(exec_pending) == SIGTERM);
    CHECK(WEXITSTATUS(system("kill -TERM $$; true")) == 0
          && WTERMSIG(system("kill -TERM $$")) == SIGTERM);
}

static void check_waiting(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t set = just(SIGTERM), none;
    const struct timespec now = {0, 0};
    siginfo_t info;
    int signo;

    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(kill(getpid(), SIGTERM) == 0 && sigwait(&set, &signo) == 0 && signo == SIGTERM);
    CHECK(kill(getpid(), SIGTERM) == 0 && sigwaitinfo(&set, &info) == SIGTERM);
    CHECK(info.si_code == SI_USER && info.si_pid == getpid());
    CHECK(sigtimedwait(&set, &info, &now) == -1 && errno == EAGAIN);
    /* without SA_RESTART it interrupts */
    count = 0;
    CHECK(sigaction(SIGTERM, &action, NULL) == 0 && kill(getpid(), SIGTERM) == 0);
    sigemptyset(&none);
    CHECK(sigsuspend(&none) == -1 && errno == EINTR && count == 1);
}

int main(int argc, char **argv)
{
    sigset_t set = just(SIGTERM);

    if (argc > 1 && strcmp(argv[1], "unblock") == 0)
        return sigprocmask(SIG_UNBLOCK, &set, NULL) == 0 ? 4 : 3;
    if (argc > 1) {
        raise_once();
        return 0;
    }
    check_handlers();
    check_vfork();
    check_interrupts();
    check_sigset();
    check_ends();
    check_waiting();
    puts("as ever");
    return 0;
}
