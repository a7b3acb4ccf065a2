/* The agent's view of processes and shared memory, and its settings.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coordinator/agent_object.h"
#include "coordinator/agent_policy.h"
#include "coordinator/agent_proc.h"
#include "coordinator/agent_segment.h"
#include "coordinator/agent_settings.h"

#define PAGE 4096u

/* --- descriptors -------------------------------------------------------------- */

static const struct {
    const char *link, *advice; /* a part of it */
} advices[] = {
    {"/dev/nvidia0", "GPU"},
    {"/dev/nvidia-uvm", "GPU"},
    {"/dev/dri/renderD128", "GPU"},
    {"/dev/kfd", "GPU"},
    {"/dev/infiniband/uverbs0", "TCP"},
    {"anon_inode:[io_uring]", "epoll"},
    {"anon_inode:bpf-map", "outside"},
    {"/dev/null", NULL},
    {"/home/me/dev/nvidia0", NULL},
    {"", NULL},
};

START_TEST(knows_what_to_do_instead)
{
    const char *advice = agent_object_advice(advices[_i].link);

    ck_assert_int_eq(advice != NULL, advices[_i].advice != NULL);
    if (advice)
        ck_assert_ptr_nonnull(strstr(advice, advices[_i].advice));
}
END_TEST

/* --- processes ---------------------------------------------------------------- */

/* A child that waits for its end, named so that a careless parser stumbles. */
static pid_t start_child(const char *name)
{
    int fds[2];
    char byte;
    pid_t pid;

    ck_assert_int_eq(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, name);
        if (write(fds[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    ck_assert_int_gt(pid, 0);
    ck_assert_int_eq(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    close(fds[1]);
    return pid;
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(reads_a_process)
{
    static const char *const names[] = {"plain", "a) R 1 (b", "new\nline", ") Z 1 1 1", " "};
    pid_t pid = start_child(names[_i]);
    struct agent_proc proc;

    ck_assert_int_eq(agent_proc_read(pid, &proc), 0);
    ck_assert_int_eq(proc.pid, pid);
    ck_assert_int_eq(proc.ppid, getpid());
    ck_assert_int_eq(proc.pgid, getpgrp());
    ck_assert_int_eq(proc.sid, getsid(0));
    ck_assert_int_eq(proc.nthreads, 1);
    ck_assert_str_eq(proc.comm, names[_i]);
    ck_assert(proc.state == 'S' || proc.state == 'R');
    end_child(pid);
    ck_assert_int_eq(agent_proc_read(pid, &proc), -ESRCH);
}
END_TEST

START_TEST(reads_a_zombie)
{
    struct agent_proc proc;
    siginfo_t info;
    pid_t pid = fork();

    if (pid == 0)
        _exit(7);
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    ck_assert_int_eq(agent_proc_read(pid, &proc), 0);
    ck_assert_int_eq(proc.state, 'Z');
    ck_assert_int_le(proc.nthreads, 1);
    ck_assert(WIFEXITED(proc.exit_code));
    ck_assert_int_eq(WEXITSTATUS(proc.exit_code), 7);
    waitpid(pid, NULL, 0);
}
END_TEST

static bool holds(const struct agent_procs *procs, pid_t pid)
{
    for (size_t i = 0; i < procs->count; i++) {
        if (procs->list[i].pid == pid)
            return true;
    }
    return false;
}

START_TEST(scans_descendants_only)
{
    pid_t one = start_child("one"), helper = start_child("helper");
    struct agent_scan scan = {.agent = getpid(), .helper = helper};
    struct agent_procs procs;
    struct stint_err err;

    ck_assert_int_eq(agent_proc_scan(&scan, &procs, &err), 0);
    ck_assert(holds(&procs, one));
    ck_assert(!holds(&procs, helper));
    ck_assert(!holds(&procs, getpid()));
    ck_assert(!holds(&procs, getppid()));
    agent_procs_deinit(&procs);
    end_child(one);
    end_child(helper);
}
END_TEST

START_TEST(leaves_out_the_coordinators_session)
{
    int fds[2];
    pid_t leader, child = 0;
    struct agent_scan scan = {.agent = getpid()};
    struct agent_procs procs;
    struct stint_err err;

    ck_assert_int_eq(pipe(fds), 0);
    leader = fork();
    if (leader == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setsid();
        child = start_child("below");
        if (write(fds[1], &child, sizeof(child)) != sizeof(child))
            _exit(1);
        for (;;)
            pause();
    }
    ck_assert_int_eq(read(fds[0], &child, sizeof(child)), sizeof(child));
    ck_assert_int_eq(agent_proc_scan(&scan, &procs, &err), 0);
    ck_assert(holds(&procs, leader) && holds(&procs, child));
    agent_procs_deinit(&procs);
    scan.coordinator = leader;
    ck_assert_int_eq(agent_proc_scan(&scan, &procs, &err), 0);
    ck_assert(!holds(&procs, leader) && !holds(&procs, child));
    agent_procs_deinit(&procs);
    end_child(leader);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(reads_inner_ids)
{
    struct agent_inner inner;

    ck_assert_int_eq(agent_proc_inner(getpid(), &inner), 0);
    ck_assert_int_eq(inner.pid, getpid());
    ck_assert_int_eq(inner.pgid, getpgrp());
    ck_assert_int_eq(inner.sid, getsid(0));
    ck_assert_int_eq(agent_proc_tracer(getpid()), 0);
    ck_assert_int_eq(agent_proc_has_runtime(getpid()), 0);
}
END_TEST

/* --- shared memory --------------------------------------------------------------- */

static void read_own(struct agent_segments *segments)
{
    struct agent_proc proc;
    struct stint_err err;

    ck_assert_int_eq(agent_proc_read(getpid(), &proc), 0);
    ck_assert_int_eq(agent_segments_read(segments, &proc, getpid(), &err), 0);
}

START_TEST(finds_anonymous_shared_memory)
{
    struct agent_segments segments = {0};
    struct stint_err err;
    char *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                        -1, 0);

    ck_assert_ptr_ne(memory, MAP_FAILED);
    /* three mappings of one segment */
    ck_assert_int_eq(mprotect(memory + 2 * PAGE, PAGE, PROT_NONE), 0);
    read_own(&segments);
    ck_assert_uint_eq(segments.count, 1);
    ck_assert_uint_eq(segments.list[0].record.kind, STINT_SEG_ANON);
    ck_assert_uint_eq(segments.list[0].nmappers, 1);
    ck_assert_uint_eq(segments.list[0].mappers[0].covered, 8 * PAGE);
    ck_assert_int_eq(agent_segments_choose(&segments, &err), 0);
    ck_assert_int_eq(segments.list[0].writer, getpid());
    ck_assert_uint_eq(segments.list[0].record.size, 8 * PAGE);
    ck_assert(agent_segment_maps(&segments.list[0], getpid()));
    ck_assert(!agent_segment_maps(&segments.list[0], getppid()));
    agent_segments_deinit(&segments);
    munmap(memory, 8 * PAGE);
}
END_TEST

START_TEST(tells_storage_from_segments)
{
    char path[] = "/tmp/stint-test.XXXXXX";
    struct agent_segments segments = {0};
    int fd = mkstemp(path);
    void *memory;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, 2 * PAGE), 0);
    memory = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    read_own(&segments);
    ck_assert_uint_eq(segments.count, 0);
    ck_assert_int_eq(unlink(path), 0);
    read_own(&segments);
    ck_assert_uint_eq(segments.count, 1);
    ck_assert_uint_eq(segments.list[0].record.kind, STINT_SEG_DELETED);
    ck_assert_str_eq(segments.list[0].path, path);
    agent_segments_deinit(&segments);
    munmap(memory, 2 * PAGE);
    close(fd);
}
END_TEST

/* Parent and child map one half each. */
START_TEST(stores_in_parts_what_nobody_maps_whole)
{
    struct agent_segments segments = {0};
    struct agent_proc proc;
    struct stint_err err;
    char *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                        -1, 0);
    pid_t child = start_child("half");

    ck_assert_ptr_ne(memory, MAP_FAILED);
    ck_assert_int_eq(munmap(memory, 2 * PAGE), 0);
    read_own(&segments);
    ck_assert_int_eq(agent_proc_read(child, &proc), 0);
    ck_assert_int_eq(agent_segments_read(&segments, &proc, child, &err), 0);
    ck_assert_int_eq(agent_segments_choose(&segments, &err), 0);
    ck_assert_int_eq(segments.list[0].writer, child);
    ck_assert_uint_eq(segments.count, 1);
    /* as if the child had the first half only */
    segments.list[0].mappers[1].covered = 2 * PAGE;
    segments.list[0].mappers[1].ranges[0].end -= 2 * PAGE;
    ck_assert_int_eq(agent_segments_choose(&segments, &err), 0);
    ck_assert_int_eq(segments.list[0].writer, getpid());
    ck_assert_uint_eq(segments.count, 2);
    ck_assert_uint_eq(segments.list[1].record.kind, STINT_SEG_PART);
    ck_assert_uint_eq(segments.list[1].record.a, segments.list[0].record.id);
    ck_assert_int_eq(segments.list[1].writer, child);
    ck_assert(!agent_segment_maps(&segments.list[1], getpid()));
    agent_segments_deinit(&segments);
    munmap(memory + 2 * PAGE, 2 * PAGE);
    end_child(child);
}
END_TEST

/* --- settings ----------------------------------------------------------------------- */

START_TEST(keeps_settings)
{
    char path[] = "/tmp/stint-test.XXXXXX";
    struct agent_settings settings, again;
    struct agent_settings_args args;
    struct stint_err err;
    int fd;

    ck_assert_ptr_nonnull(mkdtemp(path));
    fd = open(path, O_RDONLY | O_DIRECTORY);
    ck_assert_int_eq(agent_settings_read(fd, &again, &err), 0);
    ck_assert_uint_eq(again.interval_s, 0);
    ck_assert_uint_eq(again.keep, 2);
    agent_settings_init(&settings);
    ck_assert_int_eq(agent_settings_interval(&settings, "30m", &err), 0);
    ck_assert_int_eq(agent_settings_keep(&settings, "5", &err), 0);
    ck_assert_int_eq(agent_settings_unsupported(&settings, "ignore", &err), 0);
    ck_assert_int_eq(agent_settings_sockets(&settings, "refuse,end:/run/x y/*", &err), 0);
    ck_assert_int_eq(agent_settings_save_files(&settings, "/a b/*.x:/c", &err), 0);
    ck_assert_int_eq(agent_settings_save_files(&settings, ":/d:", &err), 0);
    ck_assert_int_eq(agent_settings_write(fd, &settings, &err), 0);
    ck_assert_int_eq(agent_settings_read(fd, &again, &err), 0);
    ck_assert_uint_eq(again.interval_s, 1800);
    ck_assert_uint_eq(again.keep, 5);
    ck_assert(again.ignore_unsupported);
    ck_assert_str_eq(again.sockets, "refuse,end:/run/x y/*");
    ck_assert_str_eq(again.save_files, "/a b/*.x:/c:/d");
    ck_assert_str_eq(agent_settings_args(&again, &args)[1], "1800");
    ck_assert_int_eq(unlinkat(fd, "config.yaml", 0), 0);
    close(fd);
    ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

START_TEST(refuses_bad_settings)
{
    static const char *const keeps[] = {"0", "", "-1", "two", "2x", "99999999"};
    char name[AGENT_SAVED_MAX + 2] = "/";
    struct agent_settings settings;
    struct stint_err err;

    agent_settings_init(&settings);
    ck_assert_int_eq(agent_settings_keep(&settings, keeps[_i], &err), -EINVAL);
    ck_assert_int_lt(agent_settings_interval(&settings, "often", &err), 0);
    ck_assert_int_eq(agent_settings_unsupported(&settings, "maybe", &err), -EINVAL);
    ck_assert_int_eq(agent_settings_save_files(&settings, ":", &err), -EINVAL);
    memset(name, 'x', sizeof(name) - 1);
    ck_assert_int_eq(agent_settings_save_files(&settings, name, &err), -EINVAL);
    ck_assert_str_eq(settings.save_files, "");
    ck_assert_int_eq(setenv("HOME", "/home/[me]", 1), 0);
    ck_assert_int_eq(agent_settings_save_files(&settings, "~/x", &err), 0);
    ck_assert_str_eq(settings.save_files, "/home/\\[me]/x");
    ck_assert_uint_eq(settings.keep, 2);
}
END_TEST

START_TEST(refuses_a_damaged_file)
{
    static const char *const texts[]
        = {"", "interval: x\nkeep: 2\n", "keep: 2\n", "interval: 1\nkeep: 0\n", "- a\n",
           "interval: 99999999999999999999\nkeep: 2\n", "{", "interval: 1"};
    char path[] = "/tmp/stint-test.XXXXXX";
    struct agent_settings settings;
    struct stint_err err;
    int dir, fd;

    ck_assert_ptr_nonnull(mkdtemp(path));
    dir = open(path, O_RDONLY | O_DIRECTORY);
    fd = openat(dir, "config.yaml", O_WRONLY | O_CREAT, 0600);
    ck_assert_int_eq(write(fd, texts[_i], strlen(texts[_i])), (int)strlen(texts[_i]));
    close(fd);
    ck_assert_int_lt(agent_settings_read(dir, &settings, &err), 0);
    ck_assert_int_eq(unlinkat(dir, "config.yaml", 0), 0);
    close(dir);
    ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* --- connections that leave the program ---------------------------------------------------- */

START_TEST(finds_policies)
{
    static const struct {
        const char *rules, *name;
        enum agent_policy want;
    } rows[] = {
        {"", "10.1.2.3:80", AGENT_POLICY_RESET},
        {"refuse", "10.1.2.3:80", AGENT_POLICY_REFUSE},
        {"refuse,reset:10.1.*", "10.1.2.3:80", AGENT_POLICY_RESET},
        {"end:*:80,reconnect:*:80", "10.1.2.3:80", AGENT_POLICY_END},
        {"reconnect:[::1]:80,refuse", "[::1]:80", AGENT_POLICY_RECONNECT},
        {"refuse", "/run/munge/munge.socket.2", AGENT_POLICY_RECONNECT},
        {"refuse:/run/munge/*", "/run/munge/munge.socket.2", AGENT_POLICY_REFUSE},
        {"refuse", "/var/lib/sss/pipes/nss", AGENT_POLICY_END},
        {"reset:@own*", "@own socket", AGENT_POLICY_RESET},
        {"refuse", "/listed/socket", AGENT_POLICY_RECONNECT},
        {"refuse", "/listed/with blank", AGENT_POLICY_END},
        {"reset:/listed/*", "/listed/socket", AGENT_POLICY_RESET},
    };
    static const char text[] = "# mine\n\n end  /listed/with blank \nreconnect /listed/*\n";
    char dir[] = "/tmp/stint-test.XXXXXX", path[64];
    FILE *file;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    setenv("XDG_CONFIG_HOME", dir, 1);
    snprintf(path, sizeof(path), "%s/stint", dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/stint/sockets", dir);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    fclose(file);
    ck_assert_int_eq(agent_policy_check_file(NULL), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ck_assert_msg(agent_policy_find(rows[i].rules, rows[i].name, AGENT_POLICY_RESET)
                          == rows[i].want,
                      "%s with %s", rows[i].name, rows[i].rules);
    ck_assert_int_eq(unlink(path), 0);
    snprintf(path, sizeof(path), "%s/stint", dir);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(refuses_bad_policies)
{
    static const char *const rules[] = {"maybe",     "end",    "reconnect", "reset:",
                                        "Reset",     ",reset", "reset,,x",  "refuse:a,b",
                                        "reset end"};
    struct stint_err err;

    ck_assert_int_eq(agent_policy_check("", &err), 0);
    ck_assert_int_eq(agent_policy_check("reset,refuse:a:b,end:x y", &err), 0);
    ck_assert_int_eq(agent_policy_check(rules[_i], &err), -EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("agent");
    TCase *procs = tcase_create("processes"), *memory = tcase_create("shared memory"),
          *settings = tcase_create("settings");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(procs, reads_a_process, 0, 5);
    tcase_add_test(procs, reads_a_zombie);
    tcase_add_test(procs, scans_descendants_only);
    tcase_add_test(procs, leaves_out_the_coordinators_session);
    tcase_add_test(procs, reads_inner_ids);
    tcase_add_loop_test(procs, knows_what_to_do_instead, 0,
                        (int)(sizeof(advices) / sizeof(advices[0])));
    tcase_add_test(memory, finds_anonymous_shared_memory);
    tcase_add_test(memory, tells_storage_from_segments);
    tcase_add_test(memory, stores_in_parts_what_nobody_maps_whole);
    tcase_add_test(settings, keeps_settings);
    tcase_add_loop_test(settings, refuses_bad_settings, 0, 6);
    tcase_add_loop_test(settings, refuses_a_damaged_file, 0, 8);
    tcase_add_test(settings, finds_policies);
    tcase_add_loop_test(settings, refuses_bad_policies, 0, 9);
    suite_add_tcase(suite, procs);
    suite_add_tcase(suite, memory);
    suite_add_tcase(suite, settings);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
