"""A pool of forked processes that is fed and asked across the gate."""
# SPDX-License-Identifier: Apache-2.0
import multiprocessing
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate


def square(x):
    return x * x


def main():
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        first = pool.map(square, range(500))
        pids = sorted(p.pid for p in pool._pool)
        gate.wait()
        assert pids == sorted(p.pid for p in pool._pool)
        second = pool.map(square, range(500, 1000), chunksize=7)
    print("sum", sum(first) + sum(second))
    process = context.Process(target=os._exit, args=(5,))
    process.start()
    process.join(60)
    print("exit code", process.exitcode)


main()
