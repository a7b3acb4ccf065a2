/* Conformance: POSIX message queues, and what SEM_UNDO is to do.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <mqueue.h>
#include <poll.h>
#include <sys/ipc.h>
#include <sys/sem.h>

struct name {
    char text[64];
};

static struct name name_of(const char *what)
{
    struct name name;

    (void)snprintf(name.text, sizeof name.text, "/stint-ipc-%s-%d", what, getpid());
    leaves("queue", name.text);
    return name;
}

static int make_semaphores(int count)
{
    return leaves_id("semaphores", (int)SYS(semget(IPC_PRIVATE, count, 0600)));
}

static mqd_t make(const char *name, long maxmsg, long msgsize)
{
    struct mq_attr attr = {.mq_maxmsg = maxmsg, .mq_msgsize = msgsize};
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);

    if (queue == (mqd_t)-1 && errno == ENOSYS)
        skip("no message queues here");
    if (queue == (mqd_t)-1 && errno == EINVAL)
        skip("message queues may not be as large here");
    CHECK(queue != (mqd_t)-1);
    return queue;
}

static void put(mqd_t queue, const char *text, unsigned priority)
{
    SYS(mq_send(queue, text, strlen(text), priority));
}

static void expect(mqd_t queue, const char *want, unsigned want_priority)
{
    static char buf[65536];
    unsigned priority;
    ssize_t got = mq_receive(queue, buf, sizeof buf, &priority);

    CHECK_EQ(got, strlen(want));
    buf[got] = '\0';
    CHECK_STR(buf, want);
    CHECK_EQ(priority, want_priority);
}

static long waiting(mqd_t queue)
{
    struct mq_attr attr;

    SYS(mq_getattr(queue, &attr));
    return attr.mq_curmsgs;
}

CASE(queue_in_order)
{
    struct name name = name_of("order");
    mqd_t queue = make(name.text, 8, 100);

    put(queue, "low 1", 1);
    put(queue, "high 1", 32767);
    put(queue, "low 2", 1);
    put(queue, "", 5);
    put(queue, "high 2", 32767);
    put(queue, "none", 0);
    hold();
    CHECK_EQ(waiting(queue), 6);
    expect(queue, "high 1", 32767);
    expect(queue, "high 2", 32767);
    expect(queue, "", 5);
    expect(queue, "low 1", 1);
    expect(queue, "low 2", 1);
    expect(queue, "none", 0);
    SYS(mq_unlink(name.text));
}

CASE(queue_full)
{
    struct name name = name_of("full");
    mqd_t queue = make(name.text, 10, 8192), other;
    static char text[8192];
    unsigned priority;

    for (int i = 0; i < 10; i++) {
        fill(text, sizeof text, (unsigned)i);
        SYS(mq_send(queue, text, sizeof text, 3));
    }
    hold();
    other = (mqd_t)SYS(mq_open(name.text, O_WRONLY | O_NONBLOCK));
    CHECK_EQ(mq_send(other, "x", 1, 1), -1);
    CHECK_EQ(errno, EAGAIN);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(mq_receive(queue, text, sizeof text, &priority), sizeof text);
        CHECK(filled(text, sizeof text, (unsigned)i));
    }
    SYS(mq_unlink(name.text));
}

CASE(queue_attributes)
{
    struct name name = name_of("attr");
    mqd_t queue = make(name.text, 3, 17);
    mqd_t reader = (mqd_t)SYS(mq_open(name.text, O_RDONLY | O_NONBLOCK));
    mqd_t writer = (mqd_t)SYS(mq_open(name.text, O_WRONLY));
    struct mq_attr attr;
    struct stat st;
    char buf[17];

    SYS(fchmod(queue, 0640));
    SYS(fcntl(writer, F_SETFD, 0));
    hold();
    SYS(mq_getattr(reader, &attr));
    CHECK_EQ(attr.mq_maxmsg, 3);
    CHECK_EQ(attr.mq_msgsize, 17);
    CHECK_EQ(attr.mq_flags, O_NONBLOCK);
    SYS(mq_getattr(writer, &attr));
    CHECK_EQ(attr.mq_flags, 0);
    SYS(fstat(queue, &st));
    CHECK_EQ(st.st_mode & 07777, 0640);
    CHECK_EQ(st.st_uid, geteuid());
    CHECK_EQ(fcntl(writer, F_GETFD), 0);
    CHECK_EQ(fcntl(reader, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(mq_receive(reader, buf, sizeof buf, NULL), -1);
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(mq_receive(writer, buf, sizeof buf, NULL), -1);
    CHECK_EQ(errno, EBADF);
    put(writer, "seventeen letters", 2);
    expect(reader, "seventeen letters", 2);
    SYS(mq_unlink(name.text));
}

/* Two of them with one name, and a third that has it. */
CASE(queue_unlinked)
{
    struct name name = name_of("gone");
    mqd_t queues[3];

    for (int i = 0; i < 3; i++) {
        char text[8];

        queues[i] = make(name.text, 2, 10);
        (void)snprintf(text, sizeof text, "queue %d", i);
        put(queues[i], text, 1);
        if (i < 2)
            SYS(mq_unlink(name.text));
    }
    hold();
    expect(queues[0], "queue 0", 1);
    expect(queues[1], "queue 1", 1);
    put((mqd_t)SYS(mq_open(name.text, O_WRONLY)), "by name", 3);
    expect(queues[2], "by name", 3);
    expect(queues[2], "queue 2", 1);
    SYS(mq_unlink(name.text));
    CHECK_EQ(mq_open(name.text, O_RDWR), -1);
}

/* Only where its file system is mounted, a user who is no administrator sees it. */
static bool all_are_seen(void)
{
    char line[4096];
    FILE *mounts = fopen("/proc/mounts", "re");
    bool found = geteuid() == 0;

    while (mounts && !found && fgets(line, sizeof line, mounts))
        found = strstr(line, " mqueue ") != NULL;
    if (mounts)
        (void)fclose(mounts); /* only read */
    return found;
}

CASE(queue_closed)
{
    struct name name = name_of("closed");
    mqd_t queue = make(name.text, 4, 30);

    if (!all_are_seen()) {
        SYS(mq_unlink(name.text));
        skip("the mqueue file system is not mounted");
    }
    put(queue, "nobody has it open", 4);
    SYS(mq_close(queue));
    hold();
    queue = (mqd_t)SYS(mq_open(name.text, O_RDWR));
    expect(queue, "nobody has it open", 4);
    SYS(mq_unlink(name.text));
}

CASE(queue_large)
{
    struct name name = name_of("large");
    mqd_t queue = make(name.text, 12, 20000);
    static char text[20000];
    struct mq_attr attr;

    if (geteuid() != 0) {
        SYS(mq_unlink(name.text));
        skip("such a queue of an ordinary user is refused");
    }
    for (unsigned i = 0; i < 12; i++) {
        fill(text, sizeof text, i);
        SYS(mq_send(queue, text, sizeof text, i));
    }
    hold();
    SYS(mq_getattr(queue, &attr));
    CHECK_EQ(attr.mq_maxmsg, 12);
    for (unsigned i = 12; i-- > 0;) {
        CHECK_EQ(mq_receive(queue, text, sizeof text, NULL), sizeof text);
        CHECK(filled(text, sizeof text, i));
    }
    SYS(mq_unlink(name.text));
}

static void queue_receiver(void *name)
{
    mqd_t queue = (mqd_t)SYS(mq_open(((struct name *)name)->text, O_RDONLY));

    expect(queue, "at last", 7);
}

CASE(queue_receiver_blocked)
{
    struct name name = name_of("wait");
    mqd_t queue = make(name.text, 4, 30);
    pid_t pid = child(queue_receiver, &name);

    await_syscall(pid, pid, SYS_mq_timedreceive);
    hold();
    put(queue, "at last", 7);
    reap(pid);
    SYS(mq_unlink(name.text));
}

CASE(queue_polled)
{
    struct name name = name_of("poll");
    mqd_t queue = make(name.text, 1, 30);
    struct pollfd both = {.fd = queue, .events = POLLIN | POLLOUT};

    put(queue, "full", 0);
    hold();
    CHECK_EQ(poll(&both, 1, 0), 1);
    CHECK_EQ(both.revents, POLLIN);
    expect(queue, "full", 0);
    CHECK_EQ(poll(&both, 1, 0), 1);
    CHECK_EQ(both.revents, POLLOUT);
    SYS(mq_unlink(name.text));
}

static volatile sig_atomic_t told, told_value, told_pid;

static void on_told(int signo, siginfo_t *info, void *context)
{
    told++;
    told_value = info->si_value.sival_int;
    told_pid = info->si_code == SI_MESGQ ? info->si_pid : 0;
}

static void ask_for_signal(mqd_t queue, int value)
{
    struct sigaction action = {.sa_sigaction = on_told, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2,
                             .sigev_value.sival_int = value};

    SYS(sigaction(SIGUSR2, &action, NULL));
    SYS(mq_notify(queue, &event));
}

static void is_busy(void *queue)
{
    struct sigevent event = {.sigev_notify = SIGEV_NONE};

    CHECK_EQ(mq_notify(*(mqd_t *)queue, &event), -1);
    CHECK_EQ(errno, EBUSY);
}

CASE(queue_tells_by_signal)
{
    struct name name = name_of("signal");
    mqd_t queue = make(name.text, 4, 30);

    ask_for_signal(queue, 4711);
    hold();
    CHECK_EQ(told, 0);
    reap(child(is_busy, &queue));
    put(queue, "x", 0);
    UNTIL(told);
    CHECK_EQ(told, 1);
    CHECK_EQ(told_value, 4711);
    CHECK_EQ(told_pid, getpid());
    expect(queue, "x", 0);
    put(queue, "y", 0);
    CHECK_EQ(told, 1); /* it was for one message */
    SYS(mq_unlink(name.text));
}

/* It tells when a message comes into the empty queue: not when a checkpoint looks at it. */
static void tells_later(long maxmsg, const unsigned *priorities, int count)
{
    struct name name = name_of("later");
    mqd_t queue = make(name.text, maxmsg, 30);
    char text[32];
    long left;

    for (int i = 0; i < count; i++) {
        (void)snprintf(text, sizeof text, "message %d", i);
        put(queue, priorities[i] == 9 ? "" : text, priorities[i]);
    }
    ask_for_signal(queue, 1);
    hold();
    CHECK_EQ(told, 0);
    CHECK_EQ(waiting(queue), count);
    for (unsigned p = 40000; p-- > 0;) {
        for (int i = 0; i < count; i++) {
            (void)snprintf(text, sizeof text, "message %d", i);
            if (priorities[i] == p)
                expect(queue, p == 9 ? "" : text, p);
        }
    }
    left = waiting(queue);
    CHECK_EQ(left, 0);
    CHECK_EQ(told, 0);
    put(queue, "now", 1);
    UNTIL(told);
    CHECK_EQ(told, 1);
    SYS(mq_unlink(name.text));
}

CASE(queue_tells_later)
{
    tells_later(8, (const unsigned[]){5, 2, 9, 2, 2, 7}, 6);
}

CASE(queue_tells_later_full)
{
    tells_later(4, (const unsigned[]){3, 3, 3, 3}, 4);
}

CASE(queue_tells_later_one)
{
    tells_later(2, (const unsigned[]){0}, 1);
}

CASE(queue_tells_later_empty_message)
{
    tells_later(3, (const unsigned[]){9, 9, 9}, 3);
}

CASE(queue_tells_later_of_one)
{
    tells_later(1, (const unsigned[]){3}, 1);
}

CASE(queue_tells_nobody)
{
    struct name name = name_of("none");
    mqd_t queue = make(name.text, 4, 30);
    struct sigevent event = {.sigev_notify = SIGEV_NONE};

    SYS(mq_notify(queue, &event));
    hold();
    reap(child(is_busy, &queue));
    SYS(mq_notify(queue, NULL));
    ask_for_signal(queue, 5);
    SYS(mq_unlink(name.text));
}

static void on_message(union sigval value)
{
    mark("told");
    *(volatile int *)value.sival_ptr = 1;
}

CASE(queue_tells_by_thread)
{
    static volatile int flag;
    struct name name = name_of("thread");
    mqd_t queue = make(name.text, 4, 30);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD,
                             .sigev_notify_function = on_message,
                             .sigev_value.sival_ptr = (void *)&flag};

    SYS(mq_notify(queue, &event));
    hold();
    CHECK_EQ(flag, 0);
    put(queue, "x", 0);
    await("told");
    UNTIL(flag == 1);
    SYS(mq_notify(queue, &event)); /* its helper thread still works */
    expect(queue, "x", 0);
    flag = 0;
    put(queue, "y", 0);
    UNTIL(flag == 1);
    SYS(mq_unlink(name.text));
}

static void asks_in_child(void *name)
{
    mqd_t queue = (mqd_t)SYS(mq_open(((struct name *)name)->text, O_RDWR));

    ask_for_signal(queue, 12);
    mark("asked");
    hold();
    UNTIL(told);
    CHECK_EQ(told_value, 12);
    CHECK_EQ(told_pid, getppid());
}

CASE(queue_tells_the_child)
{
    struct name name = name_of("child");
    mqd_t queue = make(name.text, 4, 30);
    pid_t pid = child(asks_in_child, &name);

    await("asked");
    hold();
    put(queue, "x", 0);
    reap(pid);
    SYS(mq_unlink(name.text));
}

CASE(queue_told_by_raw_call)
{
    struct name name = name_of("raw");
    mqd_t queue = make(name.text, 4, 30);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};

    SYS(mq_unlink(name.text));
    SYS(syscall(SYS_mq_notify, queue, &event));
    hold();
    SYS(mq_notify(queue, NULL));
}

/* --- SEM_UNDO ------------------------------------------------------------------------ */

static void change(int id, unsigned short number, int by, short flags)
{
    struct sembuf op = {number, (short)by, flags};

    SYS(semop(id, &op, 1));
}

static int value(int id, int number)
{
    return (int)SYS(semctl(id, number, GETVAL));
}

static void takes_and_ends(void *id)
{
    change(*(int *)id, 0, -3, SEM_UNDO);
    change(*(int *)id, 1, 4, SEM_UNDO);
    change(*(int *)id, 2, 1, SEM_UNDO);
    change(*(int *)id, 2, -1, SEM_UNDO);
    change(*(int *)id, 3, -1, 0);
    mark("taken");
    hold();
    CHECK_EQ(value(*(int *)id, 0), 7);
    CHECK_EQ(value(*(int *)id, 1), 24);
}

CASE(undo_at_the_end)
{
    int id = make_semaphores(4);
    pid_t pid;

    for (int i = 0; i < 4; i++)
        SYS(semctl(id, i, SETVAL, 10 + 10 * i));
    pid = child(takes_and_ends, &id);
    await("taken");
    hold();
    reap(pid);
    CHECK_EQ(value(id, 0), 10);
    CHECK_EQ(value(id, 1), 20);
    CHECK_EQ(value(id, 2), 30);
    CHECK_EQ(value(id, 3), 39);
    SYS(semctl(id, 0, IPC_RMID));
}

static void dies_with_lock(void *id)
{
    change(*(int *)id, 0, -1, SEM_UNDO);
    mark("locked");
    for (;;)
        (void)pause();
}

CASE(undo_of_a_lock)
{
    int id = make_semaphores(1);
    pid_t pid;

    SYS(semctl(id, 0, SETVAL, 1));
    pid = child(dies_with_lock, &id);
    await("locked");
    hold();
    CHECK_EQ(value(id, 0), 0);
    SYS(kill(pid, SIGKILL));
    change(id, 0, -1, 0); /* the kernel opens it */
    reap_status(pid, SIGKILL);
    SYS(semctl(id, 0, IPC_RMID));
}

/* The ends of the ranges of values and adjustments. */
static void extremes(void *id_pointer)
{
    int id = *(int *)id_pointer;
    struct sembuf too_much = {3, 1, SEM_UNDO};

    change(id, 0, 32767, SEM_UNDO);
    change(id, 1, -32767, SEM_UNDO);
    change(id, 2, -32767, SEM_UNDO);
    change(id, 2, 32767, 0);
    change(id, 3, 32767, SEM_UNDO);
    change(id, 3, -32767, 0);
    change(id, 3, 1, SEM_UNDO);
    change(id, 3, -1, 0);
    mark("taken");
    hold();
    CHECK_EQ(semop(id, &too_much, 1), -1); /* -32768 is the lowest */
    CHECK_EQ(errno, ERANGE);
    await("go");
}

CASE(undo_of_much)
{
    int id = make_semaphores(4);
    pid_t pid;

    SYS(semctl(id, 1, SETVAL, 32767));
    SYS(semctl(id, 2, SETVAL, 32767));
    pid = child(extremes, &id);
    await("taken");
    hold();
    CHECK_EQ(value(id, 0), 32767);
    CHECK_EQ(value(id, 1), 0);
    CHECK_EQ(value(id, 2), 32767);
    CHECK_EQ(value(id, 3), 0);
    change(id, 2, -32767, 0);
    mark("go");
    reap(pid);
    CHECK_EQ(value(id, 0), 0);
    CHECK_EQ(value(id, 1), 32767);
    CHECK_EQ(value(id, 2), 32767);
    SYS(semctl(id, 0, IPC_RMID));
}

static void of_many(void *id)
{
    for (unsigned short i = 0; i < 200; i++)
        if (i % 50 == 7)
            change(*(int *)id, i, i, SEM_UNDO);
    mark("taken");
    hold();
}

CASE(undo_in_a_large_set)
{
    int id = make_semaphores(200);
    pid_t pid;

    for (int i = 0; i < 200; i++)
        SYS(semctl(id, i, SETVAL, i));
    pid = child(of_many, &id);
    await("taken");
    hold();
    reap(pid);
    for (int i = 0; i < 200; i++)
        CHECK_EQ(value(id, i), i);
    SYS(semctl(id, 0, IPC_RMID));
}
