/* Write a checkpoint image with the ordinary C library (group images).
 * SPDX-License-Identifier: Apache-2.0
 *
 * The order is given: any number of data ranges, any number of records (data may
 * come between them), then finish. The header goes to disk last: an image whose
 * writer died has none. All writes are page-aligned multiples of a page from
 * page-aligned memory, so that the descriptor may have O_DIRECT or not.
 */
#ifndef STINT_COMMON_IMAGE_WRITE_H
#define STINT_COMMON_IMAGE_WRITE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/err.h"
#include "common/image.h"

struct stint_image_writer;

/* fd: open for writing, empty, not consumed; path: for messages, copied.
 * gen_id: 16 bytes. Returns 0 with *writer, or -errno with *err. */
int stint_image_writer_new(struct stint_image_writer **writer, int fd, const char *path,
                           enum stint_image_kind kind, uint64_t generation,
                           const uint8_t *gen_id, struct stint_err *err);

/* NULL is fine. What was not finished is a torn image. */
void stint_image_writer_free(struct stint_image_writer *writer);

/* Append bytes to the data range that is being written; the first call after
 * another range's end opens a new one on a page boundary.
 * Returns 0, or -errno with *err, after which the image must be discarded. */
int stint_image_writer_data(struct stint_image_writer *writer, const void *buf, size_t len,
                            struct stint_err *err);

/* End the data range: where it is, how long (0 if nothing was appended) and its
 * checksum, as struct stint_object or struct stint_extent wants them. */
int stint_image_writer_data_end(struct stint_image_writer *writer, uint64_t *offset,
                                uint64_t *len, uint64_t *xxh3, struct stint_err *err);

/* A data range that is in memory as a whole (len 0: none). Returns 0 or -errno with *err. */
int stint_image_writer_contents(struct stint_image_writer *writer, const void *buf, size_t size,
                                uint64_t *offset, uint64_t *len, uint64_t *xxh3,
                                struct stint_err *err);

/* Append a record whose payload is the concatenation of the parts.
 * flags: STINT_RECORD_*. Returns 0 or -errno with *err. */
int stint_image_writer_record(struct stint_image_writer *writer, enum stint_record_type type,
                              uint16_t flags, const struct iovec *parts, size_t nparts,
                              struct stint_err *err);

/* Write the meta area and then the header, and fsync. file_len may be NULL.
 * Returns 0 when the image is durable, or -errno with *err. */
int stint_image_writer_finish(struct stint_image_writer *writer, uint64_t *file_len,
                              struct stint_err *err);

#endif
