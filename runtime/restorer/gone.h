/* Directories that are gone at the restart.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Programs make directories for temporary files and remove them; a checkpoint may lie
 * between the two, and the restart behind them.
 */
#ifndef STINT_RESTORER_GONE_H
#define STINT_RESTORER_GONE_H

#include <stdint.h>

#include "runtime/restorer/restore.h"

/* Make the directories above path that are not there (0700). 0 or -errno with *err. */
int stint_make_parents(const char *path, struct stint_err *err);

/* Make path again, empty, with its parents; a note says so. 0 or -errno with *err. */
int stint_make_dir_again(struct stint_restore *restore, const char *path, uint32_t mode,
                         struct stint_err *err);

/* A directory without a name. flags: of open(2). Returns a descriptor, or -errno with
 * *err. */
int stint_open_removed_dir(struct stint_restore *restore, uint32_t mode, int flags,
                           struct stint_err *err);

/* Make path the working directory: as it is; made again where it is gone; one without a
 * name where it had none at the checkpoint (" (deleted)"). 0 or -errno with *err. */
int stint_enter_dir(struct stint_restore *restore, const char *path, struct stint_err *err);

#endif
