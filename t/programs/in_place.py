#!/usr/bin/env python3
"""Files that are changed in place must hold what the program remembers to have written.
SPDX-License-Identifier: Apache-2.0

in_place.py KIND FILE: KIND is file, mapped, sqlite or gone (files removed meanwhile). Prints "PASS", or what is wrong.
"""
import contextlib
import mmap
import os
import shutil
import sqlite3
import struct
import sys

import gate


class PlainFile:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(self.fd, bytes(100000), 0)

    def write(self, n):
        os.pwrite(self.fd, struct.pack("<Q", n) * 10, (n % 1000) * 80)
        os.pwrite(self.fd, struct.pack("<Q", n), 90000)
        if n % 500 == 0:
            os.ftruncate(self.fd, 100000 + n)

    def read(self, n):
        if os.fstat(self.fd).st_size != 100000 + n // 500 * 500 and n >= 500:
            return "size %d" % os.fstat(self.fd).st_size
        if n and os.pread(self.fd, 80, (n % 1000) * 80) != struct.pack("<Q", n) * 10:
            return "another record"
        return struct.unpack("<Q", os.pread(self.fd, 8, 90000))[0]


class MappedFile:
    def __init__(self, path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        os.ftruncate(fd, 100000)
        self.map = mmap.mmap(fd, 100000)
        os.close(fd)

    def write(self, n):
        self.map[(n % 1000) * 80:(n % 1000) * 80 + 8] = struct.pack("<Q", n)
        self.map[90000:90008] = struct.pack("<Q", n)

    def read(self, n):
        return struct.unpack("<Q", self.map[90000:90008])[0]


class Temporary:
    """Files in directories that are removed once the next ones are there."""

    def __init__(self, path):
        self.path = path
        self.write(0)

    def write(self, n):
        old = getattr(self, "reader", None)
        name = "%s.%d/%d/temporary" % (self.path, n, n)
        self.writer = None
        while not self.writer:  # what is not open yet does not come back
            with contextlib.suppress(FileNotFoundError):
                os.makedirs(os.path.dirname(name), exist_ok=True)
                self.writer = open(name, "w", buffering=1)
        self.writer.write("before ")
        self.writer.flush()
        self.reader = open(name)
        if old:
            old.close()
            shutil.rmtree("%s.%d" % (self.path, n - 1), ignore_errors=True)

    def read(self, n):
        self.writer.write("and %d\n" % n)
        found = self.reader.read()
        return n if found == "before and %d\n" % n else found


class Database:
    def __init__(self, path):
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("pragma journal_mode=wal")
        self.db.execute("pragma synchronous=off")
        self.db.execute("create table t (n integer primary key, x text)")

    def write(self, n):
        self.db.execute("insert into t values (?, ?)", (n, "row %d " % n * 10))
        if n % 200 == 0:
            self.db.execute("delete from t where n < ?", (n - 100,))

    def read(self, n):
        if self.db.execute("pragma quick_check").fetchone()[0] != "ok":
            return "a damaged database"
        return self.db.execute("select coalesce(max(n), 0) from t").fetchone()[0]


def main():
    kinds = {"file": PlainFile, "mapped": MappedFile, "sqlite": Database, "gone": Temporary}
    store = kinds[sys.argv[1]](sys.argv[2])
    n = 0
    while not (gate.is_open() and n > 1000):
        if n % 50 == 0:
            found = store.read(n)
            if found != n:
                print("FAIL: wrote %d, found %s" % (n, found), flush=True)
                return 1
        n += 1
        store.write(n)
        if n == 300:
            gate.touch("ready")
        if n % 20 == 0:
            gate.touch("alive")
    print("PASS")
    return 0


sys.exit(main())
