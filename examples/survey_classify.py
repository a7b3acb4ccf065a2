#!/usr/bin/python3
"""Sort sources into classes: k-means in parallel threads, one line per round.

The data is cut into a fixed number of pieces and the sums are added in the order of
the pieces, so the result does not depend on how the threads take turns.
"""
import argparse
import queue
import threading

import numpy as np

PIECES = 16
CLASSES = 24


def assign(piece, classes):
    """Counts, sums and cost of one piece: every source goes to the nearest class."""
    distance = ((piece[:, None, :] - classes[None, :, :]) ** 2).sum(axis=2)
    nearest = distance.argmin(axis=1)
    counts = np.bincount(nearest, minlength=CLASSES)
    sums = np.zeros_like(classes)
    for axis in range(classes.shape[1]):
        sums[:, axis] = np.bincount(nearest, weights=piece[:, axis], minlength=CLASSES)
    return counts, sums, distance[np.arange(len(piece)), nearest].sum()


def worker(tasks, results, pieces):
    while (task := tasks.get()) is not None:
        number, classes = task
        results.put((number, assign(pieces[number], classes)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("sources")
    parser.add_argument("classes")
    args = parser.parse_args()

    sources = np.load(args.sources)
    pieces = np.array_split(sources, PIECES)
    random = np.random.default_rng(1)
    classes = sources[random.choice(len(sources), CLASSES, replace=False)].copy()
    tasks, results = queue.Queue(), queue.Queue()
    threads = [threading.Thread(target=worker, args=(tasks, results, pieces))
               for _ in range(args.threads)]
    for thread in threads:
        thread.start()

    for number in range(1, args.rounds + 1):
        for piece in range(PIECES):
            tasks.put((piece, classes))
        parts = dict(results.get() for _ in range(PIECES))
        counts = sum(parts[piece][0] for piece in range(PIECES))
        sums = sum(parts[piece][1] for piece in range(PIECES))
        cost = sum(parts[piece][2] for piece in range(PIECES))
        # a class moves a little at a time, and a lost one is found again elsewhere
        means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None],
                         sources[random.integers(len(sources), size=CLASSES)])
        classes = classes + 0.2 * (means - classes)
        print(f"round {number} cost {cost:.6e}", flush=True)

    for _ in threads:
        tasks.put(None)
    for thread in threads:
        thread.join()
    np.save(args.classes, classes)


if __name__ == "__main__":
    main()
