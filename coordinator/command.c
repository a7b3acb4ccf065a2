/* What the commands share.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/commands.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/jobdir.h"
#include "common/paths.h"
#include "coordinator/helper.h"

#define ASK_TIMEOUT_MS 35000 /* the helper gives up by itself after 30 s */

int command_options(const struct command_line *line, int argc, char **argv, void *arg,
                    struct stint_err *err)
{
    int option;

    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, line->shorts, line->options, NULL)) != -1) {
        if (option == 'h') {
            fputs(line->help, stdout);
            return STINT_EXIT_OK;
        }
        if (option == ':')
            return command_usage(line->name, "%s wants a value", argv[optind - 1]);
        if (option == '?')
            return command_usage(line->name, "there is no option %s", argv[optind - 1]);
        if (line->take(option, optarg, arg, err) < 0)
            return command_usage(line->name, "%s", err->text);
    }
    return -1;
}

struct answer {
    struct event_base *base;
    int status;
    char *path;
    char text[512];
};

/* What libslurm says comes in several lines, the last of which says why. */
static void on_answer(int status, const char *output, const char *errors, void *arg)
{
    struct answer *answer = arg;
    const char *newline = strrchr(errors, '\n');
    const char *line = newline ? newline + 1 : errors;

    answer->status = status;
    answer->path = strdup(output);
    snprintf(answer->text, sizeof(answer->text), "%s",
             strncmp(line, "stint: slurm: ", 14) == 0 ? line + 14 : line);
}

/* Ask stint-slurm for the directory of a job. */
static int ask_slurm(const char *id, char **path, struct stint_err *err)
{
    STINT_AUTO_FREE char *program = NULL;
    struct answer answer = {.status = -EIO};
    struct helper *helper;
    int ret;

    ret = stint_path_find("stint-slurm", &program, err);
    if (ret < 0) { /* built without Slurm */
        *path = stint_jobdir_find(NULL, id);
        return *path ? 0 : ret;
    }
    answer.base = event_base_new();
    if (!answer.base)
        return stint_err_set(err, -ENOMEM, "ask Slurm");
    ret = helper_start(answer.base, (const char *const[]){program, "dir", id, NULL},
                       ASK_TIMEOUT_MS, on_answer, &answer, &helper, err);
    if (ret == 0)
        (void)event_base_dispatch(answer.base); /* until the helper has ended */
    event_base_free(answer.base);
    if (ret < 0)
        return ret;
    if (answer.status == 0 && answer.path && answer.path[0] == '/') {
        *path = answer.path;
        return 0;
    }
    free(answer.path);
    /* where Slurm cannot be asked, what the job has registered may do */
    *path = stint_jobdir_find(NULL, id);
    if (*path)
        return 0;
    return stint_err_set(err, -ENOENT, "there is no directory %s here; %s.", id,
                         answer.text[0] ? answer.text : "Slurm does not answer");
}

int command_dir(const char *argument, char **path, struct stint_err *err)
{
    struct stat st;

    if (stat(argument, &st) < 0 && errno == ENOENT && stint_jobdir_is_id(argument))
        return ask_slurm(argument, path, err);
    *path = strdup(argument);
    return *path ? 0 : stint_err_set(err, -ENOMEM, "%s", argument);
}

int command_open(const char *argument, int *fd, char **path, struct stint_err *err)
{
    STINT_AUTO_FREE char *named = NULL;
    int ret = command_dir(argument, &named, err);

    if (ret < 0)
        return ret;
    if (stint_dir_is_foreign(named))
        return stint_err_set(err, -ENOENT, "%s is no checkpoint directory.", named);
    return stint_dir_open(named, fd, path, err);
}

int command_generation_is_gone(int dir_fd, uint64_t generation)
{
    char name[STINT_GENERATION_NAME_MAX];

    return faccessat(dir_fd, stint_generation_name(generation, 0, name), F_OK, 0) < 0
           && errno == ENOENT;
}

int command_generation(const char *text, uint64_t *generation, struct stint_err *err)
{
    const char *digits = strncmp(text, "gen-", 4) == 0 ? text + 4 : text;
    size_t len = strlen(digits);

    if (len == 0 || len > 15 || strspn(digits, "0123456789") != len
        || strspn(digits, "0") == len)
        return stint_err_set(err, -EINVAL, "'%.64s' is no number of a generation.",
                             text);
    *generation = strtoull(digits, NULL, 10);
    return 0;
}
