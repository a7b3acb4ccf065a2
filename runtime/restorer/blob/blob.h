/* What process.c hands to the blob.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The blob is a flat, position-independent piece of code without a C library. It
 * runs from a hole: one region of addresses that neither the restorer nor the
 * image uses. From low to high addresses the hole holds the shared page, the
 * code, these arguments, the stacks of the threads, a buffer to read the image
 * into, and room to park the vdso.
 * All offsets below count from the start of struct blob_args.
 */
#ifndef STINT_RESTORER_BLOB_H
#define STINT_RESTORER_BLOB_H

#include <stdint.h>

#include "common/image.h"
#include "common/image_objects.h"
#include "runtime/restorer/shared.h"

#define BLOB_PIECES_MAX   8
#define BLOB_LEADER_STACK 65536u
#define BLOB_THREAD_STACK 16384u
#define BLOB_STAGING_LEN  STINT_EXTENT_MAX /* any extent fits */

struct blob_thread {
    struct stint_thread thread;
    uint64_t args;                            /* address of struct blob_args */
    uint64_t stack_top;                       /* in the hole */
    uint32_t pending_offset, pending_count;   /* siginfo_t, 128 bytes each */
};

struct blob_vma {
    struct stint_vma vma;
    uint32_t path_offset; /* 0: none */
    int32_t fd;           /* of the segment, for STINT_VMA_SEGMENT, or -1 and then */
    int32_t shmid;        /* System V shared memory */
    uint32_t has_extents; /* something is written into it */
    uint32_t load_prot;   /* what it is mapped with until all is loaded */
};

/* A child that is stopped. */
struct blob_stopped_child {
    int32_t pid;
    uint32_t is_known; /* wait(2) has told already */
};

/* A part of [vvar] or [vdso]: moved aside, and then to where it belongs. */
struct blob_piece {
    uint64_t from, parked, to, len;
};

struct blob_args {
    uint64_t hole_start, hole_len;
    uint64_t shared;  /* address of struct stint_shared */
    uint64_t staging; /* address of BLOB_STAGING_LEN bytes in the hole */
    int32_t image_fd; /* O_DIRECT where the file system has it */
    int32_t image_fd_buffered;
    int32_t exe_fd;
    int32_t last_pid_fd;
    uint32_t set_tid;   /* else ns_last_pid */
    uint32_t lazy;      /* map anonymous memory from the image */
    uint32_t drop_caps; /* an ordinary user: nothing of the namespace's power stays */
    uint32_t change_ids; /* root: the process had the other ids uid and gid */
    uint32_t huge_told; /* that there are too few huge pages */
    uint32_t stopped;   /* was stopped by job control: the signal to stop by, or 0 */
    uint32_t nchildren, children_offset; /* struct blob_stopped_child[] */
    uint32_t held;      /* futex, 1 at first: threads other than the leader wait for 0 */
    uint32_t has_rlimits, has_itimers;
    uint32_t threads_done; /* futex */
    uint32_t nthreads, threads_offset;   /* struct blob_thread[], leader first */
    uint32_t nvmas, vmas_offset;         /* struct blob_vma[] */
    uint32_t nextents, extents_offset;   /* struct stint_extent[] */
    uint32_t ntimers, timers_offset;     /* struct stint_timer[] */
    uint32_t auxv_len, auxv_offset;
    uint32_t sigactions_offset;          /* struct stint_sigaction[64] */
    uint32_t pending_offset, pending_count; /* of the process */
    uint32_t npieces;
    uint32_t nlocks, locks_offset; /* struct stint_lock[], POSIX locks */
    uint32_t nclose, close_offset; /* int32_t[]: descriptors that are not the program's */
    uint32_t stacks_offset;
    uint32_t vdso_image_offset; /* 0: the vdso fits; else what to put in its place */
    uint64_t old_vdso_start, old_vdso_len, old_vvar_start, old_vvar_len;
    struct blob_piece pieces[BLOB_PIECES_MAX];
    struct stint_process process;
    struct stint_rlimit rlimits[16];
    struct stint_itimer itimers[3];
    uint64_t generation;
};

#ifdef STINT_BLOB
#define BLOB_AT(args, offset, type) ((type *)((char *)(args) + (offset)))

/* Report, and end the process. path may be NULL. Does not return. */
void blob_fail(struct blob_args *args, long error, const char *what, const char *path)
    __attribute__((noreturn));
void blob_note(struct blob_args *args, const char *what, const char *path);

/* memory.c */
void blob_restore_memory(struct blob_args *args);
/* attributes.c: the process's own; before and after its threads exist */
void blob_restore_early(struct blob_args *args);
void blob_restore_late(struct blob_args *args);
void blob_arm_timers(struct blob_args *args);
/* Stop here, as the program was, until it is continued. */
void blob_stop(struct blob_args *args);
/* Children have stopped: who of them is news for wait(2), and which signals pend, is as it
 * was. */
void blob_settle_children(struct blob_args *args);
/* threads.c */
void blob_create_threads(struct blob_args *args);
void blob_restore_thread(struct blob_args *args, struct blob_thread *thread);
void blob_run_thread(struct blob_args *args, struct blob_thread *thread)
    __attribute__((noreturn));
#endif

#endif
