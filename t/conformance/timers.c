/* Conformance: clocks, timers and sleeping.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <sys/time.h>
#include <sys/times.h>

static volatile sig_atomic_t fired;
static siginfo_t last_info;

static void on_fire(int signo, siginfo_t *info, void *context)
{
    fired++;
    last_info = *info;
}

static void handle(int signo)
{
    struct sigaction act = {.sa_sigaction = on_fire, .sa_flags = SA_SIGINFO | SA_RESTART};

    SYS(sigaction(signo, &act, NULL));
}

static double clock_s(clockid_t id)
{
    struct timespec ts;

    SYS(clock_gettime(id, &ts));
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static timer_t timer_new(clockid_t clock, int notify, int signo, int value)
{
    struct sigevent event = {.sigev_notify = notify, .sigev_signo = signo,
                             .sigev_value.sival_int = value};
    timer_t id;

    SYS(timer_create(clock, &event, &id));
    return id;
}

static void timer_arm(timer_t id, double value_s, double interval_s)
{
    struct itimerspec spec = {
        .it_value = {(time_t)value_s, (long)((value_s - (double)(time_t)value_s) * 1e9)},
        .it_interval = {(time_t)interval_s,
                        (long)((interval_s - (double)(time_t)interval_s) * 1e9)}};

    SYS(timer_settime(id, 0, &spec, NULL));
}

static double timer_left(timer_t id)
{
    struct itimerspec spec;

    SYS(timer_gettime(id, &spec));
    return (double)spec.it_value.tv_sec + (double)spec.it_value.tv_nsec / 1e9;
}

/* The job's own clock must not jump over the time in which it did not run. The holding
 * itself takes a moment, the dead time of the test is much less than this. */
CASE(monotonic_goes_on)
{
    double start = clock_s(CLOCK_MONOTONIC), boot = clock_s(CLOCK_BOOTTIME), before = start;
    double largest = 0, smallest = 0;

    mark("ready");
    while (!held_no_more()) {
        double now = clock_s(CLOCK_MONOTONIC);

        largest = now - before > largest ? now - before : largest;
        smallest = now - before < smallest ? now - before : smallest;
        before = now;
        mark("alive");
        nap();
    }
    CHECK(smallest >= 0);
    CHECK(largest < 30);
    CHECK(clock_s(CLOCK_BOOTTIME) >= boot);
    CHECK((clock_s(CLOCK_BOOTTIME) - boot) - (clock_s(CLOCK_MONOTONIC) - start) < 30);
}

CASE(realtime_is_the_worlds)
{
    struct stat st;

    hold();
    make_text("stamp", "x");
    SYS(stat("stamp", &st));
    CHECK(clock_s(CLOCK_REALTIME) - (double)st.st_mtim.tv_sec < 60);
    CHECK((double)st.st_mtim.tv_sec - clock_s(CLOCK_REALTIME) < 60);
}

CASE(alarm_remaining)
{
    unsigned left;

    handle(SIGALRM);
    CHECK_EQ(alarm(1000), 0);
    hold();
    left = alarm(0);
    CHECK(left > 700 && left <= 1000);
    CHECK_EQ(fired, 0);
}

CASE(alarm_rings_afterwards)
{
    handle(SIGALRM);
    CHECK_EQ(alarm(3), 0);
    hold();
    UNTIL(fired == 1);
    CHECK_EQ(alarm(0), 0);
}

CASE(itimers)
{
    static const int kinds[] = {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF};
    struct itimerval got, want = {.it_value = {900, 500}, .it_interval = {5, 250000}};

    for (int i = 0; i < 3; i++)
        SYS(setitimer(kinds[i], &want, NULL));
    hold();
    for (int i = 0; i < 3; i++) {
        SYS(getitimer(kinds[i], &got));
        CHECK_EQ(got.it_interval.tv_sec, 5);
        CHECK(got.it_interval.tv_usec >= 250000 && got.it_interval.tv_usec < 260000);
        CHECK(got.it_value.tv_sec > 600 && got.it_value.tv_sec <= 900);
    }
}

CASE(itimer_keeps_ringing)
{
    struct itimerval want = {.it_value = {0, 20000}, .it_interval = {0, 20000}};
    int before;

    handle(SIGALRM);
    SYS(setitimer(ITIMER_REAL, &want, NULL));
    hold();
    before = fired;
    UNTIL(fired > before + 20);
}

CASE(itimer_with_its_signal_pending)
{
    struct itimerval want = {.it_value = {0, 100}, .it_interval = {0, 100}};
    sigset_t set, pending;

    handle(SIGALRM);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    SYS(sigprocmask(SIG_BLOCK, &set, NULL));
    SYS(setitimer(ITIMER_REAL, &want, NULL));
    UNTIL(sigpending(&pending) == 0 && sigismember(&pending, SIGALRM));
    hold();
    CHECK_EQ(fired, 0);
    SYS(sigprocmask(SIG_UNBLOCK, &set, NULL));
    UNTIL(fired > 20);
}

CASE(profiling_timer)
{
    struct itimerval want = {.it_value = {0, 20000}, .it_interval = {0, 20000}};
    int before;

    handle(SIGPROF);
    SYS(setitimer(ITIMER_PROF, &want, NULL));
    hold();
    before = fired;
    for (double end = monotonic_s() + 60; fired < before + 5;)
        CHECK(monotonic_s() < end);
    CHECK_EQ(last_info.si_signo, SIGPROF);
}

CASE(posix_timer_ids_and_values)
{
    timer_t ids[5];

    for (int i = 0; i < 5; i++)
        ids[i] = timer_new(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + i, 40 + i);
    SYS(timer_delete(ids[1])); /* leaves a gap in the kernel's numbers */
    timer_arm(ids[0], 800, 0);
    timer_arm(ids[2], 900, 7);
    hold();
    CHECK(timer_left(ids[0]) > 500 && timer_left(ids[0]) <= 800);
    CHECK(timer_left(ids[2]) > 600 && timer_left(ids[2]) <= 900);
    CHECK(timer_left(ids[3]) == 0);
    handle(SIGRTMIN + 4);
    timer_arm(ids[4], 0.01, 0);
    UNTIL(fired == 1);
    CHECK_EQ(last_info.si_code, SI_TIMER);
    CHECK_EQ(last_info.si_value.sival_int, 44);
    for (int i = 0; i < 5; i++)
        if (i != 1)
            SYS(timer_delete(ids[i]));
}

CASE(posix_timer_rings_afterwards)
{
    timer_t id = timer_new(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 1, 9);

    handle(SIGRTMIN + 1);
    timer_arm(id, 2, 0.05);
    hold();
    UNTIL(fired >= 10);
    CHECK_EQ(last_info.si_value.sival_int, 9);
}

CASE(posix_timer_on_realtime)
{
    timer_t id = timer_new(CLOCK_REALTIME, SIGEV_SIGNAL, SIGRTMIN + 1, 9);

    handle(SIGRTMIN + 1);
    timer_arm(id, 2, 0);
    hold();
    UNTIL(fired == 1);
}

CASE(posix_timer_without_notice)
{
    timer_t id = timer_new(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);

    timer_arm(id, 500, 0);
    hold();
    CHECK(timer_left(id) > 200 && timer_left(id) <= 500);
}

static volatile int called_with;

static void on_thread(union sigval value)
{
    called_with = value.sival_int;
}

CASE(posix_timer_by_thread)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD,
                             .sigev_notify_function = on_thread,
                             .sigev_value.sival_int = 31};
    timer_t id;

    SYS(timer_create(CLOCK_MONOTONIC, &event, &id));
    timer_arm(id, 0.01, 0);
    UNTIL(called_with == 31);
    called_with = 0;
    hold();
    timer_arm(id, 0.01, 0);
    UNTIL(called_with == 31);
}

CASE(posix_timer_to_one_thread)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 3};
    timer_t id;

    event._sigev_un._tid = gettid_raw();
    handle(SIGRTMIN + 3);
    SYS(timer_create(CLOCK_MONOTONIC, &event, &id));
    hold();
    timer_arm(id, 0.01, 0);
    UNTIL(fired == 1);
}

CASE(posix_timer_pending_with_overrun)
{
    sigset_t set;
    siginfo_t info;
    timer_t id = timer_new(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 1, 3);

    SYS(sigemptyset(&set));
    SYS(sigaddset(&set, SIGRTMIN + 1));
    SYS(sigprocmask(SIG_BLOCK, &set, NULL));
    timer_arm(id, 0.01, 0.01);
    hold();
    CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 1);
    CHECK_EQ(info.si_value.sival_int, 3);
    CHECK_EQ(info.si_code, SI_TIMER);
    CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 1);
}

CASE(posix_timer_absolute)
{
    struct timespec now;
    struct itimerspec spec = {.it_interval = {0, 0}};
    timer_t id = timer_new(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 1, 3);

    handle(SIGRTMIN + 1);
    SYS(clock_gettime(CLOCK_MONOTONIC, &now));
    spec.it_value = (struct timespec){now.tv_sec + 600, now.tv_nsec};
    SYS(timer_settime(id, TIMER_ABSTIME, &spec, NULL));
    hold();
    CHECK(timer_left(id) > 300 && timer_left(id) <= 600);
    SYS(clock_gettime(CLOCK_MONOTONIC, &now));
    spec.it_value = (struct timespec){now.tv_sec, now.tv_nsec + 1};
    SYS(timer_settime(id, TIMER_ABSTIME, &spec, NULL));
    UNTIL(fired == 1);
}

static void *sleeper(void *arg)
{
    double start = monotonic_s();
    struct timespec ts = {.tv_sec = 4}, left = {0};

    CHECK_EQ(nanosleep(&ts, &left), 0);
    CHECK(monotonic_s() - start >= 3.99);
    return NULL;
}

CASE(nanosleep_runs_to_its_end)
{
    pthread_t id = thread(sleeper, NULL);

    hold();
    PTH(pthread_join(id, NULL));
}

static void *deadline_sleeper(void *arg)
{
    struct timespec deadline;

    SYS(clock_gettime(CLOCK_MONOTONIC, &deadline));
    deadline.tv_sec += 4;
    PTH(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL));
    CHECK(monotonic_s() >= (double)deadline.tv_sec);
    return NULL;
}

CASE(clock_nanosleep_absolute)
{
    pthread_t id = thread(deadline_sleeper, NULL);

    hold();
    PTH(pthread_join(id, NULL));
}

static void *second_sleeper(void *arg)
{
    CHECK_EQ(sleep(3), 0);
    CHECK_EQ(usleep(900000), 0);
    return NULL;
}

CASE(sleep_returns_0)
{
    pthread_t id = thread(second_sleeper, NULL);

    hold();
    PTH(pthread_join(id, NULL));
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *condvar_waiter(void *arg)
{
    pthread_condattr_t attr;
    pthread_cond_t cond;
    struct timespec deadline;

    PTH(pthread_condattr_init(&attr));
    PTH(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    PTH(pthread_cond_init(&cond, &attr));
    SYS(clock_gettime(CLOCK_MONOTONIC, &deadline));
    deadline.tv_sec += 4;
    PTH(pthread_mutex_lock(&mutex));
    CHECK_EQ(pthread_cond_timedwait(&cond, &mutex, &deadline), ETIMEDOUT);
    PTH(pthread_mutex_unlock(&mutex));
    CHECK(monotonic_s() >= (double)deadline.tv_sec);
    return NULL;
}

CASE(condition_with_deadline)
{
    pthread_t id = thread(condvar_waiter, NULL);

    hold();
    PTH(pthread_join(id, NULL));
}

CASE(timer_slack)
{
    char buf[64] = "";
    int fd = open("/proc/self/timerslack_ns", O_RDWR);

    if (fd < 0 || write(fd, "123456", 6) != 6)
        skip("timerslack_ns cannot be written here");
    SYS(close(fd));
    hold();
    fd = (int)SYS(open("/proc/self/timerslack_ns", O_RDONLY));
    CHECK(read(fd, buf, sizeof buf - 1) > 0);
    CHECK_EQ(atoi(buf), 123456);
}
