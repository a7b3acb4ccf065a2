/* The agent's coordinator: started as a child, connected to, and replaced when it dies.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   IDLE -> STARTING (child runs, not ready) -> READY -> CONNECTING -> CONNECTED
 *    ^           |                                          |              |
 *    +-- WAITING (back-off timer) <-------------------------+--------------+
 *
 * A joined coordinator is somebody else's child: WAITING then only connects again.
 * After MAX_FAILURES in a row the program goes on without checkpoints (GIVEN_UP).
 */
#include "coordinator/agent_state.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/log.h"
#include "common/manifest.h"
#include "common/paths.h"
#include "common/wire.h"
#include "coordinator/agent_checkpoint.h"
#include "coordinator/agent_list.h"
#include "coordinator/agent_sigterm.h"

#define READY_TIMEOUT_S 30
#define MAX_FAILURES    12
#define BACKOFF_MAX_S   60
#define FINISH_WAIT_S   10
#define ARGS_MAX        64

enum link_state {
    LINK_IDLE,
    LINK_STARTING,
    LINK_READY,
    LINK_CONNECTING,
    LINK_CONNECTED,
    LINK_WAITING,
    LINK_GIVEN_UP,
};

struct agent_link {
    struct agent *agent;
    enum link_state state;
    pid_t pid; /* of the coordinator, if it is our child */
    int ready_fd;
    struct event *ready_event;
    struct event *timer; /* back-off */
    bool finishing;      /* the program has ended: no more reconnecting */
    char answer[1200];   /* what came through ready_fd */
    size_t answer_len;
    struct stint_err error; /* why it did not start */
    bool started;           /* agent_link_connect() was called: keep it connected */
    struct stint_wire *wire;
    unsigned failures;
    char command[256]; /* for people */
};

/* --- start ---------------------------------------------------------------- */

static void __attribute__((noreturn))
run_coordinator(const struct agent *agent, const char *program, int ready_fd)
{
    char number[16];
    char *argv[ARGS_MAX + 8];
    size_t n = 0;
    int null = open("/dev/null", O_RDONLY);

    agent_signals_child(agent);
    (void)setsid(); /* a fresh child leads no group: cannot fail */
    if (null >= 0)
        (void)dup2(null, STDIN_FILENO);
    /* Its standard output would keep the program's reader from seeing the end. */
    (void)dup2(STDERR_FILENO, STDOUT_FILENO);
    if (ready_fd == STDERR_FILENO + 1 ? fcntl(ready_fd, F_SETFD, 0) < 0
                                      : dup2(ready_fd, STDERR_FILENO + 1) < 0)
        _exit(127);
    (void)syscall(SYS_close_range, STDERR_FILENO + 2, UINT_MAX, 0);
    snprintf(number, sizeof(number), "%d", STDERR_FILENO + 1);
    argv[n++] = (char *)"stint";
    argv[n++] = (char *)"coordinator";
    argv[n++] = (char *)"--ready-fd";
    argv[n++] = number;
    argv[n++] = (char *)"-d";
    argv[n++] = (char *)agent->config->dir;
    for (size_t i = 0; agent->config->coordinator_args && agent->config->coordinator_args[i]
                       && n < ARGS_MAX;
         i++)
        argv[n++] = agent->config->coordinator_args[i];
    argv[n] = NULL;
    execv(program, argv);
    _exit(127);
}

static void stop_watching(struct agent_link *link)
{
    if (link->ready_event)
        event_free(link->ready_event);
    link->ready_event = NULL;
    stint_cleanup_close(&link->ready_fd);
    link->ready_fd = -1;
}

static void connect_now(struct agent_link *link);
static void try_again_later(struct agent_link *link);

/* It is ready or has failed. At the first start agent_link_start() looks at the state. */
static void start_decided(struct agent_link *link)
{
    struct stint_err *err = &link->error;
    char *end = memchr(link->answer, '\n', link->answer_len);

    stop_watching(link);
    if (end)
        *end = '\0';
    if (end && strcmp(link->answer, "ready") == 0) {
        link->state = LINK_READY;
        if (link->started)
            connect_now(link);
        return;
    }
    if (end && strncmp(link->answer, "error ", 6) == 0)
        stint_err_set(err, -EIO, "%s.", link->answer + 6);
    else
        stint_err_set(err, -EIO, "the coordinator did not start.");
    if (link->pid > 0)
        (void)kill(link->pid, SIGTERM);
    link->state = LINK_IDLE;
    if (link->started) {
        stint_warn("%s", err->text);
        try_again_later(link);
    }
}

static void on_ready_fd(evutil_socket_t fd, short what, void *arg)
{
    struct agent_link *link = arg;
    size_t room = sizeof(link->answer) - 1 - link->answer_len;
    ssize_t n;

    if (what & EV_TIMEOUT) {
        start_decided(link);
        return;
    }
    n = read(fd, link->answer + link->answer_len, room);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        link->answer_len += (size_t)n;
    if (n <= 0 || link->answer_len == sizeof(link->answer) - 1
        || memchr(link->answer, '\n', link->answer_len))
        start_decided(link);
}

static int start_child(struct agent_link *link, struct stint_err *err)
{
    const struct timeval limit = {READY_TIMEOUT_S, 0};
    STINT_AUTO_FREE char *program = NULL;
    STINT_AUTO_CLOSE int write_fd = -1;
    int fds[2], ret;

    ret = stint_path_self(&program, err);
    if (ret < 0)
        return ret;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return stint_err_set(err, -errno, "make a pipe");
    link->ready_fd = fds[0];
    write_fd = fds[1];
    link->answer_len = 0;
    if (fcntl(link->ready_fd, F_SETFL, O_NONBLOCK) < 0)
        return stint_err_set(err, -errno, "make a pipe non-blocking");
    link->ready_event = event_new(link->agent->base, link->ready_fd, EV_READ | EV_PERSIST,
                                  on_ready_fd, link);
    if (!link->ready_event || event_add(link->ready_event, &limit) < 0)
        return stint_err_set(err, -ENOMEM, "watch the coordinator's start");
    link->pid = fork();
    if (link->pid == 0)
        run_coordinator(link->agent, program, write_fd);
    if (link->pid < 0) {
        link->pid = 0;
        return stint_err_set(err, -errno, "fork");
    }
    link->state = LINK_STARTING;
    return 0;
}

static void on_timer(evutil_socket_t fd, short what, void *arg);

static void command_of_argv(char *const *argv, char *command, size_t size)
{
    for (size_t i = 0; argv && argv[i]; i++) {
        size_t used = strlen(command);

        snprintf(command + used, size - used, "%s%s", i ? " " : "", argv[i]);
    }
}

/* A restored program's command line is what its generation says. Read once: that
 * generation may be pruned before the next connection is made. */
static void find_command(struct agent_link *link)
{
    const struct stint_agent_config *config = link->agent->config;
    const struct stint_manifest_group *group;
    struct stint_manifest manifest;
    STINT_AUTO_CLOSE int dir_fd = -1;

    if (!config->restore) {
        command_of_argv(config->argv, link->command, sizeof(link->command));
        return;
    }
    if (stint_dir_open(config->restore_dir ? config->restore_dir : config->dir, &dir_fd, NULL,
                       NULL)
            < 0
        || stint_manifest_read(dir_fd, config->restore, &manifest, NULL) < 0)
        return; /* it is only shown to people */
    group = stint_manifest_group(&manifest, config->group);
    if (group)
        snprintf(link->command, sizeof(link->command), "%s", group->command);
    stint_manifest_deinit(&manifest);
}

int agent_link_start(struct agent *agent, struct stint_err *err)
{
    struct agent_link *link = calloc(1, sizeof(*link));
    int ret;

    if (!link)
        return stint_err_set(err, -ENOMEM, "start the coordinator");
    agent->link = link;
    link->agent = agent;
    link->ready_fd = -1;
    find_command(link);
    link->timer = evtimer_new(agent->base, on_timer, link);
    if (!link->timer)
        return stint_err_set(err, -ENOMEM, "start the coordinator");
    if (agent->config->join) {
        link->state = LINK_READY;
        return 0;
    }
    ret = start_child(link, err);
    if (ret < 0)
        return ret;
    while (link->state == LINK_STARTING && !agent->interrupted)
        event_base_loop(agent->base, EVLOOP_ONCE);
    if (link->state == LINK_READY)
        return 0;
    if (agent->interrupted)
        return stint_err_set(err, -EINTR, "start the coordinator");
    *err = link->error;
    return err->code;
}

/* --- connection ----------------------------------------------------------- */

static void try_again_later(struct agent_link *link)
{
    struct timeval delay = {1, 0};

    if (link->finishing || link->state == LINK_GIVEN_UP)
        return;
    agent_sigterm_disconnected(link->agent);
    link->failures++;
    if (link->failures > MAX_FAILURES) {
        stint_error("no coordinator after %u attempts: the program goes on without "
                    "checkpoints",
                    link->failures - 1);
        agent_sigterm_deliver(link->agent);
        link->state = LINK_GIVEN_UP;
        return;
    }
    for (unsigned i = 1; i < link->failures && delay.tv_sec < BACKOFF_MAX_S; i++)
        delay.tv_sec *= 2;
    if (delay.tv_sec > BACKOFF_MAX_S)
        delay.tv_sec = BACKOFF_MAX_S;
    link->state = LINK_WAITING;
    evtimer_add(link->timer, &delay);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct agent_link *link = arg;
    struct stint_err err;

    if (link->state != LINK_WAITING)
        return;
    if (link->pid > 0 || link->agent->config->join) {
        connect_now(link);
        return;
    }
    stint_info("starting another coordinator");
    if (start_child(link, &err) < 0) {
        stint_warn("%s", err.text);
        stop_watching(link);
        try_again_later(link);
    }
}

static void on_deliver(struct agent *agent, const json_t *message)
{
    int signo = (int)stint_json_int(message, "signal", 1, 64, SIGTERM);

    if (signo == SIGTERM)
        agent_sigterm_deliver(agent);
    else
        agent_signals_deliver(agent, signo);
}

static void on_message(struct stint_wire *wire, const char *t, json_t *message, void *arg)
{
    struct agent_link *link = arg;
    struct agent *agent = link->agent;

    if (strcmp(t, "welcome") == 0) {
        link->state = LINK_CONNECTED;
        link->failures = 0;
        agent_sigterm_connected(agent);
        agent_restore_connected(agent);
        stint_debug("connected to the coordinator");
    } else if (strcmp(t, "checkpoint") == 0) {
        agent_checkpoint_start(agent, message);
    } else if (strcmp(t, "offer") == 0) {
        agent_restore_offer(agent, message);
    } else if (strcmp(t, "drain") == 0) {
        agent_checkpoint_drain(agent, message);
    } else if (strcmp(t, "capture") == 0) {
        agent_checkpoint_capture(agent, message);
    } else if (strcmp(t, "abort") == 0) {
        agent_checkpoint_abort(agent, stint_json_string(message, "reason", "aborted"));
    } else if (strcmp(t, "committed") == 0) {
        agent_checkpoint_committed(agent, message);
    } else if (strcmp(t, "resume") == 0) {
        agent_checkpoint_resume(agent);
    } else if (strcmp(t, "end") == 0) {
        agent_checkpoint_end(agent, message);
    } else if (strcmp(t, "deliver") == 0) {
        on_deliver(agent, message);
    } else if (strcmp(t, "list") == 0) {
        agent_list_send(agent);
    } else if (strcmp(t, "error") == 0) {
        stint_warn("the coordinator says: %s", stint_json_string(message, "reason", "?"));
    } else {
        (void)stint_wire_sendf(wire, "error", "s:s", "reason", "unknown message");
    }
}

static void on_closed(struct stint_wire *wire, const char *reason, void *arg)
{
    struct agent_link *link = arg;

    stint_wire_free(wire);
    link->wire = NULL;
    if (link->finishing)
        return;
    agent_checkpoint_abort(link->agent, "the connection to the coordinator is lost");
    stint_info("connection to the coordinator: %s", reason);
    try_again_later(link);
}

static json_t *make_hello(const struct agent *agent)
{
    char host[HOST_NAME_MAX + 1] = "";
    struct utsname uts;
    json_t *hello;

    (void)gethostname(host, sizeof(host) - 1); /* stays empty */
    hello = json_pack("{s:s, s:s, s:i, s:s, s:s, s:i, s:I, s:i, s:o}", "t", "hello", "role",
                      "agent", "version", STINT_WIRE_VERSION, "group",
                      agent->config->group, "host", host, "pid", (int)getpid(),
                      "generation", (json_int_t)agent->config->restore, "root_pid",
                      (int)agent->inner_root, "command",
                      stint_json_text(agent->link->command));
    if (hello && uname(&uts) == 0)
        (void)json_object_set_new(hello, "kernel", json_string(uts.release)); /* else: "" */
    if (hello && agent->config->info)
        (void)json_object_set_new(hello, "info", stint_json_text(agent->config->info));
    return hello;
}

static void connect_now(struct agent_link *link)
{
    static const struct stint_wire_callbacks callbacks = {on_message, on_closed};
    struct agent *agent = link->agent;
    struct stint_err err;

    link->state = LINK_CONNECTING;
    if (stint_wire_connect(agent->base, agent->config->dir, make_hello(agent), &callbacks,
                           link, &link->wire, &err)
        < 0) {
        link->wire = NULL;
        stint_warn("connect to the coordinator: %s", err.text);
        try_again_later(link);
    }
}

void agent_link_connect(struct agent *agent)
{
    agent->link->started = true;
    if (agent->link->state == LINK_READY)
        connect_now(agent->link);
    else if (agent->link->state == LINK_IDLE)
        try_again_later(agent->link);
}

void agent_link_send(struct agent *agent, const char *t, const char *format, ...)
{
    json_error_t error;
    json_t *message;
    va_list args;
    char *braced;

    if (!agent->link || !agent->link->wire)
        return;
    if (asprintf(&braced, "{%s}", format) < 0)
        return;
    va_start(args, format);
    message = json_vpack_ex(&error, 0, braced, args);
    va_end(args);
    free(braced);
    if (!message || json_object_set_new(message, "t", json_string(t)) < 0) {
        stint_error("message %s to the coordinator: %s", t, message ? "memory" : error.text);
        json_decref(message);
        return;
    }
    (void)stint_wire_send(agent->link->wire, message); /* on_closed() deals with it */
}

bool agent_link_connected(const struct agent *agent)
{
    return agent->link && agent->link->state == LINK_CONNECTED;
}

pid_t agent_link_pid(const struct agent *agent)
{
    return agent->link ? agent->link->pid : 0;
}

bool agent_link_reaped(struct agent *agent, pid_t pid, int status)
{
    struct agent_link *link = agent->link;

    if (!link || link->pid != pid)
        return false;
    link->pid = 0;
    if (link->finishing)
        return true;
    if (WIFSIGNALED(status))
        stint_warn("the coordinator was killed by signal %d: another is started",
                   WTERMSIG(status));
    else if (link->started)
        stint_warn("the coordinator has ended with status %d", WEXITSTATUS(status));
    /* While it was starting, the end of ready_fd tells; connected, that of the wire. */
    if (link->state == LINK_READY) {
        link->state = LINK_IDLE;
        if (link->started)
            try_again_later(link);
    }
    return true;
}

/* --- end ------------------------------------------------------------------ */

static bool has_ended(const struct agent *agent)
{
    return !agent->link->wire && agent->link->pid <= 0;
}

static bool has_connected(const struct agent *agent)
{
    return agent->link->state != LINK_CONNECTING || !agent->link->wire;
}

void agent_link_finish(struct agent *agent)
{
    struct agent_link *link = agent->link;

    evtimer_del(link->timer);
    stop_watching(link);
    link->finishing = true;
    /* A short program may have ended before its coordinator knew of it. */
    (void)agent_wait(agent, FINISH_WAIT_S, has_connected);
    if (link->wire && link->state == LINK_CONNECTED) {
        if (!agent->killed)
            agent_link_send(agent, "exited", "s:i", "status", agent->root_status);
        stint_wire_finish(link->wire);
    } else {
        stint_wire_free(link->wire);
        link->wire = NULL;
        if (link->pid > 0)
            (void)kill(link->pid, SIGTERM); /* it has no agent that could leave it */
    }
    (void)agent_wait(agent, FINISH_WAIT_S, has_ended);
}

void agent_link_free(struct agent *agent)
{
    struct agent_link *link = agent->link;

    if (!link)
        return;
    if (!link->finishing) {
        link->finishing = true;
        stint_wire_free(link->wire);
        link->wire = NULL;
        if (link->pid > 0)
            (void)kill(link->pid, SIGTERM);
        (void)agent_wait(agent, FINISH_WAIT_S, has_ended);
    }
    stop_watching(link);
    if (link->timer)
        event_free(link->timer);
    free(link);
    agent->link = NULL;
}
