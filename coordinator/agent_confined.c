/* Processes that have shut themselves in.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_confined.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "coordinator/agent_state.h"

/* namespaces(7), as in /proc/PID/ns, and what they are called in a message */
static const struct {
    const char *link, *name;
} namespaces[] = {
    {"user", "user"}, {"mnt", "mount"}, {"pid", "PID"}, {"net", "network"},
    {"ipc", "IPC"},   {"uts", "UTS"},   {"cgroup", "cgroup"},
};

static bool read_namespace(pid_t pid, const char *link, char *text, size_t size)
{
    char path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, link);
    n = readlink(path, text, size - 1);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

/* How many filters a process runs under; before Linux 5.9 only whether. */
static int count_filters(pid_t pid)
{
    STINT_AUTO_FCLOSE FILE *status = NULL;
    STINT_AUTO_FREE char *line = NULL;
    size_t room = 0;
    char path[64];
    int filters = 0;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    status = fopen(path, "re");
    while (status && getline(&line, &room, status) > 0) {
        if (strncmp(line, "Seccomp:", 8) == 0)
            filters = atoi(line + 8) != 0;
        else if (strncmp(line, "Seccomp_filters:", 16) == 0)
            return atoi(line + 16);
    }
    return filters;
}

static int refuse(const struct agent_proc *proc, struct stint_err *err, const char *what)
{
    struct agent_inner inner = {.pid = proc->pid};

    (void)agent_proc_inner(proc->pid, &inner); /* for the message only */
    stint_err_set(err, -ENOTSUP, "process %d (%s) %s is not supported.", (int)inner.pid,
                  proc->comm, what);
    return 1;
}

int agent_confined_check(const struct agent *agent, const struct agent_procs *procs,
                         struct stint_err *err)
{
    struct agent_proc root;
    int filters;

    /* Its parent, the agent or its stand-in after a restart, is what it started from. */
    if (agent_proc_read(agent->root, &root) < 0)
        return 0;
    filters = count_filters(root.ppid);
    for (size_t i = 0; i < procs->count; i++) {
        const struct agent_proc *proc = &procs->list[i];

        if (proc->nthreads == 0)
            continue; /* a zombie has none any more */
        for (size_t n = 0; n < sizeof(namespaces) / sizeof(namespaces[0]); n++) {
            char outer[64], own[64], what[64];

            if (!read_namespace(root.ppid, namespaces[n].link, outer, sizeof(outer))
                || !read_namespace(proc->pid, namespaces[n].link, own, sizeof(own))
                || strcmp(outer, own) == 0)
                continue;
            snprintf(what, sizeof(what), "has a %s namespace of its own, which",
                     namespaces[n].name);
            return refuse(proc, err, what);
        }
        if (count_filters(proc->pid) > filters)
            return refuse(proc, err, "has set a filter of system calls (seccomp), which");
    }
    return 0;
}
