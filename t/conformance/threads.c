/* Conformance: threads, their registers and what they wait for.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <asm/prctl.h>
#include <fenv.h>
#include <immintrin.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/prctl.h>

enum { THREADS = 8 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int shared;

static long robust_head(pid_t tid)
{
    void *head = NULL;
    size_t len = 0;

    SYS(syscall(SYS_get_robust_list, tid, &head, &len));
    return (long)head;
}

static void *keeps_ids(void *arg)
{
    pid_t tid = gettid_raw();
    pthread_t self = pthread_self();
    long robust = robust_head(0);
    char path[64];

    __atomic_add_fetch(&shared, 1, __ATOMIC_SEQ_CST);
    UNTIL(held_no_more());
    CHECK_EQ(gettid_raw(), tid);
    CHECK_EQ(gettid(), tid);
    CHECK(pthread_equal(pthread_self(), self));
    CHECK_EQ(robust_head(0), robust);
    (void)snprintf(path, sizeof path, "/proc/self/task/%d", tid);
    CHECK_EQ(access(path, F_OK), 0);
    return NULL;
}

CASE(ids)
{
    pthread_t ids[THREADS];
    long robust = robust_head(0);

    for (int i = 0; i < THREADS; i++)
        ids[i] = thread(keeps_ids, NULL);
    UNTIL(shared == THREADS);
    hold();
    for (int i = 0; i < THREADS; i++)
        PTH(pthread_join(ids[i], NULL));
    CHECK_EQ(robust_head(0), robust);
    CHECK_EQ(gettid_raw(), getpid());
}

static __thread int local = 3;
static pthread_key_t key;

static void *keeps_locals(void *arg)
{
    local = (int)(intptr_t)arg;
    PTH(pthread_setspecific(key, &local));
    errno = 1000 + local;
    __atomic_add_fetch(&shared, 1, __ATOMIC_SEQ_CST);
    while (!held_no_more()) {
        int before = errno;

        nap();
        CHECK_EQ(before, 1000 + local);
    }
    CHECK_EQ(local, (intptr_t)arg);
    CHECK(pthread_getspecific(key) == &local);
    CHECK_EQ(errno, 1000 + local);
    return NULL;
}

CASE(locals)
{
    pthread_t ids[THREADS];

    PTH(pthread_key_create(&key, NULL));
    for (int i = 0; i < THREADS; i++)
        ids[i] = thread(keeps_locals, (void *)(intptr_t)(50 + i));
    UNTIL(shared == THREADS);
    hold();
    for (int i = 0; i < THREADS; i++)
        PTH(pthread_join(ids[i], NULL));
    CHECK_EQ(local, 3);
}

static void *contends(void *arg)
{
    for (int i = 0; i < 20000 || !held_no_more(); i++) {
        PTH(pthread_mutex_lock(&mutex));
        shared++;
        PTH(pthread_mutex_unlock(&mutex));
        if (i % 1000 == 0)
            nap();
        __atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

CASE(mutex_under_contention)
{
    pthread_t ids[THREADS];
    int done[THREADS] = {0}, sum = 0;

    for (int i = 0; i < THREADS; i++)
        ids[i] = thread(contends, &done[i]);
    hold();
    for (int i = 0; i < THREADS; i++) {
        PTH(pthread_join(ids[i], NULL));
        sum += done[i];
    }
    CHECK_EQ(shared, sum);
}

static void *wants_the_mutex(void *arg)
{
    mark("wanting");
    PTH(pthread_mutex_lock(&mutex));
    shared = 2;
    PTH(pthread_mutex_unlock(&mutex));
    return NULL;
}

CASE(mutex_held_and_wanted)
{
    pthread_t id;

    PTH(pthread_mutex_lock(&mutex));
    id = thread(wants_the_mutex, NULL);
    await("wanting");
    hold();
    CHECK_EQ(shared, 0);
    PTH(pthread_mutex_unlock(&mutex));
    PTH(pthread_join(id, NULL));
    CHECK_EQ(shared, 2);
}

static void mutex_of_kind(pthread_mutex_t *which, int type, int robust, int protocol)
{
    pthread_mutexattr_t attr;

    PTH(pthread_mutexattr_init(&attr));
    PTH(pthread_mutexattr_settype(&attr, type));
    PTH(pthread_mutexattr_setrobust(&attr, robust));
    PTH(pthread_mutexattr_setprotocol(&attr, protocol));
    PTH(pthread_mutex_init(which, &attr));
}

CASE(mutex_recursive)
{
    pthread_mutex_t recursive;

    mutex_of_kind(&recursive, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED,
                  PTHREAD_PRIO_NONE);
    PTH(pthread_mutex_lock(&recursive));
    PTH(pthread_mutex_lock(&recursive));
    hold();
    PTH(pthread_mutex_lock(&recursive));
    for (int i = 0; i < 3; i++)
        PTH(pthread_mutex_unlock(&recursive));
    CHECK_EQ(pthread_mutex_unlock(&recursive), EPERM);
}

static void *dies_holding(void *arg)
{
    PTH(pthread_mutex_lock(arg));
    mark("locked");
    UNTIL(held_no_more());
    return NULL; /* without unlocking */
}

CASE(mutex_robust_owner_dies_afterwards)
{
    pthread_mutex_t robust;
    pthread_t id;

    mutex_of_kind(&robust, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE);
    id = thread(dies_holding, &robust);
    await("locked");
    hold();
    PTH(pthread_join(id, NULL));
    CHECK_EQ(pthread_mutex_lock(&robust), EOWNERDEAD);
    PTH(pthread_mutex_consistent(&robust));
    PTH(pthread_mutex_unlock(&robust));
}

static void *wants_pi(void *which)
{
    mark("wanting");
    PTH(pthread_mutex_lock(which));
    PTH(pthread_mutex_unlock(which));
    return NULL;
}

CASE(mutex_with_priority_inheritance)
{
    pthread_mutex_t inheriting;
    pthread_t id;

    mutex_of_kind(&inheriting, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED,
                  PTHREAD_PRIO_INHERIT);
    PTH(pthread_mutex_lock(&inheriting));
    id = thread(wants_pi, &inheriting);
    await("wanting");
    hold();
    PTH(pthread_mutex_unlock(&inheriting));
    PTH(pthread_join(id, NULL));
}

static void *waits_on_cond(void *arg)
{
    PTH(pthread_mutex_lock(&mutex));
    shared++;
    while (shared < 1000)
        PTH(pthread_cond_wait(&cond, &mutex));
    PTH(pthread_mutex_unlock(&mutex));
    return NULL;
}

CASE(condition_waiters)
{
    pthread_t ids[THREADS];

    for (int i = 0; i < THREADS; i++)
        ids[i] = thread(waits_on_cond, NULL);
    for (int ready = 0; ready < THREADS;) {
        PTH(pthread_mutex_lock(&mutex));
        ready = shared;
        PTH(pthread_mutex_unlock(&mutex));
    }
    hold();
    PTH(pthread_mutex_lock(&mutex));
    CHECK_EQ(shared, THREADS);
    shared = 1000;
    PTH(pthread_cond_broadcast(&cond));
    PTH(pthread_mutex_unlock(&mutex));
    for (int i = 0; i < THREADS; i++)
        PTH(pthread_join(ids[i], NULL));
}

static pthread_barrier_t barrier;

static void *waits_at_barrier(void *arg)
{
    int got;

    __atomic_add_fetch(&shared, 1, __ATOMIC_SEQ_CST);
    got = pthread_barrier_wait(&barrier);
    CHECK(got == 0 || got == PTHREAD_BARRIER_SERIAL_THREAD);
    return NULL;
}

CASE(barrier_waiters)
{
    pthread_t ids[THREADS];

    PTH(pthread_barrier_init(&barrier, NULL, THREADS + 1));
    for (int i = 0; i < THREADS; i++)
        ids[i] = thread(waits_at_barrier, NULL);
    UNTIL(shared == THREADS);
    hold();
    (void)waits_at_barrier(NULL);
    for (int i = 0; i < THREADS; i++)
        PTH(pthread_join(ids[i], NULL));
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static void *wants_to_write(void *arg)
{
    mark("wanting");
    PTH(pthread_rwlock_wrlock(&rwlock));
    shared = 5;
    PTH(pthread_rwlock_unlock(&rwlock));
    return NULL;
}

CASE(rwlock_held_for_reading)
{
    pthread_t id;

    PTH(pthread_rwlock_rdlock(&rwlock));
    id = thread(wants_to_write, NULL);
    await("wanting");
    hold();
    CHECK_EQ(shared, 0);
    PTH(pthread_rwlock_unlock(&rwlock));
    PTH(pthread_join(id, NULL));
    CHECK_EQ(shared, 5);
}

static void *idles(void *arg)
{
    __atomic_add_fetch(&shared, 1, __ATOMIC_SEQ_CST);
    for (;;)
        nap();
    return NULL;
}

CASE(cancelled_afterwards)
{
    pthread_t id = thread(idles, NULL);
    void *result;

    UNTIL(shared == 1);
    hold();
    PTH(pthread_cancel(id));
    PTH(pthread_join(id, &result));
    CHECK(result == PTHREAD_CANCELED);
}

static void *returns_its_argument(void *arg)
{
    return arg;
}

CASE(created_afterwards)
{
    void *result;

    hold();
    for (intptr_t i = 1; i < 50; i++) {
        PTH(pthread_join(thread(returns_its_argument, (void *)i), &result));
        CHECK_EQ((intptr_t)result, i);
    }
}

CASE(ended_and_not_joined)
{
    pthread_t id = thread(returns_its_argument, (void *)99);
    void *result;

    hold();
    PTH(pthread_join(id, &result));
    CHECK_EQ((intptr_t)result, 99);
}

CASE(a_hundred)
{
    pthread_t ids[100];

    for (int i = 0; i < 100; i++)
        ids[i] = thread(keeps_ids, NULL);
    UNTIL(shared == 100);
    hold();
    for (int i = 0; i < 100; i++)
        PTH(pthread_join(ids[i], NULL));
}

static void *outlives_main(void *leader)
{
    PTH(pthread_join(*(pthread_t *)leader, NULL));
    hold();
    if (write(1, "PASS\n", 5) != 5)
        _exit(1);
    _exit(0);
}

CASE(main_thread_has_ended)
{
    static pthread_t leader;

    leader = pthread_self();
    (void)thread(outlives_main, &leader);
    pthread_exit(NULL);
}

static void *with_name(void *arg)
{
    char name[16];

    PTH(pthread_setname_np(pthread_self(), "worker number 9"));
    __atomic_add_fetch(&shared, 1, __ATOMIC_SEQ_CST);
    UNTIL(held_no_more());
    PTH(pthread_getname_np(pthread_self(), name, sizeof name));
    CHECK_STR(name, "worker number 9");
    return NULL;
}

CASE(names)
{
    char name[16];
    pthread_t id;

    SYS(prctl(PR_SET_NAME, "the \"leader\"\n"));
    id = thread(with_name, NULL);
    UNTIL(shared == 1);
    hold();
    PTH(pthread_join(id, NULL));
    SYS(prctl(PR_GET_NAME, name));
    CHECK_STR(name, "the \"leader\"\n");
}

static void *on_one_cpu(void *arg)
{
    cpu_set_t one, got;

    CPU_ZERO(&one);
    CPU_SET((int)(intptr_t)arg, &one);
    PTH(pthread_setaffinity_np(pthread_self(), sizeof one, &one));
    __atomic_add_fetch(&shared, 1, __ATOMIC_SEQ_CST);
    UNTIL(held_no_more());
    PTH(pthread_getaffinity_np(pthread_self(), sizeof got, &got));
    CHECK(CPU_EQUAL(&got, &one));
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(sched_getcpu(), (intptr_t)arg);
        (void)sched_yield(); /* always succeeds */
    }
    return NULL;
}

/* glibc answers sched_getcpu() from the thread's rseq area. */
CASE(affinity_and_rseq)
{
    cpu_set_t allowed;
    pthread_t ids[2];
    int cpus[2] = {-1, -1};

    SYS(sched_getaffinity(0, sizeof allowed, &allowed));
    for (int i = 0; i < CPU_SETSIZE && cpus[1] < 0; i++)
        if (CPU_ISSET(i, &allowed))
            cpus[cpus[0] >= 0] = i;
    if (cpus[1] < 0)
        skip("only one CPU");
    for (int i = 0; i < 2; i++)
        ids[i] = thread(on_one_cpu, (void *)(intptr_t)cpus[i]);
    UNTIL(shared == 2);
    hold();
    for (int i = 0; i < 2; i++)
        PTH(pthread_join(ids[i], NULL));
}

CASE(rounding_mode)
{
    double x;

    CHECK_EQ(fesetround(FE_UPWARD), 0);
    CHECK_EQ(fedisableexcept(FE_ALL_EXCEPT) >= 0, 1);
    hold();
    CHECK_EQ(fegetround(), FE_UPWARD);
    x = 1.0;
    __asm__ volatile("" : "+x"(x));
    x = x / 3.0;
    CHECK(x > 0.33333333333333331483);
}

/* Compute in registers only while checkpoints go by. */
static void *in_registers(void *arg)
{
    uint64_t a = 1, b = 2, c = 3, d = 4, rounds = 0;
    double x = 1.0, y = 0.5;

    while (!held_no_more() || rounds < 100) {
        for (int i = 0; i < 200000; i++) {
            a = a * 6364136223846793005u + 1442695040888963407u;
            b ^= a >> 17;
            c += b * 3;
            d = (d << 7 | d >> 57) ^ c;
            x = x * 1.0000001 + y;
            y = y * 0.9999999;
        }
        rounds++;
    }
    uint64_t a2 = 1, b2 = 2, c2 = 3, d2 = 4;
    double x2 = 1.0, y2 = 0.5;
    for (uint64_t r = 0; r < rounds; r++)
        for (int i = 0; i < 200000; i++) {
            a2 = a2 * 6364136223846793005u + 1442695040888963407u;
            b2 ^= a2 >> 17;
            c2 += b2 * 3;
            d2 = (d2 << 7 | d2 >> 57) ^ c2;
            x2 = x2 * 1.0000001 + y2;
            y2 = y2 * 0.9999999;
        }
    CHECK(a == a2 && b == b2 && c == c2 && d == d2);
    CHECK(x == x2 && y == y2);
    return NULL;
}

CASE(registers)
{
    pthread_t id = thread(in_registers, NULL);

    hold();
    PTH(pthread_join(id, NULL));
}

__attribute__((target("avx2"))) static void *in_vector_registers(void *arg)
{
    __m256i v[12], step = _mm256_set1_epi64x(0x9e3779b97f4a7c15);
    uint64_t rounds = 0, got[4];

    for (int i = 0; i < 12; i++)
        v[i] = _mm256_set1_epi64x(i);
    while (!held_no_more() || rounds < 100) {
        for (int n = 0; n < 100000; n++)
            for (int i = 0; i < 12; i++)
                v[i] = _mm256_add_epi64(v[i], step);
        rounds++;
        __asm__ volatile("" ::: "memory");
    }
    for (int i = 0; i < 12; i++) {
        _mm256_storeu_si256((__m256i *)got, v[i]);
        for (int lane = 0; lane < 4; lane++)
            CHECK(got[lane] == (uint64_t)i + rounds * 100000 * 0x9e3779b97f4a7c15);
    }
    return NULL;
}

CASE(vector_registers)
{
    pthread_t id;

    if (!__builtin_cpu_supports("avx2"))
        skip("this CPU has no AVX2");
    id = thread(in_vector_registers, NULL);
    hold();
    PTH(pthread_join(id, NULL));
}

CASE(segment_base)
{
    static uint64_t words[4] = {11, 22, 33, 44};
    unsigned long got = 0;
    uint64_t value;

    SYS(syscall(SYS_arch_prctl, ARCH_SET_GS, words));
    hold();
    SYS(syscall(SYS_arch_prctl, ARCH_GET_GS, &got));
    CHECK_EQ(got, (unsigned long)words);
    __asm__ volatile("movq %%gs:8, %0" : "=r"(value));
    CHECK_EQ(value, 22);
    SYS(syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
}

static void *with_scheduling(void *arg)
{
    struct sched_param param = {0};
    int policy = -1;

    SYS(sched_setscheduler(0, SCHED_BATCH, &param));
    __atomic_add_fetch(&shared, 1, __ATOMIC_SEQ_CST);
    UNTIL(held_no_more());
    PTH(pthread_getschedparam(pthread_self(), &policy, &param));
    CHECK_EQ(sched_getscheduler(0), SCHED_BATCH);
    return NULL;
}

CASE(scheduling_of_one_thread)
{
    pthread_t id = thread(with_scheduling, NULL);

    UNTIL(shared == 1);
    hold();
    PTH(pthread_join(id, NULL));
    CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
}

static void *allocates(void *arg)
{
    unsigned seed = (unsigned)(intptr_t)arg;
    char *blocks[64] = {NULL};
    size_t lens[64] = {0};

    for (unsigned i = 0; i < 20000 || !held_no_more(); i++) {
        unsigned slot = (seed = seed * 1103515245 + 12345) >> 16 & 63;

        if (blocks[slot])
            CHECK(filled(blocks[slot], lens[slot], slot + (unsigned)(intptr_t)arg));
        free(blocks[slot]);
        lens[slot] = (seed >> 8) % 3000 + 1;
        blocks[slot] = malloc(lens[slot]);
        CHECK(blocks[slot] != NULL);
        fill(blocks[slot], lens[slot], slot + (unsigned)(intptr_t)arg);
        if (i % 500 == 0)
            nap();
    }
    for (int i = 0; i < 64; i++)
        free(blocks[i]);
    return NULL;
}

CASE(allocating)
{
    pthread_t ids[THREADS];

    for (int i = 0; i < THREADS; i++)
        ids[i] = thread(allocates, (void *)(intptr_t)(i + 1));
    hold();
    for (int i = 0; i < THREADS; i++)
        PTH(pthread_join(ids[i], NULL));
}

static void *comes_and_goes(void *arg)
{
    void *result;

    for (intptr_t i = 0; i < 200 || !held_no_more(); i++) {
        PTH(pthread_join(thread(returns_its_argument, (void *)i), &result));
        CHECK_EQ((intptr_t)result, i);
        if (i % 20 == 0)
            nap();
    }
    return NULL;
}

CASE(storm_of_threads)
{
    pthread_t ids[3];

    for (int i = 0; i < 3; i++)
        ids[i] = thread(comes_and_goes, NULL);
    hold();
    for (int i = 0; i < 3; i++)
        PTH(pthread_join(ids[i], NULL));
}

static sem_t ping, pong;

static void *answers(void *arg)
{
    for (;;) {
        SYS(sem_wait(&ping));
        if (shared < 0)
            return NULL;
        shared++;
        SYS(sem_post(&pong));
    }
}

CASE(ping_pong)
{
    pthread_t id;
    int rounds = 0;

    SYS(sem_init(&ping, 0, 0));
    SYS(sem_init(&pong, 0, 0));
    id = thread(answers, NULL);
    mark("ready");
    while (rounds < 2000 || !held_no_more()) {
        SYS(sem_post(&ping));
        SYS(sem_wait(&pong));
        CHECK_EQ(shared, ++rounds);
        if (rounds % 100 == 0)
            nap();
    }
    shared = -1;
    SYS(sem_post(&ping));
    PTH(pthread_join(id, NULL));
}

static void *changes_ids(void *arg)
{
    UNTIL(held_no_more() && access("changed", F_OK) == 0);
    CHECK_EQ(getgid(), shared);
    return NULL;
}

/* setgid() in a threaded program runs in every thread by an internal signal. */
CASE(set_ids_reach_every_thread)
{
    pthread_t id = thread(changes_ids, NULL);

    shared = (int)getgid();
    hold();
    SYS(setgid((gid_t)shared));
    mark("changed");
    PTH(pthread_join(id, NULL));
}
