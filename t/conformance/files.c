/* Conformance: regular files, directories, devices and the state of descriptors.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <dirent.h>
#include <sys/file.h>
#include <sys/resource.h>

#define LEN 100000

static void expect_read(int fd, const char *want)
{
    char buf[256] = "";
    size_t len = strlen(want);

    CHECK_EQ(read(fd, buf, len), len);
    CHECK_STR(buf, want);
}

static void put(int fd, const char *text)
{
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
}

static void expect_file(const char *path, const char *want)
{
    char buf[4096] = "";
    int fd = (int)SYS(open(path, O_RDONLY));
    ssize_t len = SYS(read(fd, buf, sizeof buf - 1));

    buf[len] = '\0';
    CHECK_STR(buf, want);
    SYS(close(fd));
}

CASE(offset_of_reader)
{
    char buf[LEN];
    int fd;

    make_file("data", LEN, 1);
    fd = (int)SYS(open("data", O_RDONLY));
    CHECK_EQ(read(fd, buf, 12345), 12345);
    hold();
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 12345);
    CHECK_EQ(read(fd, buf + 12345, LEN - 12345), LEN - 12345);
    CHECK(filled(buf, LEN, 1));
    CHECK_EQ(read(fd, buf, 1), 0);
}

CASE(offset_of_writer)
{
    int fd = (int)SYS(open("out.txt", O_RDWR | O_CREAT | O_EXCL, 0600));

    put(fd, "before ");
    hold();
    put(fd, "after");
    expect_file("out.txt", "before after");
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 12);
}

CASE(offset_beyond_end)
{
    char buf[8] = "";
    int fd = (int)SYS(open("sparse", O_RDWR | O_CREAT, 0600));

    CHECK_EQ(lseek(fd, 1 << 20, SEEK_SET), 1 << 20);
    hold();
    put(fd, "x");
    CHECK_EQ(lseek(fd, 0, SEEK_END), (1 << 20) + 1);
    CHECK_EQ(pread(fd, buf, 1, 1 << 20), 1);
    CHECK_STR(buf, "x");
}

CASE(append)
{
    int fd = (int)SYS(open("log", O_WRONLY | O_CREAT | O_APPEND, 0600));

    put(fd, "one\n");
    hold();
    CHECK(fcntl(fd, F_GETFL) & O_APPEND);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    put(fd, "two\n");
    expect_file("log", "one\ntwo\n");
}

CASE(status_flags)
{
    static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_NONBLOCK,
                                O_WRONLY | O_SYNC, O_RDWR | O_DSYNC, O_RDONLY | O_NOATIME,
                                O_WRONLY | O_APPEND | O_NONBLOCK};
    enum { COUNT = sizeof flags / sizeof flags[0] };
    int fds[COUNT], before[COUNT];

    make_file("data", LEN, 1);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = (int)SYS(open("data", flags[i]));
        before[i] = fcntl(fds[i], F_GETFL);
    }
    hold();
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(fcntl(fds[i], F_GETFL), before[i]);
}

CASE(truncating_flags_do_not_act_again)
{
    int fd = (int)SYS(open("data", O_RDWR | O_CREAT | O_TRUNC, 0600));

    put(fd, "kept");
    hold();
    expect_file("data", "kept");
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 4);
}

CASE(dup_shares_offset)
{
    int fd, copy;

    make_text("data", "abcdef");
    fd = (int)SYS(open("data", O_RDONLY));
    copy = (int)SYS(dup(fd));
    expect_read(fd, "ab");
    hold();
    expect_read(copy, "cd");
    expect_read(fd, "ef");
    SYS(fcntl(copy, F_SETFL, O_NONBLOCK));
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

CASE(two_opens_have_two_offsets)
{
    int a, b;

    make_text("data", "abcdef");
    a = (int)SYS(open("data", O_RDONLY));
    b = (int)SYS(open("data", O_RDONLY));
    expect_read(a, "ab");
    hold();
    expect_read(b, "ab");
    expect_read(a, "cd");
    SYS(fcntl(a, F_SETFL, O_NONBLOCK));
    CHECK(!(fcntl(b, F_GETFL) & O_NONBLOCK));
}

static void read_in_child(void *fd)
{
    expect_read(*(int *)fd, "ab");
    mark("child-read");
    hold();
    await("parent-read");
    expect_read(*(int *)fd, "ef");
}

CASE(fork_shares_offset)
{
    int fd;
    pid_t pid;

    make_text("data", "abcdef");
    fd = (int)SYS(open("data", O_RDONLY));
    pid = child(read_in_child, &fd);
    await("child-read");
    hold();
    expect_read(fd, "cd");
    mark("parent-read");
    reap(pid);
}

static void hold_child(void *arg)
{
    hold();
    await("looked");
}

CASE(fork_copies_cloexec)
{
    int fd;
    pid_t pid;

    make_text("data", "abcdef");
    fd = (int)SYS(open("data", O_RDONLY));
    pid = child(hold_child, NULL);
    SYS(fcntl(fd, F_SETFD, FD_CLOEXEC));
    hold();
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    mark("looked");
    reap(pid);
}

CASE(cloexec_per_descriptor)
{
    int a, b, c;

    make_text("data", "abcdef");
    a = (int)SYS(open("data", O_RDONLY));
    b = (int)SYS(fcntl(a, F_DUPFD_CLOEXEC, 0));
    c = (int)SYS(dup(b));
    hold();
    CHECK_EQ(fcntl(a, F_GETFD), 0);
    CHECK_EQ(fcntl(b, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(c, F_GETFD), 0);
}

CASE(deleted)
{
    char buf[LEN];
    struct stat st;
    int fd;

    make_file("gone", LEN, 3);
    fd = (int)SYS(open("gone", O_RDWR));
    SYS(unlink("gone"));
    CHECK_EQ(lseek(fd, 500, SEEK_SET), 500);
    hold();
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 500);
    CHECK_EQ(pread(fd, buf, LEN, 0), LEN);
    CHECK(filled(buf, LEN, 3));
    SYS(fstat(fd, &st));
    CHECK_EQ(st.st_nlink, 0);
    CHECK_EQ(st.st_size, LEN);
    put(fd, "still writable");
    CHECK_EQ(access("gone", F_OK), -1);
}

CASE(deleted_and_empty)
{
    struct stat st;
    int fd = (int)SYS(open("gone", O_RDWR | O_CREAT, 0600));

    SYS(unlink("gone"));
    hold();
    SYS(fstat(fd, &st));
    CHECK_EQ(st.st_size, 0);
    put(fd, "x");
}

static void deleted_child(void *fd)
{
    hold();
    await("written");
    CHECK_EQ(lseek(*(int *)fd, 0, SEEK_SET), 0);
    expect_read(*(int *)fd, "text");
}

CASE(deleted_and_shared_by_fork)
{
    int fd = (int)SYS(open("gone", O_RDWR | O_CREAT, 0600));
    pid_t pid;

    SYS(unlink("gone"));
    pid = child(deleted_child, &fd);
    hold();
    put(fd, "text");
    mark("written");
    reap(pid);
}

CASE(deleted_and_opened_twice)
{
    int a, b;

    make_text("gone", "abcdef");
    a = (int)SYS(open("gone", O_RDWR));
    b = (int)SYS(open("gone", O_RDONLY));
    SYS(unlink("gone"));
    hold();
    put(a, "AB");
    expect_read(b, "ABcdef");
}

CASE(deleted_read_only)
{
    int fd;

    make_text("gone", "abcdef");
    fd = (int)SYS(open("gone", O_RDONLY));
    SYS(unlink("gone"));
    expect_read(fd, "abc");
    hold();
    CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    expect_read(fd, "def");
    CHECK_EQ(write(fd, "x", 1), -1);
}

CASE(deleted_directory_and_file)
{
    int fd;

    SYS(mkdir("dir", 0700));
    make_text("dir/file", "abcdef");
    fd = (int)SYS(open("dir/file", O_RDONLY));
    SYS(unlink("dir/file"));
    SYS(rmdir("dir"));
    hold();
    expect_read(fd, "abcdef");
}

CASE(deleted_but_another_link)
{
    int fd;

    make_text("one", "abcdef");
    SYS(link("one", "two"));
    fd = (int)SYS(open("one", O_RDWR));
    SYS(unlink("one"));
    expect_read(fd, "abc");
    hold();
    expect_read(fd, "def");
    put(fd, "!");
}

CASE(deleted_and_made_again)
{
    int fd;

    make_text("name", "old text");
    fd = (int)SYS(open("name", O_RDONLY));
    SYS(unlink("name"));
    make_text("name", "new file");
    hold();
    expect_read(fd, "old text");
    expect_file("name", "new file");
}

CASE(replaced_by_rename)
{
    int fd;

    make_text("name", "old text");
    make_text("name.new", "new file");
    fd = (int)SYS(open("name", O_RDONLY));
    SYS(rename("name.new", "name"));
    hold();
    expect_read(fd, "old text");
    expect_file("name", "new file");
}

CASE(renamed_while_open)
{
    int fd;

    make_text("before", "abcdef");
    fd = (int)SYS(open("before", O_RDWR | O_APPEND));
    SYS(rename("before", "after"));
    hold();
    put(fd, "!");
    expect_file("after", "abcdef!");
    CHECK_EQ(access("before", F_OK), -1);
}

CASE(name_with_odd_characters)
{
    static const char name[] = " a\tb\nc (deleted)";
    int fd;

    make_text(name, "abcdef");
    fd = (int)SYS(open(name, O_RDONLY));
    expect_read(fd, "abc");
    hold();
    expect_read(fd, "def");
}

CASE(read_only_by_mode)
{
    int fd = (int)SYS(open("data", O_RDWR | O_CREAT, 0400));

    put(fd, "abc");
    hold();
    put(fd, "def");
    expect_file("data", "abcdef");
}

CASE(tmpfile_without_name)
{
    int fd = open(".", O_TMPFILE | O_RDWR, 0600);

    if (fd < 0 && errno == EOPNOTSUPP)
        skip("no O_TMPFILE on this file system");
    CHECK(fd >= 0);
    put(fd, "abcdef");
    CHECK_EQ(lseek(fd, 2, SEEK_SET), 2);
    hold();
    expect_read(fd, "cdef");
}

CASE(path_descriptor)
{
    int fd, again;
    char self[64];

    make_text("data", "abcdef");
    fd = (int)SYS(open("data", O_PATH));
    hold();
    CHECK(fcntl(fd, F_GETFL) & O_PATH);
    CHECK_EQ(read(fd, self, 1), -1);
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    again = (int)SYS(open(self, O_RDONLY));
    expect_read(again, "abcdef");
}

CASE(directory)
{
    int dir, fd;

    SYS(mkdir("dir", 0700));
    make_text("dir/file", "abcdef");
    dir = (int)SYS(open("dir", O_RDONLY | O_DIRECTORY));
    hold();
    fd = (int)SYS(openat(dir, "file", O_RDONLY));
    expect_read(fd, "abcdef");
    SYS(fchdir(dir));
    CHECK_EQ(access("file", F_OK), 0);
}

CASE(directory_being_read)
{
    char name[32];
    bool seen[200] = {false};
    int count = 0;
    struct dirent *entry;
    DIR *dir;

    SYS(mkdir("dir", 0700));
    for (int i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof name, "dir/%03d", i);
        make_text(name, "");
    }
    dir = opendir("dir");
    CHECK(dir != NULL);
    for (int i = 0; i < 50 && (entry = readdir(dir)); i++)
        if (entry->d_name[0] != '.')
            seen[atoi(entry->d_name)] = true;
    hold();
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.') {
            CHECK(!seen[atoi(entry->d_name)]);
            seen[atoi(entry->d_name)] = true;
        }
    for (int i = 0; i < 200; i++)
        count += seen[i];
    CHECK_EQ(count, 200);
}

CASE(devices)
{
    char buf[16];
    int null = (int)SYS(open("/dev/null", O_RDWR));
    int zero = (int)SYS(open("/dev/zero", O_RDWR));
    int random = (int)SYS(open("/dev/urandom", O_RDONLY));
    int full = (int)SYS(open("/dev/full", O_RDWR));

    hold();
    CHECK_EQ(read(null, buf, 1), 0);
    put(null, "x");
    memset(buf, 1, sizeof buf);
    CHECK_EQ(read(zero, buf, sizeof buf), sizeof buf);
    CHECK_EQ(buf[0] | buf[15], 0);
    CHECK_EQ(read(random, buf, sizeof buf), sizeof buf);
    CHECK_EQ(write(full, "x", 1), -1);
    CHECK_EQ(errno, ENOSPC);
}

CASE(high_number)
{
    struct rlimit limit;
    int fd, high;

    SYS(getrlimit(RLIMIT_NOFILE, &limit));
    high = (int)limit.rlim_cur - 1;
    if (high > 60000)
        high = 60000;
    make_text("data", "abcdef");
    fd = (int)SYS(open("data", O_RDONLY));
    SYS(dup2(fd, high));
    SYS(close(fd));
    hold();
    expect_read(high, "abcdef");
    CHECK_EQ(fcntl(fd, F_GETFD), -1);
}

CASE(many_descriptors)
{
    enum { COUNT = 700 };
    int fds[COUNT];
    char name[32];

    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(name, sizeof name, "file-%d", i);
        fds[i] = (int)SYS(open(name, O_RDWR | O_CREAT, 0600));
        put(fds[i], name);
    }
    hold();
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(name, sizeof name, "file-%d", i);
        CHECK_EQ(lseek(fds[i], 0, SEEK_CUR), strlen(name));
        expect_file(name, name);
        SYS(close(fds[i]));
    }
}

CASE(no_descriptor_appears)
{
    char path[64];
    bool before[256];

    for (int i = 0; i < 256; i++)
        before[i] = fcntl(i, F_GETFD) != -1;
    hold();
    for (int i = 0; i < 256; i++)
        if (before[i] != (fcntl(i, F_GETFD) != -1)) {
            (void)snprintf(path, sizeof path, "/proc/self/fd/%d", i);
            CHECK_EQ(i, -1);
        }
}

CASE(closed_stdio_stays_closed)
{
    SYS(close(0));
    hold();
    CHECK_EQ(fcntl(0, F_GETFD), -1);
    CHECK_EQ(open("/dev/null", O_RDONLY), 0);
}

CASE(signal_owner)
{
    struct f_owner_ex owner = {F_OWNER_TID, gettid_raw()}, got = {0};
    int p[2];

    SYS(pipe(p));
    SYS(fcntl(p[0], F_SETOWN_EX, &owner));
    SYS(fcntl(p[0], F_SETSIG, SIGRTMIN + 3));
    hold();
    SYS(fcntl(p[0], F_GETOWN_EX, &got));
    CHECK_EQ(got.type, F_OWNER_TID);
    CHECK_EQ(got.pid, gettid_raw());
    CHECK_EQ(fcntl(p[0], F_GETSIG), SIGRTMIN + 3);
}

CASE(fifo_on_disk)
{
    int fd;

    SYS(mkfifo("fifo", 0600));
    fd = (int)SYS(open("fifo", O_RDWR));
    put(fd, "abcdef");
    expect_read(fd, "ab");
    hold();
    expect_read(fd, "cdef");
    put(fd, "more");
    expect_read(fd, "more");
}

static void fifo_writer(void *arg)
{
    int fd = (int)SYS(open("fifo", O_WRONLY));

    put(fd, "first ");
    hold();
    put(fd, "second");
}

CASE(fifo_between_processes)
{
    char buf[32] = "";
    size_t len = 0;
    ssize_t got;
    pid_t pid;
    int fd;

    SYS(mkfifo("fifo", 0600));
    pid = child(fifo_writer, NULL);
    fd = (int)SYS(open("fifo", O_RDONLY));
    UNTIL(access("ready", F_OK) == 0);
    hold();
    while ((got = SYS(read(fd, buf + len, sizeof buf - 1 - len))) > 0)
        len += (size_t)got;
    CHECK_STR(buf, "first second");
    reap(pid);
}

CASE(sparse_stays_sparse)
{
    struct stat st;
    int fd = (int)SYS(open("sparse", O_RDWR | O_CREAT, 0600));

    SYS(ftruncate(fd, 1l << 30));
    CHECK_EQ(pwrite(fd, "x", 1, 1 << 29), 1);
    SYS(unlink("sparse"));
    hold();
    SYS(fstat(fd, &st));
    CHECK_EQ(st.st_size, 1l << 30);
    CHECK(st.st_blocks < 4096);
}

CASE(stdio_stream)
{
    char line[64];
    FILE *in, *out = fopen("out.txt", "w");

    make_text("in.txt", "line one\nline two\nline three\n");
    in = fopen("in.txt", "r");
    CHECK(in && out);
    CHECK(fgets(line, sizeof line, in) != NULL);
    CHECK(fputs("unflushed ", out) >= 0);
    hold();
    CHECK(fgets(line, sizeof line, in) != NULL);
    CHECK_STR(line, "line two\n");
    CHECK(fputs("and flushed", out) >= 0);
    CHECK_EQ(fclose(out), 0);
    expect_file("out.txt", "unflushed and flushed");
}

CASE(growing_file_by_another_process)
{
    int writer, reader;

    make_text("data", "one ");
    reader = (int)SYS(open("data", O_RDONLY));
    expect_read(reader, "one ");
    hold();
    writer = (int)SYS(open("data", O_WRONLY | O_APPEND));
    put(writer, "two");
    expect_read(reader, "two");
}

CASE(file_on_dev_shm)
{
    char name[64];
    int fd;

    (void)snprintf(name, sizeof name, "/dev/shm/stint-conf-%d", getpid());
    fd = (int)SYS(open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
    put(fd, "abcdef");
    SYS(unlink(name));
    hold();
    CHECK_EQ(lseek(fd, 2, SEEK_SET), 2);
    expect_read(fd, "cdef");
}

CASE(removed_directory_open)
{
    struct stat st;
    int fd;

    SYS(mkdir("gone", 0750));
    fd = (int)SYS(open("gone", O_RDONLY | O_DIRECTORY));
    SYS(rmdir("gone"));
    hold();
    SYS(fstat(fd, &st));
    CHECK(S_ISDIR(st.st_mode));
    CHECK_EQ(st.st_mode & 0777, 0750);
    CHECK_EQ(openat(fd, "file", O_WRONLY | O_CREAT, 0600), -1);
    CHECK_EQ(errno, ENOENT);
}

CASE(removed_working_directory)
{
    int go[2];
    int status;
    char byte;
    pid_t pid;

    SYS(mkdir("gone", 0750));
    SYS(pipe(go));
    pid = (pid_t)SYS(fork());
    if (pid == 0) {
        if (chdir("gone") < 0 || rmdir("../gone") < 0 || read(go[0], &byte, 1) != 1)
            _exit(1);
        _exit(open("file", O_WRONLY | O_CREAT, 0600) < 0 && errno == ENOENT ? 0 : 2);
    }
    hold();
    put(go[1], "x");
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}
