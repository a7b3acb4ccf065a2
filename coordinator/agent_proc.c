/* What /proc says about the processes of a program.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define RESTORER_NAME "stint-restorer"

void agent_procs_deinit(struct agent_procs *procs)
{
    free(procs->list);
    procs->list = NULL;
    procs->count = 0;
}

/* Read a small file of /proc/PID. Returns the length, text NUL-terminated, or -errno. */
static ssize_t read_file(pid_t pid, const char *name, char *text, size_t size)
{
    STINT_AUTO_CLOSE int fd = -1;
    char path[64];
    size_t used = 0;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    while (used < size - 1) {
        ssize_t n = read(fd, text + used, size - 1 - used);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        used += (size_t)n;
    }
    text[used] = '\0';
    return (ssize_t)used;
}

/* Fields of /proc/PID/stat after the name, numbered as in proc(5). */
#define STAT_FIRST  3
#define STAT_FIELDS 52

int agent_proc_read(pid_t pid, struct agent_proc *proc)
{
    char text[1024], *open_paren, *close_paren, *field, *rest;
    const char *fields[STAT_FIELDS + 1] = {NULL};
    int count = STAT_FIRST;

    if (read_file(pid, "stat", text, sizeof(text)) <= 0)
        return -ESRCH;
    /* The name may hold anything, parentheses and newlines included. */
    open_paren = strchr(text, '(');
    close_paren = strrchr(text, ')');
    if (!open_paren || !close_paren || close_paren < open_paren)
        return -ESRCH;
    *close_paren = '\0';
    rest = close_paren + 1;
    while (count <= STAT_FIELDS && (field = strsep(&rest, " \n")) != NULL) {
        if (*field)
            fields[count++] = field;
    }
    if (count <= STAT_FIELDS)
        return -ESRCH;
    memset(proc, 0, sizeof(*proc));
    proc->pid = pid;
    proc->state = fields[3][0];
    proc->ppid = atoi(fields[4]);
    proc->pgid = atoi(fields[5]);
    proc->sid = atoi(fields[6]);
    proc->nthreads = atoi(fields[20]);
    proc->start = strtoull(fields[22], NULL, 10);
    proc->exit_code = atoi(fields[52]);
    snprintf(proc->comm, sizeof(proc->comm), "%s", open_paren + 1);
    return 0;
}

bool agent_proc_is_zombie(const struct agent_proc *proc)
{
    return (proc->state == 'Z' || proc->state == 'X') && proc->nthreads <= 1;
}

pid_t agent_proc_task(pid_t pid)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    struct agent_proc proc;
    struct dirent *entry;
    char path[64];

    if (agent_proc_read(pid, &proc) < 0 || proc.state != 'Z' || agent_proc_is_zombie(&proc))
        return pid;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        pid_t tid = (pid_t)atoi(entry->d_name);

        if (tid > 0 && tid != pid && agent_proc_read(tid, &proc) == 0 && proc.state != 'Z'
            && proc.state != 'X')
            return tid;
    }
    return pid;
}

/* Runs the process an executable of ours, from its file or from anonymous memory? Where
 * the link may not be read, the name has to do: a restorer's processes have changed
 * their credentials, which makes the kernel close their /proc entries. */
static bool is_restorer(const struct agent_proc *proc)
{
    char path[64], target[512], *name;
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)proc->pid);
    len = readlink(path, target, sizeof(target) - 1);
    if (len < 0)
        return strncmp(proc->comm, RESTORER_NAME, sizeof(proc->comm) - 1) == 0;
    target[len] = '\0';
    name = strrchr(target, '/');
    name = name ? name + 1 : target;
    if (strncmp(name, "memfd:", 6) == 0)
        name += 6;
    return strncmp(name, RESTORER_NAME, strlen(RESTORER_NAME)) == 0;
}

static int compare_pid(const void *a, const void *b)
{
    const struct agent_proc *x = a, *y = b;

    return (x->pid > y->pid) - (x->pid < y->pid);
}

static int read_all(struct agent_procs *all, struct stint_err *err)
{
    STINT_AUTO_CLOSEDIR DIR *dir = opendir("/proc");
    size_t room = 0;
    struct dirent *entry;

    if (!dir)
        return stint_err_set(err, -errno, "open /proc");
    while (errno = 0, (entry = readdir(dir)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        if (all->count == room) {
            size_t more = room ? room * 2 : 256;
            struct agent_proc *list = reallocarray(all->list, more, sizeof(*list));

            if (!list)
                return stint_err_set(err, -ENOMEM, "list processes");
            all->list = list;
            room = more;
        }
        if (agent_proc_read(atoi(entry->d_name), &all->list[all->count]) == 0)
            all->count++;
    }
    if (errno)
        return stint_err_set(err, -errno, "read /proc");
    qsort(all->list, all->count, sizeof(*all->list), compare_pid);
    return 0;
}

/* Append the children of `parent`. glue: where a restorer's process stands between, its
 * children are taken in its place. */
static void append_children(const struct agent_scan *scan, const struct agent_procs *all,
                            bool *taken, pid_t parent, bool glue,
                            struct agent_procs *out)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct agent_proc *proc = &all->list[i];

        if (proc->ppid != parent || taken[i])
            continue;
        taken[i] = true;
        if (scan->coordinator > 0
            && (proc->pid == scan->coordinator || proc->sid == scan->coordinator))
            continue;
        if (scan->helper > 0 && proc->pid == scan->helper)
            continue;
        if (glue && is_restorer(proc)) {
            append_children(scan, all, taken, proc->pid, true, out);
            continue;
        }
        out->list[out->count++] = *proc;
    }
}

int agent_proc_scan(const struct agent_scan *scan, struct agent_procs *procs,
                    struct stint_err *err)
{
    struct agent_procs all = {0}, out = {0};
    STINT_AUTO_FREE bool *taken = NULL;
    int ret = read_all(&all, err);

    if (ret == 0) {
        taken = calloc(all.count + 1, sizeof(*taken));
        out.list = calloc(all.count + 1, sizeof(*out.list));
        if (!taken || !out.list)
            ret = stint_err_set(err, -ENOMEM, "list processes");
    }
    if (ret == 0) {
        append_children(scan, &all, taken, scan->agent, scan->restored, &out);
        for (size_t i = 0; i < out.count; i++)
            append_children(scan, &all, taken, out.list[i].pid, false, &out);
    }
    agent_procs_deinit(&all);
    if (ret < 0) {
        agent_procs_deinit(&out);
        return ret;
    }
    *procs = out;
    return 0;
}

/* The last number of a "Name:\t1\t2\n" line: the innermost namespace's. */
static pid_t last_number(const char *status, const char *name)
{
    const char *line = strstr(status, name);
    pid_t value = 0;

    if (!line)
        return -1;
    line += strlen(name);
    while (*line && *line != '\n') {
        char *end;
        long number = strtol(line, &end, 10);

        if (end == line)
            break;
        value = (pid_t)number;
        line = end;
    }
    return value;
}

int agent_proc_inner(pid_t pid, struct agent_inner *inner)
{
    char status[8192];
    struct agent_inner ids;

    if (read_file(pid, "status", status, sizeof(status)) <= 0)
        return -ESRCH;
    ids.pid = last_number(status, "\nNSpid:");
    ids.pgid = last_number(status, "\nNSpgid:");
    ids.sid = last_number(status, "\nNSsid:");
    if (ids.pid <= 0 || ids.pgid < 0 || ids.sid < 0)
        return -ESRCH;
    *inner = ids;
    return 0;
}

pid_t agent_proc_tracer(pid_t pid)
{
    char status[8192];
    pid_t tracer;

    if (read_file(pid, "status", status, sizeof(status)) <= 0)
        return 0;
    tracer = last_number(status, "\nTracerPid:");
    return tracer > 0 ? tracer : 0;
}

/* Its users: real, effective and saved. */
static int read_users(pid_t pid, uid_t users[3])
{
    char status[8192];
    const char *line;

    if (read_file(pid, "status", status, sizeof(status)) <= 0)
        return -ESRCH;
    line = strstr(status, "\nUid:");
    if (!line || sscanf(line, "\nUid: %u %u %u", &users[0], &users[1], &users[2]) != 3)
        return -ESRCH;
    return 0;
}

int agent_proc_user(pid_t pid, uid_t *user)
{
    uid_t users[3];
    int ret = read_users(pid, users);

    if (ret == 0)
        *user = users[1];
    return ret;
}

bool agent_proc_is_setuid(pid_t pid)
{
    uid_t users[3];

    return read_users(pid, users) == 0 && users[0] != users[1] && users[1] == users[2];
}

/* Does the process map a file of that name? Returns 1, 0 or -errno. */
static int maps_file(pid_t pid, const char *name)
{
    STINT_AUTO_FCLOSE FILE *maps = NULL;
    STINT_AUTO_FREE char *line = NULL;
    size_t room = 0;
    bool ends = true; /* a process that ends has no memory any more */
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)agent_proc_task(pid));
    maps = fopen(path, "re");
    if (!maps)
        return errno == ENOENT ? -ESRCH : -errno;
    while (errno = 0, getline(&line, &room, maps) > 0) {
        ends = false;
        if (strstr(line, name))
            return 1;
    }
    return errno ? -errno : ends ? -ESRCH : 0;
}

int agent_proc_has_runtime(pid_t pid)
{
    return maps_file(pid, "/libstint.so");
}

bool agent_proc_listens(pid_t pid)
{
    char status[8192];
    const char *caught;

    if (read_file(pid, "status", status, sizeof(status)) <= 0)
        return false;
    caught = strstr(status, "\nSigCgt:");
    return caught && strtoull(caught + strlen("\nSigCgt:"), NULL, 16) >> (SIGURG - 1) & 1
           && agent_proc_has_runtime(pid) == 1;
}

bool agent_proc_has_dmtcp(pid_t pid)
{
    return maps_file(pid, "/libdmtcp.so") == 1;
}

bool agent_proc_is_client(pid_t pid)
{
    static const char *const commands[] = {"checkpoint", "status", "list", "verify", "prune"};
    struct stat own, st;
    char path[64], text[512] = "", *name, *command;
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    if (stat("/proc/self/exe", &own) < 0 || stat(path, &st) < 0 || st.st_ino != own.st_ino
        || st.st_dev != own.st_dev)
        return false;
    len = read_file(pid, "cmdline", text, sizeof(text));
    if (len <= 0)
        return false;
    name = strrchr(text, '/');
    name = name ? name + 1 : text;
    if (strcmp(name, "dmtcp_command") == 0)
        return true;
    command = text + strlen(text) + 1;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (command < text + len && strcmp(command, commands[i]) == 0)
            return true;
    return false;
}

/* "monotonic  SECONDS  NANOSECONDS" and the same for boottime. */
static void read_clocks(pid_t pid, struct agent_clocks *offset)
{
    char text[256], *line;
    long long seconds, nanoseconds;

    memset(offset, 0, sizeof(*offset));
    if (read_file(agent_proc_task(pid), "timens_offsets", text, sizeof(text)) <= 0)
        return;
    line = strstr(text, "monotonic");
    if (line && sscanf(line, "monotonic %lld %lld", &seconds, &nanoseconds) == 2)
        offset->monotonic_ns = seconds * 1000000000ll + nanoseconds;
    line = strstr(text, "boottime");
    if (line && sscanf(line, "boottime %lld %lld", &seconds, &nanoseconds) == 2)
        offset->boottime_ns = seconds * 1000000000ll + nanoseconds;
}

void agent_proc_clocks(pid_t pid, struct agent_clocks *offset)
{
    struct agent_clocks own;

    read_clocks(pid, offset);
    read_clocks(getpid(), &own);
    offset->monotonic_ns -= own.monotonic_ns;
    offset->boottime_ns -= own.boottime_ns;
}
