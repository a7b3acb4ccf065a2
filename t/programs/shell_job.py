"""A user at an interactive shell: launch, restart, restart behind the shell; ^C, ^Z and fg."""
# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys

from terminal import Terminal

PROMPT = r"\$ "
directory, program = sys.argv[1:]
shell = Terminal("bash", "--norc", "--noprofile", "-i")


def step(what, *patterns):
    try:
        for pattern in patterns:
            shell.expect(pattern, 60)
    except TimeoutError as why:
        sys.exit(f"{what}: {why}")


def job(name, command):
    """It has the terminal: it reads, is interrupted, is stopped, and goes on."""
    shell.type("one\n")
    step(f"{name}: reads", "read <one>")
    shell.type("\x03")
    step(f"{name}: ^C", "interrupted")
    shell.type("\x1a")
    step(f"{name}: ^Z", "Stopped", PROMPT)
    shell.type("fg\n")
    step(f"{name}: fg", f"{command}.*\n")
    shell.type("two\n")
    step(f"{name}: reads after fg", "read <two>")
    print(f"{name}: well")


def checkpoint():
    subprocess.run(["stint", "checkpoint", "--kill", directory], check=True, timeout=120)
    step("the shell is back", PROMPT)


def stopped_by_reading():
    for _ in range(120):
        shell.type("jobs\n")
        try:
            return shell.expect("Stopped", 0.5)
        except TimeoutError:
            pass
    sys.exit("behind: it reads and is not stopped")


step("a prompt", PROMPT)
shell.type(f"stint launch -d {directory} {program}\n")
step("it starts", "begun")
job("launched", "stint launch")
checkpoint()
shell.type(f"stint restart {directory}\n")
step("typed", "stint restart.*\n")
job("restarted", "stint restart")
checkpoint()
shell.type(f"stint restart {directory} &\n")
step("the shell goes on", PROMPT)
stopped_by_reading()
step("and again", PROMPT)
shell.type("fg\n")
step("fg", "stint restart.*\n")
job("restarted behind", "stint restart")
shell.type("bye\n")
step("it ends", "read <bye>", PROMPT)
shell.type("echo status $?\n")
step("its status", "status 7")
os.kill(shell.pid, signal.SIGKILL)
print("all well")
