/* Let a stopped process (SIGSTOP, job control) take part in a checkpoint.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A stopped thread runs no handler, and SIGCONT is not ours to send: the parent and the
 * program would see it. A tracer may let the threads of a stopped process run while the
 * kernel keeps the process's stop as it is; when it lets go of a thread, or dies, the
 * kernel stops that thread again, and tells nobody (ptrace(2), group-stop). So every thread
 *
 *   HELD    is in a tracing stop, at the place where it was stopped
 *   INSIDE  has been let into the runtime's signal handler, and runs there
 *   and is let go of behind the handler's rt_sigreturn, before its next instruction.
 *
 * agent_reap() hands in what waitpid(2) says of the threads. doc/protocol.md has the rest.
 */
#ifndef STINT_COORDINATOR_AGENT_STOPPED_H
#define STINT_COORDINATOR_AGENT_STOPPED_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "coordinator/agent_proc.h"

struct agent;
struct agent_stopped;

/* The checkpoint signal as common/ckpt.h describes it. */
void agent_stopped_siginfo(uint64_t cookie, siginfo_t *info);

/* Trace all threads of a process in state T that listens (agent_proc_listens()), and let
 * one of them in, as the leader. Its HELLO comes later.
 * Returns 0; -EAGAIN when it is not stopped any more or somebody else has it for now; or
 * -errno with *err: tracing is not possible here. On failure nothing has changed. */
int agent_stopped_enter(struct agent *agent, const struct agent_proc *proc, uint64_t cookie,
                        struct stint_err *err);

/* A restored process is stopped (state T) within the restorer's code: carry all of its
 * threads to where the program was stopped. That takes until !agent_stopped_has(agent, 0).
 * Returns 0 or -errno with *err; then it stays where it is. */
int agent_stopped_carry(struct agent *agent, pid_t pid, struct stint_err *err);

/* The leader has said HELLO: its system calls need not be watched for now. */
void agent_stopped_arrived(struct agent *agent, pid_t pid);

/* Let those in whom the leader has signalled. To be called every few milliseconds until
 * everything stands still. */
void agent_stopped_step(struct agent *agent);

/* To be called before the process is told to go on: it ends up stopped as it was. Takes
 * pids that are not traced. */
void agent_stopped_leave(struct agent *agent, pid_t pid);
void agent_stopped_leave_all(struct agent *agent);

/* Is it (0: is any) being traced here, and still stopped as far as its parent is concerned? */
bool agent_stopped_has(const struct agent *agent, pid_t pid);
bool agent_stopped_is_stopped(const struct agent *agent, pid_t pid);

/* waitpid(2) has returned this of a thread. Returns true when that was not the end of a
 * process. */
bool agent_stopped_event(struct agent *agent, pid_t tid, int status);

/* Forget everything; the kernel stops what is still traced when the agent ends. */
void agent_stopped_free(struct agent *agent);

#endif
