/* Take the image of this process: attributes, mappings, memory.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RUNTIME_CAPTURE_H
#define STINT_RUNTIME_CAPTURE_H

#include "common/ckpt.h"
#include "runtime/state.h"

#define CAPTURE_SEGMENTS_MAX   4096
#define CAPTURE_EXCLUSIONS_MAX 4
#define CAPTURE_REASON_MAX     200

struct capture {
    const struct session *session;
    struct stint_rlimit nofile, fsize; /* as the program has them */
    struct exclusion exclusions[CAPTURE_EXCLUSIONS_MAX];
    uint32_t nexclusions;
    struct stint_ckpt_segment *segments;
    uint32_t nsegments;
    /* scratch, page-aligned, excluded from the image */
    uint8_t *staging, *pages, *meta;
    char *text;
    struct map_entry *entry;
    struct region *regions;
    size_t nregions, meta_max;
    uint64_t mapped_len;
    char reason[CAPTURE_REASON_MAX]; /* one line, when something fails */
};

#define CAPTURE_PAGES_BYTES   (64u << 10)
#define CAPTURE_TEXT_BYTES    (64u << 10)
#define CAPTURE_REGIONS_MAX   (256u << 10)

/* Reserve the scratch memory. Returns 0 or -errno. Context: leader, siblings stopped. */
int capture_init(struct capture *capture, const struct session *session) STINT_HIDDEN;
void capture_deinit(struct capture *capture) STINT_HIDDEN;

/* Write the image of this process to fd. Returns 0 and *captured filled, or -errno
 * with capture->reason. */
int capture_process(struct capture *capture,
                    int fd,
                    const struct stint_ckpt_capture *order,
                    struct stint_ckpt_captured *captured) STINT_HIDDEN;

/* Write what this process maps of a shared segment to fd. Likewise. */
int capture_segment(struct capture *capture,
                    int fd,
                    const struct stint_ckpt_segment *segment,
                    const struct stint_ckpt_capture *order) STINT_HIDDEN;

/* attributes.c: what becomes of new mappings, STINT_PROC_LOCK_*. */
uint32_t attributes_lock_future(void) STINT_HIDDEN;

/* attributes.c: records of everything but memory. */
struct writer;
void attributes_write(struct capture *capture, struct writer *writer) STINT_HIDDEN;
/* Are there pending signals of the process that cannot be looked at? */
bool attributes_are_out_of_reach(struct capture *capture) STINT_HIDDEN;

#endif
