/* What the agent's modules share: one agent, on one event loop.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Life of an agent: coordinator up -> program started or restored -> connected to
 * the coordinator -> (checkpoints) -> program ended -> coordinator told and gone.
 * Only the first two steps can fail it; from then on the program's end is what
 * ends the agent, whatever becomes of coordinator and checkpoints.
 */
#ifndef STINT_COORDINATOR_AGENT_STATE_H
#define STINT_COORDINATOR_AGENT_STATE_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "coordinator/agent.h"

struct event;
struct event_base;
struct agent_api;
struct agent_checkpoint;
struct agent_link;
struct agent_restore;
struct agent_sigterm;
struct agent_stopped;
struct agent_terminal;

#define AGENT_EXIT_AGAIN 75 /* EX_TEMPFAIL: ended after a checkpoint, restart goes on */

struct agent {
    const struct stint_agent_config *config;
    struct event_base *base;

    /* The program. Pids of the first line are outer ones. */
    pid_t root; /* 0 = not there (yet, or any more) */
    pid_t inner_root;
    pid_t inner_pid, inner_pgid, inner_sid; /* of the agent, as the programs see it */
    bool root_ended;
    int root_status; /* as wait(2) gives it */
    bool killed; /* the agent ends the program, as the coordinator orders */
    uint64_t ended_after; /* that held generation: exit 75 */
    bool requeued; /* and Slurm starts the job again */
    uint64_t generation; /* newest captured here or restored from */

    /* Pipes, sockets, devices on descriptors above 2 that the agent was started with. */
    struct agent_inherited {
        dev_t dev;
        ino_t ino;
    } *inherited;
    size_t ninherited;

    /* Signals are blocked and read from a signalfd; this is what the program gets. */
    sigset_t original_mask;
    struct sigaction original_pipe, original_child;
    int signal_fd;
    struct event *signal_event;
    int interrupted; /* a signal that came before there was a program, or 0 */
    unsigned reaped; /* children reaped so far: see agent_quiesce.c */

    struct agent_link *link;             /* coordinator: child process and connection */
    struct agent_restore *restore;       /* NULL at a first start */
    struct agent_terminal *terminal;     /* NULL: no job control to stand in for */
    struct agent_checkpoint *checkpoint; /* NULL: none under way */
    struct agent_api *api;               /* what the program may ask */
    struct agent_sigterm *sigterm;       /* NULL: Slurm has sent none yet */
    struct agent_stopped *stopped; /* processes that are traced for a checkpoint */
};

/* --- agent.c ------------------------------------------------------------- */

/* Run the loop until done(agent) holds or the time is over. Returns whether it holds. */
bool agent_wait(struct agent *agent, unsigned seconds, bool (*done)(const struct agent *));

/* Say one line to the user, "stint: TEXT", also when all is well; and log it. */
void agent_say(const char *fmt, ...) STINT_PRINTF(1, 2);

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t agent_now_ms(void);

/* Reap every child that has ended and tell whom it concerns. */
void agent_reap(struct agent *agent);

/* The root process has ended: tell the coordinator, and leave the loop when it has
 * taken note. */
void agent_root_ended(struct agent *agent, int status);

/* --- agent_signals.c ----------------------------------------------------- */

/* Block what is to be passed on and read it from the loop. Returns 0 or -errno. */
int agent_signals_init(struct agent *agent, struct stint_err *err);
/* Put the signal state back. */
void agent_signals_deinit(struct agent *agent);

/* In a child, before exec: signal state as the agent was given it.
 * Context: after fork; async-signal-safe. */
void agent_signals_child(const struct agent *agent);

/* Send the program a signal, also one that is to be held back. */
void agent_signals_deliver(struct agent *agent, int signo);

/* End as a program killed by this signal ends. Does not return. */
void agent_signals_die(int signo) __attribute__((noreturn));

/* --- agent_program.c ----------------------------------------------------- */

/* Note what the agent was started with, for the program. Returns 0 or -ENOMEM. */
int agent_program_note_inherited(struct agent *agent);

/* Was it among that? */
bool agent_program_has_inherited(const struct agent *agent, dev_t dev, ino_t ino);

/* Start config->argv. Returns 0, or 127 or 126 (as a shell) or -errno with *err. */
int agent_program_start(struct agent *agent, struct stint_err *err);

/* SIGKILL everything that belongs to the program; what it was is gone when this
 * returns, or the deadline has passed (-ETIMEDOUT). */
int agent_program_kill(struct agent *agent);

/* --- agent_link.c -------------------------------------------------------- */

/* Start the coordinator (unless config->join) and wait for it to be ready.
 * Returns 0 or -errno with *err. */
int agent_link_start(struct agent *agent, struct stint_err *err);

/* Connect, say hello; from now on keep the coordinator alive and connected. */
void agent_link_connect(struct agent *agent);

/* Tell the coordinator that the program has ended and wait, bounded, for its end. */
void agent_link_finish(struct agent *agent);

/* Kill a coordinator that never had an agent, and release everything. */
void agent_link_free(struct agent *agent);

/* A child was reaped: was it the coordinator? */
bool agent_link_reaped(struct agent *agent, pid_t pid, int status);
pid_t agent_link_pid(const struct agent *agent);
bool agent_link_connected(const struct agent *agent);

/* Send a message, if there is a connection: as stint_wire_sendf(). */
void agent_link_send(struct agent *agent, const char *t, const char *format, ...);

/* --- agent_restore.c ----------------------------------------------------- */

/* Read who the agent and its program were. Returns as agent_restore_run(). */
int agent_restore_prepare(struct agent *agent, struct stint_err *err);

/* Restore config->restore. Returns 0 when the program runs, or
 * STINT_AGENT_E_RESTORE or -errno with *err. */
int agent_restore_run(struct agent *agent, struct stint_err *err);
bool agent_restore_reaped(struct agent *agent, pid_t pid);
/* The program has ended: wait, bounded, for the restorer's processes to go. */
void agent_restore_finish(struct agent *agent);
void agent_restore_free(struct agent *agent);
/* What the coordinator says of other groups' listeners; it is there (again). */
void agent_restore_offer(struct agent *agent, const json_t *message);
void agent_restore_connected(struct agent *agent);
/* Kill everything in the restored namespace. */
void agent_restore_kill(struct agent *agent);

#endif
