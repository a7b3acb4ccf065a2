/* A short-lived child process beside the event loop.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/helper.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"

#define OUTPUT_MAX 65536
#define REAP_MS    5 /* between the end of its output and its exit */

extern char **environ;

struct stream {
    struct helper *helper;
    struct event *readable;
    int fd;
    size_t len;
    char text[OUTPUT_MAX];
};

struct helper {
    pid_t pid; /* 0 once it was waited for */
    int is_late;
    struct event *deadline, *reap;
    struct stream streams[2]; /* stdout, stderr */
    helper_done_f done;
    void *arg;
};

static void close_stream(struct stream *s)
{
    if (s->readable)
        event_free(s->readable);
    s->readable = NULL;
    stint_cleanup_close(&s->fd);
    s->fd = -1;
}

static void helper_free(struct helper *h)
{
    for (int i = 0; i < 2; i++)
        close_stream(&h->streams[i]);
    if (h->deadline)
        event_free(h->deadline);
    if (h->reap)
        event_free(h->reap);
    free(h);
}

void helper_cancel(struct helper *h)
{
    if (!h)
        return;
    if (h->pid > 0) {
        (void)kill(h->pid, SIGKILL); /* gone already: waitpid tells */
        while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    helper_free(h);
}

static void trim(struct stream *s)
{
    while (s->len > 0 && s->text[s->len - 1] == '\n')
        s->len--;
    s->text[s->len] = '\0';
}

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    struct helper *h = arg;
    const struct timeval again = {0, REAP_MS * 1000};
    int status, code;
    pid_t pid = waitpid(h->pid, &status, WNOHANG);

    if (pid == 0 || (pid < 0 && errno == EINTR)) {
        (void)evtimer_add(h->reap, &again); /* was added before: needs no memory */
        return;
    }
    h->pid = 0;
    if (h->is_late)
        code = -ETIMEDOUT;
    else if (pid < 0)
        code = -ECHILD;
    else
        code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    trim(&h->streams[0]);
    trim(&h->streams[1]);
    h->done(code, h->streams[0].text, h->streams[1].text, h->arg);
    helper_free(h);
}

static void begin_reaping(struct helper *h)
{
    const struct timeval now = {0, 0};

    if (h->streams[0].fd < 0 && h->streams[1].fd < 0)
        (void)evtimer_add(h->reap, &now); /* was made with its memory */
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    char spill[4096];
    size_t room = sizeof(s->text) - 1 - s->len;
    ssize_t n =
        room ? read(fd, s->text + s->len, room) : read(fd, spill, sizeof(spill));

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0) {
        s->len += room ? (size_t)n : 0;
        return;
    }
    close_stream(s);
    begin_reaping(s->helper);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct helper *h = arg;

    h->is_late = 1;
    (void)kill(h->pid, SIGKILL); /* gone already: waitpid tells */
    for (int i = 0; i < 2; i++)  /* a grandchild may hold them open */
        close_stream(&h->streams[i]);
    begin_reaping(h);
}

static int spawn(const char *const argv[], int out, int errors, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    int ret;

    sigemptyset(&none);
    sigfillset(&all);
    ret = posix_spawn_file_actions_init(&actions);
    if (ret)
        return -ret;
    ret = posix_spawnattr_init(&attr);
    if (ret == 0) {
        ret = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        if (ret == 0)
            ret = posix_spawn_file_actions_adddup2(&actions, out, 1);
        if (ret == 0)
            ret = posix_spawn_file_actions_adddup2(&actions, errors, 2);
        (void)posix_spawnattr_setsigmask(&attr, &none); /* these three only store */
        (void)posix_spawnattr_setsigdefault(&attr, &all);
        (void)posix_spawnattr_setflags(&attr,
                                       POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        if (ret == 0)
            ret = posix_spawn(pid, argv[0], &actions, &attr, (char *const *)argv,
                              environ);
        (void)posix_spawnattr_destroy(&attr); /* frees only */
    }
    (void)posix_spawn_file_actions_destroy(&actions); /* frees only */
    return -ret;
}

static int start(struct helper *h,
                 struct event_base *base,
                 const char *const argv[],
                 int timeout_ms)
{
    const struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    STINT_AUTO_CLOSE int out = -1;
    STINT_AUTO_CLOSE int errors = -1;
    int *ends[2] = {&out, &errors};

    for (int i = 0; i < 2; i++) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
            return -errno;
        h->streams[i].fd = fds[0];
        *ends[i] = fds[1];
        h->streams[i].readable =
            event_new(base, fds[0], EV_READ | EV_PERSIST, on_readable, &h->streams[i]);
        if (!h->streams[i].readable || event_add(h->streams[i].readable, NULL) < 0)
            return -ENOMEM;
    }
    h->deadline = evtimer_new(base, on_deadline, h);
    h->reap = evtimer_new(base, on_reap, h);
    if (!h->deadline || !h->reap || evtimer_add(h->deadline, &tv) < 0)
        return -ENOMEM;
    return spawn(argv, out, errors, &h->pid);
}

int helper_start(struct event_base *base,
                 const char *const argv[],
                 int timeout_ms,
                 helper_done_f done,
                 void *arg,
                 struct helper **helper,
                 struct stint_err *err)
{
    struct helper *h = calloc(1, sizeof(*h));
    int ret;

    if (!h)
        return stint_err_set(err, -ENOMEM, "start %s", argv[0]);
    h->done = done;
    h->arg = arg;
    for (int i = 0; i < 2; i++) {
        h->streams[i].helper = h;
        h->streams[i].fd = -1;
    }
    ret = start(h, base, argv, timeout_ms);
    if (ret < 0) {
        h->pid = 0;
        helper_free(h);
        return stint_err_set(err, ret, "start %s", argv[0]);
    }
    *helper = h;
    return 0;
}
