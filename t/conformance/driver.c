/* Runs many conformance cases at once, each in a directory of its own.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   driver DIRECTORY PROGRAM/CASE...
 *
 * The programs lie beside the driver. $GATE.ready is made when every case is either ready
 * for its checkpoint or over, $GATE.alive again and again; each case's directory then holds
 * `out` with its verdict and, at the end, `status`. Exits with 0 when all have passed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct job {
    char dir[4096];
    pid_t pid;
    bool ready, over;
};

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static void start(struct job *job, const char *home, const char *name)
{
    char program[4096];
    const char *slash = strchr(name, '/');

    if (!slash || mkdir(job->dir, 0755) != 0)
        die(job->dir);
    (void)snprintf(program, sizeof program, "%s/conf-%.*s", home, (int)(slash - name), name);
    job->pid = fork();
    if (job->pid < 0)
        die("fork");
    if (job->pid > 0)
        return;
    (void)setpgid(0, 0); /* a fresh child: cannot fail */
    if (chdir(job->dir) != 0)
        die(job->dir);
    int fd = open("out", O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
        die("out");
    (void)close(fd); /* 1 and 2 hold the file now */
    (void)execl(program, program, slash + 1, (char *)NULL);
    die(program);
}

static void note_status(struct job *job, int status)
{
    char path[4200];
    FILE *file;

    job->over = true;
    (void)snprintf(path, sizeof path, "%s/status", job->dir);
    file = fopen(path, "we");
    if (!file || fprintf(file, "%d\n", status) < 0 || fclose(file) != 0)
        die(path);
}

static void touch(const char *gate, const char *what)
{
    char path[4200];

    (void)snprintf(path, sizeof path, "%s.%s", gate, what);
    (void)mknod(path, S_IFREG | 0644, 0); /* there already is as good */
}

/* True when each case is ready or over. */
static bool all_ready(struct job *jobs, int count)
{
    char path[4200];
    bool all = true;

    for (int i = 0; i < count; i++) {
        (void)snprintf(path, sizeof path, "%s/ready", jobs[i].dir);
        jobs[i].ready = jobs[i].ready || jobs[i].over || access(path, F_OK) == 0;
        all = all && jobs[i].ready;
    }
    return all;
}

int main(int argc, char **argv)
{
    const char *gate = getenv("GATE");
    struct job *jobs = calloc((size_t)argc, sizeof *jobs);
    char home[4096];
    int count = argc - 2, left = count, failed = 0;

    if (argc < 3 || !gate || !jobs || strlen(argv[0]) >= sizeof home) {
        (void)fprintf(stderr, "usage: GATE=PREFIX driver DIRECTORY PROGRAM/CASE...\n");
        return 2;
    }
    (void)strcpy(home, argv[0]);
    *strrchr(home, '/') = '\0';
    for (int i = 0; i < count; i++) {
        (void)snprintf(jobs[i].dir, sizeof jobs[i].dir, "%s/%s", argv[1], argv[i + 2]);
        *strrchr(jobs[i].dir, '/') = '.';
        start(&jobs[i], home, argv[i + 2]);
    }
    while (left > 0) {
        struct timespec ts = {.tv_nsec = 10 * 1000 * 1000};
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);

        for (int i = 0; i < count; i++)
            if (pid > 0 && jobs[i].pid == pid) {
                note_status(&jobs[i], status);
                failed += status != 0 && status != 77 << 8;
                left--;
            }
        if (all_ready(jobs, count))
            touch(gate, "ready");
        touch(gate, "alive");
        if (pid <= 0)
            (void)nanosleep(&ts, NULL); /* paces the loop */
    }
    return failed ? 1 : 0;
}
