/* Contents and records of saved files.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_saved.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image.h"
#include "common/image_write.h"

#define COPY_BYTES (1u << 20)

/* --- contents ------------------------------------------------------------------------ */

static int add_piece(struct agent_saved_file *file, uint64_t offset, uint64_t len)
{
    struct stint_saved_piece *pieces
        = reallocarray(file->pieces, file->record.npieces + 1, sizeof(*pieces));

    if (!pieces)
        return -ENOMEM;
    file->pieces = pieces;
    pieces[file->record.npieces++] = (struct stint_saved_piece){offset, len};
    return 0;
}

/* What is no hole. */
static int find_pieces(struct agent_saved_file *file, int fd)
{
    off_t size = (off_t)file->record.size, at = 0;

    while (at < size) {
        off_t end, data = lseek(fd, at, SEEK_DATA);

        if (data < 0 && errno == ENXIO)
            return 0; /* nothing but a hole follows */
        if (data < 0)
            return add_piece(file, (uint64_t)at, (uint64_t)(size - at)); /* cannot tell */
        if (data >= size)
            return 0;
        end = lseek(fd, data, SEEK_HOLE);
        if (end <= data || end > size)
            end = size;
        if (add_piece(file, (uint64_t)data, (uint64_t)(end - data)) < 0)
            return -ENOMEM;
        at = end;
    }
    return 0;
}

/* Somebody else may cut it meanwhile: then zeroes take the place of what is gone. */
static int store_piece(const struct agent_saved_file *file, int fd,
                       const struct stint_saved_piece *piece, char *buf,
                       struct stint_image_writer *writer, struct stint_err *err)
{
    uint64_t done = 0;

    while (done < piece->len) {
        size_t want = piece->len - done < COPY_BYTES ? piece->len - done : COPY_BYTES;
        ssize_t n = pread(fd, buf, want, (off_t)(piece->offset + done));
        int ret;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return stint_err_set(err, -errno, "read %s", file->path);
        if (n == 0)
            memset(buf, 0, want);
        ret = stint_image_writer_data(writer, buf, n ? (size_t)n : want, err);
        if (ret < 0)
            return ret;
        done += n ? (size_t)n : want;
    }
    return 0;
}

static int store_file(struct agent_saved_file *file, uint64_t start, char *buf,
                      struct stint_image_writer *writer, uint64_t *len, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd
        = open(file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    int ret = 0;

    *len = 0;
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) {
        file->record.mode = 0; /* another program has removed it: it is left out */
        return 0;
    }
    if (fd < 0)
        return stint_err_set(err, -errno, "save %s", file->path);
    file->record.start = start;
    if (find_pieces(file, fd) < 0)
        return stint_err_set(err, -ENOMEM, "save %s", file->path);
    for (uint32_t i = 0; i < file->record.npieces && ret == 0; i++) {
        ret = store_piece(file, fd, &file->pieces[i], buf, writer, err);
        *len += file->pieces[i].len;
    }
    return ret;
}

/* Another name of a file that was stored already. */
static const struct agent_saved_file *find_twin(const struct agent_saved *saved, size_t index)
{
    const struct stint_saved_file *record = &saved->list[index].record;

    for (size_t i = 0; i < index; i++) {
        const struct stint_saved_file *other = &saved->list[i].record;

        if (other->mode && other->dev == record->dev && other->ino == record->ino)
            return &saved->list[i];
    }
    return NULL;
}

int agent_saved_store(struct agent_saved *saved, struct stint_image_writer *writer,
                      struct stint_err *err)
{
    STINT_AUTO_FREE char *buf = malloc(COPY_BYTES);
    uint64_t start = 0, len;

    if (!buf)
        return stint_err_set(err, -ENOMEM, "save files");
    for (size_t i = 0; i < saved->count; i++) {
        struct agent_saved_file *file = &saved->list[i];
        int ret;

        if (!S_ISREG(file->record.mode))
            continue;
        if (file->has_twins && find_twin(saved, i)) {
            file->record.flags |= STINT_SAVED_TWIN;
            continue;
        }
        ret = store_file(file, start, buf, writer, &len, err);
        if (ret < 0)
            return ret;
        start += len;
    }
    for (size_t i = 0; i < saved->count; i++)
        saved->record.count += saved->list[i].record.mode != 0;
    return stint_image_writer_data_end(writer, &saved->record.data_offset,
                                       &saved->record.data_len, &saved->record.data_xxh3, err);
}

/* --- records --------------------------------------------------------------------------- */

static int write_file(const struct agent_saved_file *file, struct stint_image_writer *writer,
                      struct stint_err *err)
{
    static const char zeroes[8];
    struct stint_saved_file record = file->record;
    size_t names;
    struct iovec parts[5];

    record.path_len = (uint32_t)strlen(file->path) + 1;
    record.target_len = file->target ? (uint32_t)strlen(file->target) + 1 : 0;
    names = (size_t)record.path_len + record.target_len;
    parts[0] = (struct iovec){&record, sizeof(record)};
    parts[1] = (struct iovec){file->path, record.path_len};
    parts[2] = (struct iovec){file->target, record.target_len};
    parts[3] = (struct iovec){(void *)zeroes, (8 - names % 8) % 8};
    parts[4] = (struct iovec){file->pieces, record.npieces * sizeof(*file->pieces)};
    return stint_image_writer_record(writer, STINT_REC_SAVED_FILE, STINT_RECORD_REQUIRED, parts,
                                     5, err);
}

int agent_saved_write(const struct agent_saved *saved, struct stint_image_writer *writer,
                      struct stint_err *err)
{
    const struct iovec part = {(void *)&saved->record, sizeof(saved->record)};
    int ret;

    if (saved->record.count == 0)
        return 0;
    ret = stint_image_writer_record(writer, STINT_REC_SAVED, STINT_RECORD_REQUIRED, &part, 1,
                                    err);
    for (size_t i = 0; i < saved->count && ret == 0; i++)
        ret = saved->list[i].record.mode ? write_file(&saved->list[i], writer, err) : 0;
    return ret;
}

void agent_saved_free(struct agent_saved *saved)
{
    if (!saved)
        return;
    for (size_t i = 0; i < saved->count; i++) {
        free(saved->list[i].path);
        free(saved->list[i].target);
        free(saved->list[i].pieces);
    }
    free(saved->list);
    free(saved);
}
