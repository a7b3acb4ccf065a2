/* Pid 1 of the new PID namespace.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Before `go` it conducts: opens the objects, lets the tree grow, watches that
 * nobody dies, and talks to the agent. It ends, and the kernel ends everything in
 * the namespace with it, when something fails or the agent goes away. After `go`
 * it only reaps.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/objects.h"
#include "runtime/restorer/restore.h"
#include "runtime/restorer/saved.h"

#define POLL_MS         20
#define CENSUS_MS       500
#define LET_GO_LIMIT_MS 30000
#define STOP_LIMIT_MS   5000
#define CARRY_LIMIT_MS  10000

static void end_all(struct stint_restore *restore, const char *text)
    __attribute__((noreturn));

static void end_all(struct stint_restore *restore, const char *text)
{
    if (text)
        stint_control_send(restore, "error %s", text);
    _exit(1);
}

static const char *comm_of(const struct stint_restore *restore, int32_t pid)
{
    for (size_t i = 0; i < restore->nmembers; i++) {
        if (restore->members[i].member->pid == pid)
            return restore->members[i].member->comm;
    }
    return "helper of the restorer";
}

static void end_with_report(struct stint_restore *restore) __attribute__((noreturn));

static void end_with_report(struct stint_restore *restore)
{
    const struct stint_shared *shared = restore->shared;
    char text[1400];

    while (!shared_load(&shared->error_ready))
        shared_sleep(&restore->shared->error_ready, 0, 10);
    if (shared->error_code)
        (void)snprintf(text, sizeof(text), "process %d (%s): %s: %s", shared->error_pid,
                       comm_of(restore, shared->error_pid), shared->error_text,
                       strerror(shared->error_code)); /* cut when too long */
    else
        (void)snprintf(text, sizeof(text), "process %d (%s): %s", shared->error_pid,
                       comm_of(restore, shared->error_pid), shared->error_text); /* likewise */
    end_all(restore, text);
}

static void send_notes(struct stint_restore *restore)
{
    const struct stint_shared *shared = restore->shared;

    shared_lock(&restore->shared->notes_lock);
    for (uint32_t at = 0; at < shared->notes_len;) {
        stint_control_send(restore, "note %s", shared->notes + at);
        at += (uint32_t)strlen(shared->notes + at) + 1;
    }
    restore->shared->notes_len = 0;
    shared_unlock(&restore->shared->notes_lock);
}

/* State letter and exit code of a process, proc(5). Returns false if it is gone. */
static bool look_at(int32_t pid, char *state, int *exit_code)
{
    char path[64], text[2048];
    STINT_AUTO_CLOSE int fd = -1;
    char *p, *last;
    ssize_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid); /* fits */
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return false;
    text[n] = '\0';
    p = strrchr(text, ')');
    last = strrchr(text, ' ');
    if (!p || !p[1] || !last)
        return false;
    *state = p[2];
    *exit_code = atoi(last + 1);
    return true;
}

/* A process that was killed on its way (by a signal, for want of memory) reports
 * nothing itself. */
static void take_census(struct stint_restore *restore)
{
    if (!restore->own_proc || shared_load(&restore->shared->open[STINT_PHASE_EXIST]) == 0)
        return;
    for (int i = 0; i < restore->plan.count; i++) {
        const struct stint_node *node = &restore->plan.nodes[i];
        char state = 'X', text[256];
        int code = 0;

        if (node->kind != STINT_NODE_MEMBER)
            continue;
        if (look_at(node->pid, &state, &code) && state != 'Z' && state != 'X')
            continue;
        if (shared_load(&restore->shared->abort))
            end_with_report(restore); /* it has said why */
        if (WIFSIGNALED(code))
            (void)snprintf(text, sizeof(text), "killed by signal %d (%s) while it was being "
                                               "restored",
                           WTERMSIG(code), strsignal(WTERMSIG(code))); /* fits */
        else
            (void)snprintf(text, sizeof(text), "died while it was being restored"); /* fits */
        shared_fail(restore->shared, node->pid, 0, text);
        end_with_report(restore);
    }
}

/* Wait until a counter has reached what is expected, keeping an eye on everything. */
static void await_count(struct stint_restore *restore, enum stint_phase phase, int limit_ms)
{
    struct stint_shared *shared = restore->shared;
    int waited_ms = 0;

    for (;;) {
        uint32_t arrived = shared_load(&shared->arrived[phase]);

        if (shared_load(&shared->abort))
            end_with_report(restore);
        if (arrived >= shared->expected[phase])
            return;
        shared_sleep(&shared->arrived[phase], arrived, POLL_MS);
        if (shared_load(&shared->arrived[phase]) != arrived)
            continue;
        if (phase <= STINT_PHASE_READY && stint_control_poll(restore, 0) < 0)
            end_all(restore, NULL);
        waited_ms += POLL_MS;
        if (phase <= STINT_PHASE_READY && waited_ms % CENSUS_MS == 0)
            take_census(restore);
        if (limit_ms && waited_ms > limit_ms)
            return;
    }
}

/* Whoever stops cannot say so any more. */
static void await_stopped(struct stint_restore *restore)
{
    const struct timespec pause = {0, 1000000};

    for (size_t i = 0; restore->own_proc && i < restore->nmembers; i++) {
        const struct stint_member *member = restore->members[i].member;

        for (int waited_ms = 0; member->state == STINT_MEMBER_STOPPED; waited_ms++) {
            char state = 'X';
            int code = 0;

            if (!look_at(member->pid, &state, &code) || state == 'T' || state == 'Z')
                break;
            if (waited_ms > STOP_LIMIT_MS) {
                stint_restore_note(restore, "process %d (%s) does not stop again",
                                   member->pid, member->comm);
                break;
            }
            nanosleep(&pause, NULL); /* paces the loop */
        }
    }
}

/* Whoever is stopped is so in our code: the agent carries it to where it was. Without an
 * agent it goes that way when it is continued. */
static void have_stopped_carried(struct stint_restore *restore)
{
    bool any = false;

    for (size_t i = 0; i < restore->nmembers; i++)
        any = any || restore->members[i].member->state == STINT_MEMBER_STOPPED;
    if (!any)
        return;
    await_stopped(restore);
    stint_control_send(restore, "stopped");
    (void)stint_control_poll(restore, CARRY_LIMIT_MS); /* whatever it is, they go on */
}

static void await_go(struct stint_restore *restore)
{
    for (;;) {
        int r = stint_control_poll(restore, CENSUS_MS);

        if (r > 0)
            return;
        if (r < 0)
            end_all(restore, NULL);
        if (shared_load(&restore->shared->abort))
            end_with_report(restore);
        take_census(restore);
    }
}

/* The next process gets the number that it would have got. */
static void put_last_pid(struct stint_restore *restore)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%d", restore->group->last_pid);

    if (restore->group->last_pid > 0 &&
        pwrite(restore->last_pid_fd, text, (size_t)len, 0) != len)
        stint_restore_note(restore, "cannot set the last process id: %s", strerror(errno));
}

/* Job control: whoever was in front is in front again. */
static void put_foreground(struct stint_restore *restore)
{
    pid_t pgid = restore->group->foreground_pgid;

    if (!restore->in_front)
        return; /* a shell reads there: taken from it, it would find the end of its input */
    if (pgid <= 0)
        pgid = restore->group->agent_pgid;
    if (ioctl(0, TIOCSPGRP, &pgid) < 0) /* SIGTTOU is blocked */
        stint_restore_note(restore, "cannot put process group %d in front: %s", pgid,
                           strerror(errno));
}

static void reap(struct stint_restore *restore)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
        stint_standin_reaped(restore, pid, status);
    if (pid < 0 && errno == ECHILD)
        _exit(0); /* nothing else is left in the namespace */
}

static int open_signals(void)
{
    sigset_t chld;

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    return signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void stay(struct stint_restore *restore) __attribute__((noreturn));

static void stay(struct stint_restore *restore)
{
    int signals = open_signals();
    struct pollfd pfd[2] = {{.fd = signals, .events = POLLIN},
                            {.fd = restore->control, .events = POLLRDHUP}};
    struct signalfd_siginfo info;

    for (;;) {
        reap(restore);
        if (pfd[1].fd < 0 && shared_load(&restore->shared->root_ended))
            _exit(0);
        /* woken by signals and by the agent's end; otherwise by the clock */
        if (poll(pfd, 2, pfd[1].fd < 0 || signals < 0 ? 1000 : -1) <= 0)
            continue;
        if (pfd[0].revents)
            while (read(signals, &info, sizeof(info)) > 0)
                ;
        if (pfd[1].revents & (POLLHUP | POLLRDHUP | POLLERR))
            pfd[1].fd = -1; /* the agent has gone; the program need not */
    }
}

static void open_phase(struct stint_restore *restore, enum stint_phase phase)
{
    __atomic_store_n(&restore->shared->open[phase], 1, __ATOMIC_RELEASE);
    shared_wake(&restore->shared->open[phase]);
}

static int make_all(struct stint_restore *restore, struct stint_err *err)
{
    int r = stint_namespaces_mount(restore, err);

    if (r < 0)
        return r;
    stint_control_send(restore, "init");
    r = stint_objects_open(restore, err);
    if (r == 0)
        r = stint_tree_grow(restore, err);
    if (r < 0)
        return r;
    await_count(restore, STINT_PHASE_SETTLED, 0);
    r = stint_objects_open_late(restore, err);
    if (r == 0)
        r = stint_locks_take(restore, err);
    if (r == 0)
        open_phase(restore, STINT_PHASE_LATE);
    return r;
}

void stint_init_run(struct stint_restore *restore)
{
    struct stint_err err = {0};

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* valid: cannot fail */
    if (make_all(restore, &err) < 0) {
        if (shared_load(&restore->shared->abort))
            end_with_report(restore);
        end_all(restore, err.text);
    }
    await_count(restore, STINT_PHASE_READY, 0);
    stint_saved_tell(restore);
    stint_objects_set_owners(restore);
    put_last_pid(restore);
    send_notes(restore);
    stint_control_send(restore, "ready");
    await_go(restore);

    stint_objects_cut(restore);
    stint_saved_put_back(restore);
    stint_objects_put_back(restore);
    stint_ipc_remove(restore);
    stint_ptys_lock(restore);
    stint_objects_watch(restore);
    stint_objects_seal(restore);
    put_foreground(restore);
    open_phase(restore, STINT_PHASE_GO);
    await_count(restore, STINT_PHASE_RUNNING, LET_GO_LIMIT_MS);
    have_stopped_carried(restore);
    open_phase(restore, STINT_PHASE_STOPPED);
    send_notes(restore);
    stint_control_send(restore, "running");
    stint_standin_close_all(restore);
    stay(restore);
}
