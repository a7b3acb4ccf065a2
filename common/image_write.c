/* Write a checkpoint image with the ordinary C library.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/image_write.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define BUFFER_LEN (1u << 20)

struct stint_image_writer {
    int fd;
    char *path;
    struct stint_image_header header;
    uint8_t *buffer; /* page-aligned: what is not on disk yet */
    size_t buffered;
    uint64_t offset; /* in the file, of buffer[0] */
    bool in_range;
    uint64_t range_offset, range_len;
    XXH3_state_t *range_hash;
    uint8_t *meta;
    size_t meta_len, meta_size;
};

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static int write_at(const struct stint_image_writer *w, const uint8_t *buf, size_t len,
                    uint64_t offset, struct stint_err *err)
{
    while (len > 0) {
        ssize_t n = pwrite(w->fd, buf, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return stint_err_set(err, -errno, "write %s", w->path);
        /* a part that is no multiple of a page (disk full) cannot be carried on
         * from with O_DIRECT: the rest of that page is written again */
        if (n < (ssize_t)STINT_PAGE_SIZE)
            return stint_err_set(err, -ENOSPC, "write %s", w->path);
        n -= n % STINT_PAGE_SIZE;
        buf += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static int flush(struct stint_image_writer *w, struct stint_err *err)
{
    size_t len = round_up(w->buffered, STINT_PAGE_SIZE);
    int r;

    if (len == 0)
        return 0;
    memset(w->buffer + w->buffered, 0, len - w->buffered);
    r = write_at(w, w->buffer, len, w->offset, err);
    if (r < 0)
        return r;
    w->offset += len;
    w->buffered = 0;
    return 0;
}

int stint_image_writer_new(struct stint_image_writer **writer, int fd, const char *path,
                           enum stint_image_kind kind, uint64_t generation,
                           const uint8_t *gen_id, struct stint_err *err)
{
    struct stint_image_writer *w = calloc(1, sizeof(*w));

    if (!w)
        return stint_err_set(err, -ENOMEM, "write %s", path);
    w->fd = fd;
    w->path = strdup(path);
    w->range_hash = XXH3_createState();
    w->buffer = aligned_alloc(STINT_PAGE_SIZE, BUFFER_LEN);
    if (!w->path || !w->range_hash || !w->buffer) {
        stint_image_writer_free(w);
        return stint_err_set(err, -ENOMEM, "write %s", path);
    }
    memcpy(w->header.magic, STINT_IMAGE_MAGIC, sizeof(w->header.magic));
    w->header.version = STINT_IMAGE_VERSION;
    w->header.kind = kind;
    w->header.arch = STINT_ARCH_X86_64;
    w->header.header_len = STINT_PAGE_SIZE;
    w->header.generation = generation;
    memcpy(w->header.gen_id, gen_id, sizeof(w->header.gen_id));
    w->header.data_offset = STINT_PAGE_SIZE;
    w->offset = STINT_PAGE_SIZE;
    *writer = w;
    return 0;
}

void stint_image_writer_free(struct stint_image_writer *w)
{
    int saved = errno;

    if (!w)
        return;
    free(w->path);
    free(w->buffer);
    free(w->meta);
    XXH3_freeState(w->range_hash);
    free(w);
    errno = saved;
}

int stint_image_writer_data(struct stint_image_writer *w, const void *buf, size_t len,
                            struct stint_err *err)
{
    const uint8_t *from = buf;

    if (!w->in_range) {
        assert(w->buffered == 0);
        w->in_range = true;
        w->range_offset = w->offset;
        w->range_len = 0;
        XXH3_64bits_reset(w->range_hash);
    }
    XXH3_64bits_update(w->range_hash, buf, len);
    w->range_len += len;
    while (len > 0) {
        size_t part = BUFFER_LEN - w->buffered;

        if (part > len)
            part = len;
        memcpy(w->buffer + w->buffered, from, part);
        w->buffered += part;
        from += part;
        len -= part;
        if (w->buffered == BUFFER_LEN) {
            int r = flush(w, err);

            if (r < 0)
                return r;
        }
    }
    return 0;
}

int stint_image_writer_data_end(struct stint_image_writer *w, uint64_t *offset,
                                uint64_t *len, uint64_t *xxh3, struct stint_err *err)
{
    int r;

    if (!w->in_range) {
        *offset = w->offset;
        *len = 0;
        *xxh3 = XXH3_64bits("", 0);
        return 0;
    }
    r = flush(w, err);
    if (r < 0)
        return r;
    w->in_range = false;
    *offset = w->range_offset;
    *len = w->range_len;
    *xxh3 = XXH3_64bits_digest(w->range_hash);
    return 0;
}

int stint_image_writer_contents(struct stint_image_writer *w, const void *buf, size_t size,
                                uint64_t *offset, uint64_t *len, uint64_t *xxh3,
                                struct stint_err *err)
{
    int r = size ? stint_image_writer_data(w, buf, size, err) : 0;

    return r < 0 ? r : stint_image_writer_data_end(w, offset, len, xxh3, err);
}

static int reserve_meta(struct stint_image_writer *w, size_t more, struct stint_err *err)
{
    size_t size = w->meta_size ? w->meta_size : 64 * 1024;
    uint8_t *grown;

    if (w->meta_len + more <= w->meta_size)
        return 0;
    while (size < w->meta_len + more)
        size *= 2;
    grown = realloc(w->meta, size);
    if (!grown)
        return stint_err_set(err, -ENOMEM, "write %s", w->path);
    memset(grown + w->meta_len, 0, size - w->meta_len);
    w->meta = grown;
    w->meta_size = size;
    return 0;
}

int stint_image_writer_record(struct stint_image_writer *w, enum stint_record_type type,
                              uint16_t flags, const struct iovec *parts, size_t nparts,
                              struct stint_err *err)
{
    struct stint_record head = {.type = type, .version = 1, .flags = flags};
    uint8_t *payload;
    int r;

    for (size_t i = 0; i < nparts; i++)
        head.len += parts[i].iov_len;
    r = reserve_meta(w, sizeof(head) + round_up(head.len, 8), err);
    if (r < 0)
        return r;
    payload = w->meta + w->meta_len + sizeof(head);
    for (size_t i = 0, at = 0; i < nparts; at += parts[i].iov_len, i++) {
        if (parts[i].iov_len > 0)
            memcpy(payload + at, parts[i].iov_base, parts[i].iov_len);
    }
    head.xxh3 = XXH3_64bits(payload, head.len);
    memcpy(w->meta + w->meta_len, &head, sizeof(head));
    w->meta_len += sizeof(head) + round_up(head.len, 8);
    return 0;
}

static int write_meta(struct stint_image_writer *w, struct stint_err *err)
{
    for (size_t at = 0; at < w->meta_len;) {
        size_t part = w->meta_len - at < BUFFER_LEN ? w->meta_len - at : BUFFER_LEN;
        int r;

        memcpy(w->buffer, w->meta + at, part);
        w->buffered = part;
        r = flush(w, err);
        if (r < 0)
            return r;
        at += part;
    }
    return 0;
}

static int write_header(struct stint_image_writer *w, struct stint_err *err)
{
    w->header.header_xxh3 = 0;
    w->header.header_xxh3 = XXH3_64bits(&w->header, sizeof(w->header));
    memset(w->buffer, 0, STINT_PAGE_SIZE);
    memcpy(w->buffer, &w->header, sizeof(w->header));
    return write_at(w, w->buffer, STINT_PAGE_SIZE, 0, err);
}

int stint_image_writer_finish(struct stint_image_writer *w, uint64_t *file_len,
                              struct stint_err *err)
{
    int r;

    assert(!w->in_range);
    w->header.data_len = w->offset - w->header.data_offset;
    w->header.meta_offset = w->offset;
    w->header.meta_len = w->meta_len;
    w->header.meta_xxh3 = XXH3_64bits(w->meta, w->meta_len);
    r = write_meta(w, err);
    if (r < 0)
        return r;
    w->header.file_len = w->offset;
    r = write_header(w, err);
    if (r < 0)
        return r;
    if (fsync(w->fd) < 0)
        return stint_err_set(err, -errno, "write %s", w->path);
    if (file_len)
        *file_len = w->header.file_len;
    return 0;
}
