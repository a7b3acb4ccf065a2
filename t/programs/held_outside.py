"""What is open outside of the job, too: held_outside.py serve FILE | held_outside.py KIND FILE.
KIND: pipe, terminal, epoll, queue, undo."""
# SPDX-License-Identifier: Apache-2.0
import ctypes
import json
import os
import select
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate

libc = ctypes.CDLL(None, use_errno=True)
PIDFD_GETFD = 438
SEM_UNDO = 0x1000


class Operation(ctypes.Structure):
    _fields_ = [("number", ctypes.c_ushort), ("change", ctypes.c_short), ("flags", ctypes.c_short)]


def good(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def open_queue(name):
    return good(libc.mq_open(name.encode(), os.O_RDWR | os.O_CREAT, 0o600, None))


def serve(path):
    reading, writing = os.pipe()
    master, slave = os.openpty()
    queue = f"/stint-outside-{os.getpid()}"
    held = {"pid": os.getpid(), "pipe": writing, "terminal": os.ttyname(slave),
            "event": os.eventfd(0), "queue": queue, "semaphore": good(libc.semget(0, 1, 0o600))}
    keep = (reading, master, open_queue(queue))
    with open(path + ".new", "w") as file:
        json.dump(held, file)
    os.rename(path + ".new", path)
    while os.path.exists(path):
        time.sleep(0.05)
    good(libc.mq_unlink(queue.encode()))
    good(libc.semctl(held["semaphore"], 0, 0))  # IPC_RMID
    return keep


def take(kind, held):
    """Returns what is to be kept."""
    if kind == "pipe":
        return os.open(f"/proc/{held['pid']}/fd/{held['pipe']}", os.O_WRONLY)
    if kind == "terminal":
        return os.open(held["terminal"], os.O_RDWR | os.O_NOCTTY)
    if kind == "queue":
        return open_queue(held["queue"])
    if kind == "undo":
        operation = Operation(0, 1, SEM_UNDO)
        return good(libc.semop(held["semaphore"], ctypes.byref(operation), 1))
    process = os.pidfd_open(held["pid"])
    event = good(libc.syscall(PIDFD_GETFD, process, held["event"], 0))
    os.close(process)
    watching = select.epoll()
    watching.register(event, select.EPOLLIN)
    os.close(event)
    return watching


def main():
    kind, path = sys.argv[1:]
    if kind == "serve":
        serve(path)
        return
    with open(path) as file:
        kept = take(kind, json.load(file))
    gate.wait()
    print("kept" if kept is not None else "lost")


main()
