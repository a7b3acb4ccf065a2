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

/* --- pipes ---------------------------------------------------------------------- */

/* STINT_OBJ_PIPE, STINT_OBJ_FIFO: where there are packets (O_DIRECT) in it, extra is one
 * uint32_t for each piece of the contents, in their order: its length, and the flag when it
 * is a packet. None: all is a stream. */
#define STINT_PIPE_PACKET 0x80000000u

/* --- pseudo-terminals ----------------------------------------------------------- */

/* STINT_OBJ_PTY: a = number of the pair (/dev/pts/N), b = 1 for the master. The extra of a
 * master is one of these, then input_len bytes that were typed and not read, then
 * output_len bytes that were shown and not read. */
struct stint_pty {
    uint8_t termios[64];         /* struct termios2 of the kernel, 44 bytes */
    uint16_t rows, cols, xpixel, ypixel;
    uint32_t locked, packet;     /* TIOCGPTLCK, TIOCGPKT */
    uint32_t exclusive;          /* TIOCGEXCL */
    uint32_t hung_up;            /* it had a slave, and all of them are closed */
    int32_t sid, pgid;           /* whose controlling terminal it is; 0 = nobody's */
    uint32_t input_len, output_len;
    uint64_t reserved[2];
};

/* --- locks ----------------------------------------------------------------- */

enum stint_lock_kind {
    STINT_LOCK_FLOCK = 1, /* flock(2): of the open file description */
    STINT_LOCK_OFD = 2,   /* fcntl(2), F_OFD_SETLK: likewise */
    STINT_LOCK_LEASE = 3, /* fcntl(2), F_SETLEASE: likewise */
    STINT_LOCK_POSIX = 4, /* fcntl(2), F_SETLK: of a process */
};

struct stint_lock {
    uint32_t kind; /* enum stint_lock_kind */
    int32_t type;  /* F_RDLCK, F_WRLCK */
    int64_t start, len; /* bytes; len 0 = up to the end, wherever it is */
    uint32_t object_id;
    int32_t pid; /* of a POSIX lock, in the program's numbers */
    int32_t fd;  /* likewise: the descriptor that it was taken through */
    uint32_t reserved;
};

/* --- System V IPC ------------------------------------------------------------- */

enum stint_ipc_kind {
    STINT_IPC_SHM = 1, /* contents: of a segment (segment_id), else data */
    STINT_IPC_SEM = 2, /* data: uint16_t[size] */
    STINT_IPC_MSG = 3, /* data: a sequence of struct stint_ipc_message */
};

#define STINT_IPC_REMOVED 1u /* shared memory that is removed with its last user */

struct stint_ipc {
    uint32_t kind; /* enum stint_ipc_kind */
    int32_t id, key;
    uint32_t mode;
    uint32_t uid, gid;
    uint32_t flags; /* STINT_IPC_* */
    uint32_t segment_id;
    uint64_t size; /* bytes; number of semaphores; greatest length of the queue */
    uint64_t data_offset, data_len, data_xxh3;
    uint64_t huge_page; /* of STINT_IPC_SHM: size of its pages, where they are huge ones, or 0 */
    uint64_t reserved[3];
};

struct stint_ipc_message {
    int64_t type; /* priority, in a POSIX queue */
    uint64_t len; /* bytes that follow, padded to 8 */
};

/* What SEM_UNDO would add to a semaphore when this process ends. */
struct stint_sem_undo {
    int32_t pid; /* in the program's numbers */
    int32_t id;  /* of a STINT_IPC_SEM */
    uint32_t number;
    int32_t adjustment; /* never 0 */
};

/* --- POSIX message queues -------------------------------------------------------- */

#define STINT_MQUEUE_UNLINKED 1u

/* One queue; name_len bytes follow ("/name", with the NUL). data: a sequence of struct
 * stint_ipc_message in the order in which mq_receive(3) would give them.
 * STINT_OBJ_MQUEUE: a = id of the queue. */
struct stint_mqueue {
    uint32_t id;
    uint32_t flags; /* STINT_MQUEUE_* */
    uint32_t mode;  /* permissions */
    uint32_t uid, gid;
    uint32_t name_len;
    int64_t maxmsg, msgsize;
    /* who is told of the next message (mq_notify(3)), in the program's numbers; 0 = nobody */
    int32_t notify_pid;
    int32_t notify;       /* SIGEV_* */
    int32_t notify_signo; /* of SIGEV_THREAD: the netlink socket's descriptor */
    uint32_t reserved0;
    uint64_t notify_value;
    uint8_t notify_cookie[32]; /* of SIGEV_THREAD */
    uint64_t data_offset, data_len, data_xxh3;
    uint64_t reserved[4];
};

/* --- files that no process has open ---------------------------------------------------- */

/* Once; a STINT_REC_SAVED_FILE each follows. Their contents stand one behind the other. */
struct stint_saved {
    uint64_t count;
    uint64_t data_offset, data_len, data_xxh3;
    uint64_t reserved[4];
};

#define STINT_SAVED_MISSING 1u /* only put back when nothing has its name */
#define STINT_SAVED_OFFERED 2u /* nobody asked for it: a restart can do without */
#define STINT_SAVED_TWIN    4u /* another name of one before, with the same dev and ino */

/* A regular file, directory, symbolic link or named pipe, parents first. Then follow the path
 * (absolute) and a link's target, with their NULs, and padding to 8; then, of a regular file,
 * what is in it: all else is a hole. */
struct stint_saved_file {
    uint32_t mode; /* st_mode */
    uint32_t flags; /* STINT_SAVED_* */
    uint64_t dev, ino, size;
    int64_t mtime_ns;
    uint64_t start; /* where its contents begin among those of all */
    uint32_t path_len, target_len;
    uint32_t npieces, reserved0;
    uint64_t reserved[2];
};

struct stint_saved_piece {
    uint64_t offset, len; /* in the file */
};

#endif
