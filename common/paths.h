/* Where the parts of stint find each other; doc/protocol.md, "Where things are".
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COMMON_PATHS_H
#define STINT_COMMON_PATHS_H

#include "common/err.h"

/* Find a companion of the running program: "libstint.so", "stint-restorer",
 * "stint-slurm" or "stint". In this order: $STINT_LIBEXECDIR/name; when the running
 * program lies in a build folder, its place there; the configured libexecdir
 * (bindir for "stint").
 *
 * path: set to an absolute path, to be freed by the caller
 *
 * Returns 0, -ENOENT with the places that were tried in *err, or -ENOMEM.
 */
int stint_path_find(const char *name, char **path, struct stint_err *err);

/* Absolute path of the running program (/proc/self/exe), to be freed by the caller.
 * Returns 0 or -errno with *err set. */
int stint_path_self(char **path, struct stint_err *err);

#endif
