/* Errors that cross modules.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/err.h"

#include <stdio.h>
#include <string.h>

int stint_err_set(struct stint_err *err, int code, const char *fmt, ...)
{
    va_list args;
    size_t used, len = strlen(fmt);

    if (!err)
        return code;
    err->code = code;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    used = strlen(err->text);
    if (len > 0 && fmt[len - 1] == '.')
        err->text[used - 1] = '\0';
    else if (code < 0)
        snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerror(-code));
    return code;
}

int stint_err_prefix(struct stint_err *err, const char *fmt, ...)
{
    char old[sizeof(err->text)];
    va_list args;
    size_t used;

    if (!err)
        return -1;
    memcpy(old, err->text, sizeof(old));
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    used = strlen(err->text);
    snprintf(err->text + used, sizeof(err->text) - used, ": %s", old);
    return err->code;
}
