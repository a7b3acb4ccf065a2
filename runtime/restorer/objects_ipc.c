/* System V IPC in the new namespace, with the old ids.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "runtime/restorer/objects.h"

#ifndef SHM_HUGE_SHIFT
#define SHM_HUGE_SHIFT 26
#endif

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};

/* The next object of that kind gets this id. */
static int want_id(const char *kind, int id, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    char path[64], text[16];
    int len = snprintf(text, sizeof(text), "%d", id);

    (void)snprintf(path, sizeof(path), "/proc/sys/kernel/%s_next_id", kind); /* fits */
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, (size_t)len) != len)
        return stint_err_set(err, -errno, "the program uses System V IPC; ask for its id (%s)",
                             path);
    return 0;
}

static int check_id(const char *what, int got, int id, struct stint_err *err)
{
    if (got < 0)
        return stint_err_set(err, -errno, "make the %s %d", what, id);
    if (got != id)
        return stint_err_set(err, -EEXIST, "the %s %d came out as %d", what, id, got);
    return 0;
}

static void *read_contents(struct stint_restore *restore, const struct stint_ipc *ipc,
                           struct stint_err *err)
{
    void *buf = malloc(ipc->data_len + 1);
    int r = buf ? 0 : -ENOMEM;

    if (r == 0 && ipc->data_len)
        r = stint_image_read_data(restore->group_image, ipc->data_offset, ipc->data_len,
                                  ipc->data_xxh3, buf, err);
    else if (r < 0)
        (void)stint_err_set(err, r, "read System V IPC");
    if (r < 0) {
        free(buf);
        return NULL;
    }
    return buf;
}

static int fill_shm(struct stint_restore *restore, const struct stint_ipc *ipc,
                    struct stint_err *err)
{
    const struct stint_restored_segment *segment =
        ipc->segment_id ? stint_restore_segment(restore, ipc->segment_id) : NULL;
    STINT_AUTO_FREE void *contents = NULL;
    uint64_t page = STINT_PAGE_SIZE;
    char *at;
    int r = 0;

    if (!segment && ipc->data_len != ipc->size)
        return stint_err_set(err, -EBADMSG, "shared memory %d has no contents.", ipc->id);
    contents = segment ? NULL : read_contents(restore, ipc, err);
    if (!segment && !contents)
        return err->code;
    at = shmat(ipc->id, NULL, 0);
    if (at == (void *)-1)
        return stint_err_set(err, -errno, "attach shared memory %d", ipc->id);
    if (ipc->huge_page)
        page = ipc->huge_page;
    if (contents)
        memcpy(at, contents, ipc->size);
    else if (segment->image)
        r = stint_segment_load(segment->image, at, (ipc->size + page - 1) & ~(page - 1), err);
    for (size_t i = 0; r == 0 && segment && i < restore->nsegments; i++) {
        const struct stint_restored_segment *part = &restore->segments[i];

        if (part->segment->kind == STINT_SEG_PART && part->segment->a == ipc->segment_id
            && part->image)
            r = stint_segment_load(part->image, at, (ipc->size + page - 1) & ~(page - 1), err);
    }
    (void)shmdt(at); /* just attached */
    return r;
}

static int make_shm(struct stint_restore *restore, const struct stint_ipc *ipc,
                    struct stint_err *err)
{
    int flags = IPC_CREAT | IPC_EXCL | 0600;
    struct shmid_ds state;
    int r = want_id("shm", ipc->id, err);

    if (ipc->huge_page)
        flags |= SHM_HUGETLB | __builtin_ctzll(ipc->huge_page) << SHM_HUGE_SHIFT;
    if (r == 0)
        r = check_id("shared memory", shmget(ipc->key, ipc->size, flags), ipc->id, err);
    if (r == 0)
        r = fill_shm(restore, ipc, err);
    if (r < 0 || shmctl(ipc->id, IPC_STAT, &state) < 0)
        return r;
    state.shm_perm.mode = ipc->mode;
    state.shm_perm.uid = ipc->uid;
    state.shm_perm.gid = ipc->gid;
    (void)shmctl(ipc->id, IPC_SET, &state); /* other owners may not exist here */
    return 0;
}

static int make_sem(struct stint_restore *restore, const struct stint_ipc *ipc,
                    struct stint_err *err)
{
    STINT_AUTO_FREE unsigned short *values = read_contents(restore, ipc, err);
    struct semid_ds state;
    union semun arg = {.array = values};
    int r = values ? want_id("sem", ipc->id, err) : err->code;

    if (r == 0 && ipc->data_len != ipc->size * sizeof(*values))
        return stint_err_set(err, -EBADMSG, "semaphores %d have no values.", ipc->id);
    if (r == 0)
        r = check_id("semaphores",
                     semget(ipc->key, (int)ipc->size, IPC_CREAT | IPC_EXCL | 0600), ipc->id,
                     err);
    if (r < 0)
        return r;
    if (semctl(ipc->id, 0, SETALL, arg) < 0)
        return stint_err_set(err, -errno, "set the semaphores %d", ipc->id);
    arg.buf = &state;
    if (semctl(ipc->id, 0, IPC_STAT, arg) < 0)
        return 0;
    state.sem_perm.mode = ipc->mode;
    state.sem_perm.uid = ipc->uid;
    state.sem_perm.gid = ipc->gid;
    (void)semctl(ipc->id, 0, IPC_SET, arg); /* as above */
    return 0;
}

static int send_all(const struct stint_ipc *ipc, const char *bytes, struct stint_err *err)
{
    for (uint64_t at = 0; at + sizeof(struct stint_ipc_message) <= ipc->data_len;) {
        const struct stint_ipc_message *head = (const void *)(bytes + at);
        STINT_AUTO_FREE struct {
            long type;
            char text[];
        } *message = NULL;

        at += sizeof(*head);
        if (head->len > ipc->data_len - at)
            return stint_err_set(err, -EBADMSG, "message queue %d is damaged.", ipc->id);
        message = malloc(sizeof(long) + head->len + 1);
        if (!message)
            return stint_err_set(err, -ENOMEM, "fill message queue %d", ipc->id);
        message->type = head->type;
        memcpy(message->text, bytes + at, head->len);
        if (msgsnd(ipc->id, message, head->len, IPC_NOWAIT) < 0)
            return stint_err_set(err, -errno, "fill message queue %d", ipc->id);
        at += (head->len + 7) & ~UINT64_C(7);
    }
    return 0;
}

static int make_msg(struct stint_restore *restore, const struct stint_ipc *ipc,
                    struct stint_err *err)
{
    STINT_AUTO_FREE char *bytes = read_contents(restore, ipc, err);
    struct msqid_ds state;
    int r = bytes ? want_id("msg", ipc->id, err) : err->code;

    if (r == 0)
        r = check_id("message queue", msgget(ipc->key, IPC_CREAT | IPC_EXCL | 0600), ipc->id,
                     err);
    if (r < 0)
        return r;
    if (msgctl(ipc->id, IPC_STAT, &state) < 0)
        return stint_err_set(err, -errno, "look at message queue %d", ipc->id);
    state.msg_perm.mode = ipc->mode;
    state.msg_perm.uid = ipc->uid;
    state.msg_perm.gid = ipc->gid;
    state.msg_qbytes = ipc->size;
    (void)msgctl(ipc->id, IPC_SET, &state); /* as above */
    return send_all(ipc, bytes, err);
}

int stint_ipc_make(struct stint_restore *restore, struct stint_err *err)
{
    struct stint_image_record rec;
    size_t cursor = 0;
    int r = 0;

    while (r == 0 && stint_image_next_of(restore->group_image, STINT_REC_IPC, &cursor, &rec)) {
        const struct stint_ipc *ipc = rec.payload;

        if (ipc->kind == STINT_IPC_SHM)
            r = make_shm(restore, ipc, err);
        else if (ipc->kind == STINT_IPC_SEM)
            r = make_sem(restore, ipc, err);
        else if (ipc->kind == STINT_IPC_MSG)
            r = make_msg(restore, ipc, err);
    }
    return r;
}

/* What SEM_UNDO does at the end is what was done with it before: here to and fro at once, so
 * that the value stays. In pieces for which there is room above or below every value. */
#define UNDO_PIECE 16383

static int undo_piece(int id, unsigned short number, short piece)
{
    struct sembuf ops[2] = {{number, piece, SEM_UNDO | IPC_NOWAIT},
                            {number, (short)-piece, IPC_NOWAIT}};
    int value = semctl(id, number, GETVAL);

    if (value < 0)
        return -errno;
    if (value + piece < 0 || value + piece > INT16_MAX) {
        struct sembuf first = ops[1];

        ops[1] = ops[0];
        ops[0] = first;
    }
    return semop(id, ops, 2) < 0 ? -errno : 0;
}

static bool has_semaphores(const struct stint_restore *restore, int id)
{
    struct stint_image_record rec;
    size_t cursor = 0;

    while (stint_image_next_of(restore->group_image, STINT_REC_IPC, &cursor, &rec)) {
        const struct stint_ipc *ipc = rec.payload;

        if (ipc->kind == STINT_IPC_SEM && ipc->id == id)
            return true;
    }
    return false;
}

static int undo(const struct stint_sem_undo *undo, struct stint_err *err)
{
    int r = 0;

    for (int left = -undo->adjustment; r == 0 && left != 0;) {
        int piece = left > UNDO_PIECE ? UNDO_PIECE : left < -UNDO_PIECE ? -UNDO_PIECE : left;

        r = undo_piece(undo->id, (unsigned short)undo->number, (short)piece);
        left -= piece;
    }
    return r < 0 ? stint_err_set(err, r, "restore the SEM_UNDO adjustment of semaphore %u of %d",
                                 undo->number, undo->id)
                 : 0;
}

int stint_ipc_undo(struct stint_restore *restore, int32_t pid, struct stint_err *err)
{
    uint64_t len = 0;
    const struct stint_sem_undo *list =
        stint_image_find(restore->group_image, STINT_REC_SEM_UNDO, &len);
    int r = 0;

    for (size_t i = 0; r == 0 && list && i < len / sizeof(*list); i++) {
        if (list[i].pid == pid && has_semaphores(restore, list[i].id)) /* or it was left out */
            r = undo(&list[i], err);
    }
    return r;
}

void stint_ipc_remove(struct stint_restore *restore)
{
    struct stint_image_record rec;
    size_t cursor = 0;

    while (stint_image_next_of(restore->group_image, STINT_REC_IPC, &cursor, &rec)) {
        const struct stint_ipc *ipc = rec.payload;

        if (ipc->kind == STINT_IPC_SHM && ipc->flags & STINT_IPC_REMOVED)
            (void)shmctl(ipc->id, IPC_RMID, NULL); /* it was made here */
    }
}
