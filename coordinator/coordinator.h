/* The coordinator: one per checkpoint directory; agents and clients connect to it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One thread, one event loop, one table of states (coordinator_states.h).
 */
#ifndef STINT_COORDINATOR_COORDINATOR_H
#define STINT_COORDINATOR_COORDINATOR_H

#include <jansson.h>
#include <stdint.h>

#include "common/err.h"

struct event_base;

struct coordinator;
struct stint_manifest;

/* What a front end adds to the coordinator (coordinator/dmtcp). Any may be NULL. All
 * are called on the coordinator's loop; arg is that of the configuration. */
struct coordinator_hooks {
    /* Connections are taken, once. base: the coordinator's event loop. */
    void (*started)(struct coordinator *c, struct event_base *base, void *arg);
    /* Before each generation; may call coordinator_set_generations(). Returns 0; 1 or
     * 75 with *err set: no checkpoint, now or at all. */
    int (*prepare)(struct coordinator *c, struct stint_err *err, void *arg);
    /* A generation was committed; nobody has been told yet. */
    void (*committed)(struct coordinator *c, const struct stint_manifest *m, void *arg);
    /* A client's request that the coordinator does not know itself. Returns 1 with
     * *reply set (its "t" is added), or 0 when it is not known here either. */
    int (*request)(struct coordinator *c,
                   const char *command,
                   const json_t *message,
                   json_t **reply,
                   void *arg);
    /* More for the answer to `status` and `list`. */
    void (*describe)(struct coordinator *c, json_t *reply, void *arg);
    /* An agent has connected; hello: what it said. */
    void (*joined)(struct coordinator *c, const json_t *hello, void *arg);
    /* The last agent has gone and the coordinator stays. */
    void (*emptied)(struct coordinator *c, void *arg);
    /* The coordinator ends: forget its event loop. */
    void (*stopping)(struct coordinator *c, void *arg);
    /* Every second. */
    void (*tick)(struct coordinator *c, uint64_t now_ms, void *arg);
};

struct coordinator_config {
    const char *dir;          /* checkpoint directory */
    uint32_t interval_s;      /* between checkpoints; 0 = only on request */
    unsigned keep;            /* generations that stay */
    int ignore_unsupported;   /* what cannot be restored does not fail a checkpoint */
    const char *sockets;      /* rules of agent_policy.h, handed to agents; NULL: none */
    const char *save_files;   /* patterns of agent_saved.h, likewise; NULL: none */
    const char *slurm_job;    /* id, or NULL */
    uint32_t margin_s;        /* before the end of the job's time */
    void (*ready)(void *arg); /* called once: connections are taken */
    void *arg;
    int listen_fd; /* bound and listening: served, and taken over; 0 = any port is taken
                    */
    int stays; /* the end of the last agent does not end it, nor does their absence */
    int quits_on_signal; /* SIGTERM and SIGINT end the programs and it; SIGHUP nothing
                          */
    int kill_after;      /* every checkpoint ends the programs */
    const struct coordinator_hooks *hooks; /* NULL: none */
};

#define COORDINATOR_E_BUSY 1 /* another coordinator has the directory */

/* Serve a checkpoint directory until the last agent has gone (or 30 s have gone by
 * without one; a coordinator that stays: until it is told to quit).
 *
 * Returns 0; COORDINATOR_E_BUSY or -errno with *err set: nothing was changed, `ready`
 * was not called.
 */
int coordinator_run(const struct coordinator_config *config, struct stint_err *err);

#endif
