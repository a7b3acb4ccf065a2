/* The coordinator's link to Slurm: runs stint-slurm, one call at a time.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_SLURM_H
#define STINT_COORDINATOR_SLURM_H

#include "common/err.h"
#include "coordinator/slurm_plan.h"

struct event_base;
struct slurm;

struct slurm_callbacks {
    /* info: NULL when Slurm could not be asked; `why` says why then
     * is_stale: slurm_ask() was called again meanwhile, a newer answer follows */
    void (*info)(const struct slurm_info *info,
                 int is_stale,
                 const char *why,
                 void *arg);
    /* ok: the job is or will be requeued; else `why` */
    void (*requeued)(int ok, const char *why, void *arg);
};

/* Returns 0 with *slurm set (slurm_free()), or -errno with *err set. */
int slurm_new(struct event_base *base,
              const char *job,
              const struct slurm_callbacks *callbacks,
              void *arg,
              struct slurm **slurm,
              struct stint_err *err);

/* Each asks for one thing; it is done when what is under way is done: first the comment
 * (only the last text; a requeue is to find it there), then the requeue, then info. The
 * callback comes later, always. */
void slurm_ask(struct slurm *slurm);
void slurm_requeue(struct slurm *slurm);
void slurm_comment(struct slurm *slurm, const char *text);

/* Kills what is under way. Takes NULL. */
void slurm_free(struct slurm *slurm);

#endif
