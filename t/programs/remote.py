"""Two programs of one job, each on a host of its own: remote.py serve FILE |
remote.py connect FILE HOST. FILE: where the port is written."""
# SPDX-License-Identifier: Apache-2.0
import os
import random
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


def serve(path):
    listener = socket.create_server(("", 0), backlog=8)
    with open(path + ".new", "w") as file:
        file.write(str(listener.getsockname()[1]))
    os.rename(path + ".new", path)
    return listener, [listener.accept()[0] for _ in range(KINDS)]


def connect(path, host):
    with open(path) as file:
        port = int(file.read())
    return [socket.create_connection((host, port)) for _ in range(KINDS)]


def main():
    role, path = sys.argv[1:3]
    if role == "serve":
        who = "server"
        listener, socks = serve(path)
    else:
        who = "client"
        listener, socks = None, connect(path, sys.argv[3])
    for kind, sock in enumerate(socks):
        before(sock, kind, who)
    names = [(sock.getsockname(), sock.getpeername()) for sock in socks]
    gate.wait()
    if [(sock.getsockname(), sock.getpeername()) for sock in socks] == names:
        print("the names are as they were")
    for sock in socks:
        sock.settimeout(60)
    for kind, sock in enumerate(socks):
        try:
            after(sock, kind, who)
        except (AssertionError, OSError) as error:
            print(f"connection {kind} of the {who}: {error!r}")
            return
    if listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    print("PASS")


main()
