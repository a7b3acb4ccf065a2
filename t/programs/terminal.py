"""What people do in a terminal: shells with job control, editors, terminals within it."""
# SPDX-License-Identifier: Apache-2.0
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate


class Terminal:
    def __init__(self, *command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="vt100", PS1="$ ", HOME=os.getcwd(), SHELL="/bin/bash")
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            os.execvp(command[0], command)
        self.text = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, seconds=120):
        until = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            ready = select.select([self.fd], [], [], max(0, until - time.monotonic()))[0]
            if not ready:
                raise TimeoutError(f"no {pattern!r} in {self.text[-2000:]!r}")
            self.text += os.read(self.fd, 10000).decode(errors="replace")
        self.text = self.text[found.end():]

    def wait_until(self, true, seconds=120):
        """Whatever is shown meanwhile is of no interest, but has to be read."""
        until = time.monotonic() + seconds
        while not true():
            if time.monotonic() > until:
                raise TimeoutError(f"not so after {seconds} s: {self.text[-2000:]!r}")
            if select.select([self.fd], [], [], 0.01)[0]:
                self.text += os.read(self.fd, 10000).decode(errors="replace")

    def is_used_by(self, name):
        """By a program that reads lines, or by the shell, which edits them itself."""
        group = os.tcgetpgrp(self.fd)
        lines = termios.tcgetattr(self.fd)[3] & termios.ICANON
        return read(f"/proc/{group}/comm") == f"{name}\n" and (group == self.pid) != bool(lines)

    def end(self):
        status = None
        try:
            while os.read(self.fd, 10000):
                pass
        except OSError:                         # EIO: nobody has it open any more
            status = os.waitpid(self.pid, 0)[1]
        return os.waitstatus_to_exitcode(status)


def shell(name):
    options = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "tcsh": ["-f"]}[name]
    terminal = Terminal(name, *options, "-i")
    terminal.type("echo be''gun\r")
    terminal.expect("begun\r")

    def round(n):
        """Two jobs: one stopped by ^Z and continued, one in the background."""
        terminal.type(f"cat > typed.{n}\r")
        terminal.wait_until(lambda: terminal.is_used_by("cat"))
        terminal.type(f"one {n}\r")
        terminal.expect(f"one {n}\r")
        terminal.wait_until(lambda: read(f"typed.{n}") == f"one {n}\n")
        terminal.type("\x1a")
        terminal.expect("(Stopped|suspended|Suspended)")
        terminal.wait_until(lambda: terminal.is_used_by(name))
        terminal.type("sleep 0.2 &\r")
        terminal.type("jobs\r")
        terminal.expect("(Stopped|suspended|Suspended).* cat")
        terminal.type("fg %cat\r")
        terminal.wait_until(lambda: terminal.is_used_by("cat"))
        terminal.type(f"two {n}\r\x04")
        terminal.wait_until(lambda: read(f"typed.{n}") == f"one {n}\ntwo {n}\n")
        terminal.wait_until(lambda: terminal.is_used_by(name))
        terminal.type(f"wait; echo do''ne {n}\r")
        terminal.expect(f"done {n}\r")

    return terminal, round, "exit 3\r"


def vim():
    terminal = Terminal("vim", "-u", "NONE", "-N", "-i", "NONE", "text")
    terminal.expect("text")

    def round(n):
        terminal.type(f"Goround {n}\x1b:w! text.{n}\r")
        terminal.wait_until(lambda: read(f"text.{n}").endswith(f"round {n}\n"))
        terminal.type(f":%s/round/line/\r:call setline(1, line('$'))\r:w! lines.{n}\r")
        terminal.wait_until(lambda: read(f"lines.{n}").startswith(f"{n + 1}\n"))

    return terminal, round, ":qa!\r"


def emacs():
    terminal = Terminal("emacs", "-nw", "-Q", "text")
    terminal.expect("text")

    def round(n):
        terminal.type(f"\x1b>round {n}\r\x1b:(write-region nil nil \"text.{n}\")\r")
        terminal.wait_until(lambda: read(f"text.{n}").endswith(f"round {n}\n"))
        terminal.type(f"\x1b:(shell-command \"echo from a shell {n} > other.{n}\")\r")
        terminal.wait_until(lambda: read(f"other.{n}") == f"from a shell {n}\n")

    return terminal, round, "\x1b:(kill-emacs 4)\r"


def within(*command, end):
    """A terminal program with a shell in it."""
    terminal = Terminal(*command)
    terminal.expect(r"[$#] ")

    def round(n):
        terminal.type(f"echo $(({n} * 1000 + 1)) | cat > number.{n}; cat number.{n}\r")
        terminal.wait_until(lambda: read(f"number.{n}") == f"{n * 1000 + 1}\n")
        terminal.expect(f"{n * 1000 + 1}")

    return terminal, round, end


def read(name):
    try:
        with open(name) as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def start(name):
    if name == "vim":
        return vim()
    if name == "emacs":
        return emacs()
    if name == "tmux":
        return within("tmux", "-f", "/dev/null", "-S", os.getcwd() + "/tmux.socket", "new-session",
                      "bash --norc --noprofile", end="exit\r")
    if name == "screen":
        os.environ["SCREENDIR"] = os.getcwd() + "/screen"
        os.mkdir("screen", 0o700)
        return within("screen", "-c", "/dev/null", "-s", "/bin/sh", end="exit\r")
    return shell(name)


def main():
    signal.alarm(1500)
    terminal, round, end = start(sys.argv[1])
    rounds = 0
    gate.touch("ready")
    while not (gate.is_open() and rounds >= 3):
        rounds += 1
        round(rounds)
        terminal.text = terminal.text[-2000:]
        gate.touch("alive")
    terminal.type(end)
    print("ok", terminal.end())


if __name__ == "__main__":
    main()
