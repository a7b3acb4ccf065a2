/* Finds and ends processes for the tests, however they hide.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   procs run [-k] SECONDS COMMAND...  run a command in a session of its own;
 *                                 afterwards end all that it left running
 *   procs kill DIR [PID...]       kill -9 the whole stint job of DIR, and PIDs
 *   procs list DIR [PID...]       print "PID COMM" of what kill would end
 *
 * `run` is a subreaper: whatever daemonises below it comes back to it, so that
 * nothing escapes, whatever its session or environment. A job of DIR is: every
 * process with STINT_DIR=DIR in its environment or DIR as a whole argument of a
 * stint program, and all of their descendants.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_TIMEOUT 124
#define PROCS_MAX    65536

struct proc {
    pid_t pid, ppid;
    char state;
    bool marked;
    char comm[32];
};

struct table {
    struct proc *procs;
    size_t count;
};

static double now_s(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void nap(void)
{
    struct timespec ts = {.tv_nsec = 10 * 1000 * 1000};

    (void)nanosleep(&ts, NULL); /* only paces the polling loops */
}

static bool read_stat(pid_t pid, struct proc *proc)
{
    char path[64], line[1024], *open, *close;
    int ppid;
    FILE *file;
    size_t len;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    file = fopen(path, "re");
    if (!file)
        return false;
    len = fread(line, 1, sizeof line - 1, file);
    (void)fclose(file);
    line[len] = '\0';
    open = strchr(line, '(');
    close = strrchr(line, ')');
    if (!open || !close || sscanf(close + 1, " %c %d", &proc->state, &ppid) != 2)
        return false;
    *close = '\0';
    proc->pid = pid;
    proc->ppid = ppid;
    proc->marked = false;
    (void)snprintf(proc->comm, sizeof proc->comm, "%.31s", open + 1);
    return true;
}

static void table_read(struct table *table)
{
    struct dirent *entry;
    DIR *dir = opendir("/proc");

    table->count = 0;
    if (!dir)
        return;
    while ((entry = readdir(dir)) && table->count < PROCS_MAX) {
        pid_t pid = atoi(entry->d_name);

        if (pid > 0 && read_stat(pid, &table->procs[table->count]))
            table->count++;
    }
    (void)closedir(dir);
}

/* Does the NUL-separated list in this file hold exactly `word`? */
static bool list_holds(pid_t pid, const char *file, const char *word)
{
    static char buf[2 << 20];
    char path[64];
    size_t len = 0;
    ssize_t got;
    int fd;

    (void)snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while (len < sizeof buf - 1 && (got = read(fd, buf + len, sizeof buf - 1 - len)) > 0)
        len += (size_t)got;
    (void)close(fd);
    buf[len] = '\0';
    for (char *at = buf; at < buf + len; at += strlen(at) + 1)
        if (strcmp(at, word) == 0)
            return true;
    return false;
}

/* Descendants of what is marked are marked too. */
static void table_mark_descendants(struct table *table)
{
    bool more = true;

    while (more) {
        more = false;
        for (size_t i = 0; i < table->count; i++)
            for (size_t j = 0; !table->procs[i].marked && j < table->count; j++)
                if (table->procs[j].marked && table->procs[i].ppid == table->procs[j].pid)
                    more = table->procs[i].marked = true;
    }
}

static void table_mark_job(struct table *table, const char *dir, char **pids)
{
    char marker[4096];
    pid_t self = getpid();

    (void)snprintf(marker, sizeof marker, "STINT_DIR=%s", dir);
    for (size_t i = 0; i < table->count; i++) {
        struct proc *p = &table->procs[i];

        for (char **pid = pids; *pid; pid++)
            if (atoi(*pid) == p->pid)
                p->marked = true;
        if (list_holds(p->pid, "environ", marker))
            p->marked = true;
        if (strncmp(p->comm, "stint", 5) == 0 && list_holds(p->pid, "cmdline", dir))
            p->marked = true;
    }
    table_mark_descendants(table);
    for (size_t i = 0; i < table->count; i++)
        if (table->procs[i].pid == self || table->procs[i].state == 'Z')
            table->procs[i].marked = false;
}

static int job_command(const char *dir, char **pids, bool kill_it)
{
    double deadline = now_s() + 20;
    struct table table = {.procs = calloc(PROCS_MAX, sizeof(struct proc))};
    size_t alive;

    if (!table.procs)
        return 1;
    do {
        alive = 0;
        table_read(&table);
        table_mark_job(&table, dir, pids);
        for (size_t i = 0; i < table.count; i++) {
            struct proc *p = &table.procs[i];

            if (!p->marked)
                continue;
            alive++;
            if (kill_it)
                (void)kill(p->pid, SIGKILL); /* gone already is as good */
            else
                (void)printf("%d %s\n", p->pid, p->comm);
        }
        if (alive && kill_it)
            nap();
    } while (kill_it && alive && now_s() < deadline);
    if (kill_it && alive)
        (void)fprintf(stderr, "procs: %zu processes of %s would not die\n", alive, dir);
    free(table.procs);
    return kill_it && alive ? 1 : 0;
}

/* End every descendant of this process; returns how many there were at first. */
static size_t end_descendants(bool say)
{
    double deadline = now_s() + 20;
    struct table table = {.procs = calloc(PROCS_MAX, sizeof(struct proc))};
    size_t alive, first = 0;
    bool begun = false;

    if (!table.procs)
        return 0;
    do {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        alive = 0;
        table_read(&table);
        for (size_t i = 0; i < table.count; i++)
            table.procs[i].marked = table.procs[i].pid == getpid();
        table_mark_descendants(&table);
        for (size_t i = 0; i < table.count; i++) {
            struct proc *p = &table.procs[i];

            if (!p->marked || p->pid == getpid() || p->state == 'Z')
                continue;
            alive++;
            if (!begun && say)
                (void)fprintf(stderr, "procs: left running: %d %s\n", p->pid, p->comm);
            (void)kill(p->pid, SIGKILL); /* gone already is as good */
        }
        if (!begun)
            first = alive;
        begun = true;
        if (alive)
            nap();
    } while (alive && now_s() < deadline);
    free(table.procs);
    return first;
}

static volatile sig_atomic_t stop_signal;

static void on_stop(int signo)
{
    stop_signal = signo;
}

static pid_t run_start(char **argv)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    (void)setsid(); /* a fresh child is never a group leader: cannot fail */
    (void)execvp(argv[0], argv);
    (void)fprintf(stderr, "procs: exec %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* Let the command clean up behind itself first. */
static void ask_to_end(pid_t pid)
{
    double deadline = now_s() + 10;

    (void)kill(-pid, SIGTERM); /* its session's first group; gone already is as good */
    while (waitpid(pid, NULL, WNOHANG) == 0 && now_s() < deadline)
        nap();
}

static int run_command(double seconds, bool kill_quietly, char **argv)
{
    double deadline = now_s() + seconds;
    struct sigaction act = {.sa_handler = on_stop};
    int status = 0, result = 0;
    pid_t pid, got = 0;

    (void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* since Linux 3.4 */
    for (const int *s = (const int[]){SIGTERM, SIGINT, SIGHUP, 0}; *s; s++)
        (void)sigaction(*s, &act, NULL); /* valid signals */
    pid = run_start(argv);
    if (pid < 0)
        return 126;
    while (!stop_signal && now_s() < deadline) {
        got = waitpid(-1, &status, WNOHANG);
        if (got == pid)
            break;
        if (got <= 0)
            nap();
    }
    if (got == pid)
        result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    else if (stop_signal)
        result = 128 + stop_signal;
    else
        result = EXIT_TIMEOUT;
    if (result == EXIT_TIMEOUT && got != pid)
        (void)fprintf(stderr, "procs: no end after %g s\n", seconds);
    if (got != pid)
        ask_to_end(pid);
    /* a test that ended by itself should have cleaned up behind itself */
    if (end_descendants(!kill_quietly) && got == pid && !kill_quietly && result == 0)
        result = 125;
    return result;
}

int main(int argc, char **argv)
{
    bool quiet = argc > 2 && strcmp(argv[1], "run") == 0 && strcmp(argv[2], "-k") == 0;

    if (quiet)
        argv++, argc--;
    if (argc >= 4 && (strcmp(argv[1], "run") == 0 || quiet))
        return run_command(atof(argv[2]), quiet, argv + 3);
    if (argc >= 3 && strcmp(argv[1], "kill") == 0)
        return job_command(argv[2], argv + 3, true);
    if (argc >= 3 && strcmp(argv[1], "list") == 0)
        return job_command(argv[2], argv + 3, false);
    (void)fprintf(stderr, "usage: procs run [-k] SECONDS COMMAND... | kill|list DIR [PID...]\n");
    return 2;
}
