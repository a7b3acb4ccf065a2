/* Which checkpoint directory belongs to which Slurm job.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The task registers its directory as a symlink ~/.stint/jobs/CLUSTER-ID, so that
 * `stint status ID` finds it from any host that shares the home directory. The home
 * directory is the one of the user database, since $HOME may differ inside a job; $HOME
 * only when that one cannot be used. A user without one does without; the directory in
 * its default place is found all the same.
 */
#ifndef STINT_COMMON_JOBDIR_H
#define STINT_COMMON_JOBDIR_H

#include <stdbool.h>

#include "common/err.h"

/* Below the directory of submission, when --checkpoint-dir does not say otherwise. */
#define STINT_JOBDIR_DEFAULT "stint-checkpoints"

/* "123"; or "123.0" for a step, "123_4" for a task of an array, "123+1" for a component
 * of a heterogeneous job. */
bool stint_jobdir_is_id(const char *text);

/* Remember the directory of a job; links of directories that are gone are removed.
 *
 * cluster: Slurm's name of it; NULL or "" when it is not known
 * path: absolute
 *
 * Returns 0, or -errno with *err set.
 */
int stint_jobdir_register(const char *cluster, const char *id, const char *path,
                          struct stint_err *err);

/* Look a registered directory up. A job's id also finds that of its step, when it has
 * none itself and only one step has. Without the cluster's name any cluster's job of
 * that id is taken, when there is only one.
 *
 * Returns its path, to be freed by the caller, or NULL.
 */
char *stint_jobdir_find(const char *cluster, const char *id);

/* base/stint-checkpoints/ID, when that is a directory of the caller; else NULL. */
char *stint_jobdir_default(const char *base, const char *id);

#endif
