/* The coordinator: one per checkpoint directory; agents and clients connect to it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One thread, one event loop, one table of states (coordinator_states.h).
 */
#ifndef STINT_COORDINATOR_COORDINATOR_H
#define STINT_COORDINATOR_COORDINATOR_H

#include <stdint.h>

#include "common/err.h"

struct coordinator_config {
    const char *dir;      /* checkpoint directory */
    uint32_t interval_s;  /* between checkpoints; 0 = only on request */
    unsigned keep;        /* generations that stay */
    int ignore_unsupported; /* what cannot be restored does not fail a checkpoint */
    const char *slurm_job;  /* id, or NULL */
    uint32_t margin_s;      /* before the end of the job's time */
    void (*ready)(void *arg); /* called once: connections are taken */
    void *arg;
};

#define COORDINATOR_E_BUSY 1 /* another coordinator has the directory */

/* Serve a checkpoint directory until the last agent has gone (or 30 s have gone by
 * without one).
 *
 * Returns 0; COORDINATOR_E_BUSY or -errno with *err set: nothing was changed, `ready`
 * was not called.
 */
int coordinator_run(const struct coordinator_config *config, struct stint_err *err);

#endif
