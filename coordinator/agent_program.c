/* Start the program, and end it after a final checkpoint.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_state.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/ckpt.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/paths.h"
#include "coordinator/agent_api.h"
#include "coordinator/agent_proc.h"

#define JOB_ID_BYTES  16
#define KILL_WAIT_S   10
#define KILL_PAUSE_MS 5

/* --- environment ---------------------------------------------------------- */

struct environment {
    char **vars; /* NULL-terminated; the array is owned, the strings are not */
    size_t count;
    char *preload, *dir, job[sizeof("STINT_JOB=" STINT_JOB_HELD) + 2 * JOB_ID_BYTES];
};

static void environment_deinit(struct environment *env)
{
    free(env->vars);
    free(env->preload);
    free(env->dir);
}

static void environment_set(struct environment *env, char *var)
{
    size_t name = strcspn(var, "=") + 1;

    for (size_t i = 0; i < env->count; i++) {
        if (strncmp(env->vars[i], var, name) == 0) {
            env->vars[i] = var;
            return;
        }
    }
    env->vars[env->count++] = var;
}

static int environment_init(struct environment *env, const struct stint_agent_config *config,
                            struct stint_err *err)
{
    STINT_AUTO_FREE char *library = NULL;
    uint8_t id[JOB_ID_BYTES];
    char hex[2 * JOB_ID_BYTES + 1];
    const char *preloaded = getenv("LD_PRELOAD");
    size_t own = 0, given = 0;
    int ret;

    memset(env, 0, sizeof(*env));
    ret = stint_path_find("libstint.so", &library, err);
    if (ret < 0)
        return ret;
    if (strpbrk(library, " :"))
        return stint_err_set(err, -EINVAL,
                             "the path of %s has a blank or colon in it, which the "
                             "dynamic linker cannot read in LD_PRELOAD.",
                             library);
    while (environ[own])
        own++;
    while (config->env && config->env[given])
        given++;
    env->vars = calloc(own + given + 4, sizeof(*env->vars));
    if (asprintf(&env->preload, "LD_PRELOAD=%s%s%s", library, preloaded ? ":" : "",
                 preloaded ? preloaded : "")
        < 0)
        env->preload = NULL;
    if (asprintf(&env->dir, "STINT_DIR=%s", config->dir) < 0)
        env->dir = NULL;
    if (!env->vars || !env->preload || !env->dir) {
        environment_deinit(env);
        return stint_err_set(err, -ENOMEM, "make the program's environment");
    }
    randombytes_buf(id, sizeof(id));
    sodium_bin2hex(hex, sizeof(hex), id, sizeof(id));
    snprintf(env->job, sizeof(env->job), "STINT_JOB=%s%s", hex,
             config->hold_sigterm ? STINT_JOB_HELD : "");

    for (size_t i = 0; i < own; i++)
        env->vars[env->count++] = environ[i];
    for (size_t i = 0; i < given; i++)
        environment_set(env, config->env[i]);
    environment_set(env, env->preload);
    environment_set(env, env->dir);
    environment_set(env, env->job);
    return 0;
}

/* --- start ---------------------------------------------------------------- */

/* Call for each descriptor above 2 that is not close-on-exec. Returns 0, or what `each`
 * returned first. */
static int for_each_inherited(struct agent *agent, int (*each)(struct agent *agent, int fd))
{
    STINT_AUTO_CLOSEDIR DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int ret = 0;

    while (ret == 0 && dir && (entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name), flags;

        if (!isdigit((unsigned char)entry->d_name[0]) || fd <= STDERR_FILENO)
            continue;
        flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC))
            ret = each(agent, fd);
    }
    return ret;
}

static int note_one(struct agent *agent, int fd)
{
    struct agent_inherited *list;
    struct stat st;

    /* Event descriptors are not noted: they all have one inode. */
    if (fstat(fd, &st) < 0
        || (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode) && !S_ISCHR(st.st_mode)))
        return 0;
    list = reallocarray(agent->inherited, agent->ninherited + 1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    agent->inherited = list;
    list[agent->ninherited++] = (struct agent_inherited){st.st_dev, st.st_ino};
    return 0;
}

int agent_program_note_inherited(struct agent *agent)
{
    return for_each_inherited(agent, note_one);
}

bool agent_program_has_inherited(const struct agent *agent, dev_t dev, ino_t ino)
{
    for (size_t i = 0; i < agent->ninherited; i++) {
        if (agent->inherited[i].dev == dev && agent->inherited[i].ino == ino)
            return true;
    }
    return false;
}

/* The program has its copies of what the agent inherited for it. Kept open here, they
 * would hold pipes and files open that the program closes. */
static int close_one(struct agent *agent, int fd)
{
    (void)close(fd); /* not ours to flush */
    return 0;
}

static void __attribute__((noreturn))
run_child(struct agent *agent, const struct environment *env, int failure_fd)
{
    int error;

    agent_signals_child(agent);
    environ = env->vars;
    execvp(agent->config->argv[0], agent->config->argv);
    error = errno;
    (void)!write(failure_fd, &error, sizeof(error)); /* the parent then sees EOF only */
    _exit(127);
}

/* Returns the errno of a failed exec, 0 when the program runs, or -errno. */
static int wait_for_exec(int fd)
{
    int error = 0;
    ssize_t n;

    do
        n = read(fd, &error, sizeof(error));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return n == sizeof(error) ? error : 0;
}

int agent_program_start(struct agent *agent, struct stint_err *err)
{
    STINT_AUTO_CLOSE int read_fd = -1, write_fd = -1;
    struct environment env;
    int fds[2], ret;
    pid_t pid;

    ret = environment_init(&env, agent->config, err);
    if (ret < 0)
        return ret;
    agent_api_listen(agent, env.job + strlen("STINT_JOB="));
    if (pipe2(fds, O_CLOEXEC) < 0) {
        ret = -errno;
        environment_deinit(&env);
        return stint_err_set(err, ret, "make a pipe");
    }
    read_fd = fds[0];
    write_fd = fds[1];
    pid = fork();
    if (pid == 0)
        run_child(agent, &env, write_fd);
    ret = pid < 0 ? -errno : 0;
    environment_deinit(&env);
    if (ret < 0)
        return stint_err_set(err, ret, "fork");
    close(stint_steal_fd(&write_fd));
    ret = wait_for_exec(read_fd);
    if (ret != 0) {
        (void)waitpid(pid, NULL, 0); /* it has nothing more to tell */
        stint_err_set(err, ret < 0 ? ret : -ret, "%s", agent->config->argv[0]);
        return ret == ENOENT || ret < 0 ? 127 : 126;
    }
    (void)for_each_inherited(agent, close_one); /* returns 0 */
    agent->root = agent->inner_root = pid;
    agent->inner_pid = getpid();
    agent->inner_pgid = getpgrp();
    agent->inner_sid = getsid(0);
    return 0;
}

/* --- end ------------------------------------------------------------------ */

/* Returns how many are left, zombies not counted: whose parents are ours they end with
 * them, and the rest agent_reap() takes. */
static int kill_once(struct agent *agent)
{
    struct agent_scan scan = {
        .agent = getpid(),
        .coordinator = agent_link_pid(agent),
        .restored = agent->restore != NULL,
    };
    struct agent_procs procs;
    struct stint_err err;
    int left = 0;

    if (agent_proc_scan(&scan, &procs, &err) < 0) {
        stint_error("%s", err.text);
        return 1;
    }
    for (size_t i = 0; i < procs.count; i++) {
        if (procs.list[i].state == 'Z' && procs.list[i].nthreads <= 1)
            continue;
        left++;
        (void)kill(procs.list[i].pid, SIGKILL); /* gone already is as good */
    }
    agent_procs_deinit(&procs);
    return left;
}

int agent_program_kill(struct agent *agent)
{
    const struct timespec pause = {0, KILL_PAUSE_MS * 1000000};
    int64_t deadline = agent_now_ms() + KILL_WAIT_S * 1000;

    agent->killed = true;
    if (agent->restore)
        agent_restore_kill(agent);
    while (kill_once(agent) > 0) {
        if (agent_now_ms() > deadline)
            return -ETIMEDOUT;
        /* Death is not an event that can be waited for in a process that is no child;
         * each turn looks again. */
        nanosleep(&pause, NULL);
        agent_reap(agent);
    }
    agent_reap(agent);
    return 0;
}
