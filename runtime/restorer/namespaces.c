/* The namespaces in which ids and clocks are true again.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/objects.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80 /* Linux 5.6; missing from older glibc */
#endif

static int write_file(const char *path, struct stint_err *err, const char *fmt, ...)
    STINT_PRINTF(3, 4);

static int write_file(const char *path, struct stint_err *err, const char *fmt, ...)
{
    STINT_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    char text[256];
    va_list args;
    int len;

    if (fd < 0)
        return stint_err_set(err, -errno, "open %s", path);
    va_start(args, fmt);
    len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (write(fd, text, (size_t)len) != len)
        return stint_err_set(err, -errno, "write %s", path);
    return 0;
}

static bool is_admin(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2] = {{0}};

    return syscall(SYS_capget, &head, caps) == 0 &&
           (caps[0].effective >> CAP_SYS_ADMIN & 1);
}

static int enter_user(struct stint_err *err)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int r;

    if (unshare(CLONE_NEWUSER) < 0)
        return stint_err_set(err, -errno,
                             "this machine does not let user %u make a user namespace "
                             "(user.max_user_namespaces, kernel.unprivileged_userns_clone, "
                             "AppArmor)",
                             uid);
    r = write_file("/proc/self/setgroups", err, "deny");
    if (r == 0)
        r = write_file("/proc/self/uid_map", err, "%u %u 1", uid, uid);
    if (r == 0)
        r = write_file("/proc/self/gid_map", err, "%u %u 1", gid, gid);
    return r;
}

/* --- clocks ---------------------------------------------------------------- */

static int64_t now_ns(clockid_t clock)
{
    struct timespec now = {0, 0};

    (void)clock_gettime(clock, &now); /* clocks that always exist */
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Offset of the time namespace we are in, 0 in the first. */
static int64_t current_offset_ns(const char *clock, const char *number)
{
    STINT_AUTO_FCLOSE FILE *file = fopen("/proc/self/timens_offsets", "re");
    char name[32];
    int64_t sec, nsec;

    while (file && fscanf(file, "%31s %" SCNd64 " %" SCNd64, name, &sec, &nsec) == 3) {
        if (strcmp(name, clock) == 0 || strcmp(name, number) == 0)
            return sec * INT64_C(1000000000) + nsec;
    }
    return 0;
}

static void format_offset(char *line, size_t size, const char *clock, int64_t offset_ns)
{
    int64_t sec = offset_ns / 1000000000, nsec = offset_ns % 1000000000;

    if (nsec < 0) {
        nsec += 1000000000;
        sec--;
    }
    (void)snprintf(line, size, "%s %" PRId64 " %" PRId64, clock, sec, nsec); /* fits */
}

static int enter_time(struct stint_restore *restore, struct stint_err *err)
{
    const struct stint_group *group = restore->group;
    int64_t mono = current_offset_ns("monotonic", "1") - now_ns(CLOCK_MONOTONIC);
    int64_t boot = current_offset_ns("boottime", "7") - now_ns(CLOCK_BOOTTIME);
    char mono_line[96], boot_line[96];

    if (getenv("STINT_NO_TIME_NS") || unshare(CLONE_NEWTIME) < 0) {
        stint_control_send(restore, "note this kernel has no time namespaces: "
                                    "CLOCK_MONOTONIC and CLOCK_BOOTTIME jump");
        return 0;
    }
    format_offset(mono_line, sizeof(mono_line), "monotonic",
                  mono + (int64_t)group->monotonic_ns);
    format_offset(boot_line, sizeof(boot_line), "boottime",
                  boot + (int64_t)group->boottime_ns);
    if (write_file("/proc/self/timens_offsets", err, "%s\n%s\n", mono_line, boot_line) < 0)
        stint_control_send(restore, "note clocks jump: %s", err->text);
    return 0;
}

int stint_namespaces_enter(struct stint_restore *restore, struct stint_err *err)
{
    int r = 0;

    restore->user_ns = !is_admin();
    if (restore->user_ns)
        r = enter_user(err);
    if (r < 0)
        return r;
    if (unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC) < 0)
        return stint_err_set(err, -errno, "make PID, mount and IPC namespaces");
    return enter_time(restore, err);
}

/* --- inside ------------------------------------------------------------------ */

/* Does clone3 know set_tid (Linux 5.5)? More than 32 of them are invalid where it does;
 * a kernel that does not know the member says that the struct is too big. */
static bool kernel_sets_tid(void)
{
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
        uint64_t set_tid, set_tid_size;
    } args = {.set_tid_size = 1000};

    if (getenv("STINT_NO_SET_TID"))
        return false;
    return syscall(SYS_clone3, &args, sizeof(args)) < 0 && errno == EINVAL;
}

int stint_namespaces_mount(struct stint_restore *restore, struct stint_err *err)
{
    int fd;

    if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return stint_err_set(err, -errno, "detach from the machine's mounts");
    restore->own_proc = mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                              NULL) == 0;
    if (!restore->own_proc)
        stint_control_send(restore, "note cannot mount /proc (%s): paths below /proc/PID show "
                                    "other processes",
                           strerror(errno));
    stint_mqueues_mount(restore);
    if (stint_restore_limit_pids(restore, err) < 0)
        return err->code;
    restore->set_tid = kernel_sets_tid();
    if (!restore->set_tid)
        stint_control_send(restore, "note this kernel has no set_tid: process ids are "
                                    "asked for by ns_last_pid");
    fd = open("/proc/sys/kernel/ns_last_pid", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return stint_err_set(err, -errno, "open /proc/sys/kernel/ns_last_pid");
    restore->last_pid_fd = stint_restore_keep_fd(restore, fd, err);
    return restore->last_pid_fd < 0 ? restore->last_pid_fd : 0;
}
