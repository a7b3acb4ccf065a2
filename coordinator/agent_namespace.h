/* The namespaces that the program lives in.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_NAMESPACE_H
#define STINT_COORDINATOR_AGENT_NAMESPACE_H

#include <sys/types.h>

#include "common/err.h"

/* Enter the user and IPC namespaces of a process, where they are others than the caller's.
 * Context: a child of the agent that will end. Returns 0 or -errno with *err. */
int agent_namespace_enter_ipc(pid_t pid, struct stint_err *err);

#endif
