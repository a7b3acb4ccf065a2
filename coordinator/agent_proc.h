/* What /proc says about the processes of a program.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The agent sees outer pids. A restored program lives in a PID namespace of its own
 * and sees inner ones, which are what images store (doc/protocol.md).
 */
#ifndef STINT_COORDINATOR_AGENT_PROC_H
#define STINT_COORDINATOR_AGENT_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

struct agent_proc {
    pid_t pid, ppid, pgid, sid; /* as the agent sees them */
    char state;                 /* as in proc(5): R S D T t Z X */
    char comm[16];
    int nthreads;   /* 0 or 1 in a zombie */
    int exit_code;  /* of a zombie, as wait(2) gives it */
    uint64_t start; /* with the pid: which process it is */
};

struct agent_procs {
    struct agent_proc *list; /* parents before their children */
    size_t count;
};

void agent_procs_deinit(struct agent_procs *procs);

/* Which processes belong to the program. */
struct agent_scan {
    pid_t agent;       /* whose descendants are asked for */
    pid_t coordinator; /* left out with its whole session; 0 = none */
    pid_t helper;      /* left out; 0 = none */
    bool restored;     /* the program hangs below processes of stint-restorer, which are
                        * left out, their children are not */
};

/* One complete pass over /proc. procs: written on success, released by the caller.
 * Returns 0 or -errno with *err set. */
int agent_proc_scan(const struct agent_scan *scan, struct agent_procs *procs,
                    struct stint_err *err);

/* Read one process. Returns 0, or -ESRCH when it is gone. */
int agent_proc_read(pid_t pid, struct agent_proc *proc);

/* A thread of the process that lives: its main thread, or another when that has ended.
 * Most files of /proc/PID end with the main thread; those of /proc/TID are the same. */
pid_t agent_proc_task(pid_t pid);

/* Has it ended altogether, not only its main thread? */
bool agent_proc_is_zombie(const struct agent_proc *proc);

/* Ids as the process itself sees them; pgid and sid are 0 where they lie outside its
 * PID namespace. */
struct agent_inner {
    pid_t pid, pgid, sid;
};

/* Returns 0, or -ESRCH when it is gone. */
int agent_proc_inner(pid_t pid, struct agent_inner *inner);

/* Pid of the tracer, 0 = none or gone. */
pid_t agent_proc_tracer(pid_t pid);

/* Whose rights it has (its effective user), as seen from here. Returns 0 or -ESRCH. */
int agent_proc_user(pid_t pid, uid_t *user);

/* Has its program given it another user (a setuid one), which it has not changed since? */
bool agent_proc_is_setuid(pid_t pid);

/* Does the process map libstint.so? Returns 1, 0, or -errno (-EACCES: it has made
 * itself undumpable). */
int agent_proc_has_runtime(pid_t pid);

/* Has the process installed the runtime's handler? False also when it cannot be told. */
bool agent_proc_listens(pid_t pid);

/* Is DMTCP itself loaded into the process? */
bool agent_proc_has_dmtcp(pid_t pid);

/* Is the process a command of stint that only asks a coordinator for something, as
 * `stint checkpoint` and `dmtcp_command`? */
bool agent_proc_is_client(pid_t pid);

/* Nanoseconds to add to the agent's clocks to get those of the process. 0 when the
 * kernel has no time namespaces. */
struct agent_clocks {
    int64_t monotonic_ns, boottime_ns;
};
void agent_proc_clocks(pid_t pid, struct agent_clocks *offset);

#endif
