/* Eight threads that share a counter, allocate and free, and chain a hash each.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Prints the same lines however often it is stopped and restored in between.
 */
#include "gate.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

enum { THREADS = 8, ROUNDS = 3000, MIDDLE = 1000, BLOCKS = 32 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_in_middle = PTHREAD_COND_INITIALIZER;
static int in_middle;
static long counter;
static __thread uint64_t hash;

static void round_of_work(unsigned id, unsigned round)
{
    static __thread char *blocks[BLOCKS];
    static __thread size_t lens[BLOCKS];
    unsigned slot = (unsigned)(hash >> 7) % BLOCKS;

    for (size_t i = 0; blocks[slot] && i < lens[slot]; i++)
        if (blocks[slot][i] != (char)(slot + id))
            fail("a block of memory has changed");
    free(blocks[slot]);
    lens[slot] = (hash >> 20) % 4000 + 1;
    blocks[slot] = malloc(lens[slot]);
    if (!blocks[slot])
        fail("malloc");
    memset(blocks[slot], (int)(slot + id), lens[slot]);
    hash = (hash ^ round) * 0x9e3779b97f4a7c15u + id;
    hash ^= hash >> 29;
    (void)pthread_mutex_lock(&mutex); /* a normal mutex: cannot fail */
    counter++;
    (void)pthread_mutex_unlock(&mutex); /* likewise */
}

static void wait_in_the_middle(unsigned id)
{
    uint64_t kept = hash;

    (void)pthread_mutex_lock(&mutex); /* as above */
    in_middle++;
    (void)pthread_cond_broadcast(&all_in_middle);
    (void)pthread_mutex_unlock(&mutex);
    for (unsigned i = 0; !gate_open(); i++) { /* work whose result is thrown away */
        char *block = malloc(i % 5000 + 1);

        if (!block)
            fail("malloc");
        memset(block, (int)i, i % 5000 + 1);
        hash = hash * 31 + (uint64_t)block[i % 5000];
        free(block);
        if (i % 64 == 0)
            gate_nap();
    }
    hash = kept;
}

static void *worker(void *arg)
{
    unsigned id = (unsigned)(uintptr_t)arg;
    uint64_t *result = malloc(sizeof *result);

    if (!result)
        fail("malloc");
    hash = id + 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (round == MIDDLE)
            wait_in_the_middle(id);
        round_of_work(id, round);
    }
    *result = hash;
    return result;
}

int main(void)
{
    pthread_t ids[THREADS];
    uint64_t *result;

    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a file would be fully buffered */
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&ids[i], NULL, worker, (void *)i) != 0)
            fail("pthread_create");
    (void)pthread_mutex_lock(&mutex); /* as above */
    while (in_middle < THREADS)
        (void)pthread_cond_wait(&all_in_middle, &mutex);
    (void)pthread_mutex_unlock(&mutex);
    (void)printf("all in the middle\n");
    gate_wait();
    for (int i = 0; i < THREADS; i++) {
        if (pthread_join(ids[i], (void **)&result) != 0)
            fail("pthread_join");
        (void)printf("thread %d: %016llx\n", i, (unsigned long long)*result);
        free(result);
    }
    (void)printf("counter %ld\n", counter);
    return 0;
}
