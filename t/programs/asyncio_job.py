"""An asyncio server and its clients in one process: TCP, UNIX socket, a child, timers."""
# SPDX-License-Identifier: Apache-2.0
import asyncio
import hashlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate


async def answer(reader, writer):
    while line := await reader.readline():
        writer.write(hashlib.sha256(line).hexdigest().encode() + b"\n")
        await writer.drain()
    writer.close()


async def ask(number, reader, writer):
    rounds = 0
    while not (gate.is_open() and rounds >= 50):
        for i in range(20):
            writer.write(b"%d %d %d\n" % (number, rounds, i))
        for i in range(20):
            want = hashlib.sha256(b"%d %d %d\n" % (number, rounds, i)).hexdigest()
            got = (await reader.readline()).decode().strip()
            assert got == want, (number, rounds, i, got)
        rounds += 1
        gate.touch("alive")
        await asyncio.sleep(0.01)
    writer.close()
    await writer.wait_closed()


async def echo_child():
    child = await asyncio.create_subprocess_exec(
        "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    rounds = 0
    while not (gate.is_open() and rounds >= 50):
        child.stdin.write(b"round %d\n" % rounds)
        assert await child.stdout.readline() == b"round %d\n" % rounds
        rounds += 1
        await asyncio.sleep(0.01)
    child.stdin.close()
    print("child", await child.wait())


async def main():
    path = os.environ["GATE"] + ".socket"
    tcp = await asyncio.start_server(answer, "127.0.0.1", 0)
    unix = await asyncio.start_unix_server(answer, path)
    port = tcp.sockets[0].getsockname()[1]
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
    streams += [await asyncio.open_unix_connection(path) for _ in range(4)]
    gate.touch("ready")
    await asyncio.gather(echo_child(), *(ask(i, *s) for i, s in enumerate(streams)))
    tcp.close()
    unix.close()
    print("ok", len(streams))


asyncio.run(main())
