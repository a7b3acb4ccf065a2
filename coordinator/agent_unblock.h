/* Let the checkpoint signal through to a thread that blocks it.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_UNBLOCK_H
#define STINT_COORDINATOR_AGENT_UNBLOCK_H

#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

/* Remove SIGURG from the mask of a thread, by ptrace(2); the thread puts it back itself
 * (STINT_CKPT_UNBLOCK, common/ckpt.h). A descendant may be traced under Yama's
 * ptrace_scope 1; where tracing is forbidden this fails and the checkpoint with it.
 *
 * pid: of the process, as the agent sees it; tid: as the process sees it.
 * Returns 0, or -errno with *err. Takes at most a second.
 */
int agent_unblock_thread(pid_t pid, int32_t tid, struct stint_err *err);

#endif
