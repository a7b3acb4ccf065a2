/* The agent: parent of a program, which it starts or restores, and checkpoints.
 * SPDX-License-Identifier: Apache-2.0
 *
 * `stint launch`, `stint restart` and the Slurm task are agents. One event loop,
 * no threads. The agent starts the coordinator as a child of its own (or joins
 * one), and is the subreaper of all that the program starts.
 */
#ifndef STINT_COORDINATOR_AGENT_H
#define STINT_COORDINATOR_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

/* Outcome of stint_agent_run: that generation could not be restored; nothing of
 * the program runs. Above every exit status. */
#define STINT_AGENT_E_RESTORE 256

struct stint_agent_config {
    const char *dir;            /* checkpoint directory, absolute; exists, 0700 */
    const char *group;          /* "main" by hand, "batch" in a Slurm batch step */
    char *const *argv;          /* program and arguments, for a first start */
    uint64_t restore;           /* generation to restore, 0 = start argv */
    const char *restore_dir;    /* directory that holds that generation; NULL = dir */
    bool lazy;                  /* restore with the image mapped */
    bool keep_output;           /* restore without cutting output files back */
    bool save_output;           /* the next run finds its output files emptied: keep what
                                 * they hold */
    bool join;                  /* a coordinator runs already: only connect to it */
    char *const *coordinator_args; /* further options for the `stint coordinator` it
                                    * starts, NULL-terminated; may be NULL */
    bool hold_sigterm;          /* SIGTERM goes to the coordinator first */
    char *const *env;           /* "NAME=value" to set for the program at a first
                                 * start, NULL-terminated; may be NULL */
    const char *info;           /* one line about this program for the coordinator and for
                                 * the program itself (runtime/api.c); may be NULL */
    const char *restart_hint;   /* what a user types to go on after it was ended; NULL =
                                 * `stint restart DIR` */
    const char *restored_text;  /* said on stderr once a restored program runs, when its
                                 * output has been cut back already; may be NULL */
};

/* Run the program to its end.
 *
 * Returns the exit status to end with: the program's own (a program killed by a
 * signal: the agent kills itself likewise and does not return), 127 or 126 with
 * *err set when argv could not be executed, or 75 when it was ended after a
 * checkpoint; STINT_AGENT_E_RESTORE or -errno with *err set: nothing was started.
 *
 * Context: once in a process; the caller's signal handlers are replaced.
 */
int stint_agent_run(const struct stint_agent_config *config, struct stint_err *err);

#endif
