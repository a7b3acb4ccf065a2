/* The checkpoint directory: making it, its key and its lock.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/cleanup.h"

#define KEY_HEX_LEN (2 * STINT_KEY_BYTES)

/* mkdir -p, the last part with mode 0700. */
static int make_path(const char *path, struct stint_err *err)
{
    char part[PATH_MAX];

    if (strlen(path) >= sizeof(part))
        return stint_err_set(err, -ENAMETOOLONG, "%s", path);
    for (const char *p = path; *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
        if (mkdir(part, p[strspn(p, "/")] ? 0777 : 0700) < 0 && errno != EEXIST)
            return stint_err_set(err, -errno, "make directory %s", part);
    }
    return 0;
}

static int is_empty(int dir_fd)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent *entry;

    if (fd < 0)
        return 0;
    dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return 0;
    }
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return 0;
    return 1;
}

int stint_dir_is_foreign(const char *path)
{
    STINT_AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;

    return fd >= 0 && fstatat(fd, "key", &st, AT_SYMLINK_NOFOLLOW) < 0
           && errno == ENOENT
           && fstatat(fd, "manifest.yaml", &st, AT_SYMLINK_NOFOLLOW) < 0
           && errno == ENOENT && !is_empty(fd);
}

/* Whoever can write here decides what runs as the user, whoever can read here sees
 * the program's memory: only the user may do either. */
static int check_owner(int fd, const char *path, int may_close, struct stint_err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return stint_err_set(err, -errno, "%s", path);
    if (st.st_uid != geteuid())
        return stint_err_set(err, -EPERM, "%s belongs to another user (uid %u).", path,
                             (unsigned)st.st_uid);
    if ((st.st_mode & 077) == 0)
        return 0;
    if (may_close && is_empty(fd) && fchmod(fd, 0700) == 0)
        return 0;
    return stint_err_set(
        err, -EPERM,
        "%s is open to other users (mode %03o): chmod 700 it, or take a "
        "new directory.",
        path, (unsigned)(st.st_mode & 0777));
}

static int open_checked(const char *path,
                        int may_close,
                        int *fd_out,
                        char **absolute,
                        struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    STINT_AUTO_FREE char *real = NULL;
    int ret;

    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return stint_err_set(err, -errno, "checkpoint directory %s", path);
    ret = check_owner(fd, path, may_close, err);
    if (ret < 0)
        return ret;
    if (absolute) {
        real = realpath(path, NULL);
        if (!real)
            return stint_err_set(err, -errno, "checkpoint directory %s", path);
        *absolute = stint_steal_pointer(&real);
    }
    *fd_out = stint_steal_fd(&fd);
    return 0;
}

int stint_dir_open(const char *path, int *fd, char **absolute, struct stint_err *err)
{
    STINT_AUTO_CLOSE int opened = -1;
    int ret = open_checked(path, 0, &opened, absolute, err);

    if (ret == 0 && fd)
        *fd = stint_steal_fd(&opened);
    return ret;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The key appears under its name complete and only once: link(2) refuses when another
 * process was first, and that one's key is then the key. */
static int make_key(int dir_fd, struct stint_err *err)
{
    unsigned char raw[STINT_KEY_BYTES];
    char hex[KEY_HEX_LEN + 1], name[64];
    STINT_AUTO_CLOSE int fd = -1;
    int ret;

    if (faccessat(dir_fd, "key", F_OK, 0) == 0)
        return 0;
    if (sodium_init() < 0)
        return stint_err_set(err, -EIO, "libsodium cannot be used.");
    randombytes_buf(raw, sizeof(raw));
    sodium_bin2hex(hex, sizeof(hex), raw, sizeof(raw));
    hex[KEY_HEX_LEN] = '\n';
    snprintf(name, sizeof(name), ".key.%08x.tmp", randombytes_random());
    fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                0600);
    if (fd < 0) {
        ret = -errno;
    } else {
        ret = write_all(fd, hex, sizeof(hex));
        if (ret == 0 && fsync(fd) < 0)
            ret = -errno;
        if (ret == 0 && linkat(dir_fd, name, dir_fd, "key", 0) < 0 && errno != EEXIST)
            ret = -errno;
        (void)unlinkat(dir_fd, name, 0); /* a leftover is cleaned at the next start */
    }
    sodium_memzero(raw, sizeof(raw));
    sodium_memzero(hex, sizeof(hex));
    return ret < 0 ? stint_err_set(err, ret, "make the job's key") : 0;
}

int stint_dir_create(const char *path, int *fd, char **absolute, struct stint_err *err)
{
    STINT_AUTO_CLOSE int opened = -1;
    STINT_AUTO_FREE char *real = NULL;
    int ret;

    ret = make_path(path, err);
    if (ret < 0)
        return ret;
    ret = open_checked(path, 1, &opened, &real, err);
    if (ret < 0)
        return ret;
    ret = make_key(opened, err);
    if (ret < 0)
        return stint_err_prefix(err, "%s", path);
    if (fd)
        *fd = stint_steal_fd(&opened);
    if (absolute)
        *absolute = stint_steal_pointer(&real);
    return 0;
}

int stint_dir_key(int dir_fd, struct stint_key *key, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    char hex[KEY_HEX_LEN + 2];
    unsigned char raw[STINT_KEY_BYTES];
    size_t raw_len = 0;
    struct stat st;
    ssize_t n;
    int bad;

    fd = openat(dir_fd, "key", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return stint_err_set(err, -errno, "the job's key");
    if (fstat(fd, &st) < 0)
        return stint_err_set(err, -errno, "the job's key");
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        return stint_err_set(
            err, -EPERM,
            "the job's key is not a file of the user that is closed to "
            "others: do not use it.");
    n = read(fd, hex, sizeof(hex));
    bad =
        n < KEY_HEX_LEN || n > KEY_HEX_LEN + 1
        || sodium_hex2bin(raw, sizeof(raw), hex, KEY_HEX_LEN, NULL, &raw_len, NULL) != 0
        || raw_len != sizeof(raw);
    if (!bad)
        memcpy(key->bytes, raw, sizeof(raw));
    sodium_memzero(hex, sizeof(hex));
    sodium_memzero(raw, sizeof(raw));
    if (bad)
        return stint_err_set(err, -EBADMSG, "the job's key is not 64 hex digits.");
    return 0;
}

int stint_dir_lock(int dir_fd, int *lock_fd, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;

    fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return stint_err_set(err, -errno, "open the directory's lock");
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return STINT_DIR_E_BUSY;
        return stint_err_set(err, -errno, "lock the directory");
    }
    *lock_fd = stint_steal_fd(&fd);
    return 0;
}

int stint_dir_log(int dir_fd, struct stint_err *err)
{
    int fd = openat(dir_fd, "log",
                    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return stint_err_set(err, -errno, "open the directory's log");
    return fd;
}

int stint_dir_room(int dir_fd, uint64_t *bytes, struct stint_err *err)
{
    struct statvfs vfs;

    if (fstatvfs(dir_fd, &vfs) < 0)
        return stint_err_set(err, -errno, "free space of the checkpoint directory");
    *bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    return 0;
}
