"""A Redis server that appends to its log and saves, a client that knows what it has to say."""
# SPDX-License-Identifier: Apache-2.0
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rwb")

    def send(self, *words):
        self.stream.write(b"*%d\r\n" % len(words))
        for word in words:
            word = str(word).encode()
            self.stream.write(b"$%d\r\n%s\r\n" % (len(word), word))

    def answer(self):
        self.stream.flush()
        line = self.stream.readline()
        kind, rest = line[:1], line[1:].strip()
        if kind == b"$":
            return None if rest == b"-1" else self.stream.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        assert kind in b"+:" or rest.startswith(b"LOADING"), line
        return rest.decode()

    def ask(self, *words):
        self.send(*words)
        return self.answer()


def start(path):
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--appendonly", "yes",
         "--save", "1 10", "--auto-aof-rewrite-min-size", "1mb"], stdout=open("redis.log", "a"))
    while not os.path.exists(path):
        time.sleep(0.05)
    return server


def check(client, mirror):
    keys = list(mirror)
    for i in range(0, len(keys), 500):
        got = client.ask("mget", *keys[i:i + 500])
        assert got == [str(mirror[key]) for key in keys[i:i + 500]]
    assert client.ask("dbsize") == str(len(mirror) + 1)


def main():
    path = os.getcwd() + "/redis.socket"
    server = start(path)
    load = subprocess.Popen(["redis-benchmark", "-s", path, "-c", "10", "-l", "-q", "-t",
                             "lpush", "-n", "20000"], stdout=subprocess.DEVNULL)
    client = Client(path)
    client.ask("lpush", "mylist", "x")
    mirror, rounds = {}, 0
    gate.touch("ready")
    while not (gate.is_open() and rounds >= 50):
        for i in range(100):
            key = f"key{(rounds * 100 + i) * 7919 % 5003}"
            mirror[key] = mirror.get(key, 0) + i
            client.send("incrby", key, i)
        for i in range(100):
            client.answer()
        client.ask("ltrim", "mylist", 0, 1000)
        rounds += 1
        if rounds % 10 == 0:
            check(client, mirror)
        gate.touch("alive")
    load.terminate()
    load.wait()
    check(client, mirror)
    client.send("shutdown")
    client.stream.flush()
    assert server.wait() == 0
    server = start(path + "2")                  # from what it wrote
    client = Client(path + "2")
    while client.ask("dbsize").startswith("LOADING"):
        time.sleep(0.05)
    check(client, mirror)
    server.terminate()
    server.wait()
    print("ok")


main()
