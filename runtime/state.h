/* What the parts of libstint.so share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threads: any thread may run any of this, in a signal handler, at any moment.
 * Between taking state->lock and giving it back one thread, the leader, is alone:
 * its siblings are parked in park_thread(), each in a slot on its own stack.
 */
#ifndef STINT_RUNTIME_STATE_H
#define STINT_RUNTIME_STATE_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "common/ckpt.h"
#include "common/image.h"

#define STINT_HIDDEN __attribute__((visibility("hidden")))

/* What the leader wants of a parked thread. */
enum slot_command {
    SLOT_WAIT = 0,
    SLOT_RELEASE = 1,
    SLOT_TAKE_PENDING = 2, /* dequeue the pending signals, note and requeue them */
};

/* One stopped thread; lives on its stack while it is parked. */
struct slot {
    struct slot *next;
    _Atomic uint32_t command; /* futex */
    _Atomic uint32_t done;    /* futex: answered commands */
    const ucontext_t *ucontext;
    struct pending_list *pending; /* argument of SLOT_TAKE_PENDING */
    bool has_keyring;             /* a thread keyring: only the thread itself is told */
    struct stint_thread thread;
};

/* Pending signals, collected in the arena. */
struct pending_list {
    uint32_t count, max;
    int32_t tid; /* 0: those of the process */
    uint8_t (*infos)[128];
    char *text; /* scratch for a status file: the thread's stack may be small */
    size_t text_size;
};

/* Lives in a page with MADV_WIPEONFORK: a forked child finds zeroes, and so does a
 * restored process, since the page is not in the image. A vfork child sees its
 * parent's, with a pid that is not its own. */
struct runtime_state {
    _Atomic int32_t pid;
    _Atomic uint32_t lock;   /* 1: a leader is at work */
    _Atomic uint32_t epoch;  /* odd: siblings are to stop */
    _Atomic uint32_t parked; /* futex: threads that stopped in this epoch */
    struct slot *_Atomic slots;
    uint64_t last_cookie; /* of the last finished checkpoint */
    _Atomic uint32_t arrived; /* futex: threads back after a restart */
    uint64_t generation;      /* newest one taken or restored here */
    uint64_t restarts;
};

/* What the agent put into the environment; it lives as long as the program. */
struct given {
    char *preload;   /* path of this library; NULL: we were not preloaded */
    char *dir, *job; /* NAME=VALUE, or NULL */
    size_t used;
    char text[2 * 4096 + 256];
};

/* The one mutable global that survives fork; set by the constructor. All that it sets is in
 * here: each page that it touches costs every exec a page fault. */
struct runtime {
    struct runtime_state *state; /* NULL: inert in this program */
    bool maybe_lazy;             /* restored: memory may be mapped from an image */
    bool no_pagemap_scan;        /* STINT_NO_PAGEMAP_SCAN: as on kernels before 6.7 */
    struct given given;
};
extern struct runtime stint_runtime STINT_HIDDEN;

/* Ranges of our own that must not be in the image. */
struct exclusion {
    uint64_t start, end;
};

/* signal.c */
int stint_signal_install(void) STINT_HIDDEN;

/* Is it this process's own, not that of the parent of a vfork child? Context: any. */
bool stint_signal_is_own_state(void) STINT_HIDDEN;

/* A UNIX socket of the kind SOCK_SEQPACKET, also when all numbers are in use. Returns the
 * descriptor or -errno. Context: any. */
int stint_signal_socket(void) STINT_HIDDEN;

/* held_sigterm.c: is it a SIGTERM of Slurm's to this run? */
bool sigterm_is_slurms(const siginfo_t *info) STINT_HIDDEN;

/* program_signal.c: SIGURG as the program sees it */
void stint_program_signal(int signo, siginfo_t *info, void *context) STINT_HIDDEN;
void stint_note_interrupted(const ucontext_t *uc) STINT_HIDDEN;

/* thread.c: describe the calling thread. Raw system calls only. */
void stint_thread_describe(struct stint_thread *thread,
                           const ucontext_t *uc) STINT_HIDDEN;
bool stint_thread_has_keyring(void) STINT_HIDDEN; /* of its own, keyrings(7) */
void stint_thread_take_pending(struct pending_list *list, bool shared) STINT_HIDDEN;
uint64_t stint_thread_pending_mask(int32_t tid,
                                   bool shared,
                                   char *text,
                                   size_t size) STINT_HIDDEN;

/* session.c: the leader's part, on the arena's stack, siblings stopped. */
struct session {
    int channel;            /* connected to the agent */
    struct slot *slots;     /* all threads, the leader's among them */
    uint32_t nthreads;      /* 0: a thread does not stop */
    int32_t straggler;      /* that one */
    bool captured;          /* an image was written */
    struct slot *self;      /* the leader's */
    struct exclusion stack; /* what this runs on */
};
/* Talks to the agent until it lets the process go. Context: leader only. */
void stint_session_run(struct session *session) STINT_HIDDEN;

/* Put a command to a parked thread and wait for its answer, bounded. */
int stint_signal_command(struct slot *slot, uint32_t command) STINT_HIDDEN;
uint64_t stint_signal_resume_address(void) STINT_HIDDEN;

#endif
