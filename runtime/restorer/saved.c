/* Files that no process had open and that are in the checkpoint all the same.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is missing is made at once; what is there and differs is put back when the program
 * goes on. What is there and was not at the checkpoint stays: it may be anybody's.
 */
#include "runtime/restorer/saved.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "runtime/restorer/gone.h"
#include "runtime/restorer/objects.h"

#define PIECE (1u << 20)

struct stint_saved_files {
    const struct stint_saved *saved;
    const struct stint_saved_file **list;
    bool *made;
    size_t count, nmade;
    const char *foreign; /* a directory of this name is not ours: nothing is done below */
    char trouble[400];   /* the first of what could be done without, or "" */
};

/* --- which ---------------------------------------------------------------------------- */

static int load(struct stint_restore *restore, struct stint_err *err)
{
    const struct stint_image *image = restore->group_image;
    const struct stint_saved *saved = stint_image_find(image, STINT_REC_SAVED, NULL);
    struct stint_saved_files *all;
    struct stint_image_record rec;
    size_t cursor = 0;

    if (!saved)
        return 0;
    all = calloc(1, sizeof(*all));
    if (all) {
        all->saved = saved;
        all->list = calloc(saved->count + 1, sizeof(*all->list));
        all->made = calloc(saved->count + 1, sizeof(*all->made));
    }
    if (!all || !all->list || !all->made)
        return stint_err_set(err, -ENOMEM, "read the saved files");
    while (stint_image_next_of(image, STINT_REC_SAVED_FILE, &cursor, &rec))
        all->list[all->count++] = rec.payload;
    restore->saved = all;
    return 0;
}

static bool is_below(const char *path, const char *dir)
{
    size_t len = dir ? strlen(dir) : 0;

    return dir && strncmp(path, dir, len) == 0 && path[len] == '/';
}

/* The one that has the contents. */
static const struct stint_saved_file *first_of(const struct stint_saved_files *all,
                                               const struct stint_saved_file *file)
{
    for (size_t i = 0; file->flags & STINT_SAVED_TWIN && i < all->count; i++) {
        const struct stint_saved_file *other = all->list[i];

        if (other->dev == file->dev && other->ino == file->ino
            && !(other->flags & STINT_SAVED_TWIN))
            return other;
    }
    return file;
}

/* --- contents --------------------------------------------------------------------------- */

/* What the file holds at `at`, up to len bytes of one kind: data, or a hole's zeroes.
 * Returns how many, or -errno. */
static ssize_t read_saved(struct stint_restore *restore, const struct stint_saved_file *file,
                          uint64_t at, char *buf, size_t len)
{
    const struct stint_saved_piece *pieces = stint_saved_pieces(file);
    uint64_t start = restore->saved->saved->data_offset + file->start;
    ssize_t n;

    if (len > file->size - at)
        len = file->size - at;
    for (uint32_t i = 0; i < file->npieces; start += pieces[i].len, i++) {
        if (at >= pieces[i].offset + pieces[i].len)
            continue;
        if (at < pieces[i].offset) {
            if (len > pieces[i].offset - at)
                len = pieces[i].offset - at;
            break;
        }
        at -= pieces[i].offset;
        if (len > pieces[i].len - at)
            len = pieces[i].len - at;
        n = pread(restore->group_image->fd, buf, len, (off_t)(start + at));
        return n > 0 ? n : n < 0 ? -errno : -EIO;
    }
    memset(buf, 0, len);
    return (ssize_t)len;
}

static int write_at(int fd, const char *bytes, size_t len, uint64_t at)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, bytes, len, (off_t)at);

        if (n < 0)
            return -errno;
        bytes += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static void set_times(const struct stint_saved_file *file)
{
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {(time_t)(file->mtime_ns / 1000000000), (long)(file->mtime_ns % 1000000000)}};

    /* a file system may not know them */
    (void)utimensat(AT_FDCWD, stint_saved_path(file), times, AT_SYMLINK_NOFOLLOW);
}

/* Into a fresh file, leaving its holes. */
static int fill(struct stint_restore *restore, const struct stint_saved_file *file, int fd,
                char *buf)
{
    const struct stint_saved_file *first = first_of(restore->saved, file);
    const struct stint_saved_piece *pieces = stint_saved_pieces(first);

    for (uint32_t i = 0; i < first->npieces; i++) {
        for (uint64_t done = 0; done < pieces[i].len;) {
            uint64_t at = pieces[i].offset + done;
            ssize_t n = read_saved(restore, first, at, buf, PIECE);
            int r = n < 0 ? (int)n : write_at(fd, buf, (size_t)n, at);

            if (r < 0)
                return r;
            done += (uint64_t)n;
        }
    }
    return ftruncate(fd, (off_t)first->size) < 0 ? -errno : 0;
}

/* --- missing ones ------------------------------------------------------------------------- */

static int make_regular(struct stint_restore *restore, const struct stint_saved_file *file)
{
    const char *path = stint_saved_path(file);
    STINT_AUTO_FREE char *buf = malloc(PIECE);
    STINT_AUTO_CLOSE int fd = -1;
    int r;

    if (file->flags & STINT_SAVED_TWIN
        && link(stint_saved_path(first_of(restore->saved, file)), path) == 0)
        return 0;
    if (!buf)
        return -ENOMEM;
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    r = fill(restore, file, fd, buf);
    if (r == 0 && fchmod(fd, file->mode & 07777) < 0)
        r = -errno;
    if (r < 0)
        (void)unlink(path); /* ours, and of no use */
    return r;
}

static int make(struct stint_restore *restore, const struct stint_saved_file *file,
                struct stint_err *err)
{
    const char *path = stint_saved_path(file);
    int r = stint_make_parents(path, err);

    if (r < 0)
        return r;
    if (S_ISDIR(file->mode))
        r = mkdir(path, 0700) < 0 ? -errno : 0; /* its mode comes last */
    else if (S_ISLNK(file->mode))
        r = symlink(stint_saved_target(file), path) < 0 ? -errno : 0;
    else if (S_ISFIFO(file->mode))
        r = mkfifo(path, file->mode & 07777) < 0 || chmod(path, file->mode & 07777) < 0 ? -errno
                                                                                        : 0;
    else if (S_ISREG(file->mode))
        r = make_regular(restore, file);
    if (r < 0)
        return stint_err_set(err, r, "put %s back", path);
    set_times(file);
    return 0;
}

/* Somebody else may have made a directory of that name where everybody may. */
static bool is_foreign(const struct stint_saved_file *file, const struct stat *st)
{
    return S_ISDIR(file->mode) && (!S_ISDIR(st->st_mode) || st->st_uid != geteuid());
}

static int make_one(struct stint_restore *restore, size_t index, struct stint_err *err)
{
    struct stint_saved_files *all = restore->saved;
    const struct stint_saved_file *file = all->list[index];
    const char *path = stint_saved_path(file);
    struct stat st;
    int r;

    if (is_below(path, all->foreign))
        return 0;
    if (lstat(path, &st) == 0) {
        if (is_foreign(file, &st)) {
            all->foreign = path;
            if (!all->trouble[0])
                (void)snprintf(all->trouble, sizeof(all->trouble), /* cut when too long */
                               "%s is not the user's own directory now: what was saved in it "
                               "is not put back",
                               path);
        }
        return 0;
    }
    r = errno == ENOENT || errno == ENOTDIR ? make(restore, file, err)
                                            : stint_err_set(err, -errno, "look at %s", path);
    if (r == 0) {
        all->made[index] = true;
        all->nmade++;
        return 0;
    }
    if (!(file->flags & STINT_SAVED_OFFERED))
        return r;
    if (!all->trouble[0])
        (void)snprintf(all->trouble, sizeof(all->trouble), "%.399s", err->text);
    return 0;
}

int stint_saved_make(struct stint_restore *restore, struct stint_err *err)
{
    int r = load(restore, err);
    struct stint_saved_files *all = restore->saved;

    for (size_t i = 0; r == 0 && all && i < all->count; i++)
        r = make_one(restore, i, err);
    for (size_t i = all ? all->count : 0; i-- > 0;) {
        const struct stint_saved_file *file = all->list[i];

        if (all->made[i] && S_ISDIR(file->mode))
            (void)chmod(stint_saved_path(file), file->mode & 07777); /* just made: ours */
    }
    return r;
}

void stint_saved_tell(struct stint_restore *restore)
{
    const struct stint_saved_files *all = restore->saved;

    if (all && all->trouble[0])
        stint_restore_note(restore, "%s", all->trouble);
    if (all && all->nmade > 0)
        stint_restore_note(restore, "%zu saved files were gone: made again from the checkpoint",
                           all->nmade);
}

/* --- changed ones --------------------------------------------------------------------------- */

/* Open for writing what is open for reading, whatever its mode says. */
static int open_to_change(int fd, const struct stat *st)
{
    int fresh = stint_reopen(fd, O_RDWR);

    if (fresh != -EACCES || fchmod(fd, st->st_mode | S_IWUSR) < 0)
        return fresh;
    return stint_reopen(fd, O_RDWR);
}

/* Write what differs. *out: opened when something does. Returns 0 or -errno. */
static int put_differences(struct stint_restore *restore, const struct stint_saved_file *file,
                           int fd, const struct stat *st, int *out)
{
    STINT_AUTO_FREE char *wanted = malloc(PIECE);
    STINT_AUTO_FREE char *present = malloc(PIECE);
    ssize_t n;
    int r;

    if (!wanted || !present)
        return -ENOMEM;
    for (uint64_t at = 0; at < file->size; at += (uint64_t)n) {
        n = read_saved(restore, file, at, wanted, PIECE);
        if (n < 0)
            return (int)n;
        if (pread(fd, present, (size_t)n, (off_t)at) == n
            && memcmp(wanted, present, (size_t)n) == 0)
            continue;
        if (*out < 0)
            *out = open_to_change(fd, st);
        if (*out < 0)
            return *out;
        r = write_at(*out, wanted, (size_t)n, at);
        if (r < 0)
            return r;
    }
    return 0;
}

static int put_back(struct stint_restore *restore, const struct stint_saved_file *file)
{
    STINT_AUTO_CLOSE int fd = open(stint_saved_path(file),
                                   O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    const struct stint_saved_file *first = first_of(restore->saved, file);
    STINT_AUTO_CLOSE int out = -1;
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
        return -EEXIST;
    r = put_differences(restore, first, fd, &st, &out);
    if (r == 0 && (uint64_t)st.st_size > first->size) {
        if (out < 0)
            out = open_to_change(fd, &st);
        r = out < 0 ? out : ftruncate(out, (off_t)first->size) < 0 ? -errno : 0;
    }
    if (out >= 0) {
        (void)fchmod(fd, file->mode & 07777); /* our own file */
        set_times(file);
    }
    return r;
}

void stint_saved_put_back(struct stint_restore *restore)
{
    struct stint_saved_files *all = restore->saved;

    for (size_t i = 0; all && i < all->count; i++) {
        const struct stint_saved_file *file = all->list[i];
        int r;

        if (all->made[i] || !S_ISREG(file->mode) || file->flags & STINT_SAVED_MISSING
            || is_below(stint_saved_path(file), all->foreign))
            continue;
        r = put_back(restore, file);
        if (r < 0)
            stint_restore_note(restore, "cannot put %s back as it was: %s",
                               stint_saved_path(file), strerror(-r));
    }
}
