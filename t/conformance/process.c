/* Conformance: the process tree, ids, exits, and attributes of processes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <grp.h>
#include <limits.h>
#include <linux/ioprio.h>
#include <linux/securebits.h>
#include <sched.h>
#include <spawn.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

extern char **environ;

static char state_of(pid_t pid)
{
    char path[64], line[512], *paren;
    FILE *file;
    size_t len;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    file = fopen(path, "re");
    if (!file)
        return '-';
    len = fread(line, 1, sizeof line - 1, file);
    (void)fclose(file); /* was only read */
    line[len] = '\0';
    paren = strrchr(line, ')');
    return paren ? paren[2] : '?';
}

CASE(ids)
{
    pid_t pid = getpid(), ppid = getppid(), group = getpgrp(), session = getsid(0);
    char path[64];

    hold();
    CHECK_EQ(getpid(), pid);
    CHECK_EQ(syscall(SYS_getpid), pid);
    CHECK_EQ(getppid(), ppid);
    CHECK_EQ(getpgrp(), group);
    CHECK_EQ(getsid(0), session);
    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    CHECK_EQ(access(path, F_OK), 0);
    CHECK_EQ(status_value("Pid", 10), pid);
    CHECK_EQ(status_value("PPid", 10), ppid);
    SYS(kill(pid, 0));
    SYS(kill(ppid, 0));
}

static void holds(void *arg)
{
    hold();
}

static void holds_and_exits_with_9(void *arg)
{
    pid_t parent = getppid();

    hold();
    CHECK_EQ(getppid(), parent);
    _exit(9);
}

CASE(exit_status_of_child)
{
    pid_t pid = child(holds_and_exits_with_9, NULL);

    hold();
    reap_status(pid, 9 << 8);
    CHECK_EQ(waitpid(-1, NULL, 0), -1);
    CHECK_EQ(errno, ECHILD);
}

static void tree(void *depth)
{
    intptr_t left = (intptr_t)depth;
    pid_t parent = getppid(), pids[2];

    if (left == 0) {
        hold();
        CHECK_EQ(getppid(), parent);
        return;
    }
    for (int i = 0; i < 2; i++)
        pids[i] = child(tree, (void *)(left - 1));
    hold();
    CHECK_EQ(getppid(), parent);
    for (int i = 0; i < 2; i++)
        reap(pids[i]);
}

CASE(tree_of_31)
{
    tree((void *)4);
}

static void chain(void *depth)
{
    intptr_t left = (intptr_t)depth;

    if (left == 0) {
        hold();
        return;
    }
    reap(child(chain, (void *)(left - 1)));
}

CASE(chain_of_20)
{
    pid_t pid = child(chain, (void *)20);

    hold();
    reap(pid);
}

static void exits_with_5(void *arg)
{
    _exit(5);
}

static void kills_itself(void *arg)
{
    SYS(raise(SIGKILL));
}

CASE(zombie)
{
    pid_t exited = child(exits_with_5, NULL), killed = child(kills_itself, NULL);
    int status;

    UNTIL(state_of(exited) == 'Z' && state_of(killed) == 'Z');
    hold();
    CHECK_EQ(state_of(exited), 'Z');
    CHECK_EQ(waitpid(exited, &status, WNOHANG), exited);
    CHECK_EQ(status, 5 << 8);
    reap_status(killed, SIGKILL);
}

static void leaves_a_zombie(void *arg)
{
    pid_t pid = child(exits_with_5, NULL);

    UNTIL(state_of(pid) == 'Z');
    mark("zombie");
    hold();
    reap_status(pid, 5 << 8);
}

CASE(zombie_of_a_child)
{
    pid_t pid = child(leaves_a_zombie, NULL);

    await("zombie");
    hold();
    reap(pid);
}

static void orphan(void *arg)
{
    pid_t first = (pid_t)(intptr_t)arg, second;

    UNTIL(getppid() != first);
    second = getppid();
    mark("orphaned");
    hold();
    CHECK_EQ(getppid(), second);
    mark("orphan-is-fine");
}

static void orphan_maker(void *arg)
{
    (void)child(orphan, (void *)(intptr_t)getpid());
}

CASE(orphan_goes_on)
{
    reap(child(orphan_maker, NULL));
    await("orphaned");
    hold();
    await("orphan-is-fine");
}

static void *outlasts_main(void *arg)
{
    int signo = 0;

    hold();
    UNTIL(state_of(getpid()) == 'Z');
    CHECK_EQ(sigwait(arg, &signo), 0);
    CHECK_EQ(signo, SIGUSR1);
    syscall(SYS_exit, 3);
    return NULL;
}

static void ends_its_main_thread(void *arg)
{
    (void)thread(outlasts_main, arg);
    syscall(SYS_exit, 3);
}

/* The process has the exit code of its first thread, since Linux 5.17 of its last one. */
CASE(exit_code_of_an_ended_main_thread)
{
    sigset_t set;
    pid_t pid;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    SYS(sigprocmask(SIG_BLOCK, &set, NULL));
    pid = child(ends_its_main_thread, &set);
    UNTIL(state_of(pid) == 'Z');
    hold();
    CHECK_EQ(state_of(pid), 'Z');
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
    SYS(kill(pid, 0));
    SYS(kill(pid, SIGUSR1));
    reap_status(pid, 3 << 8);
}

static volatile sig_atomic_t children_told;

static void on_child(int signo)
{
    children_told++;
}

static void stops(void *arg)
{
    SYS(raise((int)(intptr_t)arg));
    _exit(4);
}

CASE(stopped_child)
{
    int status, told;
    pid_t pid;

    CHECK(signal(SIGCHLD, on_child) == SIG_DFL);
    pid = child(stops, (void *)SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    UNTIL(children_told > 0);
    told = children_told;
    hold();
    CHECK_EQ(state_of(pid), 'T');
    CHECK_EQ(waitpid(pid, &status, WUNTRACED | WCONTINUED | WNOHANG), 0);
    CHECK_EQ(children_told, told);
    SYS(kill(pid, SIGCONT));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 4 << 8);
}

static void stops_in_its_group(void *arg)
{
    SYS(setpgid(0, 0));
    stops(arg);
}

CASE(stopped_child_not_waited_for)
{
    pid_t pid = child(stops_in_its_group, (void *)SIGTSTP);
    int status = 0;

    UNTIL(state_of(pid) == 'T');
    hold();
    CHECK_EQ(state_of(pid), 'T');
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGTSTP);
    SYS(kill(pid, SIGCONT));
    reap_status(pid, 4 << 8);
}

/* SIGCHLD is pending for the stop, and for nothing else. */
CASE(stopped_child_told_later)
{
    sigset_t set;
    siginfo_t info;
    pid_t pid;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    SYS(sigprocmask(SIG_BLOCK, &set, NULL));
    pid = child(stops, (void *)SIGSTOP);
    UNTIL(state_of(pid) == 'T');
    hold();
    CHECK_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    CHECK_EQ(info.si_code, CLD_STOPPED);
    CHECK_EQ(info.si_pid, pid);
    CHECK_EQ(info.si_status, SIGSTOP);
    SYS(kill(pid, SIGCONT));
    reap_status(pid, 4 << 8);
}

struct counters {
    volatile uint64_t of[4];
    volatile int end;
};

static struct counters *counters;

static void *counts(void *arg)
{
    while (!counters->end)
        (*(volatile uint64_t *)arg)++;
    return NULL;
}

static void counts_in_threads(void *arg)
{
    pthread_t threads[3];

    for (int i = 0; i < 3; i++)
        threads[i] = thread(counts, (void *)&counters->of[i]);
    (void)counts((void *)&counters->of[3]);
    for (int i = 0; i < 3; i++)
        PTH(pthread_join(threads[i], NULL));
}

static bool all_past(const uint64_t *values)
{
    bool past = true;

    for (int i = 0; i < 4; i++)
        past = past && counters->of[i] > values[i];
    return past;
}

/* Not one instruction is done by a process that is stopped. */
CASE(stopped_threads)
{
    uint64_t before[4] = {0}, after[4];
    pid_t pid;

    counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(counters != MAP_FAILED);
    pid = child(counts_in_threads, NULL);
    UNTIL(all_past(before));
    SYS(kill(pid, SIGSTOP));
    UNTIL(state_of(pid) == 'T');
    nap(); /* the other threads are on their way */
    memcpy(before, (const void *)counters->of, sizeof before);
    hold();
    memcpy(after, (const void *)counters->of, sizeof after);
    CHECK_MEM(after, before, sizeof after);
    CHECK_EQ(state_of(pid), 'T');
    SYS(kill(pid, SIGCONT));
    UNTIL(all_past(before));
    counters->end = 1;
    reap(pid);
}

/* Not even the signal of a checkpoint gets through to it. */
static void *counts_deaf(void *arg)
{
    uint64_t all = ~0ull, now = 0;

    SYS(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all));
    (void)counts(arg);
    SYS(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &now, sizeof now));
    CHECK_EQ(now, all & ~(1ull << (SIGKILL - 1)) & ~(1ull << (SIGSTOP - 1)));
    return NULL;
}

static void counts_in_a_deaf_thread(void *arg)
{
    pthread_t deaf = thread(counts_deaf, (void *)&counters->of[0]);

    (void)counts((void *)&counters->of[1]);
    PTH(pthread_join(deaf, NULL));
}

CASE(stopped_thread_that_blocks_all_signals)
{
    uint64_t before[2];
    pid_t pid;

    counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(counters != MAP_FAILED);
    pid = child(counts_in_a_deaf_thread, NULL);
    UNTIL(counters->of[0] && counters->of[1]);
    SYS(kill(pid, SIGSTOP));
    UNTIL(state_of(pid) == 'T');
    nap(); /* the other thread is on its way */
    memcpy(before, (const void *)counters->of, sizeof before);
    hold();
    CHECK_EQ(counters->of[0], before[0]);
    CHECK_EQ(counters->of[1], before[1]);
    CHECK_EQ(state_of(pid), 'T');
    SYS(kill(pid, SIGCONT));
    UNTIL(counters->of[0] > before[0] && counters->of[1] > before[1]);
    counters->end = 1;
    reap(pid);
}

static volatile sig_atomic_t seen;

static void on_signal(int signo)
{
    seen = seen * 100 + signo;
}

/* Its mask is another while it waits: SIGUSR1 and SIGTERM would be delivered. */
static void suspends(void *arg)
{
    sigset_t block, none, now;

    CHECK(signal(SIGUSR1, on_signal) == SIG_DFL);
    CHECK(signal(SIGTERM, on_signal) == SIG_DFL);
    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigaddset(&block, SIGTERM);
    SYS(sigprocmask(SIG_SETMASK, &block, NULL));
    mark("suspends");
    CHECK_EQ(sigsuspend(&none), -1);
    CHECK_EQ(errno, EINTR);
    CHECK(seen == SIGUSR1 * 100 + SIGTERM || seen == SIGTERM * 100 + SIGUSR1);
    SYS(sigprocmask(SIG_SETMASK, NULL, &now));
    CHECK_EQ(sigismember(&now, SIGUSR1), 1);
    CHECK_EQ(sigismember(&now, SIGTERM), 1);
    CHECK_EQ(sigismember(&now, SIGUSR2), 0);
    _exit(4);
}

CASE(stopped_with_signals_pending)
{
    pid_t pid = child(suspends, NULL);

    await("suspends");
    await_syscall(pid, pid, SYS_rt_sigsuspend);
    SYS(kill(pid, SIGSTOP));
    UNTIL(state_of(pid) == 'T');
    SYS(kill(pid, SIGTERM));
    SYS(kill(pid, SIGUSR1));
    SYS(kill(pid, SIGSTOP));
    hold();
    CHECK_EQ(state_of(pid), 'T');
    SYS(kill(pid, SIGCONT));
    reap_status(pid, 4 << 8);
}

static void daemon_process(void *arg)
{
    SYS(setsid());
    if (SYS(fork()) > 0)
        _exit(0);
    UNTIL(getppid() != getpgrp());
    mark("daemon");
    pid_t session = getsid(0);
    hold();
    CHECK_EQ(getsid(0), session);
    CHECK(getpgrp() == session && getpid() != session);
    mark("daemon-is-fine");
}

/* A double fork: its session's and group's leader is dead. */
CASE(daemon)
{
    reap(child(daemon_process, NULL));
    await("daemon");
    hold();
    await("daemon-is-fine");
}

static void own_session(void *arg)
{
    pid_t session = (pid_t)SYS(setsid());

    mark("session");
    hold();
    CHECK_EQ(getsid(0), session);
    CHECK_EQ(getpgrp(), session);
    CHECK_EQ(getpid(), session);
    CHECK_EQ(setsid(), -1);
}

CASE(session_of_its_own)
{
    pid_t pid = child(own_session, NULL);

    await("session");
    hold();
    CHECK_EQ(getsid(pid), pid);
    reap(pid);
}

CASE(groups)
{
    pid_t a = child(holds, NULL), b = child(holds, NULL), c = child(holds, NULL);

    SYS(setpgid(a, a));
    SYS(setpgid(b, a));
    SYS(setpgid(c, c));
    hold();
    CHECK(getpgid(a) == a || errno == ESRCH);
    reap(a);
    reap(b);
    reap(c);
}

static void member_of_group(void *group)
{
    pid_t leader = (pid_t)(intptr_t)group;

    hold();
    await("leader-reaped");
    CHECK_EQ(getpgrp(), leader);
}

CASE(group_whose_leader_has_ended)
{
    pid_t leader = child(holds, NULL), member;
    int status;

    SYS(setpgid(leader, leader));
    member = child(member_of_group, (void *)(intptr_t)leader);
    SYS(setpgid(member, leader));
    SYS(kill(leader, SIGKILL));
    CHECK_EQ(waitpid(leader, &status, 0), leader);
    mark("leader-reaped");
    hold();
    reap(member);
}

CASE(waitpid_by_group)
{
    pid_t a = child(holds, NULL), b = child(holds_and_exits_with_9, NULL);
    int status;

    SYS(setpgid(b, b));
    hold();
    CHECK_EQ(waitpid(-b, &status, 0), b);
    CHECK_EQ(status, 9 << 8);
    CHECK_EQ(waitpid(0, &status, 0), a);
}

CASE(children_ignored)
{
    pid_t pid;

    CHECK(signal(SIGCHLD, SIG_IGN) == SIG_DFL);
    pid = child(holds, NULL);
    hold();
    CHECK_EQ(waitpid(pid, NULL, 0), -1);
    CHECK_EQ(errno, ECHILD);
}

CASE(fifty_children)
{
    pid_t pids[50];

    for (int i = 0; i < 50; i++)
        pids[i] = child(holds, NULL);
    hold();
    for (int i = 0; i < 50; i++)
        reap(pids[i]);
}

CASE(fork_afterwards)
{
    hold();
    for (int i = 0; i < 20; i++)
        reap_status(child(exits_with_5, NULL), 5 << 8);
    CHECK_EQ(system("exit 3"), 3 << 8);
    CHECK_EQ(WEXITSTATUS(system("test $PPID -eq $PPID && exit 4")), 4);
}

CASE(popen_afterwards)
{
    char line[64] = "";
    FILE *file;

    hold();
    file = popen("echo $((6 * 7))", "r");
    CHECK(file && fgets(line, sizeof line, file));
    CHECK_EQ(pclose(file), 0);
    CHECK_STR(line, "42\n");
}

CASE(popen_open)
{
    char line[64] = "";
    FILE *file = popen("read x; echo got $x", "w"), *in;

    CHECK(file != NULL);
    in = popen("sleep 1; echo late", "r");
    CHECK(in != NULL);
    hold();
    CHECK(fputs("word\n", file) >= 0);
    CHECK_EQ(pclose(file), 0);
    CHECK(fgets(line, sizeof line, in) != NULL);
    CHECK_STR(line, "late\n");
    CHECK_EQ(pclose(in), 0);
}

static void execs_a_sleeper(void *arg)
{
    execl("/bin/sh", "sh", "-c", "until test -e \"$GATE.go\"; do sleep 0.05; done; exit 6",
          (char *)NULL);
}

CASE(child_of_another_program)
{
    pid_t pid = child(execs_a_sleeper, NULL);

    hold();
    reap_status(pid, 6 << 8);
}

static void execs_with_empty_environment(void *arg)
{
    char *argv[] = {"sh", "-c", "until test -e \"$0.go\"; do sleep 0.05; done; exit 6",
                    getenv("GATE"), NULL};
    char *none[] = {NULL};

    execve("/bin/sh", argv, none);
}

/* A program that builds its own environment must not shake off the runtime. */
CASE(exec_with_empty_environment)
{
    pid_t pid = child(execs_with_empty_environment, NULL);

    hold();
    reap_status(pid, 6 << 8);
}

static pid_t spawned(char **environment)
{
    char *argv[] = {"sh", "-c", "until test -e \"$0.go\"; do sleep 0.05; done; exit 6",
                    getenv("GATE"), NULL};
    pid_t pid;

    PTH(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environment));
    return pid;
}

CASE(spawned_with_empty_environment)
{
    char *none[] = {NULL}, *some[] = {"LD_PRELOAD=", "A=b", NULL};
    pid_t a = spawned(none), b = spawned(some), c = spawned(environ);

    hold();
    reap_status(a, 6 << 8);
    reap_status(b, 6 << 8);
    reap_status(c, 6 << 8);
}

CASE(own_environment_is_the_programs)
{
    char before[4096] = "";

    SYS(setenv("MY_OWN", "value with = and spaces", 1));
    (void)snprintf(before, sizeof before, "%s", getenv("GATE"));
    hold();
    CHECK_STR(getenv("MY_OWN"), "value with = and spaces");
    CHECK_STR(getenv("GATE"), before);
    CHECK_EQ(system("test \"$MY_OWN\" = 'value with = and spaces'"), 0);
}

static void vforks(void *arg)
{
    pid_t pid = vfork();
    int status = 0;

    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "until test -e \"$GATE.go\"; do sleep 0.05; done; exit 6",
              (char *)NULL);
        _exit(127);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 6 << 8);
}

CASE(vfork_and_exec)
{
    pid_t pid = child(vforks, NULL);

    hold();
    reap(pid);
}

CASE(umask_is_kept)
{
    (void)umask(0137); /* always succeeds */
    hold();
    CHECK_EQ(umask(022), 0137);
}

CASE(working_directory)
{
    char before[PATH_MAX], after[PATH_MAX];

    SYS(mkdir("sub", 0755));
    SYS(chdir("sub"));
    CHECK(getcwd(before, sizeof before) != NULL);
    SYS(chdir(".."));
    SYS(chdir("sub"));
    mark("../ready");
    UNTIL(held_no_more());
    CHECK(getcwd(after, sizeof after) != NULL);
    CHECK_STR(after, before);
}

CASE(resource_limits)
{
    static const int which[] = {RLIMIT_CORE, RLIMIT_SIGPENDING, RLIMIT_NOFILE,
                                RLIMIT_DATA, RLIMIT_CPU, RLIMIT_NPROC};
    struct rlimit before[6], after;

    for (int i = 0; i < 6; i++) {
        struct rlimit limit;

        SYS(getrlimit(which[i], &limit));
        if (limit.rlim_cur > 5000 || limit.rlim_cur == RLIM_INFINITY)
            limit.rlim_cur = which[i] == RLIMIT_DATA ? 1u << 30 : 5000 + (rlim_t)i;
        SYS(setrlimit(which[i], &limit));
        SYS(getrlimit(which[i], &before[i]));
    }
    hold();
    for (int i = 0; i < 6; i++) {
        SYS(getrlimit(which[i], &after));
        CHECK_EQ(after.rlim_cur, before[i].rlim_cur);
        CHECK_EQ(after.rlim_max, before[i].rlim_max);
    }
}

CASE(file_size_limit)
{
    struct rlimit limit = {5000, 5000}, after;
    int fd = (int)SYS(open("data", O_WRONLY | O_CREAT, 0600));

    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    SYS(setrlimit(RLIMIT_FSIZE, &limit));
    hold();
    SYS(getrlimit(RLIMIT_FSIZE, &after));
    CHECK_EQ(after.rlim_cur, 5000);
    CHECK_EQ(pwrite(fd, "x", 1, 6000), -1);
    CHECK_EQ(errno, EFBIG);
}

CASE(nice_value)
{
    int before = getpriority(PRIO_PROCESS, 0), after = before + 7 > 19 ? 19 : before + 7;

    errno = 0;
    CHECK_EQ(nice(7), after);
    hold();
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), after);
}

CASE(io_priority)
{
    SYS(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
                IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6)));
    hold();
    CHECK_EQ(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0),
             IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6));
}

CASE(scheduling_policy)
{
    struct sched_param param = {0};

    SYS(sched_setscheduler(0, SCHED_IDLE, &param));
    hold();
    CHECK_EQ(sched_getscheduler(0), SCHED_IDLE);
}

CASE(affinity)
{
    cpu_set_t set, got;
    int cpu = 0;

    SYS(sched_getaffinity(0, sizeof set, &set));
    while (!CPU_ISSET(cpu, &set))
        cpu++;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    SYS(sched_setaffinity(0, sizeof set, &set));
    hold();
    SYS(sched_getaffinity(0, sizeof got, &got));
    CHECK(CPU_EQUAL(&got, &set));
}

CASE(no_new_privileges)
{
    SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    hold();
    CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
}

CASE(new_privileges_allowed)
{
    int before = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);

    hold();
    CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), before);
}

CASE(secure_bits)
{
    const int bits = SECBIT_NOROOT | SECBIT_NO_SETUID_FIXUP;

    if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) != 0)
        skip("needs CAP_SETPCAP");
    hold();
    CHECK_EQ(prctl(PR_GET_SECUREBITS, 0, 0, 0, 0), bits);
}

CASE(not_dumpable)
{
    SYS(prctl(PR_SET_DUMPABLE, 0));
    hold();
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 0);
}

CASE(dumpable)
{
    int before = prctl(PR_GET_DUMPABLE);

    hold();
    CHECK_EQ(prctl(PR_GET_DUMPABLE), before);
}

static void subreaper_grandchild(void *arg)
{
    pid_t reaper = (pid_t)(intptr_t)arg;

    UNTIL(getppid() == reaper);
    mark("adopted");
    hold();
    CHECK_EQ(getppid(), reaper);
    _exit(8);
}

static void subreaper_child(void *arg)
{
    (void)child(subreaper_grandchild, arg);
}

CASE(subreaper)
{
    int got = 0, status = 0;

    SYS(prctl(PR_SET_CHILD_SUBREAPER, 1));
    reap(child(subreaper_child, (void *)(intptr_t)getpid()));
    await("adopted");
    hold();
    SYS(prctl(PR_GET_CHILD_SUBREAPER, &got));
    CHECK_EQ(got, 1);
    CHECK(waitpid(-1, &status, 0) > 0);
    CHECK_EQ(status, 8 << 8);
}

static void dies_with_parent(void *arg)
{
    int signo = 0;

    SYS(prctl(PR_SET_PDEATHSIG, SIGKILL));
    mark("bound");
    UNTIL(held_no_more());
    SYS(prctl(PR_GET_PDEATHSIG, &signo));
    CHECK_EQ(signo, SIGKILL);
    mark("still-bound");
    for (;;)
        nap();
}

static void parent_that_ends(void *arg)
{
    pid_t pid = child(dies_with_parent, NULL);
    FILE *file = fopen("pid", "w");

    CHECK(file && fprintf(file, "%d", pid) > 0);
    CHECK_EQ(fclose(file), 0);
    hold();
    await("still-bound");
}

CASE(parent_death_signal)
{
    pid_t pid = child(parent_that_ends, NULL), bound = 0;
    FILE *file;

    await("bound");
    hold();
    reap(pid);
    file = fopen("pid", "r");
    CHECK(file && fscanf(file, "%d", &bound) == 1);
    UNTIL(kill(bound, 0) != 0 || state_of(bound) == 'Z');
}

CASE(personality_flags)
{
    int before = personality(0xffffffff);

    if (personality((unsigned long)before | ADDR_NO_RANDOMIZE) < 0)
        skip("personality cannot be changed here");
    before = personality(0xffffffff);
    hold();
    CHECK_EQ(personality(0xffffffff), before);
}

CASE(oom_score)
{
    char buf[16] = "";
    int fd = (int)SYS(open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC));

    CHECK_EQ(write(fd, "345", 3), 3);
    SYS(close(fd));
    hold();
    fd = (int)SYS(open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC));
    CHECK(read(fd, buf, sizeof buf - 1) > 0);
    CHECK_EQ(atoi(buf), 345);
}

CASE(user_and_groups)
{
    gid_t before[256], after[256];
    uid_t uid = getuid();
    gid_t gid = getgid();
    int count = (int)SYS(getgroups(256, before));

    hold();
    CHECK_EQ(getuid(), uid);
    CHECK_EQ(geteuid(), uid);
    CHECK_EQ(getgid(), gid);
    CHECK_EQ(getgroups(256, after), count);
    for (int i = 0; i < count; i++)
        CHECK_EQ(after[i], before[i]);
}

CASE(capabilities)
{
    long long before = status_value("CapEff", 16), bound = status_value("CapPrm", 16);

    hold();
    CHECK_EQ(status_value("CapEff", 16), before);
    CHECK_EQ(status_value("CapPrm", 16), bound);
}

CASE(owner_of_own_files)
{
    struct stat st;

    make_text("mine", "x");
    hold();
    SYS(stat("mine", &st));
    CHECK_EQ(st.st_uid, getuid());
    CHECK_EQ(st.st_gid, getgid());
    make_text("mine-too", "x");
    SYS(stat("mine-too", &st));
    CHECK_EQ(st.st_uid, getuid());
    SYS(chmod("mine", 0600));
    SYS(unlink("mine"));
}

static void short_lived(void *arg)
{
    for (int i = 0; i < 300 || !held_no_more(); i++) {
        reap_status(child(exits_with_5, NULL), 5 << 8);
        if (i % 10 == 0)
            nap();
    }
}

CASE(storm_of_forks)
{
    pid_t a = child(short_lived, NULL), b = child(short_lived, NULL);

    hold();
    reap(a);
    reap(b);
}

static void short_lived_programs(void *arg)
{
    for (int i = 0; i < 50 || !held_no_more(); i++) {
        char *argv[] = {"true", NULL};
        pid_t pid;

        PTH(posix_spawnp(&pid, "true", NULL, NULL, argv, environ));
        reap(pid);
        CHECK_EQ(system("exit 3"), 3 << 8);
    }
}

CASE(storm_of_execs)
{
    pid_t a = child(short_lived_programs, NULL), b = child(short_lived_programs, NULL);

    hold();
    reap(a);
    reap(b);
}

static void *forks_in_thread(void *arg)
{
    for (int i = 0; i < 100 || !held_no_more(); i++) {
        reap_status(child(exits_with_5, NULL), 5 << 8);
        nap();
    }
    return NULL;
}

CASE(forks_from_several_threads)
{
    pthread_t ids[3];

    for (int i = 0; i < 3; i++)
        ids[i] = thread(forks_in_thread, NULL);
    hold();
    for (int i = 0; i < 3; i++)
        PTH(pthread_join(ids[i], NULL));
}
