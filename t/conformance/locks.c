/* Conformance: locks of files, and notices of changes to them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <sys/file.h>
#include <sys/inotify.h>

static int lock_file(void)
{
    return (int)SYS(open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}

static void tries_flock(void *want)
{
    int fd = lock_file();

    CHECK_EQ(flock(fd, LOCK_EX | LOCK_NB), *(int *)want);
}

/* Does another open file description get the lock? 0 or -1. */
static void other_gets(void (*attempt)(void *), int want)
{
    reap(child(attempt, &want));
}

CASE(flock_exclusive)
{
    int fd = lock_file();

    SYS(flock(fd, LOCK_EX));
    hold();
    other_gets(tries_flock, -1);
    SYS(flock(fd, LOCK_UN));
    other_gets(tries_flock, 0);
}

CASE(flock_shared)
{
    int fd = lock_file(), other = lock_file();

    SYS(flock(fd, LOCK_SH));
    SYS(flock(other, LOCK_SH));
    hold();
    other_gets(tries_flock, -1);
    SYS(flock(other, LOCK_UN));
    other_gets(tries_flock, -1);
    SYS(flock(fd, LOCK_UN));
    other_gets(tries_flock, 0);
}

static struct flock range(short type, off_t start, off_t len)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

static void tries_posix(void *want)
{
    int fd = lock_file();
    struct flock lock = range(F_WRLCK, 10, 5);

    CHECK_EQ(fcntl(fd, F_SETLK, &lock), *(int *)want);
}

CASE(posix_ranges)
{
    int fd = lock_file();
    struct flock lock = range(F_WRLCK, 12, 100), query;
    pid_t pid;

    SYS(fcntl(fd, F_SETLK, &lock));
    lock = range(F_RDLCK, 50, 10);
    SYS(fcntl(fd, F_SETLK, &lock));
    hold();
    other_gets(tries_posix, -1);
    pid = (pid_t)SYS(fork());
    if (pid == 0) {
        query = range(F_WRLCK, 55, 1);
        SYS(fcntl(fd, F_GETLK, &query));
        CHECK_EQ(query.l_type, F_RDLCK);
        CHECK_EQ(query.l_pid, getppid());
        _exit(0);
    }
    reap(pid);
    lock = range(F_UNLCK, 0, 0);
    SYS(fcntl(fd, F_SETLK, &lock));
    other_gets(tries_posix, 0);
}

static void tries_ofd(void *want)
{
    int fd = lock_file();
    struct flock lock = range(F_WRLCK, 10, 5);

    CHECK_EQ(fcntl(fd, F_OFD_SETLK, &lock), *(int *)want);
}

CASE(ofd_ranges)
{
    int fd = lock_file();
    struct flock lock = range(F_WRLCK, 0, 20);

    SYS(fcntl(fd, F_OFD_SETLK, &lock));
    hold();
    other_gets(tries_ofd, -1);
    SYS(close(fd));
    other_gets(tries_ofd, 0);
}

static void holds_posix_lock(void *arg)
{
    int fd = lock_file();
    struct flock lock = range(F_WRLCK, 10, 5);

    SYS(fcntl(fd, F_SETLK, &lock));
    mark("locked");
    hold();
    await("tried");
}

CASE(posix_lock_of_child)
{
    pid_t pid = child(holds_posix_lock, NULL);

    await("locked");
    hold();
    other_gets(tries_posix, -1);
    mark("tried");
    reap(pid);
    other_gets(tries_posix, 0);
}

static void waits_for_posix_lock(void *arg)
{
    int fd = lock_file();
    struct flock lock = range(F_WRLCK, 0, 0);

    SYS(fcntl(fd, F_SETLKW, &lock));
    CHECK_EQ(access("unlocked", F_OK), 0);
}

CASE(posix_lock_waited_for)
{
    int fd = lock_file();
    struct flock lock = range(F_WRLCK, 0, 0);
    pid_t pid;

    SYS(fcntl(fd, F_SETLK, &lock));
    pid = child(waits_for_posix_lock, NULL);
    await_syscall(pid, pid, SYS_fcntl);
    hold();
    mark("unlocked");
    lock.l_type = F_UNLCK;
    SYS(fcntl(fd, F_SETLK, &lock));
    reap(pid);
}

CASE(lease)
{
    int fd = lock_file();

    SYS(close(fd));
    fd = (int)SYS(open("lock", O_RDONLY));
    SYS(fcntl(fd, F_SETLEASE, F_RDLCK));
    hold();
    CHECK_EQ(fcntl(fd, F_GETLEASE), F_RDLCK);
}

CASE(inotify_watch)
{
    char buf[4096];
    struct inotify_event *event = (struct inotify_event *)buf;
    int fd, watch;

    SYS(mkdir("watched", 0700));
    fd = (int)SYS(inotify_init1(IN_NONBLOCK));
    watch = (int)SYS(inotify_add_watch(fd, "watched", IN_CREATE));
    hold();
    while (read(fd, buf, sizeof buf) > 0) /* what the restart itself may have caused */
        ;
    make_text("watched/file", "x");
    CHECK(read(fd, buf, sizeof buf) > 0);
    CHECK_EQ(event->wd, watch);
    CHECK_STR(event->name, "file");
}

CASE(inotify_event_waiting)
{
    char buf[4096];
    struct inotify_event *event = (struct inotify_event *)buf;
    int fd;

    SYS(mkdir("watched", 0700));
    fd = (int)SYS(inotify_init1(IN_NONBLOCK));
    SYS(inotify_add_watch(fd, "watched", IN_CREATE));
    make_text("watched/file", "x");
    hold();
    CHECK(read(fd, buf, sizeof buf) > 0);
    CHECK_STR(event->name, "file");
}
