/* One generation while it is made: its directory, what agents wrote, the commit.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_GENERATION_H
#define STINT_COORDINATOR_GENERATION_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct stint_manifest;

/* What one agent contributed: references to its messages. */
struct generation_part {
    json_t *hello;
    json_t *captured;
};

struct generation {
    uint64_t number;
    uint8_t id[16];
    char id_hex[33];
    char *path;          /* absolute, of the unfinished directory */
    int fd;              /* the same */
    int64_t started;     /* seconds since 1970 */
    uint64_t started_ms; /* CLOCK_MONOTONIC */
    struct generation_part *parts;
    size_t nparts;
};

/* What the manifest says besides. */
struct generation_facts {
    const char *slurm_job; /* "" when it is none */
    uint64_t run;
    uint64_t duration_ms;
    int held;
};

/* Make the unfinished directory of the next generation.
 * Returns 0 with *generation set, or -errno with *err set. */
int generation_begin(int dir_fd,
                     const char *dir,
                     struct generation **generation,
                     struct stint_err *err);

/* Keep an agent's result. Takes references of both. Returns 0 or -ENOMEM. */
int generation_add(struct generation *generation, json_t *hello, json_t *captured);

/* Check that every file that was named is there, whole and of this generation, write
 * the manifest and commit.
 *
 * manifest: what was written, stint_manifest_deinit() by the caller
 *
 * Returns 0, or -errno with *err set and nothing committed.
 */
int generation_commit(const struct generation *generation,
                      int dir_fd,
                      const struct generation_facts *facts,
                      struct stint_manifest *manifest,
                      struct stint_err *err);

/* Remove what was written. A failure is logged: it is swept at the next start. */
void generation_drop(const struct generation *generation, int dir_fd);

/* Release the memory and the descriptor; takes NULL. */
void generation_free(struct generation *generation);

#endif
