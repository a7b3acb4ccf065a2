/* dmtcp_command
 * SPDX-License-Identifier: Apache-2.0
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/timefmt.h"
#include "common/wire.h"
#include "coordinator/dmtcp/contact.h"
#include "coordinator/dmtcp/dmtcp.h"
#include "coordinator/dmtcp/options.h"
#include "coordinator/dmtcp/report.h"

#define EXIT_NOT_DONE 2
#define LIST_MS       15000
#define RETRY_S       90 /* how long a checkpoint that cannot start yet is tried again */

enum verb {
    VERB_NONE,
    VERB_STATUS,
    VERB_LIST,
    VERB_CHECKPOINT,
    VERB_BLOCKING,
    VERB_KILL_AFTER,
    VERB_INTERVAL,
    VERB_KILL,
    VERB_QUIT,
    VERB_HELP,
    VERB_VERSION,
};

/* Names are compared without leading dashes. */
static const struct {
    const char *names; /* separated by blanks */
    enum verb verb;
    const char *code; /* in JSON */
} verbs[] = {
    {"status s", VERB_STATUS, "DMT_STATUS"},
    {"list l", VERB_LIST, "DMT_LIST"},
    {"checkpoint c", VERB_CHECKPOINT, "DMT_CHECKPOINT"},
    {"bcheckpoint bc", VERB_BLOCKING, "DMT_BLOCKING_CKPT"},
    {"kcheckpoint kc ck K Kc", VERB_KILL_AFTER, "DMT_KILL_AFTER_CKPT"},
    {"interval i", VERB_INTERVAL, "DMT_UPDATE_CKPT_INTERVAL"},
    {"kill k", VERB_KILL, "DMT_KILL"},
    {"quit q", VERB_QUIT, "DMT_QUIT"},
    {"help h ?", VERB_HELP, "DMT_HELP"},
    {"version v", VERB_VERSION, "DMT_VERSION"},
};

#define NVERBS (sizeof(verbs) / sizeof(verbs[0]))

enum outcome {
    OUTCOME_SUCCESS,
    OUTCOME_INVALID,
    OUTCOME_NOT_RUNNING,
    OUTCOME_NOT_FOUND,
};

static const char *const outcome_codes[] = {
    [OUTCOME_SUCCESS] = "DMT_COORD_SUCCESS",
    [OUTCOME_INVALID] = "DMT_COORD_INVALID_COMMAND",
    [OUTCOME_NOT_RUNNING] = "DMT_COORD_NOT_RUNNING",
    [OUTCOME_NOT_FOUND] = "DMT_COORD_NOT_FOUND",
};

/* One command, and what became of it. */
struct job {
    enum verb verb;
    uint32_t seconds; /* VERB_INTERVAL */
    enum outcome outcome;
    json_t *list;     /* the coordinator's answer to `list`, or NULL */
    char text[1100];  /* for people: why not, or a remark */
};

static const char *verb_code(enum verb verb)
{
    for (size_t i = 0; i < NVERBS; i++)
        if (verbs[i].verb == verb)
            return verbs[i].code;
    return "DMT_INVALID_COORDINATOR_COMMAND";
}

static enum verb find_verb(const char *word)
{
    word += strspn(word, "-");
    for (size_t i = 0; *word && i < NVERBS; i++) {
        const char *name = verbs[i].names;

        while (*name) {
            size_t len = strcspn(name, " ");

            if (strlen(word) == len && strncmp(word, name, len) == 0)
                return verbs[i].verb;
            name += len;
            name += strspn(name, " ");
        }
    }
    return VERB_NONE;
}

/* --- words ------------------------------------------------------------------------- */

/* -i9, i9, --interval=9; *seconds is set. */
static bool is_attached_interval(const char *word, struct job *job)
{
    word += strspn(word, "-");
    if (strncmp(word, "interval=", 9) == 0)
        word += 9;
    else if (word[0] == 'i' && isdigit((unsigned char)word[1]))
        word++;
    else
        return false;
    return stint_duration_parse(word, &job->seconds, NULL) == 0;
}

/* -h is help, or takes a host: help at the end, and before another option. */
static bool is_help(int argc, char **argv)
{
    return strcmp(argv[0], "-h") == 0 && (argc < 2 || argv[1][0] == '-');
}

/* One command at argv[0]. Returns how many words it took, 0 when it is none. */
static int read_job(int argc, char **argv, struct job *job)
{
    memset(job, 0, sizeof(*job));
    if (is_attached_interval(argv[0], job)) {
        job->verb = VERB_INTERVAL;
        return 1;
    }
    job->verb = find_verb(argv[0]);
    if (job->verb == VERB_NONE)
        return 0;
    if (job->verb != VERB_INTERVAL)
        return 1;
    if (argc < 2 || stint_duration_parse(argv[1], &job->seconds, NULL) < 0) {
        job->verb = VERB_NONE;
        return 0;
    }
    return 2;
}

/* --- doing it ------------------------------------------------------------------------ */

static json_t *command(const char *name)
{
    return json_pack("{s:s}", "command", name);
}

static void fail(struct job *job, enum outcome outcome, const char *text)
{
    job->outcome = outcome;
    snprintf(job->text, sizeof(job->text), "%s", text);
}

/* Ask; a failure becomes the job's outcome. Returns the reply or NULL. */
static json_t *ask(struct dmtcp_contact *contact, struct job *job, json_t *request,
                   int timeout_ms)
{
    json_t *reply = NULL;
    struct stint_err err;

    if (dmtcp_contact_ask(contact, request, timeout_ms, &reply, &err) == 0)
        return reply;
    fail(job, OUTCOME_NOT_FOUND, err.text);
    return NULL;
}

static int64_t now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* Wait for a checkpoint. One that cannot be made at this moment, as when a program is
 * just being started or is in a critical section, is asked for again. */
static void checkpoint(struct dmtcp_contact *contact, struct job *job)
{
    const struct timespec pause = {0, 250000000};
    int64_t until = now_s() + RETRY_S;
    bool is_ok = false;

    for (;;) {
        json_t *reply = ask(contact, job,
                            json_pack("{s:s, s:b, s:b}", "command", "checkpoint", "kill",
                                      job->verb == VERB_KILL_AFTER, "wait", 1),
                            -1);
        int64_t code;

        if (!reply)
            return;
        is_ok = stint_json_bool(reply, "ok", 0);
        code = stint_json_int(reply, "code", 0, 255, 1);
        snprintf(job->text, sizeof(job->text), "%s", stint_json_string(reply, "message", ""));
        json_decref(reply);
        if (is_ok || code != 75 || now_s() >= until)
            break;
        nanosleep(&pause, NULL); /* between attempts; the coordinator has no event for it */
    }
    if (!is_ok)
        job->outcome = OUTCOME_NOT_RUNNING;
}

/* The coordinator's `list` is part of every answer. */
static void perform(struct dmtcp_contact *contact, struct job *job)
{
    json_t *reply;

    job->list = ask(contact, job, command("list"), LIST_MS);
    if (!job->list)
        return;
    switch (job->verb) {
    case VERB_CHECKPOINT:
    case VERB_BLOCKING:
    case VERB_KILL_AFTER:
        if (report_peers(job->list) == 0) {
            fail(job, OUTCOME_NOT_RUNNING, "nothing runs: there is nothing to checkpoint");
            return;
        }
        if (job->verb != VERB_CHECKPOINT) {
            checkpoint(contact, job);
            return;
        }
        reply = ask(contact, job,
                    json_pack("{s:s, s:b}", "command", "checkpoint", "wait", 0), LIST_MS);
        break;
    case VERB_INTERVAL:
        reply = ask(contact, job,
                    json_pack("{s:s, s:I}", "command", "interval", "seconds",
                              (json_int_t)job->seconds),
                    LIST_MS);
        if (reply)
            (void)json_object_set_new(job->list, "interval_s",
                                      json_integer((json_int_t)job->seconds));
        break;
    case VERB_KILL:
        reply = ask(contact, job, command("kill"), 60000);
        break;
    case VERB_QUIT:
        reply = ask(contact, job, command("quit"), 60000);
        break;
    case VERB_STATUS:
    case VERB_LIST:
    case VERB_HELP:
    case VERB_VERSION:
    case VERB_NONE:
    default:
        return;
    }
    if (reply && !stint_json_bool(reply, "ok", 0))
        fail(job, OUTCOME_NOT_RUNNING, stint_json_string(reply, "message", "refused"));
    json_decref(reply);
}

/* --- telling ---------------------------------------------------------------------------- */

static json_t *memory_text(void (*print)(const json_t *, FILE *), const json_t *list)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    json_t *json;

    if (!out)
        return json_string("");
    print(list, out);
    fclose(out);
    json = stint_json_text(text);
    free(text);
    return json;
}

static void print_help(const json_t *list, FILE *out)
{
    dmtcp_options_help(DMTCP_COMMAND, out);
}

static void print_json(const struct dmtcp_contact *contact, const struct job *job)
{
    json_t *json = json_pack("{s:i, s:s, s:s, s:s, s:i}", "schema_version", 1, "command",
                             verb_code(job->verb), "command_status",
                             outcome_codes[job->outcome], "coordinator_host", contact->host,
                             "coordinator_port", (int)contact->port);

    if (job->list) {
        (void)json_object_set_new(json, "num_peers",
                                  json_integer(report_peers(job->list)));
        (void)json_object_set_new(json, "running",
                                  json_boolean(report_is_running(job->list)));
        (void)json_object_set_new(
            json, "checkpoint_interval",
            json_integer(stint_json_int(job->list, "interval_s", 0, INT32_MAX, 0)));
    }
    if (job->list && job->verb == VERB_LIST)
        (void)json_object_set_new(json, "workers", memory_text(report_list, job->list));
    if (job->verb == VERB_HELP)
        (void)json_object_set_new(json, "help", memory_text(print_help, NULL));
    if (job->verb == VERB_VERSION)
        (void)json_object_set_new(json, "version", json_string(STINT_VERSION));
    if (job->text[0])
        (void)json_object_set_new(json, "message", stint_json_text(job->text));
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

static void print_human(const struct dmtcp_contact *contact, const struct job *job)
{
    if (job->outcome != OUTCOME_SUCCESS) {
        stint_error("%s", job->text);
        return;
    }
    switch (job->verb) {
    case VERB_STATUS:
        report_status(job->list, contact->host, contact->port, stdout);
        break;
    case VERB_LIST:
        report_list(job->list, stdout);
        break;
    case VERB_BLOCKING:
    case VERB_KILL_AFTER:
        stint_info("%s", job->text);
        break;
    case VERB_HELP:
        dmtcp_options_help(DMTCP_COMMAND, stdout);
        break;
    case VERB_VERSION:
        printf("dmtcp_command (stint " STINT_VERSION ", compatible with DMTCP 3 to 5)\n");
        break;
    case VERB_CHECKPOINT:
    case VERB_INTERVAL:
    case VERB_KILL:
    case VERB_QUIT:
    case VERB_NONE:
    default:
        break;
    }
}

/* --- whole ------------------------------------------------------------------------------- */

static int run_job(const struct dmtcp_options *options, struct job *job)
{
    struct dmtcp_contact contact;

    dmtcp_contact_init(&contact, options);
    if (job->verb == VERB_NONE)
        job->outcome = OUTCOME_INVALID;
    else if (job->verb != VERB_HELP && job->verb != VERB_VERSION)
        perform(&contact, job);
    if (options->json)
        print_json(&contact, job);
    else if (job->verb != VERB_NONE)
        print_human(&contact, job);
    json_decref(job->list);
    dmtcp_contact_deinit(&contact);
    return job->outcome == OUTCOME_SUCCESS ? 0 : EXIT_NOT_DONE;
}

#define JOBS_MAX 16

int dmtcp_cmd_command(int argc, char **argv)
{
    struct dmtcp_options options;
    struct job jobs[JOBS_MAX] = {{0}};
    const char *wrong = NULL;
    int njobs = 0, status = 0;

    if (dmtcp_options_init(DMTCP_COMMAND, &options) < 0)
        return EXIT_NOT_DONE;
    for (int i = 1; i < argc && !wrong;) {
        int words = is_help(argc - i, argv + i)
                        ? 0
                        : dmtcp_options_flag(DMTCP_COMMAND, argc - i, argv + i, &options);

        if (words < 0)
            return EXIT_NOT_DONE;
        if (words == 0 && njobs < JOBS_MAX) {
            words = read_job(argc - i, argv + i, &jobs[njobs]);
            njobs += words > 0;
        }
        if (words == 0)
            wrong = argv[i];
        i += words;
    }
    for (int i = 1; i < argc && wrong; i++)
        options.json |= strcmp(argv[i], "--json") == 0;
    if (wrong || njobs == 0) {
        if (!options.json && wrong)
            return dmtcp_usage(DMTCP_COMMAND, "'%s' is no command that can be used", wrong);
        if (!options.json)
            return dmtcp_usage(DMTCP_COMMAND, "the command is missing");
        memset(&jobs[0], 0, sizeof(jobs[0]));
        return run_job(&options, &jobs[0]);
    }
    /* one object on standard output, whatever happens */
    if (options.json)
        njobs = 1;
    for (int i = 0; i < njobs && status == 0; i++)
        status = run_job(&options, &jobs[i]);
    return status;
}
