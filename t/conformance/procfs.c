/* Entries of /proc held open.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <dirent.h>

static void first_line(int fd, char *line, size_t size)
{
    ssize_t n = SYS(pread(fd, line, size - 1, 0));

    line[n] = '\0';
    line[strcspn(line, "\n")] = '\0';
}

CASE(meminfo)
{
    char line[256];
    int fd = (int)SYS(open("/proc/meminfo", O_RDONLY));

    SYS(lseek(fd, 9, SEEK_SET));
    hold();
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 9);
    first_line(fd, line, sizeof line);
    CHECK(strncmp(line, "MemTotal:", 9) == 0);
}

CASE(own_stat)
{
    char line[512], want[32];
    int fd = (int)SYS(open("/proc/self/stat", O_RDONLY | O_CLOEXEC));

    hold();
    first_line(fd, line, sizeof line);
    (void)snprintf(want, sizeof want, "%d (", getpid());
    CHECK(strncmp(line, want, strlen(want)) == 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

CASE(own_memory)
{
    static volatile int here = 4711;
    int fd = (int)SYS(open("/proc/self/mem", O_RDWR)), value = 0;

    hold();
    CHECK_EQ(pread(fd, &value, sizeof value, (off_t)(uintptr_t)&here), sizeof value);
    CHECK_EQ(value, 4711);
    value = 12;
    CHECK_EQ(pwrite(fd, &value, sizeof value, (off_t)(uintptr_t)&here), sizeof value);
    CHECK_EQ(here, 12);
}

static void stay(void *arg)
{
    hold();
}

CASE(of_child)
{
    char path[64], line[512], want[32];
    pid_t pid = child(stay, NULL);
    int fd;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    fd = (int)SYS(open(path, O_RDONLY));
    hold();
    (void)snprintf(want, sizeof want, "%d (", pid);
    reap(pid);
    CHECK_EQ(pread(fd, line, sizeof line, 0), -1);
    CHECK_EQ(errno, ESRCH);
}

CASE(of_living_child)
{
    char path[64], line[512], want[32];
    int p[2], fd;
    pid_t pid;

    SYS(pipe(p));
    pid = (pid_t)SYS(fork());
    if (pid == 0) {
        SYS(close(p[1]));
        _exit(read(p[0], line, 1) == 0 ? 0 : 1);
    }
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    fd = (int)SYS(open(path, O_RDONLY));
    hold();
    (void)snprintf(want, sizeof want, "%d (", pid);
    first_line(fd, line, sizeof line);
    CHECK(strncmp(line, want, strlen(want)) == 0);
    SYS(close(p[1]));
    reap(pid);
}

CASE(of_reaped_child)
{
    char path[64], line[512];
    pid_t pid = (pid_t)SYS(fork());
    int fd;

    if (pid == 0)
        for (;;)
            (void)pause();
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    fd = (int)SYS(open(path, O_RDONLY));
    SYS(kill(pid, SIGKILL));
    reap_status(pid, SIGKILL);
    hold();
    CHECK_EQ(pread(fd, line, sizeof line, 0), -1);
    CHECK_EQ(errno, ESRCH);
}

CASE(directory_of_descriptors)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    CHECK(dir != NULL);
    hold();
    while (readdir(dir))
        count++;
    CHECK(count >= 5);
    SYS(closedir(dir));
}

CASE(path_to_directory)
{
    char line[256];
    int dir = (int)SYS(open("/proc/self", O_PATH | O_DIRECTORY)), fd;

    hold();
    fd = (int)SYS(openat(dir, "comm", O_RDONLY));
    first_line(fd, line, sizeof line);
    CHECK_STR(line, "conf-procfs");
}
