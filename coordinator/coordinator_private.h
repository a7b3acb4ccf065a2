/* What the coordinator's own modules share.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_PRIVATE_H
#define STINT_COORDINATOR_PRIVATE_H

#include <jansson.h>
#include <stdint.h>

#include "common/dir.h"
#include "coordinator/coordinator.h"
#include "coordinator/coordinator_states.h"
#include "coordinator/slurm_plan.h"

struct event;
struct event_base;
struct evconnlistener;
struct generation;
struct slurm;
struct stint_wire;

enum peer_role {
    PEER_STRANGER, /* no valid hello yet */
    PEER_AGENT,
    PEER_CLIENT,
};

/* An agent's part in the generation that is being made. */
enum peer_part {
    PART_NONE,
    PART_QUIESCING,
    PART_DRAINING, /* what it has sent to other groups arrives there */
    PART_QUIESCED,
    PART_CAPTURING,
    PART_CAPTURED,
};

/* What a client waits for. */
enum peer_wait {
    WAIT_NONE,
    WAIT_NEXT,    /* the checkpoint that starts after this one */
    WAIT_CURRENT, /* the one that is being made */
    WAIT_END,     /* committed; the answer follows when the programs have ended */
    WAIT_LIST,    /* the agents have been asked for their processes */
};

struct peer {
    struct peer *next;
    struct coordinator *coordinator;
    struct stint_wire *wire;
    enum peer_role role;
    json_t *hello;
    /* agents */
    enum peer_part part;
    json_t *connections; /* TCP connections that leave it; NULL: none */
    json_t *remote; /* those of them whose other end another agent has; NULL: not known */
    json_t *bound, *seeks; /* names of its sockets, and names that others lead to */
    json_t *found, *sought; /* what came of the latter, and what others lead to */
    uint64_t heard_ms; /* last sign of life */
    uint64_t grown_ms; /* last time that one of the next two grew */
    uint64_t bytes, described;
    int has_exited;  /* its program has ended */
    int held_signal; /* SIGTERM that it keeps from its program; 0 = none */
    int is_listing;  /* was asked for its processes and has not answered */
    json_t *listed;  /* its last answer */
    /* clients */
    enum peer_wait wait;
    json_t *answer; /* for WAIT_END */
};

/* What a checkpoint is made for. */
struct purpose {
    int wanted;
    int kill;  /* end the programs afterwards */
    int final; /* end of the stint: hold, requeue, end */
};

/* What status tells of past checkpoints. */
struct history {
    uint64_t generation; /* newest committed, 0 = none */
    int64_t committed;   /* seconds since 1970 */
    uint64_t duration_ms, longest_ms, stall_ms, bytes, processes;
    unsigned count, failures;
    char failure[256]; /* why the last attempt failed; "" when it did not */
};

struct coordinator {
    const struct coordinator_config *config;
    struct event_base *base;
    struct evconnlistener *listener;
    struct event *tick, *due, *signals[3];
    int dir_fd, lock_fd;
    char *dir;
    int gen_fd; /* directory of the generations: dir, unless a hook sets another */
    char *gen_dir;
    int is_quitting; /* a coordinator that stays is to end */
    struct stint_key key;
    enum coordinator_state state;
    struct peer *peers;
    unsigned npeers;
    json_t *offers; /* where groups that are being restored listen: messages */
    uint64_t
        listed_ms; /* when the agents were asked for their processes; 0 = are not */
    int had_agent;
    uint64_t started_ms;
    uint32_t interval_s;
    uint64_t due_ms; /* next periodic checkpoint, CLOCK_MONOTONIC; 0 = none */
    struct generation *generation; /* being made, or held */
    struct purpose current, next;
    uint64_t phase_ms; /* since when in this state */
    int failure_code;  /* exit status for those who asked: 1 or 75 */
    char failure[256];
    int is_end_failure; /* it failed only because the program came to its end */
    char end_reason[128];
    struct history history;
    int is_listening_paused;
    struct {
        struct slurm *link;
        struct slurm_info info;
        int has_info;
        int is_cancelled;
        int is_final_wanted; /* by SIGTERM or by the clock */
        int has_warned;
        int has_fallen_back; /* queued again without a last checkpoint */
        unsigned attempts;
        uint64_t poll_ms, retry_ms; /* CLOCK_MONOTONIC; 0 = none */
    } slurm;
};

#define FOR_EACH_AGENT(c, peer)                                   \
    for (struct peer *peer = (c)->peers; peer; peer = peer->next) \
        if (peer->role == PEER_AGENT)

uint64_t coordinator_now_ms(void);

/* Something happened: take the transition and do what it says. */
void coordinator_event(struct coordinator *c, enum coordinator_event event);

/* Raise EVENT_FAILED with a reason for those who asked; code: 1 or 75. */
void coordinator_fail(struct coordinator *c, int code, const char *fmt, ...)
    STINT_PRINTF(3, 4);

/* Raise what follows when all agents have come as far as one of them just has. */
void coordinator_check_parts(struct coordinator *c);

/* Start what is wanted, if nothing is under way. */
void coordinator_start_next(struct coordinator *c);

/* Set the interval (0 = none) and when the next periodic checkpoint is due. */
void coordinator_set_interval(struct coordinator *c, uint32_t seconds);
void coordinator_set_due(struct coordinator *c, uint64_t at_ms);

unsigned coordinator_count_agents(const struct coordinator *c);

/* The last agent has gone: raise what that means. */
void coordinator_raise_gone(struct coordinator *c);

/* End the programs, and then the coordinator as well. */
void coordinator_quit(struct coordinator *c, const char *reason);

/* Take another directory for the generations, which is made where it is missing.
 * Returns 0, or -errno with *err set and nothing changed. */
int coordinator_set_generations(struct coordinator *c,
                                const char *path,
                                struct stint_err *err);

/* --- coordinator_actions.c ------------------------------------------------- */

/* Do what a transition says; the state has been changed already. */
void coordinator_perform(struct coordinator *c, enum coordinator_action action);

/* --- coordinator_listen.c --------------------------------------------------- */

/* Take connections, on the descriptor of the configuration or on a port that the system
 * picks, and write DIR/coordinator.yaml. Returns 0, or -errno with *err set. */
int coordinator_listen(struct coordinator *c, struct stint_err *err);

/* --- coordinator_peers.c -------------------------------------------------- */

/* Take a connection. */
void peer_accept(struct coordinator *c, int fd);
/* Close at once and forget. */
void peer_free(struct peer *peer);
/* Answer everybody who waits for `wait`: ok, or failed with code and text. */
void peers_answer(struct coordinator *c,
                  enum peer_wait wait,
                  int code,
                  const char *text);
/* Those who wait for `from` now wait for `to`. */
void peers_move(struct coordinator *c, enum peer_wait from, enum peer_wait to);
/* Tell every agent that takes part. */
void peers_send_part(struct coordinator *c, const char *t, const char *reason);
/* All programs stand still: find connections between them, and have what is under way in
 * these arrive. Returns whether that is awaited. */
int peers_drain(struct coordinator *c);
/* An agent tells where its restored program can be connected to: the others are told, and
 * those that come later. */
void peer_offer(struct peer *from, json_t *message);
void peer_send_offers(struct peer *to);
/* The agent has gone. */
void peer_drop_offers(const struct peer *of);
/* Forget those of the last generation. */
void peer_forget_connections(struct peer *peer);
/* Tell one agent to begin with the generation that is being made. */
void peer_send_checkpoint(struct peer *peer);

/* --- coordinator_list.c ------------------------------------------------------ */

/* A client asks for the processes: ask all agents. */
void peers_list_start(struct peer *client);
/* An agent's answer; takes a reference. */
void peers_list_add(struct peer *agent, json_t *message);
/* Answer the clients if no agent owes an answer any more. */
void peers_list_check(struct coordinator *c);
/* Likewise when an agent owes it for too long. */
void peers_list_overdue(struct coordinator *c, uint64_t now_ms);

/* --- coordinator_slurm.c ---------------------------------------------------- */

int end_of_stint_start(struct coordinator *c, struct stint_err *err);
void end_of_stint_stop(struct coordinator *c);
void end_of_stint_tick(struct coordinator *c, uint64_t now_ms);
/* An agent holds back a SIGTERM. */
void end_of_stint_sigterm(struct coordinator *c, struct peer *peer);
/* A generation was committed: the job's comment says so. */
void end_of_stint_committed(struct coordinator *c);
void end_of_stint_requeue(struct coordinator *c);
/* A checkpoint, or the requeue after a final one, failed: try again if it was final. */
void end_of_stint_failed(struct coordinator *c);
/* True when a periodic checkpoint makes no sense any more. */
int end_of_stint_is_near(const struct coordinator *c);
/* For status; a new reference or NULL. */
json_t *end_of_stint_json(const struct coordinator *c);

#endif
