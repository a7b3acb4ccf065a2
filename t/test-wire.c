/* Authenticated connections: messages pass between holders of the key, nothing else
 * does. SPDX-License-Identifier: Apache-2.0
 */
#include "common/wire.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/endpoint.h"

static char base_dir[64], path[128];
static struct stint_err err;
static struct event_base *base;
static struct evconnlistener *listener;
static struct stint_key key;
static uint16_t port;
static int fd;

/* One side, and what it saw. */
static struct side {
    struct stint_wire *wire;
    unsigned count;
    json_t *last;
    char closed[256];
    int answers; /* send a welcome, then echo */
    int frees;   /* free the connection in the callback */
} server, client;

static void
on_message(struct stint_wire *wire, const char *t, json_t *message, void *arg)
{
    struct side *side = arg;

    side->count++;
    json_decref(side->last);
    side->last = json_incref(message);
    if (side->frees) {
        stint_wire_free(wire);
        side->wire = NULL;
    } else if (side->answers && strcmp(t, "hello") == 0) {
        ck_assert_int_eq(stint_wire_sendf(wire, "welcome", "s:i", "version", 1), 0);
    } else if (side->answers && strcmp(t, "echo") == 0) {
        ck_assert_int_eq(stint_wire_send(wire, json_incref(message)), 0);
    } else if (side->answers && strcmp(t, "request") == 0) {
        ck_assert_int_eq(stint_wire_sendf(wire, "note", "s:s", "text", "wait"), 0);
        ck_assert_int_eq(
            stint_wire_sendf(wire, "reply", "s:b, s:O", "ok", 1, "got", message), 0);
    } else if (side->answers && strcmp(t, "bye") == 0) {
        ck_assert_int_eq(stint_wire_sendf(wire, "last", ""), 0);
        stint_wire_finish(wire);
    }
}

static void on_closed(struct stint_wire *wire, const char *reason, void *arg)
{
    struct side *side = arg;

    snprintf(side->closed, sizeof(side->closed), "%s", reason);
    stint_wire_free(wire);
    side->wire = NULL;
}

static const struct stint_wire_callbacks callbacks = {on_message, on_closed};

static void on_connection(struct evconnlistener *l,
                          evutil_socket_t socket_fd,
                          struct sockaddr *address,
                          int len,
                          void *arg)
{
    ck_assert_int_eq(stint_wire_accept(base, socket_fd, &key, &callbacks, &server,
                                       &server.wire, &err),
                     0);
}

static void setup(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    socklen_t len = sizeof(any);

    signal(SIGPIPE, SIG_IGN);
    snprintf(base_dir, sizeof(base_dir), "/tmp/stint-test-wire.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base_dir));
    snprintf(path, sizeof(path), "%s/ckpt", base_dir);
    ck_assert_int_eq(stint_dir_create(path, &fd, NULL, &err), 0);
    ck_assert_int_eq(stint_dir_key(fd, &key, &err), 0);
    base = event_base_new();
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = evconnlistener_new_bind(base, on_connection, NULL,
                                       LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                                       16, (struct sockaddr *)&any, sizeof(any));
    ck_assert_ptr_nonnull(listener);
    ck_assert_int_eq(
        getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&any, &len), 0);
    port = ntohs(any.sin_port);
    ck_assert_int_eq(stint_endpoint_write(fd, port, &err), 0);
    server = (struct side){.answers = 1};
    client = (struct side){0};
}

static void teardown(void)
{
    char command[128];

    stint_wire_free(server.wire);
    stint_wire_free(client.wire);
    json_decref(server.last);
    json_decref(client.last);
    if (listener)
        evconnlistener_free(listener);
    event_base_free(base);
    close(fd);
    snprintf(command, sizeof(command), "rm -rf %s", base_dir);
    ck_assert_int_eq(system(command), 0);
}

static json_t *hello(void)
{
    return json_pack("{s:s, s:s}", "t", "hello", "role", "client");
}

static void connect_client(void)
{
    ck_assert_int_eq(stint_wire_connect(base, path, hello(), &callbacks, &client,
                                        &client.wire, &err),
                     0);
}

static void stop_loop(evutil_socket_t unused, short what, void *arg)
{
    *(int *)arg = 1;
    event_base_loopbreak(base);
}

/* Run the loop until the condition holds; fails after ten seconds. */
#define RUN_UNTIL(condition)                                         \
    do {                                                             \
        const struct timeval limit_ = {15, 0};                       \
        int late_ = 0;                                               \
        struct event *timer_ = evtimer_new(base, stop_loop, &late_); \
        evtimer_add(timer_, &limit_);                                \
        while (!(condition) && !late_)                               \
            event_base_loop(base, EVLOOP_ONCE);                      \
        event_free(timer_);                                          \
        ck_assert_msg(!late_, "%s", #condition);                     \
    } while (0)

START_TEST(greets)
{
    connect_client();
    RUN_UNTIL(client.count == 1);
    ck_assert_str_eq(stint_json_string(client.last, "t", ""), "welcome");
    ck_assert_str_eq(stint_json_string(server.last, "role", ""), "client");
}
END_TEST

START_TEST(early_messages_follow_the_hello)
{
    connect_client();
    ck_assert_int_eq(stint_wire_sendf(client.wire, "echo", "s:i", "n", 7), 0);
    RUN_UNTIL(client.count == 2);
    ck_assert_int_eq(stint_json_int(client.last, "n", 0, 100, -1), 7);
    ck_assert_uint_eq(server.count, 2);
}
END_TEST

START_TEST(many_and_large_messages)
{
    static const size_t sizes[] = {0,     1,       4095,
                                   65536, 1 << 20, STINT_WIRE_FRAME_MAX - 100};

    connect_client();
    RUN_UNTIL(client.count == 1);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *text = calloc(1, sizes[i] + 1);

        memset(text, 'x', sizes[i]);
        ck_assert_int_eq(stint_wire_sendf(client.wire, "echo", "s:s", "text", text), 0);
        RUN_UNTIL(client.count == 2 + i);
        ck_assert_str_eq(stint_json_string(client.last, "text", "?"), text);
        free(text);
    }
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(stint_wire_sendf(client.wire, "echo", "s:i", "n", i), 0);
    RUN_UNTIL(client.count == 1007);
    ck_assert_int_eq(stint_json_int(client.last, "n", 0, 1000, -1), 999);
}
END_TEST

START_TEST(too_large_is_refused_by_the_sender)
{
    char *text = calloc(1, STINT_WIRE_FRAME_MAX + 1);

    connect_client();
    RUN_UNTIL(client.count == 1);
    memset(text, 'x', STINT_WIRE_FRAME_MAX);
    ck_assert_int_eq(stint_wire_sendf(client.wire, "echo", "s:s", "text", text),
                     -EMSGSIZE);
    free(text);
    ck_assert_int_eq(stint_wire_sendf(client.wire, "echo", "s:i", "n", 1), 0);
    RUN_UNTIL(client.count == 2);
}
END_TEST

START_TEST(not_utf8_is_refused_by_the_sender)
{
    json_t *text = stint_json_text("a\xff\xc3");

    connect_client();
    ck_assert_int_eq(stint_wire_sendf(client.wire, "echo", "s:s", "text", "\xff"),
                     -EINVAL);
    ck_assert_str_eq(json_string_value(text), "a??");
    json_decref(text);
}
END_TEST

START_TEST(end_is_noticed_by_the_other)
{
    connect_client();
    RUN_UNTIL(client.count == 1);
    stint_wire_free(server.wire);
    server.wire = NULL;
    RUN_UNTIL(client.closed[0]);
    ck_assert_ptr_nonnull(strstr(client.closed, "gone"));
    ck_assert(!server.closed[0]);
}
END_TEST

START_TEST(finish_delivers_first)
{
    connect_client();
    ck_assert_int_eq(stint_wire_sendf(client.wire, "bye", ""), 0);
    RUN_UNTIL(client.closed[0] && server.closed[0]);
    ck_assert_str_eq(stint_json_string(client.last, "t", ""), "last");
}
END_TEST

START_TEST(free_in_the_callback)
{
    connect_client();
    client.frees = 1;
    RUN_UNTIL(client.count == 1);
    ck_assert_ptr_null(client.wire);
    RUN_UNTIL(server.closed[0]);
}
END_TEST

START_TEST(wrong_key_gets_nothing)
{
    key.bytes[31] ^= 1;
    connect_client();
    ck_assert_int_eq(stint_wire_sendf(client.wire, "echo", ""), 0);
    RUN_UNTIL(client.closed[0] && server.closed[0]);
    ck_assert_uint_eq(client.count, 0);
    ck_assert_uint_eq(server.count, 0);
    ck_assert_ptr_nonnull(strstr(server.closed, "key"));
    ck_assert_ptr_nonnull(strstr(client.closed, "key"));
}
END_TEST

START_TEST(nobody_listens)
{
    evconnlistener_free(listener);
    listener = NULL;
    connect_client();
    RUN_UNTIL(client.closed[0]);
    ck_assert_ptr_nonnull(strstr(client.closed, "refused"));
}
END_TEST

START_TEST(no_coordinator)
{
    struct stint_wire *wire;
    json_t *reply;

    ck_assert_int_eq(unlinkat(fd, "coordinator.yaml", 0), 0);
    ck_assert_int_eq(
        stint_wire_connect(base, path, hello(), &callbacks, &client, &wire, &err),
        -ENOENT);
    ck_assert_int_eq(stint_wire_call(path, json_pack("{s:s}", "command", "x"), 1000,
                                     NULL, NULL, &reply, &err),
                     STINT_WIRE_E_NONE);
}
END_TEST

START_TEST(bad_endpoints)
{
    static const char *const texts[] = {
        "",
        "version: 2\nhost: a\naddresses: [127.0.0.1]\nport: 1\npid: 1\n",
        "version: 1\nhost: a\naddresses: []\nport: 1\npid: 1\n",
        "version: 1\nhost: a\naddresses: [localhost]\nport: 1\npid: 1\n",
        "version: 1\nhost: a\naddresses: [127.0.0.1]\nport: 70000\npid: 1\n",
        "version: 1\nhost: a\naddresses: [127.0.0.1]\nport: 0\npid: 1\n",
        "version: 1\nhost: [a]\naddresses: [127.0.0.1]\nport: 1\npid: 1\n",
        "version: 1\nhost: a\naddresses: 127.0.0.1\nport: 1\npid: 1\n",
    };
    struct stint_endpoint endpoint;
    int file;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        file = openat(fd, "coordinator.yaml", O_WRONLY | O_TRUNC);
        ck_assert_int_eq(write(file, texts[i], strlen(texts[i])), strlen(texts[i]));
        close(file);
        ck_assert_int_eq(stint_endpoint_read(fd, &endpoint, &err), -EBADMSG);
    }
}
END_TEST

/* --- a peer that speaks by hand ------------------------------------------------------
 */

static int raw_connect(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int raw = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(raw, (struct sockaddr *)&to, sizeof(to)), 0);
    return raw;
}

static const struct {
    const char *what;
    size_t len;
} openings[] = {
    {"GET / HTTP/1.1\r\n\r\n", 18},
    {"STINT/2\n", 8},
    {"S\n", 2},
    {"\0\0\0\0\0\0\0\0\0\0", 10},
};

START_TEST(strangers_are_dropped)
{
    int raw = raw_connect();

    ck_assert_int_eq(write(raw, openings[_i].what, openings[_i].len), openings[_i].len);
    RUN_UNTIL(server.closed[0]);
    ck_assert_uint_eq(server.count, 0);
    close(raw);
}
END_TEST

/* Right in form, but without the key: random header, frames of any length. */
START_TEST(forgers_are_dropped)
{
    static const unsigned char lengths[][4] = {
        {0, 0, 0, 0}, {0, 0, 0, 16}, {0, 0, 0, 17}, {0, 0, 0, 60},
        {0, 2, 0, 0}, {1, 0, 0, 17}, {1, 0, 0, 18}, {255, 255, 255, 255},
    };
    unsigned char bytes[8 + 32 + 24 + 4 + 131072];
    int raw = raw_connect();

    memset(bytes, 0x5a, sizeof(bytes));
    memcpy(bytes, "STINT/1\n", 8);
    memcpy(bytes + 64, lengths[_i], 4);
    ck_assert_int_gt(send(raw, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT), 68);
    RUN_UNTIL(server.closed[0]);
    ck_assert_uint_eq(server.count, 0);
    ck_assert_ptr_nonnull(strstr(server.closed, "key"));
    close(raw);
}
END_TEST

/* Someone between the two sides. It relays; from byte `at` on of what one side sends,
 * it changes one bit. */

static void relay_run(int listen_fd, int flip_from_client, size_t at)
{
    int a = accept(listen_fd, NULL, NULL), b = raw_connect();
    size_t seen = 0;

    for (;;) {
        struct pollfd polls[2] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
        unsigned char buf[4096];

        if (poll(polls, 2, 20000) <= 0)
            _exit(0);
        for (int i = 0; i < 2; i++) {
            ssize_t n;

            if (!(polls[i].revents & (POLLIN | POLLHUP)))
                continue;
            n = read(polls[i].fd, buf, sizeof(buf));
            if (n <= 0)
                _exit(0);
            if (i == !flip_from_client) {
                if (at >= seen && at < seen + (size_t)n)
                    buf[at - seen] ^= 1;
                seen += (size_t)n;
            }
            if (write(polls[!i].fd, buf, (size_t)n) != n)
                _exit(0);
        }
    }
}

static pid_t relay_start(int flip_from_client, size_t at)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    socklen_t len = sizeof(any);
    int listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pid_t pid;

    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(bind(listen_fd, (struct sockaddr *)&any, sizeof(any)), 0);
    ck_assert_int_eq(listen(listen_fd, 4), 0);
    ck_assert_int_eq(getsockname(listen_fd, (struct sockaddr *)&any, &len), 0);
    pid = fork();
    if (pid == 0)
        relay_run(listen_fd, flip_from_client, at);
    close(listen_fd);
    /* one address only: a second attempt would go past the relay */
    {
        char text[128];
        int n =
            snprintf(text, sizeof(text),
                     "version: 1\nhost: x\naddresses: [127.0.0.1]\nport: %u\npid: 1\n",
                     ntohs(any.sin_port));
        int file = openat(fd, "coordinator.yaml", O_WRONLY | O_TRUNC);

        ck_assert_int_eq(write(file, text, (size_t)n), n);
        close(file);
    }
    return pid;
}

/* Of the client's bytes: 8 magic, 32 nonce, 24 header, 4 length, then the hello.
 * Wherever a bit is changed, no message comes through after it. */
START_TEST(changed_bits_are_noticed)
{
    static const size_t places[] = {0, 7, 8, 39, 40, 63, 64, 66, 67, 68, 80, 90};
    int from_client = _i < 12;
    pid_t pid = relay_start(from_client, places[_i % 12]);

    connect_client();
    RUN_UNTIL(client.closed[0] || server.closed[0]);
    if (from_client)
        ck_assert_uint_eq(server.count, 0);
    else
        ck_assert_uint_eq(client.count, 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

START_TEST(relayed_unchanged_works)
{
    pid_t pid = relay_start(1, SIZE_MAX);

    connect_client();
    RUN_UNTIL(client.count == 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

/* --- the blocking call
 * ------------------------------------------------------------------ */

static void note(const char *text, void *arg)
{
    snprintf(arg, 16, "%s", text);
}

static pid_t serve(int answers)
{
    pid_t pid = fork();

    if (pid == 0) {
        event_reinit(base);
        server.answers = answers;
        event_base_dispatch(base);
        _exit(0);
    }
    return pid;
}

START_TEST(call_is_answered)
{
    pid_t pid = serve(1);
    char noted[16] = "";
    json_t *reply = NULL;

    ck_assert_int_eq(stint_wire_call(path, json_pack("{s:s}", "command", "status"),
                                     10000, note, noted, &reply, &err),
                     0);
    ck_assert_str_eq(noted, "wait");
    ck_assert(stint_json_bool(reply, "ok", 0));
    ck_assert_str_eq(stint_json_string(json_object_get(reply, "got"), "command", ""),
                     "status");
    json_decref(reply);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

START_TEST(call_has_a_deadline)
{
    pid_t pid = serve(0);
    json_t *reply = NULL;

    ck_assert_int_eq(stint_wire_call(path, json_pack("{s:s}", "command", "status"), 200,
                                     NULL, NULL, &reply, &err),
                     -ETIMEDOUT);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

START_TEST(call_to_a_dead_one)
{
    json_t *reply = NULL;

    evconnlistener_free(listener);
    listener = NULL;
    ck_assert_int_eq(stint_wire_call(path, json_pack("{s:s}", "command", "status"),
                                     10000, NULL, NULL, &reply, &err),
                     STINT_WIRE_E_NONE);
}
END_TEST

START_TEST(call_with_the_wrong_key)
{
    json_t *reply = NULL;
    pid_t pid;

    key.bytes[0] ^= 1;
    pid = serve(1);
    ck_assert_int_eq(stint_wire_call(path, json_pack("{s:s}", "command", "status"),
                                     10000, NULL, NULL, &reply, &err),
                     -ECONNRESET);
    ck_assert_ptr_nonnull(strstr(err.text, "key"));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof(table[0])))

int main(void)
{
    Suite *suite = suite_create("wire");
    TCase *tcase = tcase_create("wire");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, greets);
    tcase_add_test(tcase, early_messages_follow_the_hello);
    tcase_add_test(tcase, many_and_large_messages);
    tcase_add_test(tcase, too_large_is_refused_by_the_sender);
    tcase_add_test(tcase, not_utf8_is_refused_by_the_sender);
    tcase_add_test(tcase, end_is_noticed_by_the_other);
    tcase_add_test(tcase, finish_delivers_first);
    tcase_add_test(tcase, free_in_the_callback);
    tcase_add_test(tcase, wrong_key_gets_nothing);
    tcase_add_test(tcase, nobody_listens);
    tcase_add_test(tcase, no_coordinator);
    tcase_add_test(tcase, bad_endpoints);
    tcase_add_loop_test(tcase, strangers_are_dropped, 0, COUNT(openings));
    tcase_add_loop_test(tcase, forgers_are_dropped, 0, 8);
    tcase_add_loop_test(tcase, changed_bits_are_noticed, 0, 24);
    tcase_add_test(tcase, relayed_unchanged_works);
    tcase_add_test(tcase, call_is_answered);
    tcase_add_test(tcase, call_has_a_deadline);
    tcase_add_test(tcase, call_to_a_dead_one);
    tcase_add_test(tcase, call_with_the_wrong_key);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
