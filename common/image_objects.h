/* What follows struct stint_object, by kind, and the records of objects that are not
 * descriptors; doc/image-format.md explains them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Arrays fill extra_len. "Program" numbers (pids, tids) are as the program sees them.
 */
#ifndef STINT_COMMON_IMAGE_OBJECTS_H
#define STINT_COMMON_IMAGE_OBJECTS_H

#include <stdint.h>

/* --- event descriptors --------------------------------------------------- */

/* STINT_OBJ_EVENTFD: a = count, b = 1 when it is a semaphore. */
/* STINT_OBJ_SIGNALFD: a = mask as the kernel has it. */

/* STINT_OBJ_TIMERFD: extra is one of these. */
struct stint_timerfd {
    int32_t clockid;
    uint32_t settime_flags; /* of timerfd_settime(2) */
    uint64_t ticks;         /* expirations that were not read */
    uint64_t value_ns;      /* remaining at capture; 0 = disarmed */
    uint64_t interval_ns;
    uint64_t realtime_ns; /* CLOCK_REALTIME at that moment */
};

/* STINT_OBJ_EPOLL: extra is one per target, in the order of registration. */
struct stint_epoll_target {
    int32_t fd;         /* the number that it was registered under */
    uint32_t events;    /* as epoll_ctl(2) takes it; a disarmed one-shot has no event bit */
    uint64_t data;      /* epoll_data_t */
    uint32_t object_id; /* the open file description */
    uint32_t reserved;
};

/* STINT_OBJ_INOTIFY: extra is a sequence of these, ascending by wd, each followed by
 * path_len bytes (with the NUL, padded to 8). */
struct stint_inotify_watch {
    int32_t wd;
    uint32_t mask;
    uint32_t path_len;
    uint32_t reserved;
};

/* STINT_OBJ_PIDFD: a = pid in the program's numbers, 0 when it has been reaped. */

/* STINT_OBJ_PROC: a file of /proc, opened again on its path. a = pid of the process
 * that it belongs to, 0 = none; b = 1 when that process has been reaped. */

#endif
