/* Let the checkpoint signal through to a thread that blocks it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_unblock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "coordinator/agent_proc.h"
#include "coordinator/agent_state.h"

#define STOP_TIMEOUT_MS 1000

/* The thread's number as we see it: the one whose innermost NSpid is tid. */
static pid_t find_outer(pid_t pid, int32_t tid)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    struct dirent *entry;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        pid_t outer = (pid_t)atoi(entry->d_name);
        struct agent_inner inner;

        if (outer > 0 && agent_proc_inner(outer, &inner) == 0 && inner.pid == tid)
            return outer;
    }
    return 0;
}

/* A traced thread stops at once unless it sleeps uninterruptibly. */
static int wait_for_stop(pid_t tid)
{
    int64_t deadline = agent_now_ms() + STOP_TIMEOUT_MS;
    const struct timespec pause = {0, 200000};

    for (;;) {
        int status;
        pid_t got = waitpid(tid, &status, __WALL | WNOHANG);

        if (got == tid)
            return WIFSTOPPED(status) ? 0 : -ESRCH;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (agent_now_ms() > deadline)
            return -ETIMEDOUT;
        (void)nanosleep(&pause, NULL); /* shorter is fine: it is asked again */
    }
}

/* Trace it until let_go(). A thread of a stopped process is traced already, and held. */
static int hold(pid_t outer, bool ours)
{
    if (ours)
        return 0;
    if (ptrace(PTRACE_INTERRUPT, outer, NULL, NULL) < 0)
        return -errno;
    return wait_for_stop(outer);
}

static int let_go(pid_t outer, bool ours)
{
    if (!ours && ptrace(PTRACE_DETACH, outer, NULL, NULL) < 0 && errno != ESRCH)
        return -errno;
    return 0;
}

int agent_unblock_thread(pid_t pid, int32_t tid, struct stint_err *err)
{
    pid_t outer = find_outer(pid, tid);
    bool ours = outer > 0 && agent_proc_tracer(outer) == getpid();
    uint64_t mask;
    int ret, after;

    if (outer == 0)
        return 0; /* it has ended since */
    if (!ours && ptrace(PTRACE_SEIZE, outer, NULL, NULL) < 0)
        return stint_err_set(err, -errno, "trace thread %d, which blocks SIGURG", (int)tid);
    ret = hold(outer, ours);
    if (ret == 0 && ptrace(PTRACE_GETSIGMASK, outer, sizeof(mask), &mask) < 0)
        ret = -errno;
    if (ret == 0) {
        mask &= ~(1ull << (SIGURG - 1));
        if (ptrace(PTRACE_SETSIGMASK, outer, sizeof(mask), &mask) < 0)
            ret = -errno;
    }
    after = let_go(outer, ours);
    ret = ret < 0 ? ret : after;
    return ret == 0 ? 0
                    : stint_err_set(err, ret, "unblock SIGURG in thread %d", (int)tid);
}
