/* Conformance: huge pages (hugetlbfs). Without any in the pool the cases are skipped.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <sys/ipc.h>
#include <sys/shm.h>

#define HUGE (2ul << 20)

#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4
#endif

static char *map(size_t pages, int prot, int flags, int fd, off_t offset)
{
    char *at = mmap(NULL, pages * HUGE, prot, flags, fd, offset);

    if (at == MAP_FAILED && errno == ENOMEM)
        skip("there are not enough huge pages (vm.nr_hugepages)");
    CHECK(at != MAP_FAILED);
    return at;
}

static char *map_own(size_t pages, int flags)
{
    return map(pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | flags,
               -1, 0);
}

/* KernelPageSize of the mapping at that address. */
static long page_kb(const void *at)
{
    unsigned long start, end;
    bool inside = false;
    char line[512];
    long kb = -1;
    FILE *smaps = fopen("/proc/self/smaps", "r");

    CHECK(smaps != NULL);
    while (kb < 0 && fgets(line, sizeof line, smaps)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = start <= (unsigned long)at && (unsigned long)at < end;
        else if (inside)
            (void)sscanf(line, "KernelPageSize: %ld kB", &kb);
    }
    (void)fclose(smaps);
    return kb;
}

static bool is_zero(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (at[i])
            return false;
    return true;
}

CASE(own)
{
    char *at = map_own(3, 0);

    fill(at, HUGE, 1);
    fill(at + 2 * HUGE + 12345, 6789, 2);
    hold();
    CHECK(filled(at, HUGE, 1));
    CHECK(is_zero(at + HUGE, HUGE + 12345));
    CHECK(filled(at + 2 * HUGE + 12345, 6789, 2));
    CHECK(is_zero(at + 2 * HUGE + 12345 + 6789, HUGE - 12345 - 6789));
    fill(at + HUGE, HUGE, 3);
    CHECK(filled(at + HUGE, HUGE, 3));
    CHECK_EQ(page_kb(at), 2048); /* last: t4545 has it in ordinary pages as well */
}

CASE(own_with_a_hole)
{
    char *at = map_own(3, 0);

    fill(at, HUGE, 1);
    fill(at + 2 * HUGE, HUGE, 2);
    SYS(munmap(at + HUGE, HUGE));
    hold();
    CHECK(filled(at, HUGE, 1));
    CHECK_EQ(page_kb(at + HUGE), -1);
    CHECK_EQ(page_kb(at + 2 * HUGE), 2048);
    CHECK(filled(at + 2 * HUGE, HUGE, 2));
}

CASE(own_read_only)
{
    char *at = map_own(2, 0);

    fill(at + 4096, 4096, 1);
    SYS(mprotect(at, 2 * HUGE, PROT_READ));
    hold();
    CHECK_EQ(page_kb(at), 2048);
    CHECK(filled(at + 4096, 4096, 1));
    CHECK(vm_flag(at, "rd") && !vm_flag(at, "wr"));
    SYS(mprotect(at, 2 * HUGE, PROT_READ | PROT_WRITE));
    at[HUGE] = 'x';
}

CASE(own_without_access)
{
    char *at = map_own(1, 0);

    fill(at, HUGE, 1);
    SYS(mprotect(at, HUGE, PROT_NONE));
    hold();
    SYS(mprotect(at, HUGE, PROT_READ));
    CHECK(filled(at, HUGE, 1));
}

CASE(own_without_reservation)
{
    char *at = map_own(64, MAP_NORESERVE);

    SYS(madvise(at, 64 * HUGE, MADV_DONTFORK));
    if (madvise(at + 40 * HUGE, HUGE, 23 /* MADV_POPULATE_WRITE */) < 0)
        skip("there are not enough huge pages (vm.nr_hugepages)");
    fill(at + 40 * HUGE, HUGE, 1);
    hold();
    CHECK_EQ(page_kb(at), 2048);
    CHECK(vm_flag(at, "nr") && vm_flag(at, "dc"));
    CHECK(filled(at + 40 * HUGE, HUGE, 1));
}

static void own_child(void *arg)
{
    char *at = arg;

    hold();
    CHECK(filled(at, HUGE, 1));
    CHECK_EQ(page_kb(at), 2048);
    await("changed");
    CHECK(filled(at, HUGE, 1));
}

CASE(own_of_parent_and_child)
{
    char *at = map_own(1, 0);
    pid_t pid;

    fill(at, HUGE, 1);
    pid = child(own_child, at);
    hold();
    CHECK(filled(at, HUGE, 1));
    /* as long as both share it, writing needs a second page */
    if (madvise(at, HUGE, 23 /* MADV_POPULATE_WRITE */) == 0)
        fill(at, HUGE, 2);
    mark("changed");
    reap(pid);
}

static void shared_child(void *arg)
{
    char *at = arg;

    fill(at + HUGE, HUGE, 2);
    mark("written");
    hold();
    CHECK(filled(at, HUGE, 1));
    CHECK(filled(at + HUGE, HUGE, 2));
    CHECK_EQ(page_kb(at), 2048);
    at[2 * HUGE] = 'c';
    mark("child");
}

CASE(shared)
{
    char *at = map(3, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    pid_t pid;

    fill(at, HUGE, 1);
    pid = child(shared_child, at);
    await("written");
    hold();
    CHECK_EQ(page_kb(at), 2048);
    CHECK(filled(at + HUGE, HUGE, 2));
    await("child");
    CHECK_EQ(at[2 * HUGE], 'c');
    reap(pid);
}

static int make_memfd(size_t pages, unsigned flags)
{
    int fd = (int)SYS(memfd_create("huge", MFD_HUGETLB | flags));

    SYS(ftruncate(fd, (off_t)(pages * HUGE)));
    return fd;
}

CASE(memfd_mapped)
{
    int fd = make_memfd(2, MFD_ALLOW_SEALING);
    char *at = map(2, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), buf[4096];

    fill(at, 2 * HUGE, 1);
    SYS(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    hold();
    CHECK_EQ(page_kb(at), 2048);
    CHECK(filled(at, 2 * HUGE, 1));
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK);
    at[HUGE] = 'x';
    CHECK_EQ(pread(fd, buf, sizeof buf, HUGE), sizeof buf);
    CHECK_EQ(buf[0], 'x');
    CHECK_EQ(lseek(fd, 0, SEEK_END), 2 * HUGE);
}

CASE(memfd_partly_mapped)
{
    int fd = make_memfd(4, 0);
    char *all = map(4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *at = map(1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 2 * HUGE);

    fill(all, HUGE, 1);
    fill(at, HUGE, 2);
    SYS(munmap(all, 4 * HUGE));
    hold();
    CHECK(filled(at, HUGE, 2));
    all = map(4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK_EQ(page_kb(all), 2048);
    CHECK(filled(all, HUGE, 1));
    CHECK(is_zero(all + HUGE, HUGE));
    CHECK(filled(all + 2 * HUGE, HUGE, 2));
}

CASE(memfd_unmapped)
{
    int fd = make_memfd(1, 0);
    char *at = map(1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    fill(at, HUGE, 1);
    SYS(munmap(at, HUGE));
    hold();
    at = map(1, PROT_READ, MAP_SHARED, fd, 0);
    CHECK_EQ(page_kb(at), 2048);
    CHECK(filled(at, HUGE, 1));
}

CASE(memfd_mapped_privately)
{
    int fd = make_memfd(2, 0);
    char *shared = map(2, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *at;

    fill(shared, 2 * HUGE, 1);
    at = map(2, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    at[HUGE] = (char)(at[HUGE] + 1);
    hold();
    CHECK(filled(shared, 2 * HUGE, 1));
    CHECK(filled(at, HUGE, 1));
    CHECK_EQ(at[HUGE], (char)(shared[HUGE] + 1));
    CHECK_MEM(at + HUGE + 1, shared + HUGE + 1, HUGE - 1);
}

CASE(sysv)
{
    int id = shmget(IPC_PRIVATE, 2 * HUGE, IPC_CREAT | SHM_HUGETLB | 0600);
    struct shmid_ds state;
    char *at;

    if (id < 0 && (errno == ENOMEM || errno == EPERM))
        skip("no huge pages for this user (vm.nr_hugepages, vm.hugetlb_shm_group)");
    CHECK(id >= 0);
    (void)leaves_id("shm", id);
    at = shmat(id, NULL, 0);
    CHECK(at != (void *)-1);
    fill(at, HUGE + 100, 1);
    hold();
    CHECK_EQ(page_kb(at), 2048);
    CHECK(filled(at, HUGE + 100, 1));
    SYS(shmctl(id, IPC_STAT, &state));
    CHECK_EQ(state.shm_nattch, 1);
    CHECK_EQ(state.shm_segsz, 2 * HUGE);
    SYS(shmctl(id, IPC_RMID, NULL));
}

CASE(sysv_not_attached)
{
    int id = shmget(IPC_PRIVATE, HUGE, IPC_CREAT | SHM_HUGETLB | 0600);
    char *at;

    if (id < 0 && (errno == ENOMEM || errno == EPERM))
        skip("no huge pages for this user (vm.nr_hugepages, vm.hugetlb_shm_group)");
    CHECK(id >= 0);
    (void)leaves_id("shm", id);
    at = shmat(id, NULL, 0);
    CHECK(at != (void *)-1);
    fill(at, HUGE, 1);
    SYS(shmdt(at));
    hold();
    at = shmat(id, NULL, 0);
    CHECK(at != (void *)-1);
    CHECK_EQ(page_kb(at), 2048);
    CHECK(filled(at, HUGE, 1));
    SYS(shmctl(id, IPC_RMID, NULL));
}

/* Which of its pages there are, nobody can tell without taking more of them. */
CASE(shared_without_reservation)
{
    char *at = map(64, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);

    if (madvise(at, HUGE, 23 /* MADV_POPULATE_WRITE */) < 0)
        skip("there are not enough huge pages (vm.nr_hugepages)");
    fill(at, HUGE, 1);
    hold();
    CHECK(filled(at, HUGE, 1));
}
