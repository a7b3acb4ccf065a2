/* `stint status`, `stint list`, `stint prune`: what is in a checkpoint directory.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/log.h"
#include "common/manifest.h"
#include "common/timefmt.h"
#include "common/wire.h"
#include "coordinator/commands.h"

#define STATUS_TIMEOUT_MS 20000

static const char status_help[] =
    "usage: stint status [--json] DIR\n"
    "\n"
    "Says what runs under the checkpoint directory DIR (or as the Slurm job DIR), what "
    "is\n"
    "being written, and what was committed last.\n"
    "\n"
    "options:\n"
    "      --json   one JSON object: running (bool), state, agents, interval_s, "
    "next_in_s,\n"
    "               checkpoints, failures, failure, running_checkpoint, last, slurm\n"
    "  -h, --help\n"
    "\n"
    "exit status: 0, whether something runs or not; 1 DIR is no checkpoint directory "
    "or the\n"
    "             coordinator does not answer; 2 usage\n"
    "\n"
    "example: stint status 4711\n";

static const char list_help[] =
    "usage: stint list [--json] DIR\n"
    "\n"
    "Lists the checkpoints in DIR that can be restarted from, oldest first; `*` marks "
    "the\n"
    "one that `stint restart` takes.\n"
    "\n"
    "options:\n"
    "      --json   an array of objects, as in gen-NNNNNN/manifest.yaml, with "
    "`newest`\n"
    "  -h, --help\n"
    "\n"
    "exit status: 0; 1 DIR is no checkpoint directory, or a manifest in it is damaged\n"
    "             (which is said, the others are listed); 2 usage\n"
    "\n"
    "files: DIR/gen-NNNNNN/manifest.yaml   what a checkpoint consists of\n"
    "       DIR/manifest.yaml              a symlink to the newest\n";

static const char prune_help[] =
    "usage: stint prune --keep N DIR\n"
    "\n"
    "Removes the oldest checkpoints in DIR so that N stay. The newest always stays. "
    "What\n"
    "interrupted checkpoints left is removed, too, when nothing runs there.\n"
    "\n"
    "options:\n"
    "      --keep N   how many stay, at least 1\n"
    "  -h, --help\n"
    "\n"
    "exit status: 0; 1 it failed; 2 usage\n"
    "\n"
    "A running job prunes by itself (stint launch --keep).\n";

static const struct option inspect_options[] = {
    {"json", no_argument, NULL, 'j'},
    {"keep", required_argument, NULL, 'n'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct arguments {
    const char *dir;
    const char *keep;
    int json;
};

static int take(int option, const char *value, void *arg, struct stint_err *err)
{
    struct arguments *a = arg;

    if (option == 'n')
        a->keep = value;
    else
        a->json = 1;
    return 0;
}

/* Returns -1 to go on, else the exit status. */
static int parse(const char *command, const char *help, int argc, char **argv,
                 struct arguments *a)
{
    const struct command_line line = {command, help, ":h", inspect_options, take};
    struct stint_err err;
    int ret;

    memset(a, 0, sizeof(*a));
    ret = command_options(&line, argc, argv, a, &err);
    if (ret >= 0)
        return ret;
    if (optind + 1 != argc)
        return command_usage(command, "%s",
                             optind < argc ? "only one DIR at a time" : "which DIR?");
    a->dir = argv[optind];
    return -1;
}

static void format_time(int64_t when, char buf[32])
{
    time_t t = (time_t)when;
    struct tm tm;

    localtime_r(&t, &tm);
    strftime(buf, 32, "%F %T", &tm);
}

/* --- status ------------------------------------------------------------------ */

static void print_last(const json_t *last)
{
    char when[32], size[STINT_SIZE_TEXT_MAX], took[STINT_DURATION_TEXT_MAX],
        stall[STINT_DURATION_TEXT_MAX];

    if (!json_is_object(last)) {
        puts("last:      no checkpoint yet");
        return;
    }
    format_time(stint_json_int(last, "committed", 0, INT64_MAX, 0), when);
    printf(
        "last:      generation %" PRId64
        ", committed %s, %s, %s (programs stood still for "
        "%s)\n",
        stint_json_int(last, "generation", 0, INT64_MAX, 0), when,
        stint_size_format((uint64_t)stint_json_int(last, "bytes", 0, INT64_MAX, 0),
                          size),
        stint_duration_format(
            (double)stint_json_int(last, "duration_ms", 0, INT64_MAX, 0) / 1000, took),
        stint_duration_format(
            (double)stint_json_int(last, "stall_ms", 0, INT64_MAX, 0) / 1000, stall));
}

static void print_running(const json_t *status)
{
    const json_t *agents = json_object_get(status, "agents"), *agent;
    const json_t *now = json_object_get(status, "running_checkpoint");
    char size[STINT_SIZE_TEXT_MAX], time_text[STINT_DURATION_TEXT_MAX];
    int64_t interval = stint_json_int(status, "interval_s", 0, INT64_MAX, 0);
    int64_t next = stint_json_int(status, "next_in_s", 0, INT64_MAX, -1);
    size_t i;

    json_array_foreach(agents, i, agent)
    {
        printf("running:   %s on %s, process %" PRId64 ": %s\n",
               stint_json_string(agent, "group", "?"),
               stint_json_string(agent, "host", "?"),
               stint_json_int(agent, "root_pid", 0, INT64_MAX, 0),
               stint_json_string(agent, "command", "?"));
    }
    if (interval)
        printf("interval:  %s\n", stint_duration_format((double)interval, time_text));
    if (next >= 0 && !json_is_object(now))
        printf("next in:   %s\n", stint_duration_format((double)next, time_text));
    if (json_is_object(now))
        printf("now:       generation %" PRId64 ": %s, %s written, for %s\n",
               stint_json_int(now, "generation", 0, INT64_MAX, 0),
               stint_json_string(now, "phase", "?"),
               stint_size_format(
                   (uint64_t)stint_json_int(now, "bytes", 0, INT64_MAX, 0), size),
               stint_duration_format(
                   (double)stint_json_int(now, "elapsed_ms", 0, INT64_MAX, 0) / 1000,
                   time_text));
}

static void print_slurm(const json_t *slurm)
{
    int64_t end = stint_json_int(slurm, "end_time", 1, INT64_MAX, 0);
    char when[32];

    if (!json_is_object(slurm))
        return;
    printf("slurm:     job %s, run %" PRId64, stint_json_string(slurm, "job", "?"),
           stint_json_int(slurm, "run", 0, INT64_MAX, 1));
    if (end) {
        format_time(end, when);
        printf(", time is over at %s, last checkpoint %" PRId64 " s before", when,
               stint_json_int(slurm, "lead_s", 0, INT64_MAX, 0));
    }
    putchar('\n');
}

static void print_status(const char *dir, const json_t *status)
{
    const char *failure = stint_json_string(status, "failure", "");

    printf("directory: %s\n", dir);
    if (stint_json_bool(status, "running", 0))
        print_running(status);
    else
        puts("running:   nothing");
    print_last(json_object_get(status, "last"));
    if (failure[0])
        printf("failed:    %s\n", failure);
    print_slurm(json_object_get(status, "slurm"));
}

/* What the directory alone tells. */
static json_t *status_at_rest(int fd)
{
    struct stint_manifest m;
    struct stint_err err;
    json_t *last = NULL;
    int ret = stint_manifest_read(fd, 0, &m, &err);

    if (ret == 0) {
        last = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "generation",
                         (json_int_t)m.generation, "committed", (json_int_t)m.committed,
                         "duration_ms", (json_int_t)m.duration_ms, "stall_ms",
                         (json_int_t)m.stall_ms, "bytes", (json_int_t)m.bytes,
                         "processes", (json_int_t)m.processes);
        stint_manifest_deinit(&m);
    }
    return json_pack("{s:b, s:s, s:s, s:[], s:o}", "running", 0, "state", "none",
                     "failure", ret == 0 || ret == -ENOENT ? "" : err.text, "agents",
                     "last", last ? last : json_null());
}

static json_t *status_of_reply(json_t *reply)
{
    json_t *now = json_object_get(reply, "running");

    if (now) /* in the protocol it is the checkpoint under way */
        (void)json_object_set(reply, "running_checkpoint", now);
    (void)json_object_set_new(reply, "running", json_true());
    (void)json_object_del(reply, "t");
    (void)json_object_del(reply, "ok");
    (void)json_object_del(reply, "code");
    (void)json_object_del(reply, "message");
    return reply;
}

static int show_status(const char *argument, int json)
{
    STINT_AUTO_FREE char *dir = NULL;
    STINT_AUTO_CLOSE int fd = -1;
    struct stint_err err;
    json_t *reply = NULL, *status;
    int ret;

    ret = command_open(argument, &fd, &dir, &err);
    if (ret == 0)
        ret = stint_wire_call(dir, json_pack("{s:s}", "command", "status"),
                              STATUS_TIMEOUT_MS, NULL, NULL, &reply, &err);
    if (ret < 0) {
        stint_error("%s", err.text);
        return ret == -ETIMEDOUT ? STINT_EXIT_AGAIN : STINT_EXIT_FAILED;
    }
    status = ret == STINT_WIRE_E_NONE ? status_at_rest(fd) : status_of_reply(reply);
    (void)json_object_set_new(status, "directory", stint_json_text(dir));
    if (json) {
        (void)json_dumpf(status, stdout,
                         JSON_INDENT(2)); /* main() looks at stdout's state */
        putchar('\n');
    } else {
        print_status(dir, status);
    }
    json_decref(status);
    return STINT_EXIT_OK;
}

int cmd_status(int argc, char **argv)
{
    struct arguments a;
    int ret = parse("status", status_help, argc, argv, &a);

    if (ret >= 0)
        return ret;
    if (a.keep)
        return command_usage("status", "there is no option --keep");
    return show_status(a.dir, a.json);
}

/* --- list ---------------------------------------------------------------------- */

static void print_row(const struct stint_manifest *m, int is_newest)
{
    char when[32], size[STINT_SIZE_TEXT_MAX], took[STINT_DURATION_TEXT_MAX];

    format_time(m->committed, when);
    printf("%c %10" PRIu64 "  %s  %10s  %9s  %9" PRIu64 "  %s%s\n",
           is_newest ? '*' : ' ', m->generation, when,
           stint_size_format(m->bytes, size),
           stint_duration_format((double)m->duration_ms / 1000, took), m->processes,
           m->groups[0].command, m->ngroups > 1 ? " ..." : "");
}

static int list_all(int fd, const uint64_t *numbers, size_t count, json_t *out)
{
    int status = STINT_EXIT_OK;
    struct stint_err err;
    uint64_t newest = 0;

    if (stint_dir_newest(fd, &newest, &err) < 0) {
        stint_error("%s", err.text);
        return STINT_EXIT_FAILED;
    }
    if (!out && count > 0)
        puts("  generation  committed                  size       took  processes  "
             "program");
    for (size_t i = 0; i < count; i++) {
        struct stint_manifest m;
        json_t *object;

        if (stint_manifest_read(fd, numbers[i], &m, &err) < 0) {
            if (command_generation_is_gone(fd, numbers[i]))
                continue;
            stint_error("%s", err.text);
            status = STINT_EXIT_FAILED;
            continue;
        }
        if (out) {
            object = stint_manifest_json(&m);
            (void)json_object_set_new(object, "newest",
                                      json_boolean(m.generation == newest));
            (void)json_array_append_new(out, object);
        } else {
            print_row(&m, m.generation == newest);
        }
        stint_manifest_deinit(&m);
    }
    return status;
}

static int show_list(const char *argument, int json)
{
    STINT_AUTO_FREE uint64_t *numbers = NULL;
    STINT_AUTO_CLOSE int fd = -1;
    struct stint_err err;
    size_t count = 0;
    json_t *out = NULL;
    int ret;

    ret = command_open(argument, &fd, NULL, &err);
    if (ret == 0)
        ret = stint_dir_list(fd, &numbers, &count, &err);
    if (ret < 0) {
        stint_error("%s", err.text);
        return STINT_EXIT_FAILED;
    }
    if (json)
        out = json_array();
    ret = list_all(fd, numbers, count, out);
    if (json) {
        (void)json_dumpf(out, stdout,
                         JSON_INDENT(2)); /* main() looks at stdout's state */
        putchar('\n');
        json_decref(out);
    }
    return ret;
}

int cmd_list(int argc, char **argv)
{
    struct arguments a;
    int ret = parse("list", list_help, argc, argv, &a);

    if (ret >= 0)
        return ret;
    if (a.keep)
        return command_usage("list", "there is no option --keep");
    return show_list(a.dir, a.json);
}

/* --- prune ----------------------------------------------------------------------- */

static int prune(const char *argument, unsigned keep)
{
    STINT_AUTO_CLOSE int fd = -1;
    STINT_AUTO_CLOSE int lock_fd = -1;
    struct stint_err err;
    unsigned removed = 0;
    int ret;

    ret = command_open(argument, &fd, NULL, &err);
    if (ret == 0)
        ret = stint_dir_lock(fd, &lock_fd, &err);
    if (ret == 0)
        ret = stint_dir_clean(fd, NULL, &err);
    /* Beside a running coordinator it is safe as well: that one removes, too, but never
     * the newest, and takes what is gone already for removed. */
    if (ret >= 0)
        ret = stint_dir_prune(fd, keep, &removed, &err);
    if (ret < 0) {
        stint_error("%s", err.text);
        return STINT_EXIT_FAILED;
    }
    stint_info("%u checkpoint%s removed", removed, removed == 1 ? "" : "s");
    return STINT_EXIT_OK;
}

int cmd_prune(int argc, char **argv)
{
    struct arguments a;
    size_t len;
    int ret = parse("prune", prune_help, argc, argv, &a);

    if (ret >= 0)
        return ret;
    if (a.json)
        return command_usage("prune", "there is no option --json");
    if (!a.keep)
        return command_usage("prune", "--keep N is missing");
    len = strlen(a.keep);
    if (len == 0 || len > 6 || strspn(a.keep, "0123456789") != len || atoi(a.keep) == 0)
        return command_usage("prune", "--keep wants a number from 1 on");
    return prune(a.dir, (unsigned)atoi(a.keep));
}
