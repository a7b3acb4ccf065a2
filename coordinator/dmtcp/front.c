/* The coordinator as DMTCP's users know it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/dmtcp/front.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/log.h"
#include "common/manifest.h"
#include "common/wire.h"
#include "coordinator/coordinator_private.h"
#include "coordinator/dmtcp/console.h"
#include "coordinator/dmtcp/names.h"
#include "coordinator/dmtcp/place.h"
#include "coordinator/generation.h"

#define LAUNCH_MS 30000 /* between a launch that was announced and its connection */
#define KEEP_ALL  1000000

/* A program: announced, connected, or gone. */
struct member {
    struct member *next;
    char group[64];
    char *ckptdir;
    bool is_expected; /* announced, not there yet */
    bool is_restored;
    uint64_t since_ms;
};

struct front {
    const struct front_settings *settings;
    struct coordinator_config config;
    struct console *console;
    char computation[DMTCP_COMPUTATION_DIGITS + 1];
    uint64_t restored; /* generation that the computation goes on from; 0 = none */
    char *files;       /* where its generations are; NULL = not decided */
    int files_lock;
    bool unique;
    bool open_files; /* --ckpt-open-files of any launch */
    struct member *members;
    uint64_t started_ms, empty_ms; /* since when nothing runs; 0 = something does */
};

/* --- members ---------------------------------------------------------------- */

static struct member *find_member(const struct front *front, const char *group)
{
    for (struct member *m = front->members; m; m = m->next)
        if (strcmp(m->group, group) == 0)
            return m;
    return NULL;
}

static void remove_members(struct front *front)
{
    while (front->members) {
        struct member *m = front->members;

        front->members = m->next;
        free(m->ckptdir);
        free(m);
    }
}

/* At the end of the list: the first one's directory is the computation's. */
static struct member *add_member(struct front *front, const char *group, const char *ckptdir)
{
    struct member *m = find_member(front, group), **at = &front->members;

    if (!m) {
        m = calloc(1, sizeof(*m));
        if (!m)
            return NULL;
        snprintf(m->group, sizeof(m->group), "%s", group);
        while (*at)
            at = &(*at)->next;
        *at = m;
    }
    if (ckptdir && *ckptdir == '/') {
        free(m->ckptdir);
        m->ckptdir = strdup(ckptdir);
    }
    m->since_ms = coordinator_now_ms();
    return m;
}

static unsigned count_expected(const struct front *front)
{
    unsigned n = 0;

    for (const struct member *m = front->members; m; m = m->next)
        n += m->is_expected;
    return n;
}

static bool is_connected(const struct coordinator *c, const char *group)
{
    FOR_EACH_AGENT(c, peer)
        if (strcmp(stint_json_string(peer->hello, "group", ""), group) == 0)
            return true;
    return false;
}

static const char *member_ckptdir(const char *group, void *arg)
{
    const struct member *m = find_member(arg, group);

    return m ? m->ckptdir : NULL;
}

static const char *default_ckptdir(const struct front *front)
{
    if (front->settings->ckptdir)
        return front->settings->ckptdir;
    for (const struct member *m = front->members; m; m = m->next)
        if (m->ckptdir)
            return m->ckptdir;
    return front->settings->workdir ? front->settings->workdir : "/";
}

/* --- a computation ------------------------------------------------------------ */

static void release_files(struct front *front)
{
    stint_cleanup_close(&front->files_lock);
    front->files_lock = -1;
    free(front->files);
    front->files = NULL;
}

/* Nothing runs any more: what comes next is another computation. */
static void reset(struct front *front)
{
    release_files(front);
    remove_members(front);
    dmtcp_random_hex(front->computation, DMTCP_COMPUTATION_DIGITS);
    front->restored = 0;
    front->unique = front->settings->unique;
    front->config.keep = front->unique ? KEEP_ALL : STINT_KEEP_DEFAULT;
}

static bool has_lock(const struct front *front)
{
    struct stat st;

    return front->files_lock >= 0 && fstat(front->files_lock, &st) == 0 && st.st_nlink > 0;
}

/* Make and lock the directory of the generations. It may have been removed since the last
 * time; and one that another coordinator writes to, since a copy of the computation runs
 * there, is left to it: this one gets a name of its own. */
static int take_files(struct front *front, struct stint_err *err)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        STINT_AUTO_CLOSE int fd = -1;
        int ret;

        if (!front->files)
            front->files = dmtcp_files_path(default_ckptdir(front), front->computation);
        if (!front->files)
            return stint_err_set(err, -ENOMEM, "make the directory of the generations");
        ret = stint_dir_create(front->files, &fd, NULL, err);
        if (ret < 0 || has_lock(front))
            return ret;
        stint_cleanup_close(&front->files_lock);
        front->files_lock = -1;
        ret = stint_dir_lock(fd, &front->files_lock, err);
        if (ret != STINT_DIR_E_BUSY)
            return ret;
        release_files(front);
        dmtcp_random_hex(front->computation, DMTCP_COMPUTATION_DIGITS);
    }
    return stint_err_set(err, -EBUSY, "lock the directory of the generations");
}

static int prepare(struct coordinator *c, struct stint_err *err, void *arg)
{
    struct front *front = arg;
    unsigned missing = count_expected(front);
    int ret = 0;

    if (missing) {
        (void)stint_err_set(err, 0, "%u of the programs are not there yet.", missing);
        return 75;
    }
    FOR_EACH_AGENT(c, peer) {
        const char *dir =
            member_ckptdir(stint_json_string(peer->hello, "group", ""), front);

        if (ret == 0)
            ret = dmtcp_make_directory(dir ? dir : default_ckptdir(front), err);
    }
    if (ret == 0)
        ret = take_files(front, err);
    if (ret == 0)
        ret = coordinator_set_generations(c, front->files, err);
    return ret < 0 ? 1 : 0;
}

static const char *find_program(const char *group, int64_t pid, const struct generation *g)
{
    for (size_t i = 0; i < g->nparts; i++) {
        const json_t *files = json_object_get(g->parts[i].captured, "files");
        size_t n;
        json_t *file;

        if (strcmp(stint_json_string(g->parts[i].hello, "group", ""), group) != 0)
            continue;
        json_array_foreach(files, n, file) {
            if (stint_json_int(file, "pid", 0, INT32_MAX, 0) == pid)
                return stint_json_string(file, "program", NULL);
        }
    }
    return NULL;
}

struct committing {
    const struct front *front;
    const struct generation *generation;
};

static const char *committing_ckptdir(const char *group, void *arg)
{
    const struct committing *committing = arg;

    return member_ckptdir(group, (void *)committing->front);
}

static const char *committing_program(const char *group, int64_t pid, void *arg)
{
    const struct committing *committing = arg;

    return find_program(group, pid, committing->generation);
}

static void committed(struct coordinator *c, const struct stint_manifest *m, void *arg)
{
    struct front *front = arg;
    struct committing committing = {front, c->generation};
    struct dmtcp_names_order order = {
        .computation = front->computation,
        .files = front->files,
        .manifest = m,
        .interval_s = c->interval_s,
        .unique = front->unique,
        .open_files = front->open_files,
        .default_dir = default_ckptdir(front),
        .coordinator_dir =
            front->settings->ckptdir ? front->settings->ckptdir : front->settings->workdir,
        .ckptdir = committing_ckptdir,
        .program = committing_program,
        .arg = &committing,
    };
    struct stint_err err;

    if (dmtcp_names_write(&order, &err) < 0)
        stint_warn("generation %llu is in %s, but: %s", (unsigned long long)m->generation,
                   front->files, err.text);
}

/* --- requests -------------------------------------------------------------------- */

static json_t *refuse(const char *fmt, ...) STINT_PRINTF(1, 2);

static json_t *refuse(const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return json_pack("{s:b, s:i, s:o}", "ok", 0, "code", 1, "message",
                     stint_json_text(text));
}

static json_t *accept_with(const struct front *front, const char *ckptdir)
{
    return json_pack("{s:b, s:i, s:s, s:s, s:o}", "ok", 1, "code", 0, "message", "",
                     "computation", front->computation, "ckptdir",
                     stint_json_text(ckptdir ? ckptdir : default_ckptdir(front)));
}

static void take_settings(struct front *front, struct coordinator *c, const json_t *message)
{
    int64_t interval = stint_json_int(message, "interval", 0, INT32_MAX, -1);

    int64_t stored = stint_json_int(message, "stored_interval", 0, INT32_MAX, 0);

    if (interval >= 0)
        coordinator_set_interval(c, (uint32_t)interval);
    else if (stored > 0 && c->interval_s == 0)
        coordinator_set_interval(c, (uint32_t)stored);
    if (stint_json_bool(message, "open_files", 0))
        front->open_files = true;
    if (stint_json_bool(message, "unique", 0)) {
        front->unique = true;
        front->config.keep = KEEP_ALL;
    }
}

static json_t *launch(struct front *front, struct coordinator *c, const json_t *message)
{
    const char *group = stint_json_string(message, "group", ""), *ckptdir;
    struct member *m;

    if (c->state == STATE_ENDING || c->state == STATE_OVER)
        return refuse("the coordinator is ending its programs: try again");
    if (!*group || is_connected(c, group))
        return refuse("a program of that name is there already");
    ckptdir = stint_json_string(message, "ckptdir", front->settings->ckptdir);
    if (!ckptdir)
        ckptdir = stint_json_string(message, "workdir", NULL);
    m = add_member(front, group, ckptdir);
    if (!m)
        return refuse("out of memory");
    m->is_expected = true;
    m->is_restored = false;
    front->empty_ms = 0;
    take_settings(front, c, message);
    return accept_with(front, ckptdir);
}

/* Why the programs of a generation cannot come now; NULL: they can. */
static json_t *check_restart(const struct front *front, const struct coordinator *c,
                             const json_t *message, const char *computation,
                             uint64_t generation)
{
    const json_t *groups = json_object_get(message, "groups");
    bool is_same = strcmp(computation, front->computation) == 0;
    size_t i;
    json_t *item;

    if (c->state == STATE_ENDING || c->state == STATE_OVER)
        return refuse("the coordinator is ending its programs: try again");
    json_array_foreach(groups, i, item) {
        if (is_connected(c, stint_json_string(item, "group", "")))
            return refuse("the programs of these images still run under this coordinator: "
                          "end them first (dmtcp_command --kill), or run a copy beside them "
                          "(--new-coordinator)");
    }
    if (coordinator_count_agents(c) == 0 && count_expected(front) == 0)
        return NULL;
    if (!is_same)
        return refuse("this coordinator has another computation already: take another one "
                      "(--new-coordinator, or --coord-port)");
    if (front->restored != generation)
        return refuse("the other programs of the computation go on from generation %llu, "
                      "not from %llu",
                      (unsigned long long)front->restored, (unsigned long long)generation);
    return NULL;
}

static json_t *restart(struct front *front, struct coordinator *c, const json_t *message)
{
    const char *computation = stint_json_string(message, "computation", "");
    uint64_t generation =
        (uint64_t)stint_json_int(message, "generation", 1, INT64_MAX, 0);
    json_t *refused = check_restart(front, c, message, computation, generation), *item;
    size_t i;

    if (refused)
        return refused;
    if (strlen(computation) != DMTCP_COMPUTATION_DIGITS || !generation)
        return refuse("that is no computation");
    if (coordinator_count_agents(c) == 0 && count_expected(front) == 0) {
        const char *files = stint_json_string(message, "files", "");

        reset(front);
        memcpy(front->computation, computation, sizeof(front->computation));
        front->restored = generation;
        /* where they were, whichever of the programs comes first */
        front->files = *files == '/' ? strdup(files) : NULL;
    }
    json_array_foreach(json_object_get(message, "groups"), i, item) {
        struct member *m = add_member(front, stint_json_string(item, "group", ""),
                                      stint_json_string(item, "ckptdir", NULL));

        if (m)
            m->is_expected = m->is_restored = true;
    }
    json_array_foreach(json_object_get(message, "all"), i, item) {
        const char *group = json_string_value(item);
        struct member *m;

        if (!group || is_connected(c, group) || find_member(front, group))
            continue;
        m = add_member(front, group, NULL);
        if (m)
            m->is_expected = m->is_restored = true;
    }
    front->empty_ms = 0;
    take_settings(front, c, message);
    return accept_with(front, NULL);
}

static void is_it_over(struct front *front, struct coordinator *c)
{
    if (coordinator_count_agents(c) > 0 || count_expected(front) > 0)
        return;
    reset(front);
    front->empty_ms = coordinator_now_ms();
    if (front->settings->exit_on_last)
        coordinator_quit(c, "the last program has ended");
}

static json_t *left(struct front *front, struct coordinator *c, const json_t *message)
{
    size_t i;
    json_t *item;

    json_array_foreach(json_object_get(message, "groups"), i, item) {
        struct member *m = find_member(front, json_string_value(item) ? json_string_value(item)
                                                                      : "");

        if (m)
            m->is_expected = false;
    }
    /* A restart that has failed in part will not be completed: nobody waits for the rest. */
    if (stint_json_bool(message, "all", 0))
        for (struct member *m = front->members; m; m = m->next)
            m->is_expected = false;
    is_it_over(front, c);
    return accept_with(front, NULL);
}

static int request(struct coordinator *c, const char *command, const json_t *message,
                   json_t **reply, void *arg)
{
    struct front *front = arg;

    if (strcmp(command, "dmtcp-launch") == 0)
        *reply = launch(front, c, message);
    else if (strcmp(command, "dmtcp-restart") == 0)
        *reply = restart(front, c, message);
    else if (strcmp(command, "dmtcp-left") == 0)
        *reply = left(front, c, message);
    else
        return 0;
    return 1;
}

/* --- the rest -------------------------------------------------------------------- */

static void describe(struct coordinator *c, json_t *reply, void *arg)
{
    struct front *front = arg;
    char host[HOST_NAME_MAX + 1];

    dmtcp_place_host(host, sizeof(host));
    /* what is missing is not shown */
    (void)json_object_set_new(reply, "computation", json_string(front->computation));
    (void)json_object_set_new(reply, "expected",
                              json_integer((json_int_t)count_expected(front)));
    (void)json_object_set_new(reply, "host", json_string(host));
    (void)json_object_set_new(reply, "port", json_integer(front->settings->port));
    (void)json_object_set_new(reply, "ckptdir", stint_json_text(default_ckptdir(front)));
    (void)json_object_set_new(reply, "generation",
                              json_integer((json_int_t)c->history.generation));
}

/* An agent that nobody has announced had another coordinator, which was killed: its
 * computation goes on here. */
static void take_over(struct front *front, struct coordinator *c, const json_t *hello)
{
    json_t *info = json_loads(stint_json_string(hello, "info", "{}"), 0, NULL);
    const char *computation = stint_json_string(info, "computation", "");

    if (!front->members && strlen(computation) == DMTCP_COMPUTATION_DIGITS)
        memcpy(front->computation, computation, sizeof(front->computation));
    (void)add_member(front, stint_json_string(hello, "group", ""),
                     stint_json_string(info, "ckptdir", NULL)); /* else: the default */
    json_decref(info);
}

static void joined(struct coordinator *c, const json_t *hello, void *arg)
{
    struct front *front = arg;
    struct member *m = find_member(front, stint_json_string(hello, "group", ""));

    if (m)
        m->is_expected = false;
    else
        take_over(front, c, hello);
    front->empty_ms = 0;
}

static void emptied(struct coordinator *c, void *arg)
{
    is_it_over(arg, c);
}

static void tick(struct coordinator *c, uint64_t now_ms, void *arg)
{
    struct front *front = arg;
    const struct front_settings *s = front->settings;
    unsigned stale_s = s->stale_timeout_s ? s->stale_timeout_s : FRONT_STALE_S;
    bool was_dropped = false;

    for (struct member *m = front->members; m; m = m->next)
        if (m->is_expected && !m->is_restored && now_ms - m->since_ms > LAUNCH_MS) {
            m->is_expected = false;
            was_dropped = true;
        }
    if (was_dropped)
        is_it_over(front, c);
    if (s->timeout_s && now_ms - front->started_ms > (uint64_t)s->timeout_s * 1000) {
        stint_info("%u s are over", s->timeout_s);
        coordinator_quit(c, "the coordinator's time is over");
    } else if (front->empty_ms && now_ms - front->empty_ms > (uint64_t)stale_s * 1000) {
        stint_info("no program has come within %u s", stale_s);
        coordinator_quit(c, "nothing runs");
    }
}

static void started(struct coordinator *c, struct event_base *base, void *arg)
{
    struct front *front = arg;
    struct stint_err err;

    if (front->settings->console
        && console_start(base, front->settings->dir, front->settings->port, &front->console,
                         &err)
               < 0)
        stint_warn("there is no console: %s", err.text);
}

static void stopping(struct coordinator *c, void *arg)
{
    struct front *front = arg;

    console_stop(front->console);
    front->console = NULL;
}

static void ready(void *arg)
{
    const struct front *front = arg;

    if (front->settings->ready)
        front->settings->ready(front->settings->arg);
}

int front_run(const struct front_settings *settings, struct stint_err *err)
{
    static const struct coordinator_hooks hooks = {
        .started = started,
        .prepare = prepare,
        .committed = committed,
        .request = request,
        .describe = describe,
        .joined = joined,
        .emptied = emptied,
        .stopping = stopping,
        .tick = tick,
    };
    struct front front = {
        .settings = settings,
        .files_lock = -1,
        .config = {
            .dir = settings->dir,
            .interval_s = settings->interval_s,
            .listen_fd = settings->listen_fd,
            .stays = 1,
            .quits_on_signal = 1,
            .kill_after = settings->kill_after_ckpt,
            .hooks = &hooks,
            .ready = ready,
        },
    };
    int ret;

    reset(&front);
    front.config.arg = &front;
    front.started_ms = front.empty_ms = coordinator_now_ms();
    ret = coordinator_run(&front.config, err);
    release_files(&front);
    remove_members(&front);
    return ret;
}
