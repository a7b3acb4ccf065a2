/* Stop every process of the program.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_quiesce.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "coordinator/agent_confined.h"
#include "coordinator/agent_diagnosis.h"
#include "coordinator/agent_sigterm.h"
#include "coordinator/agent_state.h"
#include "coordinator/agent_stopped.h"

#define ASK_INTERVAL_MS 20
#define BACKLOG         1024
#define OUTSIDER_INTERVAL_MS 100
/* How long a process may be without an answer before it is looked at closely: one that
 * is between exec and its constructor answers within a few milliseconds. */
#define PATIENCE_MS     300
/* How long one is waited for that will never answer, but may end by itself. */
#define GRACE_MS        2000

/* A process that has not answered yet. */
struct silent {
    pid_t pid;
    uint64_t start;
    int64_t since;
    bool ignored; /* left out: warned about */
    bool seen;
};

struct agent_quiesce {
    struct agent *agent;
    const struct agent_quiesce_callbacks *callbacks;
    const struct agent_peer_callbacks *peer_callbacks; /* once it is done */
    void *arg;
    uint64_t cookie;
    int listen_fd;
    struct event *listen_event, *timer;
    int64_t deadline, since;
    bool ignore, is_done;
    bool scan_was_clean;     /* the last one found everybody connected */
    unsigned reaped_at_scan; /* agent->reaped when that scan began */
    unsigned waiting;        /* asked and not stopped yet */
    struct agent_procs procs; /* of the last scan */
    pid_t base; /* agent_confined_base() */
    struct agent_peer *peers;
    struct silent *silent;
    size_t nsilent;
};

static void run_scan(struct agent_quiesce *quiesce);

static void fail(struct agent_quiesce *quiesce, enum agent_failure failure, const char *fmt,
                 ...) STINT_PRINTF(3, 4);

static void fail(struct agent_quiesce *quiesce, enum agent_failure failure, const char *fmt,
                 ...)
{
    char reason[512];
    va_list args;

    if (quiesce->is_done)
        return;
    quiesce->is_done = true;
    evtimer_del(quiesce->timer);
    va_start(args, fmt);
    vsnprintf(reason, sizeof(reason), fmt, args);
    va_end(args);
    quiesce->callbacks->failed(failure, reason, quiesce->arg);
}

static void schedule(struct agent_quiesce *quiesce, int ms)
{
    const struct timeval delay = {0, ms * 1000};

    evtimer_add(quiesce->timer, &delay);
}

/* --- peers while it is under way ------------------------------------------ */

static void forget_peer(struct agent_quiesce *quiesce, struct agent_peer *peer)
{
    struct agent_peer **link = &quiesce->peers;

    while (*link != peer)
        link = &(*link)->next;
    *link = peer->next;
    agent_stopped_leave(quiesce->agent, peer->pid);
    agent_peer_free(peer);
}

static void on_stopped(struct agent_peer *peer)
{
    struct agent_quiesce *quiesce = peer->owner;

    if (quiesce->is_done)
        return;
    agent_stopped_arrived(quiesce->agent, peer->pid);
    if (!quiesce->since)
        quiesce->since = agent_now_ms();
    if (quiesce->waiting > 0 && --quiesce->waiting == 0)
        schedule(quiesce, 0);
}

/* What the process could not do may be because of what it is. */
static bool explain_failure(const struct agent_quiesce *quiesce, const struct agent_peer *peer,
                            struct agent_diagnosis *why)
{
    for (size_t i = 0; i < quiesce->procs.count; i++) {
        const struct agent_proc *proc = &quiesce->procs.list[i];

        if (proc->pid == peer->pid)
            return agent_diagnose_nature(quiesce->base, proc, &quiesce->procs, why);
    }
    return false;
}

static void on_failed(struct agent_peer *peer, int error, const char *reason)
{
    struct agent_quiesce *quiesce = peer->owner;
    enum agent_failure failure = error == ENOTSUP  ? AGENT_REFUSED
                                 : error == EAGAIN ? AGENT_RETRY
                                                   : AGENT_ERROR;
    struct agent_diagnosis why;

    if (quiesce->is_done) {
        quiesce->peer_callbacks->failed(peer, error, reason);
        return;
    }
    if (explain_failure(quiesce, peer, &why))
        fail(quiesce, why.failure, "process %d (%s) %s", (int)peer->inner, peer->comm,
             why.text);
    else
        fail(quiesce, failure, "process %d (%s): %s", (int)peer->inner, peer->comm, reason);
}

static void on_gone(struct agent_peer *peer)
{
    struct agent_quiesce *quiesce = peer->owner;

    /* Killed, as may happen at any time: the next scan does not find it, or asks again. */
    if (quiesce->is_done) {
        quiesce->peer_callbacks->gone(peer);
        return;
    }
    quiesce->scan_was_clean = false;
    forget_peer(quiesce, peer);
}

static void on_descriptors(struct agent_peer *peer, const struct stint_ckpt_fds *list,
                           const int *fds)
{
    struct agent_quiesce *quiesce = peer->owner;

    quiesce->peer_callbacks->descriptors(peer, list, fds);
}

static void on_watch(struct agent_peer *peer, const struct stint_ckpt_watch *watch)
{
    struct agent_quiesce *quiesce = peer->owner;

    quiesce->peer_callbacks->watch(peer, watch);
}

static void on_mq_notify(struct agent_peer *peer, const struct stint_ckpt_mq_notify *notify)
{
    struct agent_quiesce *quiesce = peer->owner;

    quiesce->peer_callbacks->mq_notify(peer, notify);
}

static void on_sem_undo(struct agent_peer *peer, const struct stint_ckpt_sem_undo *undo)
{
    struct agent_quiesce *quiesce = peer->owner;

    quiesce->peer_callbacks->sem_undo(peer, undo);
}

static void on_captured(struct agent_peer *peer)
{
    struct agent_quiesce *quiesce = peer->owner;

    quiesce->peer_callbacks->captured(peer);
}

static const struct agent_peer_callbacks quiesce_peer_callbacks = {
    .stopped = on_stopped,
    .descriptors = on_descriptors,
    .watch = on_watch,
    .mq_notify = on_mq_notify,
    .sem_undo = on_sem_undo,
    .captured = on_captured,
    .failed = on_failed,
    .gone = on_gone,
};

struct agent_peer *agent_quiesce_peer(const struct agent_quiesce *quiesce, pid_t pid)
{
    struct agent_peer *peer = quiesce->peers;

    while (peer && peer->pid != pid)
        peer = peer->next;
    return peer;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct agent_quiesce *quiesce = arg;
    struct ucred credentials;
    int conn;

    while ((conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        socklen_t len = sizeof(credentials);
        struct agent_peer *peer, *old;

        /* The name of an abstract socket is no secret on the machine. */
        if (getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &credentials, &len) < 0
            || credentials.uid != geteuid()) {
            (void)close(conn); /* a stranger's */
            continue;
        }
        old = agent_quiesce_peer(quiesce, credentials.pid);
        if (old && !quiesce->is_done)
            forget_peer(quiesce, old); /* it was resumed by its end, or is another now */
        peer = agent_peer_new(quiesce->agent->base, conn, credentials.pid,
                              &quiesce_peer_callbacks, quiesce);
        if (!peer)
            continue;
        peer->next = quiesce->peers;
        quiesce->peers = peer;
    }
}

/* --- those that do not answer ---------------------------------------------- */

static struct silent *silent_of(struct agent_quiesce *quiesce, const struct agent_proc *proc)
{
    struct silent *list;

    for (size_t i = 0; i < quiesce->nsilent; i++) {
        if (quiesce->silent[i].pid == proc->pid && quiesce->silent[i].start == proc->start)
            return &quiesce->silent[i];
    }
    list = reallocarray(quiesce->silent, quiesce->nsilent + 1, sizeof(*list));
    if (!list)
        return NULL;
    quiesce->silent = list;
    list[quiesce->nsilent] = (struct silent){
        .pid = proc->pid, .start = proc->start, .since = agent_now_ms()};
    return &list[quiesce->nsilent++];
}

static void drop_unseen(struct agent_quiesce *quiesce)
{
    size_t kept = 0;

    for (size_t i = 0; i < quiesce->nsilent; i++) {
        if (quiesce->silent[i].seen)
            quiesce->silent[kept++] = quiesce->silent[i];
    }
    quiesce->nsilent = kept;
}

/* One process has not answered. Returns false when the quiesce has failed. */
static bool judge(struct agent_quiesce *quiesce, const struct agent_proc *proc,
                  struct silent *silent, int64_t now)
{
    struct agent_inner inner = {.pid = proc->pid};
    struct agent_diagnosis why;
    bool late = now >= quiesce->deadline;

    if (!late && now - silent->since < PATIENCE_MS)
        return true;
    agent_diagnose(quiesce->base, proc, &quiesce->procs, &why);
    if (!late && !(why.hopeless && now - silent->since >= GRACE_MS))
        return true;
    (void)agent_proc_inner(proc->pid, &inner); /* gone: then the outer number will do */
    if (quiesce->ignore && why.failure == AGENT_REFUSED) {
        silent->ignored = true;
        stint_warn("process %d (%s) %s: it is left out of the checkpoint", (int)inner.pid,
                   proc->comm, why.text);
        return true;
    }
    if (agent_diagnosis_is_outsider(proc->comm))
        fail(quiesce, why.failure, "%s %s (process %d)", proc->comm, why.text,
             (int)inner.pid);
    else
        fail(quiesce, why.failure, "process %d (%s) %s", (int)inner.pid, proc->comm,
             why.text);
    return false;
}

/* One that is stopped does not hear: it is traced instead. Returns whether that is under
 * way; where it cannot be done, judge() says so in time. */
static bool ask_stopped(const struct agent_quiesce *quiesce, const struct agent_proc *proc)
{
    struct agent *agent = quiesce->agent;
    struct stint_err err;
    int ret;

    if (agent_stopped_has(agent, proc->pid))
        return true;
    if (proc->state != 'T' || agent_proc_tracer(proc->pid) > 0
        || !agent_proc_listens(proc->pid))
        return false;
    ret = agent_stopped_enter(agent, proc, quiesce->cookie, &err);
    if (ret < 0 && ret != -EAGAIN)
        stint_debug("%s", err.text);
    return ret == 0;
}

static void ask(const struct agent_quiesce *quiesce, const struct agent_proc *proc)
{
    siginfo_t info;

    /* The handler's system calls might be its end; judge() says why it is not asked. */
    if (agent_confined_is_filtered(quiesce->base, proc->pid) || ask_stopped(quiesce, proc)
        || proc->state == 'T')
        return;
    agent_stopped_siginfo(quiesce->cookie, &info);
    /* One that is gone, or is not ours any more, is dealt with by the next scan. */
    (void)syscall(SYS_rt_sigqueueinfo, proc->pid, SIGURG, &info);
}

/* --- scans ----------------------------------------------------------------- */

/* Look at one process of the scan. Returns 1 when it stands still (or is a zombie), 2
 * when it is left out, 0 when it has been asked, -1 when the quiesce has failed. */
static int visit(struct agent_quiesce *quiesce, const struct agent_proc *proc, int64_t now)
{
    struct agent_peer *peer;
    struct silent *silent;

    if (agent_proc_is_zombie(proc))
        return 1;
    peer = agent_quiesce_peer(quiesce, proc->pid);
    if (peer && peer->start == proc->start) {
        peer->seen = true;
        if (peer->state != PEER_NEW)
            return 1;
    }
    silent = silent_of(quiesce, proc);
    if (!silent) {
        fail(quiesce, AGENT_ERROR, "out of memory");
        return -1;
    }
    silent->seen = true;
    if (silent->ignored)
        return 2;
    if (!judge(quiesce, proc, silent, now))
        return -1;
    if (silent->ignored)
        return 2;
    if (!peer)
        ask(quiesce, proc);
    return 0;
}

/* Drop connections of processes that are not the program's, or not any more. */
static void drop_strangers(struct agent_quiesce *quiesce)
{
    struct agent_peer *peer = quiesce->peers, *next;

    for (; peer; peer = next) {
        next = peer->next;
        if (!peer->seen)
            forget_peer(quiesce, peer);
    }
}

/* A program that may run for hours and cannot be stopped: while nothing else is stopped
 * either, its end is waited for with everything running. Returns whether there is one,
 * or -1 when the quiesce has failed. */
static int wait_for_outsider(struct agent_quiesce *quiesce, const struct agent_procs *procs)
{
    int64_t now = agent_now_ms();

    if (quiesce->peers)
        return 0;
    for (size_t i = 0; i < procs->count; i++) {
        const struct agent_proc *proc = &procs->list[i];
        struct silent *silent;

        if (agent_proc_is_zombie(proc) || !agent_diagnosis_is_outsider(proc->comm))
            continue;
        silent = silent_of(quiesce, proc);
        if (silent && judge(quiesce, proc, silent, now))
            return 1;
        if (!silent)
            fail(quiesce, AGENT_ERROR, "out of memory");
        return -1;
    }
    return 0;
}

/* Returns how many have been asked, or -1 when the quiesce has failed. */
static int visit_all(struct agent_quiesce *quiesce, struct agent_procs *procs)
{
    int64_t now = agent_now_ms();
    size_t kept = 0;
    int asked = 0;

    for (struct agent_peer *peer = quiesce->peers; peer; peer = peer->next)
        peer->seen = false;
    for (size_t i = 0; i < quiesce->nsilent; i++)
        quiesce->silent[i].seen = false;
    for (size_t i = 0; i < procs->count; i++) {
        int ret;

        /* A command of ours in the program waits for this very checkpoint: after a restart
         * it will have ended well. */
        if (!agent_proc_is_zombie(&procs->list[i]) && agent_proc_is_client(procs->list[i].pid)) {
            procs->list[i].state = 'Z';
            procs->list[i].nthreads = 0;
            procs->list[i].exit_code = 0;
        }
        ret = visit(quiesce, &procs->list[i], now);

        if (ret < 0)
            return -1;
        asked += ret == 0;
        if (ret != 2)
            procs->list[kept++] = procs->list[i];
    }
    procs->count = kept;
    drop_unseen(quiesce);
    drop_strangers(quiesce);
    return asked;
}

static void run_scan(struct agent_quiesce *quiesce)
{
    struct agent *agent = quiesce->agent;
    struct agent_scan scan = {
        .agent = getpid(),
        .coordinator = agent_link_pid(agent),
        .restored = agent->restore != NULL,
    };
    struct agent_procs procs;
    struct stint_err err;
    char text[256];
    unsigned reaped;
    int asked;

    agent_reap(agent);
    if (agent->root_ended)
        return; /* whoever noted that has freed the checkpoint, or will */
    reaped = agent->reaped;
    if (agent_proc_scan(&scan, &procs, &err) < 0) {
        fail(quiesce, AGENT_ERROR, "%s", err.text);
        return;
    }
    agent_procs_deinit(&quiesce->procs);
    quiesce->procs = procs;
    quiesce->base = agent_confined_base(agent);
    asked = wait_for_outsider(quiesce, &procs);
    if (asked > 0)
        schedule(quiesce, OUTSIDER_INTERVAL_MS);
    if (asked != 0)
        return;
    asked = visit_all(quiesce, &quiesce->procs);
    if (asked < 0)
        return;
    agent_stopped_step(agent);
    quiesce->waiting = (unsigned)asked;
    if (asked > 0) {
        quiesce->scan_was_clean = false;
        schedule(quiesce, ASK_INTERVAL_MS);
        return;
    }
    agent_reap(agent);
    if (agent->root_ended)
        return;
    if (agent_sigterm_has_ended_one(agent, &quiesce->procs, text, sizeof(text))) {
        fail(quiesce, AGENT_ERROR, "%s: the program has gone on without it", text);
        return;
    }
    if (quiesce->scan_was_clean && agent->reaped == quiesce->reaped_at_scan) {
        quiesce->is_done = true;
        event_del(quiesce->listen_event);
        stint_cleanup_close(&quiesce->listen_fd);
        quiesce->listen_fd = -1;
        quiesce->callbacks->done(quiesce->arg);
        return;
    }
    quiesce->scan_was_clean = true;
    quiesce->reaped_at_scan = reaped;
    schedule(quiesce, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct agent_quiesce *quiesce = arg;

    if (!quiesce->is_done)
        run_scan(quiesce);
}

/* --- whole ----------------------------------------------------------------- */

static int listen_for_peers(struct agent_quiesce *quiesce, struct stint_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
                       "stint.%016" PRIx64, quiesce->cookie);

    quiesce->listen_fd
        = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (quiesce->listen_fd < 0)
        return stint_err_set(err, -errno, "make a UNIX socket");
    if (bind(quiesce->listen_fd, (struct sockaddr *)&address,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len))
            < 0
        || listen(quiesce->listen_fd, BACKLOG) < 0)
        return stint_err_set(err, -errno, "listen on a UNIX socket");
    quiesce->listen_event = event_new(quiesce->agent->base, quiesce->listen_fd,
                                      EV_READ | EV_PERSIST, on_accept, quiesce);
    quiesce->timer = evtimer_new(quiesce->agent->base, on_timer, quiesce);
    if (!quiesce->listen_event || !quiesce->timer
        || event_add(quiesce->listen_event, NULL) < 0)
        return stint_err_set(err, -ENOMEM, "watch a UNIX socket");
    return 0;
}

int agent_quiesce_start(struct agent *agent, int timeout_ms, bool ignore,
                        const struct agent_quiesce_callbacks *callbacks,
                        const struct agent_peer_callbacks *peer_callbacks, void *arg,
                        struct agent_quiesce **quiesce, struct stint_err *err)
{
    struct agent_quiesce *fresh = calloc(1, sizeof(*fresh));
    int ret;

    if (!fresh)
        return stint_err_set(err, -ENOMEM, "stop the program");
    fresh->agent = agent;
    fresh->callbacks = callbacks;
    fresh->peer_callbacks = peer_callbacks;
    fresh->arg = arg;
    fresh->ignore = ignore;
    fresh->listen_fd = -1;
    fresh->deadline = agent_now_ms() + timeout_ms;
    randombytes_buf(&fresh->cookie, sizeof(fresh->cookie));
    ret = listen_for_peers(fresh, err);
    if (ret < 0) {
        agent_quiesce_free(fresh);
        return ret;
    }
    schedule(fresh, 0);
    *quiesce = fresh;
    return 0;
}

const struct agent_procs *agent_quiesce_procs(const struct agent_quiesce *quiesce)
{
    return &quiesce->procs;
}

struct agent_peer *agent_quiesce_peers(const struct agent_quiesce *quiesce)
{
    return quiesce->peers;
}

void *agent_quiesce_arg(const struct agent_quiesce *quiesce)
{
    return quiesce->arg;
}

int64_t agent_quiesce_since(const struct agent_quiesce *quiesce)
{
    return quiesce->since;
}

void agent_quiesce_resume(struct agent_quiesce *quiesce)
{
    agent_stopped_leave_all(quiesce->agent);
    while (quiesce->peers) {
        struct stint_ckpt_resume resume = {{0}};
        struct agent_peer *peer = quiesce->peers;

        quiesce->peers = peer->next;
        /* Should it not arrive, the end of the connection says the same. */
        (void)agent_peer_send(peer, STINT_CKPT_RESUME, &resume, sizeof(resume), -1);
        agent_peer_free(peer);
    }
}

void agent_quiesce_free(struct agent_quiesce *quiesce)
{
    if (!quiesce)
        return;
    quiesce->is_done = true;
    if (quiesce->listen_event)
        event_free(quiesce->listen_event);
    if (quiesce->timer)
        event_free(quiesce->timer);
    stint_cleanup_close(&quiesce->listen_fd);
    agent_quiesce_resume(quiesce);
    agent_procs_deinit(&quiesce->procs);
    free(quiesce->silent);
    free(quiesce);
}
