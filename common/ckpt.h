/* The conversation between the agent and one process during a checkpoint.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The agent picks a random 64-bit cookie, listens on the abstract SOCK_SEQPACKET
 * UNIX socket "stint.<cookie as 16 lower-case hex digits>" and queues SIGURG with
 * si_code STINT_SI_CHECKPOINT and si_value = cookie to each process. The thread
 * that takes the signal connects, stops its siblings, sends HELLO, and then does
 * what it is told, one packet at a time, until RESUME. When the connection ends
 * or nothing comes within STINT_CKPT_SILENCE_MS, the process goes on by itself.
 *
 *   process                         agent
 *   HELLO                ->
 *                        <-         SEND_FDS
 *   WATCH, MQ_NOTIFY, SEM_UNDO (any number) ->
 *   FDS (several, SCM_RIGHTS) ->              last one has STINT_FDS_LAST
 *                        <-         SEGMENT (any number, each with one fd)
 *                        <-         CAPTURE (one fd: the image file)
 *   CAPTURED             ->
 *                        <-         KEEPALIVE (any number, at any time)
 *                        <-         RESUME
 *
 * Either side may send FAILED instead of what is expected of it (the process then
 * waits for RESUME all the same). Both ends are on one machine: native layout.
 */
#ifndef STINT_COMMON_CKPT_H
#define STINT_COMMON_CKPT_H

#include <stdint.h>

#define STINT_SI_CHECKPOINT   (-21332) /* agent to process */
#define STINT_SI_PARK         (-21333) /* leader to its siblings */
#define STINT_SI_DELIVER      (-21335) /* agent to process: a SIGTERM that was held back */
#define STINT_JOB_HELD        "t" /* ends STINT_JOB when its agent holds SIGTERM back */
#define STINT_CKPT_MAGIC      0x544e4953u
#define STINT_CKPT_VERSION    1u
#define STINT_CKPT_SILENCE_MS 120000
#define STINT_FDS_MAX         200 /* descriptors in one packet (SCM_MAX_FD is 253) */
#define STINT_CKPT_PACKET_MAX 4096

enum stint_ckpt_type {
    STINT_CKPT_HELLO = 1,
    STINT_CKPT_SEND_FDS = 2,
    STINT_CKPT_FDS = 3,
    STINT_CKPT_SEGMENT = 4,
    STINT_CKPT_CAPTURE = 5,
    STINT_CKPT_CAPTURED = 6,
    STINT_CKPT_KEEPALIVE = 7,
    STINT_CKPT_RESUME = 8,
    STINT_CKPT_FAILED = 9,
    STINT_CKPT_UNBLOCK = 10, /* from the process, before HELLO: struct stint_ckpt_unblock */
    STINT_CKPT_WATCH = 11, /* from the process, before FDS: struct stint_ckpt_watch */
    STINT_CKPT_MQ_NOTIFY = 12, /* likewise: struct stint_ckpt_mq_notify */
    STINT_CKPT_SEM_UNDO = 13,  /* likewise: struct stint_ckpt_sem_undo */
};

struct stint_ckpt_header {
    uint32_t magic;
    uint16_t version;
    uint16_t type; /* enum stint_ckpt_type */
};

#define STINT_KEYRING_PROCESS 1u
#define STINT_KEYRING_THREAD  2u /* of the leader */

/* What follows comm came later: a program that was restored from an older image does not
 * send it. */
struct stint_ckpt_hello {
    struct stint_ckpt_header header;
    int32_t pid; /* as the process sees itself */
    int32_t nthreads;
    char comm[16];
    uint32_t keyrings;       /* STINT_KEYRING_*: there is one, keyrings(7) */
    int32_t session_keyring; /* serial number, 0: none or unknown */
};

#define STINT_FDS_LAST 1u

/* fds[i] is the number in the process of the i-th descriptor passed along; where
 * passed[i] is 0 the kernel refused to pass it and nothing comes along for it.
 * peer_pid came later: a program that was restored from an older image does not send it. */
struct stint_ckpt_fds {
    struct stint_ckpt_header header;
    uint32_t count;
    uint32_t flags;
    int32_t fds[STINT_FDS_MAX];
    uint8_t cloexec[STINT_FDS_MAX]; /* FD_CLOEXEC or 0 */
    uint8_t passed[STINT_FDS_MAX];
    int32_t peer_pid[STINT_FDS_MAX]; /* SO_PEERCRED as the process sees it, 0: no UNIX socket */
};

/* Write the part of segment `id` that is mapped at [start, start+len) to the fd
 * that comes along, as a shared image (kind STINT_IMAGE_SHARED). `mapped` says
 * that the process maps this segment; `write` that it is the one to store it.
 * A packet with write == 0 carries no fd. */
struct stint_ckpt_segment {
    struct stint_ckpt_header header;
    uint32_t id;
    uint32_t kind; /* enum stint_segment_kind */
    uint32_t write;
    uint32_t huge; /* its pages are huge ones (hugetlbfs) */
    uint64_t dev, ino; /* as in /proc/self/maps: which mappings are meant */
    uint64_t size;
    uint64_t generation; /* for the image, where write is set */
    uint8_t gen_id[16];
};

struct stint_ckpt_capture {
    struct stint_ckpt_header header;
    uint64_t generation;
    uint8_t gen_id[16];
    uint32_t flags; /* none yet */
    uint32_t nsegments; /* SEGMENT packets that came before */
};

struct stint_ckpt_captured {
    struct stint_ckpt_header header;
    uint64_t file_len;   /* bytes written, image file */
    uint64_t data_len;   /* of which memory */
    uint64_t mapped_len; /* bytes of mappings looked at */
    uint64_t duration_ns;
};

struct stint_ckpt_failed {
    struct stint_ckpt_header header;
    int32_t error; /* positive errno value, or 0 */
    char reason[200]; /* one line, NUL-terminated */
};

/* Thread `tid` (as the process sees it) blocks SIGURG by raw system calls: the agent
 * removes SIGURG from its mask (PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_SETSIGMASK,
 * detach; ptrace(2)) if it can; the process puts the mask back by itself. */
struct stint_ckpt_unblock {
    struct stint_ckpt_header header;
    int32_t tid;
};

/* A path that the process has given to inotify_add_watch(2), and what it led to then: the
 * kernel does not tell. */
struct stint_ckpt_watch {
    struct stint_ckpt_header header;
    uint64_t dev, ino;
    char path[STINT_CKPT_PACKET_MAX - 24]; /* absolute, NUL-terminated */
};

/* What the process has given to mq_notify(3) for a queue: the kernel does not tell. */
struct stint_ckpt_mq_notify {
    struct stint_ckpt_header header;
    uint64_t dev, ino; /* of the queue */
    int32_t notify;    /* SIGEV_* */
    int32_t signo;     /* of SIGEV_THREAD: the netlink socket of glibc; -1: not known */
    uint64_t value;
    uint8_t cookie[32]; /* of SIGEV_THREAD: what glibc gave to the kernel */
};

/* What SEM_UNDO would add to one semaphore if the process ended now. */
struct stint_ckpt_sem_undo {
    struct stint_ckpt_header header;
    int32_t id;
    uint32_t number;
    int32_t adjustment; /* never 0 */
    uint32_t reserved;
};

struct stint_ckpt_resume {
    struct stint_ckpt_header header;
};

/* What the restorer passes to resume_fn (struct stint_process) in each thread,
 * on that thread's own stack below its signal frame, at the very end: memory,
 * ids and attributes are back, all signals are blocked. The function counts
 * the thread as arrived, the leader waits for all and unmaps the restorer's
 * memory at [hole_start, hole_start + hole_len), and each returns from the
 * signal handler (rt_sigreturn) at ucontext. */
struct stint_resume {
    uint64_t ucontext;
    uint64_t hole_start, hole_len; /* 0, 0 in threads other than the leader */
    uint32_t nthreads;             /* in the process */
    uint32_t leader;               /* 1 in the thread with tid == pid; if that has ended,
                                    * in another one */
    uint64_t generation;           /* restored from */
};

#endif
