/* The console of a coordinator in the foreground.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It is a client like dmtcp_command, on the coordinator's own event loop: each command
 * is a connection of its own, so that one that waits does not hold up the next.
 */
#include "coordinator/dmtcp/console.h"

#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/timefmt.h"
#include "common/wire.h"
#include "coordinator/dmtcp/place.h"
#include "coordinator/dmtcp/report.h"

#define BACKGROUND_S 1 /* how often a console in the background looks whether it still is */

struct ask {
    struct ask *next;
    struct console *console;
    struct stint_wire *wire;
    void (*print)(const struct console *console, const json_t *reply);
};

struct console {
    struct event_base *base;
    const char *dir;
    unsigned port;
    struct event *input, *later;
    char line[512];
    size_t len;
    struct ask *asks;
};

static const char help_text[] =
    "COMMANDS:\n"
    "  l : list the processes\n"
    "  s : status\n"
    "  c : checkpoint all processes\n"
    "  bc: the same, and say when it is done\n"
    "  kc: checkpoint, then end the processes\n"
    "  i : print the interval between checkpoints; i N sets it (seconds, 0: none)\n"
    "  k : end all processes\n"
    "  q : end all processes and quit\n"
    "  ? : show this\n";

/* --- questions ------------------------------------------------------------------ */

static void ask_free(struct ask *ask)
{
    struct ask **at = &ask->console->asks;

    while (*at != ask)
        at = &(*at)->next;
    *at = ask->next;
    stint_wire_free(ask->wire);
    free(ask);
}

static void on_message(struct stint_wire *wire, const char *t, json_t *message, void *arg)
{
    struct ask *ask = arg;

    if (strcmp(t, "reply") != 0)
        return;
    if (ask->print)
        ask->print(ask->console, message);
    fflush(stdout);
    ask_free(ask);
}

static void on_closed(struct stint_wire *wire, const char *reason, void *arg)
{
    ask_free(arg);
}

static void start_ask(struct console *console, json_t *request,
                      void (*print)(const struct console *, const json_t *))
{
    static const struct stint_wire_callbacks callbacks = {on_message, on_closed};
    struct ask *ask = calloc(1, sizeof(*ask));
    struct stint_err err;

    if (!ask || !request || json_object_set_new(request, "t", json_string("request")) < 0) {
        free(ask);
        json_decref(request);
        return;
    }
    ask->console = console;
    ask->print = print;
    if (stint_wire_connect(console->base, console->dir,
                           json_pack("{s:s, s:s, s:i}", "t", "hello", "role", "client",
                                     "version", STINT_WIRE_VERSION),
                           &callbacks, ask, &ask->wire, &err)
        < 0) {
        stint_warn("%s", err.text);
        free(ask);
        json_decref(request);
        return;
    }
    ask->next = console->asks;
    console->asks = ask;
    (void)stint_wire_send(ask->wire, request); /* on_closed() deals with it */
}

static void print_status(const struct console *console, const json_t *reply)
{
    char host[HOST_NAME_MAX + 1];

    dmtcp_place_host(host, sizeof(host));
    report_status(reply, host, console->port, stdout);
}

static void print_list(const struct console *console, const json_t *reply)
{
    report_list(reply, stdout);
}

static void print_interval(const struct console *console, const json_t *reply)
{
    long long interval = stint_json_int(reply, "interval_s", 0, INT32_MAX, 0);

    if (interval)
        printf("Current checkpoint interval: %lld s\n", interval);
    else
        puts("Current checkpoint interval: disabled (checkpoint manually instead)");
}

static void print_message(const struct console *console, const json_t *reply)
{
    puts(stint_json_string(reply, "message", ""));
}

/* --- commands ---------------------------------------------------------------------- */

static json_t *command(const char *name)
{
    return json_pack("{s:s}", "command", name);
}

static json_t *checkpoint(bool kill)
{
    return json_pack("{s:s, s:b, s:b}", "command", "checkpoint", "kill", kill, "wait", 1);
}

static void set_interval(struct console *console, const char *text)
{
    struct stint_err err;
    uint32_t seconds;

    if (!*text)
        start_ask(console, command("list"), print_interval);
    else if (stint_duration_parse(text, &seconds, &err) < 0)
        puts(err.text);
    else
        start_ask(console,
                  json_pack("{s:s, s:I}", "command", "interval", "seconds",
                            (json_int_t)seconds),
                  print_message);
}

static void run_line(struct console *console, char *line)
{
    size_t len;

    line += strspn(line, " \t\r-");
    len = strlen(line);
    while (len > 0 && isspace((unsigned char)line[len - 1]))
        line[--len] = '\0';
    if (!*line)
        return;
    if (strcmp(line, "s") == 0)
        start_ask(console, command("list"), print_status);
    else if (strcmp(line, "l") == 0 || strcmp(line, "t") == 0)
        start_ask(console, command("list"), print_list);
    else if (strcmp(line, "c") == 0 || strcmp(line, "bc") == 0)
        start_ask(console, checkpoint(false), print_message);
    else if (strcmp(line, "kc") == 0 || strcmp(line, "ck") == 0 || strcmp(line, "K") == 0
             || strcmp(line, "Kc") == 0)
        start_ask(console, checkpoint(true), print_message);
    else if (line[0] == 'i' && strspn(line + 1, " \t0123456789smhd:") == len - 1)
        set_interval(console, line + 1 + strspn(line + 1, " \t"));
    else if (strcmp(line, "k") == 0)
        start_ask(console, command("kill"), print_message);
    else if (strcmp(line, "q") == 0)
        start_ask(console, command("quit"), NULL);
    else if (strcmp(line, "?") == 0 || strcmp(line, "h") == 0)
        fputs(help_text, stdout);
    else
        printf("unhandled command: '%s' (? for help)\n", line);
    fflush(stdout);
}

/* --- input ----------------------------------------------------------------------------- */

static void take_lines(struct console *console)
{
    char *start = console->line, *end;

    while ((end = memchr(start, '\n', console->len - (size_t)(start - console->line)))) {
        *end = '\0';
        run_line(console, start);
        start = end + 1;
    }
    console->len -= (size_t)(start - console->line);
    memmove(console->line, start, console->len);
    if (console->len == sizeof(console->line) - 1)
        console->len = 0; /* no command is so long */
}

/* Returns false at the end of the input. */
static bool read_some(struct console *console)
{
    ssize_t n = read(STDIN_FILENO, console->line + console->len,
                     sizeof(console->line) - 1 - console->len);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false;
    console->len += (size_t)n;
    take_lines(console);
    return true;
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
    struct console *console = arg;
    const struct timeval later = {BACKGROUND_S, 0};

    /* The terminal would stop a reader that is not in front. */
    if (isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) != getpgrp()) {
        event_del(console->input);
        evtimer_add(console->later, &later);
    } else if (!read_some(console)) {
        event_del(console->input);
    }
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    struct console *console = arg;

    event_add(console->input, NULL); /* it could be added before */
}

static bool is_file(void)
{
    struct stat st;

    return fstat(STDIN_FILENO, &st) < 0 || S_ISREG(st.st_mode)
           || (S_ISCHR(st.st_mode) && !isatty(STDIN_FILENO));
}

int console_start(struct event_base *base, const char *dir, unsigned port,
                  struct console **out, struct stint_err *err)
{
    struct console *console = calloc(1, sizeof(*console));

    if (!console)
        return stint_err_set(err, -ENOMEM, "start the console");
    console->base = base;
    console->dir = dir;
    console->port = port;
    console->input = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, console);
    console->later = evtimer_new(base, on_later, console);
    if (!console->input || !console->later) {
        console_stop(console);
        return stint_err_set(err, -ENOMEM, "start the console");
    }
    /* epoll takes neither files nor /dev/null: all that they hold can be read at once */
    if (is_file())
        while (read_some(console))
            ;
    else if (event_add(console->input, NULL) < 0)
        stint_warn("standard input cannot be read");
    *out = console;
    return 0;
}

void console_stop(struct console *console)
{
    if (!console)
        return;
    while (console->asks)
        ask_free(console->asks);
    if (console->input)
        event_free(console->input);
    if (console->later)
        event_free(console->later);
    free(console);
}
