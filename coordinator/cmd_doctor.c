/* `stint doctor`
 * SPDX-License-Identifier: Apache-2.0
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "coordinator/commands.h"
#include "coordinator/doctor.h"

static const char help_text[] =
    "usage: stint doctor [-d DIR] [--json] [PID...]\n"
    "       stint doctor [-d DIR] [--json] [--] COMMAND [ARGUMENT...]\n"
    "\n"
    "Says beforehand what a checkpoint would refuse, and whether this machine can restart\n"
    "what it writes. PID: a process that runs, under stint or not, with all that it has\n"
    "started; it is only looked at, and notices nothing. COMMAND: its program with its\n"
    "libraries, and the interpreter of a script; it is not started. Without either only\n"
    "the machine.\n"
    "\n"
    "What passes (data under way in a socket, a process that is just being started) is not\n"
    "found this way; a program's connections to outside are judged as without --sockets.\n"
    "\n"
    "options:\n"
    "  -d, --dir DIR        also look at the checkpoint directory, or where it is to be\n"
    "      --json           one object: `findings`, a list of {about, level, text}, and\n"
    "                       `refused`, how many are of the levels refused and later\n"
    "  -h, --help\n"
    "\n"
    "levels: refused  a checkpoint, or a restart here, is not possible\n"
    "        later    not for now\n"
    "        note     works, but not as well\n"
    "        ok\n"
    "\n"
    "exit status: 0 nothing would be refused   1 something would be   2 usage\n"
    "\n"
    "examples: stint doctor -d /scratch/me ./simulate\n"
    "          stint doctor $(pgrep -u me simulate)\n";

static const struct option options[] = {
    {"dir", required_argument, NULL, 'd'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const char *const levels[] = {[DOCTOR_OK] = "ok", [DOCTOR_NOTE] = "note",
                                     [DOCTOR_LATER] = "later", [DOCTOR_REFUSED] = "refused"};

void doctor_say(struct doctor *doctor, const char *about, enum doctor_level level,
                const char *fmt, ...)
{
    char text[1024];
    va_list args;
    size_t len;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    len = strlen(text);
    if (len > 0 && text[len - 1] == '.')
        text[len - 1] = '\0';
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?'; /* a name may hold anything */
    }
    doctor->bad += level == DOCTOR_LATER || level == DOCTOR_REFUSED;
    (void)json_array_append_new(doctor->findings,
                                json_pack("{s:s, s:s, s:s}", "about", about, "level",
                                          levels[level], "text", text)); /* or it is missing */
}

struct request {
    const char *dir;
    bool json;
};

static int take(int option, const char *value, void *arg, struct stint_err *err)
{
    struct request *request = arg;

    if (option == 'd')
        request->dir = value;
    else
        request->json = true;
    return 0;
}

static bool is_number(const char *text)
{
    return text[0] && strlen(text) < 10 && strspn(text, "0123456789") == strlen(text);
}

static void print(const struct doctor *doctor, bool as_json)
{
    json_t *finding;
    size_t i;

    if (as_json) {
        json_t *all = json_pack("{s:O, s:i}", "findings", doctor->findings, "refused",
                                (int)doctor->bad);

        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(all);
        return;
    }
    json_array_foreach(doctor->findings, i, finding)
        printf("%-8s %s\n", json_string_value(json_object_get(finding, "level")),
               json_string_value(json_object_get(finding, "text")));
}

int cmd_doctor(int argc, char **argv)
{
    static const struct command_line line
        = {"doctor", help_text, "+:d:h", options, take};
    struct doctor doctor = {.findings = json_array()};
    struct request request = {0};
    struct stint_err err;
    int ret = command_options(&line, argc, argv, &request, &err);

    if (ret < 0 && !doctor.findings)
        ret = STINT_EXIT_FAILED;
    if (ret >= 0) {
        json_decref(doctor.findings);
        return ret;
    }
    stint_log_init(NULL, 2); /* what the checks say by the way is not about this */
    doctor_look_at_host(&doctor);
    if (request.dir)
        doctor_look_at_directory(&doctor, request.dir);
    if (optind < argc && !is_number(argv[optind]))
        doctor_look_at_command(&doctor, argv[optind]);
    for (; optind < argc && is_number(argv[optind]); optind++)
        doctor_look_at_process(&doctor, atoi(argv[optind]));
    print(&doctor, request.json);
    json_decref(doctor.findings);
    return doctor.bad ? STINT_EXIT_FAILED : STINT_EXIT_OK;
}
