/* Shared memory that has a descriptor or a name: memfd, POSIX shared memory and
 * semaphores, files mapped shared.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <semaphore.h>

#define PAGE 4096

static char *map(int fd, size_t len, int prot, off_t offset)
{
    char *at = mmap(NULL, len, prot, MAP_SHARED, fd, offset);

    CHECK(at != MAP_FAILED);
    return at;
}

static int make_memfd(const char *name, size_t len, unsigned flags)
{
    int fd = (int)SYS(memfd_create(name, flags));

    SYS(ftruncate(fd, (off_t)len));
    return fd;
}

/* --- memfd ---------------------------------------------------------------------- */

CASE(memfd_unmapped)
{
    char buf[10000], link[256];
    int fd = make_memfd("the name", 20000, MFD_CLOEXEC);

    fill(buf, sizeof buf, 1);
    CHECK_EQ(write(fd, buf, sizeof buf), sizeof buf);
    SYS(lseek(fd, 17, SEEK_SET));
    hold();
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 17);
    CHECK_EQ(lseek(fd, 0, SEEK_END), 20000);
    memset(buf, 0, sizeof buf);
    CHECK_EQ(pread(fd, buf, sizeof buf, 0), sizeof buf);
    CHECK(filled(buf, sizeof buf, 1));
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    (void)snprintf(buf, sizeof buf, "/proc/self/fd/%d", fd);
    link[SYS(readlink(buf, link, sizeof link - 1))] = '\0';
    CHECK_STR(link, "/memfd:the name (deleted)");
}

CASE(memfd_mapped)
{
    int fd = make_memfd("m", 3 * PAGE, 0);
    char *at = map(fd, 3 * PAGE, PROT_READ | PROT_WRITE, 0);

    fill(at, 3 * PAGE, 2);
    hold();
    CHECK(filled(at, 3 * PAGE, 2));
    CHECK_EQ(pwrite(fd, "new", 3, PAGE), 3);
    CHECK_MEM(at + PAGE, "new", 3);
    at[2 * PAGE] = 'z';
    CHECK_EQ(lseek(fd, 2 * PAGE, SEEK_SET), 2 * PAGE);
    CHECK_EQ(read(fd, at, 1), 1);
    CHECK_EQ(at[0], 'z');
}

/* What is not mapped counts as well. */
CASE(memfd_partly_mapped)
{
    char buf[PAGE];
    int fd = make_memfd("m", 5 * PAGE + 100, 0);
    char *at = map(fd, PAGE, PROT_READ | PROT_WRITE, 2 * PAGE);

    fill(buf, PAGE, 3);
    CHECK_EQ(pwrite(fd, buf, PAGE, 4 * PAGE), PAGE);
    fill(at, PAGE, 4);
    hold();
    CHECK(filled(at, PAGE, 4));
    CHECK_EQ(lseek(fd, 0, SEEK_END), 5 * PAGE + 100);
    CHECK_EQ(pread(fd, buf, PAGE, 4 * PAGE), PAGE);
    CHECK(filled(buf, PAGE, 3));
    CHECK_EQ(pread(fd, buf, PAGE, 2 * PAGE), PAGE);
    CHECK(filled(buf, PAGE, 4));
}

CASE(memfd_sealed)
{
    enum { SEALS = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };
    int fd = make_memfd("m", PAGE, MFD_ALLOW_SEALING);

    CHECK_EQ(write(fd, "sealed", 6), 6);
    SYS(fcntl(fd, F_ADD_SEALS, SEALS));
    hold();
    CHECK_EQ(fcntl(fd, F_GET_SEALS), SEALS);
    CHECK_EQ(write(fd, "x", 1), -1);
    CHECK_EQ(errno, EPERM);
    CHECK_EQ(ftruncate(fd, 0), -1);
}

CASE(memfd_sealed_while_mapped)
{
    int fd = make_memfd("m", PAGE, MFD_ALLOW_SEALING);
    char *at = map(fd, PAGE, PROT_READ | PROT_WRITE, 0);

    if (fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) != 0)
        skip("no F_SEAL_FUTURE_WRITE");
    memcpy(at, "first", 5);
    hold();
    CHECK_MEM(at, "first", 5);
    memcpy(at, "later", 5);
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_FUTURE_WRITE);
    CHECK_EQ(pwrite(fd, "x", 1, 0), -1);
    CHECK(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
}

CASE(memfd_never_sealable)
{
    int fd = make_memfd("m", PAGE, 0);

    hold();
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL);
    CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), -1);
}

CASE(memfd_twice_open)
{
    char path[64], c;
    int fd = make_memfd("m", PAGE, 0), again;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    again = (int)SYS(open(path, O_RDONLY));
    CHECK_EQ(write(fd, "abc", 3), 3);
    CHECK_EQ(read(again, &c, 1), 1);
    hold();
    CHECK_EQ(read(again, &c, 1), 1);
    CHECK_EQ(c, 'b');
    CHECK_EQ(write(fd, "d", 1), 1);
    CHECK_EQ(pread(again, &c, 1, 3), 1);
    CHECK_EQ(c, 'd');
    CHECK_EQ(write(again, "x", 1), -1);
}

static void scribble(void *fd)
{
    char *at = map(*(int *)fd, 2 * PAGE, PROT_READ | PROT_WRITE, 0);

    hold();
    await("written");
    CHECK_MEM(at, "hello", 5);
    at[PAGE] = 'c';
}

CASE(memfd_between_processes)
{
    int fd = make_memfd("m", 2 * PAGE, 0);
    char *at = map(fd, PAGE, PROT_READ | PROT_WRITE, 0), c;
    pid_t pid = child(scribble, &fd);

    hold();
    memcpy(at, "hello", 5);
    mark("written");
    reap(pid);
    CHECK_EQ(pread(fd, &c, 1, PAGE), 1);
    CHECK_EQ(c, 'c');
}

/* --- POSIX shared memory -------------------------------------------------------------- */

static char shm_name[64];

static int open_shm(const char *what, size_t len)
{
    int fd;

    (void)snprintf(shm_name, sizeof shm_name, "/stint-conf-%s-%d", what, getpid());
    fd = (int)SYS(shm_open(shm_name, O_RDWR | O_CREAT | O_EXCL, 0640));
    SYS(ftruncate(fd, (off_t)len));
    return fd;
}

CASE(shm_mapped)
{
    int fd = open_shm("mapped", 2 * PAGE), again;
    char *at = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE, 0), c;
    struct stat st;

    fill(at, 2 * PAGE, 6);
    SYS(close(fd));
    hold();
    CHECK(filled(at, 2 * PAGE, 6));
    again = (int)SYS(shm_open(shm_name, O_RDWR, 0));
    at[PAGE] = 'q';
    CHECK_EQ(pread(again, &c, 1, PAGE), 1);
    CHECK_EQ(c, 'q');
    SYS(fstat(again, &st));
    CHECK_EQ(st.st_size, 2 * PAGE);
    SYS(shm_unlink(shm_name));
}

CASE(shm_open_only)
{
    int fd = open_shm("open", 100);
    char buf[8];
    struct stat st;

    CHECK_EQ(write(fd, "content", 7), 7);
    SYS(lseek(fd, 3, SEEK_SET));
    hold();
    CHECK_EQ(read(fd, buf, 4), 4);
    CHECK_MEM(buf, "tent", 4);
    SYS(fstat(fd, &st));
    CHECK_EQ(st.st_size, 100);
    SYS(shm_unlink(shm_name));
}

CASE(shm_unlinked)
{
    int fd = open_shm("gone", 4 * PAGE);
    char *at = map(fd, PAGE, PROT_READ | PROT_WRITE, PAGE), buf[5];

    SYS(shm_unlink(shm_name));
    memcpy(at, "inner", 5);
    CHECK_EQ(pwrite(fd, "outer", 5, 3 * PAGE), 5);
    hold();
    CHECK_MEM(at, "inner", 5);
    CHECK_EQ(pread(fd, buf, 5, 3 * PAGE), 5);
    CHECK_MEM(buf, "outer", 5);
    CHECK_EQ(lseek(fd, 0, SEEK_END), 4 * PAGE);
    CHECK_EQ(pwrite(fd, "I", 1, PAGE), 1);
    CHECK_MEM(at, "Inner", 5);
}

static void shm_child(void *fd)
{
    char *at = map(*(int *)fd, PAGE, PROT_READ | PROT_WRITE, 0);

    hold();
    await("parent");
    CHECK_EQ(at[1], 'p');
    at[2] = 'c';
}

CASE(shm_between_processes)
{
    int fd = open_shm("two", PAGE);
    char *at = map(fd, PAGE, PROT_READ | PROT_WRITE, 0);
    pid_t pid = child(shm_child, &fd);

    hold();
    at[1] = 'p';
    mark("parent");
    reap(pid);
    CHECK_EQ(at[2], 'c');
    SYS(shm_unlink(shm_name));
}

CASE(semaphore_named)
{
    char name[64];
    sem_t *sem, *again;
    int value;

    (void)snprintf(name, sizeof name, "/stint-conf-sem-%d", getpid());
    sem = sem_open(name, O_CREAT | O_EXCL, 0600, 3);
    CHECK(sem != SEM_FAILED);
    SYS(sem_wait(sem));
    hold();
    SYS(sem_getvalue(sem, &value));
    CHECK_EQ(value, 2);
    again = sem_open(name, 0);
    CHECK(again == sem);
    SYS(sem_post(again));
    SYS(sem_getvalue(sem, &value));
    CHECK_EQ(value, 3);
    SYS(sem_unlink(name));
}

static void post(void *sem)
{
    hold();
    SYS(sem_post(sem));
}

CASE(semaphore_unlinked)
{
    char name[64];
    sem_t *sem;
    pid_t pid;

    (void)snprintf(name, sizeof name, "/stint-conf-gone-%d", getpid());
    sem = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
    CHECK(sem != SEM_FAILED);
    SYS(sem_unlink(name));
    pid = child(post, sem);
    hold();
    SYS(sem_wait(sem));
    reap(pid);
}

/* --- files mapped shared ------------------------------------------------------------------ */

CASE(file_mapped)
{
    int fd;
    char *at, buf[PAGE];

    make_file("f", 3 * PAGE + 10, 8);
    fd = (int)SYS(open("f", O_RDWR));
    at = map(fd, 4 * PAGE, PROT_READ | PROT_WRITE, 0);
    SYS(close(fd));
    fill(at + PAGE, PAGE, 9);
    hold();
    CHECK(filled(at + PAGE, PAGE, 9));
    at[0] = 'y';
    fd = (int)SYS(open("f", O_RDONLY));
    CHECK_EQ(read(fd, buf, 1), 1);
    CHECK_EQ(buf[0], 'y');
    CHECK_EQ(pread(fd, buf, PAGE, PAGE), PAGE);
    CHECK(filled(buf, PAGE, 9));
    CHECK_EQ(lseek(fd, 0, SEEK_END), 3 * PAGE + 10);
}

CASE(file_mapped_read_only)
{
    int fd;
    char *at;

    make_file("f", PAGE, 8);
    fd = (int)SYS(open("f", O_RDONLY));
    at = map(fd, PAGE, PROT_READ, 0);
    SYS(close(fd));
    hold();
    CHECK(filled(at, PAGE, 8));
    CHECK_EQ(mprotect(at, PAGE, PROT_READ | PROT_WRITE), -1);
}

CASE(file_shrunk_under_mapping)
{
    int fd;
    char *at;

    make_file("f", 4 * PAGE, 8);
    fd = (int)SYS(open("f", O_RDWR));
    at = map(fd, 4 * PAGE, PROT_READ | PROT_WRITE, 0);
    SYS(ftruncate(fd, PAGE));
    hold();
    CHECK(filled(at, PAGE, 8));
    SYS(ftruncate(fd, 3 * PAGE));
    CHECK_EQ(at[2 * PAGE], 0);
}

CASE(file_private_mapping_shrunk)
{
    int fd;
    char *at;

    make_file("f", 4 * PAGE, 8);
    fd = (int)SYS(open("f", O_RDWR));
    at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(at != MAP_FAILED);
    at[3 * PAGE] = 'k'; /* a page of its own; it is gone with the file's end */
    at[0] = 'o';
    SYS(ftruncate(fd, PAGE));
    hold();
    CHECK_EQ(at[0], 'o');
    CHECK(filled(at + 1, 0, 8));
    CHECK_EQ(at[1], at[1]);
}
