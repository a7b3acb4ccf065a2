/* Conformance: address space.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <dlfcn.h>
#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define PAGE 4096ul
#define MIB  (1ul << 20)
#define GIB  (1ul << 30)

static char *map(size_t len, int prot, int flags)
{
    void *at = mmap(NULL, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

    CHECK(at != MAP_FAILED);
    return at;
}

static char *map_rw(size_t len)
{
    return map(len, PROT_READ | PROT_WRITE, 0);
}

static sigjmp_buf fault_jump;
static volatile int fault_signal;

static void on_fault(int signo)
{
    fault_signal = signo;
    siglongjmp(fault_jump, 1);
}

/* Which signal does touching this byte raise? 0 = none. */
static int fault_of(volatile char *at, bool write_it)
{
    struct sigaction act = {.sa_handler = on_fault}, old_segv, old_bus;

    fault_signal = 0;
    SYS(sigaction(SIGSEGV, &act, &old_segv));
    SYS(sigaction(SIGBUS, &act, &old_bus));
    if (sigsetjmp(fault_jump, 1) == 0) {
        if (write_it)
            *at = *at;
        else
            (void)*at;
    }
    SYS(sigaction(SIGSEGV, &old_segv, NULL));
    SYS(sigaction(SIGBUS, &old_bus, NULL));
    return fault_signal;
}

/* Resident kilobytes of this process that belong to no file. */
static long long resident_kb(void)
{
    return status_value("RssAnon", 10);
}

static char data_segment[300000] = "initialised";
static char bss_segment[300000];

CASE(data_and_bss)
{
    fill(data_segment, sizeof data_segment, 1);
    fill(bss_segment, sizeof bss_segment, 2);
    hold();
    CHECK(filled(data_segment, sizeof data_segment, 1));
    CHECK(filled(bss_segment, sizeof bss_segment, 2));
}

CASE(heap)
{
    char *blocks[500];

    for (size_t i = 0; i < 500; i++) {
        blocks[i] = malloc(1 + i * 37);
        CHECK(blocks[i] != NULL);
        fill(blocks[i], 1 + i * 37, (unsigned)i);
    }
    for (size_t i = 0; i < 500; i += 3) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
    hold();
    for (size_t i = 0; i < 500; i++)
        CHECK(!blocks[i] || filled(blocks[i], 1 + i * 37, (unsigned)i));
    for (size_t i = 0; i < 500; i++)
        free(blocks[i]);
    CHECK(malloc(10 * MIB) != NULL);
}

CASE(brk_grows)
{
    char *start = sbrk(0), *more;

    CHECK(sbrk(MIB) == start);
    fill(start, MIB, 1);
    hold();
    CHECK(sbrk(0) == start + MIB);
    CHECK(filled(start, MIB, 1));
    more = sbrk(4 * MIB);
    CHECK(more == start + MIB);
    fill(more, 4 * MIB, 2);
    CHECK(filled(start, MIB, 1) && filled(more, 4 * MIB, 2));
}

CASE(brk_shrinks)
{
    char *start = sbrk(0);

    CHECK(sbrk(4 * MIB) == start);
    fill(start, MIB, 1);
    CHECK(sbrk(-3 * (intptr_t)MIB) == start + 4 * MIB);
    hold();
    CHECK(sbrk(0) == start + MIB);
    CHECK(sbrk(-(intptr_t)MIB) == start + MIB);
    CHECK_EQ(fault_of(start + 2 * PAGE, false), SIGSEGV);
}

CASE(anonymous)
{
    char *at = map_rw(16 * MIB);

    fill(at, 16 * MIB, 1);
    hold();
    CHECK(filled(at, 16 * MIB, 1));
    fill(at, 16 * MIB, 2);
    CHECK(filled(at, 16 * MIB, 2));
}

CASE(protections)
{
    char *none = map_rw(PAGE), *read_only = map_rw(PAGE), *write = map_rw(PAGE);

    fill(none, PAGE, 1);
    fill(read_only, PAGE, 2);
    SYS(mprotect(none, PAGE, PROT_NONE));
    SYS(mprotect(read_only, PAGE, PROT_READ));
    hold();
    CHECK_EQ(fault_of(none, false), SIGSEGV);
    CHECK_EQ(fault_of(read_only, true), SIGSEGV);
    CHECK_EQ(fault_of(read_only, false), 0);
    CHECK_EQ(fault_of(write, true), 0);
    CHECK(filled(read_only, PAGE, 2));
    SYS(mprotect(none, PAGE, PROT_READ));
    CHECK(filled(none, PAGE, 1));
}

CASE(guard_pages)
{
    char *at = map(7 * PAGE, PROT_NONE, 0);

    for (size_t i = 1; i < 7; i += 2)
        SYS(mprotect(at + i * PAGE, PAGE, PROT_READ | PROT_WRITE));
    fill(at + PAGE, PAGE, 1);
    hold();
    for (size_t i = 0; i < 7; i++)
        CHECK_EQ(fault_of(at + i * PAGE, true), i % 2 ? 0 : SIGSEGV);
    CHECK(filled(at + PAGE, PAGE, 1));
}

CASE(generated_code)
{
    static const unsigned char code[] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; /* mov $42,%eax; ret */
    unsigned char *at = (unsigned char *)map(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, 0);
    int (*function)(void) = (int (*)(void))at;

    memcpy(at, code, sizeof code);
    CHECK_EQ(function(), 42);
    hold();
    CHECK_EQ(function(), 42);
    at[1] = 43;
    CHECK_EQ(function(), 43);
}

CASE(reserved_4_gib)
{
    char *at = map(4 * GIB, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    long long before;

    for (size_t i = 0; i < 16; i++)
        fill(at + i * 256 * MIB, PAGE, (unsigned)i);
    before = resident_kb();
    hold();
    for (size_t i = 0; i < 16; i++)
        CHECK(filled(at + i * 256 * MIB, PAGE, (unsigned)i));
    CHECK(resident_kb() < before + 65536);
    CHECK(vm_flag(at, "nr"));
}

CASE(reserved_1_tib_without_access)
{
    char *at = map(1024 * GIB, PROT_NONE, MAP_NORESERVE);

    SYS(mprotect(at + 512 * GIB, MIB, PROT_READ | PROT_WRITE));
    fill(at + 512 * GIB, MIB, 1);
    hold();
    CHECK(filled(at + 512 * GIB, MIB, 1));
    SYS(mprotect(at + 700 * GIB, MIB, PROT_READ | PROT_WRITE));
    fill(at + 700 * GIB, MIB, 2);
    CHECK_EQ(fault_of(at + 100 * GIB, false), SIGSEGV);
}

CASE(sparse_pages)
{
    char *at = map_rw(512 * MIB);
    long long before;

    for (size_t i = 0; i < 131072; i += 97)
        at[i * PAGE + i % PAGE] = (char)(i | 1);
    before = resident_kb();
    hold();
    CHECK(resident_kb() < before + 65536);
    for (size_t i = 0; i < 131072; i += 97)
        CHECK_EQ(at[i * PAGE + i % PAGE], (char)(i | 1));
    CHECK_EQ(at[5 * PAGE], 0);
}

CASE(zeroed_again)
{
    char *at = map_rw(8 * MIB);
    long long before;

    fill(at, 8 * MIB, 1);
    memset(at, 0, 4 * MIB);
    SYS(madvise(at + 4 * MIB, 2 * MIB, MADV_DONTNEED));
    before = resident_kb();
    hold();
    for (size_t i = 0; i < 6 * MIB; i += 64)
        CHECK_EQ(at[i], 0);
    CHECK(memcmp(at + 6 * MIB, "\0\0\0\0", 4) != 0);
    CHECK(resident_kb() < before + 65536);
}

CASE(advice)
{
    static const struct {
        int advice;
        const char *flag;
    } table[] = {{MADV_DONTFORK, "dc"}, {MADV_DONTDUMP, "dd"},   {MADV_HUGEPAGE, "hg"},
                 {MADV_NOHUGEPAGE, "nh"}, {MADV_WIPEONFORK, "wf"}, {MADV_SEQUENTIAL, "sr"},
                 {MADV_RANDOM, "rr"}};
    enum { COUNT = sizeof table / sizeof table[0] };
    char *at[COUNT];
    bool had[COUNT];

    for (int i = 0; i < COUNT; i++) {
        at[i] = map_rw(3 * PAGE);
        at[i][0] = 'x';
        had[i] = madvise(at[i], 3 * PAGE, table[i].advice) == 0 &&
                 vm_flag(at[i], table[i].flag);
        (void)map(PAGE, PROT_NONE, 0); /* keeps neighbours from being merged */
    }
    hold();
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(vm_flag(at[i], table[i].flag), had[i]);
    CHECK(had[0] && had[1]);
}

CASE(huge_pages)
{
    char *at = map_rw(16 * MIB);
    char *aligned = (char *)(((uintptr_t)at + 2 * MIB - 1) & ~(2 * MIB - 1));

    (void)madvise(aligned, 8 * MIB, MADV_HUGEPAGE); /* may be configured away */
    fill(aligned, 8 * MIB, 4);
    hold();
    CHECK(filled(aligned, 8 * MIB, 4));
}

static char *shared_in_parts;

static void maps_the_middle(void *arg)
{
    char *at = shared_in_parts;

    SYS(munmap(at, 4 * PAGE));
    SYS(munmap(at + 8 * PAGE, 8 * PAGE));
    mark("middle");
    hold();
    CHECK(filled(at + 4 * PAGE, 4 * PAGE, 12));
    at[5 * PAGE] = 'm';
    mark("middle-changed");
    await("end-changed");
    CHECK_EQ(at[7 * PAGE], 'e');
}

static void maps_the_end(void *arg)
{
    char *at = shared_in_parts;

    SYS(munmap(at, 6 * PAGE));
    SYS(mprotect(at + 12 * PAGE, 4 * PAGE, PROT_NONE));
    mark("end");
    hold();
    CHECK(filled(at + 8 * PAGE, 4 * PAGE, 13));
    SYS(mprotect(at + 12 * PAGE, 4 * PAGE, PROT_READ));
    CHECK(filled(at + 12 * PAGE, 4 * PAGE, 14));
    await("middle-changed");
    at[7 * PAGE] = 'e';
    mark("end-changed");
}

/* Nobody maps all of it: page 0 to 4 here, 4 to 8 and 6 to 16 in two children. */
CASE(shared_in_parts)
{
    pid_t middle, end;
    char *at = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(at != MAP_FAILED);
    shared_in_parts = at;
    fill(at, 4 * PAGE, 11);
    fill(at + 4 * PAGE, 4 * PAGE, 12);
    fill(at + 8 * PAGE, 4 * PAGE, 13);
    fill(at + 12 * PAGE, 4 * PAGE, 14);
    middle = child(maps_the_middle, NULL);
    end = child(maps_the_end, NULL);
    await("middle");
    await("end");
    SYS(munmap(at + 4 * PAGE, 12 * PAGE));
    hold();
    CHECK(filled(at, 4 * PAGE, 11));
    reap(middle);
    reap(end);
}

/* New memory is locked: all of it at once, or (MCL_ONFAULT) as it is touched. */
static void check_new_memory(bool on_fault)
{
    unsigned char there[4];
    char *at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(at != MAP_FAILED);
    CHECK(vm_flag(at, "lo"));
    SYS(mincore(at, 4 * PAGE, there));
    CHECK_EQ(there[3] & 1, !on_fault);
    SYS(munmap(at, 4 * PAGE));
}

static void locks_the_future(int flags)
{
    char *before = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(before != MAP_FAILED);
    if (mlockall(flags) != 0)
        skip("mlockall is not allowed here");
    check_new_memory((flags & MCL_ONFAULT) != 0);
    hold();
    check_new_memory((flags & MCL_ONFAULT) != 0);
    CHECK(!vm_flag(before, "lo"));
    SYS(munlockall());
}

CASE(locked_in_future)
{
    locks_the_future(MCL_FUTURE);
}

CASE(locked_in_future_when_touched)
{
    locks_the_future(MCL_FUTURE | MCL_ONFAULT);
}

CASE(locked)
{
    char *at = map_rw(8 * PAGE);

    fill(at, 8 * PAGE, 1);
    if (mlock(at + PAGE, 4 * PAGE) != 0)
        skip("mlock is not allowed here");
    hold();
    CHECK(!vm_flag(at, "lo"));
    CHECK(vm_flag(at + PAGE, "lo"));
    CHECK(!vm_flag(at + 5 * PAGE, "lo"));
    CHECK(filled(at, 8 * PAGE, 1));
    SYS(munlock(at + PAGE, 4 * PAGE));
    CHECK(!vm_flag(at + PAGE, "lo"));
}

CASE(file_private_clean)
{
    char *at;
    int fd;

    make_file("data", MIB, 1);
    fd = (int)SYS(open("data", O_RDONLY));
    at = mmap(NULL, MIB, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(at != MAP_FAILED);
    SYS(close(fd));
    hold();
    CHECK(filled(at, MIB, 1));
}

CASE(file_private_dirty)
{
    char *at;
    int fd;

    make_file("data", MIB, 1);
    fd = (int)SYS(open("data", O_RDONLY));
    at = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(at != MAP_FAILED);
    fill(at + 100 * PAGE, PAGE, 2);
    hold();
    CHECK(filled(at, 100 * PAGE, 1));
    CHECK(filled(at + 100 * PAGE, PAGE, 2));
    at[0] ^= 1;
    CHECK_EQ(pread(fd, at + PAGE, PAGE, 0), PAGE);
    CHECK(filled(at + PAGE, PAGE, 1));
}

CASE(file_private_at_offset)
{
    char *at, *want = malloc(MIB);
    int fd;

    CHECK(want != NULL);
    make_file("data", MIB, 1);
    fill(want, MIB, 1);
    fd = (int)SYS(open("data", O_RDONLY));
    at = mmap(NULL, 64 * PAGE, PROT_READ, MAP_PRIVATE, fd, 33 * PAGE);
    CHECK(at != MAP_FAILED);
    hold();
    CHECK_MEM(at, want + 33 * PAGE, 64 * PAGE);
}

CASE(file_private_deleted)
{
    char *at;
    int fd;

    make_file("data", MIB, 1);
    fd = (int)SYS(open("data", O_RDONLY));
    at = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(at != MAP_FAILED);
    SYS(close(fd));
    SYS(unlink("data"));
    at[5 * PAGE] ^= 1;
    hold();
    at[5 * PAGE] ^= 1;
    CHECK(filled(at, MIB, 1));
}

CASE(file_longer_mapping_than_file)
{
    char *at;
    int fd;

    make_file("data", 5 * PAGE + 100, 1);
    fd = (int)SYS(open("data", O_RDONLY));
    at = mmap(NULL, 10 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(at != MAP_FAILED);
    hold();
    CHECK(filled(at, 5 * PAGE + 100, 1));
    CHECK_EQ(at[5 * PAGE + 100], 0);
    CHECK_EQ(fault_of(at + 7 * PAGE, false), SIGBUS);
}

CASE(file_shared)
{
    char *at;
    int fd;

    make_file("data", MIB, 1);
    fd = (int)SYS(open("data", O_RDWR));
    at = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    SYS(close(fd));
    fill(at + 10 * PAGE, PAGE, 9);
    hold();
    CHECK(filled(at, 10 * PAGE, 1) && filled(at + 10 * PAGE, PAGE, 9));
    fill(at, MIB, 7);
    fd = (int)SYS(open("data", O_RDONLY));
    for (size_t i = 0; i < MIB; i += PAGE) {
        char page[PAGE];

        CHECK_EQ(read(fd, page, PAGE), PAGE);
        CHECK_MEM(page, at + i, PAGE);
    }
}

CASE(file_shared_read_only)
{
    char *at;
    int fd;

    make_file("data", MIB, 1);
    fd = (int)SYS(open("data", O_RDONLY));
    at = mmap(NULL, MIB, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    hold();
    CHECK(filled(at, MIB, 1));
    CHECK_EQ(mprotect(at, PAGE, PROT_READ | PROT_WRITE), -1);
}

static void shared_child(void *at)
{
    volatile int *words = at;

    words[1] = 11;
    hold();
    UNTIL(words[2] == 22);
    words[3] = 33;
}

CASE(shared_anonymous_with_child)
{
    volatile int *words =
        mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid;

    CHECK(words != MAP_FAILED);
    fill((char *)words + PAGE, MIB - PAGE, 4);
    pid = child(shared_child, (void *)words);
    UNTIL(words[1] == 11);
    hold();
    CHECK_EQ(words[1], 11);
    CHECK(filled((char *)words + PAGE, MIB - PAGE, 4));
    words[2] = 22;
    reap(pid);
    CHECK_EQ(words[3], 33);
}

static void shared_sibling(void *at)
{
    volatile int *words = at;

    hold();
    UNTIL(words[0] == 1);
    words[0] = 2;
}

static void shared_other_sibling(void *at)
{
    volatile int *words = at;

    hold();
    words[0] = 1;
    UNTIL(words[0] == 2);
}

CASE(shared_anonymous_between_siblings)
{
    volatile int *words =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t a, b;

    CHECK(words != MAP_FAILED);
    a = child(shared_sibling, (void *)words);
    b = child(shared_other_sibling, (void *)words);
    SYS(munmap((void *)words, PAGE));
    hold();
    reap(a);
    reap(b);
}

CASE(shared_anonymous_alone)
{
    char *at = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(at != MAP_FAILED);
    fill(at + 32 * MIB, PAGE, 4);
    SYS(mprotect(at, PAGE, PROT_NONE));
    hold();
    CHECK(filled(at + 32 * MIB, PAGE, 4));
    CHECK_EQ(at[MIB], 0);
    CHECK_EQ(fault_of(at, false), SIGSEGV);
}

CASE(shared_anonymous_mapped_twice)
{
    char *at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *again;

    CHECK(at != MAP_FAILED);
    fill(at, 4 * PAGE, 1);
    again = mremap(at, 0, 4 * PAGE, MREMAP_MAYMOVE); /* old size 0: a second mapping */
    CHECK(again != MAP_FAILED);
    hold();
    CHECK(filled(again, 4 * PAGE, 1));
    again[100] = 'x';
    CHECK_EQ(at[100], 'x');
}

CASE(dev_zero)
{
    int fd = (int)SYS(open("/dev/zero", O_RDWR));
    char *private_one = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *shared_one = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    CHECK(private_one != MAP_FAILED && shared_one != MAP_FAILED);
    fill(private_one, PAGE, 1);
    fill(shared_one, PAGE, 2);
    hold();
    CHECK(filled(private_one, PAGE, 1) && filled(shared_one, PAGE, 2));
    CHECK_EQ(private_one[PAGE] | shared_one[PAGE], 0);
}

CASE(holes)
{
    char *at = map_rw(9 * PAGE);

    fill(at, 9 * PAGE, 1);
    SYS(munmap(at + 3 * PAGE, PAGE));
    SYS(munmap(at + 6 * PAGE, PAGE));
    hold();
    CHECK(filled(at, 3 * PAGE, 1));
    CHECK_EQ(fault_of(at + 3 * PAGE, false), SIGSEGV);
    CHECK_EQ(fault_of(at + 6 * PAGE, false), SIGSEGV);
    CHECK_EQ(fault_of(at + 7 * PAGE, false), 0);
}

CASE(low_and_high_addresses)
{
    char *low = mmap((void *)0x200000, PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    char *low32 = map(MIB, PROT_READ | PROT_WRITE, MAP_32BIT);

    CHECK(low != MAP_FAILED);
    fill(low, PAGE, 1);
    fill(low32, MIB, 2);
    hold();
    CHECK(filled(low, PAGE, 1) && filled(low32, MIB, 2));
}

CASE(many_mappings)
{
    enum { COUNT = 3000 };
    static char *at[COUNT];

    for (int i = 0; i < COUNT; i++) {
        at[i] = map(PAGE, i % 2 ? PROT_READ | PROT_WRITE : PROT_READ | PROT_WRITE | PROT_EXEC, 0);
        at[i][0] = (char)i;
    }
    hold();
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(at[i][0], (char)i);
}

CASE(remapped)
{
    char *at = map_rw(4 * PAGE), *moved;

    fill(at, 4 * PAGE, 1);
    moved = mremap(at, 4 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED);
    hold();
    CHECK(filled(moved, 4 * PAGE, 1));
    moved = mremap(moved, 64 * PAGE, 128 * PAGE, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED);
    CHECK(filled(moved, 4 * PAGE, 1));
    fill(moved, 128 * PAGE, 2);
}

static size_t deep(size_t left)
{
    char frame[8192];

    fill(frame, 64, (unsigned)left);
    size_t below = left ? deep(left - 1) : 0;
    CHECK(filled(frame, 64, (unsigned)left));
    return below + 1;
}

CASE(stack_grows_afterwards)
{
    CHECK_EQ(deep(10), 11);
    hold();
    CHECK_EQ(deep(700), 701); /* 5.6 of the usual 8 MiB */
}

CASE(stack_was_deep)
{
    CHECK_EQ(deep(700), 701);
    hold();
    CHECK_EQ(deep(720), 721);
}

static size_t hold_deep(size_t left)
{
    char frame[8192];
    size_t below = 0;

    fill(frame, sizeof frame, (unsigned)left);
    if (left)
        below = hold_deep(left - 1);
    else
        hold();
    CHECK(filled(frame, sizeof frame, (unsigned)left));
    return below + 1;
}

CASE(stack_is_deep)
{
    CHECK_EQ(hold_deep(600), 601);
}

static void *thread_stack(void *arg)
{
    CHECK_EQ(deep(4), 5);
    mark("thread-ready");
    UNTIL(held_no_more());
    CHECK_EQ(deep(700), 701);
    return NULL;
}

CASE(stack_of_thread_grows)
{
    pthread_t id = thread(thread_stack, NULL);

    await("thread-ready");
    hold();
    PTH(pthread_join(id, NULL));
}

CASE(grows_down)
{
    char *area = map(64 * PAGE, PROT_NONE, 0), *at;

    SYS(munmap(area, 64 * PAGE));
    at = mmap(area + 60 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(at != MAP_FAILED);
    fill(at, 4 * PAGE, 1);
    hold();
    CHECK(filled(at, 4 * PAGE, 1));
    CHECK(vm_flag(at, "gd"));
}

CASE(vdso)
{
    unsigned long where = getauxval(AT_SYSINFO_EHDR);
    struct timespec by_vdso, by_kernel;
    char magic[4];

    hold();
    CHECK_EQ(getauxval(AT_SYSINFO_EHDR), where);
    memcpy(magic, (void *)where, 4);
    CHECK_MEM(magic, "\177ELF", 4);
    for (int i = 0; i < 1000; i++) {
        SYS(clock_gettime(CLOCK_MONOTONIC, &by_vdso));
        SYS(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &by_kernel));
        CHECK(by_kernel.tv_sec - by_vdso.tv_sec <= 2);
        CHECK(by_vdso.tv_sec <= by_kernel.tv_sec);
        SYS(clock_gettime(CLOCK_REALTIME, &by_vdso));
        CHECK(time(NULL) - by_vdso.tv_sec <= 2);
    }
}

CASE(auxiliary_vector)
{
    unsigned long before[52], in_proc[128];
    int fd;
    ssize_t len;

    for (unsigned long i = 0; i < 52; i++)
        before[i] = getauxval(i);
    hold();
    for (unsigned long i = 0; i < 52; i++)
        CHECK_EQ(getauxval(i), before[i]);
    fd = (int)SYS(open("/proc/self/auxv", O_RDONLY));
    len = SYS(read(fd, in_proc, sizeof in_proc));
    CHECK(len >= 32);
    for (size_t i = 0; i + 1 < (size_t)len / 8 && in_proc[i]; i += 2)
        if (in_proc[i] < 52 && in_proc[i] != AT_HWCAP) /* glibc has its own idea of that */
            CHECK_EQ(in_proc[i + 1], before[in_proc[i]]);
}

CASE(library_loaded_afterwards)
{
    void *handle = dlopen("libm.so.6", RTLD_NOW), *other;
    double (*cosine)(double) = handle ? (double (*)(double))dlsym(handle, "cos") : NULL;

    CHECK(cosine != NULL);
    hold();
    CHECK(cosine(0.0) == 1.0);
    CHECK_EQ(dlclose(handle), 0);
    other = dlopen("libresolv.so.2", RTLD_NOW);
    CHECK(other != NULL && dlsym(other, "ns_name_uncompress"));
}

CASE(arenas_and_trim)
{
    char *big[64];

    for (int i = 0; i < 64; i++) {
        big[i] = malloc(200000);
        CHECK(big[i] != NULL);
        memset(big[i], i, 200000);
    }
    for (int i = 0; i < 64; i += 2)
        free(big[i]);
    (void)malloc_trim(0); /* may find nothing */
    hold();
    for (int i = 1; i < 64; i += 2)
        CHECK(big[i][199999] == (char)i);
    (void)malloc_trim(0); /* likewise */
    CHECK(malloc(50 * MIB) != NULL);
}

CASE(thread_locals)
{
    static __thread int local = 5;
    static __thread char big[10000];

    local = 6;
    fill(big, sizeof big, 1);
    hold();
    CHECK_EQ(local, 6);
    CHECK(filled(big, sizeof big, 1));
    CHECK_EQ(errno, errno);
}

static void after_fork(void *at)
{
    CHECK(filled(at, MIB, 1));
    fill(at, MIB, 2);
}

CASE(copy_on_write_after_fork)
{
    char *at = map_rw(MIB);
    pid_t pid;

    fill(at, MIB, 1);
    hold();
    pid = child(after_fork, at);
    reap(pid);
    CHECK(filled(at, MIB, 1));
}

static void cow_child(void *at)
{
    fill(at, PAGE, 3);
    hold();
    CHECK(filled(at, PAGE, 3));
    CHECK(filled((char *)at + PAGE, PAGE, 1));
}

CASE(copies_of_parent_and_child)
{
    char *at = map_rw(2 * PAGE);
    pid_t pid;

    fill(at + PAGE, PAGE, 1);
    pid = child(cow_child, at);
    fill(at, PAGE, 4);
    hold();
    CHECK(filled(at, PAGE, 4));
    reap(pid);
}

CASE(dont_fork_after_restart)
{
    char *at = map_rw(PAGE);
    int status;
    pid_t pid;

    SYS(madvise(at, PAGE, MADV_DONTFORK));
    hold();
    pid = (pid_t)SYS(fork());
    if (pid == 0)
        _exit(fault_of(at, false) == SIGSEGV ? 0 : 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

CASE(protection_key)
{
    int key = pkey_alloc(0, 0);
    char *at = map_rw(PAGE);

    if (key < 0)
        skip("this machine has no protection keys");
    fill(at, PAGE, 1);
    SYS(pkey_mprotect(at, PAGE, PROT_READ | PROT_WRITE, key));
    SYS(pkey_set(key, PKEY_DISABLE_WRITE));
    hold();
    CHECK_EQ(pkey_get(key), PKEY_DISABLE_WRITE);
    CHECK_EQ(fault_of(at, true), SIGSEGV);
    CHECK(filled(at, PAGE, 1));
}

CASE(exe_cmdline_and_layout)
{
    char exe[4096] = "", after[4096] = "", line[4096] = "", line_after[4096] = "";
    FILE *file;

    SYS(readlink("/proc/self/exe", exe, sizeof exe - 1));
    file = fopen("/proc/self/cmdline", "r");
    CHECK(file && fread(line, 1, sizeof line, file) > 0);
    hold();
    SYS(readlink("/proc/self/exe", after, sizeof after - 1));
    CHECK_STR(after, exe);
    file = fopen("/proc/self/cmdline", "r");
    CHECK(file && fread(line_after, 1, sizeof line_after, file) > 0);
    CHECK_MEM(line, line_after, sizeof line);
}

CASE(stack_limit_and_brk_limit)
{
    struct rlimit limit = {.rlim_cur = 4 * MIB, .rlim_max = RLIM_INFINITY};
    struct rlimit data;

    SYS(getrlimit(RLIMIT_STACK, &data));
    limit.rlim_max = data.rlim_max;
    SYS(setrlimit(RLIMIT_STACK, &limit));
    hold();
    SYS(getrlimit(RLIMIT_STACK, &data));
    CHECK_EQ(data.rlim_cur, 4 * MIB);
    CHECK_EQ(deep(300), 301);
}

CASE(named_mapping)
{
    char *at = map_rw(PAGE);

    if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, PAGE, "arena") != 0)
        skip("this kernel does not name mappings");
    fill(at, PAGE, 1);
    hold();
    CHECK(filled(at, PAGE, 1));
}

CASE(no_gain_of_execution)
{
    if (prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0) < 0)
        skip("this kernel has no PR_SET_MDWE");
    hold();
    CHECK_EQ(prctl(66 /* PR_GET_MDWE */, 0, 0, 0, 0), 1);
    CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
               0) == MAP_FAILED);
    CHECK_EQ(mprotect(map_rw(PAGE), PAGE, PROT_READ | PROT_EXEC), -1);
}

static void *has_default_policy(void *arg)
{
    int policy = -1;

    SYS(syscall(SYS_set_mempolicy, 0, NULL, 0));
    mark("default");
    hold();
    SYS(syscall(SYS_get_mempolicy, &policy, NULL, 0, NULL, 0));
    CHECK_EQ(policy, 0);
    return NULL;
}

CASE(memory_policy)
{
    unsigned long nodes[16] = {1};
    int policy = -1;
    pthread_t id;

    if (syscall(SYS_set_mempolicy, 2 /* MPOL_BIND */, nodes, 64) < 0)
        skip("this kernel has no memory policies");
    id = thread(has_default_policy, NULL);
    await("default");
    hold();
    memset(nodes, 0, sizeof nodes);
    SYS(syscall(SYS_get_mempolicy, &policy, nodes, sizeof nodes * 8, NULL, 0));
    CHECK_EQ(policy, 2);
    CHECK_EQ(nodes[0], 1);
    PTH(pthread_join(id, NULL));
}
