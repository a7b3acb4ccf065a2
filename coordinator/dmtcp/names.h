/* The files by which DMTCP's users know a checkpoint: ckpt_PROGRAM_ID.dmtcp, one for each
 * process, and dmtcp_restart_script.sh.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The data of a computation is in CKPTDIR/ckpt_COMPUTATION_files, a directory as `stint
 * list` and `stint verify` take it. A .dmtcp file is one JSON object that names a process
 * of one generation there; it appears when that is committed, and its name,
 * ckpt_PROGRAM_COMPUTATION-PID-GROUP.dmtcp, stays the same from generation to generation
 * (unless unique names were asked for).
 */
#ifndef STINT_DMTCP_NAMES_H
#define STINT_DMTCP_NAMES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "coordinator/dmtcp/dmtcp.h"

struct stint_manifest;

/* CKPTDIR/ckpt_COMPUTATION_files, freed by the caller; NULL for want of memory. */
char *dmtcp_files_path(const char *ckptdir, const char *computation);

/* mkdir -p; and it can be written to. Returns 0 or -errno with *err set. */
int dmtcp_make_directory(const char *path, struct stint_err *err);

/* --- writing ---------------------------------------------------------------- */

struct dmtcp_names_order {
    const char *computation;
    const char *files; /* absolute path of ckpt_COMPUTATION_files */
    const struct stint_manifest *manifest;
    unsigned interval_s;
    bool unique;
    bool open_files;
    const char *default_dir; /* for groups that `ckptdir` does not know */
    const char *coordinator_dir; /* gets a restart script too; may be NULL */
    const char *(*ckptdir)(const char *group, void *arg);
    const char *(*program)(const char *group, int64_t pid, void *arg); /* or NULL */
    void *arg;
};

/* Write the files of a committed generation, remove those of processes that are not part
 * of it any more, and write the restart scripts. Each appears complete, by rename.
 * Returns 0; or -errno with *err set to the first failure, when all else is done. */
int dmtcp_names_write(const struct dmtcp_names_order *order, struct stint_err *err);

/* --- reading ----------------------------------------------------------------- */

struct dmtcp_name {
    char *path;     /* of the file itself, as given */
    char *files;    /* directory with the data; may have been moved */
    char *ckptdir;  /* where it was written */
    char *program;
    char computation[DMTCP_COMPUTATION_DIGITS + 1];
    char group[64];
    uint64_t generation;
    int64_t pid;
    unsigned interval_s;
    bool unique;
    bool open_files;
};

/* Read one. Returns 0 (dmtcp_name_deinit() by the caller), or -errno with *err set. */
int dmtcp_name_read(const char *path, struct dmtcp_name *name, struct stint_err *err);
void dmtcp_name_deinit(struct dmtcp_name *name);

#endif
