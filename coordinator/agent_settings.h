/* DIR/config.yaml: what `stint launch` was told, for `stint restart`.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_SETTINGS_H
#define STINT_COORDINATOR_AGENT_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "coordinator/agent_policy.h"
#include "coordinator/agent_saved.h"

struct agent_settings {
    uint32_t interval_s; /* 0: only on request */
    unsigned keep;
    bool ignore_unsupported;
    char sockets[AGENT_POLICY_MAX + 1]; /* agent_policy.h */
    char save_files[AGENT_SAVED_MAX + 1]; /* patterns: agent_saved.h */
};

/* The defaults; sockets is what $STINT_SOCKETS says. */
void agent_settings_init(struct agent_settings *settings);

/* Read those of a checkpoint directory; the defaults when it has none.
 * Returns 0 or -errno with *err set. */
int agent_settings_read(int dir_fd, struct agent_settings *settings, struct stint_err *err);

/* Write them (0600, by rename). Returns 0 or -errno with *err set. */
int agent_settings_write(int dir_fd, const struct agent_settings *settings,
                         struct stint_err *err);

/* As options of `stint coordinator`: a NULL-terminated array that lives in args. */
struct agent_settings_args {
    char interval[16], keep[16], unsupported[40];
    char sockets[AGENT_POLICY_MAX + 16];
    char save_files[AGENT_SAVED_MAX + 16];
    char *list[10];
};
char *const *agent_settings_args(const struct agent_settings *settings,
                                 struct agent_settings_args *args);

/* Take the value of one of the options that `launch` and `restart` share.
 * Returns 0, or -EINVAL with *err set. */
int agent_settings_interval(struct agent_settings *settings, const char *text,
                            struct stint_err *err);
int agent_settings_keep(struct agent_settings *settings, const char *text,
                        struct stint_err *err);
int agent_settings_unsupported(struct agent_settings *settings, const char *text,
                               struct stint_err *err);
int agent_settings_sockets(struct agent_settings *settings, const char *text,
                           struct stint_err *err);
/* Adds to what is there: patterns with colons between them, made absolute. */
int agent_settings_add_patterns(char *list, size_t size, const char *text,
                                struct stint_err *err);
int agent_settings_save_files(struct agent_settings *settings, const char *text,
                              struct stint_err *err);

/* Output files at a restart: "cut" or "keep".
 * Returns 0, or -EINVAL with *err set (keep is unchanged). */
int agent_settings_output(const char *text, bool *keep, struct stint_err *err);
/* What $STINT_OUTPUT says; anything but "keep" is "cut". */
bool agent_settings_output_default(void);

#endif
