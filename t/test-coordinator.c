/* The coordinator with agents and clients that follow a script.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/coordinator.h"

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/dir.h"
#include "common/image_write.h"
#include "common/log.h"
#include "common/manifest.h"
#include "common/wire.h"
#include "t/unit.h"

#define MESSAGES_MAX 64

/* One connection to the coordinator and what came through it. */
struct peer {
    struct stint_wire *wire;
    json_t *messages[MESSAGES_MAX];
    unsigned count, taken;
    int is_closed;
};

static char base_dir[64], path[128];
static struct stint_err err;
static struct event_base *base;
static struct peer agent, second, client, client2;
static pid_t coordinator;
static int dir_fd;

static int exists(const char *name)
{
    return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- connections ----------------------------------------------------------------- */

static void
on_message(struct stint_wire *wire, const char *t, json_t *message, void *arg)
{
    struct peer *peer = arg;

    ck_assert_uint_lt(peer->count, MESSAGES_MAX);
    peer->messages[peer->count++] = json_incref(message);
}

static void on_closed(struct stint_wire *wire, const char *reason, void *arg)
{
    struct peer *peer = arg;

    peer->is_closed = 1;
    stint_wire_free(wire);
    peer->wire = NULL;
}

static const struct stint_wire_callbacks callbacks = {on_message, on_closed};

static void on_late(evutil_socket_t fd, short what, void *arg)
{
    *(int *)arg = 1;
}

/* Run the loop once, with a limit that `late` tells of. */
static void run_once(int *late, struct event **timer)
{
    const struct timeval limit = {25, 0};

    if (!*timer) {
        *timer = evtimer_new(base, on_late, late);
        evtimer_add(*timer, &limit);
    }
    event_base_loop(base, EVLOOP_ONCE);
}

/* The next message, which must be of that kind. Borrowed. */
static json_t *expect(struct peer *peer, const char *t)
{
    struct event *timer = NULL;
    int late = 0;
    json_t *message;

    while (peer->taken == peer->count && !peer->is_closed && !late)
        run_once(&late, &timer);
    if (timer)
        event_free(timer);
    ck_assert_msg(peer->taken < peer->count, "%s did not come (%s)", t,
                  late ? "too late" : "closed");
    message = peer->messages[peer->taken++];
    ck_assert_str_eq(stint_json_string(message, "t", ""), t);
    return message;
}

static void expect_closed(struct peer *peer)
{
    struct event *timer = NULL;
    int late = 0;

    while (!peer->is_closed && !late)
        run_once(&late, &timer);
    if (timer)
        event_free(timer);
    ck_assert_msg(!late, "not closed");
}

static int reply_code(struct peer *peer)
{
    return (int)stint_json_int(expect(peer, "reply"), "code", 0, 255, -1);
}

/* Forget what came. */
static void forget(struct peer *peer)
{
    for (unsigned i = 0; i < peer->count; i++)
        json_decref(peer->messages[i]);
    peer->count = peer->taken = 0;
}

static void connect_peer(struct peer *peer, json_t *hello)
{
    forget(peer);
    stint_wire_free(peer->wire);
    memset(peer, 0, sizeof(*peer));
    ck_assert_msg(
        stint_wire_connect(base, path, hello, &callbacks, peer, &peer->wire, &err) == 0,
        "%s", err.text);
}

static void connect_agent(struct peer *peer, const char *group, int pid)
{
    connect_peer(peer, json_pack("{s:s, s:s, s:i, s:s, s:s, s:i, s:i, s:i, s:s}", "t",
                                 "hello", "role", "agent", "version", 1, "group", group,
                                 "host", "here", "pid", pid, "generation", 0,
                                 "root_pid", pid + 1, "command", "./work"));
    expect(peer, "welcome");
}

static void connect_client(struct peer *peer)
{
    connect_peer(peer, json_pack("{s:s, s:s, s:i}", "t", "hello", "role", "client",
                                 "version", 1));
    expect(peer, "welcome");
}

static void disconnect(struct peer *peer)
{
    stint_wire_free(peer->wire);
    peer->wire = NULL;
    peer->is_closed = 1;
}

static void ask_checkpoint(struct peer *peer, int wants_end)
{
    ck_assert_int_eq(stint_wire_sendf(peer->wire, "request", "s:s, s:b, s:b", "command",
                                      "checkpoint", "kill", wants_end, "wait", 1),
                     0);
}

/* --- an agent's work -------------------------------------------------------------- */

static void write_image(const json_t *checkpoint, const char *name, int wrong_id)
{
    const char *dir = stint_json_string(checkpoint, "dir", "");
    struct stint_image_writer *writer;
    unsigned char id[16];
    char file[512];
    int fd;

    ck_assert_int_eq(sodium_hex2bin(id, sizeof(id),
                                    stint_json_string(checkpoint, "gen_id", ""), 32,
                                    NULL, NULL, NULL),
                     0);
    id[0] ^= (unsigned char)wrong_id;
    snprintf(file, sizeof(file), "%s/%s", dir, name);
    fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(
        stint_image_writer_new(
            &writer, fd, file, STINT_IMAGE_GROUP,
            (uint64_t)stint_json_int(checkpoint, "generation", 1, INT64_MAX, 0), id,
            &err),
        0);
    ck_assert_int_eq(stint_image_writer_finish(writer, NULL, &err), 0);
    stint_image_writer_free(writer);
    close(fd);
}

static json_int_t generation_of(const json_t *message)
{
    return json_integer_value(json_object_get(message, "generation"));
}

static void send_quiesced(struct peer *peer, const json_t *checkpoint)
{
    ck_assert_int_eq(stint_wire_sendf(peer->wire, "quiesced", "s:I, s:i", "generation",
                                      generation_of(checkpoint), "processes", 1),
                     0);
}

static void send_captured(struct peer *peer, const json_t *checkpoint, const char *name)
{
    ck_assert_int_eq(
        stint_wire_sendf(peer->wire, "captured",
                         "s:I, s:b, s:s, s:[{s:s, s:i, s:s, s:i, s:s}], s:i, s:i, "
                         "s:i",
                         "generation", generation_of(checkpoint), "ok", 1,
                         "group_image", name, "files", "name", name, "bytes", 1, "kind",
                         "group", "pid", 0, "comm", "", "processes", 1, "bytes", 1,
                         "stall_ms", 7),
        0);
}

static void send_failure(struct peer *peer, const json_t *checkpoint, const char *code)
{
    ck_assert_int_eq(stint_wire_sendf(peer->wire, "captured", "s:I, s:b, s:s, s:s",
                                      "generation", generation_of(checkpoint), "ok", 0,
                                      "code", code, "reason",
                                      "bash (12): fd 3 is a thing"),
                     0);
}

/* Everything that an agent does in one checkpoint. Returns the checkpoint message. */
static json_t *take_part(struct peer *peer, const char *image)
{
    json_t *checkpoint = expect(peer, "checkpoint");

    send_quiesced(peer, checkpoint);
    expect(peer, "capture");
    write_image(checkpoint, image, 0);
    send_captured(peer, checkpoint, image);
    return checkpoint;
}

/* --- the coordinator ---------------------------------------------------------------
 */

static void on_ready(void *arg)
{
    ck_assert_int_eq(write(*(int *)arg, "r", 1), 1);
}

static void
start_coordinator(uint32_t interval_s, const char *slurm_job, const char *fault)
{
    int fds[2];
    char byte;

    ck_assert_int_eq(pipe(fds), 0);
    coordinator = fork();
    if (coordinator == 0) {
        struct coordinator_config config = {.dir = path,
                                            .interval_s = interval_s,
                                            .keep = 2,
                                            .slurm_job = slurm_job,
                                            .margin_s = 15,
                                            .ready = on_ready,
                                            .arg = &fds[1]};

        stint_log_init("coordinator", 1);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        if (fault)
            setenv("STINT_FAULT", fault, 1);
        _exit(coordinator_run(&config, &err) == 0 ? 0 : 1);
    }
    close(fds[1]);
    ck_assert_int_eq(read(fds[0], &byte, 1), 1);
    close(fds[0]);
}

/* It ends by itself. Returns its wait status. */
static int join_coordinator(void)
{
    int status;

    for (int i = 0; i < 2500; i++) {
        const struct timespec pause = {0, 10000000};

        if (waitpid(coordinator, &status, WNOHANG) == coordinator) {
            coordinator = 0;
            return status;
        }
        nanosleep(&pause, NULL);
    }
    ck_abort_msg("the coordinator does not end");
    return -1;
}

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    snprintf(base_dir, sizeof(base_dir), "/tmp/stint-test-coord.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base_dir));
    snprintf(path, sizeof(path), "%s/ckpt", base_dir);
    ck_assert_int_eq(stint_dir_create(path, &dir_fd, NULL, &err), 0);
    base = event_base_new();
    coordinator = 0;
}

static void teardown(void)
{
    struct peer *peers[] = {&agent, &second, &client, &client2};

    for (int i = 0; i < 4; i++) {
        stint_wire_free(peers[i]->wire);
        forget(peers[i]);
        memset(peers[i], 0, sizeof(*peers[i]));
    }
    if (coordinator) {
        kill(coordinator, SIGKILL);
        waitpid(coordinator, NULL, 0);
    }
    event_base_free(base);
    close(dir_fd);
    shell("rm -rf %s", base_dir);
}

static uint64_t newest(void)
{
    uint64_t n = 99;

    ck_assert_int_eq(stint_dir_newest(dir_fd, &n, &err), 0);
    return n;
}

/* --- by hand -----------------------------------------------------------------------
 */

START_TEST(checkpoint_is_committed)
{
    struct stint_manifest m;
    json_t *checkpoint, *reply;

    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    checkpoint = take_part(&agent, "main.grp");
    ck_assert(!stint_json_bool(checkpoint, "hold", 1));
    ck_assert_str_eq(stint_json_string(checkpoint, "on_unsupported", ""), "refuse");
    ck_assert_int_eq(generation_of(expect(&agent, "committed")), 1);
    reply = expect(&client, "reply");
    ck_assert(stint_json_bool(reply, "ok", 0));
    ck_assert_int_eq(generation_of(reply), 1);
    ck_assert_uint_eq(newest(), 1);
    ck_assert_int_eq(stint_manifest_read(dir_fd, 0, &m, &err), 0);
    ck_assert_uint_eq(m.ngroups, 1);
    ck_assert_str_eq(m.groups[0].host, "here");
    ck_assert_uint_eq(m.stall_ms, 7);
    ck_assert_uint_gt(m.bytes, 1); /* what is there, not what was said */
    stint_manifest_deinit(&m);
    disconnect(&agent);
    ck_assert_int_eq(join_coordinator(), 0);
    ck_assert(!exists("coordinator.yaml"));
}
END_TEST

START_TEST(keeps_two)
{
    char name[STINT_GENERATION_NAME_MAX];

    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_client(&client);
    for (int i = 1; i <= 4; i++) {
        ask_checkpoint(&client, 0);
        take_part(&agent, "main.grp");
        expect(&agent, "committed");
        ck_assert_int_eq(reply_code(&client), 0);
    }
    ck_assert_uint_eq(newest(), 4);
    for (uint64_t n = 1; n <= 4; n++)
        ck_assert_int_eq(exists(stint_generation_name(n, 0, name)), n >= 3);
}
END_TEST

/* Two agents, and a checkpoint that a client has asked for: the orders to each. */
static void begin_with_two(json_t **to_agent, json_t **to_second)
{
    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_agent(&second, "step0", 200);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    *to_agent = expect(&agent, "checkpoint");
    *to_second = expect(&second, "checkpoint");
}

START_TEST(two_groups_walk_together)
{
    json_t *a, *b;
    struct stint_manifest m;

    begin_with_two(&a, &b);
    ck_assert_str_eq(stint_json_string(a, "gen_id", "a"),
                     stint_json_string(b, "gen_id", "b"));
    send_quiesced(&agent, a);
    send_quiesced(&second, b);
    expect(&agent, "capture");
    expect(&second, "capture");
    write_image(a, "main.grp", 0);
    send_captured(&agent, a, "main.grp");
    write_image(b, "step0.grp", 0);
    send_captured(&second, b, "step0.grp");
    expect(&agent, "committed");
    expect(&second, "committed");
    ck_assert_int_eq(stint_manifest_read(dir_fd, 0, &m, &err), 0);
    ck_assert_uint_eq(m.ngroups, 2);
    ck_assert_uint_eq(m.processes, 2);
    stint_manifest_deinit(&m);
}
END_TEST

static void send_connected(struct peer *peer, const json_t *checkpoint, const char *own,
                           const char *other)
{
    ck_assert_int_eq(stint_wire_sendf(peer->wire, "quiesced", "s:I, s:i, s:[[s, s], [s, s]]",
                                      "generation", generation_of(checkpoint), "processes", 1,
                                      "connections", own, other, own, "10.9.9.9:53"),
                     0);
}

/* The only row of `remote`. */
static void check_remote(const json_t *message, const char *own, const char *group)
{
    const json_t *remote = json_object_get(message, "remote");
    const json_t *row = json_array_get(remote, 0);

    ck_assert_uint_eq(json_array_size(remote), 1);
    ck_assert_str_eq(json_string_value(json_array_get(row, 0)), own);
    ck_assert_str_eq(json_string_value(json_array_get(row, 2)), group);
}

START_TEST(connections_between_groups_are_drained)
{
    json_t *a, *b, *c;

    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_agent(&second, "host2.7", 200);
    connect_agent(&client2, "host3.8", 300);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    a = expect(&agent, "checkpoint");
    b = expect(&second, "checkpoint");
    c = expect(&client2, "checkpoint");
    send_connected(&agent, a, "10.1.1.1:80", "10.1.1.2:4000");
    send_quiesced(&client2, c);
    send_connected(&second, b, "10.1.1.2:4000", "10.1.1.1:80");
    check_remote(expect(&agent, "drain"), "10.1.1.1:80", "host2.7");
    check_remote(expect(&second, "drain"), "10.1.1.2:4000", "main");
    ck_assert_int_eq(
        stint_wire_sendf(second.wire, "drained", "s:I", "generation", generation_of(b)), 0);
    ck_assert_int_eq(
        stint_wire_sendf(agent.wire, "drained", "s:I", "generation", generation_of(a)), 0);
    check_remote(expect(&agent, "capture"), "10.1.1.1:80", "host2.7");
    check_remote(expect(&second, "capture"), "10.1.1.2:4000", "main");
    ck_assert_uint_eq(json_array_size(json_object_get(expect(&client2, "capture"), "remote")),
                      0);
}
END_TEST

/* bound: two names with the ids 7 and 8; seeks: `name`, by the object 5 at 10.1.1.2:4000. */
static void send_seeking(struct peer *peer, const json_t *checkpoint, const char *bound,
                         const char *common, const char *name, int inode)
{
    ck_assert_int_eq(
        stint_wire_sendf(peer->wire, "quiesced", "s:I, s:i, s:[[s, i], [s, i]], s:[[i, s, s, i]]",
                         "generation", generation_of(checkpoint), "processes", 1, "bound", bound,
                         7, common, 8, "seeks", 5, name, "10.1.1.2:4000", inode),
        0);
}

static void check_row(const json_t *message, const char *list, const char *wanted)
{
    json_t *rows = json_object_get(message, list), *want = json_loads(wanted, 0, NULL);

    ck_assert_ptr_nonnull(want);
    ck_assert_msg(json_equal(rows, want), "%s: %s", list, json_dumps(rows, 0));
    json_decref(want);
}

START_TEST(names_that_others_have_bound_are_found)
{
    const json_t *message;
    json_t *a, *b, *c;

    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_agent(&second, "host2.7", 200);
    connect_agent(&client2, "host3.8", 300);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    a = expect(&agent, "checkpoint");
    b = expect(&second, "checkpoint");
    c = expect(&client2, "checkpoint");
    /* one leads to a group, one to itself, and one to a name that two groups have */
    send_seeking(&agent, a, "tcp 10.1.1.1:80", "udp 172.17.0.1:53", "tcp 10.1.1.1:80", 0);
    send_seeking(&second, b, "udp 10.1.1.2:53", "udp 10.1.1.2:54", "tcp 10.1.1.1:80", 99);
    send_seeking(&client2, c, "udp 10.1.1.3:53", "udp 172.17.0.1:53", "udp 172.17.0.1:53", 0);
    message = expect(&agent, "capture");
    check_row(message, "found", "[]");
    check_row(message, "sought", "[[7, \"host2.7\", \"10.1.1.2:4000\", 99]]");
    message = expect(&second, "capture");
    check_row(message, "found", "[[5, \"main\", 7]]");
    check_row(message, "sought", "[]");
    message = expect(&client2, "capture");
    check_row(message, "found", "[]");
    check_row(message, "sought", "[]");
}
END_TEST

static void send_offer(struct peer *peer, const char *key, int port)
{
    ck_assert_int_eq(stint_wire_sendf(peer->wire, "offer", "s:s, s:i, s:[s], s:s", "key", key,
                                      "port", port, "addresses", "10.1.1.1", "network", "n"),
                     0);
}

START_TEST(offers_are_passed_on)
{
    const json_t *offer;

    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_agent(&second, "host2.7", 200);
    send_offer(&agent, "main/10.1.1.1:80", 80);
    offer = expect(&second, "offer");
    ck_assert_str_eq(stint_json_string(offer, "key", ""), "main/10.1.1.1:80");
    ck_assert_int_eq(stint_json_int(offer, "port", 0, 65535, 0), 80);
    send_offer(&agent, "main/10.1.1.1:80", 81);
    ck_assert_int_eq(stint_json_int(expect(&second, "offer"), "port", 0, 65535, 0), 81);
    /* whoever comes later is told, but for what has gone */
    send_offer(&second, "host2.7/10.1.1.2:90", 90);
    expect(&agent, "offer");
    disconnect(&second);
    connect_agent(&client2, "host3.8", 300);
    offer = expect(&client2, "offer");
    ck_assert_int_eq(stint_json_int(offer, "port", 0, 65535, 0), 81);
    send_offer(&agent, "main/10.1.1.1:70", 70);
    ck_assert_int_eq(stint_json_int(expect(&client2, "offer"), "port", 0, 65535, 0), 70);
}
END_TEST

START_TEST(failure_of_one_aborts_all)
{
    static const struct {
        const char *code;
        int status;
    } codes[] = {{"error", 1}, {"refused", 1}, {"retry", 75}};
    json_t *a, *b, *reply, *abort_message;

    begin_with_two(&a, &b);
    send_quiesced(&second, b);
    send_failure(&agent, a, codes[_i].code);
    abort_message = expect(&second, "abort");
    ck_assert_ptr_nonnull(
        strstr(stint_json_string(abort_message, "reason", ""), "fd 3"));
    reply = expect(&client, "reply");
    ck_assert_int_eq(stint_json_int(reply, "code", 0, 255, -1), codes[_i].status);
    ck_assert_ptr_nonnull(strstr(stint_json_string(reply, "message", ""), "fd 3"));
    ck_assert(!exists("gen-000001.tmp"));
    ck_assert_uint_eq(newest(), 0);
    /* and it works the next time */
    ask_checkpoint(&client, 0);
    a = expect(&agent, "checkpoint");
    b = expect(&second, "checkpoint");
    send_quiesced(&agent, a);
    send_quiesced(&second, b);
    expect(&agent, "capture");
    expect(&second, "capture");
    write_image(a, "main.grp", 0);
    write_image(b, "step0.grp", 0);
    send_captured(&second, b, "step0.grp");
    send_captured(&agent, a, "main.grp");
    ck_assert_int_eq(reply_code(&client), 0);
}
END_TEST

/* In which phase the other agent is lost. */
START_TEST(lost_agent_aborts)
{
    json_t *a, *b;

    begin_with_two(&a, &b);
    if (_i == 1) {
        send_quiesced(&agent, a);
        send_quiesced(&second, b);
        expect(&agent, "capture");
        expect(&second, "capture");
    }
    disconnect(&second);
    expect(&agent, "abort");
    ck_assert_int_eq(reply_code(&client), 75);
    ck_assert(!exists("gen-000001.tmp"));
}
END_TEST

/* Its program ran on after the capture and has ended: the generation is good. */
START_TEST(end_after_capture_is_no_failure)
{
    json_t *a, *b;

    begin_with_two(&a, &b);
    send_quiesced(&agent, a);
    send_quiesced(&second, b);
    expect(&agent, "capture");
    expect(&second, "capture");
    write_image(b, "step0.grp", 0);
    send_captured(&second, b, "step0.grp");
    ck_assert_int_eq(stint_wire_sendf(second.wire, "exited", "s:i", "status", 0), 0);
    stint_wire_finish(second.wire);
    expect_closed(&second);
    write_image(a, "main.grp", 0);
    send_captured(&agent, a, "main.grp");
    ck_assert_int_eq(reply_code(&client), 0);
}
END_TEST

START_TEST(last_program_ends_meanwhile)
{
    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    expect(&agent, "checkpoint");
    disconnect(&agent);
    ck_assert_int_ne(reply_code(&client), 0);
    ck_assert_int_eq(join_coordinator(), 0);
    ck_assert(!exists("gen-000001.tmp"));
}
END_TEST

/* What an agent says it wrote is looked at. */
START_TEST(lies_are_noticed)
{
    json_t *checkpoint;

    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    checkpoint = expect(&agent, "checkpoint");
    send_quiesced(&agent, checkpoint);
    expect(&agent, "capture");
    switch (_i) {
    case 0: /* nothing there */
        send_captured(&agent, checkpoint, "main.grp");
        break;
    case 1: /* of another generation */
        write_image(checkpoint, "main.grp", 1);
        send_captured(&agent, checkpoint, "main.grp");
        break;
    case 2: /* torn */
        write_image(checkpoint, "main.grp", 0);
        shell("truncate -s 4000 %s/gen-000001.tmp/main.grp", path);
        send_captured(&agent, checkpoint, "main.grp");
        break;
    case 3: /* elsewhere */
        send_captured(&agent, checkpoint, "../../../etc/passwd");
        break;
    case 4: /* a symlink */
        write_image(checkpoint, "real", 0);
        shell("ln -s real %s/gen-000001.tmp/main.grp", path);
        send_captured(&agent, checkpoint, "main.grp");
        break;
    case 5: /* altered header */
        write_image(checkpoint, "main.grp", 0);
        shell("printf x | dd of=%s/gen-000001.tmp/main.grp bs=1 seek=12 conv=notrunc "
              "2>/dev/null",
              path);
        send_captured(&agent, checkpoint, "main.grp");
        break;
    default: /* no files at all */
        ck_assert_int_eq(stint_wire_sendf(agent.wire, "captured", "s:I, s:b, s:s",
                                          "generation", generation_of(checkpoint), "ok",
                                          1, "group_image", "main.grp"),
                         0);
        break;
    }
    expect(&agent, "abort");
    ck_assert_int_eq(reply_code(&client), 1);
    ck_assert_uint_eq(newest(), 0);
    ck_assert(!exists("gen-000001"));
}
END_TEST

START_TEST(kill_ends_the_programs)
{
    json_t *checkpoint, *end;
    int lock_fd;

    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_client(&client);
    ask_checkpoint(&client, 1);
    checkpoint = take_part(&agent, "main.grp");
    ck_assert(stint_json_bool(checkpoint, "hold", 0));
    expect(&agent, "committed");
    end = expect(&agent, "end");
    ck_assert_int_eq(generation_of(end), 1);
    ck_assert_uint_eq(client.taken,
                      client.count); /* not before the programs have ended */
    disconnect(&agent);
    ck_assert_int_eq(reply_code(&client), 0);
    /* the answer means that the directory is free */
    ck_assert(!exists("coordinator.yaml"));
    ck_assert_int_eq(stint_dir_lock(dir_fd, &lock_fd, &err), 0);
    close(lock_fd);
    expect_closed(&client);
    ck_assert_int_eq(join_coordinator(), 0);
}
END_TEST

START_TEST(requests_join_or_queue)
{
    json_t *checkpoint;

    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_client(&client);
    connect_client(&client2);
    ask_checkpoint(&client, 0);
    checkpoint = expect(&agent, "checkpoint");
    /* while programs are being stopped: the same one */
    ask_checkpoint(&client2, 0);
    ck_assert_int_eq(stint_wire_sendf(client2.wire, "request", "s:s", "command", "x"),
                     0);
    expect(&client2, "reply"); /* has been refused: so the first was taken */
    send_quiesced(&agent, checkpoint);
    expect(&agent, "capture");
    write_image(checkpoint, "main.grp", 0);
    send_captured(&agent, checkpoint, "main.grp");
    expect(&agent, "committed");
    ck_assert_int_eq(generation_of(expect(&client, "reply")), 1);
    ck_assert_int_eq(generation_of(expect(&client2, "reply")), 1);
    /* later: the next one */
    ask_checkpoint(&client, 0);
    checkpoint = expect(&agent, "checkpoint");
    send_quiesced(&agent, checkpoint);
    expect(&agent, "capture");
    ask_checkpoint(&client2, 0);
    ck_assert_int_eq(stint_wire_sendf(client2.wire, "request", "s:s", "command", "x"),
                     0);
    expect(&client2, "reply");
    write_image(checkpoint, "main.grp", 0);
    send_captured(&agent, checkpoint, "main.grp");
    expect(&agent, "committed");
    ck_assert_int_eq(generation_of(expect(&client, "reply")), 2);
    take_part(&agent, "main.grp");
    ck_assert_int_eq(generation_of(expect(&client2, "reply")), 3);
}
END_TEST

START_TEST(client_may_go)
{
    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    expect(&agent, "checkpoint");
    disconnect(&client);
    agent.taken--;
    take_part(&agent, "main.grp");
    expect(&agent, "committed");
    ck_assert_uint_eq(newest(), 1);
}
END_TEST

START_TEST(interval)
{
    start_coordinator(1, NULL, NULL);
    connect_agent(&agent, "main", 100);
    take_part(&agent, "main.grp");
    expect(&agent, "committed");
    take_part(&agent, "main.grp");
    expect(&agent, "committed");
    connect_client(&client);
    ck_assert_int_eq(stint_wire_sendf(client.wire, "request", "s:s, s:i", "command",
                                      "interval", "seconds", 0),
                     0);
    ck_assert_int_eq(reply_code(&client), 0);
}
END_TEST

START_TEST(agents_are_told_apart)
{
    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_peer(&second, json_pack("{s:s, s:s, s:i, s:s, s:s, s:i}", "t", "hello",
                                    "role", "agent", "version", 1, "group", "main",
                                    "host", "here", "pid", 101));
    expect(&second, "error");
    expect_closed(&second);
    /* the same one with a new connection */
    connect_agent(&second, "main", 100);
    expect_closed(&agent);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    take_part(&second, "main.grp");
    ck_assert_int_eq(reply_code(&client), 0);
}
END_TEST

static const struct {
    const char *role, *group;
    int version;
} hellos[] = {
    {"agent", "../x", 1},  {"agent", "", 1},     {"agent", "a/b", 1},
    {"agent", ".x", 1},    {"agent", "main", 2}, {"king", "main", 1},
    {"client", "main", 0},
};

START_TEST(odd_hellos)
{
    start_coordinator(0, NULL, NULL);
    connect_peer(&second,
                 json_pack("{s:s, s:s, s:i, s:s, s:s, s:i}", "t", "hello", "role",
                           hellos[_i].role, "version", hellos[_i].version, "group",
                           hellos[_i].group, "host", "here", "pid", 101));
    expect(&second, "error");
    expect_closed(&second);
}
END_TEST

START_TEST(odd_messages)
{
    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_client(&client);
    ck_assert_int_eq(stint_wire_sendf(agent.wire, "dance", ""), 0);
    expect(&agent, "error");
    ck_assert_int_eq(stint_wire_sendf(client.wire, "captured", ""), 0);
    expect(&client, "error");
    ck_assert_int_eq(
        stint_wire_sendf(agent.wire, "captured", "s:s", "generation", "one"), 0);
    ck_assert_int_eq(stint_wire_sendf(agent.wire, "quiesced", "s:i", "generation", 7),
                     0);
    ck_assert_int_eq(stint_wire_sendf(agent.wire, "progress", "s:i", "bytes", -7), 0);
    ck_assert_int_eq(stint_wire_sendf(client.wire, "request", "s:[]", "command"), 0);
    ck_assert_int_eq(reply_code(&client), 1);
    ck_assert_int_eq(stint_wire_sendf(client.wire, "request", "s:s, s:i", "command",
                                      "interval", "seconds", -1),
                     0);
    ck_assert_int_eq(reply_code(&client), 1);
    /* none of it did harm; answers before the question fail the checkpoint only */
    ask_checkpoint(&client, 0);
    send_captured(&agent, expect(&agent, "checkpoint"), "main.grp");
    expect(&agent, "abort");
    ck_assert_int_eq(reply_code(&client), 1);
    ask_checkpoint(&client, 0);
    take_part(&agent, "main.grp");
    ck_assert_int_eq(reply_code(&client), 0);
}
END_TEST

START_TEST(two_in_one_directory)
{
    struct coordinator_config config = {.dir = path, .keep = 2};

    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    ck_assert_int_eq(coordinator_run(&config, &err), COORDINATOR_E_BUSY);
    ck_assert_ptr_nonnull(strstr(err.text, "runs there"));
    connect_client(&client);
    ask_checkpoint(&client, 0);
    take_part(&agent, "main.grp");
    ck_assert_int_eq(reply_code(&client), 0);
}
END_TEST

START_TEST(without_programs)
{
    start_coordinator(0, NULL, NULL);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    ck_assert_int_eq(reply_code(&client), 75);
    kill(coordinator, SIGTERM);
    ck_assert_int_eq(join_coordinator(), 0);
}
END_TEST

START_TEST(sigterm_does_not_end_it_under_an_agent)
{
    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    kill(coordinator, SIGTERM);
    kill(coordinator, SIGINT);
    kill(coordinator, SIGHUP);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    take_part(&agent, "main.grp");
    ck_assert_int_eq(reply_code(&client), 0);
}
END_TEST

START_TEST(stop_ends_without_checkpoint)
{
    start_coordinator(0, NULL, NULL);
    connect_agent(&agent, "main", 100);
    connect_client(&client);
    if (_i == 1) {
        connect_client(&client2);
        ask_checkpoint(&client2, 0);
        expect(&agent, "checkpoint");
    }
    ck_assert_int_eq(stint_wire_sendf(client.wire, "request", "s:s", "command", "stop"),
                     0);
    if (_i == 1) {
        expect(&agent, "abort");
        ck_assert_int_eq(reply_code(&client2), 1);
    }
    expect(&agent, "end");
    disconnect(&agent);
    ck_assert_int_eq(reply_code(&client), 0);
    ck_assert_int_eq(join_coordinator(), 0);
    ck_assert_uint_eq(newest(), 0);
    ck_assert(!exists("gen-000001.tmp"));
}
END_TEST

START_TEST(numbers_go_on)
{
    shell("mkdir -m 700 %s/gen-000041 %s/gen-000050.tmp && touch %s/gen-000050.tmp/x",
          path, path, path);
    start_coordinator(0, NULL, NULL);
    ck_assert(!exists("gen-000050.tmp"));
    connect_agent(&agent, "main", 100);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    take_part(&agent, "main.grp");
    ck_assert_int_eq(generation_of(expect(&client, "reply")), 42);
    ck_assert_uint_eq(newest(), 42);
}
END_TEST

/* --- kill -9 in every state
 * ----------------------------------------------------------- */

static const struct {
    const char *point;
    uint64_t
        newest_after; /* of the second checkpoint, once the next one has cleaned up */
} kills[] = {
    {"coordinator-quiesce:2", 1}, {"coordinator-capture:2", 1},
    {"coordinator-commit:2", 1},  {"dir-renamed:2", 2},
    {"dir-symlink:2", 2},         {"coordinator-idle:2", 2},
    {"coordinator-ending", 2},    {"dir-pruning", 3},
};

START_TEST(killed_in_a_state)
{
    struct stint_manifest m;
    char name[STINT_GENERATION_NAME_MAX];
    int status, is_end = strcmp(kills[_i].point, "coordinator-ending") == 0;

    start_coordinator(0, NULL, kills[_i].point);
    connect_agent(&agent, "main", 100);
    for (int i = 1; i <= 3 && !agent.is_closed; i++) {
        json_t *checkpoint;
        unsigned before = agent.count;

        connect_client(&client);
        ask_checkpoint(&client, i == 2 && is_end);
        if (i == 2 && strstr(kills[_i].point, "quiesce")) {
            expect_closed(&agent);
            break;
        }
        checkpoint = expect(&agent, "checkpoint");
        send_quiesced(&agent, checkpoint);
        if (i == 2 && strstr(kills[_i].point, "capture")) {
            expect_closed(&agent);
            break;
        }
        expect(&agent, "capture");
        write_image(checkpoint, "main.grp", 0);
        send_captured(&agent, checkpoint, "main.grp");
        ck_assert_uint_gt(agent.count, before);
        if (i == 3 || (i == 2 && strcmp(kills[_i].point, "dir-pruning") != 0)) {
            expect_closed(&agent);
            break;
        }
        ck_assert_int_eq(reply_code(&client), 0);
        expect(&agent, "committed");
        disconnect(&client);
    }
    status = join_coordinator();
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    /* whatever is there can be read as it is ... */
    ck_assert_int_eq(stint_manifest_read(dir_fd, 0, &m, &err), 0);
    ck_assert_uint_ge(m.generation, 1);
    stint_manifest_deinit(&m);
    /* ... and another coordinator takes over, above what there was */
    disconnect(&client);
    disconnect(&agent);
    start_coordinator(0, NULL, NULL);
    ck_assert_uint_eq(newest(), kills[_i].newest_after);
    ck_assert(!exists("gen-000001.tmp"));
    ck_assert(!exists("gen-000002.tmp"));
    ck_assert(!exists(".manifest.yaml.tmp"));
    connect_agent(&agent, "main", 100);
    connect_client(&client);
    ask_checkpoint(&client, 0);
    take_part(&agent, "main.grp");
    ck_assert_int_eq(reply_code(&client), 0);
    ck_assert_uint_eq(newest(), kills[_i].newest_after + 1);
    ck_assert(exists(stint_generation_name(newest(), 0, name)));
}
END_TEST

/* --- under Slurm, played by a script
 * --------------------------------------------------- */

/* stint-slurm whose answers are the files info and requeue, and that notes what it
 * does. */
static void fake_slurm(void)
{
    shell("cd %s && mkdir bin && cat > bin/stint-slurm <<'E' && chmod +x "
          "bin/stint-slurm\n"
          "#!/bin/sh\n"
          "cd %s\n"
          "echo \"$*\" >> calls\n"
          "case $1 in\n"
          "info) cat info ;;\n"
          "requeue) cat requeue >&2; [ ! -s requeue ] ;;\n"
          "esac\n"
          "E\n"
          ": > %s/requeue",
          base_dir, base_dir, base_dir);
    snprintf(path, sizeof(path), "%s/bin", base_dir);
    setenv("STINT_LIBEXECDIR", path, 1);
    snprintf(path, sizeof(path), "%s/ckpt", base_dir);
}

static void slurm_says(const char *state, long ends_in, const char *more)
{
    long now = (long)time(NULL);

    shell(
        "cd %s && echo '{\"state\":\"%s\",\"start_time\":%ld,\"end_time\":%ld,"
        "\"restart_count\":2,%s \"time_limit_s\":600}' > info.new && mv info.new info",
        base_dir, state, now - 300, now + ends_in, more);
}

static void called(const char *what)
{
    shell("grep -q '%s' %s/calls", what, base_dir);
}

START_TEST(end_of_time_requeues)
{
    struct stint_manifest m;
    json_t *checkpoint;

    fake_slurm();
    slurm_says("RUNNING", 10, "");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "batch", 100);
    checkpoint = take_part(&agent, "batch.grp");
    ck_assert(stint_json_bool(checkpoint, "hold", 0));
    expect(&agent, "committed");
    expect(&agent, "end");
    called("^comment 4711 stint: run 3, generation 1 committed [0-9:]*, [0-9.]* s$");
    called("^requeue 4711$");
    ck_assert_int_eq(stint_manifest_read(dir_fd, 0, &m, &err), 0);
    ck_assert_str_eq(m.slurm_job, "4711");
    ck_assert_uint_eq(m.run, 3);
    ck_assert(m.held);
    stint_manifest_deinit(&m);
    disconnect(&agent);
    ck_assert_int_eq(join_coordinator(), 0);
}
END_TEST

START_TEST(failed_requeue_resumes)
{
    fake_slurm();
    shell("echo 'stint: slurm: no' > %s/requeue", base_dir);
    slurm_says("RUNNING", 10, "");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "batch", 100);
    take_part(&agent, "batch.grp");
    expect(&agent, "committed");
    expect(&agent, "resume");
    shell(": > %s/requeue", base_dir);
    take_part(&agent, "batch.grp"); /* again, while there is time */
    expect(&agent, "committed");
    expect(&agent, "end");
    ck_assert_uint_eq(newest(), 2);
}
END_TEST

START_TEST(failed_final_checkpoint_is_tried_again)
{
    json_t *checkpoint;

    fake_slurm();
    slurm_says("RUNNING", 10, "");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "batch", 100);
    checkpoint = expect(&agent, "checkpoint");
    send_failure(&agent, checkpoint, "error");
    take_part(&agent, "batch.grp");
    expect(&agent, "committed");
    expect(&agent, "end");
}
END_TEST

START_TEST(extended_time)
{
    fake_slurm();
    slurm_says("RUNNING", 20, "");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "batch", 100);
    slurm_says("RUNNING", 3600, ""); /* read again before the end comes near */
    connect_client(&client);
    for (int i = 0; i < 100; i++) {
        const struct timespec pause = {0, 100000000};
        json_t *slurm;

        ck_assert_int_eq(
            stint_wire_sendf(client.wire, "request", "s:s", "command", "status"), 0);
        slurm = json_object_get(expect(&client, "reply"), "slurm");
        if (stint_json_int(slurm, "end_time", 0, INT64_MAX, 0) > time(NULL) + 3000)
            break;
        forget(&client);
        nanosleep(&pause, NULL);
    }
    ck_assert_uint_eq(agent.count, agent.taken);
    ask_checkpoint(&client, 0);
    ck_assert(!stint_json_bool(take_part(&agent, "batch.grp"), "hold", 1));
}
END_TEST

static void send_terminating(void)
{
    ck_assert_int_eq(
        stint_wire_sendf(agent.wire, "terminating", "s:i", "signal", SIGTERM), 0);
}

START_TEST(scancel_is_obeyed)
{
    fake_slurm();
    slurm_says("RUNNING", 300, "");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "batch", 100);
    slurm_says("CANCELLED", 0, "");
    send_terminating();
    ck_assert_int_eq(stint_json_int(expect(&agent, "deliver"), "signal", 0, 64, 0),
                     SIGTERM);
    disconnect(&agent);
    ck_assert_int_eq(join_coordinator(), 0);
    shell("! grep requeue %s/calls", base_dir);
    ck_assert_uint_eq(newest(), 0);
}
END_TEST

START_TEST(scancel_during_the_final_checkpoint)
{
    json_t *checkpoint;

    fake_slurm();
    slurm_says("RUNNING", 10, "");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "batch", 100);
    checkpoint = expect(&agent, "checkpoint");
    send_quiesced(&agent, checkpoint);
    expect(&agent, "capture");
    slurm_says("CANCELLED", 0, "");
    send_terminating();
    expect(&agent, "abort");
    expect(&agent, "deliver");
    disconnect(&agent);
    ck_assert_int_eq(join_coordinator(), 0);
    shell("! grep requeue %s/calls", base_dir);
}
END_TEST

START_TEST(time_limit_by_sigterm)
{
    static const char *const states[] = {"TIMEOUT", "PREEMPTED", "PENDING"};

    fake_slurm();
    slurm_says("RUNNING", 300, "");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "batch", 100);
    slurm_says(states[_i], 300, "");
    send_terminating();
    take_part(&agent, "batch.grp");
    expect(&agent, "committed");
    expect(&agent, "end");
}
END_TEST

START_TEST(sigterm_for_the_program)
{
    fake_slurm();
    slurm_says("RUNNING", 1800, "");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "batch", 100);
    send_terminating();
    expect(&agent, "deliver");
}
END_TEST

START_TEST(preempted)
{
    fake_slurm();
    slurm_says("RUNNING", 300, "\"preempt_time\":1,");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "batch", 100);
    take_part(&agent, "batch.grp");
    expect(&agent, "committed");
    expect(&agent, "end");
}
END_TEST

/* salloc, srun: nothing comes after it, but what was written stays. */
START_TEST(not_a_batch_job)
{
    json_t *checkpoint;

    fake_slurm();
    slurm_says("RUNNING", 10, "\"batch\":false,");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "step0", 100);
    checkpoint = take_part(&agent, "step0.grp");
    ck_assert(!stint_json_bool(checkpoint, "hold", 1));
    expect(&agent, "committed");
    send_terminating();
    expect(&agent, "deliver");
    shell("! grep requeue %s/calls", base_dir);
}
END_TEST

START_TEST(slurm_does_not_answer)
{
    fake_slurm();
    start_coordinator(0, "4711", NULL); /* there is no file `info` */
    connect_agent(&agent, "batch", 100);
    send_terminating();
    expect(&agent, "deliver");
    connect_client(&client);
    ask_checkpoint(&client, 0);
    take_part(&agent, "batch.grp");
    ck_assert_int_eq(reply_code(&client), 0);
}
END_TEST

/* A program that ends by itself is not queued again, near the end of time or not. */
START_TEST(real_end)
{
    fake_slurm();
    slurm_says("RUNNING", 10, "");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "batch", 100);
    expect(&agent, "checkpoint");
    ck_assert_int_eq(stint_wire_sendf(agent.wire, "exited", "s:i", "status", 256), 0);
    stint_wire_finish(agent.wire);
    expect_closed(&agent);
    ck_assert_int_eq(join_coordinator(), 0);
    shell("! grep requeue %s/calls", base_dir);
}
END_TEST

/* Slurm kills the agent while the requeue is under way: it is seen through. */
START_TEST(agent_dies_while_held)
{
    fake_slurm();
    shell("cd %s && sed -i 's/^requeue)/requeue) touch asked; while [ -e slow ]; do "
          "sleep 0.05; "
          "done;/' bin/stint-slurm && echo 'echo done >> calls' >> bin/stint-slurm && "
          "touch slow",
          base_dir);
    slurm_says("RUNNING", 10, "");
    start_coordinator(0, "4711", NULL);
    connect_agent(&agent, "batch", 100);
    take_part(&agent, "batch.grp");
    expect(&agent, "committed");
    shell("cd %s && for i in $(seq 200); do [ ! -e asked ] || exit 0; sleep 0.05; "
          "done; exit 1",
          base_dir);
    disconnect(&agent);
    shell("rm %s/slow", base_dir);
    ck_assert_int_eq(join_coordinator(), 0);
    called("^requeue 4711$");
    called("^done$");
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof(table[0])))

static void add_tests(TCase *tcase)
{
    tcase_add_test(tcase, checkpoint_is_committed);
    tcase_add_test(tcase, keeps_two);
    tcase_add_test(tcase, two_groups_walk_together);
    tcase_add_test(tcase, connections_between_groups_are_drained);
    tcase_add_test(tcase, names_that_others_have_bound_are_found);
    tcase_add_test(tcase, offers_are_passed_on);
    tcase_add_loop_test(tcase, failure_of_one_aborts_all, 0, 3);
    tcase_add_loop_test(tcase, lost_agent_aborts, 0, 2);
    tcase_add_test(tcase, end_after_capture_is_no_failure);
    tcase_add_test(tcase, last_program_ends_meanwhile);
    tcase_add_loop_test(tcase, lies_are_noticed, 0, 7);
    tcase_add_test(tcase, kill_ends_the_programs);
    tcase_add_test(tcase, requests_join_or_queue);
    tcase_add_test(tcase, client_may_go);
    tcase_add_test(tcase, interval);
    tcase_add_test(tcase, agents_are_told_apart);
    tcase_add_loop_test(tcase, odd_hellos, 0, COUNT(hellos));
    tcase_add_test(tcase, odd_messages);
    tcase_add_test(tcase, two_in_one_directory);
    tcase_add_test(tcase, without_programs);
    tcase_add_test(tcase, sigterm_does_not_end_it_under_an_agent);
    tcase_add_loop_test(tcase, stop_ends_without_checkpoint, 0, 2);
    tcase_add_test(tcase, numbers_go_on);
    tcase_add_loop_test(tcase, killed_in_a_state, 0, COUNT(kills));
    tcase_add_test(tcase, end_of_time_requeues);
    tcase_add_test(tcase, failed_requeue_resumes);
    tcase_add_test(tcase, failed_final_checkpoint_is_tried_again);
    tcase_add_test(tcase, extended_time);
    tcase_add_test(tcase, scancel_is_obeyed);
    tcase_add_test(tcase, scancel_during_the_final_checkpoint);
    tcase_add_loop_test(tcase, time_limit_by_sigterm, 0, 3);
    tcase_add_test(tcase, sigterm_for_the_program);
    tcase_add_test(tcase, preempted);
    tcase_add_test(tcase, not_a_batch_job);
    tcase_add_test(tcase, slurm_does_not_answer);
    tcase_add_test(tcase, real_end);
    tcase_add_test(tcase, agent_dies_while_held);
}

int main(void)
{
    Suite *suite = suite_create("coordinator");
    TCase *tcase = tcase_create("coordinator");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    add_tests(tcase);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
