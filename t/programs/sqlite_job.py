"""A writer and a reader of a SQLite database in WAL mode, in two processes."""
# SPDX-License-Identifier: Apache-2.0
import hashlib
import os
import sqlite3
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate

ROWS = 500


def open_database():
    database = sqlite3.connect("data.db", isolation_level=None, timeout=60)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma wal_autocheckpoint=200")
    return database


def read_on(pipe):
    """The reader: every snapshot has all accounts add up to nothing."""
    database, count, last = open_database(), 0, 0
    while not os.path.exists("stop"):
        total, rounds = database.execute("select sum(money), max(round) from account").fetchone()
        if total != 0 or rounds < last:
            os.write(pipe, b"bad sum %d, round %d after %d\n" % (total, rounds, last))
            os._exit(1)
        last = rounds
        count += 1
    os.write(pipe, b"read\n" if count else b"nothing read\n")
    os._exit(0)


def main():
    database = open_database()
    database.execute("create table account (id integer primary key, money, round, note)")
    database.executemany("insert into account values (?, 0, 0, '')", [(i,) for i in range(ROWS)])
    money = [0] * ROWS
    out, pipe = os.pipe()
    reader = os.fork()
    if reader == 0:
        read_on(pipe)
    rounds = 0
    gate.touch("ready")
    while not (gate.is_open() and rounds >= 100):
        rounds += 1
        database.execute("begin immediate")
        for i in range(20):
            one, other = (rounds * 31 + i * 7) % ROWS, (rounds * 17 + i * 3) % ROWS
            for which, how in ((one, i), (other, -i)):
                money[which] += how
                note = hashlib.sha256(b"%d %d" % (rounds, which)).hexdigest() * 4
                database.execute("update account set money = money + ?, round = ?, note = ? "
                                 "where id = ?", (how, rounds, note, which))
        if rounds % 10 == 0:
            database.execute("rollback")
            for i in range(20):
                money[(rounds * 31 + i * 7) % ROWS] -= i
                money[(rounds * 17 + i * 3) % ROWS] += i
        else:
            database.execute("commit")
        gate.touch("alive")
        if rounds % 50 == 0:
            got = [m for m, in database.execute("select money from account order by id")]
            assert got == money, rounds
    open("stop", "w").close()
    assert os.waitpid(reader, 0)[1] == 0, os.read(out, 1000)
    got = [m for m, in database.execute("select money from account order by id")]
    assert got == money
    print("ok", os.read(out, 100), *database.execute("pragma integrity_check").fetchone())


main()
