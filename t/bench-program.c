/* Programs for t/bench.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   bench-program exec N            microseconds for one posix_spawn + wait of /bin/true,
 *                                   median of N
 *   bench-program constructor N     microseconds from the constructor of bench-clock.so, the
 *                                   last in LD_PRELOAD, to the program's own: median of N
 *   bench-program fault             microseconds of a page fault
 *   bench-program memory MIB FILE   hold MIB of memory that does not compress; FILE always
 *                                   holds "TICKS GAP": 1 ms steps taken, longest pause in ms
 *                                   between two since FILE was last removed
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* One run. Returns 0 when the program could not be run. */
typedef uint64_t one_run(void);

static int print_median(size_t n, one_run *run)
{
    uint64_t *took = calloc(n, sizeof(*took));

    if (!took || n == 0)
        return 1;
    for (size_t i = 0; i < n; i++) {
        took[i] = run();
        if (!took[i])
            return 1;
    }
    qsort(took, n, sizeof(*took), by_value);
    printf("%.1f\n", (double)took[n / 2] / 1000);
    free(took);
    return 0;
}

static uint64_t one_exec(void)
{
    char *argv[] = {"true", NULL};
    uint64_t start = now_ns();
    int status;
    pid_t pid;

    if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) != 0
        || waitpid(pid, &status, 0) != pid || status != 0)
        return 0;
    return now_ns() - start;
}

/* --- the constructor: the child tells its time through a pipe ---------------------- */

extern struct timespec bench_clock __attribute__((weak));

static uint64_t since_clock; /* when main() began; 0 without bench-clock.so */

__attribute__((constructor)) static void note_clock(void)
{
    if (&bench_clock)
        since_clock = now_ns()
                      - ((uint64_t)bench_clock.tv_sec * 1000000000u
                         + (uint64_t)bench_clock.tv_nsec);
}

static uint64_t one_constructor(void)
{
    char *argv[] = {"bench-program", "tell", NULL};
    posix_spawn_file_actions_t actions;
    uint64_t took = 0;
    int ends[2], status;
    pid_t pid;

    if (pipe(ends) < 0 || posix_spawn_file_actions_init(&actions) != 0
        || posix_spawn_file_actions_adddup2(&actions, ends[1], 1) != 0
        || posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ) != 0)
        return 0;
    (void)close(ends[1]);
    if (read(ends[0], &took, sizeof(took)) != sizeof(took) || waitpid(pid, &status, 0) != pid)
        took = 0;
    (void)close(ends[0]);
    (void)posix_spawn_file_actions_destroy(&actions);
    return took;
}

/* Nanoseconds of a first write to a page, on average. */
static uint64_t measure_fault(void)
{
    const size_t pages = 2000, size = 4096;
    char *memory = mmap(NULL, pages * size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t start = now_ns();

    if (memory == MAP_FAILED || madvise(memory, pages * size, MADV_NOHUGEPAGE) < 0)
        return 0;
    for (size_t i = 0; i < pages; i++)
        memory[i * size] = 1;
    return (now_ns() - start) / pages;
}

static void fill(uint64_t *to, size_t words)
{
    uint64_t x = 0x9e3779b97f4a7c15u;

    for (size_t i = 0; i < words; i++) { /* xorshift64, Marsaglia 2003 */
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        to[i] = x;
    }
}

static int hold_memory(size_t mib, const char *path)
{
    size_t len = mib << 20;
    uint64_t *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                            -1, 0);
    uint64_t last, longest = 0, ticks = 0, sum = 0;
    const struct timespec step = {0, 1000000};

    if (memory == MAP_FAILED)
        return 1;
    fill(memory, len / 8);
    last = now_ns();
    for (;;) {
        char text[64];
        uint64_t now;
        int fd, n;

        (void)nanosleep(&step, NULL);
        now = now_ns();
        ticks++;
        sum += memory[ticks * 512 % (len / 8)];
        if (access(path, F_OK) != 0)
            longest = 0;
        else if (now - last > longest)
            longest = now - last;
        last = now;
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return 1;
        n = snprintf(text, sizeof(text), "%llu %.1f %llu\n", (unsigned long long)ticks,
                     (double)longest / 1e6, (unsigned long long)(sum & 1));
        if (write(fd, text, (size_t)n) != n)
            return 1;
        (void)close(fd); /* written above */
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "exec") == 0)
        return print_median((size_t)atoi(argv[2]), one_exec);
    if (argc == 3 && strcmp(argv[1], "constructor") == 0)
        return print_median((size_t)atoi(argv[2]), one_constructor);
    if (argc == 2 && strcmp(argv[1], "fault") == 0)
        return printf("%.1f\n", (double)measure_fault() / 1000) < 0;
    if (argc == 2 && strcmp(argv[1], "tell") == 0)
        return write(1, &since_clock, sizeof(since_clock)) != sizeof(since_clock);
    if (argc == 4 && strcmp(argv[1], "memory") == 0)
        return hold_memory((size_t)atoi(argv[2]), argv[3]);
    fprintf(stderr, "usage: bench-program exec N | constructor N | fault | memory MIB FILE\n");
    return 2;
}
