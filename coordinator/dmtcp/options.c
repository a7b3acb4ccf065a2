/* Flags and environment variables of the four commands.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/dmtcp/options.h"

#include <ctype.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/timefmt.h"
#include "coordinator/commands.h"
#include "coordinator/dmtcp/dmtcp.h"

enum kind {
    KIND_BOOL,
    KIND_COUNT,    /* each time one more; the environment gives the number */
    KIND_TEXT,
    KIND_NUMBER,
    KIND_PORT,
    KIND_SECONDS,  /* also 30m, 2h, hh:mm:ss */
    KIND_INTERVAL, /* the same, and remembers that it was given */
    KIND_IGNORED,  /* accepted; `help` says why it does nothing here */
    KIND_IGNORED_TEXT,
    KIND_SILENT,   /* accepted: what it asks for is so anyway */
    KIND_HELP,
    KIND_VERSION,
    KIND_HIDDEN_NUMBER,
};

struct flag {
    const char *names; /* separated by blanks; the first long one is shown in messages */
    const char *env;
    enum kind kind;
    unsigned commands; /* enum dmtcp_command */
    size_t field;
    const char *arg, *help;
};

#define L         DMTCP_LAUNCH
#define C         DMTCP_COORDINATOR
#define M         DMTCP_COMMAND
#define R         DMTCP_RESTART
#define FIELD(f)  offsetof(struct dmtcp_options, f)
#define NO_PLUGIN "there are no plugins that it could switch off"

/* clang-format off */
static const struct flag flags[] = {
    {"-h --coord-host --host", "DMTCP_COORD_HOST", KIND_TEXT, L | M | R, FIELD(host), "HOST",
     "host of the coordinator (default: localhost)"},
    {"-p --coord-port --port", "DMTCP_COORD_PORT", KIND_PORT, L | C | M | R, FIELD(port), "N",
     "its port (default: 7779; 0: any free one)"},
    {"--port-file", NULL, KIND_TEXT, L | C | R, FIELD(port_file), "FILE",
     "write the port that was taken to FILE"},
    {"--status-file", NULL, KIND_TEXT, C, FIELD(status_file), "FILE",
     "write host, port and process id to FILE"},
    {"-j --join-coordinator --join", NULL, KIND_BOOL, L | R, FIELD(join), NULL,
     "join a coordinator; an error when none answers"},
    {"--new-coordinator -n --new", NULL, KIND_BOOL, L | R, FIELD(start_new), NULL,
     "start a coordinator; an error when the port is taken; any port when none is given"},
    {"--any-coordinator", NULL, KIND_BOOL, L | R, FIELD(any), NULL,
     "join a coordinator if one answers, else start one (default)"},
    {"-i --interval", "DMTCP_CHECKPOINT_INTERVAL", KIND_INTERVAL, L | C | R,
     FIELD(interval_s), "SEC", "seconds between checkpoints (0: only on request)"},
    {"--ckptdir -c", "DMTCP_CHECKPOINT_DIR", KIND_TEXT, L | C | R, FIELD(ckptdir), "DIR",
     "directory of the checkpoints (default: the working directory)"},
    {"--restartdir", NULL, KIND_TEXT, R, FIELD(restartdir), "DIR",
     "find the images below DIR"},
    {"--gzip", "DMTCP_GZIP", KIND_BOOL, L, FIELD(gzip), NULL, "compress images"},
    {"--no-gzip", NULL, KIND_BOOL, L, FIELD(no_gzip), NULL, "do not compress images"},
    {"--enable-unique-checkpoint-filenames --enable-unique-ckpt-filenames",
     "DMTCP_UNIQUE_CKPT_PLUGIN", KIND_BOOL, L | C, FIELD(unique_names), NULL,
     "keep all generations, their number in the names of the files"},
    {"--disable-unique-checkpoint-filenames --disable-unique-ckpt-filenames", NULL,
     KIND_SILENT, L | C, 0, NULL, "keep the newest two, under constant names (default)"},
    {"--with-plugin", "DMTCP_PLUGIN", KIND_TEXT, L, FIELD(plugins), "LIST",
     "preload these libraries (DMTCP's plugin events do not exist here)"},
    {"--exit-on-last", NULL, KIND_BOOL, C, FIELD(exit_on_last), NULL,
     "end when the last program has ended"},
    {"--kill-after-ckpt --exit-after-ckpt", NULL, KIND_BOOL, C, FIELD(kill_after_ckpt), NULL,
     "end the programs after the next checkpoint"},
    {"--daemon", NULL, KIND_BOOL, C, FIELD(daemon), NULL,
     "run in the background, without a console"},
    {"--timeout", NULL, KIND_SECONDS, C, FIELD(timeout_s), "SEC",
     "end after SEC seconds, the programs too"},
    {"--stale-timeout", NULL, KIND_SECONDS, C, FIELD(stale_timeout_s), "SEC",
     "end after SEC seconds without a program (default: 8 hours)"},
    {"--debug-restart-pause", "DMTCP_RESTART_PAUSE", KIND_NUMBER, R, FIELD(pause_s), "SEC",
     "wait SEC seconds before anything is restored"},
    {"--coord-logfile", "DMTCP_COORD_LOG_FILENAME", KIND_TEXT, L | C | R, FIELD(logfile),
     "FILE", "what the coordinator says goes to FILE"},
    {"--json", NULL, KIND_BOOL, M, FIELD(json), NULL,
     "print one JSON object and nothing else"},
    {"-q --quiet", "DMTCP_QUIET", KIND_COUNT, L | C | R, FIELD(quiet), NULL,
     "no remarks; twice: no warnings"},
    {"--quiet", "DMTCP_QUIET", KIND_COUNT, M, FIELD(quiet), NULL, "no remarks"},

    {"--tmpdir -t", "DMTCP_TMPDIR", KIND_IGNORED_TEXT, L | C | R, 0, "DIR",
     "no temporary files are made; a coordinator's key and log are in ~/.stint/dmtcp"},
    {"--ckpt-open-files --checkpoint-open-files", "DMTCP_CKPT_OPEN_FILES", KIND_BOOL, L,
     FIELD(open_files), NULL,
     "save the contents of all open files of any size; a restart puts back those that are "
     "changed in place or gone"},
    {"--ckpt-open-files --checkpoint-open-files", NULL, KIND_IGNORED, M, 0, NULL,
     "dmtcp_launch --ckpt-open-files decides"},
    {"--allow-file-overwrite", "DMTCP_ALLOW_OVERWRITE_WITH_CKPTED_FILES", KIND_SILENT, L, 0,
     NULL, "a restart puts output files back to where they were (default)"},
    {"--ckpt-signal --mtcp-checkpoint-signal", "DMTCP_SIGCKPT", KIND_IGNORED_TEXT, L, 0, "N",
     "the signal is SIGURG, and programs may use every signal"},
    {"--modify-env", NULL, KIND_IGNORED, L, 0, NULL,
     "a restart brings back the program's memory, and the variables in it, as they were; "
     "dmtcp_env.txt is not read"},
    {"--pathvirt", "DMTCP_PATH_PREFIX", KIND_IGNORED, L, 0, NULL,
     "a restart opens files under the paths that they had"},
    {"--disable-alloc-plugin --disable-dl-plugin --disable-timer-plugin "
     "--disable-pathvirt-plugin --disable-pid-plugin --disable-svipc-plugin "
     "--disable-file-plugin --disable-event-plugin --disable-socket-plugin "
     "--disable-ssh-plugin --disable-modify-env-plugin --disable-unique-ckpt-plugin "
     "--disable-all-plugins",
     NULL, KIND_IGNORED, L, 0, NULL, NO_PLUGIN},
    {"--kernel-loader --target-ld", NULL, KIND_IGNORED_TEXT, L, 0, "FILE",
     "programs are loaded as always"},
    {"--rm --batch-queue", NULL, KIND_IGNORED, L, 0, NULL,
     "sbatch --checkpoint-interval is how stint works with Slurm"},
    {"--infiniband --ib --ib2tcp --cuda --ptrace --hbict --checkpoint-with-hbict",
     NULL, KIND_IGNORED, L, 0, NULL, "there is no such plugin"},
    {"--no-strict-checking --no-check", "DMTCP_DISABLE_STRICT_CHECKING", KIND_IGNORED, R, 0,
     NULL, "images of other users and damaged ones are always refused"},
    {"--run-as-root", NULL, KIND_SILENT, R, 0, NULL, "root may restart anyway"},
    {"--write-kv-data", NULL, KIND_IGNORED, C, 0, NULL, "there is no such database"},

    {"--help", NULL, KIND_HELP, L | C | R, 0, NULL, "print this and exit"},
    {"--version -v", NULL, KIND_VERSION, L | C | R, 0, NULL,
     "print the version and exit"},
    {"--register-job", NULL, KIND_TEXT, C, FIELD(job), "ID",
     "let the commands of this Slurm job find it (start_coordinator does that)"},
    {"--ready-fd", NULL, KIND_HIDDEN_NUMBER, C, FIELD(ready_fd), NULL, NULL},
};
/* clang-format on */

#define NFLAGS (sizeof(flags) / sizeof(flags[0]))

const char *dmtcp_command_name(enum dmtcp_command command)
{
    switch (command) {
    case DMTCP_LAUNCH:
        return "dmtcp_launch";
    case DMTCP_COORDINATOR:
        return "dmtcp_coordinator";
    case DMTCP_COMMAND:
        return "dmtcp_command";
    case DMTCP_RESTART:
    default:
        return "dmtcp_restart";
    }
}

int dmtcp_usage(enum dmtcp_command command, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    stint_error("%s (%s --help)", text, dmtcp_command_name(command));
    return STINT_EXIT_USAGE;
}

/* --- values ------------------------------------------------------------------- */

static int parse_number(const char *text, unsigned max, unsigned *value)
{
    char *end;
    unsigned long number;

    if (!isdigit((unsigned char)text[0]))
        return -1;
    number = strtoul(text, &end, 10);
    if (*end || number > max)
        return -1;
    *value = (unsigned)number;
    return 0;
}

static bool is_on(const char *text)
{
    return strcmp(text, "0") != 0 && *text;
}

/* name: of the flag or variable, as the user wrote it. Returns 0, or -1 and says why. */
static int set_value(enum dmtcp_command command, const struct flag *flag, const char *name,
                     const char *text, struct dmtcp_options *options)
{
    void *field = (char *)options + flag->field;
    struct stint_err err;
    uint32_t seconds;

    switch (flag->kind) {
    case KIND_BOOL:
        *(bool *)field = !text || is_on(text);
        return 0;
    case KIND_COUNT:
        if (!text)
            (*(unsigned *)field)++;
        else if (parse_number(text, 9, field) < 0)
            break;
        return 0;
    case KIND_TEXT:
        if (!*text)
            break;
        *(const char **)field = text;
        return 0;
    case KIND_NUMBER:
    case KIND_HIDDEN_NUMBER:
        if (parse_number(text, 1000000000, field) < 0)
            break;
        return 0;
    case KIND_PORT:
        if (parse_number(text, 65535, field) < 0)
            break;
        options->has_port = true;
        return 0;
    case KIND_SECONDS:
    case KIND_INTERVAL:
        if (stint_duration_parse(text, &seconds, &err) < 0) {
            (void)dmtcp_usage(command, "%s: %s", name, err.text);
            return -1;
        }
        *(unsigned *)field = seconds;
        if (flag->kind == KIND_INTERVAL)
            options->has_interval = true;
        return 0;
    case KIND_IGNORED:
    case KIND_IGNORED_TEXT:
        if (options->quiet < 2 && (!text || is_on(text)))
            stint_info("%s has no effect here: %s", name, flag->help);
        return 0;
    case KIND_SILENT:
    case KIND_HELP:
    case KIND_VERSION:
    default:
        return 0;
    }
    (void)dmtcp_usage(command, "%s '%s' cannot be used", name, text ? text : "");
    return -1;
}

/* --- finding a flag ------------------------------------------------------------- */

static bool has_argument(const struct flag *flag)
{
    switch (flag->kind) {
    case KIND_TEXT:
    case KIND_NUMBER:
    case KIND_PORT:
    case KIND_SECONDS:
    case KIND_INTERVAL:
    case KIND_IGNORED_TEXT:
    case KIND_HIDDEN_NUMBER:
        return true;
    case KIND_BOOL:
    case KIND_COUNT:
    case KIND_IGNORED:
    case KIND_SILENT:
    case KIND_HELP:
    case KIND_VERSION:
    default:
        return false;
    }
}

/* Is `word` one of the flag's names? Sets *value where it has one attached:
 * --name=value, or -p7779. */
static bool matches(const struct flag *flag, const char *word, const char **value)
{
    const char *name = flag->names;

    while (*name) {
        size_t len = strcspn(name, " ");

        if (strncmp(word, name, len) == 0) {
            *value = NULL;
            if (!word[len])
                return true;
            if (name[1] == '-' && word[len] == '=' && has_argument(flag)) {
                *value = word + len + 1;
                return true;
            }
            if (len == 2 && isdigit((unsigned char)word[2]) && has_argument(flag)) {
                *value = word + 2;
                return true;
            }
        }
        name += len;
        name += strspn(name, " ");
    }
    return false;
}

static const struct flag *find_flag(enum dmtcp_command command, const char *word,
                                    const char **value)
{
    for (size_t i = 0; i < NFLAGS; i++)
        if ((flags[i].commands & command) && matches(&flags[i], word, value))
            return &flags[i];
    return NULL;
}

/* --- help ------------------------------------------------------------------------ */

static const struct {
    enum dmtcp_command command;
    const char *usage, *what, *more;
} texts[] = {
    {DMTCP_LAUNCH, "[options] [--] command [arguments...]",
     "Run a program that can be checkpointed and restarted.\n",
     "A script is run by its interpreter: dmtcp_launch bash script, or dmtcp_launch ./script\n"
     "where its first line names one. The exit status is the command's own; 1 when it was\n"
     "not started, 2 for wrong usage, 75 when it was ended after a checkpoint.\n"},
    {DMTCP_COORDINATOR, "[options] [port]",
     "Coordinate the checkpoints of the programs that dmtcp_launch and dmtcp_restart run.\n",
     "Without --daemon it is a console; type a key and return:\n"
     "  s status   l list of processes   c checkpoint   bc the same, and wait for it\n"
     "  kc checkpoint, then end the programs   i N interval in seconds   k end the programs\n"
     "  q end the programs and the coordinator   ? help\n"},
    {DMTCP_COMMAND, "[options] command...",
     "Send commands to a coordinator.\n",
     "commands (also without dashes):\n"
     "  -s, --status           what runs: NUM_PEERS=, RUNNING=yes|no, CKPT_INTERVAL=\n"
     "  -l, --list             the processes\n"
     "  -c, --checkpoint       ask for a checkpoint\n"
     "  -bc, --bcheckpoint     the same; returns when it is on disk and committed\n"
     "  -kc, --kcheckpoint     checkpoint, then end the programs\n"
     "  -i, --interval SEC     seconds between checkpoints (0: only on request)\n"
     "  -k, --kill             end the programs\n"
     "  -q, --quit             end the programs and the coordinator\n"
     "      --help, --version\n"
     "exit status: 0 done, 2 it was not, and the reason was said\n"},
    {DMTCP_RESTART, "[options] image...",
     "Restart the programs of one checkpoint: dmtcp_restart ckpt_*.dmtcp\n",
     "All the files of one checkpoint, and of no other, are given together; or the\n"
     "directory ckpt_*_files that holds the data of a computation, for its newest\n"
     "checkpoint. dmtcp_restart_script.sh, beside the files, does the same.\n"
     "The exit status is the program's own; 1 when it was not restarted, 2 for wrong\n"
     "usage, 75 when it was ended after a checkpoint.\n"},
};

static void help_flag(const struct flag *flag, FILE *out)
{
    char left[256] = "";
    const char *name = flag->names;
    bool is_first = true, ignored = flag->kind == KIND_IGNORED || flag->kind == KIND_IGNORED_TEXT;
    size_t used = 0;

    while (*name) {
        int len = (int)strcspn(name, " ");

        if (used + (size_t)len + 4 > 96 && used < sizeof(left)) {
            fprintf(out, "  %s,\n", left);
            used = 0;
            is_first = true;
        }
        used += (size_t)snprintf(left + used, sizeof(left) - used, "%s%.*s",
                                 is_first ? "" : ", ", len, name);
        is_first = false;
        name += len;
        name += strspn(name, " ");
    }
    if (flag->arg)
        snprintf(left + used, sizeof(left) - used, " %s", flag->arg);
    fprintf(out, "  %s\n      %s%s\n", left, ignored ? "accepted, without effect: " : "",
            flag->help);
    if (flag->env)
        fprintf(out, "      (environment: %s)\n", flag->env);
}

void dmtcp_options_help(enum dmtcp_command command, FILE *out)
{
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].command != command)
            continue;
        fprintf(out, "usage: %s %s\n%s\n", dmtcp_command_name(command), texts[i].usage,
                texts[i].what);
        fprintf(out, "%s\noptions:\n", texts[i].more);
    }
    for (size_t i = 0; i < NFLAGS; i++)
        if ((flags[i].commands & command) && flags[i].kind != KIND_HIDDEN_NUMBER)
            help_flag(&flags[i], out);
    fputs("\nThis is stint's command of that name, compatible with DMTCP's; images are not\n"
          "interchangeable. More: doc/from-dmtcp.md\n",
          out);
}

/* --- whole ------------------------------------------------------------------------ */

int dmtcp_options_init(enum dmtcp_command command, struct dmtcp_options *options)
{
    memset(options, 0, sizeof(*options));
    for (size_t i = 0; i < NFLAGS; i++) {
        const char *value = flags[i].env && (flags[i].commands & command)
                                ? getenv(flags[i].env)
                                : NULL;

        /* what a cluster's module sets for every job is not worth a remark */
        if (!value || !*value || flags[i].kind == KIND_IGNORED
            || flags[i].kind == KIND_IGNORED_TEXT)
            continue;
        if (set_value(command, &flags[i], flags[i].env, value, options) < 0)
            return -1;
    }
    /* 1 is what DMTCP does anyway: no remark about that */
    options->gzip = false;
    stint_log_init(dmtcp_command_name(command), (int)options->quiet);
    return 0;
}

static int version(enum dmtcp_command command)
{
    printf("%s (stint " STINT_VERSION ", compatible with DMTCP 3 to 5)\n",
           dmtcp_command_name(command));
    return STINT_EXIT_OK;
}

/* As dmtcp_options_flag(); *status is set where the command ends here. */
static int read_flag(enum dmtcp_command command, int argc, char **argv,
                     struct dmtcp_options *options, int *status)
{
    const char *value = NULL;
    const struct flag *flag = find_flag(command, argv[0], &value);
    int words = 1;

    if (!flag)
        return 0;
    if (flag->kind == KIND_HELP) {
        dmtcp_options_help(command, stdout);
        *status = STINT_EXIT_OK;
        return -1;
    }
    if (flag->kind == KIND_VERSION) {
        *status = version(command);
        return -1;
    }
    if (has_argument(flag) && !value) {
        if (argc < 2) {
            *status = dmtcp_usage(command, "%s needs a value", argv[0]);
            return -1;
        }
        value = argv[1];
        words = 2;
    }
    *status = STINT_EXIT_USAGE;
    if (set_value(command, flag, argv[0], value, options) < 0)
        return -1;
    if (flag->kind == KIND_COUNT)
        stint_log_init(dmtcp_command_name(command), (int)options->quiet);
    return words;
}

int dmtcp_options_flag(enum dmtcp_command command, int argc, char **argv,
                       struct dmtcp_options *options)
{
    int status;

    return read_flag(command, argc, argv, options, &status);
}

static int check(enum dmtcp_command command, const struct dmtcp_options *options)
{
    if (options->join + options->start_new + options->any > 1)
        return dmtcp_usage(command, "--join-coordinator, --new-coordinator and "
                                    "--any-coordinator exclude each other");
    if (options->join && options->has_interval && options->interval_s)
        return dmtcp_usage(command, "the interval belongs to the coordinator that is joined: "
                                    "dmtcp_command --interval sets it");
    if (options->gzip && !options->no_gzip && options->quiet < 2)
        stint_info("--gzip has no effect here: images are not compressed, as with --no-gzip");
    return -1;
}

int dmtcp_options_read(enum dmtcp_command command, int argc, char **argv,
                       struct dmtcp_options *options, int *rest)
{
    int left = 0, i = 0, status;
    bool is_from_environment;

    if (dmtcp_options_init(command, options) < 0)
        return STINT_EXIT_USAGE;
    /* an interval of the environment does not keep anybody from joining */
    is_from_environment = options->has_interval;
    options->has_interval = false;
    while (i < argc) {
        int words;

        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        if (argv[i][0] != '-' || !argv[i][1]) {
            if (command == DMTCP_LAUNCH)
                break;
            argv[left++] = argv[i++];
            continue;
        }
        words = read_flag(command, argc - i, argv + i, options, &status);
        if (words == 0)
            return dmtcp_usage(command, "there is no option '%s'", argv[i]);
        if (words < 0)
            return status;
        i += words;
    }
    while (i < argc)
        argv[left++] = argv[i++];
    *rest = left;
    status = check(command, options);
    if (is_from_environment && !options->join)
        options->has_interval = true;
    return status;
}
