/* Stop every process of the program.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Scan, ask whoever has not connected, wait for answers or 20 ms, again. The program
 * stands still when two scans in a row find every process connected and no child of
 * the agent ended in between: a process that hides from a scan must have ended during
 * it, and its end is seen.
 */
#ifndef STINT_COORDINATOR_AGENT_QUIESCE_H
#define STINT_COORDINATOR_AGENT_QUIESCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "coordinator/agent_peer.h"
#include "coordinator/agent_proc.h"

struct agent;
struct agent_quiesce;

enum agent_failure {
    AGENT_REFUSED, /* never here: something is not supported */
    AGENT_RETRY,   /* may work another time */
    AGENT_ERROR,
};

/* done: everything stands still; agent_quiesce_procs() and _peers() tell what there is.
 * failed: it cannot be done. Either is called once, from the loop; the callee may free
 * the quiesce. */
struct agent_quiesce_callbacks {
    void (*done)(void *arg);
    void (*failed)(enum agent_failure failure, const char *reason, void *arg);
};

/* Start. timeout_ms: for all of it. ignore: leave out processes that cannot be stopped
 * for good, with a warning. peer_callbacks: for peers once done was called.
 * Returns 0 with *quiesce set, or -errno with *err set. */
int agent_quiesce_start(struct agent *agent, int timeout_ms, bool ignore,
                        const struct agent_quiesce_callbacks *callbacks,
                        const struct agent_peer_callbacks *peer_callbacks, void *arg,
                        struct agent_quiesce **quiesce, struct stint_err *err);

/* All processes, those left out not among them; zombies have no peer. */
const struct agent_procs *agent_quiesce_procs(const struct agent_quiesce *quiesce);

struct agent_peer *agent_quiesce_peers(const struct agent_quiesce *quiesce);
struct agent_peer *agent_quiesce_peer(const struct agent_quiesce *quiesce, pid_t pid);

/* What was given as arg at the start; the quiesce is the owner of its peers. */
void *agent_quiesce_arg(const struct agent_quiesce *quiesce);

/* When the first process stopped, in CLOCK_MONOTONIC ms; 0 = none yet. */
int64_t agent_quiesce_since(const struct agent_quiesce *quiesce);

/* Tell every process to go on, and close. The peers are gone afterwards. */
void agent_quiesce_resume(struct agent_quiesce *quiesce);

/* agent_quiesce_resume(), and free. Takes NULL. */
void agent_quiesce_free(struct agent_quiesce *quiesce);

#endif
