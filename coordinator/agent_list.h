/* Tell the coordinator which processes run.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_LIST_H
#define STINT_COORDINATOR_AGENT_LIST_H

#include <stddef.h>
#include <sys/types.h>

struct agent;

/* Answer the coordinator's `list` with the processes of the program, without zombies. */
void agent_list_send(struct agent *agent);

/* The file name of the program that a process executes; comm where that may not be read. */
void agent_list_program(pid_t pid, const char *comm, char *name, size_t size);

#endif
