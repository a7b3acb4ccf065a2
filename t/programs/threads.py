"""Threads with queues, locks and timers; the result does not depend on the order."""
# SPDX-License-Identifier: Apache-2.0
import hashlib
import os
import queue
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate

work = queue.Queue(maxsize=50)
lock = threading.Lock()
results = {}
middle = threading.Event()
local = threading.local()


def worker(number):
    local.number = number
    while True:
        item = work.get()
        if item is None:
            break
        digest = hashlib.sha256(str(item).encode()).digest()
        for _ in range(50):
            digest = hashlib.sha256(digest).digest()
        with lock:
            results[item] = digest
        assert local.number == number
        work.task_done()


threads = [threading.Thread(target=worker, args=(n,)) for n in range(6)]
for t in threads:
    t.start()
for item in range(2000):
    if item == 1000:
        print("half of it", flush=True)
        ids = [t.native_id for t in threads]
        start = time.monotonic()
        gate.wait()
        assert time.monotonic() - start < 100
        assert ids == [t.native_id for t in threads]
        assert sorted(os.listdir("/proc/self/task")) == sorted(
            str(i) for i in ids + [threading.main_thread().native_id])
    work.put(item)
work.join()
for _ in threads:
    work.put(None)
for t in threads:
    t.join(60)
total = hashlib.sha256(b"".join(results[i] for i in range(2000))).hexdigest()
print(len(results), total)
