"""Two programs of one job, each on a host of its own: remote.py serve FILE |
remote.py connect FILE HOST. FILE: where the ports are written."""
# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os
import random
import select
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate

IDLE, BYTES, MANY, CLIENT_DONE, SERVER_DONE, CORKED = range(6)
KINDS = 6


def data(kind, who):
    size = {IDLE: 0, BYTES: 1000, MANY: 60000}.get(kind, 77)
    return random.Random(f"{kind} {who}").randbytes(size)


def await_all(sock, size):
    deadline = time.monotonic() + 60
    while size and len(sock.recv(size, socket.MSG_PEEK)) < size:
        assert time.monotonic() < deadline, "the data does not arrive"
        time.sleep(0.01)


def before(sock, kind, who):
    other = "client" if who == "server" else "server"
    if kind == CORKED:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    sock.sendall(data(kind, who))
    if (kind, who) in ((CLIENT_DONE, "client"), (SERVER_DONE, "server")):
        sock.shutdown(socket.SHUT_WR)
    if kind != CORKED:
        await_all(sock, len(data(kind, other)))


def read(sock, size):
    got = b""
    while len(got) < size:
        more = sock.recv(size - len(got))
        assert more, f"ends after {len(got)} of {size} bytes"
        got += more
    return got


def after(sock, kind, who):
    other = "client" if who == "server" else "server"
    done = {CLIENT_DONE: "client", SERVER_DONE: "server"}.get(kind)
    if kind == CORKED:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK) == 1, "the cork has gone"
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    assert read(sock, len(data(kind, other))) == data(kind, other), "other bytes"
    if done != who:
        sock.sendall(f"on from the {who}".encode())
    if done == other:
        assert sock.recv(1) == b"", "the end is not the end"
    else:
        assert read(sock, len(f"on from the {other}")) == f"on from the {other}".encode()


# --- clients that were not accepted yet, connections that are being made, UDP --------------

WAITING = 3
PATTERN = bytes(range(251)) * 4177  # a prime number of different bytes


def fill(sock):
    """Send until there is no room at either end. Returns how much."""
    sock.setblocking(False)
    done = 0
    deadline = time.monotonic() + 60
    while select.select([], [sock], [], 0.5)[1]:
        done += sock.send(PATTERN[done % 251:][:65536])
        assert time.monotonic() < deadline, "there is always room"
    sock.setblocking(True)
    return done


def check_full(sock):
    """The first eight bytes behind what fill() has sent say how much that was."""
    data = b""
    while more := sock.recv(1 << 20):
        data += more
    size = int.from_bytes(data[-8:], "big")
    assert len(data) == size + 8, f"{len(data)} bytes, not {size} and 8"
    assert data[:-8] == (PATTERN * (size // len(PATTERN) + 1))[:size], "other bytes"


def udp(timeout=60):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(timeout)
    return sock


class Server:
    def __init__(self, path):
        self.listener = socket.create_server(("", 0), backlog=8)
        self.late = socket.create_server(("", 0), backlog=8)
        self.full = socket.create_server(("", 0), backlog=0)
        self.stuffed = socket.create_server(("", 0), backlog=8)
        self.udp, self.pair = udp(), udp()
        self.udp.bind(("", 0))
        self.pair.bind(("", 0))
        # one of its own waits in front of those of the other host
        self.own = socket.create_connection(("127.0.0.1", self.late.getsockname()[1]))
        listening = (self.listener, self.late, self.full, self.udp, self.pair,
                     self.stuffed)
        with open(path + ".new", "w") as file:
            json.dump([sock.getsockname()[1] for sock in listening], file)
        os.rename(path + ".new", path)
        self.socks = [self.listener.accept()[0] for _ in range(KINDS)]
        self.grows = self.stuffed.accept()[0]
        self.stuffed.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        os.rename(path, path + ".small")
        self.small = self.stuffed.accept()[0]
        self.size = self.small.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.pair.connect(self.pair.recvfrom(100)[1])

    def accept(self, listener):
        listener.settimeout(60)
        sock = listener.accept()[0]
        sock.settimeout(60)
        return sock

    def after(self):
        assert self.listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        self.own.sendall(b"own")
        got = [self.accept(self.late).recv(100) for _ in range(WAITING + 1)]
        assert got == [b"own"] + [b"late %d" % i for i in range(WAITING)], f"the queue: {got}"
        got = [self.accept(self.full).recv(100) for _ in range(2)]
        assert got == [b"full 0", b"full 1"], f"the full queue: {got}"
        got = [self.udp.recvfrom(100) for _ in range(3)]
        assert [text for text, _ in got] == [b"one", b"two", b"three"], f"datagrams: {got}"
        self.udp.sendto(b"back", got[-1][1])
        size = self.small.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert size == self.size, f"a receive queue of {size} bytes, not {self.size}"
        check_full(self.grows)
        check_full(self.small)
        self.pair.send(b"from the server")
        assert self.pair.recv(100) == b"from the client"


class Client:
    def __init__(self, path, host):
        with open(path) as file:
            port, late, full, datagrams, pair, stuffed = json.load(file)
        self.socks = [socket.create_connection((host, port)) for _ in range(KINDS)]
        self.late = []
        for _ in range(WAITING):
            self.late.append(socket.create_connection((host, late)))
            time.sleep(0.02)  # the kernel tells their age in ticks
        self.full = socket.create_connection((host, full))
        self.making = socket.socket()
        self.making.setblocking(False)
        assert self.making.connect_ex((host, full)) == errno.EINPROGRESS
        self.stuffed = [socket.create_connection((host, stuffed))]
        deadline = time.monotonic() + 60
        while not os.path.exists(path + ".small"):
            assert time.monotonic() < deadline, "the server does not get on"
            time.sleep(0.01)
        self.stuffed.append(socket.create_connection((host, stuffed)))
        self.sizes = [fill(sock) for sock in self.stuffed]
        self.udp, self.pair = udp(), udp()
        self.udp.connect((host, datagrams))
        self.udp.send(b"one")
        self.udp.send(b"two")
        self.pair.connect((host, pair))
        self.pair.send(b"hello")

    def after(self):
        for i, sock in enumerate(self.late):
            sock.sendall(b"late %d" % i)
        self.full.sendall(b"full 0")
        assert select.select([], [self.making], [], 60)[1], "the connection is not made"
        assert self.making.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        self.making.sendall(b"full 1")
        self.udp.send(b"three")
        assert self.udp.recv(100) == b"back"
        self.pair.send(b"from the client")
        for size, sock in zip(self.sizes, self.stuffed):
            sock.settimeout(60)
            sock.sendall(size.to_bytes(8, "big"))
            sock.shutdown(socket.SHUT_WR)
        assert self.pair.recv(100) == b"from the server"


# --- all -------------------------------------------------------------------------------------


def main():
    role, path = sys.argv[1:3]
    if role == "serve":
        who, own = "server", Server(path)
    else:
        who, own = "client", Client(path, sys.argv[3])
    for kind, sock in enumerate(own.socks):
        before(sock, kind, who)
    names = [(sock.getsockname(), sock.getpeername()) for sock in own.socks]
    gate.wait()
    if [(sock.getsockname(), sock.getpeername()) for sock in own.socks] == names:
        print("the names are as they were")
    what = ""
    try:
        for kind, sock in enumerate(own.socks):
            what = f"connection {kind} of the {who}"
            sock.settimeout(60)
            after(sock, kind, who)
        what = who
        own.after()
    except (AssertionError, OSError) as error:
        print(f"{what}: {error!r}")
        return
    print("PASS")


main()
