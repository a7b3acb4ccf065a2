/* The coordinator that a command works with.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/dmtcp/contact.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/wire.h"
#include "coordinator/dmtcp/dmtcp.h"
#include "coordinator/dmtcp/place.h"

#define ASK_MS 30000

void dmtcp_contact_init(struct dmtcp_contact *contact, const struct dmtcp_options *options)
{
    char host[HOST_NAME_MAX + 1] = "";

    memset(contact, 0, sizeof(*contact));
    snprintf(contact->host, sizeof(contact->host), "%s",
             options->host ? options->host : "localhost");
    contact->port = options->has_port ? options->port : DMTCP_PORT_DEFAULT;
    contact->logfile = options->logfile;
    if (!options->has_port && !options->host && !options->start_new) {
        unsigned port = dmtcp_place_job(host, sizeof(host));

        if (port) {
            contact->port = port;
            snprintf(contact->host, sizeof(contact->host), "%s", host);
        }
    }
}

void dmtcp_contact_deinit(struct dmtcp_contact *contact)
{
    free(contact->dir);
    contact->dir = NULL;
}

static int none_error(const struct dmtcp_contact *contact, struct stint_err *err)
{
    if (contact->port && dmtcp_place_is_taken(contact->host, contact->port))
        (void)stint_err_set(err, 0,
                            "what listens on port %u of %s is no coordinator of yours: "
                            "another user's, or another program.",
                            contact->port, contact->host);
    else
        (void)stint_err_set(err, 0, "no coordinator on %s, port %u.", contact->host,
                            contact->port);
    return DMTCP_CONTACT_E_NONE;
}

int dmtcp_contact_ask(struct dmtcp_contact *contact, json_t *request, int timeout_ms,
                      json_t **reply, struct stint_err *err)
{
    int ret;

    if (!contact->dir && contact->port)
        contact->dir = dmtcp_place_find(contact->host, contact->port);
    if (!contact->dir) {
        json_decref(request);
        return none_error(contact, err);
    }
    ret = stint_wire_call(contact->dir, request, timeout_ms, NULL, NULL, reply, err);
    return ret == STINT_WIRE_E_NONE ? none_error(contact, err) : ret;
}

int dmtcp_contact_tell(struct dmtcp_contact *contact, json_t *request, json_t **out,
                       struct stint_err *err)
{
    json_t *reply = NULL;
    int ret = dmtcp_contact_ask(contact, request, ASK_MS, &reply, err);

    if (ret != 0)
        return ret == DMTCP_CONTACT_E_NONE ? -ECONNREFUSED : ret;
    if (!stint_json_bool(reply, "ok", 0))
        ret = stint_err_set(err, -ECANCELED, "%s.",
                            stint_json_string(reply, "message", "the coordinator refuses"));
    if (ret == 0 && out)
        *out = reply;
    else
        json_decref(reply);
    return ret;
}

void dmtcp_contact_leave(struct dmtcp_contact *contact, json_t *groups, bool all)
{
    struct stint_err err;

    json_t *request = json_pack("{s:s, s:o, s:b}", "command", "dmtcp-left", "groups", groups,
                                "all", all);
    json_t *reply = NULL;

    /* One that has gone waits for nobody. */
    if (contact->dir
        && stint_wire_call(contact->dir, request, ASK_MS, NULL, NULL, &reply, &err) == 0)
        json_decref(reply);
}

int dmtcp_contact_port_file(const char *path, unsigned port, struct stint_err *err)
{
    STINT_AUTO_FREE char *temporary = NULL;
    STINT_AUTO_CLOSE int fd = -1;
    int ret = 0;

    if (asprintf(&temporary, "%s.%d.tmp", path, (int)getpid()) < 0)
        return stint_err_set(err, -ENOMEM, "write %s", path);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return stint_err_set(err, -errno, "write %s", path);
    if (dprintf(fd, "%u\n", port) < 0 || rename(temporary, path) < 0) {
        ret = stint_err_set(err, -errno, "write %s", path);
        (void)unlink(temporary);
    }
    return ret;
}

/* --- starting one -------------------------------------------------------------------- */

#define READY_FD 3

static void __attribute__((noreturn))
run_coordinator(const char *program, unsigned port, const char *logfile, int ready_fd)
{
    char number[16], ready[16];
    const char *argv[16];
    size_t n = 0;

    if (ready_fd == READY_FD ? fcntl(ready_fd, F_SETFD, 0) < 0
                             : dup2(ready_fd, READY_FD) < 0)
        _exit(127);
    (void)syscall(SYS_close_range, READY_FD + 1, UINT_MAX, 0); /* it closes them as well */
    snprintf(number, sizeof(number), "%u", port);
    snprintf(ready, sizeof(ready), "%d", READY_FD);
    argv[n++] = "dmtcp_coordinator";
    argv[n++] = "--daemon";
    argv[n++] = "--exit-on-last";
    argv[n++] = "--coord-port";
    argv[n++] = number;
    argv[n++] = "--ready-fd";
    argv[n++] = ready;
    if (logfile) {
        argv[n++] = "--coord-logfile";
        argv[n++] = logfile;
    }
    argv[n] = NULL;
    execv(program, (char *const *)argv);
    _exit(127);
}

/* What it wrote: "ready PORT DIR" or "error TEXT". */
static int read_answer(struct dmtcp_contact *contact, char *answer, struct stint_err *err)
{
    char *dir;

    answer[strcspn(answer, "\n")] = '\0';
    if (strncmp(answer, "error ", 6) == 0)
        return stint_err_set(err, -EIO, "%s.", answer + 6);
    if (strncmp(answer, "ready ", 6) != 0)
        return stint_err_set(err, -EIO, "the coordinator did not start.");
    contact->port = (unsigned)strtoul(answer + 6, &dir, 10);
    free(contact->dir);
    contact->dir = *dir == ' ' ? strdup(dir + 1) : NULL;
    if (!contact->dir)
        return stint_err_set(err, -ENOMEM, "start the coordinator");
    contact->started = true;
    dmtcp_place_host(contact->host, sizeof(contact->host));
    return 0;
}

static int start(struct dmtcp_contact *contact, unsigned port, struct stint_err *err)
{
    STINT_AUTO_FREE char *program = NULL;
    STINT_AUTO_CLOSE int read_fd = -1;
    char answer[PATH_MAX + 64];
    size_t len = 0;
    ssize_t n;
    int fds[2], ret;
    pid_t pid;

    ret = stint_path_self(&program, err);
    if (ret < 0)
        return ret;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return stint_err_set(err, -errno, "make a pipe");
    read_fd = fds[0];
    pid = fork();
    if (pid == 0)
        run_coordinator(program, port, contact->logfile, fds[1]);
    close(fds[1]);
    if (pid < 0)
        return stint_err_set(err, -errno, "fork");
    /* Ends at the line's end or with the coordinator, whose start has its own limits. */
    while (len < sizeof(answer) - 1) {
        n = read(read_fd, answer + len, sizeof(answer) - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
        if (memchr(answer, '\n', len))
            break;
    }
    answer[len] = '\0';
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ; /* the daemon's parent: it has gone when the answer is there */
    return read_answer(contact, answer, err);
}

/* Is one there? Returns 0, DMTCP_CONTACT_E_NONE or -errno with *err set. */
static int look(struct dmtcp_contact *contact, struct stint_err *err)
{
    json_t *reply = NULL;
    int ret;

    if (!contact->port)
        return stint_err_set(err, DMTCP_CONTACT_E_NONE, "port 0 is no coordinator's");
    ret = dmtcp_contact_ask(contact, json_pack("{s:s}", "command", "status"), ASK_MS, &reply,
                            err);
    json_decref(reply);
    return ret;
}

static bool is_local(const char *host)
{
    char own[HOST_NAME_MAX + 1];

    dmtcp_place_host(own, sizeof(own));
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0
           || strcasecmp(host, own) == 0 || strncmp(host, own, strcspn(own, ".")) == 0;
}

int dmtcp_contact_open(struct dmtcp_contact *contact, const struct dmtcp_options *options,
                       struct stint_err *err)
{
    struct stint_err why;
    int ret;

    if (options->start_new)
        return start(contact, options->has_port ? options->port : 0, err);
    ret = look(contact, &why);
    if (ret == 0)
        return 0;
    if (ret == DMTCP_CONTACT_E_NONE && !options->join && is_local(contact->host))
        return start(contact, contact->port, err);
    if (ret == DMTCP_CONTACT_E_NONE && !options->join)
        return stint_err_set(err, -ECONNREFUSED,
                             "%s. On another host none can be started: run dmtcp_coordinator "
                             "there.",
                             why.text);
    if (ret == DMTCP_CONTACT_E_NONE)
        return stint_err_set(err, -ECONNREFUSED, "%s.", why.text);
    *err = why;
    return ret;
}
