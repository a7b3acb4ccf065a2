/* Conformance: System V and POSIX shared memory, semaphores, messages; memfd.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define MIB (1ul << 20)

/* Needs an id that is remembered: where the child looks for the parent's object. */
struct object {
    int id;
    char name[64];
};

static struct object fresh(void)
{
    struct object object = {.id = -1};

    (void)snprintf(object.name, sizeof object.name, "/stint-conf-%d", getpid());
    return object;
}

static void sysv_shm_child(void *id)
{
    volatile int *at = shmat(*(int *)id, NULL, 0);

    CHECK(at != (void *)-1);
    hold();
    UNTIL(at[0] == 1);
    at[1] = 2;
}

CASE(sysv_shm)
{
    int id = leaves_id("shm", (int)SYS(shmget(IPC_PRIVATE, MIB, 0600)));
    volatile int *at = shmat(id, NULL, 0);
    struct shmid_ds state;
    pid_t pid;

    CHECK(at != (void *)-1);
    fill((char *)at + 4096, MIB - 4096, 1);
    pid = child(sysv_shm_child, &id);
    UNTIL(shmctl(id, IPC_STAT, &state) == 0 && state.shm_nattch >= 2);
    hold();
    CHECK(filled((char *)at + 4096, MIB - 4096, 1));
    SYS(shmctl(id, IPC_STAT, &state));
    CHECK_EQ(state.shm_segsz, MIB);
    at[0] = 1;
    UNTIL(at[1] == 2);
    reap(pid);
    SYS(shmdt((void *)at));
    SYS(shmctl(id, IPC_RMID, NULL));
}

static void sysv_shm_second_half(void *at)
{
    SYS(munmap(at, MIB / 2));
    mark("unmapped");
    hold();
    CHECK(filled((char *)at + MIB / 2, MIB / 2, 5));
}

CASE(sysv_shm_in_parts)
{
    int id = leaves_id("shm", (int)SYS(shmget(IPC_PRIVATE, MIB, 0600)));
    char *at = shmat(id, NULL, 0);
    pid_t pid;

    CHECK(at != (void *)-1);
    fill(at, MIB / 2, 4);
    fill(at + MIB / 2, MIB / 2, 5);
    pid = child(sysv_shm_second_half, at);
    await("unmapped");
    SYS(munmap(at + MIB / 2, MIB / 2));
    hold();
    CHECK(filled(at, MIB / 2, 4));
    reap(pid);
    at = shmat(id, NULL, 0);
    CHECK(filled(at, MIB / 2, 4));
    CHECK(filled(at + MIB / 2, MIB / 2, 5));
    SYS(shmctl(id, IPC_RMID, NULL));
}

CASE(sysv_shm_by_key)
{
    key_t key = 0x51000000 + getpid();
    int id = leaves_id("shm", (int)SYS(shmget(key, MIB, IPC_CREAT | IPC_EXCL | 0600)));
    char *at = shmat(id, NULL, 0);

    CHECK(at != (void *)-1);
    at[0] = 'k';
    hold();
    CHECK_EQ(shmget(key, MIB, 0600), id);
    CHECK_EQ(at[0], 'k');
    SYS(shmctl(id, IPC_RMID, NULL));
}

CASE(sysv_shm_removed_while_attached)
{
    int id = leaves_id("shm", (int)SYS(shmget(IPC_PRIVATE, MIB, 0600)));
    char *at = shmat(id, NULL, 0);

    CHECK(at != (void *)-1);
    fill(at, MIB, 2);
    SYS(shmctl(id, IPC_RMID, NULL));
    hold();
    CHECK(filled(at, MIB, 2));
    SYS(shmdt(at));
}

CASE(sysv_semaphores)
{
    int id = leaves_id("semaphores", (int)SYS(semget(IPC_PRIVATE, 3, 0600)));
    struct sembuf take = {.sem_num = 1, .sem_op = -2};

    for (int i = 0; i < 3; i++)
        SYS(semctl(id, i, SETVAL, 5 + i));
    hold();
    for (int i = 0; i < 3; i++)
        CHECK_EQ(semctl(id, i, GETVAL), 5 + i);
    SYS(semop(id, &take, 1));
    CHECK_EQ(semctl(id, 1, GETVAL), 4);
    SYS(semctl(id, 0, IPC_RMID));
}

CASE(sysv_messages)
{
    struct {
        long type;
        char text[32];
    } message = {0};
    int id = leaves_id("messages", (int)SYS(msgget(IPC_PRIVATE, 0600)));

    for (int i = 0; i < 3; i++) {
        message.type = i + 1;
        (void)snprintf(message.text, sizeof message.text, "message %d", i);
        SYS(msgsnd(id, &message, sizeof message.text, 0));
    }
    hold();
    CHECK_EQ(msgrcv(id, &message, sizeof message.text, 2, IPC_NOWAIT), sizeof message.text);
    CHECK_STR(message.text, "message 1");
    CHECK_EQ(msgrcv(id, &message, sizeof message.text, 0, IPC_NOWAIT), sizeof message.text);
    CHECK_STR(message.text, "message 0");
    SYS(msgctl(id, IPC_RMID, NULL));
}

static void posix_shm_child(void *object)
{
    int fd = (int)SYS(shm_open(((struct object *)object)->name, O_RDWR, 0));
    volatile int *at = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    CHECK(at != MAP_FAILED);
    mark("mapped");
    hold();
    UNTIL(at[0] == 1);
    at[1] = 2;
}

static void posix_shm(bool unlinked)
{
    struct object object = fresh();
    int fd = (int)SYS(shm_open(object.name, O_RDWR | O_CREAT | O_EXCL, 0600));
    volatile int *at;
    pid_t pid;

    SYS(ftruncate(fd, MIB));
    at = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    fill((char *)at + 4096, MIB - 4096, 3);
    pid = child(posix_shm_child, &object);
    await("mapped");
    if (unlinked)
        SYS(shm_unlink(object.name));
    hold();
    CHECK(filled((char *)at + 4096, MIB - 4096, 3));
    at[0] = 1;
    UNTIL(at[1] == 2);
    reap(pid);
    if (!unlinked)
        SYS(shm_unlink(object.name));
}

CASE(posix_shm_named)
{
    posix_shm(false);
}

CASE(posix_shm_unlinked)
{
    posix_shm(true);
}

static void posix_sem_child(void *semaphore)
{
    SYS(sem_wait(semaphore));
    SYS(sem_wait(semaphore));
}

CASE(posix_semaphore_named)
{
    struct object object = fresh();
    sem_t *semaphore = sem_open(object.name, O_CREAT | O_EXCL, 0600, 1);
    pid_t pid;
    int value;

    CHECK(semaphore != SEM_FAILED);
    pid = child(posix_sem_child, semaphore);
    UNTIL(sem_getvalue(semaphore, &value) == 0 && value == 0);
    hold();
    SYS(sem_post(semaphore));
    reap(pid);
    SYS(sem_unlink(object.name));
}

CASE(posix_semaphore_in_shared_memory)
{
    sem_t *semaphore =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid;

    CHECK(semaphore != MAP_FAILED);
    SYS(sem_init(semaphore, 1, 1));
    pid = child(posix_sem_child, semaphore);
    hold();
    SYS(sem_post(semaphore));
    reap(pid);
}

struct locked {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int value;
};

static void process_shared_child(void *arg)
{
    struct locked *shared = arg;

    PTH(pthread_mutex_lock(&shared->mutex));
    shared->value = 1;
    while (shared->value != 2)
        PTH(pthread_cond_wait(&shared->cond, &shared->mutex));
    PTH(pthread_mutex_unlock(&shared->mutex));
}

CASE(mutex_and_condition_between_processes)
{
    struct locked *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t mutex_attr;
    pthread_condattr_t cond_attr;
    pid_t pid;

    CHECK(shared != MAP_FAILED);
    PTH(pthread_mutexattr_init(&mutex_attr));
    PTH(pthread_mutexattr_setpshared(&mutex_attr, PTHREAD_PROCESS_SHARED));
    PTH(pthread_mutex_init(&shared->mutex, &mutex_attr));
    PTH(pthread_condattr_init(&cond_attr));
    PTH(pthread_condattr_setpshared(&cond_attr, PTHREAD_PROCESS_SHARED));
    PTH(pthread_cond_init(&shared->cond, &cond_attr));
    pid = child(process_shared_child, shared);
    UNTIL(__atomic_load_n(&shared->value, __ATOMIC_SEQ_CST) == 1);
    hold();
    PTH(pthread_mutex_lock(&shared->mutex));
    shared->value = 2;
    PTH(pthread_cond_broadcast(&shared->cond));
    PTH(pthread_mutex_unlock(&shared->mutex));
    reap(pid);
}

CASE(memfd_mapped)
{
    int fd = (int)SYS(memfd_create("conf", MFD_CLOEXEC));
    char *at;

    SYS(ftruncate(fd, MIB));
    at = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    fill(at, MIB, 4);
    CHECK_EQ(lseek(fd, 100, SEEK_SET), 100);
    hold();
    CHECK(filled(at, MIB, 4));
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 100);
    CHECK_EQ(pwrite(fd, "z", 1, 50), 1);
    CHECK_EQ(at[50], 'z');
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

CASE(memfd_without_mapping)
{
    char buf[16] = "";
    int fd = (int)SYS(memfd_create("conf", 0));

    CHECK_EQ(write(fd, "abcdef", 6), 6);
    hold();
    CHECK_EQ(pread(fd, buf, 6, 0), 6);
    CHECK_STR(buf, "abcdef");
}

CASE(memfd_sealed)
{
    int fd = (int)SYS(memfd_create("conf", MFD_ALLOW_SEALING));

    CHECK_EQ(write(fd, "abcdef", 6), 6);
    SYS(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
    hold();
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    CHECK_EQ(write(fd, "x", 1), -1);
    CHECK_EQ(errno, EPERM);
}
