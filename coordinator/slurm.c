/* The coordinator's link to Slurm.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/slurm.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/paths.h"
#include "coordinator/helper.h"

#define INFO_TIMEOUT_MS    15000
#define REQUEUE_TIMEOUT_MS 40000 /* the helper gives up by itself after 30 s */
#define COMMENT_TIMEOUT_MS 5000

enum call {
    CALL_NONE,
    CALL_REQUEUE,
    CALL_INFO,
    CALL_COMMENT,
};

struct slurm {
    struct event_base *base;
    struct event *kick; /* starts the next call from the loop */
    const struct slurm_callbacks *callbacks;
    void *arg;
    char *program;
    char job[32];
    enum call running;
    struct helper *helper;
    int want_requeue, want_info, want_comment;
    char comment[256];
};

static void
finish(struct slurm *s, enum call call, int ok, const char *output, const char *why)
{
    struct slurm_info info;
    struct stint_err err;

    switch (call) {
    case CALL_REQUEUE:
        s->callbacks->requeued(ok, why, s->arg);
        break;
    case CALL_INFO:
        if (ok && slurm_info_parse(output, &info, &err) < 0)
            s->callbacks->info(NULL, s->want_info, err.text, s->arg);
        else
            s->callbacks->info(ok ? &info : NULL, s->want_info, why, s->arg);
        break;
    case CALL_COMMENT:
        if (!ok)
            stint_debug("comment of job %s: %s", s->job, why);
        break;
    case CALL_NONE:
    default:
        break;
    }
}

static void kick(struct slurm *s)
{
    const struct timeval now = {0, 0};

    if (s->running == CALL_NONE)
        (void)evtimer_add(s->kick, &now); /* memory was taken at creation */
}

static void on_done(int status, const char *output, const char *errors, void *arg)
{
    struct slurm *s = arg;
    enum call call = s->running;
    char why[512];

    s->running = CALL_NONE;
    s->helper = NULL;
    if (status == -ETIMEDOUT)
        snprintf(why, sizeof(why), "Slurm does not answer");
    else if (errors[0])
        snprintf(why, sizeof(why), "%s",
                 strncmp(errors, "stint: ", 7) == 0 ? errors + 7 : errors);
    else
        snprintf(why, sizeof(why), "stint-slurm ended with status %d", status);
    kick(s);
    finish(s, call, status == 0, output, why);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
    struct slurm *s = arg;
    const char *argv[5] = {s->program, NULL, s->job, NULL, NULL};
    int timeout_ms = INFO_TIMEOUT_MS;
    struct stint_err err;
    enum call call;

    if (s->running != CALL_NONE)
        return;
    if (s->want_comment) {
        call = CALL_COMMENT;
        argv[1] = "comment";
        argv[3] = s->comment;
        timeout_ms = COMMENT_TIMEOUT_MS;
        s->want_comment = 0;
    } else if (s->want_requeue) {
        call = CALL_REQUEUE;
        argv[1] = "requeue";
        timeout_ms = REQUEUE_TIMEOUT_MS;
        s->want_requeue = 0;
    } else if (s->want_info) {
        call = CALL_INFO;
        argv[1] = "info";
        s->want_info = 0;
    } else {
        return;
    }
    s->running = call;
    if (helper_start(s->base, argv, timeout_ms, on_done, s, &s->helper, &err) < 0) {
        s->running = CALL_NONE;
        kick(s);
        finish(s, call, 0, "", err.text);
    }
}

int slurm_new(struct event_base *base,
              const char *job,
              const struct slurm_callbacks *callbacks,
              void *arg,
              struct slurm **slurm,
              struct stint_err *err)
{
    struct slurm *s;
    int ret;

    if (!job[0] || strspn(job, "0123456789") != strlen(job)
        || strlen(job) >= sizeof(s->job))
        return stint_err_set(err, -EINVAL, "'%s' is no id of a Slurm job.", job);
    s = calloc(1, sizeof(*s));
    if (!s)
        return stint_err_set(err, -ENOMEM, "connect to Slurm");
    s->base = base;
    s->callbacks = callbacks;
    s->arg = arg;
    snprintf(s->job, sizeof(s->job), "%s", job);
    ret = stint_path_find("stint-slurm", &s->program, err);
    if (ret == 0) {
        s->kick = evtimer_new(base, on_kick, s);
        if (!s->kick)
            ret = stint_err_set(err, -ENOMEM, "connect to Slurm");
    }
    if (ret < 0) {
        slurm_free(s);
        return ret;
    }
    *slurm = s;
    return 0;
}

void slurm_ask(struct slurm *s)
{
    s->want_info = 1;
    kick(s);
}

void slurm_requeue(struct slurm *s)
{
    s->want_requeue = 1;
    kick(s);
}

void slurm_comment(struct slurm *s, const char *text)
{
    snprintf(s->comment, sizeof(s->comment), "%s", text);
    s->want_comment = 1;
    kick(s);
}

void slurm_free(struct slurm *s)
{
    if (!s)
        return;
    helper_cancel(s->helper);
    if (s->kick)
        event_free(s->kick);
    free(s->program);
    free(s);
}
