/* Write an image from inside the process it describes: common/image.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Memory goes to the file straight from where it is, or through a staging buffer
 * where it comes in small pieces or cannot be read by write(2). The meta area is
 * built in memory: all records first, the extents as the last one.
 */
#ifndef STINT_RUNTIME_WRITER_H
#define STINT_RUNTIME_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/image.h"
#include "runtime/state.h"

#define WRITER_STAGING_BYTES (4u << 20)

struct writer {
    int fd;     /* the image, open for writing, perhaps O_DIRECT */
    int mem_fd; /* /proc/self/mem, or -1 */
    uint64_t limit;  /* RLIMIT_FSIZE: going beyond would raise SIGXFSZ */
    uint64_t offset; /* where the next data goes, staged bytes included */
    uint8_t *staging;
    size_t staged;
    uint8_t *meta;
    size_t meta_len, meta_max;
    size_t extents_at; /* start of the extents record in meta; 0 = not begun */
    int error;         /* first failure, -errno; nothing is done after it */
};

/* limit is left at "none". staging: WRITER_STAGING_BYTES; meta: meta_max bytes; both page-aligned. */
void writer_init(struct writer *writer,
                 int fd,
                 int mem_fd,
                 uint8_t *staging,
                 uint8_t *meta,
                 size_t meta_max) STINT_HIDDEN;

/* Append a record: a fixed part and a variable one, either may be empty. */
void writer_record(struct writer *writer,
                   uint32_t type,
                   const void *fixed,
                   size_t fixed_len,
                   const void *variable,
                   size_t variable_len) STINT_HIDDEN;

/* From here on only writer_memory() and writer_finish(). */
void writer_begin_extents(struct writer *writer) STINT_HIDDEN;

/* Store [start, start + len) of this process as the memory at `addr` of the image.
 * readable: write(2) can read it. Pages that nobody can read are left out. */
void writer_memory(struct writer *writer,
                   uint64_t start,
                   uint64_t len,
                   uint64_t addr,
                   bool readable) STINT_HIDDEN;

/* Write what is left, the meta area and at last the header. Returns 0 or -errno;
 * header->kind, generation and gen_id are set by the caller, the rest here. */
int writer_finish(struct writer *writer, struct stint_image_header *header) STINT_HIDDEN;

#endif
