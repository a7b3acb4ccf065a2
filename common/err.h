/* Errors that cross modules: a negative errno and one line for a person.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COMMON_ERR_H
#define STINT_COMMON_ERR_H

#include <stdarg.h>

#define STINT_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

struct stint_err {
    int code; /* negative errno; 0 = none */
    char text[1024];
};

/* Record an error: the formatted text, followed by ": " and strerror(-code) when
 * code is a negative errno and the format does not end in '.'; write a full stop
 * where the text says it all. err may be NULL.
 *
 * Returns code, so that a caller can `return stint_err_set(err, -EIO, ...)`.
 */
int stint_err_set(struct stint_err *err, int code, const char *fmt, ...)
    STINT_PRINTF(3, 4);

/* Put "<formatted>: " before the text that is already there. Returns err->code. */
int stint_err_prefix(struct stint_err *err, const char *fmt, ...) STINT_PRINTF(2, 3);

#endif
