/* The console of a coordinator in the foreground: a key and return.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_DMTCP_CONSOLE_H
#define STINT_DMTCP_CONSOLE_H

#include "common/err.h"

struct console;
struct event_base;

/* Read commands from standard input and answer on standard output, as a client of the
 * coordinator whose directory is `dir`. The end of the input ends only the console.
 * Returns 0 with *console set (console_stop()), or -errno with *err set. */
int console_start(struct event_base *base, const char *dir, unsigned port,
                  struct console **console, struct stint_err *err);

/* Takes NULL. */
void console_stop(struct console *console);

#endif
