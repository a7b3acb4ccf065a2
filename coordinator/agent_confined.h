/* Processes that have shut themselves in: namespaces, filters of system calls.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_CONFINED_H
#define STINT_COORDINATOR_AGENT_CONFINED_H

#include "common/err.h"
#include "coordinator/agent_proc.h"

struct agent;

/* Refuse a process that lives in other namespaces, or under more seccomp filters, than
 * the program started with: a restart gives it neither. What the agent itself lives in
 * (a container's) is there at the restart again.
 *
 * Returns 0; 1 with *err: refused; never anything else, since what cannot be read is
 * taken for the same.
 */
int agent_confined_check(const struct agent *agent, const struct agent_procs *procs,
                         struct stint_err *err);

#endif
