/* Processes that have shut themselves in, or share what processes do not share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Namespaces, another root directory, filters of system calls, keyrings, and what clone(2)
 * makes two processes share: a restart brings back none of it. What the agent itself lives
 * in (a container) is there at the restart again.
 */
#ifndef STINT_COORDINATOR_AGENT_CONFINED_H
#define STINT_COORDINATOR_AGENT_CONFINED_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "coordinator/agent_proc.h"

struct agent;
struct agent_quiesce;

/* What the program started from: the pid of its first process's parent, the agent or its
 * stand-in after a restart. 0 = the program has just ended. */
pid_t agent_confined_base(const struct agent *agent);

/* Does the process live in other namespaces, in another root or under more seccomp filters
 * than base? Or share memory (vfork aside), descriptors or directory with another process
 * of procs? Writes why ("has ...: do ...") into what. What cannot be read is taken for the
 * same. */
bool agent_confined_why(pid_t base, const struct agent_proc *proc,
                        const struct agent_procs *procs, char *what, size_t size);

/* Does it live under more seccomp filters than base? Its kernel may kill it for a system
 * call of ours. */
bool agent_confined_is_filtered(pid_t base, pid_t pid);

/* agent_confined_why() for all processes, which stand still, and their keyrings.
 * Returns 0; 1 with *err: refused; never anything else. */
int agent_confined_check(const struct agent *agent, const struct agent_quiesce *quiesce,
                         struct stint_err *err);

#endif
