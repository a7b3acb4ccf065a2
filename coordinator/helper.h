/* A short-lived child process whose output is collected, beside the event loop.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_HELPER_H
#define STINT_COORDINATOR_HELPER_H

#include "common/err.h"

struct event_base;
struct helper;

/* status: exit status, 128 + signal, or -ETIMEDOUT when it was killed for taking too
 * long output, errors: what it wrote to stdout and stderr, without the newline at the
 * end The helper is freed after the call. */
typedef void (*helper_done_f)(int status,
                              const char *output,
                              const char *errors,
                              void *arg);

/* Start argv[0] (a path) with standard input from /dev/null.
 *
 * helper: to be given to helper_cancel() unless `done` was called
 *
 * Returns 0, or -errno with *err set: `done` is not called then.
 */
int helper_start(struct event_base *base,
                 const char *const argv[],
                 int timeout_ms,
                 helper_done_f done,
                 void *arg,
                 struct helper **helper,
                 struct stint_err *err);

/* Kill and forget it; `done` is not called. Takes NULL. */
void helper_cancel(struct helper *helper);

#endif
