/* dmtcp_restart
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each program of the checkpoint gets an agent of its own. A single one is this process;
 * of several each is a child, and this process waits, passes signals on, and ends as the
 * first that did not end well.
 */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/wire.h"
#include "coordinator/agent.h"
#include "coordinator/agent_settings.h"
#include "coordinator/commands.h"
#include "coordinator/dmtcp/aside.h"
#include "coordinator/dmtcp/contact.h"
#include "coordinator/dmtcp/dmtcp.h"
#include "coordinator/dmtcp/images.h"
#include "coordinator/dmtcp/info.h"
#include "coordinator/dmtcp/names.h"
#include "coordinator/dmtcp/options.h"

struct restart {
    const struct dmtcp_options *options;
    struct dmtcp_contact contact;
    struct dmtcp_images images;
    char *ckptdir; /* for all later images; NULL = where they were */
    pid_t *children;
};

/* --- announcing ------------------------------------------------------------------- */

/* Where the later images of a program go: where they went before, if that can be. */
static const char *later_ckptdir(const struct restart *restart,
                                 const struct dmtcp_program *program)
{
    if (restart->ckptdir)
        return restart->ckptdir;
    if (program->ckptdir && access(program->ckptdir, W_OK | X_OK) == 0)
        return program->ckptdir;
    return NULL;
}

static json_t *given_groups(const struct restart *restart, bool with_ckptdir)
{
    json_t *list = json_array();

    for (size_t i = 0; i < restart->images.manifest.ngroups; i++) {
        const struct dmtcp_program *program = &restart->images.programs[i];
        const char *ckptdir = later_ckptdir(restart, program);
        STINT_AUTO_FREE char *beside = NULL;

        if (!program->is_given)
            continue;
        if (!with_ckptdir) {
            (void)json_array_append_new(list, json_string(program->group->name));
            continue;
        }
        if (!ckptdir) { /* beside the data, which has been moved */
            beside = strdup(restart->images.files);
            if (beside)
                *strrchr(beside, '/') = '\0';
            ckptdir = beside && *beside ? beside : "/";
        }
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:o}", "group", program->group->name,
                                              "ckptdir", stint_json_text(ckptdir)));
    }
    return list;
}

static json_t *all_groups(const struct restart *restart)
{
    json_t *list = json_array();

    for (size_t i = 0; i < restart->images.manifest.ngroups; i++)
        (void)json_array_append_new(
            list, json_string(restart->images.programs[i].group->name));
    return list;
}

static int announce(struct restart *restart, struct stint_err *err)
{
    const struct dmtcp_options *options = restart->options;
    json_t *request = json_pack(
        "{s:s, s:s, s:I, s:i, s:i, s:b, s:b, s:o, s:o}", "command", "dmtcp-restart", "computation",
        restart->images.computation, "generation",
        (json_int_t)restart->images.manifest.generation, "interval",
        options->has_interval ? (int)options->interval_s : -1, "stored_interval",
        (int)restart->images.interval_s, "unique", restart->images.unique,
        "open_files", restart->images.open_files, "groups",
        given_groups(restart, true), "all", all_groups(restart));

    if (!restart->ckptdir && access(restart->images.files, W_OK) == 0)
        (void)json_object_set_new(request, "files", stint_json_text(restart->images.files));
    return dmtcp_contact_tell(&restart->contact, request, NULL, err);
}

/* A part of the programs can be restarted only where others can come: under a coordinator
 * that was there before. */
static int check_part(const struct restart *restart, struct stint_err *err)
{
    const struct dmtcp_images *images = &restart->images;
    const struct dmtcp_program *missing = images->programs;

    if (images->ngiven == images->manifest.ngroups || !restart->contact.started)
        return 0;
    while (missing->is_given)
        missing++;
    return stint_err_set(err, -EINVAL,
                         "%zu of the %zu programs of checkpoint %llu are named; %s is not. All "
                         "of them: dmtcp_restart %s, or dmtcp_restart_script.sh. In several "
                         "terminals: start dmtcp_coordinator first.",
                         images->ngiven, images->manifest.ngroups,
                         (unsigned long long)images->manifest.generation,
                         missing->group->command[0] ? missing->group->command
                                                    : missing->group->name,
                         images->files);
}

/* --- running ------------------------------------------------------------------------ */

static int run_program(struct restart *restart, const struct dmtcp_program *program,
                       struct stint_err *err)
{
    const char *ckptdir = later_ckptdir(restart, program);
    STINT_AUTO_FREE char *info = NULL, *hint = NULL;
    char *shown[] = {program->group->command, NULL}; /* for lists and logs */
    struct stint_agent_config config = {
        .argv = shown,
        .dir = restart->contact.dir,
        .group = program->group->name,
        .restore = restart->images.manifest.generation,
        .keep_output = agent_settings_output_default(),
        .restore_dir = restart->images.files,
        .join = true,
    };
    int ret;

    if (!ckptdir)
        ckptdir = program->ckptdir ? program->ckptdir : "/";
    info = dmtcp_info_text(&restart->contact, program->group->name,
                           restart->images.computation, ckptdir);
    hint = dmtcp_info_hint(ckptdir);
    if (!info || !hint)
        return stint_err_set(err, -ENOMEM, "restart");
    config.info = info;
    config.restart_hint = hint;
    ret = stint_agent_run(&config, err);
    if (ret == STINT_AGENT_E_RESTORE)
        ret = stint_err_prefix(err, "checkpoint %llu cannot be restored",
                               (unsigned long long)restart->images.manifest.generation);
    return ret == STINT_AGENT_E_RESTORE || ret >= 256 ? -EIO : ret;
}

static int start_children(struct restart *restart, const sigset_t *original)
{
    size_t n = 0;

    for (size_t i = 0; i < restart->images.manifest.ngroups; i++) {
        const struct dmtcp_program *program = &restart->images.programs[i];
        pid_t pid;

        if (!program->is_given)
            continue;
        pid = fork();
        if (pid < 0)
            return -errno;
        if (pid == 0) {
            struct stint_err err = {0};
            int ret;

            (void)sigprocmask(SIG_SETMASK, original, NULL); /* cannot fail */
            (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* as if the signal had been passed on */
            ret = run_program(restart, program, &err);
            if (ret < 0)
                stint_error("%s: %s", program->group->command, err.text);
            _exit(ret < 0 ? 255 : ret);
        }
        restart->children[n++] = pid;
    }
    return 0;
}

static void kill_children(const struct restart *restart, int signo)
{
    for (size_t i = 0; i < restart->images.ngiven; i++)
        if (restart->children[i] > 0)
            (void)kill(restart->children[i], signo); /* one that has ended: reaped next */
}

/* Returns the status of a shell for it. */
static int status_of(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Reap; returns whether one could not be restored. */
static bool reap(struct restart *restart, size_t *left, int *first)
{
    bool has_failed = false;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < restart->images.ngiven; i++) {
            if (restart->children[i] != pid)
                continue;
            restart->children[i] = 0;
            --*left;
            if (*first == 0)
                *first = status_of(status);
            has_failed |= WIFEXITED(status) && WEXITSTATUS(status) == 255;
        }
    return has_failed;
}

static int run_all(struct restart *restart, struct stint_err *err)
{
    size_t left = restart->images.ngiven;
    sigset_t set, original;
    int first = 0;

    restart->children = calloc(left, sizeof(pid_t));
    if (!restart->children)
        return stint_err_set(err, -ENOMEM, "restart");
    sigemptyset(&set);
    for (size_t i = 0; i < 7; i++)
        sigaddset(&set, (const int[]){SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1,
                                      SIGUSR2}[i]);
    (void)sigprocmask(SIG_BLOCK, &set, &original); /* cannot fail */
    if (start_children(restart, &original) < 0) {
        kill_children(restart, SIGTERM);
        return stint_err_set(err, -EAGAIN, "start the programs");
    }
    while (left > 0) {
        siginfo_t info;

        if (sigwaitinfo(&set, &info) < 0)
            continue;
        /* what the terminal sends has reached all of them */
        if (info.si_signo != SIGCHLD && info.si_code != SI_KERNEL)
            kill_children(restart, info.si_signo);
        if (reap(restart, &left, &first)) {
            /* one alone is no computation: the others end as well */
            dmtcp_contact_leave(&restart->contact, json_array(), true);
            kill_children(restart, SIGTERM);
        }
    }
    if (first == 255)
        return stint_err_set(err, -EIO, "the computation was not restarted.");
    return first;
}

/* Wait as --debug-restart-pause says. */
static void pause_before(unsigned seconds)
{
    struct timespec left = {seconds, 0};

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

static int run(struct restart *restart, struct stint_err *err)
{
    const struct dmtcp_options *options = restart->options;
    int ret;

    if (options->ckptdir) {
        ret = dmtcp_make_directory(options->ckptdir, err);
        if (ret < 0)
            return ret;
        restart->ckptdir = realpath(options->ckptdir, NULL);
    }
    dmtcp_contact_init(&restart->contact, options);
    if (restart->images.ngiven < restart->images.manifest.ngroups && options->start_new) {
        restart->contact.started = true;
        return check_part(restart, err);
    }
    ret = dmtcp_contact_open(&restart->contact, options, err);
    if (ret == 0) {
        ret = check_part(restart, err);
        if (ret < 0)
            dmtcp_contact_leave(&restart->contact, json_array(), true);
    }
    if (ret == 0 && options->port_file)
        ret = dmtcp_contact_port_file(options->port_file, restart->contact.port, err);
    if (ret == 0) {
        ret = announce(restart, err);
        if (ret < 0 && restart->contact.started)
            dmtcp_contact_leave(&restart->contact, json_array(), true);
    }
    if (ret < 0)
        return ret;
    if (restart->images.open_files)
        (void)setenv("STINT_SAVE_OPEN_FILES", "all", 1); /* memory: up to 1 GiB then */
    pause_before(options->pause_s);
    if (restart->images.ngiven == 1) {
        const struct dmtcp_program *program = restart->images.programs;

        while (!program->is_given)
            program++;
        ret = run_program(restart, program, err);
    } else {
        ret = run_all(restart, err);
    }
    if (ret < 0)
        dmtcp_contact_leave(&restart->contact, given_groups(restart, false), true);
    return ret;
}

int dmtcp_cmd_restart(int argc, char **argv)
{
    struct dmtcp_options options;
    struct restart restart = {.options = &options};
    struct stint_err err = {0};
    int rest, ret;

    if (aside_is_dmtcp_loaded())
        return aside_become_dmtcp("dmtcp_restart", argv);
    ret = dmtcp_options_read(DMTCP_RESTART, argc - 1, argv + 1, &options, &rest);
    if (ret >= 0)
        return ret;
    if (rest == 0 && !options.restartdir)
        return dmtcp_usage(DMTCP_RESTART, "which images? dmtcp_restart ckpt_*.dmtcp");
    ret = dmtcp_images_find(rest, argv + 1, options.restartdir, &restart.images, &err);
    if (ret == 0)
        ret = run(&restart, &err);
    dmtcp_images_deinit(&restart.images);
    dmtcp_contact_deinit(&restart.contact);
    free(restart.ckptdir);
    free(restart.children);
    if (ret < 0)
        stint_error("%s", err.text);
    return ret < 0 ? STINT_EXIT_FAILED : ret;
}
