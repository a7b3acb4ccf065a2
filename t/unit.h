/* What several unit tests need beside Check.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_T_UNIT_H
#define STINT_T_UNIT_H

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/err.h"

/* Run a shell command; the test fails when it does. */
static inline void STINT_PRINTF(1, 2) shell(const char *fmt, ...)
{
    char command[2048];
    va_list args;

    va_start(args, fmt);
    vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);
    ck_assert_int_eq(system(command), 0);
}

#endif
