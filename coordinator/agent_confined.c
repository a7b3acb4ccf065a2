/* Processes that have shut themselves in, or share what processes do not share.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_confined.h"

#include <dirent.h>
#include <errno.h>
#include <linux/kcmp.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "coordinator/agent_quiesce.h"
#include "coordinator/agent_state.h"

/* namespaces(7), as in /proc/PID/ns, and what they are called in a message */
static const struct {
    const char *link, *name;
} namespaces[] = {
    {"user", "user"}, {"mnt", "mount"}, {"pid", "PID"},       {"net", "network"},
    {"ipc", "IPC"},   {"uts", "UTS"},   {"cgroup", "cgroup"}, {"time", "time"},
};

pid_t agent_confined_base(const struct agent *agent)
{
    struct agent_proc root;

    return agent_proc_read(agent->root, &root) < 0 ? 0 : root.ppid;
}

static bool is_same_file(pid_t a, pid_t b, const char *name)
{
    char path_a[64], path_b[64];
    struct stat of_a, of_b;

    snprintf(path_a, sizeof(path_a), "/proc/%d/%s", (int)a, name);
    snprintf(path_b, sizeof(path_b), "/proc/%d/%s", (int)agent_proc_task(b), name);
    return stat(path_a, &of_a) < 0 || stat(path_b, &of_b) < 0
           || (of_a.st_ino == of_b.st_ino && of_a.st_dev == of_b.st_dev);
}

/* How many filters a thread runs under; before Linux 5.9 only whether. */
static int count_filters(pid_t tid)
{
    STINT_AUTO_FCLOSE FILE *status = NULL;
    STINT_AUTO_FREE char *line = NULL;
    size_t room = 0;
    char path[64];
    int filters = 0;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
    status = fopen(path, "re");
    while (status && getline(&line, &room, status) > 0) {
        if (strncmp(line, "Seccomp:", 8) == 0)
            filters = atoi(line + 8) != 0;
        else if (filters && strncmp(line, "Seccomp_filters:", 16) == 0)
            return atoi(line + 16) > 0 ? atoi(line + 16) : filters; /* none: strict mode */
    }
    return filters;
}

bool agent_confined_is_filtered(pid_t base, pid_t pid)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    int allowed = count_filters(base);
    struct dirent *entry;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        pid_t tid = (pid_t)atoi(entry->d_name);

        if (tid > 0 && count_filters(tid) > allowed)
            return true;
    }
    return false;
}

/* --- sharing ------------------------------------------------------------------------ */

static const struct {
    int type;
    const char *what, *how;
} shares[] = {
    {KCMP_VM, "memory", "CLONE_VM"},
    {KCMP_FILES, "table of descriptors", "CLONE_FILES"},
    {KCMP_FS, "working directory and umask", "CLONE_FS"},
};

static bool are_one(int type, pid_t a, pid_t b)
{
    return syscall(SYS_kcmp, agent_proc_task(a), agent_proc_task(b), type, 0, 0) == 0;
}

/* A vfork child shares its parent's memory, and the parent sleeps until its exec. What the
 * scan has seen of the parent may be older than that. */
static bool is_vfork(const struct agent_proc *child, const struct agent_proc *parent)
{
    struct agent_proc now;

    return child->ppid == parent->pid
           && (agent_proc_read(parent->pid, &now) < 0 || now.state == 'D');
}

/* Two that end are alike in having nothing. */
static bool lives(const struct agent_proc *proc)
{
    struct agent_proc now;

    return agent_proc_read(proc->pid, &now) == 0 && !agent_proc_is_zombie(&now);
}

static bool share(const struct agent_proc *a, const struct agent_proc *b, size_t i)
{
    if (!are_one(shares[i].type, a->pid, b->pid) || !lives(a) || !lives(b))
        return false;
    return shares[i].type != KCMP_VM
           || (!is_vfork(a, b) && !is_vfork(b, a)
               && are_one(KCMP_VM, a->pid, b->pid)); /* not executed since */
}

/* clone(2) makes it the child or, with CLONE_PARENT, the brother of whom it shares with. */
static bool is_near(const struct agent_proc *a, const struct agent_proc *b)
{
    return a->ppid == b->pid || b->ppid == a->pid || a->ppid == b->ppid;
}

static bool shares_with_another(const struct agent_proc *proc, const struct agent_procs *procs,
                                char *what, size_t size)
{
    for (size_t n = 0; n < procs->count; n++) {
        const struct agent_proc *other = &procs->list[n];
        struct agent_inner inner = {.pid = other->pid};

        if (other->pid == proc->pid || agent_proc_is_zombie(other) || !is_near(proc, other))
            continue;
        for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
            if (!share(proc, other, i))
                continue;
            (void)agent_proc_inner(other->pid, &inner); /* for the message only */
            snprintf(what, size, "shares its %s with process %d (%s): clone(2) with %s "
                                 "between processes is not supported, threads and fork(2) "
                                 "are",
                     shares[i].what, (int)inner.pid, other->comm, shares[i].how);
            return true;
        }
    }
    return false;
}

/* --- all of it ---------------------------------------------------------------------- */

bool agent_confined_why(pid_t base, const struct agent_proc *proc,
                        const struct agent_procs *procs, char *what, size_t size)
{
    char name[32];

    for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
        snprintf(name, sizeof(name), "ns/%s", namespaces[i].link);
        if (is_same_file(base, proc->pid, name))
            continue;
        snprintf(what, size, "has a %s namespace of its own, which is not supported: start "
                             "`stint launch` within it",
                 namespaces[i].name);
        return true;
    }
    if (!is_same_file(base, proc->pid, "root")) {
        snprintf(what, size, "has changed its root directory (chroot), which is not "
                             "supported: start `stint launch` within it");
        return true;
    }
    if (agent_confined_is_filtered(base, proc->pid)) {
        snprintf(what, size, "has set a filter of system calls (seccomp), which is not "
                             "supported: switch its sandbox off");
        return true;
    }
    return shares_with_another(proc, procs, what, size);
}

/* The session's keyring is that of whoever starts it. A process without one gets its user's,
 * and every user namespace has one of those: in a restored program's it is that of the
 * program's first process. Returns 0 when there is none.
 */
static long given_keyring(const struct agent *agent, const struct agent_quiesce *quiesce,
                          pid_t base)
{
    const struct agent_peer *root = agent_quiesce_peer(quiesce, agent->root);

    if (!is_same_file(getpid(), base, "ns/user"))
        return root ? root->hello.session_keyring : 0;
    return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
}

/* Which of its keyrings is the program's own, or NULL. */
static const char *own_keyring(const struct stint_ckpt_hello *hello, long given)
{
    if (hello->keyrings & STINT_KEYRING_PROCESS)
        return "process";
    if (hello->keyrings & STINT_KEYRING_THREAD)
        return "thread";
    if (given > 0 && hello->session_keyring > 0 && hello->session_keyring != given)
        return "session";
    return NULL;
}

static int refuse(const struct agent_proc *proc, const char *what, struct stint_err *err)
{
    struct agent_inner inner = {.pid = proc->pid};

    (void)agent_proc_inner(proc->pid, &inner); /* for the message only */
    stint_err_set(err, -ENOTSUP, "process %d (%s) %s.", (int)inner.pid, proc->comm, what);
    return 1;
}

int agent_confined_check(const struct agent *agent, const struct agent_quiesce *quiesce,
                         struct stint_err *err)
{
    const struct agent_procs *procs = agent_quiesce_procs(quiesce);
    pid_t base = agent_confined_base(agent);
    long given = base > 0 ? given_keyring(agent, quiesce, base) : 0;
    char what[256];

    for (size_t i = 0; i < procs->count && base > 0; i++) {
        const struct agent_proc *proc = &procs->list[i];
        const struct agent_peer *peer = agent_quiesce_peer(quiesce, proc->pid);
        const char *keyring = peer ? own_keyring(&peer->hello, given) : NULL;

        if (agent_proc_is_zombie(proc))
            continue; /* a zombie has none of it any more */
        if (agent_confined_why(base, proc, procs, what, sizeof(what)))
            return refuse(proc, what, err);
        if (keyring) {
            snprintf(what, sizeof(what), "has a %s keyring of its own (keyctl), which is not "
                                         "supported: keys cannot be read out of the kernel",
                     keyring);
            return refuse(proc, what, err);
        }
    }
    return 0;
}
