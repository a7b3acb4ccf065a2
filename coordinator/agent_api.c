/* What the program asks of its agent.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each connection is one question and one answer. For what only the coordinator knows
 * the agent is a client of it; the answer about a checkpoint is fetched later, by its
 * number, since no connection may be open while the program is captured.
 */
#include "coordinator/agent_api.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/wire.h"
#include "coordinator/agent_sigterm.h"
#include "coordinator/agent_state.h"

#define BACKLOG       1024 /* all processes of a job may come at once */
#define QUESTION_MAX  256
#define RESULTS       64 /* that can be asked for */
#define CONNECTIONS   256
#define ENVIRON_MAX   (4u << 20)
#define REASON_MAX    300

struct result {
    unsigned number;
    char text[REASON_MAX]; /* as it is answered; "pending" at first */
};

/* A connection of the program, a question to the coordinator, or both. */
struct asking {
    struct asking *next;
    struct agent_api *api;
    int fd;              /* of the program; -1 = it asks again later */
    pid_t pid;           /* of the process that asks */
    struct event *event; /* waits for its question */
    struct stint_wire *wire;
    unsigned number; /* of the result; 0 = none */
};

struct agent_api {
    struct agent *agent;
    int listen_fd;
    struct event *event;
    struct asking *askings;
    unsigned count;
    unsigned last; /* number given last */
    struct result results[RESULTS];
};

static void asking_free(struct asking *asking)
{
    struct asking **at = &asking->api->askings;

    while (*at != asking)
        at = &(*at)->next;
    *at = asking->next;
    asking->api->count--;
    if (asking->event)
        event_free(asking->event);
    stint_wire_free(asking->wire);
    stint_cleanup_close(&asking->fd);
    free(asking);
}

static void answer(struct asking *asking, const char *text)
{
    if (asking->fd >= 0)
        (void)send(asking->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT); /* or EOF */
    stint_cleanup_close(&asking->fd);
    asking->fd = -1;
}

/* --- questions to the coordinator --------------------------------------------------- */

static struct result *find_result(struct agent_api *api, unsigned number)
{
    struct result *result = &api->results[number % RESULTS];

    return result->number == number ? result : NULL;
}

static void checkpoint_result(struct asking *asking, const json_t *reply)
{
    struct result *result = find_result(asking->api, asking->number);

    if (!result)
        return; /* 64 others came after it */
    if (stint_json_bool(reply, "ok", 0))
        snprintf(result->text, sizeof(result->text), "done");
    else
        snprintf(result->text, sizeof(result->text), "%s %s",
                 stint_json_int(reply, "code", 0, 255, 1) == 75 ? "again" : "failed",
                 stint_json_string(reply, "message", "no reason was given"));
}

static void status_result(struct asking *asking, const json_t *reply)
{
    const json_t *agents = json_object_get(reply, "agents");
    int running = strcmp(stint_json_string(reply, "state", ""), "idle") == 0
                  && stint_json_int(reply, "expected", 0, INT32_MAX, 0) == 0;
    size_t peers = 0, i;
    char text[64];
    json_t *agent;

    json_array_foreach(agents, i, agent) {
        peers += json_array_size(json_object_get(agent, "processes"));
        running = running && stint_json_bool(agent, "running", 0);
    }
    snprintf(text, sizeof(text), "peers %zu running %d", peers, running);
    answer(asking, text);
}

static void on_message(struct stint_wire *wire, const char *t, json_t *message, void *arg)
{
    struct asking *asking = arg;

    if (strcmp(t, "reply") != 0)
        return;
    if (asking->number)
        checkpoint_result(asking, message);
    else
        status_result(asking, message);
    asking_free(asking);
}

static void on_closed(struct stint_wire *wire, const char *reason, void *arg)
{
    struct asking *asking = arg;
    struct result *result = asking->number ? find_result(asking->api, asking->number) : NULL;

    if (result)
        snprintf(result->text, sizeof(result->text), "failed the coordinator: %s", reason);
    else
        answer(asking, "failed the coordinator does not answer");
    asking_free(asking);
}

/* Returns 0, or -errno with *err set. */
static int ask_coordinator(struct asking *asking, json_t *request, struct stint_err *err)
{
    static const struct stint_wire_callbacks callbacks = {on_message, on_closed};
    const struct agent *agent = asking->api->agent;
    int ret;

    if (!request)
        return stint_err_set(err, -ENOMEM, "ask the coordinator");
    ret = stint_wire_connect(agent->base, agent->config->dir,
                             json_pack("{s:s, s:s, s:i}", "t", "hello", "role", "client",
                                       "version", STINT_WIRE_VERSION),
                             &callbacks, asking, &asking->wire, err);
    if (ret < 0) {
        json_decref(request);
        return ret;
    }
    return stint_wire_send(asking->wire, request);
}

/* --- questions of the program --------------------------------------------------------- */

static void refuse(struct asking *asking, const struct stint_err *err)
{
    char text[REASON_MAX];

    snprintf(text, sizeof(text), "failed %.*s", REASON_MAX - 10, err->text);
    answer(asking, text);
    asking_free(asking);
}

static void question_checkpoint(struct asking *asking)
{
    struct agent_api *api = asking->api;
    struct stint_err err;
    struct result *result;
    char text[32];

    api->last++;
    if (api->last == 0)
        api->last = 1;
    result = &api->results[api->last % RESULTS];
    result->number = api->last;
    snprintf(result->text, sizeof(result->text), "pending");
    asking->number = api->last;
    if (ask_coordinator(asking,
                        json_pack("{s:s, s:s, s:b, s:b}", "t", "request", "command",
                                  "checkpoint", "kill", 0, "wait", 1),
                        &err)
        < 0) {
        refuse(asking, &err);
        return;
    }
    snprintf(text, sizeof(text), "accepted %u", asking->number);
    answer(asking, text);
}

static void question_status(struct asking *asking)
{
    struct stint_err err;

    if (ask_coordinator(asking,
                        json_pack("{s:s, s:s}", "t", "request", "command", "list"), &err)
        < 0)
        refuse(asking, &err);
}

static void question_result(struct asking *asking, const char *number)
{
    const struct result *result =
        find_result(asking->api, (unsigned)strtoul(number, NULL, 10));

    answer(asking, result ? result->text : "again the agent is another one now");
    asking_free(asking);
}

static void on_question(evutil_socket_t fd, short what, void *arg)
{
    struct asking *asking = arg;
    const char *info = asking->api->agent->config->info;
    char text[QUESTION_MAX];
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

    event_free(asking->event);
    asking->event = NULL;
    text[n > 0 ? n : 0] = '\0';
    if (strcmp(text, "checkpoint") == 0) {
        question_checkpoint(asking);
    } else if (strcmp(text, "status") == 0) {
        question_status(asking);
    } else if (strncmp(text, "result ", 7) == 0) {
        question_result(asking, text + 7);
    } else if (strcmp(text, "sigterm") == 0) {
        agent_sigterm_noted(asking->api->agent, asking->pid);
        asking_free(asking);
    } else if (strcmp(text, "sigterm-child") == 0) {
        agent_sigterm_child_ended(asking->api->agent, asking->pid);
        asking_free(asking);
    } else {
        answer(asking, strcmp(text, "info") == 0 && info ? info : "failed unknown question");
        asking_free(asking);
    }
}

static void take_connection(struct agent_api *api, int fd, pid_t pid)
{
    struct asking *asking = calloc(1, sizeof(*asking));

    if (!asking) {
        close(fd);
        return;
    }
    asking->api = api;
    asking->fd = fd;
    asking->pid = pid;
    asking->next = api->askings;
    api->askings = asking;
    api->count++;
    asking->event = event_new(api->agent->base, fd, EV_READ, on_question, asking);
    if (!asking->event || event_add(asking->event, NULL) < 0)
        asking_free(asking);
}

static void on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
    struct agent_api *api = arg;
    struct ucred credentials;
    socklen_t len;
    int fd;

    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        len = sizeof(credentials);
        /* The name of an abstract socket is no secret on the machine. */
        if (api->count >= CONNECTIONS
            || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len) < 0
            || credentials.uid != geteuid())
            close(fd);
        else
            take_connection(api, fd, credentials.pid);
    }
}

/* --- start and end ----------------------------------------------------------------------- */

static int open_socket(const char *job)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, len;

    len = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "stint-agent.%s", job);
    if (len >= (int)sizeof(address.sun_path) - 1)
        return -ENAMETOOLONG;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len))
            < 0
        || listen(fd, BACKLOG) < 0) {
        int error = errno;

        close(fd);
        return -error;
    }
    return fd;
}

void agent_api_listen(struct agent *agent, const char *job)
{
    struct agent_api *api = calloc(1, sizeof(*api));

    if (!api)
        return;
    agent->api = api;
    api->agent = agent;
    api->listen_fd = open_socket(job);
    if (api->listen_fd >= 0)
        api->event = event_new(agent->base, api->listen_fd, EV_READ | EV_PERSIST, on_accept,
                               api);
    if (!api->event || event_add(api->event, NULL) < 0)
        stint_debug("the program's own requests cannot be taken: %s",
                    strerror(api->listen_fd < 0 ? -api->listen_fd : ENOMEM));
}

void agent_api_listen_restored(struct agent *agent)
{
    static const char name[] = "STINT_JOB=";
    STINT_AUTO_FREE char *text = malloc(ENVIRON_MAX);
    STINT_AUTO_CLOSE int fd = -1;
    char path[64];
    size_t used = 0;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/environ", (int)agent->root);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || !text)
        return;
    while (used < ENVIRON_MAX - 1
           && (n = read(fd, text + used, ENVIRON_MAX - 1 - used)) > 0)
        used += (size_t)n;
    text[used] = '\0';
    for (const char *at = text; at < text + used; at += strlen(at) + 1)
        if (strncmp(at, name, strlen(name)) == 0) {
            agent_api_listen(agent, at + strlen(name));
            return;
        }
}

void agent_api_free(struct agent *agent)
{
    struct agent_api *api = agent->api;

    if (!api)
        return;
    while (api->askings)
        asking_free(api->askings);
    if (api->event)
        event_free(api->event);
    stint_cleanup_close(&api->listen_fd);
    free(api);
    agent->api = NULL;
}
