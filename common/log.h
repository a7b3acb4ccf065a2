/* Messages to people: one line each, "stint: component: text".
 * SPDX-License-Identifier: Apache-2.0
 *
 * Library code returns errors; the program that handles one logs it, once.
 */
#ifndef STINT_COMMON_LOG_H
#define STINT_COMMON_LOG_H

#include "common/err.h"

enum stint_log_level {
    STINT_LOG_ERROR, /* stderr and log file */
    STINT_LOG_WARN,  /* likewise */
    STINT_LOG_INFO,  /* stderr unless quiet, and log file */
    STINT_LOG_DEBUG, /* log file only, when STINT_DEBUG is set in the environment */
};

/* component: static string, or NULL for none. quiet: INFO does not go to stderr;
 * 2: nor do warnings. */
void stint_log_init(const char *component, int quiet);

/* Also append every line, with time, host and pid, to this file (mode 0600).
 * fd is dup'ed; -1 turns it off. Returns 0 or -errno. */
int stint_log_file(int fd);

void stint_log(enum stint_log_level level, const char *fmt, ...) STINT_PRINTF(2, 3);

#define stint_error(...) stint_log(STINT_LOG_ERROR, __VA_ARGS__)
#define stint_warn(...)  stint_log(STINT_LOG_WARN, __VA_ARGS__)
#define stint_info(...)  stint_log(STINT_LOG_INFO, __VA_ARGS__)
#define stint_debug(...) stint_log(STINT_LOG_DEBUG, __VA_ARGS__)

#endif
