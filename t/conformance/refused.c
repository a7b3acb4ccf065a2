/* Conformance: what is refused by name, with the program going on.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Natively each of these passes; the table says with which reason a checkpoint fails.
 */
#include "harness.h"

#include <sched.h>
#include <stddef.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sys/fanotify.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

/* Until it is killed: one that held like its parent could end before that. */
static void waits_for_ever(void *arg)
{
    for (;;)
        (void)pause();
}

CASE(traced_child)
{
    pid_t pid = child(waits_for_ever, NULL);

    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0)
        skip("processes may not be traced here");
    hold();
    SYS(kill(pid, SIGKILL));
    reap_status(pid, SIGKILL);
}

static bool same_user_namespace(pid_t a, pid_t b)
{
    char path[64];
    struct stat of_a, of_b;

    (void)snprintf(path, sizeof path, "/proc/%d/ns/user", a);
    if (stat(path, &of_a) != 0)
        return true;
    (void)snprintf(path, sizeof path, "/proc/%d/ns/user", b);
    /* one that has ended has none any more: it was the other's all the same */
    return stat(path, &of_b) == 0 && of_a.st_ino == of_b.st_ino;
}

CASE(own_user_namespace)
{
    pid_t pid = (pid_t)SYS(fork());

    if (pid == 0) {
        if (unshare(CLONE_NEWUSER) != 0)
            mark("no-namespace");
        mark("unshared");
        hold();
        await("looked");
        _exit(0);
    }
    await("unshared");
    if (access("no-namespace", F_OK) == 0)
        skip("user namespaces are not allowed here");
    hold();
    CHECK(!same_user_namespace(getpid(), pid));
    mark("looked");
    reap(pid);
}

static void in_a_jail(void *arg)
{
    SYS(chroot("."));
    SYS(chdir("/"));
    SYS(close((int)SYS(open("jailed", O_CREAT | O_WRONLY, 0600))));
    while (access("leave", F_OK) != 0)
        nap();
}

CASE(changed_root)
{
    pid_t pid;

    if (geteuid() != 0)
        skip("needs root");
    pid = child(in_a_jail, NULL);
    await("jailed");
    hold();
    mark("leave");
    reap(pid);
}

static void as_another(void *arg)
{
    const int *pipe = arg;
    char byte = 0;

    SYS(setuid(33));
    SYS(write(pipe[1], &byte, 1));
    while (1)
        pause();
}

CASE(another_user)
{
    int ends[2], status;
    char byte;
    pid_t pid;

    if (geteuid() != 0)
        skip("needs root");
    SYS(pipe(ends));
    pid = child(as_another, ends);
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    hold();
    SYS(kill(pid, SIGTERM));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WTERMSIG(status), SIGTERM);
}

CASE(userfault_descriptor)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

    if (fd < 0)
        skip("no userfaultfd here");
    hold();
    SYS(close(fd));
}

CASE(fanotify_group)
{
    int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);

    if (fd < 0)
        skip("no fanotify here");
    hold();
    SYS(close(fd));
}

CASE(io_uring)
{
    char params[120] = {0};
    int fd = (int)syscall(425, 4, params); /* io_uring_setup */

    if (fd < 0)
        skip("no io_uring here");
    hold();
    SYS(close(fd));
}

CASE(asynchronous_io)
{
    unsigned long context = 0;

    if (syscall(SYS_io_setup, 8, &context) != 0)
        skip("no asynchronous I/O here");
    hold();
    SYS(syscall(SYS_io_destroy, context));
}

CASE(performance_counter)
{
    struct {
        uint32_t type, size;
        uint64_t config, rest[14];
    } attr = {.type = 1 /* software */, .size = 128, .config = 1 /* task clock */};
    int fd;

    attr.rest[3] = 1ull << 5; /* exclude_kernel */
    fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
    if (fd < 0)
        skip("no performance counters here");
    hold();
    SYS(close(fd));
}

static void filtered(void *arg)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 1, .filter = code};

    SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    SYS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    mark("filtered");
    hold();
    CHECK_EQ(prctl(PR_GET_SECCOMP), SECCOMP_MODE_FILTER);
}

CASE(system_call_filter)
{
    pid_t pid = child(filtered, NULL);

    await("filtered");
    hold();
    reap(pid);
}

/* A checkpoint that made but one system call in there would be its end. */
static void filtered_strictly(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char byte;

    SYS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    if (syscall(SYS_read, fd, &byte, 1) == 1)
        (void)syscall(SYS_exit, 0);
}

CASE(strict_system_call_filter)
{
    int ends[2];
    pid_t pid;

    SYS(pipe(ends));
    pid = child(filtered_strictly, (void *)(intptr_t)ends[0]);
    await_syscall(pid, pid, SYS_read);
    hold();
    CHECK_EQ(write(ends[1], "x", 1), 1);
    reap(pid);
}

static void filtered_deadly(void *arg)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = code};

    SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    SYS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    mark("filtered");
    hold();
}

CASE(deadly_system_call_filter)
{
    pid_t pid = child(filtered_deadly, NULL);

    await("filtered");
    hold();
    reap(pid);
}

static int holds(void *arg)
{
    hold();
    return 0;
}

static void share_by(int flags)
{
    static char stack[65536];
    int status;
    pid_t pid = (pid_t)SYS(clone(holds, stack + sizeof stack, flags | SIGCHLD, NULL));

    hold();
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

CASE(shared_descriptor_table)
{
    share_by(CLONE_FILES);
}

CASE(shared_directory)
{
    share_by(CLONE_FS);
}

CASE(session_keyring)
{
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0)
        skip("no keyrings here");
    hold();
}

CASE(process_keyring)
{
    long key = syscall(SYS_add_key, "user", "stint-conformance", "secret", 6,
                       KEY_SPEC_PROCESS_KEYRING);
    char secret[6];

    if (key < 0)
        skip("no keyrings here");
    hold();
    CHECK_EQ(syscall(SYS_keyctl, KEYCTL_READ, key, secret, sizeof secret), 6);
    CHECK_MEM(secret, "secret", 6);
}

static void *adds_key(void *secret)
{
    long key = syscall(SYS_add_key, "user", "stint-conformance", secret, 6,
                       KEY_SPEC_THREAD_KEYRING);

    if (key < 0)
        skip("no keyrings here");
    hold();
    CHECK_EQ(syscall(SYS_keyctl, KEYCTL_READ, key, secret, 6), 6);
    return NULL;
}

CASE(thread_keyring)
{
    char secret[6] = "secret";

    PTH(pthread_join(thread(adds_key, secret), NULL));
    CHECK_MEM(secret, "secret", 6);
}

static void *outlives_main(void *leader)
{
    sigset_t set;
    int got = 0;

    PTH(pthread_join(*(pthread_t *)leader, NULL));
    SYS(kill(getpid(), SIGUSR1));
    hold();
    SYS(sigemptyset(&set));
    SYS(sigaddset(&set, SIGUSR1));
    PTH(sigwait(&set, &got));
    CHECK_EQ(got, SIGUSR1);
    if (write(1, "PASS\n", 5) != 5)
        _exit(1);
    _exit(0);
}

CASE(main_thread_ended_with_signals_pending)
{
    static pthread_t leader;
    sigset_t set;

    SYS(sigemptyset(&set));
    SYS(sigaddset(&set, SIGUSR1));
    PTH(pthread_sigmask(SIG_BLOCK, &set, NULL));
    leader = pthread_self();
    (void)thread(outlives_main, &leader);
    pthread_exit(NULL);
}

static int shares_memory(void *arg)
{
    while (access((char *)arg, F_OK) != 0)
        nap();
    return 0;
}

CASE(shared_memory_without_thread)
{
    static char stack[65536];
    int status;
    pid_t pid = (pid_t)SYS(clone(shares_memory, stack + sizeof stack, CLONE_VM | SIGCHLD,
                                 "finish"));

    hold();
    mark("finish");
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}
