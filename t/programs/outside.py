"""Connections that leave the job: outside.py serve DIR | outside.py KIND DIR.
KIND: tcp, stream (with bytes that wait to be read), idle-tcp, idle-stream, box (datagrams)."""
# SPDX-License-Identifier: Apache-2.0
import errno
import os
import select
import selectors
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate


def serve(where):
    tcp = socket.create_server(("127.0.0.1", 0))
    stream = socket.socket(socket.AF_UNIX)
    stream.bind(f"{where}/stream")
    stream.listen(8)
    box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    box.bind(f"{where}/box")
    for name in ("stream", "box"):
        os.chmod(f"{where}/{name}", 0o777)
    with open(f"{where}/port.new", "w") as file:
        file.write(str(tcp.getsockname()[1]))
    os.rename(f"{where}/port.new", f"{where}/port")
    waiting = selectors.DefaultSelector()
    for sock in (tcp, stream, box):
        waiting.register(sock, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            sock = key.fileobj
            if sock in (tcp, stream):
                waiting.register(sock.accept()[0], selectors.EVENT_READ)
                continue
            try:
                data = sock.recv(100)
            except ConnectionError:
                data = b""
            if sock is box:
                with open(f"{where}/received", "ab") as file:
                    file.write(data + b"\n")
            elif data:
                sock.sendall(data)
            else:
                waiting.unregister(sock)
                sock.close()


def connect(kind, where):
    if kind.endswith("tcp"):
        with open(f"{where}/port") as file:
            return socket.create_connection(("127.0.0.1", int(file.read())))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "box" else socket.SOCK_STREAM)
    sock.connect(f"{where}/{'box' if kind == 'box' else 'stream'}")
    return sock


def is_quiet(sock):
    return not select.select([sock], [], [], 0)[0]


def read_on(sock):
    """What there is, and then an error's name, the end, or that it is open."""
    text = b""
    while not is_quiet(sock):
        try:
            data = sock.recv(100)
        except OSError as error:
            return text.decode() + " " + errno.errorcode[error.errno]
        if not data:
            return text.decode() + " end"
        text += data
    sock.sendall(b"echo")
    return text.decode() + (" open" if sock.recv(4, socket.MSG_WAITALL) == b"echo" else " wrong")


def main():
    kind, where = sys.argv[1:]
    if kind == "serve":
        serve(where)
    sock = connect(kind, where)
    if kind in ("tcp", "stream"):
        sock.sendall(b"unread")
        sock.recv(6, socket.MSG_PEEK | socket.MSG_WAITALL)
    elif kind == "box":
        sock.send(b"before")
    gate.wait()
    sock.settimeout(30)
    if kind == "box":
        sock.send(b"after")
        print("sent")
    else:
        print(read_on(sock))


main()
