/* Tell the coordinator which processes run.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_list.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/wire.h"
#include "coordinator/agent_proc.h"
#include "coordinator/agent_state.h"

void agent_list_program(pid_t pid, const char *comm, char *name, size_t size)
{
    static const char deleted[] = " (deleted)";
    char path[64], target[PATH_MAX], *slash;
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    len = readlink(path, target, sizeof(target) - 1);
    if (len <= 0) { /* it has made itself undumpable, or is gone */
        snprintf(name, size, "%s", comm);
        return;
    }
    target[len] = '\0';
    if (len > (ssize_t)strlen(deleted)
        && strcmp(target + len - strlen(deleted), deleted) == 0)
        target[len - (ssize_t)strlen(deleted)] = '\0';
    slash = strrchr(target, '/');
    snprintf(name, size, "%s", slash ? slash + 1 : target);
}

static json_t *list(struct agent *agent)
{
    struct agent_scan scan = {
        .agent = getpid(),
        .coordinator = agent_link_pid(agent),
        .restored = agent->restore != NULL,
    };
    struct agent_procs procs;
    struct stint_err err;
    json_t *all = json_array();

    if (agent->root <= 0) /* half of them may be there already */
        return all;
    if (agent_proc_scan(&scan, &procs, &err) < 0) {
        stint_warn("%s", err.text);
        return all;
    }
    for (size_t i = 0; i < procs.count; i++) {
        const struct agent_proc *proc = &procs.list[i];
        struct agent_inner inner = {.pid = proc->pid};
        char program[NAME_MAX + 1];

        if (agent_proc_is_zombie(proc))
            continue;
        (void)agent_proc_inner(proc->pid, &inner); /* gone: then the outer number will do */
        agent_list_program(proc->pid, proc->comm, program, sizeof(program));
        (void)json_array_append_new(
            all, json_pack("{s:i, s:i, s:o}", "pid", (int)inner.pid, "real_pid",
                           (int)proc->pid, "program", stint_json_text(program)));
    }
    agent_procs_deinit(&procs);
    return all;
}

void agent_list_send(struct agent *agent)
{
    agent_link_send(agent, "listed", "s:b, s:o", "running", agent->root > 0, "processes",
                    list(agent));
}
