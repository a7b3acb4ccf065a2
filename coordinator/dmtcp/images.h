/* Which checkpoint is meant by the images on a command line.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_DMTCP_IMAGES_H
#define STINT_DMTCP_IMAGES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/manifest.h"
#include "coordinator/dmtcp/dmtcp.h"

/* One program of the checkpoint, with all its processes. */
struct dmtcp_program {
    const struct stint_manifest_group *group;
    char *ckptdir; /* where its images were written */
    bool is_given; /* its files were named */
};

struct dmtcp_images {
    char computation[DMTCP_COMPUTATION_DIGITS + 1];
    char *files; /* directory of the generations, absolute */
    struct stint_manifest manifest;
    struct dmtcp_program *programs; /* all of the manifest */
    size_t ngiven;
    unsigned interval_s; /* in force when it was written */
    bool unique;
    bool open_files; /* --ckpt-open-files was given */
};

/* Find the one generation that the words name: files ckpt_*.dmtcp, directories
 * ckpt_*_files, or directories that hold such files.
 *
 * restartdir: where the files are looked for, at any depth; NULL = where they are named.
 *     Without any word all files below it are meant.
 *
 * Returns 0 (dmtcp_images_deinit() by the caller), or -errno with *err set: what is wrong
 * with the choice, and what to type instead.
 */
int dmtcp_images_find(int count, char **words, const char *restartdir,
                      struct dmtcp_images *images, struct stint_err *err);
void dmtcp_images_deinit(struct dmtcp_images *images);

#endif
