/* stint-restorer: bring the processes of one group image back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Started by the agent: doc/protocol.md, section 3. This file reads as a script:
 * what is checked, made and waited for outside of the new namespaces.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/restorer/objects.h"
#include "runtime/restorer/restore.h"
#include "runtime/restorer/saved.h"

static const char usage[] =
    "usage: stint-restorer --control FD --dir DIR --group IMAGE [--full|--lazy]\n"
    "                      [--keep-output]\n"
    "       stint-restorer --control FD --probe\n"
    "Started by `stint restart` and `stint doctor`; see doc/protocol.md.\n";

static int parse(int argc, char **argv, struct stint_restore *restore, const char **group,
                 bool *probe)
{
    static const struct option options[] = {
        {"control", required_argument, NULL, 'c'}, {"dir", required_argument, NULL, 'd'},
        {"group", required_argument, NULL, 'g'},   {"full", no_argument, NULL, 'f'},
        {"lazy", no_argument, NULL, 'l'},          {"probe", no_argument, NULL, 'p'},
        {"keep-output", no_argument, NULL, 'k'},
        {NULL, 0, NULL, 0},
    };
    char *end = NULL;
    int c;

    *restore = (struct stint_restore){.control = -1, .dirfd = -1, .last_pid_fd = -1};
    *group = NULL;
    *probe = false;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            restore->control = (int)strtol(optarg, &end, 10);
            if (*end || restore->control < 3)
                return -1;
            break;
        case 'd':
            restore->dir = optarg;
            break;
        case 'g':
            *group = optarg;
            break;
        case 'f':
            restore->lazy = false;
            break;
        case 'l':
            restore->lazy = true;
            break;
        case 'k':
            restore->keep_output = true;
            break;
        case 'p':
            *probe = true;
            break;
        default:
            return -1;
        }
    }
    if (*probe)
        return restore->control < 0 || restore->dir || *group || optind != argc ? -1 : 0;
    return restore->control < 0 || !restore->dir || !*group || optind != argc ? -1 : 0;
}

/* A known state: no signal interrupts, none is ignored (an ignored SIGCHLD would
 * reap), no descriptor came along but stdio and the control socket. */
static void settle(const struct stint_restore *restore)
{
    struct rlimit limit;
    uint64_t all = ~UINT64_C(0); /* glibc would leave out 32 and 33 */
    int max;

    (void)raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
    for (int signo = 1; signo < NSIG; signo++)
        (void)signal(signo, SIG_DFL); /* fails for SIGKILL and the like: fine */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* up to the hard limit: allowed */
    }
    max = (int)sysconf(_SC_OPEN_MAX);
    if ((restore->control > 3 &&
         close_range(3, (unsigned)restore->control - 1, 0) < 0) ||
        close_range((unsigned)restore->control + 1, ~0u, 0) < 0) {
        for (int fd = 3; fd < max; fd++) /* before Linux 5.9 */
            if (fd != restore->control)
                (void)close(fd); /* most are not open */
    }
}

static int prepare(struct stint_restore *restore, const char *group_image,
                   struct stint_err *err)
{
    const struct stint_member **members;
    bool *subreaper;
    int r = stint_restore_load(restore, group_image, err);

    if (r < 0)
        return r;
    r = stint_saved_make(restore, err);
    if (r < 0)
        return r;
    r = stint_restore_check(restore, err);
    if (r < 0)
        return r;
    restore->terminal = (restore->group->flags & STINT_GROUP_TERMINAL) && isatty(0);
    restore->in_front = restore->terminal && tcgetpgrp(0) == getpgrp();
    members = calloc(restore->nmembers + 1, sizeof(*members));
    subreaper = calloc(restore->nmembers + 1, sizeof(*subreaper));
    if (!members || !subreaper)
        return stint_err_set(err, -ENOMEM, "plan the processes");
    for (size_t i = 0; i < restore->nmembers; i++) {
        const struct stint_process *process = restore->members[i].process;

        members[i] = restore->members[i].member;
        subreaper[i] = process && (process->flags & STINT_PROC_SUBREAPER);
    }
    r = stint_plan_init(&restore->plan, restore->group, members, subreaper,
                        restore->nmembers, !restore->terminal, &restore->pids, err);
    free(members);
    free(subreaper);
    return r;
}

static int share(struct stint_restore *restore, struct stint_err *err)
{
    restore->shared = mmap(NULL, STINT_SHARED_LEN, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (restore->shared == MAP_FAILED)
        return stint_err_set(err, -errno, "share memory with the processes");
    (void)sched_getaffinity(0, sizeof(restore->affinity), (void *)restore->affinity);
    restore->control = stint_restore_keep_fd(restore, restore->control, err);
    restore->dirfd = restore->control < 0 ? -1
                                          : stint_restore_keep_fd(restore, restore->dirfd, err);
    if (restore->control < 0 || restore->dirfd < 0)
        return -EMFILE;
    restore->group_image->fd = stint_restore_keep_fd(restore, restore->group_image->fd, err);
    return restore->group_image->fd < 0 ? restore->group_image->fd : 0;
}

/* Outside there is nothing left to do but to be the parent of pid 1, and to hold
 * nothing that somebody may wait for the end of. */
static int wait_for(struct stint_restore *restore, pid_t init)
{
    int status = 0;

    stint_standin_close_all(restore);
    (void)close(restore->control); /* init holds it: its end is the agent's news */
    while (waitpid(init, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Make the namespaces of a restore, and say what this machine does not have for it. */
static int probe_machine(struct stint_restore *restore)
{
    static const struct stint_group group = {.monotonic_ns = 1, .boottime_ns = 1};
    struct stint_err err = {0};
    pid_t init;

    restore->group = &group;
    if (stint_numbers_init(&restore->fds, 1024) < 0
        || stint_namespaces_enter(restore, &err) < 0) {
        stint_control_send(restore, "error %s", err.text);
        return 1;
    }
    init = fork();
    if (init == 0) {
        if (stint_namespaces_mount(restore, &err) < 0)
            stint_control_send(restore, "error %s", err.text);
        else
            stint_control_send(restore, "ready");
        _exit(err.code != 0);
    }
    return init < 0 ? 1 : wait_for(restore, init);
}

int main(int argc, char **argv)
{
    struct stint_restore restore;
    struct stint_err err = {0};
    const char *group_image;
    bool probe;
    pid_t init;

    if (parse(argc, argv, &restore, &group_image, &probe) < 0) {
        (void)fputs(usage, stderr); /* nobody to tell if it fails */
        return 2;
    }
    settle(&restore);
    if (probe)
        return probe_machine(&restore);
    if (prepare(&restore, group_image, &err) < 0 || share(&restore, &err) < 0 ||
        stint_namespaces_enter(&restore, &err) < 0) {
        stint_control_send(&restore, "error %s", err.text);
        return 1;
    }
    init = fork();
    if (init == 0)
        stint_init_run(&restore);
    if (init < 0) {
        stint_control_send(&restore, "error cannot start pid 1: %s", strerror(errno));
        return 1;
    }
    return wait_for(&restore, init);
}
