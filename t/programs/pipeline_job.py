"""Pipelines of other programs, fed and read by threads while they are checkpointed."""
# SPDX-License-Identifier: Apache-2.0
import hashlib
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate

LINES = 200_000


def feed(pipe):
    number = 0
    while number < LINES or not gate.is_open():
        pipe.write(b"%07d some text to be squeezed\n" % (number % LINES))
        number += 1
        if number % 10_000 == 0:
            gate.touch("alive")
    while number % LINES:
        pipe.write(b"%07d some text to be squeezed\n" % (number % LINES))
        number += 1
    pipe.close()


def main():
    zip = subprocess.Popen(["gzip", "-1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    unzip = subprocess.Popen(["gzip", "-d"], stdin=zip.stdout, stdout=subprocess.PIPE)
    shell = subprocess.Popen("tr a-z A-Z | cat", shell=True, stdin=unzip.stdout,
                             stdout=subprocess.PIPE)
    zip.stdout.close()
    unzip.stdout.close()
    feeder = threading.Thread(target=feed, args=(zip.stdin,))
    feeder.start()
    gate.touch("ready")
    seen = set()
    digest, number = hashlib.sha256(), 0
    for line in shell.stdout:
        digest.update(line)
        number += 1
        if number % LINES == 0:
            seen.add(digest.hexdigest())
            digest = hashlib.sha256()
    feeder.join()
    codes = [p.wait() for p in (zip, unzip, shell)]
    print("ok", number % LINES, sorted(seen), codes)
    print(subprocess.run("seq 1 1000 | sort -rn | head -1", shell=True,
                         capture_output=True, text=True).stdout)


main()
