/* `stint checkpoint`
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/timefmt.h"
#include "common/wire.h"
#include "coordinator/commands.h"

static const char help_text[] =
    "usage: stint checkpoint [--kill] [--timeout TIME] [--json] DIR\n"
    "\n"
    "Writes a checkpoint of everything that runs under the checkpoint directory DIR "
    "(or\n"
    "the Slurm job DIR), and returns when it is complete, on disk, and the one that\n"
    "`stint restart` takes. When it cannot be written, the programs go on as if "
    "nothing\n"
    "had been, the checkpoint before stays, and the reason is said.\n"
    "\n"
    "options:\n"
    "  -k, --kill          end the programs with it: nothing that they do after the\n"
    "                      checkpoint is done again after a restart. Returns when "
    "they\n"
    "                      have ended and DIR can be restarted from\n"
    "      --timeout TIME  wait no longer than TIME for the answer (the checkpoint "
    "itself\n"
    "                      is not stopped by that)\n"
    "      --json          print the result as one JSON object: ok, code, message,\n"
    "                      generation, bytes, duration_ms, stall_ms, processes\n"
    "  -h, --help\n"
    "\n"
    "exit status: 0 it is committed\n"
    "             1 it failed, or nothing runs there\n"
    "             2 usage\n"
    "            75 not now, try again: a program was just ending, or the time was "
    "over\n"
    "\n"
    "examples: stint checkpoint /scratch/me/job7\n"
    "          stint checkpoint --kill /scratch/me/job7 && stint restart "
    "/scratch/me/job7\n"
    "          stint checkpoint 4711        # the Slurm job 4711\n";

static const struct option options[] = {
    {"kill", no_argument, NULL, 'k'},
    {"timeout", required_argument, NULL, 't'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static void print_json(json_t *reply)
{
    (void)json_object_del(reply, "t"); /* of the protocol, not of the result */
    (void)json_dumpf(reply, stdout, JSON_COMPACT); /* main() looks at stdout's state */
    putchar('\n');
}

static int failed(int json, int code, const char *text)
{
    json_t *reply;

    if (json) {
        reply = json_pack("{s:b, s:i, s:o}", "ok", 0, "code", code, "message",
                          stint_json_text(text));
        print_json(reply);
        json_decref(reply);
    }
    stint_error("%s", text);
    return code;
}

static int show(int json, json_t *reply)
{
    int code = (int)stint_json_int(reply, "code", 0, 255, 1);
    const char *message = stint_json_string(reply, "message", "");

    if (json)
        print_json(reply);
    if (code)
        stint_error("%s", message);
    else if (!json)
        stint_info("%s", message);
    return code;
}

static int ask(const char *argument, int wants_end, int json, int timeout_ms)
{
    STINT_AUTO_FREE char *dir = NULL;
    STINT_AUTO_CLOSE int fd = -1;
    struct stint_err err;
    json_t *reply;
    char text[1200];
    int ret;

    ret = command_open(argument, &fd, &dir, &err);
    if (ret < 0)
        return failed(json, STINT_EXIT_FAILED, err.text);
    ret = stint_wire_call(dir,
                          json_pack("{s:s, s:b, s:b}", "command", "checkpoint", "kill",
                                    wants_end, "wait", 1),
                          timeout_ms, NULL, NULL, &reply, &err);
    if (ret == STINT_WIRE_E_NONE) {
        snprintf(text, sizeof(text), "nothing runs in %s", dir);
        return failed(json, STINT_EXIT_FAILED, text);
    }
    if (ret == -ETIMEDOUT) {
        snprintf(text, sizeof(text),
                 "no checkpoint was committed within %d s; it goes on: stint status %s",
                 timeout_ms / 1000, dir);
        return failed(json, STINT_EXIT_AGAIN, text);
    }
    if (ret < 0)
        return failed(json, STINT_EXIT_FAILED, err.text);
    ret = show(json, reply);
    json_decref(reply);
    return ret;
}

struct request {
    bool wants_end, json;
    int timeout_ms;
};

static int take(int option, const char *value, void *arg, struct stint_err *err)
{
    struct request *request = arg;
    uint32_t seconds;

    switch (option) {
    case 'k':
        request->wants_end = true;
        return 0;
    case 't':
        if (stint_duration_parse(value, &seconds, err) < 0)
            return stint_err_prefix(err, "--timeout");
        request->timeout_ms = seconds > 1000000 ? -1 : (int)seconds * 1000;
        return 0;
    default:
        request->json = true;
        return 0;
    }
}

int cmd_checkpoint(int argc, char **argv)
{
    static const struct command_line line
        = {"checkpoint", help_text, ":kh", options, take};
    struct request request = {.timeout_ms = -1};
    struct stint_err err;
    int ret = command_options(&line, argc, argv, &request, &err);

    if (ret >= 0)
        return ret;
    if (optind + 1 != argc)
        return command_usage("checkpoint", "%s",
                             optind < argc ? "only one DIR at a time" : "which DIR?");
    return ask(argv[optind], request.wants_end, request.json, request.timeout_ms);
}
