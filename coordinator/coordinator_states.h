/* The coordinator's states and transitions, as one table.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_STATES_H
#define STINT_COORDINATOR_STATES_H

enum coordinator_state {
    STATE_IDLE,    /* no generation is being made */
    STATE_QUIESCE, /* agents stop their programs */
    STATE_CAPTURE, /* agents write */
    STATE_COMMIT,  /* everything is on disk; the generation is made the newest */
    STATE_HELD,    /* committed, programs still stopped until the job is requeued */
    STATE_ENDING,  /* agents have been told to end their programs */
    STATE_OVER,    /* nothing left to do */
    STATE_COUNT,
};

enum coordinator_event {
    EVENT_START,          /* a checkpoint was asked for, or is due */
    EVENT_ALL_QUIESCED,   /* every agent says that its programs stand still */
    EVENT_ALL_CAPTURED,   /* every agent has everything on disk */
    EVENT_COMMITTED,      /* ... and the programs go on */
    EVENT_COMMITTED_END,  /* ... and the programs are to end (--kill) */
    EVENT_COMMITTED_HOLD, /* ... and the job is to be requeued first */
    EVENT_REQUEUED,
    EVENT_FAILED,   /* an agent, the disk, Slurm; or too long without a sign of life */
    EVENT_STOP,     /* end everything, without a checkpoint */
    EVENT_ALL_GONE, /* no agent is left */
    EVENT_EMPTY,    /* ... and the coordinator stays for others to come */
    EVENT_TIMEOUT,  /* the programs do not end */
    EVENT_COUNT,
};

enum coordinator_action {
    ACTION_NONE,
    ACTION_START,   /* make gen-N.tmp, send `checkpoint` */
    ACTION_CAPTURE, /* send `capture` */
    ACTION_COMMIT, /* manifest, rename, prune, send `committed`; raises EVENT_COMMITTED*
                    * or EVENT_FAILED */
    ACTION_ANNOUNCE,  /* answer those who asked */
    ACTION_REQUEUE,   /* answer those who asked, requeue the job */
    ACTION_ABORT,     /* drop the generation, send `abort`, answer those who asked */
    ACTION_RESUME,    /* the generation is good, the programs go on: send `resume` */
    ACTION_END,       /* send `end` */
    ACTION_ABORT_END, /* drop the generation, send `end` */
    ACTION_FINISH,    /* answer those who asked, leave the directory, exit */
    ACTION_ABORT_FINISH,
    ACTION_ENDED, /* the programs have ended: answer those who asked */
};

struct coordinator_transition {
    enum coordinator_state from;
    enum coordinator_event event;
    enum coordinator_state to;
    enum coordinator_action action;
};

/* The transition, or NULL: the event means nothing in that state and is ignored. */
const struct coordinator_transition *
coordinator_transition(enum coordinator_state from, enum coordinator_event event);

/* For status and log: "idle", "quiesce", ... */
const char *coordinator_state_name(enum coordinator_state state);

/* True while programs may stand still on the coordinator's behalf. */
int coordinator_state_is_busy(enum coordinator_state state);

#endif
