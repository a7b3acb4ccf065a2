/* Paths that were given to inotify_add_watch(2): the kernel forgets them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The list only grows, is inherited by fork and part of the image. A path that is watched
 * again is noted once. It holds no more than MAX paths: later ones are refused at the
 * checkpoint, by name.
 */
#include "runtime/watches.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/ckpt.h"
#include "common/raw.h"
#include "runtime/interpose.h"
#include "runtime/text.h"

#define MAX        4096
#define LOCK_TRIES 10000

/* Adding and sending may meet: an entry is complete when it is in the list. */
static struct {
    struct stint_ckpt_watch *_Atomic entries; /* MAX of them, mapped when needed */
    _Atomic uint32_t lock;
    _Atomic uint32_t count;
} watches;

static struct stint_ckpt_watch *map_entries(void)
{
    long at;

    if (watches.entries)
        return watches.entries;
    at = raw_syscall(SYS_mmap, NULL, MAX * sizeof(struct stint_ckpt_watch),
                     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                     0);
    if (!raw_is_error(at))
        watches.entries = (struct stint_ckpt_watch *)at;
    return watches.entries;
}

static bool is_known(const struct stint_ckpt_watch *entries, const struct stint_ckpt_watch *fresh)
{
    for (uint32_t i = 0; i < watches.count; i++) {
        if (entries[i].ino == fresh->ino && entries[i].dev == fresh->dev
            && strcmp(entries[i].path, fresh->path) == 0)
            return true;
    }
    return false;
}

/* Where a path leads to, as an absolute one. */
static bool resolve(const char *path, uint32_t mask, struct stint_ckpt_watch *watch)
{
    int flags = O_PATH | O_CLOEXEC | (mask & IN_DONT_FOLLOW ? O_NOFOLLOW : 0);
    long fd = raw_syscall(SYS_openat, AT_FDCWD, path, flags, 0), n = -1;
    char link[40];
    size_t used = 0;
    struct stat st;

    if (fd < 0)
        return false;
    stint_text_append(link, sizeof(link), &used, "/proc/thread-self/fd/");
    stint_text_append_number(link, sizeof(link), &used, (uint64_t)fd, 10);
    if (raw_syscall(SYS_fstat, fd, &st) == 0)
        n = raw_syscall(SYS_readlink, link, watch->path, sizeof(watch->path) - 1);
    (void)raw_syscall(SYS_close, fd); /* only looked through */
    if (n <= 0)
        return false;
    watch->path[n] = '\0';
    watch->dev = st.st_dev;
    watch->ino = st.st_ino;
    return true;
}

static void note(const char *path, uint32_t mask)
{
    struct stint_ckpt_watch fresh, *entries;

    memset(&fresh, 0, sizeof(fresh));
    if (!resolve(path, mask, &fresh))
        return;
    /* in a child of fork the holder may be a thread that does not exist here */
    for (int tries = 0; atomic_exchange(&watches.lock, 1); tries++) {
        if (tries == LOCK_TRIES)
            return;
        (void)raw_syscall(SYS_sched_yield);
    }
    entries = map_entries();
    if (entries && watches.count < MAX && !is_known(entries, &fresh)) {
        entries[watches.count] = fresh;
        watches.count++;
    }
    atomic_store(&watches.lock, 0);
}

STINT_EXPORT int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
    int watch = INTERPOSE_REAL(inotify_add_watch)(fd, path, mask), saved = errno;

    if (watch >= 0)
        note(path, mask);
    errno = saved;
    return watch;
}

void watches_send(int channel)
{
    for (uint32_t i = 0; i < watches.count; i++) {
        struct stint_ckpt_watch *entry = &watches.entries[i];
        long n;

        entry->header = (struct stint_ckpt_header){STINT_CKPT_MAGIC, STINT_CKPT_VERSION,
                                                   STINT_CKPT_WATCH};
        do
            n = raw_syscall(SYS_sendto, channel, entry, sizeof(*entry), MSG_NOSIGNAL, NULL, 0);
        while (n == -EINTR);
    }
}
