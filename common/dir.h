/* The checkpoint directory: key, lock, generations.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A generation is complete when its directory has no ".tmp" in its name, and
 * committed when DIR/manifest.yaml points to it. Whoever creates, commits, prunes
 * or cleans holds the lock; reading needs none.
 */
#ifndef STINT_COMMON_DIR_H
#define STINT_COMMON_DIR_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define STINT_KEY_BYTES           32
#define STINT_GENERATION_NAME_MAX 40
#define STINT_KEEP_DEFAULT        2

struct stint_key {
    uint8_t bytes[STINT_KEY_BYTES];
};

/* Make the checkpoint directory (0700, parents as needed) or take the one that is
 * there, and make its key if it has none. One that is there has to belong to the
 * caller and to be closed to others; an empty one that is open to others is closed.
 * Two callers at once get the same key.
 *
 * fd: a descriptor of the directory, closed by the caller; may be NULL
 * absolute: its path without symlinks, freed by the caller; may be NULL
 *
 * Returns 0, or -errno with *err set.
 */
int stint_dir_create(const char *path, int *fd, char **absolute, struct stint_err *err);

/* Take an existing checkpoint directory: a directory of the caller, closed to
 * others. Out-parameters and returns as above; -ENOENT when it is not there. */
int stint_dir_open(const char *path, int *fd, char **absolute, struct stint_err *err);

/* Whether it is a directory in which there are other things, and none of a checkpoint
 * directory's: it was named by mistake. */
int stint_dir_is_foreign(const char *path);

/* Read DIR/key. Refuses one that others may read or that is not 64 hex digits.
 * Returns 0, or -errno with *err set. */
int stint_dir_key(int dir_fd, struct stint_key *key, struct stint_err *err);

#define STINT_DIR_E_BUSY 1 /* somebody else holds the lock */

/* Take the exclusive lock on DIR/lock, for as long as *lock_fd is open (close-on-exec).
 * Does not wait. Returns 0, STINT_DIR_E_BUSY, or -errno with *err set. */
int stint_dir_lock(int dir_fd, int *lock_fd, struct stint_err *err);

/* Open DIR/log for appending (0600); for stint_log_file(). Returns a descriptor,
 * closed by the caller, or -errno with *err set. */
int stint_dir_log(int dir_fd, struct stint_err *err);

/* "gen-000012", or "gen-000012.tmp" while it is unfinished. Returns buf. */
const char *stint_generation_name(uint64_t generation,
                                  int unfinished,
                                  char buf[STINT_GENERATION_NAME_MAX]);

/* The complete generations, ascending. *numbers is freed by the caller (NULL when
 * there are none). Returns 0, or -errno with *err set. */
int stint_dir_list(int dir_fd,
                   uint64_t **numbers,
                   size_t *count,
                   struct stint_err *err);

/* The newest committed generation: what DIR/manifest.yaml points to; where that is
 * gone or points nowhere, the highest complete one. 0 when there is none.
 * Returns 0, or -errno with *err set. */
int stint_dir_newest(int dir_fd, uint64_t *generation, struct stint_err *err);

/* The lowest number that no generation has had, finished or not.
 * Returns 0, or -errno with *err set. */
int stint_dir_next(int dir_fd, uint64_t *generation, struct stint_err *err);

/* Make the unfinished directory of a generation (0700). *fd is closed by the caller.
 * Returns 0, or -errno with *err set. */
int stint_dir_begin(int dir_fd, uint64_t generation, int *fd, struct stint_err *err);

/* Commit: the directory and what it names is on disk already; make that durable,
 * rename gen-N.tmp to gen-N, point DIR/manifest.yaml to it, each followed by fsync.
 * Returns 0, or -errno with *err set and nothing committed. */
int stint_dir_commit(int dir_fd, uint64_t generation, struct stint_err *err);

/* Remove an unfinished generation. One that is not there is no error.
 * Returns 0, or -errno with *err set. */
int stint_dir_drop(int dir_fd, uint64_t generation, struct stint_err *err);

/* Remove what interrupted work left: gen-*.tmp and other temporary files. A complete
 * generation above the committed one (killed between rename and symlink) is committed.
 * removed: how many leftovers went; may be NULL. Returns 0, or -errno with *err set. */
int stint_dir_clean(int dir_fd, unsigned *removed, struct stint_err *err);

/* Bytes that an unprivileged user can still write there.
 * Returns 0, or -errno with *err set. */
int stint_dir_room(int dir_fd, uint64_t *bytes, struct stint_err *err);

/* Remove generations until `keep` (at least 1) are left: first those that a restart passed
 * over (damaged ones, or the user went back), then the oldest. Never the committed one.
 * removed: how many went; may be NULL. Returns 0, or -errno with *err set. */
int stint_dir_prune(int dir_fd,
                    unsigned keep,
                    unsigned *removed,
                    struct stint_err *err);

#endif
