/* System V IPC.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A child enters the program's IPC namespace, looks, and writes what it finds to a
 * nameless file: records, each followed by its contents.
 */
#include "coordinator/agent_ipc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "common/image_write.h"
#include "coordinator/agent_group.h"
#include "coordinator/agent_huge.h"
#include "coordinator/agent_namespace.h"
#include "coordinator/agent_state.h"

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

struct agent_ipc_item {
    struct stint_ipc record;
    const char *contents;
    uint64_t len;
};

struct agent_ipc {
    char *bytes; /* what the child wrote, mapped: NULL = nothing */
    size_t len;
    struct agent_ipc_item *items;
    size_t count;
};

/* --- in the child ------------------------------------------------------------------- */

struct look {
    const struct agent_group *group;
    const struct agent *agent;
    FILE *out;
    time_t since; /* when the program began */
    char *error;  /* of the parent: shared */
};

#define ERROR_BYTES 256

static void fail(const struct look *look, const char *fmt, ...) STINT_PRINTF(2, 3)
    __attribute__((noreturn));

static void fail(const struct look *look, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(look->error, ERROR_BYTES, fmt, args);
    va_end(args);
    _exit(1);
}

static void enter(const struct look *look)
{
    struct stint_err err;

    if (agent_namespace_enter_ipc(look->agent->root, &err) < 0)
        fail(look, "%s", err.text);
}

static void put(const struct look *look, const void *bytes, size_t len)
{
    if (len && fwrite(bytes, len, 1, look->out) != 1)
        fail(look, "keep System V IPC: %s", strerror(errno));
}

static bool is_member(const struct look *look, int pid)
{
    const struct agent_group *group = look->group;

    for (size_t i = 0; i < group->nmembers; i++) {
        if (pid > 0 && group->members[i].pid == pid)
            return true;
    }
    return false;
}

static bool is_of_program(const struct look *look, const struct ipc_perm *perm, time_t changed)
{
    if (look->agent->restore)
        return true;
    return perm->cuid == geteuid() && changed >= look->since;
}

static struct stint_ipc record_of(enum stint_ipc_kind kind, int id, const struct ipc_perm *perm)
{
    return (struct stint_ipc){.kind = kind,
                              .id = id,
                              .key = perm->__key,
                              .mode = perm->mode & 0777,
                              .uid = perm->uid,
                              .gid = perm->gid};
}

/* In the first run there are others of the same user, who may remove theirs meanwhile. */
static bool was_removed(void)
{
    return errno == EINVAL || errno == EIDRM;
}

static void look_at_shm(const struct look *look, int id)
{
    struct shmid_ds state;
    const struct agent_segment *segment = NULL;
    struct stint_ipc record;
    void *at;

    if (shmctl(id, IPC_STAT, &state) < 0)
        return; /* somebody else's, or gone */
    for (size_t i = 0; i < look->group->segments.count; i++) {
        const struct agent_segment *s = &look->group->segments.list[i];

        if (s->record.kind == STINT_SEG_SYSV && s->record.ino == (uint64_t)id)
            segment = s;
    }
    if (!segment && !is_member(look, state.shm_cpid) && !is_member(look, state.shm_lpid)
        && !is_of_program(look, &state.shm_perm, state.shm_ctime))
        return;
    record = record_of(STINT_IPC_SHM, id, &state.shm_perm);
    record.size = state.shm_segsz;
    record.flags = state.shm_perm.mode & SHM_DEST ? STINT_IPC_REMOVED : 0;
    record.segment_id = segment ? segment->record.id : 0;
    record.data_len = segment ? 0 : state.shm_segsz;
    record.huge_page = segment ? segment->record.huge_page : 0;
    if (segment) {
        put(look, &record, sizeof(record));
        return;
    }
    at = shmat(id, NULL, SHM_RDONLY);
    if (at == (void *)-1 && was_removed())
        return;
    if (at == (void *)-1)
        fail(look, "attach shared memory %d: %s", id, strerror(errno));
    record.huge_page = agent_huge_page_at(at);
    put(look, &record, sizeof(record));
    put(look, at, state.shm_segsz);
    (void)shmdt(at); /* just attached */
}

static void look_at_sem(const struct look *look, int id)
{
    struct semid_ds state;
    union {
        int value;
        struct semid_ds *state;
        unsigned short *values;
    } arg = {.state = &state};
    STINT_AUTO_FREE unsigned short *values = NULL;
    struct stint_ipc record;

    if (semctl(id, 0, IPC_STAT, arg) < 0
        || !is_of_program(look, &state.sem_perm, state.sem_ctime))
        return;
    values = calloc(state.sem_nsems + 1, sizeof(*values));
    arg.values = values;
    errno = ENOMEM;
    if (!values || semctl(id, 0, GETALL, arg) < 0) {
        if (was_removed())
            return;
        fail(look, "read the semaphores %d: %s", id, strerror(errno));
    }
    record = record_of(STINT_IPC_SEM, id, &state.sem_perm);
    record.size = state.sem_nsems;
    record.data_len = state.sem_nsems * sizeof(*values);
    put(look, &record, sizeof(record));
    put(look, values, record.data_len);
}

/* Without taking them out. */
static void copy_messages(const struct look *look, int id, struct stint_ipc *record,
                          size_t count)
{
    size_t room = 1 << 20;
    STINT_AUTO_FREE char *all = NULL;
    size_t len = 0;
    STINT_AUTO_FREE struct {
        long type;
        char text[];
    } *message = malloc(sizeof(long) + room);

    for (size_t i = 0; message && i < count; i++) {
        ssize_t n = msgrcv(id, message, room, (long)i, MSG_COPY | IPC_NOWAIT);
        struct stint_ipc_message head;
        size_t padded;
        char *grown;

        if (n < 0 && was_removed())
            return;
        if (n < 0)
            fail(look, "read the message queue %d: %s", id, strerror(errno));
        head = (struct stint_ipc_message){message->type, (uint64_t)n};
        padded = ((size_t)n + 7) & ~(size_t)7;
        grown = realloc(all, len + sizeof(head) + padded);
        if (!grown)
            fail(look, "out of memory");
        all = grown;
        memcpy(all + len, &head, sizeof(head));
        memset(all + len + sizeof(head), 0, padded);
        memcpy(all + len + sizeof(head), message->text, (size_t)n);
        len += sizeof(head) + padded;
    }
    record->data_len = len;
    put(look, record, sizeof(*record));
    put(look, all, len);
}

static void look_at_msg(const struct look *look, int id)
{
    struct msqid_ds state;
    struct stint_ipc record;

    if (msgctl(id, IPC_STAT, &state) < 0
        || (!is_member(look, state.msg_lspid) && !is_member(look, state.msg_lrpid)
            && !is_of_program(look, &state.msg_perm, state.msg_ctime)))
        return;
    record = record_of(STINT_IPC_MSG, id, &state.msg_perm);
    record.size = state.msg_qbytes;
    copy_messages(look, id, &record, state.msg_qnum);
}

static void look_at_all(const struct look *look, const char *path,
                        void (*look_at)(const struct look *look, int id))
{
    STINT_AUTO_FCLOSE FILE *file = fopen(path, "re");
    STINT_AUTO_FREE char *line = NULL;
    size_t room = 0;
    int id;

    if (!file)
        return; /* a kernel without System V IPC */
    while (getline(&line, &room, file) > 0) {
        if (sscanf(line, "%*d %d", &id) == 1)
            look_at(look, id);
    }
}

static void run_child(struct look *look) __attribute__((noreturn));

static void run_child(struct look *look)
{
    enter(look);
    look_at_all(look, "/proc/sysvipc/shm", look_at_shm);
    look_at_all(look, "/proc/sysvipc/sem", look_at_sem);
    look_at_all(look, "/proc/sysvipc/msg", look_at_msg);
    if (fflush(look->out) != 0)
        fail(look, "keep System V IPC: %s", strerror(errno));
    _exit(0);
}

/* --- in the agent --------------------------------------------------------------------- */

time_t agent_ipc_program_began(const struct agent *agent)
{
    struct agent_proc proc;
    struct timespec now, boot;
    long hz = sysconf(_SC_CLK_TCK);

    if (agent_proc_read(agent->root, &proc) < 0)
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    return now.tv_sec - boot.tv_sec + (time_t)(proc.start / (uint64_t)hz) - 1;
}

/* Take what the child has written. */
static int load(struct agent_ipc *ipc, int fd, struct stint_err *err)
{
    off_t len = lseek(fd, 0, SEEK_END);
    void *bytes;

    if (len <= 0)
        return 0;
    bytes = mmap(NULL, (size_t)len, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return stint_err_set(err, -errno, "list System V IPC");
    ipc->bytes = bytes;
    ipc->len = (size_t)len;
    for (size_t at = 0; at + sizeof(struct stint_ipc) <= ipc->len;) {
        struct agent_ipc_item *items
            = reallocarray(ipc->items, ipc->count + 1, sizeof(*items)), *item;

        if (!items)
            return stint_err_set(err, -ENOMEM, "list System V IPC");
        ipc->items = items;
        item = &items[ipc->count++];
        memcpy(&item->record, ipc->bytes + at, sizeof(item->record));
        at += sizeof(item->record);
        item->contents = ipc->bytes + at;
        item->len = item->record.data_len;
        item->record.data_len = 0;
        at += item->len;
    }
    return 0;
}

static int run(struct look *look, struct stint_err *err)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        run_child(look);
    if (pid < 0)
        return stint_err_set(err, -errno, "fork");
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return stint_err_set(err, -errno, "wait for a child");
    }
    if (status != 0)
        return stint_err_set(err, -EIO, "look at System V IPC: %s.",
                             look->error[0] ? look->error : "the process that looks died");
    return 0;
}

static const char *comm_of(const struct agent_group *group, pid_t pid)
{
    for (size_t i = 0; i < group->nmembers; i++) {
        if (group->members[i].record.pid == pid)
            return group->members[i].record.comm;
    }
    return "?";
}

static bool has_semaphores(const struct agent_ipc *ipc, int id)
{
    for (size_t i = 0; i < ipc->count; i++) {
        if (ipc->items[i].record.kind == STINT_IPC_SEM && ipc->items[i].record.id == id)
            return true;
    }
    return false;
}

/* What a process is to undo at its end has to be in the checkpoint. */
static int check_undo(const struct agent_group *group, struct stint_err *err)
{
    for (size_t i = 0; i < group->nundo; i++) {
        const struct stint_sem_undo *undo = &group->undo[i];

        if (has_semaphores(group->ipc, undo->id))
            continue;
        stint_err_set(err, -ENOTSUP,
                      "process %d (%s) has SEM_UNDO adjustments of the semaphores %d, which are "
                      "not the program's own: make them after its start, as the same user.",
                      (int)undo->pid, comm_of(group, undo->pid), undo->id);
        return AGENT_IPC_E_REFUSED;
    }
    return 0;
}

int agent_ipc_read(struct agent_group *group, const struct agent *agent,
                   struct stint_err *err)
{
    struct agent_ipc *ipc = calloc(1, sizeof(*ipc));
    struct look look = {.group = group, .agent = agent, .since = agent_ipc_program_began(agent)};
    int fd, ret;

    if (!ipc)
        return stint_err_set(err, -ENOMEM, "look at System V IPC");
    group->ipc = ipc;
    fd = memfd_create("stint-ipc", MFD_CLOEXEC);
    look.error = mmap(NULL, ERROR_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                      -1, 0);
    look.out = fd < 0 ? NULL : fdopen(fd, "we");
    if (!look.out || look.error == MAP_FAILED) {
        ret = stint_err_set(err, -errno, "look at System V IPC");
    } else {
        ret = run(&look, err);
        if (ret == 0)
            ret = load(ipc, fd, err);
        if (ret == 0)
            ret = check_undo(group, err);
    }
    if (look.error != MAP_FAILED)
        (void)munmap(look.error, ERROR_BYTES);
    if (look.out)
        (void)fclose(look.out); /* the child has written */
    else
        stint_cleanup_close(&fd);
    return ret;
}

int agent_ipc_store(struct agent_ipc *ipc, struct stint_image_writer *writer,
                    struct stint_err *err)
{
    for (size_t i = 0; ipc && i < ipc->count; i++) {
        struct agent_ipc_item *item = &ipc->items[i];
        int ret = stint_image_writer_contents(writer, item->contents, item->len,
                                              &item->record.data_offset,
                                              &item->record.data_len,
                                              &item->record.data_xxh3, err);

        if (ret < 0)
            return ret;
    }
    return 0;
}

int agent_ipc_write(struct agent_ipc *ipc, struct stint_image_writer *writer,
                    struct stint_err *err)
{
    for (size_t i = 0; ipc && i < ipc->count; i++) {
        const struct iovec part = {&ipc->items[i].record, sizeof(ipc->items[i].record)};
        int ret = stint_image_writer_record(writer, STINT_REC_IPC, STINT_RECORD_REQUIRED,
                                            &part, 1, err);

        if (ret < 0)
            return ret;
    }
    return 0;
}

void agent_ipc_free(struct agent_ipc *ipc)
{
    if (!ipc)
        return;
    if (ipc->bytes)
        (void)munmap(ipc->bytes, ipc->len);
    free(ipc->items);
    free(ipc);
}
