/* Create the processes of the plan, each with its old pid.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Runs in every new process. All signals are blocked throughout.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/restorer/objects.h"
#include "runtime/restorer/restore.h"

static void run_node(struct stint_restore *restore, int index) __attribute__((noreturn));

static long fork_with_pid(int32_t pid)
{
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
        uint64_t set_tid, set_tid_size;
    } args = {.exit_signal = SIGCHLD, .set_tid = (uint64_t)&pid, .set_tid_size = 1};

    return raw_syscall(SYS_clone3, &args, sizeof(args));
}

/* The kernel gives the number after the last one; the lock keeps it ours. */
static long fork_after_last_pid(struct stint_restore *restore, int32_t pid)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%d", pid - 1);
    long ret;

    shared_lock(&restore->shared->pid_lock);
    ret = pwrite(restore->last_pid_fd, text, (size_t)len, 0) == len ? 0 : -errno;
    if (ret == 0)
        ret = raw_syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (ret == 0) {
        if (raw_syscall(SYS_getpid) != pid)
            _exit(1);
        return 0;
    }
    shared_unlock(&restore->shared->pid_lock);
    if (ret > 0 && ret != pid) {
        (void)waitpid((pid_t)ret, NULL, 0); /* it ends by itself */
        ret = -EEXIST;
    }
    return ret;
}

static int create(struct stint_restore *restore, int index, struct stint_err *err)
{
    int32_t pid = restore->plan.nodes[index].pid;
    long ret = restore->set_tid ? fork_with_pid(pid) : fork_after_last_pid(restore, pid);

    if (ret == 0)
        run_node(restore, index);
    if (ret < 0)
        return stint_err_set(err, (int)ret, "create a process with the id %d", pid);
    return 0;
}

static int create_children(struct stint_restore *restore, int creator, bool early,
                           struct stint_err *err)
{
    for (int i = 0; i < restore->plan.count; i++) {
        const struct stint_node *node = &restore->plan.nodes[i];
        int r;

        if (node->creator != creator || node->early != early)
            continue;
        r = create(restore, i, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* End as the zombie did, so that its parent's wait says the same. */
static void die_like(const struct stint_member *member) __attribute__((noreturn));

static void die_like(const struct stint_member *member)
{
    static const struct rlimit no_core = {0, 0};
    int signo = WTERMSIG(member->exit_status);
    uint64_t none = 0;

    (void)prctl(PR_SET_NAME, member->comm); /* cannot fail */
    if (WIFEXITED(member->exit_status))
        _exit(WEXITSTATUS(member->exit_status));
    (void)setrlimit(RLIMIT_CORE, &no_core); /* lowering is always allowed */
    (void)kill(getpid(), signo);
    (void)raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
    _exit(128 + signo); /* a signal that does not kill cannot be in a wait status */
}

/* Children that were made to end have to be gone, zombies have to be dead, before
 * this process's own pending signals are put in order. */
static void await_dead(struct stint_restore *restore, int index)
{
    for (int i = 0; i < restore->plan.count; i++) {
        const struct stint_node *node = &restore->plan.nodes[i];
        siginfo_t info;

        if (node->creator != index)
            continue;
        if (node->kind == STINT_NODE_TEMP)
            (void)waitpid(node->pid, NULL, 0); /* our child: it is there */
        else if (node->kind == STINT_NODE_ZOMBIE)
            (void)waitid(P_PID, (id_t)node->pid, &info, WEXITED | WNOWAIT); /* likewise */
    }
}

static int join_group(struct stint_restore *restore, const struct stint_node *node,
                      struct stint_err *err)
{
    struct stint_shared *shared = restore->shared;
    bool leads = node->pgid == node->pid;

    if (shared_meet(shared, STINT_PHASE_EXIST) < 0)
        _exit(1);
    if (leads && !node->leads_session && setpgid(0, 0) < 0)
        return stint_err_set(err, -errno, "lead process group %d", node->pgid);
    if (shared_meet(shared, STINT_PHASE_LEADERS) < 0)
        _exit(1);
    if (!leads && node->pgid && !node->leads_session && setpgid(0, node->pgid) < 0)
        return stint_err_set(err, -errno, "join process group %d", node->pgid);
    if (shared_meet(shared, STINT_PHASE_GROUPS) < 0)
        _exit(1);
    return 0;
}

/* What every node does, pid 1 included when it is the stand-in. */
static int settle_node(struct stint_restore *restore, int index, struct stint_err *err)
{
    const struct stint_node *node = &restore->plan.nodes[index];
    int r;

    if (node->subreaper && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return stint_err_set(err, -errno, "become a subreaper");
    r = create_children(restore, index, true, err);
    if (r < 0)
        return r;
    if (node->leads_session && setsid() < 0)
        return stint_err_set(err, -errno, "lead session %d", node->sid);
    if (node->leads_session && stint_pty_adopt(restore, node->sid, err) < 0)
        return err->code;
    r = create_children(restore, index, false, err);
    if (r < 0)
        return r;
    r = join_group(restore, node, err);
    if (r < 0)
        return r;
    if (node->kind == STINT_NODE_TEMP)
        _exit(0);
    if (node->kind == STINT_NODE_ZOMBIE)
        die_like(restore->members[node->member].member);
    await_dead(restore, index);
    return shared_meet(restore->shared, STINT_PHASE_SETTLED);
}

static void run_node(struct stint_restore *restore, int index)
{
    const struct stint_node *node = &restore->plan.nodes[index];
    struct stint_err err = {0};
    int r = settle_node(restore, index, &err);

    if (r < 0 && err.code)
        stint_restore_die(restore, node->pid, &err);
    if (r < 0)
        _exit(1); /* somebody else has failed */
    if (node->kind == STINT_NODE_STANDIN)
        stint_standin_run(restore);
    stint_process_restore(restore, node->member);
}

int stint_tree_grow(struct stint_restore *restore, struct stint_err *err)
{
    struct stint_shared *shared = restore->shared;
    uint32_t all = (uint32_t)restore->plan.count, settled = 0, running = 0;
    int r;

    for (int i = 0; i < restore->plan.count; i++) {
        settled += restore->plan.nodes[i].kind == STINT_NODE_MEMBER ||
                   restore->plan.nodes[i].kind == STINT_NODE_STANDIN;
        running += restore->plan.nodes[i].kind == STINT_NODE_MEMBER;
    }
    shared->expected[STINT_PHASE_EXIST] = all;
    shared->expected[STINT_PHASE_LEADERS] = all;
    shared->expected[STINT_PHASE_GROUPS] = all;
    shared->expected[STINT_PHASE_SETTLED] = settled;
    shared->expected[STINT_PHASE_READY] = running;
    shared->expected[STINT_PHASE_RUNNING] = running;
    r = create_children(restore, STINT_CREATOR_INIT, false, err);
    if (r < 0)
        return r;
    if (restore->plan.nodes[0].creator == STINT_CREATOR_NONE) {
        r = settle_node(restore, 0, err);
        if (r < 0 && !err->code)
            return stint_err_set(err, -ECANCELED, "a process failed.");
    }
    return r;
}
