/* Slurm's SIGTERM: held back in the agent and in the program's processes.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_SIGTERM_H
#define STINT_COORDINATOR_AGENT_SIGTERM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct agent;
struct agent_procs;

/* The agent's own has come. The coordinator decides what becomes of it and of those that
 * processes hold back: agent_sigterm_deliver(), or the end of the program. */
void agent_sigterm_came(struct agent *agent);

/* A process has held one back (runtime/held_sigterm.c). Slurm's reaches the agent as well:
 * where none does within a moment it was somebody else's, and the process gets it back. */
void agent_sigterm_noted(struct agent *agent, pid_t pid);

/* A child of the process has ended by a SIGTERM, Slurm's or another. */
void agent_sigterm_child_ended(struct agent *agent, pid_t parent);

/* Slurm's SIGTERM ended what could not hold it back (srun, a static program, one at its
 * execve): whoever waited for it goes on as if it had failed, which must not become part of
 * a checkpoint. procs: what stands still. Returns whether there is one, named in text. */
bool agent_sigterm_has_ended_one(const struct agent *agent, const struct agent_procs *procs,
                                 char *text, size_t size);

/* The program is to have it after all. Does nothing when none is held back. */
void agent_sigterm_deliver(struct agent *agent);

/* There is a coordinator (again), or none for now: what one has to decide about waits for
 * it, bounded. */
void agent_sigterm_connected(struct agent *agent);
void agent_sigterm_disconnected(struct agent *agent);

void agent_sigterm_free(struct agent *agent);

#endif
