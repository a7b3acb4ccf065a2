/* Everything one restore knows; built outside, inherited by every process.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   main      outside: reads and checks, makes the namespaces, waits for init
 *   init      pid 1 inside: objects, tree, talks to the agent
 *   stand-in  has the old agent's pid: parent of the root, subreaper
 *   others    one per process of the image; each ends in the blob (blob/), which
 *             replaces its memory and becomes the program
 */
#ifndef STINT_RESTORER_RESTORE_H
#define STINT_RESTORER_RESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/image.h"
#include "common/image_read.h"
#include "runtime/restorer/numbers.h"
#include "runtime/restorer/plan.h"
#include "runtime/restorer/shared.h"

#define STINT_AFFINITY_LEN 128u

struct stint_restored_process {
    const struct stint_member *member;
    struct stint_image *image;           /* NULL for a zombie; its fd is closed */
    const struct stint_process *process; /* NULL for a zombie */
};

/* An open file description, opened once by init and handed down. */
struct stint_restored_object {
    const struct stint_object *object;
    int fd; /* -1: not needed or not open yet */
    bool cut; /* at `go` the file is cut back to object->size */
    bool emptied; /* the new run's output: at `go` it gets its contents back */
    bool late; /* fd is a socket from which each process takes it: objects_late.c */
    int offer; /* init's end of that */
};

struct stint_restored_segment {
    const struct stint_segment *segment;
    struct stint_image *image; /* its contents, or NULL: none are stored */
    int fd; /* the segment itself, writable; -1: not made yet */
};

struct stint_restore {
    int control; /* SOCK_SEQPACKET to the agent */
    const char *dir;
    int dirfd;
    bool lazy;
    bool keep_output; /* do not cut output files back */
    bool user_ns;    /* an ordinary user: everything happens in a user namespace */
    bool set_tid;    /* the kernel gives wanted pids */
    int pid_max;     /* sysctl kernel.pid_max of the machine; 0 = unknown */
    bool own_proc;   /* /proc shows the new PID namespace */
    bool terminal;   /* stays on the agent's terminal */
    bool in_front;   /* and that was given to it, not to a shell that has it behind */
    int last_pid_fd; /* /proc/sys/kernel/ns_last_pid, or -1 */

    struct stint_image *group_image;
    const struct stint_group *group;
    struct stint_restored_process *members;
    size_t nmembers;
    struct stint_restored_object *objects;
    size_t nobjects;
    struct stint_restored_segment *segments;
    size_t nsegments;
    int *mqueues; /* descriptors of the message queues; index = id - 1 */
    size_t nmqueues;

    struct stint_numbers fds;  /* numbers that the program or we use */
    struct stint_numbers pids; /* likewise */
    struct stint_plan plan;
    struct stint_sockets *sockets; /* sockets.h */
    struct stint_saved_files *saved; /* saved.h; NULL: none */
    struct stint_shared *shared;
    uint8_t affinity[STINT_AFFINITY_LEN]; /* what the restorer may run on */
};

/* load.c: read the group image and all process images. */
int stint_restore_load(struct stint_restore *restore, const char *group_image,
                       struct stint_err *err);
/* Open a file of the generation, and check that it is one, and whose it is. Returns 0 or
 * -errno with *err. */
int stint_restore_open_image(struct stint_restore *restore, const char *name,
                             enum stint_image_kind kind, struct stint_image **image,
                             struct stint_err *err);
void stint_restore_deinit(struct stint_restore *restore);

/* check.c: what can be checked before anything is made. */
int stint_restore_check(struct stint_restore *restore, struct stint_err *err);

/* Another node may have been set up with fewer process ids. Since Linux 6.14 each PID
 * namespace has a limit of its own, 4 million at first: it gets the machine's, unless the
 * program has an id above that already. Context: in the new PID namespace. */
int stint_restore_limit_pids(const struct stint_restore *restore, struct stint_err *err);

/* cpu.c */
int stint_cpu_check(const struct stint_cpu *wanted, struct stint_err *err);

/* namespaces.c: make them; the next fork is their pid 1. */
int stint_namespaces_enter(struct stint_restore *restore, struct stint_err *err);
/* In pid 1: own mounts and /proc. */
int stint_namespaces_mount(struct stint_restore *restore, struct stint_err *err);

/* init.c: pid 1; ends with the namespace. */
void stint_init_run(struct stint_restore *restore) __attribute__((noreturn));

/* tree.c: create the nodes that init creates; 0 or -errno with *err. */
int stint_tree_grow(struct stint_restore *restore, struct stint_err *err);

/* standin.c: reap children until none is left; tells the agent about the root. */
void stint_standin_run(struct stint_restore *restore) __attribute__((noreturn));
void stint_standin_reaped(struct stint_restore *restore, int pid, int status);
/* Keep nothing open but the control socket. */
void stint_standin_close_all(struct stint_restore *restore);

/* process.c: become that process. */
void stint_process_restore(struct stint_restore *restore, int member)
    __attribute__((noreturn));

/* control.c: one packet to the agent. Lost packets are the agent's end: ignored. */
void stint_control_send(const struct stint_restore *restore, const char *fmt, ...)
    STINT_PRINTF(2, 3);
/* Wait up to timeout_ms. Returns 1 for `go`, 0 for nothing yet, -1 when it closed. */
int stint_control_poll(const struct stint_restore *restore, int timeout_ms);

/* Likewise, for any line, which is cut to size. Returns its length, 0 or -1. */
int stint_control_receive(const struct stint_restore *restore, char *text, size_t size,
                          int timeout_ms);

/* Report err for the process pid in the shared page and end this process. */
void stint_restore_die(struct stint_restore *restore, int pid, const struct stint_err *err)
    __attribute__((noreturn));

/* A note for the agent's log, from any process of the restore. */
void stint_restore_note(struct stint_restore *restore, const char *fmt, ...)
    STINT_PRINTF(2, 3);

/* Move a descriptor to a number that no process needs; CLOEXEC. Returns the number,
 * or -errno with *err and the descriptor closed. */
int stint_restore_keep_fd(struct stint_restore *restore, int fd, struct stint_err *err);

const struct stint_restored_object *stint_restore_object(const struct stint_restore *restore,
                                                         uint32_t id);
struct stint_restored_segment *stint_restore_segment(struct stint_restore *restore,
                                                     uint32_t id);

#endif
