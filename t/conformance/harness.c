/* The part of the conformance programs that is not a case.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <stdarg.h>

#define DEADLINE_S 600

extern const struct conf_case *const __start_conf_cases[];
extern const struct conf_case *const __stop_conf_cases[];

static char gate_ready[4096] = "ready", gate_go[4096], gate_alive[4096] = "alive";
static char own_go[4096 + 4]; /* for this case alone */
static pid_t case_pid;

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *fmt, ...)
{
    char line[1024];
    va_list args;
    int len;

    va_start(args, fmt);
    len = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (len >= (int)sizeof line)
        len = sizeof line - 1;
    if (write(STDOUT_FILENO, line, (size_t)len) < 0)
        _exit(2);
}

void conf_fail(const char *file, int line, const char *what)
{
    say("FAIL %s:%d: %s (pid %d, errno %d %s)\n", file, line, what, getpid(), errno,
        strerrorname_np(errno) ? strerrorname_np(errno) : "?");
    _exit(1);
}

void conf_equal(const char *file, int line, const char *what, long long got, long long want)
{
    if (got == want)
        return;
    say("FAIL %s:%d: %s is %lld (0x%llx), not %lld (0x%llx) (pid %d, errno %d)\n", file, line,
        what, got, got, want, want, getpid(), errno);
    _exit(1);
}

void conf_same_text(const char *file, int line, const char *what, const char *got,
                    const char *want)
{
    if (strcmp(got, want) == 0)
        return;
    say("FAIL %s:%d: %s is \"%s\", not \"%s\"\n", file, line, what, got, want);
    _exit(1);
}

long conf_sys(const char *file, int line, const char *what, long value)
{
    if (value == -1)
        conf_fail(file, line, what);
    return value;
}

void skip(const char *why)
{
    say("SKIP %s\n", why);
    _exit(77);
}

double monotonic_s(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

pid_t gettid_raw(void)
{
    return (pid_t)syscall(SYS_gettid);
}

void leaves(const char *kind, const char *name)
{
    FILE *file = fopen("leftovers", "ae");

    CHECK(file && fprintf(file, "%s %s\n", kind, name) > 0 && fclose(file) == 0);
}

int leaves_id(const char *kind, int id)
{
    char text[16];

    (void)snprintf(text, sizeof text, "%d", id);
    leaves(kind, text);
    return id;
}

void nap(void)
{
    struct timespec ts = {.tv_nsec = 10 * 1000 * 1000};

    while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
        ;
}

/* mknod(2) makes a file without ever holding a descriptor. */
static void touch(const char *path)
{
    int saved = errno;

    (void)mknod(path, S_IFREG | 0644, 0); /* there already is as good */
    errno = saved;
}

bool held_no_more(void)
{
    int saved = errno;
    bool go = access(gate_go, F_OK) == 0 || access(own_go, F_OK) == 0;

    errno = saved;
    return go;
}

void hold(void)
{
    double deadline = monotonic_s() + DEADLINE_S;

    touch(gate_ready);
    while (!held_no_more()) {
        touch(gate_alive);
        if (monotonic_s() > deadline)
            conf_fail(__FILE__, __LINE__, "nobody ever said go");
        nap();
    }
}

void mark(const char *name)
{
    touch(name);
}

void await(const char *name)
{
    UNTIL(access(name, F_OK) == 0);
}

void await_syscall(pid_t pid, pid_t tid, long number)
{
    char path[64], line[256];
    long current = -1;
    double deadline = monotonic_s() + 60;

    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", pid, tid);
    while (current != number) {
        FILE *file = fopen(path, "re");

        current = -1;
        if (file && fgets(line, sizeof line, file) && line[0] >= '0' && line[0] <= '9')
            current = atol(line);
        if (file)
            (void)fclose(file); /* was only read */
        if (monotonic_s() > deadline)
            conf_fail(__FILE__, __LINE__, "a thread never came to its system call");
        if (current != number)
            nap();
    }
}

pid_t child(void (*fn)(void *), void *arg)
{
    pid_t pid = (pid_t)SYS(fork());

    if (pid == 0) {
        fn(arg);
        _exit(0);
    }
    return pid;
}

void reap_status(pid_t pid, int want)
{
    int status = -1;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, want);
}

void reap(pid_t pid)
{
    reap_status(pid, 0);
}

pthread_t thread(void *(*fn)(void *), void *arg)
{
    pthread_t id;

    PTH(pthread_create(&id, NULL, fn, arg));
    return id;
}

static unsigned char pattern(size_t i, unsigned seed)
{
    return (unsigned char)((i * 2654435761u + (i >> 9) + seed * 97u) >> 3);
}

void fill(void *at, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        ((unsigned char *)at)[i] = pattern(i, seed);
}

bool filled(const void *at, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        if (((const unsigned char *)at)[i] != pattern(i, seed))
            return false;
    return true;
}

void make_file(const char *path, size_t len, unsigned seed)
{
    char *bytes = malloc(len + 1);
    int fd = (int)SYS(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

    CHECK(bytes != NULL);
    fill(bytes, len, seed);
    CHECK_EQ(write(fd, bytes, len), len);
    SYS(close(fd));
    free(bytes);
}

void make_text(const char *path, const char *text)
{
    int fd = (int)SYS(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    SYS(close(fd));
}

long long status_value(const char *key, int base)
{
    char line[512];
    long long value = -1;
    size_t len = strlen(key);
    FILE *file = fopen("/proc/self/status", "re");

    CHECK(file != NULL);
    while (value == -1 && fgets(line, sizeof line, file))
        if (strncmp(line, key, len) == 0 && line[len] == ':')
            value = strtoll(line + len + 1, NULL, base);
    (void)fclose(file); /* was only read */
    return value;
}

bool vm_flag(const void *at, const char *flag)
{
    char line[1024];
    bool inside = false, found = false;
    unsigned long start, end;
    FILE *file = fopen("/proc/self/smaps", "re");

    CHECK(file != NULL);
    while (!found && fgets(line, sizeof line, file)) {
        char *flags = strstr(line, "VmFlags:");

        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = start <= (unsigned long)at && (unsigned long)at < end;
        for (char *word = inside && flags ? strtok(flags + 8, " \n") : NULL; word;
             word = strtok(NULL, " \n"))
            found = found || strcmp(word, flag) == 0;
    }
    (void)fclose(file); /* was only read */
    return found;
}

static int list_cases(void)
{
    for (const struct conf_case *const *at = __start_conf_cases; at < __stop_conf_cases; at++)
        (void)puts((*at)->name); /* for the person who runs it */
    return 0;
}

int main(int argc, char **argv)
{
    const char *gate = getenv("GATE");

    if (argc != 2)
        return list_cases();
    if (gate)
        (void)snprintf(gate_go, sizeof gate_go, "%s.go", gate);
    SYS(syscall(SYS_getcwd, own_go, sizeof own_go - 4));
    (void)strcat(own_go, "/go");
    case_pid = getpid();
    for (const struct conf_case *const *at = __start_conf_cases; at < __stop_conf_cases; at++)
        if (strcmp((*at)->name, argv[1]) == 0) {
            (*at)->run();
            CHECK_EQ(getpid(), case_pid);
            say("PASS\n");
            /* not exit(3): what a case left behind in libc is not the matter here */
            _exit(0);
        }
    say("FAIL there is no case %s\n", argv[1]);
    return 2;
}
