/* Write an image from inside the process it describes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/writer.h"

#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#define XXH_NO_STREAM
#include <xxhash.h>

#include "common/raw.h"

#define DIRECT_MIN (256u << 10) /* below this, copying is cheaper than a write */

void writer_init(struct writer *writer,
                 int fd,
                 int mem_fd,
                 uint8_t *staging,
                 uint8_t *meta,
                 size_t meta_max)
{
    *writer = (struct writer){.fd = fd, .mem_fd = mem_fd, .limit = UINT64_MAX,
                              .offset = STINT_PAGE_SIZE,
                              .staging = staging, .meta = meta, .meta_max = meta_max};
}

static size_t padded(size_t len, size_t to)
{
    return (len + to - 1) & ~(to - 1);
}

static void write_all(struct writer *writer, const void *from, size_t len, uint64_t at)
{
    const uint8_t *p = from;

    if (at + len > writer->limit && !writer->error)
        writer->error = -EFBIG;
    while (len > 0 && !writer->error) {
        long n = raw_syscall(SYS_pwrite64, writer->fd, p, len, at);

        if (n == -EINTR || n == -EAGAIN)
            continue;
        if (n <= 0) {
            writer->error = n < 0 ? (int)n : -EIO;
            return;
        }
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
}

static void flush_staging(struct writer *writer)
{
    if (writer->staged == 0)
        return;
    write_all(writer, writer->staging, writer->staged, writer->offset - writer->staged);
    writer->staged = 0;
}

void writer_record(struct writer *writer,
                   uint32_t type,
                   const void *fixed,
                   size_t fixed_len,
                   const void *variable,
                   size_t variable_len)
{
    struct stint_record record = {.type = type, .version = 1,
                                  .flags = STINT_RECORD_REQUIRED,
                                  .len = fixed_len + variable_len};
    size_t need = sizeof(record) + padded(record.len, 8);
    uint8_t *to = writer->meta + writer->meta_len;

    if (writer->error)
        return;
    if (need > writer->meta_max - writer->meta_len) {
        writer->error = -E2BIG;
        return;
    }
    memset(to + need - 8, 0, 8);
    if (fixed_len)
        memcpy(to + sizeof(record), fixed, fixed_len);
    if (variable_len)
        memcpy(to + sizeof(record) + fixed_len, variable, variable_len);
    record.xxh3 = XXH3_64bits(to + sizeof(record), record.len);
    memcpy(to, &record, sizeof(record));
    writer->meta_len += need;
}

void writer_begin_extents(struct writer *writer)
{
    writer->extents_at = writer->meta_len;
    writer->meta_len += sizeof(struct stint_record);
    if (writer->meta_len > writer->meta_max)
        writer->error = -E2BIG;
}

static void add_extent(struct writer *writer, const struct stint_extent *extent)
{
    if (sizeof(*extent) > writer->meta_max - writer->meta_len) {
        writer->error = -E2BIG;
        return;
    }
    memcpy(writer->meta + writer->meta_len, extent, sizeof(*extent));
    writer->meta_len += sizeof(*extent);
}

/* Read memory that write(2) refuses, page by page past what cannot be read at all
 * (a mapping beyond the end of its file). Returns bytes from `start` on. */
static size_t copy_hidden(const struct writer *writer,
                          uint64_t start,
                          size_t len,
                          uint8_t *to)
{
    long n = writer->mem_fd < 0
                 ? -EBADF
                 : raw_syscall(SYS_pread64, writer->mem_fd, to, len, start);

    return n > 0 ? (size_t)n & ~(size_t)(STINT_PAGE_SIZE - 1) : 0;
}

static void store_staged(struct writer *writer,
                         uint64_t start,
                         size_t len,
                         uint64_t addr,
                         bool readable)
{
    while (len > 0 && !writer->error) {
        size_t room = WRITER_STAGING_BYTES - writer->staged;
        size_t part = len < room ? len : room;
        uint8_t *to = writer->staging + writer->staged;
        struct stint_extent extent;

        if (room == 0) {
            flush_staging(writer);
            continue;
        }
        if (readable) {
            memcpy(to, (const void *)start, part);
        } else if ((part = copy_hidden(writer, start, part, to)) == 0) {
            start += STINT_PAGE_SIZE;
            addr += STINT_PAGE_SIZE;
            len -= STINT_PAGE_SIZE;
            continue;
        }
        extent = (struct stint_extent){
            .addr = addr, .len = part, .offset = writer->offset, .stored_len = part,
            .encoding = STINT_ENC_RAW, .xxh3 = XXH3_64bits(to, part)};
        add_extent(writer, &extent);
        writer->staged += part;
        writer->offset += part;
        start += part;
        addr += part;
        len -= part;
    }
}

static void store_direct(struct writer *writer, uint64_t start, size_t len, uint64_t addr)
{
    flush_staging(writer);
    while (len > 0 && !writer->error) {
        size_t part = len < STINT_EXTENT_MAX ? len : STINT_EXTENT_MAX;
        struct stint_extent extent = {
            .addr = addr, .len = part, .offset = writer->offset, .stored_len = part,
            .encoding = STINT_ENC_RAW, .xxh3 = XXH3_64bits((const void *)start, part)};

        write_all(writer, (const void *)start, part, writer->offset);
        add_extent(writer, &extent);
        writer->offset += part;
        start += part;
        addr += part;
        len -= part;
    }
}

void writer_memory(struct writer *writer,
                   uint64_t start,
                   uint64_t len,
                   uint64_t addr,
                   bool readable)
{
    if (readable && len >= DIRECT_MIN)
        store_direct(writer, start, len, addr);
    else
        store_staged(writer, start, len, addr, readable);
}

int writer_finish(struct writer *writer, struct stint_image_header *header)
{
    size_t meta_padded;

    flush_staging(writer);
    if (writer->extents_at) {
        struct stint_record record = {.type = STINT_REC_EXTENTS, .version = 1,
                                      .flags = STINT_RECORD_REQUIRED};
        uint8_t *at = writer->meta + writer->extents_at;

        record.len = writer->meta_len - writer->extents_at - sizeof(record);
        record.xxh3 = XXH3_64bits(at + sizeof(record), record.len);
        memcpy(at, &record, sizeof(record));
    }
    meta_padded = padded(writer->meta_len, STINT_PAGE_SIZE);
    if (meta_padded > writer->meta_max)
        writer->error = -E2BIG;
    if (writer->error)
        return writer->error;
    memset(writer->meta + writer->meta_len, 0, meta_padded - writer->meta_len);
    write_all(writer, writer->meta, meta_padded, writer->offset);

    memcpy(header->magic, STINT_IMAGE_MAGIC, sizeof(header->magic));
    header->version = STINT_IMAGE_VERSION;
    header->arch = STINT_ARCH_X86_64;
    header->header_len = STINT_PAGE_SIZE;
    header->data_offset = STINT_PAGE_SIZE;
    header->data_len = writer->offset - STINT_PAGE_SIZE;
    header->meta_offset = writer->offset;
    header->meta_len = writer->meta_len;
    header->file_len = writer->offset + meta_padded;
    header->meta_xxh3 = XXH3_64bits(writer->meta, writer->meta_len);
    header->header_xxh3 = 0;
    header->header_xxh3 = XXH3_64bits(header, sizeof(*header));
    memset(writer->staging, 0, STINT_PAGE_SIZE);
    memcpy(writer->staging, header, sizeof(*header));
    write_all(writer, writer->staging, STINT_PAGE_SIZE, 0);
    return writer->error;
}
