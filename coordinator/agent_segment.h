/* Shared memory of the program that is not a file's own storage.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_SEGMENT_H
#define STINT_COORDINATOR_AGENT_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/image.h"
#include "coordinator/agent_proc.h"

#define AGENT_SEGMENT_E_REFUSED 1 /* outcome: not supported; *err says why in words */

struct agent_range {
    uint64_t start, end; /* offsets in a segment */
};

/* What one process maps of a segment. */
struct agent_mapper {
    pid_t pid; /* as the agent sees it */
    uint64_t covered; /* bytes of the segment, that it may read if any can be read */
    bool readable;
    struct agent_range *ranges; /* sorted, disjoint */
    size_t nranges;
};

struct agent_segment {
    struct stint_segment record;
    char *name; /* of a memfd, else NULL */
    char *path; /* where the file is or was, else NULL */
    struct agent_mapper *mappers;
    size_t nmappers;
    uint64_t end; /* highest mapped offset */
    bool sized;    /* record.size is the file's: somebody has it open */
    bool complete; /* what is mapped is all that there is */
    struct agent_range *ranges; /* of all mappers together, sorted, disjoint */
    size_t nranges;
    pid_t writer; /* who stores it, as the agent sees it */
    char *image_name;
    int image_fd;
};

struct agent_objects;

struct agent_segments {
    struct agent_segment *list; /* id = index + 1 */
    size_t count;
};

/* Read the mappings of one stopped process. inner: its pid as it sees it, for messages.
 * Returns 0, AGENT_SEGMENT_E_REFUSED or -errno, with *err. */
int agent_segments_read(struct agent_segments *segments, const struct agent_proc *proc,
                        pid_t inner, struct stint_err *err);

/* What the program's descriptors tell about the files behind segments. */
void agent_segments_size(struct agent_segments *segments, const struct agent_objects *objects);

/* Choose who writes each one. What the one that maps most of it does not map becomes a
 * segment of its own, of the kind PART. Returns 0 or -errno with *err. */
int agent_segments_choose(struct agent_segments *segments, struct stint_err *err);

/* Find one by the file behind it, or NULL. */
const struct agent_segment *agent_segments_find(const struct agent_segments *segments,
                                                uint64_t dev, uint64_t ino);

/* Does this process map it? */
bool agent_segment_maps(const struct agent_segment *segment, pid_t pid);

/* Release everything; not the struct. */
void agent_segments_deinit(struct agent_segments *segments);

#endif
