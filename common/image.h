/* The on-disk format of checkpoint images; doc/image-format.md explains it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An image is a 4096-byte header, a data area of page extents (each starting on
 * a 4096-byte boundary) and a meta area of typed records. All integers are
 * little-endian. The header is written last, so a torn image has none.
 * Three kinds of file share the format: one process (written by the process
 * itself), one group (written by the agent: tree, descriptors, objects), and
 * one shared memory segment (written by a process that maps it).
 */
#ifndef STINT_COMMON_IMAGE_H
#define STINT_COMMON_IMAGE_H

#include <stdint.h>

#define STINT_IMAGE_MAGIC   "STINTIMG"
#define STINT_IMAGE_VERSION 1u
#define STINT_ARCH_X86_64   62u /* EM_X86_64, elf.h */
#define STINT_PAGE_SIZE     4096u
#define STINT_EXTENT_MAX    (4u << 20) /* bytes of memory one extent may describe */

enum stint_image_kind {
    STINT_IMAGE_PROCESS = 1,
    STINT_IMAGE_GROUP = 2,
    STINT_IMAGE_SHARED = 3,
};

/* First bytes of the file; the rest of the first 4096 bytes is zero. */
struct stint_image_header {
    char magic[8];
    uint32_t version;
    uint32_t kind;        /* enum stint_image_kind */
    uint32_t arch;        /* STINT_ARCH_* */
    uint32_t header_len;  /* 4096 */
    uint64_t generation;  /* number of the generation it belongs to */
    uint8_t gen_id[16];   /* random, the same in every file of one generation */
    uint64_t file_len;    /* bytes, the whole file */
    uint64_t data_offset; /* 4096 */
    uint64_t data_len;    /* bytes, multiple of 4096 */
    uint64_t meta_offset; /* multiple of 4096 */
    uint64_t meta_len;    /* bytes of records; the file is padded after them */
    uint64_t meta_xxh3;   /* XXH3_64bits of the meta area */
    uint64_t header_xxh3; /* XXH3_64bits of this struct with this field zero */
};

/* Every record starts on an 8-byte boundary; the payload is padded to 8. */
struct stint_record {
    uint32_t type;    /* enum stint_record_type */
    uint16_t version; /* of this type's payload, starts at 1 */
    uint16_t flags;   /* STINT_RECORD_* */
    uint64_t len;     /* payload bytes without padding */
    uint64_t xxh3;    /* XXH3_64bits of the payload */
};

#define STINT_RECORD_REQUIRED 1u /* a reader that does not know the type must refuse */

enum stint_record_type {
    /* process image */
    STINT_REC_PROCESS = 1,    /* struct stint_process, once */
    STINT_REC_THREAD = 2,     /* struct stint_thread, one per thread, leader first */
    STINT_REC_SIGACTIONS = 3, /* struct stint_sigaction[64], index = signal - 1 */
    STINT_REC_SIGPENDING = 4, /* struct stint_sigpending + siginfo (128 bytes each) */
    STINT_REC_RLIMITS = 5,    /* struct stint_rlimit[16], index = RLIMIT_* */
    STINT_REC_ITIMERS = 6,    /* struct stint_itimer[3], index = ITIMER_* */
    STINT_REC_TIMERS = 7,     /* struct stint_timer[], POSIX timers */
    STINT_REC_VMA = 8,        /* struct stint_vma + path, one per mapping, ascending */
    STINT_REC_VDSO = 9,       /* struct stint_vdso + contents of the vdso */
    STINT_REC_AUXV = 10,      /* raw /proc/self/auxv */
    STINT_REC_CWD = 11,       /* path, NUL-terminated */
    STINT_REC_EXE = 12,       /* struct stint_file_id + path, NUL-terminated */
    STINT_REC_CPU = 13,       /* struct stint_cpu */
    STINT_REC_ROOT = 14,      /* path of the root directory, if it is not "/" */
    /* process and shared images */
    STINT_REC_EXTENTS = 20, /* struct stint_extent[], ascending by addr */
    /* group image */
    STINT_REC_GROUP = 40,   /* struct stint_group, once */
    STINT_REC_MEMBER = 41,  /* struct stint_member + image file name, parents first */
    STINT_REC_OBJECT = 42,  /* struct stint_object + path + kind-specific bytes */
    STINT_REC_FDS = 43,     /* struct stint_fds + struct stint_fd[] */
    STINT_REC_SEGMENT = 44, /* struct stint_segment + image file name + path */
    STINT_REC_LOCKS = 45,   /* struct stint_lock[], image_objects.h */
    STINT_REC_IPC = 46,     /* struct stint_ipc, image_objects.h */
    STINT_REC_MQUEUE = 47,  /* struct stint_mqueue + name, image_objects.h */
    STINT_REC_SEM_UNDO = 48, /* struct stint_sem_undo[], image_objects.h */
    STINT_REC_SAVED = 52,    /* struct stint_saved, image_objects.h */
    STINT_REC_SAVED_FILE = 53, /* struct stint_saved_file + path + target + pieces, likewise */
    /* shared image */
    STINT_REC_SHARED = 60, /* struct stint_segment, once */
};

/* --- process image --------------------------------------------------- */

#define STINT_PROC_NO_NEW_PRIVS 1u
#define STINT_PROC_SUBREAPER    2u
#define STINT_PROC_THP_DISABLE  4u
#define STINT_PROC_KEEPCAPS     8u
#define STINT_PROC_LOCK_FUTURE  16u /* mlockall(MCL_FUTURE) */
#define STINT_PROC_LOCK_ONFAULT 32u /* with MCL_ONFAULT */
#define STINT_PROC_MDWE_SHIFT 8u /* bits 8 and 9: PR_GET_MDWE (no gain of PROT_EXEC) */
#define STINT_PROC_MDWE_MASK  3u

struct stint_process {
    int32_t pid, ppid, pgid, sid; /* as the program itself sees them */
    uint32_t flags;               /* STINT_PROC_* */
    uint32_t umask;
    uint32_t personality;
    int32_t dumpable;
    int32_t oom_score_adj;
    uint32_t securebits;
    uint32_t nthreads;
    uint32_t reserved0;
    /* struct prctl_mm_map, linux/prctl.h */
    uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
    uint64_t arg_start, arg_end, env_start, env_end;
    /* inside libstint.so, as mapped in the program: */
    uint64_t resume_fn;       /* void (struct stint_resume *): see common/ckpt.h */
    uint64_t reserved1;
    /* clocks at the moment of capture, ns */
    uint64_t realtime_ns, monotonic_ns, boottime_ns;
    uint32_t uid, gid; /* real ids, as the program sees them */
    uint64_t reserved2[8];
};

#define STINT_THREAD_LEADER  1u /* tid == pid */
#define STINT_THREAD_URG_BLK 2u /* the program had SIGURG blocked; see runtime/ */
#define STINT_THREAD_ENDED   4u /* the leader, which has ended while others run on: only tid,
                                 * comm and exit_code count */

struct stint_thread {
    int32_t tid;
    uint32_t flags;
    uint64_t ucontext; /* address of the ucontext_t of the kernel's signal frame:
                        * rt_sigreturn with the stack pointer there resumes it */
    uint64_t fs_base, gs_base;
    uint64_t robust_list, robust_len;
    uint64_t clear_child_tid;
    uint64_t rseq_addr; /* 0: not registered */
    uint32_t rseq_len, rseq_sig;
    char comm[16];
    uint32_t sched_policy; /* sched_getattr(2) */
    uint32_t sched_priority;
    int32_t sched_nice;
    uint32_t sched_reset_on_fork;
    uint64_t sched_runtime, sched_deadline, sched_period;
    int32_t ioprio;
    int32_t pdeathsig;
    uint64_t timerslack_ns;
    uint32_t affinity_len; /* bytes used in affinity; 0 = unknown */
    uint32_t thread_flags;
    uint8_t affinity[128];
    uint32_t cap_effective[2], cap_permitted[2], cap_inheritable[2];
    uint64_t sigmask; /* what the frame restores */
    uint64_t exit_code; /* of one that has ended, as exit(2) got it */
    uint32_t mempolicy; /* set_mempolicy(2), with its flags; 0 = the default */
    uint32_t reserved1;
    uint64_t mempolicy_nodes; /* the first 64 */
    uint64_t reserved[5];
};

struct stint_sigaction {
    uint64_t handler, flags, restorer, mask; /* kernel's struct, rt_sigaction(2) */
};

struct stint_sigpending {
    int32_t tid; /* 0: pending for the process */
    uint32_t count;
    /* then count * 128 bytes of siginfo_t */
};

struct stint_rlimit {
    uint64_t cur, max;
};

struct stint_itimer {
    uint64_t interval_us, value_us; /* remaining at capture */
};

struct stint_timer {
    int32_t id; /* kernel timer id */
    int32_t clockid;
    int32_t notify; /* SIGEV_* (| SIGEV_THREAD_ID) */
    int32_t signo;
    int32_t notify_tid;
    int32_t overrun;
    uint64_t sigval;
    uint64_t value_ns; /* remaining; 0 = disarmed */
    uint64_t interval_ns;
};

enum stint_vma_kind {
    STINT_VMA_ANON = 1,    /* private anonymous; all contents in extents */
    STINT_VMA_FILE = 2,    /* private file mapping; changed pages in extents */
    STINT_VMA_SEGMENT = 3, /* shared, contents in the shared image of segment_id */
    STINT_VMA_SHARED = 4,  /* shared mapping of a file that is its own storage */
    STINT_VMA_VDSO = 5,
    STINT_VMA_VVAR = 6, /* [vvar] and [vvar_vclock] */
    STINT_VMA_STACK = 7, /* private anonymous, grows down */
};

/* advice bits, from VmFlags of /proc/self/smaps (proc(5)) */
#define STINT_ADV_DONTFORK   0x0001u /* dc */
#define STINT_ADV_DONTDUMP   0x0002u /* dd */
#define STINT_ADV_HUGEPAGE   0x0004u /* hg */
#define STINT_ADV_NOHUGEPAGE 0x0008u /* nh */
#define STINT_ADV_MERGEABLE  0x0010u /* mg */
#define STINT_ADV_WIPEONFORK 0x0020u /* wf */
#define STINT_ADV_LOCKED     0x0040u /* lo */
#define STINT_ADV_NORESERVE  0x0080u /* nr */
#define STINT_ADV_GROWSDOWN  0x0100u /* gd */
#define STINT_ADV_SEQUENTIAL 0x0200u /* sr */
#define STINT_ADV_RANDOM     0x0400u /* rr */
#define STINT_ADV_LOCKONFAULT 0x0800u /* lo and mlock2(MLOCK_ONFAULT) */
#define STINT_ADV_HUGETLB    0x1000u /* ht; bits 26 to 31: log2 of the page size, as in mmap(2) */
#define STINT_ADV_HUGE_SHIFT 26

struct stint_vma {
    uint64_t start, end;
    uint32_t prot; /* PROT_* */
    uint32_t kind; /* enum stint_vma_kind */
    uint32_t advice;
    uint32_t segment_id; /* for STINT_VMA_SEGMENT */
    uint64_t offset;     /* into the file or the segment, bytes */
    uint64_t dev, ino;
    uint64_t file_size;
    int64_t file_mtime_ns;
    uint32_t path_len; /* bytes after the struct, with the NUL; 0 = none */
    uint32_t file_writable; /* shared file mapping: PROT_WRITE may be set */
};

struct stint_vdso {
    uint64_t vvar_start, vvar_len; /* lowest [vvar*] mapping, sum up to the vdso */
    uint64_t vdso_start, vdso_len;
    /* then vdso_len bytes */
};

struct stint_file_id {
    uint64_t dev, ino, size;
    int64_t mtime_ns;
};

/* cpuid words: a CPU can run the image if it has every bit set here */
struct stint_cpu {
    uint32_t leaf1_ecx, leaf1_edx;
    uint32_t leaf7_ebx, leaf7_ecx, leaf7_edx, leaf7_1_eax;
    uint32_t ext1_ecx, ext1_edx; /* 0x80000001 */
    uint64_t xcr0;
    char model[48];
};

enum stint_encoding {
    STINT_ENC_RAW = 1,    /* stored_len == len */
    STINT_ENC_ZERO = 2,   /* nothing stored; only where the default is not zero */
    STINT_ENC_LZ4 = 3,    /* reserved */
    STINT_ENC_ZSTD = 4,   /* reserved */
    STINT_ENC_PARENT = 5, /* reserved: as in generation `parent`, same addr */
};

struct stint_extent {
    uint64_t addr;       /* address in the process, or offset in the segment */
    uint64_t len;        /* bytes of memory, multiple of 4096, <= STINT_EXTENT_MAX */
    uint64_t offset;     /* in this file, multiple of 4096 */
    uint64_t stored_len; /* bytes stored at offset */
    uint32_t encoding;   /* enum stint_encoding */
    uint32_t parent;     /* generation, for STINT_ENC_PARENT */
    uint64_t xxh3;       /* XXH3_64bits of the stored bytes */
};

/* --- group image ----------------------------------------------------- */

#define STINT_GROUP_TERMINAL 1u /* the program was on the agent's terminal */

struct stint_group {
    char name[64];
    char host[64];
    int32_t agent_pid, agent_pgid, agent_sid; /* as the programs see them */
    int32_t root_pid;
    int32_t last_pid; /* newest pid given out in their pid namespace */
    uint32_t flags;
    uint32_t uid, gid;
    uint64_t realtime_ns, monotonic_ns, boottime_ns; /* as the programs see them */
    uint32_t nmembers, nobjects, nsegments, reserved0;
    int32_t foreground_pgid; /* of the terminal, as the programs see it; 0 = unknown */
    uint32_t reserved1;
    uint64_t reserved[7];
};

enum stint_member_state {
    STINT_MEMBER_RUNNING = 1,
    STINT_MEMBER_ZOMBIE = 2, /* no image; exit_status is what wait(2) gives */
    STINT_MEMBER_STOPPED = 3, /* stopped by job control; has an image */
};

struct stint_member {
    int32_t pid, ppid, pgid, sid; /* as the programs see them */
    uint32_t state;
    int32_t exit_status;
    uint32_t name_len; /* bytes after the struct, with the NUL; 0 = no image */
    uint32_t stop_signal; /* STOPPED: the one that wait(2) still tells; 0 = it has */
    char comm[16];
};

enum stint_object_kind {
    STINT_OBJ_FILE = 1,    /* regular file on a path */
    STINT_OBJ_DELETED = 2, /* regular file without a name; contents in data */
    STINT_OBJ_DIR = 3,
    STINT_OBJ_PIPE = 4, /* one end: pipe_id joins the ends; contents in data (read end) */
    STINT_OBJ_FIFO = 5, /* named pipe on a path; contents in data */
    STINT_OBJ_CHARDEV = 6, /* /dev/null and the like, opened again by path */
    STINT_OBJ_STDIO = 7, /* the agent's own descriptor `a` (0, 1, 2) */
    STINT_OBJ_TTY = 8,   /* the job's terminal, opened by another way */
    STINT_OBJ_PATH = 9,  /* O_PATH */
    STINT_OBJ_MEMFD = 10, /* a: segment id, b: seals, c: size of huge pages or 0 */
    STINT_OBJ_EVENTFD = 11,
    STINT_OBJ_EPOLL = 12,
    STINT_OBJ_SIGNALFD = 13,
    STINT_OBJ_TIMERFD = 14,
    STINT_OBJ_INOTIFY = 15,
    STINT_OBJ_PIDFD = 16,
    STINT_OBJ_UNIX = 17,
    STINT_OBJ_INET = 18,
    STINT_OBJ_PTY = 19,
    STINT_OBJ_PROC = 20, /* entry of /proc of a process of the job */
    STINT_OBJ_NETLINK = 21,
    STINT_OBJ_MQUEUE = 22,
};

#define STINT_OBJFLAG_KEEP_SIZE 1u /* do not cut the file back at restart */
#define STINT_OBJFLAG_CONTENTS  2u /* FILE: data is the contents, put back at restart */
#define STINT_OBJFLAG_SPARE     4u /* FILE: data is the contents, should the file be gone;
                                    * STDIO: should it have been emptied */
#define STINT_OBJFLAG_REMOVED   8u /* DIR: it had no name any more */

/* One open file description (open(2)), however many descriptors name it. */
struct stint_object {
    uint32_t id;
    uint32_t kind;       /* enum stint_object_kind */
    uint32_t open_flags; /* F_GETFL */
    uint32_t flags;      /* STINT_OBJFLAG_* */
    int64_t pos;         /* file offset, or 0 */
    uint64_t dev, ino, size;
    int64_t mtime_ns;
    uint32_t mode; /* st_mode */
    uint32_t pipe_id;   /* ends with the same id are one pipe; 0 = none */
    uint32_t pipe_size; /* F_GETPIPE_SZ */
    int32_t owner;      /* F_GETOWN, 0 = none */
    int32_t owner_signal; /* F_GETSIG */
    uint32_t path_len;  /* bytes after the struct, with the NUL */
    uint32_t extra_len; /* kind-specific bytes after the path, see doc/image-format.md */
    uint32_t reserved0;
    uint64_t a, b, c; /* kind-specific */
    uint64_t data_offset, data_len; /* contents, in the data area of the group image */
    uint64_t data_xxh3;
    uint64_t owner_type; /* F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP; where owner is not 0 */
    uint64_t reserved[3];
};

struct stint_fds {
    int32_t pid;
    uint32_t count;
};

struct stint_fd {
    int32_t fd;
    uint32_t flags; /* FD_CLOEXEC or 0 */
    uint32_t object_id;
    uint32_t reserved;
};

enum stint_segment_kind {
    STINT_SEG_ANON = 1,    /* MAP_SHARED | MAP_ANONYMOUS */
    STINT_SEG_MEMFD = 2,
    STINT_SEG_DELETED = 3, /* file without a name */
    STINT_SEG_SYSV = 4,
    STINT_SEG_SHMFILE = 5, /* file in /dev/shm or the like, on its path */
    STINT_SEG_PART = 6, /* more of the contents of segment `a`, which comes before */
};

struct stint_segment {
    uint32_t id;
    uint32_t kind; /* enum stint_segment_kind */
    uint64_t size; /* bytes */
    uint64_t dev, ino;
    uint32_t name_len, path_len; /* bytes after the struct, with the NULs */
    uint64_t a, b;               /* kind-specific */
    uint64_t huge_page;          /* size of its pages, where they are huge ones, or 0 */
};

#endif
