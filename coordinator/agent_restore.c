/* Restore a generation through stint-restorer; doc/protocol.md, section 3.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The restorer's processes stay between agent and program: the program's root is no
 * child of the agent, its end comes as a packet.
 */
#include "coordinator/agent_state.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/image_read.h"
#include "common/log.h"
#include "common/paths.h"
#include "coordinator/agent_api.h"
#include "coordinator/agent_checkpoint.h"
#include "coordinator/agent_meet.h"
#include "coordinator/agent_proc.h"
#include "coordinator/agent_stopped.h"

#define PACKET_MAX    4096
#define CONTROL_FD    (STDERR_FILENO + 1)
#define END_TIMEOUT_S 10
#define CARRY_INTERVAL_MS 5
#define CARRY_TIMEOUT_MS  5000

enum restore_state {
    RESTORE_WORKING,
    RESTORE_READY, /* `go` was sent */
    RESTORE_RUNNING,
    RESTORE_FAILED,
};

struct agent_restore {
    struct agent *agent;
    char *gen_dir, *image; /* the group image, below gen_dir */
    enum restore_state state;
    pid_t pid;  /* of stint-restorer */
    pid_t init; /* of pid 1 of the namespace, as the agent sees it */
    int control;
    struct event *event, *carry_timer;
    int64_t carry_deadline;
    struct agent_meet *meet;
    struct stint_err error;
};

/* --- start ---------------------------------------------------------------- */

/* Who the agent is to the programs, from the group image. */
static int read_group(struct agent_restore *restore, struct stint_err *err)
{
    struct agent *agent = restore->agent;
    STINT_AUTO_CLOSE int fd = open(restore->gen_dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    struct stint_image *image = NULL;
    const struct stint_group *group;
    int ret;

    if (fd < 0)
        return stint_err_set(err, -errno, "open %s", restore->gen_dir);
    ret = stint_image_open(&image, fd, restore->image, STINT_IMAGE_GROUP, err);
    if (ret < 0)
        return ret;
    group = stint_image_group(image);
    agent->inner_pid = group->agent_pid;
    agent->inner_pgid = group->agent_pgid;
    agent->inner_sid = group->agent_sid;
    agent->inner_root = group->root_pid;
    stint_image_close(image);
    return 0;
}

int agent_restore_prepare(struct agent *agent, struct stint_err *err)
{
    const struct stint_agent_config *config = agent->config;
    const char *dir = config->restore_dir ? config->restore_dir : config->dir;
    struct agent_restore *restore = calloc(1, sizeof(*restore));
    char name[STINT_GENERATION_NAME_MAX];

    if (!restore)
        return stint_err_set(err, -ENOMEM, "restore");
    agent->restore = restore;
    restore->agent = agent;
    restore->control = -1;
    if (asprintf(&restore->gen_dir, "%s/%s", dir,
                 stint_generation_name(config->restore, 0, name))
        < 0)
        restore->gen_dir = NULL;
    if (asprintf(&restore->image, "%s.grp", config->group) < 0)
        restore->image = NULL;
    if (!restore->gen_dir || !restore->image)
        return stint_err_set(err, -ENOMEM, "restore");
    return read_group(restore, err) < 0 ? STINT_AGENT_E_RESTORE : 0;
}

static void __attribute__((noreturn))
run_restorer(const struct agent_restore *restore, const char *program, int control)
{
    const struct stint_agent_config *config = restore->agent->config;
    char number[16];

    agent_signals_child(restore->agent);
    if (control == CONTROL_FD ? fcntl(control, F_SETFD, 0) < 0
                              : dup2(control, CONTROL_FD) < 0)
        _exit(127);
    (void)syscall(SYS_close_range, CONTROL_FD + 1, UINT_MAX, 0);
    snprintf(number, sizeof(number), "%d", CONTROL_FD);
    execl(program, "stint-restorer", "--control", number, "--dir", restore->gen_dir,
          "--group", restore->image, config->lazy ? "--lazy" : "--full",
          config->keep_output ? "--keep-output" : NULL, (char *)NULL);
    _exit(127);
}

static int start_restorer(struct agent_restore *restore, struct stint_err *err)
{
    STINT_AUTO_FREE char *program = NULL;
    STINT_AUTO_CLOSE int theirs = -1;
    int fds[2], on = 1, ret;

    ret = stint_path_find("stint-restorer", &program, err);
    if (ret < 0)
        return ret;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return stint_err_set(err, -errno, "make a socket pair");
    restore->control = fds[0];
    theirs = fds[1];
    if (setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0
        || setsockopt(fds[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0
        || fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
        return stint_err_set(err, -errno, "set up a socket");
    restore->pid = fork();
    if (restore->pid == 0)
        run_restorer(restore, program, theirs);
    if (restore->pid < 0) {
        restore->pid = 0;
        return stint_err_set(err, -errno, "fork");
    }
    return 0;
}

/* --- conversation --------------------------------------------------------- */

static void fail(struct agent_restore *restore, const char *text)
{
    if (restore->state == RESTORE_FAILED || restore->state == RESTORE_RUNNING)
        return;
    restore->state = RESTORE_FAILED;
    stint_err_set(&restore->error, -EIO, "%s.", text);
}

/* The outer pid of the program's root process. */
static pid_t find_root(const struct agent *agent)
{
    struct agent_scan scan = {
        .agent = getpid(), .coordinator = agent_link_pid(agent), .restored = true};
    struct agent_procs procs;
    struct agent_inner inner;
    struct stint_err err;
    pid_t found = 0;

    if (agent_proc_scan(&scan, &procs, &err) < 0) {
        stint_warn("%s", err.text);
        return 0;
    }
    for (size_t i = 0; i < procs.count && !found; i++) {
        if (agent_proc_inner(procs.list[i].pid, &inner) == 0
            && inner.pid == agent->inner_root)
            found = procs.list[i].pid;
    }
    agent_procs_deinit(&procs);
    return found;
}

static void on_ready(struct agent_restore *restore)
{
    struct agent *agent = restore->agent;

    /* While all of them stand still, so that it cannot have ended yet. */
    agent->root = find_root(agent);
    if (agent->root <= 0) {
        fail(restore, "the restored program is not among the agent's descendants");
        return;
    }
    agent_api_listen_restored(agent);
    restore->state = RESTORE_READY;
    if (send(restore->control, "go", 2, MSG_NOSIGNAL) < 0)
        fail(restore, "the restorer has gone before the program was let go");
}

/* Processes that are stopped are being carried to where they were. */
static void on_carry_timer(evutil_socket_t fd, short what, void *arg)
{
    const struct timeval delay = {0, CARRY_INTERVAL_MS * 1000};
    struct agent_restore *restore = arg;

    if (agent_stopped_has(restore->agent, 0) && agent_now_ms() < restore->carry_deadline) {
        evtimer_add(restore->carry_timer, &delay);
        return;
    }
    /* Should the restorer have gone, the end of the connection says so. */
    (void)send(restore->control, "go", 2, MSG_NOSIGNAL);
}

/* Nothing of the program runs yet: whoever is stopped is so in the restorer's code. Where
 * that cannot be helped, the process runs on well when it is continued, but cannot be
 * checkpointed before. */
static void on_stopped(struct agent_restore *restore)
{
    struct agent *agent = restore->agent;
    struct agent_scan scan = {
        .agent = getpid(), .coordinator = agent_link_pid(agent), .restored = true};
    struct agent_procs procs;
    struct stint_err err;

    if (agent_proc_scan(&scan, &procs, &err) < 0) {
        stint_warn("%s", err.text);
        procs = (struct agent_procs){0};
    }
    for (size_t i = 0; i < procs.count; i++) {
        if (procs.list[i].state == 'T'
            && agent_stopped_carry(agent, procs.list[i].pid, &err) < 0)
            stint_warn("%s", err.text);
    }
    agent_procs_deinit(&procs);
    restore->carry_deadline = agent_now_ms() + CARRY_TIMEOUT_MS;
    if (!restore->carry_timer)
        restore->carry_timer = evtimer_new(agent->base, on_carry_timer, restore);
    if (restore->carry_timer)
        on_carry_timer(-1, 0, restore);
}

static void on_packet(struct agent_restore *restore, char *text, pid_t sender)
{
    struct agent *agent = restore->agent;

    if (strncmp(text, "note ", 5) == 0) {
        stint_info("restore: %s", text + 5);
    } else if (strncmp(text, "error ", 6) == 0) {
        fail(restore, text + 6);
    } else if (strcmp(text, "init") == 0) {
        restore->init = sender;
    } else if (strcmp(text, "ready") == 0) {
        on_ready(restore);
    } else if (strcmp(text, "stopped") == 0) {
        on_stopped(restore);
    } else if (strcmp(text, "running") == 0) {
        restore->state = RESTORE_RUNNING;
        if (agent->config->restored_text)
            agent_say("%s", agent->config->restored_text);
        agent_checkpoint_ready(agent);
    } else if (strncmp(text, "exit ", 5) == 0) {
        /* It may have ended before `running` was sent. */
        restore->state = RESTORE_RUNNING;
        agent_root_ended(agent, atoi(text + 5));
    } else if (!agent_meet_packet(restore->meet, text)) {
        stint_warn("the restorer says something unknown: %.60s", text);
    }
}

static void closed(struct agent_restore *restore)
{
    event_del(restore->event);
    if (restore->agent->root_ended)
        return;
    fail(restore, "the restorer ended without a word");
    if (restore->state == RESTORE_RUNNING) {
        /* Its init was killed, and the kernel kills what is in the namespace with it. */
        if (!restore->agent->killed)
            stint_error("the restored program's namespace has been killed");
        agent_root_ended(restore->agent, SIGKILL);
    }
}

static void on_control(evutil_socket_t fd, short what, void *arg)
{
    struct agent_restore *restore = arg;
    char text[PACKET_MAX + 1];
    union {
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {text, PACKET_MAX};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *cmsg;
    struct ucred credentials = {0};
    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        closed(restore);
        return;
    }
    text[n] = '\0';
    for (cmsg = CMSG_FIRSTHDR(&message); cmsg; cmsg = CMSG_NXTHDR(&message, cmsg)) {
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_CREDENTIALS)
            memcpy(&credentials, CMSG_DATA(cmsg), sizeof(credentials));
    }
    on_packet(restore, text, credentials.pid);
}

/* --- whole ---------------------------------------------------------------- */

static bool has_ended(const struct agent *agent)
{
    return agent->restore->pid <= 0;
}

/* Wait for the restorer to clear up, bounded; then make sure of it. */
static void end_restorer(struct agent *agent)
{
    struct agent_restore *restore = agent->restore;

    if (restore->event)
        event_free(restore->event);
    restore->event = NULL;
    if (restore->carry_timer)
        event_free(restore->carry_timer);
    restore->carry_timer = NULL;
    agent_meet_free(restore->meet);
    restore->meet = NULL;
    stint_cleanup_close(&restore->control); /* makes it end everything */
    restore->control = -1;
    if (agent_wait(agent, END_TIMEOUT_S, has_ended))
        return;
    if (restore->init > 0)
        (void)kill(restore->init, SIGKILL);
    (void)kill(restore->pid, SIGKILL);
    (void)waitpid(restore->pid, NULL, 0);
    restore->pid = 0;
}

static int run(struct agent *agent, struct agent_restore *restore, struct stint_err *err)
{
    int ret = start_restorer(restore, err);

    if (ret < 0)
        return ret;
    restore->meet = agent_meet_new(agent, restore->control);
    if (!restore->meet)
        return stint_err_set(err, -ENOMEM, "restore");
    restore->event = event_new(agent->base, restore->control, EV_READ | EV_PERSIST,
                               on_control, restore);
    if (!restore->event || event_add(restore->event, NULL) < 0)
        return stint_err_set(err, -ENOMEM, "watch the restorer");
    while (restore->state < RESTORE_RUNNING && !agent->interrupted)
        event_base_loop(agent->base, EVLOOP_ONCE);
    if (agent->interrupted)
        return stint_err_set(err, -EINTR, "restore");
    if (restore->state == RESTORE_RUNNING)
        return 0;
    *err = restore->error;
    return err->code;
}

void agent_restore_offer(struct agent *agent, const json_t *message)
{
    if (agent->restore)
        agent_meet_offer(agent->restore->meet, message);
}

void agent_restore_connected(struct agent *agent)
{
    if (agent->restore)
        agent_meet_connected(agent->restore->meet);
}

int agent_restore_run(struct agent *agent, struct stint_err *err)
{
    int ret = run(agent, agent->restore, err);

    if (ret == 0)
        return 0;
    agent->root = 0;
    end_restorer(agent);
    return ret == -EINTR ? ret : STINT_AGENT_E_RESTORE;
}

bool agent_restore_reaped(struct agent *agent, pid_t pid)
{
    struct agent_restore *restore = agent->restore;

    if (!restore || restore->pid != pid)
        return false;
    restore->pid = 0;
    return true;
}

void agent_restore_kill(struct agent *agent)
{
    if (agent->restore && agent->restore->init > 0)
        (void)kill(agent->restore->init, SIGKILL); /* the kernel takes the rest with it */
}

/* Is there anything else that the restorer's processes have to stay for? */
static bool is_empty(struct agent *agent)
{
    struct agent_scan scan = {
        .agent = getpid(), .coordinator = agent_link_pid(agent), .restored = true};
    struct agent_procs procs;
    struct stint_err err;
    bool empty;

    if (agent_proc_scan(&scan, &procs, &err) < 0)
        return false;
    empty = procs.count == 0;
    agent_procs_deinit(&procs);
    return empty;
}

void agent_restore_finish(struct agent *agent)
{
    /* What the program leaves in the background goes on, as it would without us. */
    if (agent->restore && agent->restore->pid > 0 && is_empty(agent))
        (void)agent_wait(agent, END_TIMEOUT_S, has_ended);
}

void agent_restore_free(struct agent *agent)
{
    struct agent_restore *restore = agent->restore;

    if (!restore)
        return;
    if (restore->event)
        event_free(restore->event);
    if (restore->carry_timer)
        event_free(restore->carry_timer);
    agent_meet_free(restore->meet);
    stint_cleanup_close(&restore->control);
    free(restore->gen_dir);
    free(restore->image);
    free(restore);
    agent->restore = NULL;
}
