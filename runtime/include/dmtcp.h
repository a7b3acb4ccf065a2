/* dmtcp.h - what a program can ask of the checkpointing that it runs under.
 * SPDX-License-Identifier: Apache-2.0
 *
 * This is stint's header of that name. The functions are weak: a program that is built
 * with it needs no library, runs anywhere, and is told DMTCP_NOT_PRESENT (or 0, or NULL)
 * where it does not run under `dmtcp_launch`, `stint launch` or a Slurm job with
 * --checkpoint-interval. Programs built with DMTCP's own dmtcp.h find the same functions.
 * Compile as position-independent code, as compilers do by default.
 *
 * DMTCP's plugin events do not exist.
 */
#ifndef DMTCP_H
#define DMTCP_H

#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DMTCP_AFTER_CHECKPOINT 1
#define DMTCP_AFTER_RESTART    2
#define DMTCP_NOT_PRESENT      3
#define DMTCP_IS_PRESENT       4

#define DMTCP_WEAK_ __attribute__((weak))

/* 1 when it runs under it, else 0. */
int dmtcp_is_enabled(void) DMTCP_WEAK_;

/* Make a checkpoint of the whole computation and wait until it is on disk and committed.
 * Returns DMTCP_AFTER_CHECKPOINT; DMTCP_AFTER_RESTART in the program that was restarted
 * from it; DMTCP_NOT_PRESENT; or 0 or less when there was no checkpoint. */
int dmtcp_checkpoint(void) DMTCP_WEAK_;

/* No checkpoint is made between these two; they nest. A checkpoint that is asked for
 * meanwhile waits. Return 1; 0 or less for an enable too many; DMTCP_NOT_PRESENT. */
int dmtcp_disable_ckpt(void) DMTCP_WEAK_;
int dmtcp_enable_ckpt(void) DMTCP_WEAK_;

/* Processes of the computation, and whether all of them run.
 * Returns DMTCP_IS_PRESENT or DMTCP_NOT_PRESENT. */
int dmtcp_get_coordinator_status(int *num_peers, int *is_running) DMTCP_WEAK_;

/* How often this process has been checkpointed, and restarted. Returns likewise. */
int dmtcp_get_local_status(int *num_checkpoints, int *num_restarts) DMTCP_WEAK_;

/* Where the next checkpoint will have its file of this process; NULL when that is not
 * known. Valid until the next call. */
const char *dmtcp_get_ckpt_filename(void) DMTCP_WEAK_;
const char *dmtcp_get_ckpt_dir(void) DMTCP_WEAK_;

/* Names of this process and of the computation that stay the same after restarts. */
const char *dmtcp_get_uniquepid_str(void) DMTCP_WEAK_;
const char *dmtcp_get_computation_id_str(void) DMTCP_WEAK_;

/* Number of the newest checkpoint of this process, 0 = none. */
uint32_t dmtcp_get_generation(void) DMTCP_WEAK_;

/* 1: it is running, as whoever asks is. */
int dmtcp_is_running_state(void) DMTCP_WEAK_;

/* Number of the signal by which a checkpoint starts (programs may use it themselves). */
int dmtcp_get_ckpt_signal(void) DMTCP_WEAK_;

/* Pids are never virtual: both return what they are given. */
pid_t dmtcp_real_to_virtual_pid(pid_t pid) DMTCP_WEAK_;
pid_t dmtcp_virtual_to_real_pid(pid_t pid) DMTCP_WEAK_;

#define dmtcp_is_enabled() (dmtcp_is_enabled ? dmtcp_is_enabled() : 0)
#define dmtcp_checkpoint() (dmtcp_checkpoint ? dmtcp_checkpoint() : DMTCP_NOT_PRESENT)
#define dmtcp_disable_ckpt()                                                                 \
    (dmtcp_disable_ckpt ? dmtcp_disable_ckpt() : DMTCP_NOT_PRESENT)
#define dmtcp_enable_ckpt() (dmtcp_enable_ckpt ? dmtcp_enable_ckpt() : DMTCP_NOT_PRESENT)
#define dmtcp_get_coordinator_status(peers, running)                                         \
    (dmtcp_get_coordinator_status ? dmtcp_get_coordinator_status(peers, running)             \
                                  : DMTCP_NOT_PRESENT)
#define dmtcp_get_local_status(checkpoints, restarts)                                        \
    (dmtcp_get_local_status ? dmtcp_get_local_status(checkpoints, restarts)                  \
                            : DMTCP_NOT_PRESENT)
#define dmtcp_get_ckpt_filename()                                                            \
    (dmtcp_get_ckpt_filename ? dmtcp_get_ckpt_filename() : NULL)
#define dmtcp_get_ckpt_dir() (dmtcp_get_ckpt_dir ? dmtcp_get_ckpt_dir() : NULL)
#define dmtcp_get_uniquepid_str()                                                            \
    (dmtcp_get_uniquepid_str ? dmtcp_get_uniquepid_str() : NULL)
#define dmtcp_get_computation_id_str()                                                       \
    (dmtcp_get_computation_id_str ? dmtcp_get_computation_id_str() : NULL)
#define dmtcp_get_generation() (dmtcp_get_generation ? dmtcp_get_generation() : 0u)
#define dmtcp_is_running_state() (dmtcp_is_running_state ? dmtcp_is_running_state() : 1)
#define dmtcp_get_ckpt_signal() (dmtcp_get_ckpt_signal ? dmtcp_get_ckpt_signal() : 0)
#define dmtcp_real_to_virtual_pid(pid)                                                       \
    (dmtcp_real_to_virtual_pid ? dmtcp_real_to_virtual_pid(pid) : (pid))
#define dmtcp_virtual_to_real_pid(pid)                                                       \
    (dmtcp_virtual_to_real_pid ? dmtcp_virtual_to_real_pid(pid) : (pid))

#ifdef __cplusplus
}
#endif

#endif
