"""Processes of every start method: a pool, queues, a lock, shared values, a manager."""
# SPDX-License-Identifier: Apache-2.0
import multiprocessing
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate


def square(x):
    return x * x


def serve(questions, answers, lock, total):
    for x in iter(questions.get, None):
        with lock:
            total.value += x
        answers.put((x, square(x)))
    answers.put((None, os.getpid()))


def main():
    context = multiprocessing.get_context(sys.argv[1])
    questions, answers = context.Queue(), context.Queue()
    lock, total = context.Lock(), context.Value("q", 0)
    server = context.Process(target=serve, args=(questions, answers, lock, total))
    server.start()
    with context.Pool(3) as pool, context.Manager() as manager:
        shared = manager.dict()
        pids = sorted(p.pid for p in pool._pool)
        rounds = 0
        gate.touch("ready")
        while not (gate.is_open() and rounds >= 20):
            first = rounds * 100
            assert pool.map(square, range(first, first + 100), chunksize=7) == [
                square(x) for x in range(first, first + 100)]
            for x in range(first, first + 100):
                questions.put(x)
            for x in range(first, first + 100):
                assert answers.get() == (x, square(x))
            shared[rounds % 10] = shared.get(rounds % 10, 0) + 1
            rounds += 1
            gate.touch("alive")
        assert pids == sorted(p.pid for p in pool._pool)
        assert sum(shared.values()) == rounds
    questions.put(None)
    assert answers.get() == (None, server.pid)
    server.join()
    assert total.value == sum(range(rounds * 100))
    print("ok", sys.argv[1], server.exitcode)


if __name__ == "__main__":
    main()
