/* SEM_UNDO adjustments of System V semaphores: asked from the kernel, which has no call
 * for it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An adjustment lies between -32768 and 32767, and semop(2) fails with ERANGE when it would
 * leave that range, before any other reason. So operations that cannot succeed tell how far
 * the adjustment is from its ends, and change nothing: semop(2) does all or none. They are
 *
 *     bring the semaphore to 0; then, `distance` in pieces, up (SEM_UNDO) and down again;
 *     up by 1; wait for 0, without waiting
 *
 * which give ERANGE if adjustment - distance < -32768, else EAGAIN.
 */
#include "runtime/sem_undo.h"

#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/socket.h>

#include "common/ckpt.h"
#include "common/raw.h"

#define LOWEST   (-32768)
#define VALUE_MAX 32767 /* SEMVMX, SEMAEM */
#define PIECES   3     /* of the largest distance */
#define BATCH    32    /* semaphores that are asked about at once: SEMOPM may be small */
#define TRIES    20

struct set {
    int id;
    uint32_t count;
    unsigned short *values, *again; /* count of each */
};

static long ask(int id, struct sembuf *ops, size_t count)
{
    return raw_syscall(SYS_semtimedop, id, ops, count, NULL);
}

/* Operations that fit the comment above, without the last two. Returns how many. */
static size_t probe(struct sembuf *ops, uint32_t number, unsigned short value, int distance)
{
    size_t n = 0;

    if (value)
        ops[n++] = (struct sembuf){(unsigned short)number, (short)-value, IPC_NOWAIT};
    while (distance > 0) {
        short piece = (short)(distance < VALUE_MAX ? distance : VALUE_MAX);

        ops[n++] = (struct sembuf){(unsigned short)number, piece, SEM_UNDO};
        ops[n++] = (struct sembuf){(unsigned short)number, (short)-piece, IPC_NOWAIT};
        distance -= piece;
    }
    return n;
}

static size_t never(struct sembuf *ops, uint32_t number)
{
    ops[0] = (struct sembuf){(unsigned short)number, 1, 0};
    ops[1] = (struct sembuf){(unsigned short)number, 0, IPC_NOWAIT};
    return 2;
}

/* Is the adjustment of each semaphore from first on at least `least`? 1, 0, or -errno. */
static int is_at_least(const struct set *set, uint32_t first, uint32_t count, int least)
{
    struct sembuf ops[BATCH * (1 + 2 * PIECES) + 2];
    size_t n = 0;
    long ret;

    for (uint32_t i = first; i < first + count; i++)
        n += probe(ops + n, i, set->values[i], least - LOWEST);
    n += never(ops + n, first);
    ret = ask(set->id, ops, n);
    return ret == -EAGAIN ? 1 : ret == -ERANGE ? 0 : ret < 0 ? (int)ret : -EPROTO;
}

/* All of them 0? "At most 0" is asked by going down. Likewise. */
static int are_zero(const struct set *set, uint32_t first, uint32_t count)
{
    struct sembuf ops[BATCH * 3 + 2];
    size_t n = 0;
    long ret;
    int low = is_at_least(set, first, count, 0);

    if (low != 1)
        return low;
    for (uint32_t i = first; i < first + count; i++) {
        short up = (short)(VALUE_MAX - set->values[i]);

        if (up)
            ops[n++] = (struct sembuf){(unsigned short)i, up, 0};
        ops[n++] = (struct sembuf){(unsigned short)i, -VALUE_MAX, SEM_UNDO | IPC_NOWAIT};
    }
    n += never(ops + n, first);
    ret = ask(set->id, ops, n);
    return ret == -EAGAIN ? 1 : ret == -ERANGE ? 0 : ret < 0 ? (int)ret : -EPROTO;
}

static int find_adjustment(const struct set *set, uint32_t number, int *adjustment)
{
    int low = LOWEST, high = VALUE_MAX;

    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        int ret = is_at_least(set, number, 1, middle);

        if (ret < 0)
            return ret;
        if (ret)
            low = middle;
        else
            high = middle - 1;
    }
    *adjustment = low;
    return 0;
}

static int send_one(int channel, int id, uint32_t number, int adjustment)
{
    struct stint_ckpt_sem_undo packet = {
        .header = {STINT_CKPT_MAGIC, STINT_CKPT_VERSION, STINT_CKPT_SEM_UNDO},
        .id = id,
        .number = number,
        .adjustment = adjustment};
    long n;

    do
        n = raw_syscall(SYS_sendto, channel, &packet, sizeof(packet), MSG_NOSIGNAL, NULL, 0);
    while (n == -EINTR);
    return n < 0 ? (int)n : 0;
}

/* The values as the kernel has them, or -errno. */
static int read_values(const struct set *set, unsigned short *values)
{
    return (int)raw_syscall(SYS_semctl, set->id, 0, GETALL, values);
}

static int look_at(const struct set *set, uint32_t first, uint32_t count, int *adjustments)
{
    int ret = are_zero(set, first, count);

    memset(adjustments, 0, count * sizeof(*adjustments));
    for (uint32_t i = 0; ret == 0 && i < count; i++)
        ret = find_adjustment(set, first + i, &adjustments[i]);
    return ret < 0 ? ret : 0;
}

/* The answers hold for the values that were read: whoever is not part of the program may
 * have changed them meanwhile. */
static int look_at_still(const struct set *set, uint32_t first, uint32_t count,
                         int *adjustments)
{
    for (int tries = 0; tries < TRIES; tries++) {
        int ret = look_at(set, first, count, adjustments), read = read_values(set, set->again);

        if (read < 0)
            return read;
        if (memcmp(set->values, set->again, set->count * sizeof(*set->values)) == 0)
            return ret;
        memcpy(set->values, set->again, set->count * sizeof(*set->values));
    }
    return -EAGAIN;
}

/* SEMOPM may be set so low that a batch is too big: then one by one. */
static int send_range(int channel, const struct set *set, uint32_t first, uint32_t count)
{
    int adjustments[BATCH];
    int ret = look_at_still(set, first, count, adjustments);

    if (ret == -E2BIG && count > 1) {
        ret = 0;
        for (uint32_t i = 0; ret == 0 && i < count; i++)
            ret = send_range(channel, set, first + i, 1);
        return ret;
    }
    for (uint32_t i = 0; ret == 0 && i < count; i++) {
        if (adjustments[i])
            ret = send_one(channel, set->id, first + i, adjustments[i]);
    }
    return ret;
}

static int send_set(int channel, int id, uint32_t count)
{
    size_t len = (2 * count * sizeof(unsigned short) + 4095) & ~(size_t)4095;
    struct set set = {.id = id, .count = count};
    long at = raw_syscall(SYS_mmap, NULL, len, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int ret;

    if (raw_is_error(at))
        return (int)at;
    set.values = (unsigned short *)at;
    set.again = set.values + count;
    ret = read_values(&set, set.values);
    for (uint32_t first = 0; ret == 0 && first < count; first += BATCH)
        ret = send_range(channel, &set, first, count - first < BATCH ? count - first : BATCH);
    (void)raw_syscall(SYS_munmap, at, len); /* just mapped */
    /* removed meanwhile, or not ours to change: then there is nothing to undo either */
    return ret == -EINVAL || ret == -EIDRM || ret == -EACCES ? 0 : ret;
}

int sem_undo_send(int channel)
{
    struct seminfo info;
    struct semid_ds state;
    long last = raw_syscall(SYS_semctl, 0, 0, SEM_INFO, &info);
    int ret = 0;

    for (long index = 0; ret == 0 && index <= last; index++) {
        long id = raw_syscall(SYS_semctl, index, 0, SEM_STAT, &state);

        /* Without any semop(2) so far there is nothing to undo; asking would set the time of
         * the last one when this process ends, and programs wait for the first. */
        if (id >= 0 && state.sem_otime != 0)
            ret = send_set(channel, (int)id, (uint32_t)state.sem_nsems);
    }
    return ret;
}
