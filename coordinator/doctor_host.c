/* `stint doctor`: what this machine, and the checkpoint directory, are good for.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Things are tried out rather than concluded from settings; those are named when it fails.
 */
#include "coordinator/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/paths.h"

#define PROBE_TIMEOUT_MS 10000
#define TRACE_TIMEOUT_MS 2000
#define CONTROL_FD       3

/* --- namespaces ------------------------------------------------------------------- */

static int read_setting(const char *path, char *text, size_t size)
{
    STINT_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

    if (n < 0)
        return -1;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return 0;
}

/* The settings that forbid user namespaces, as far as they have the value that does. */
static void name_culprits(struct doctor *doctor)
{
    static const struct {
        const char *path, *name, *bad;
    } settings[] = {
        {"/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone", "0"},
        {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
         "kernel.apparmor_restrict_unprivileged_userns", "1"},
        {"/proc/sys/user/max_user_namespaces", "user.max_user_namespaces", "0"},
        {"/proc/sys/user/max_pid_namespaces", "user.max_pid_namespaces", "0"},
    };
    char text[64];

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (read_setting(settings[i].path, text, sizeof(text)) == 0
            && strcmp(text, settings[i].bad) == 0)
            doctor_say(doctor, "host", DOCTOR_NOTE,
                       "%s is %s: the machine's administrator can change that (sysctl)",
                       settings[i].name, text);
    }
}

static void __attribute__((noreturn)) run_probe(const char *program, int control)
{
    if (control == CONTROL_FD ? fcntl(control, F_SETFD, 0) < 0 : dup2(control, CONTROL_FD) < 0)
        _exit(127);
    execl(program, "stint-restorer", "--control", "3", "--probe", (char *)NULL);
    _exit(127);
}

/* Returns false when the last packet has come. */
static bool take_packet(struct doctor *doctor, int fd, bool *ready)
{
    struct pollfd poll_fd = {fd, POLLIN, 0};
    char text[4096];
    ssize_t n = poll(&poll_fd, 1, PROBE_TIMEOUT_MS) > 0 ? recv(fd, text, sizeof(text) - 1, 0)
                                                        : -1;

    if (n <= 0)
        return false;
    text[n] = '\0';
    if (strcmp(text, "ready") == 0)
        *ready = true;
    else if (strncmp(text, "note ", 5) == 0)
        doctor_say(doctor, "host", DOCTOR_NOTE, "%s", text + 5);
    else if (strncmp(text, "error ", 6) == 0)
        doctor_say(doctor, "host", DOCTOR_REFUSED, "a restart is not possible: %s", text + 6);
    return true;
}

/* The restorer does what it does at a restart, with no program to restore. */
static void try_namespaces(struct doctor *doctor)
{
    STINT_AUTO_FREE char *program = NULL;
    STINT_AUTO_CLOSE int own = -1;
    struct stint_err err;
    bool ready = false;
    unsigned bad = doctor->bad;
    int fds[2];
    pid_t pid;

    if (stint_path_find("stint-restorer", &program, &err) < 0) {
        doctor_say(doctor, "host", DOCTOR_REFUSED, "a restart is not possible: %s", err.text);
        return;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return;
    own = fds[0];
    pid = fork();
    if (pid == 0)
        run_probe(program, fds[1]);
    (void)close(fds[1]);
    while (pid > 0 && take_packet(doctor, own, &ready))
        ;
    if (pid > 0) {
        (void)kill(pid, SIGKILL); /* has ended, or hangs */
        (void)waitpid(pid, NULL, 0);
    }
    if (ready)
        doctor_say(doctor, "host", DOCTOR_OK, "the namespaces of a restart can be made");
    else if (doctor->bad == bad)
        doctor_say(doctor, "host", DOCTOR_REFUSED, "a restart is not possible: stint-restorer "
                                                   "cannot make its namespaces");
    if (!ready)
        name_culprits(doctor);
}

/* --- the kernel ------------------------------------------------------------------- */

static bool wait_traced(pid_t pid)
{
    const struct timespec pause = {0, 1000000};

    for (int waited_ms = 0; waited_ms < TRACE_TIMEOUT_MS; waited_ms++) {
        int status;

        if (waitpid(pid, &status, WNOHANG | __WALL) == pid)
            return WIFSTOPPED(status);
        (void)nanosleep(&pause, NULL); /* paces the loop */
    }
    return false;
}

static void try_ptrace(struct doctor *doctor)
{
    struct __ptrace_syscall_info info;
    bool can = false;
    pid_t pid = fork();

    if (pid == 0) {
        for (;;)
            (void)pause();
    }
    if (pid < 0)
        return;
    can = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0
          && ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0 && wait_traced(pid)
          && ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0;
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, __WALL);
    if (can)
        doctor_say(doctor, "host", DOCTOR_OK, "descendants can be traced: stopped processes "
                                              "are no hindrance");
    else
        doctor_say(doctor, "host", DOCTOR_NOTE,
                   "processes cannot be traced (kernel.yama.ptrace_scope, seccomp): one that "
                   "is stopped (^Z), or has a thread that blocks all signals, makes a "
                   "checkpoint fail");
}

/* struct pm_scan_arg of linux/fs.h, Linux 6.7 */
struct scan_request {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

static void try_page_scan(struct doctor *doctor)
{
    STINT_AUTO_CLOSE int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    struct scan_request request = {.size = sizeof(request)};
    uint64_t at = (uint64_t)(uintptr_t)&request & ~UINT64_C(4095);

    request.start = at;
    request.end = at + 4096;
    request.category_mask = request.return_mask = 1u << 3; /* PAGE_IS_PRESENT */
    if (fd < 0)
        doctor_say(doctor, "host", DOCTOR_REFUSED, "/proc/self/pagemap cannot be read (%s): no "
                                                   "memory can be saved",
                   strerror(errno));
    else if (ioctl(fd, _IOWR('f', 16, struct scan_request), &request) < 0)
        doctor_say(doctor, "host", DOCTOR_NOTE, "the kernel has no PAGEMAP_SCAN (Linux 6.7): "
                                                "checkpoints read page tables the slow way");
    else
        doctor_say(doctor, "host", DOCTOR_OK, "the kernel has PAGEMAP_SCAN");
}

void doctor_look_at_host(struct doctor *doctor)
{
    struct utsname uts;

    if (uname(&uts) == 0)
        doctor_say(doctor, "host", strcmp(uts.machine, "x86_64") ? DOCTOR_REFUSED : DOCTOR_OK,
                   "%s, Linux %s, %s", uts.nodename, uts.release, uts.machine);
    try_namespaces(doctor);
    try_ptrace(doctor);
    try_page_scan(doctor);
}

/* --- the directory ------------------------------------------------------------------ */

static const struct file_system {
    unsigned long magic;
    const char *name;
    bool is_memory, is_shared;
} file_systems[] = {
    {TMPFS_MAGIC, "tmpfs", true, false},
    {RAMFS_MAGIC, "ramfs", true, false},
    {NFS_SUPER_MAGIC, "NFS", false, true},
    {0x0bd00bd0, "Lustre", false, true},
    {0x47504653, "GPFS", false, true},
    {0x19830326, "BeeGFS", false, true},
    {0x00c36400, "CephFS", false, true},
    {0xff534d42, "CIFS", false, true},
    {EXT4_SUPER_MAGIC, "ext4", false, false},
    {XFS_SUPER_MAGIC, "XFS", false, false},
    {BTRFS_SUPER_MAGIC, "Btrfs", false, false},
    {OVERLAYFS_SUPER_MAGIC, "overlayfs", false, false},
};

static void judge_file_system(struct doctor *doctor, const char *path, const struct statfs *fs)
{
    double free_gib = (double)fs->f_bavail * (double)fs->f_bsize / (1u << 30);
    const struct file_system *known = NULL;

    for (size_t i = 0; i < sizeof(file_systems) / sizeof(file_systems[0]); i++) {
        if (file_systems[i].magic == (unsigned long)fs->f_type)
            known = &file_systems[i];
    }
    doctor_say(doctor, "directory", DOCTOR_OK, "%s: %s, %.1f GiB free", path,
               known ? known->name : "another file system", free_gib);
    if (known && known->is_memory)
        doctor_say(doctor, "directory", DOCTOR_NOTE,
                   "%s is in memory: checkpoints are lost with the machine, and count as its "
                   "memory",
                   path);
    else if (known && !known->is_shared)
        doctor_say(doctor, "directory", DOCTOR_NOTE,
                   "%s is on this machine only: a restart elsewhere does not see it", path);
}

static int try_file(int dir, int flags)
{
    char name[64];
    int fd;

    snprintf(name, sizeof(name), ".stint-doctor.%d", (int)getpid());
    fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    if (fd >= 0 || errno == EINVAL) {
        int error = errno;

        (void)unlinkat(dir, name, 0); /* without O_DIRECT it may be there all the same */
        errno = error;
    }
    return fd;
}

static void try_writing(struct doctor *doctor, const char *path)
{
    STINT_AUTO_CLOSE int dir = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    STINT_AUTO_CLOSE int plain = dir < 0 ? -1 : try_file(dir, 0);
    STINT_AUTO_CLOSE int direct = -1;

    if (plain < 0) {
        doctor_say(doctor, "directory", DOCTOR_REFUSED, "nothing can be written in %s: %s",
                   path, strerror(errno));
        return;
    }
    direct = try_file(dir, O_DIRECT);
    if (direct < 0)
        doctor_say(doctor, "directory", DOCTOR_NOTE,
                   "%s has no direct writing (O_DIRECT): images go through the page cache",
                   path);
}

void doctor_look_at_directory(struct doctor *doctor, const char *path)
{
    char copy[PATH_MAX];
    struct statfs fs;
    struct stint_err err;
    int ret = stint_dir_open(path, NULL, NULL, &err);
    const char *at = path;

    if (ret < 0 && ret != -ENOENT) {
        doctor_say(doctor, "directory", DOCTOR_REFUSED, "%s", err.text);
        return;
    }
    /* It will be made: what counts is the nearest directory that is there. */
    snprintf(copy, sizeof(copy), "%s", path);
    while (statfs(at, &fs) < 0 && errno == ENOENT && strcmp(at, ".") != 0
           && strcmp(at, "/") != 0) {
        at = dirname(copy);
        if (at != copy)
            snprintf(copy, sizeof(copy), "%s", at);
    }
    if (statfs(at, &fs) < 0) {
        doctor_say(doctor, "directory", DOCTOR_REFUSED, "%s: %s", at, strerror(errno));
        return;
    }
    judge_file_system(doctor, at, &fs);
    try_writing(doctor, at);
}
