/* One question to the coordinator; and members of messages.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/wire.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/endpoint.h"

const char *
stint_json_string(const json_t *object, const char *name, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : otherwise;
}

int64_t stint_json_int(
    const json_t *object, const char *name, int64_t min, int64_t max, int64_t otherwise)
{
    const json_t *member = json_object_get(object, name);
    json_int_t value = json_integer_value(member);

    return json_is_integer(member) && value >= min && value <= max ? value : otherwise;
}

int stint_json_bool(const json_t *object, const char *name, int otherwise)
{
    const json_t *member = json_object_get(object, name);

    return json_is_boolean(member) ? json_is_true(member) : otherwise;
}

json_t *stint_json_text(const char *bytes)
{
    json_t *text = json_string(bytes);
    char *copy;

    if (text)
        return text;
    copy = strdup(bytes);
    if (!copy)
        return NULL;
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    text = json_string(copy);
    free(copy);
    return text;
}

struct call {
    struct event_base *base;
    void (*note)(const char *text, void *arg);
    void *arg;
    json_t *reply;
    int is_timed_out;
    int is_refused;
    char reason[256];
};

static void
on_message(struct stint_wire *wire, const char *t, json_t *message, void *arg)
{
    struct call *call = arg;

    if (strcmp(t, "reply") == 0) {
        call->reply = json_incref(message);
        event_base_loopbreak(call->base);
    } else if (strcmp(t, "error") == 0) {
        snprintf(call->reason, sizeof(call->reason), "the coordinator says: %s",
                 stint_json_string(message, "reason", "error"));
        event_base_loopbreak(call->base);
    } else if (strcmp(t, "note") == 0 && call->note) {
        call->note(stint_json_string(message, "text", ""), call->arg);
    }
}

static void on_closed(struct stint_wire *wire, const char *reason, void *arg)
{
    struct call *call = arg;

    snprintf(call->reason, sizeof(call->reason), "%s", reason);
    call->is_refused = stint_wire_was_refused(wire);
    event_base_loopbreak(call->base);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct call *call = arg;

    call->is_timed_out = 1;
    event_base_loopbreak(call->base);
}

static const struct stint_wire_callbacks call_callbacks = {on_message, on_closed};

static int run_call(struct call *call,
                    const char *dir,
                    json_t *request,
                    int timeout_ms,
                    struct stint_err *err)
{
    struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    struct stint_wire *wire = NULL;
    int ret;

    ret = stint_wire_connect(call->base, dir,
                             json_pack("{s:s, s:s, s:i}", "t", "hello", "role",
                                       "client", "version", STINT_WIRE_VERSION),
                             &call_callbacks, call, &wire, err);
    if (ret < 0) {
        json_decref(request);
        return ret;
    }
    ret = stint_wire_send(wire, request);
    if (ret < 0)
        (void)stint_err_set(err, ret, "send the request");
    else if (timeout_ms >= 0
             && event_base_once(call->base, -1, EV_TIMEOUT, on_deadline, call, &tv) < 0)
        ret = stint_err_set(err, -ENOMEM, "wait for the coordinator");
    else
        (void)event_base_dispatch(call->base); /* ends by one of the callbacks */
    stint_wire_free(wire);
    return ret;
}

int stint_wire_call(const char *dir,
                    json_t *request,
                    int timeout_ms,
                    void (*note)(const char *text, void *arg),
                    void *arg,
                    json_t **reply,
                    struct stint_err *err)
{
    struct call call = {.note = note, .arg = arg};
    int ret;

    if (!request || json_object_set_new(request, "t", json_string("request")) < 0) {
        json_decref(request);
        return stint_err_set(err, -EINVAL, "make the request");
    }
    call.base = event_base_new();
    if (!call.base) {
        json_decref(request);
        return stint_err_set(err, -ENOMEM, "connect to the coordinator");
    }
    ret = run_call(&call, dir, request, timeout_ms, err);
    event_base_free(call.base);
    if (ret == -ENOENT)
        return STINT_WIRE_E_NONE;
    if (ret < 0)
        return ret;
    if (call.reply) {
        *reply = call.reply;
        return 0;
    }
    if (call.is_refused)
        return STINT_WIRE_E_NONE;
    if (call.is_timed_out)
        return stint_err_set(err, -ETIMEDOUT,
                             "the coordinator of %s did not answer within %d s.", dir,
                             timeout_ms / 1000);
    return stint_err_set(err, -ECONNRESET,
                         "the coordinator of %s does not answer (%s).", dir,
                         call.reason);
}
