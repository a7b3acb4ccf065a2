/* Conformance: pseudo-terminals, both sides of which are in the job.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static void put(int fd, const char *text)
{
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
}

static void expect(int fd, const char *want)
{
    char buf[256] = "";
    size_t len = 0;

    while (len < strlen(want)) {
        ssize_t got = SYS(read(fd, buf + len, strlen(want) - len));

        CHECK(got > 0);
        len += (size_t)got;
    }
    CHECK_STR(buf, want);
}

static void open_pair(int *master, int *slave, bool raw)
{
    struct termios termios;
    struct winsize size = {.ws_row = 33, .ws_col = 99};

    SYS(openpty(master, slave, NULL, NULL, &size));
    SYS(tcgetattr(*slave, &termios));
    if (raw)
        cfmakeraw(&termios);
    SYS(tcsetattr(*slave, TCSANOW, &termios));
}

CASE(pair)
{
    int master, slave;

    open_pair(&master, &slave, true);
    hold();
    put(master, "typed");
    expect(slave, "typed");
    put(slave, "shown");
    expect(master, "shown");
}

CASE(bytes_both_ways)
{
    int master, slave;

    open_pair(&master, &slave, true);
    put(master, "typed");
    put(slave, "shown");
    hold();
    expect(slave, "typed");
    expect(master, "shown");
}

CASE(line_being_edited)
{
    char buf[64] = "";
    int master, slave;

    open_pair(&master, &slave, false);
    put(master, "half a li");
    hold();
    put(master, "ne\n");
    CHECK_EQ(read(slave, buf, sizeof buf), 12);
    CHECK_STR(buf, "half a line\n");
}

CASE(settings)
{
    struct termios before, after;
    struct winsize size;
    int master, slave, mode = 0;

    open_pair(&master, &slave, true);
    SYS(tcgetattr(slave, &before));
    before.c_cc[VINTR] = 7;
    before.c_lflag |= ECHOCTL;
    SYS(tcsetattr(slave, TCSANOW, &before));
    mode = 1;
    SYS(ioctl(master, TIOCPKT, &mode));
    hold();
    SYS(tcgetattr(slave, &after));
    CHECK_MEM(&after.c_cc, &before.c_cc, sizeof before.c_cc);
    CHECK_EQ(after.c_lflag, before.c_lflag);
    CHECK_EQ(after.c_iflag, before.c_iflag);
    SYS(ioctl(slave, TIOCGWINSZ, &size));
    CHECK_EQ(size.ws_row, 33);
    CHECK_EQ(size.ws_col, 99);
    mode = 0;
    SYS(ioctl(master, TIOCGPKT, &mode));
    CHECK_EQ(mode, 1);
}

CASE(name)
{
    char before[64], after[64];
    int master, slave;

    open_pair(&master, &slave, true);
    PTH(ptsname_r(master, before, sizeof before));
    hold();
    PTH(ptsname_r(master, after, sizeof after));
    CHECK_STR(after, before);
    PTH(ttyname_r(slave, after, sizeof after));
    CHECK_STR(after, before);
}

static volatile sig_atomic_t interrupts;

static void on_interrupt(int signo)
{
    interrupts++;
}

static void on_its_terminal(void *slave)
{
    struct sigaction act = {.sa_handler = on_interrupt};
    int fd;

    SYS(setsid());
    SYS(ioctl(*(int *)slave, TIOCSCTTY, 0));
    SYS(sigaction(SIGINT, &act, NULL));
    mark("on-terminal");
    hold();
    mark("held");
    UNTIL(interrupts == 1);
    CHECK_EQ(tcgetpgrp(*(int *)slave), getpgrp());
    fd = (int)SYS(open("/dev/tty", O_RDWR));
    put(fd, "done");
}

CASE(controlling_terminal)
{
    int master, slave;
    pid_t pid;

    open_pair(&master, &slave, false);
    pid = child(on_its_terminal, &slave);
    await("on-terminal");
    hold();
    await("held");
    put(master, "\003");
    reap(pid);
}
