/* dmtcp_launch
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/wire.h"
#include "coordinator/agent.h"
#include "coordinator/commands.h"
#include "coordinator/dmtcp/aside.h"
#include "coordinator/dmtcp/contact.h"
#include "coordinator/dmtcp/dmtcp.h"
#include "coordinator/dmtcp/info.h"
#include "coordinator/dmtcp/names.h"
#include "coordinator/dmtcp/options.h"

/* Libraries of --with-plugin are preloaded as they are. */
static void preload_plugins(const char *list)
{
    const char *preloaded = getenv("LD_PRELOAD");
    STINT_AUTO_FREE char *value = NULL;

    if (!list)
        return;
    stint_info("--with-plugin: the libraries are preloaded; DMTCP's plugin events do not "
               "exist here");
    if (asprintf(&value, "%s%s%s", list, preloaded && *preloaded ? ":" : "",
                 preloaded ? preloaded : "")
        >= 0)
        (void)setenv("LD_PRELOAD", value, 1); /* memory: without them then */
}

/* What the agent of this process heeds; the later ones are told by the images. */
static void save_open_files(const struct dmtcp_options *options)
{
    if (options->open_files)
        (void)setenv("STINT_SAVE_OPEN_FILES", "all", 1); /* memory: up to 1 GiB then */
}

/* *ckptdir: where this program's images go, freed by the caller. */
static int announce(struct dmtcp_contact *contact, const struct dmtcp_options *options,
                    const char *group, char **ckptdir, char computation[], struct stint_err *err)
{
    STINT_AUTO_FREE char *given = NULL, *workdir = getcwd(NULL, 0);
    json_t *request, *reply = NULL;
    int ret;

    if (options->ckptdir) {
        ret = dmtcp_make_directory(options->ckptdir, err);
        if (ret < 0)
            return ret;
        given = realpath(options->ckptdir, NULL);
    }
    request = json_pack("{s:s, s:s, s:o, s:i, s:b, s:b}", "command", "dmtcp-launch", "group",
                        group, "workdir", stint_json_text(workdir ? workdir : "/"), "interval",
                        options->has_interval ? (int)options->interval_s : -1, "unique",
                        options->unique_names, "open_files", options->open_files);
    if (given)
        (void)json_object_set_new(request, "ckptdir", stint_json_text(given));
    ret = dmtcp_contact_tell(contact, request, &reply, err);
    if (ret < 0)
        return ret;
    *ckptdir = strdup(stint_json_string(reply, "ckptdir", "/"));
    snprintf(computation, DMTCP_COMPUTATION_DIGITS + 1, "%s",
             stint_json_string(reply, "computation", ""));
    json_decref(reply);
    return *ckptdir ? 0 : stint_err_set(err, -ENOMEM, "start a program");
}

static int run(struct dmtcp_contact *contact, const struct dmtcp_options *options,
               const char *group, char **argv, struct stint_err *err)
{
    STINT_AUTO_FREE char *ckptdir = NULL, *info = NULL, *hint = NULL;
    char computation[DMTCP_COMPUTATION_DIGITS + 1], host_var[HOST_NAME_MAX + 32],
        port_var[32];
    char *env[] = {host_var, port_var, NULL};
    struct stint_agent_config config = {
        .dir = contact->dir,
        .group = group,
        .argv = argv,
        .join = true,
        .env = env,
    };
    int ret = announce(contact, options, group, &ckptdir, computation, err);

    if (ret < 0)
        return ret;
    if (options->port_file)
        ret = dmtcp_contact_port_file(options->port_file, contact->port, err);
    if (ret < 0)
        return ret;
    info = dmtcp_info_text(contact, group, computation, ckptdir);
    hint = dmtcp_info_hint(ckptdir);
    if (!info || !hint)
        return stint_err_set(err, -ENOMEM, "start a program");
    dmtcp_info_env(contact, host_var, sizeof(host_var), port_var, sizeof(port_var));
    config.info = info;
    config.restart_hint = hint;
    preload_plugins(options->plugins);
    save_open_files(options);
    return stint_agent_run(&config, err);
}

int dmtcp_cmd_launch(int argc, char **argv)
{
    struct dmtcp_options options;
    struct dmtcp_contact contact;
    struct stint_err err = {0};
    char group[DMTCP_GROUP_DIGITS + 1];
    int rest, ret;

    if (aside_is_dmtcp_loaded())
        return aside_become_dmtcp("dmtcp_launch", argv);
    ret = dmtcp_options_read(DMTCP_LAUNCH, argc - 1, argv + 1, &options, &rest);
    if (ret >= 0)
        return ret;
    if (rest == 0)
        return dmtcp_usage(DMTCP_LAUNCH, "the command to run is missing");
    argv[rest + 1] = NULL;
    if (aside_is_under_stint()) {
        stint_info("this runs under stint already: %s becomes part of it", argv[1]);
        execvp(argv[1], argv + 1);
        stint_error("%s: %m", argv[1]);
        return errno == ENOENT ? 127 : 126;
    }
    dmtcp_random_hex(group, DMTCP_GROUP_DIGITS);
    dmtcp_contact_init(&contact, &options);
    ret = dmtcp_contact_open(&contact, &options, &err);
    if (ret == 0) {
        ret = run(&contact, &options, group, argv + 1, &err);
        /* One that did not start, or has ended before its agent had connected, is not
         * waited for. */
        dmtcp_contact_leave(&contact, json_pack("[s]", group), false);
    }
    dmtcp_contact_deinit(&contact);
    if ((ret < 0 || ret == 126 || ret == 127) && err.text[0])
        stint_error("%s", err.text);
    return ret < 0 ? STINT_EXIT_FAILED : ret;
}
