/* Read a checkpoint image: nothing in the file is believed before it was checked.
 * SPDX-License-Identifier: Apache-2.0
 *
 * stint_image_open() reads header and meta area into memory and checks them
 * wholly: magic, version, architecture, lengths, checksums, the bounds of every
 * record and of every string, table and data range in it. So the accessors
 * below cannot fail and what they point to may be used without further checks.
 * The data area (page extents, contents of objects) is checked by whoever reads
 * it, or all at once by stint_image_verify().
 */
#ifndef STINT_COMMON_IMAGE_READ_H
#define STINT_COMMON_IMAGE_READ_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/image.h"

struct stint_saved_file;
struct stint_saved_piece;

struct stint_image {
    char *path; /* for messages */
    int fd;     /* CLOEXEC, closed by stint_image_close() */
    struct stint_image_header header;
    uint8_t *meta; /* header.meta_len bytes */
};

/* One record: payload points into image->meta, 8-byte aligned. */
struct stint_image_record {
    uint32_t type;
    uint16_t version;
    uint16_t flags;
    uint64_t len;
    const void *payload;
};

/* Open `name` below dirfd (AT_FDCWD for a path) and check it.
 *
 * kind: what it has to be, or 0 for any
 *
 * Returns 0 with *image set (free with stint_image_close()); else -errno with *err
 * naming the file and what is wrong: -ENOENT, -EACCES, ... from open(2),
 * -EBADMSG torn or altered, -EPROTONOSUPPORT another version or an unknown
 * required record, -ENOEXEC another architecture.
 */
int stint_image_open(struct stint_image **image, int dirfd, const char *name,
                     enum stint_image_kind kind, struct stint_err *err);

/* NULL is fine; errno is kept. */
void stint_image_close(struct stint_image *image);

/* Walk all records: *cursor starts at 0. Returns 1 with *record, 0 at the end. */
int stint_image_next(const struct stint_image *image, size_t *cursor,
                     struct stint_image_record *record);

/* Walk the records of one type in the same way. */
int stint_image_next_of(const struct stint_image *image, enum stint_record_type type,
                        size_t *cursor, struct stint_image_record *record);

/* First record of a type: its payload, or NULL. len may be NULL. */
const void *stint_image_find(const struct stint_image *image, enum stint_record_type type,
                             uint64_t *len);

/* Typed views. The strings are NUL-terminated, "" where the image has none. */
const struct stint_process *stint_image_process(const struct stint_image *image);
const struct stint_group *stint_image_group(const struct stint_image *image);
const char *stint_vma_path(const struct stint_vma *vma);
const char *stint_member_name(const struct stint_member *member);
const char *stint_object_path(const struct stint_object *object);
const void *stint_object_extra(const struct stint_object *object);
const char *stint_segment_name(const struct stint_segment *segment);
const char *stint_segment_path(const struct stint_segment *segment);
const char *stint_file_id_path(const struct stint_file_id *id); /* STINT_REC_EXE */
const char *stint_saved_path(const struct stint_saved_file *file);
const char *stint_saved_target(const struct stint_saved_file *file);
const struct stint_saved_piece *stint_saved_pieces(const struct stint_saved_file *file);

/* Read the data area and compare every extent and every object's contents with
 * its checksum. Returns 0, or -errno with *err naming the file and the place.
 * Extents of an encoding that this version does not know are -EPROTONOSUPPORT;
 * those of an earlier generation (STINT_ENC_PARENT) are that file's to check.
 */
int stint_image_verify(const struct stint_image *image, struct stint_err *err);

/* Read len bytes at offset of the data area into buf and compare their checksum.
 * Returns 0 or -errno with *err. */
int stint_image_read_data(const struct stint_image *image, uint64_t offset, uint64_t len,
                          uint64_t xxh3, void *buf, struct stint_err *err);

#endif
