/* System V shared memory, semaphores and message queues.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program that was never restored shares them with the machine: what belongs to it is
 * what it has attached, what one of its processes made or used last, and what the user
 * has made since it began. A restored program has an IPC namespace of its own.
 */
#ifndef STINT_COORDINATOR_AGENT_IPC_H
#define STINT_COORDINATOR_AGENT_IPC_H

#include <time.h>

#include "common/err.h"

#define AGENT_IPC_E_REFUSED 1 /* outcome: not supported; *err says why in words */

struct agent;
struct agent_group;
struct agent_ipc;
struct stint_image_writer;

/* Fill group->ipc: members and segments are known, everything stands still.
 * Returns 0, AGENT_IPC_E_REFUSED or -errno with *err. */
int agent_ipc_read(struct agent_group *group, const struct agent *agent,
                   struct stint_err *err);

/* When the program was started, a second earlier: what is older is not its own. */
time_t agent_ipc_program_began(const struct agent *agent);

/* Contents, then records; ipc: NULL is fine. Return 0 or -errno with *err. */
int agent_ipc_store(struct agent_ipc *ipc, struct stint_image_writer *writer,
                    struct stint_err *err);
int agent_ipc_write(struct agent_ipc *ipc, struct stint_image_writer *writer,
                    struct stint_err *err);

/* Takes NULL. */
void agent_ipc_free(struct agent_ipc *ipc);

#endif
