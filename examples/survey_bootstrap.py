#!/usr/bin/python3
"""Say how well the classes are known: their spread over samples drawn again."""
import argparse
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def resample(seed, sources, classes):
    """Centres of the classes in one sample, drawn with replacement."""
    sample = sources[np.random.default_rng(seed).integers(len(sources), size=len(sources) // 4)]
    distance = ((sample[:, None, :] - classes[None, :, :]) ** 2).sum(axis=2)
    nearest = distance.argmin(axis=1)
    counts = np.maximum(np.bincount(nearest, minlength=len(classes)), 1)
    sums = np.stack([np.bincount(nearest, weights=sample[:, axis], minlength=len(classes))
                     for axis in range(sample.shape[1])], axis=1)
    return sums / counts[:, None]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("sources")
    parser.add_argument("classes")
    args = parser.parse_args()

    sources, classes = np.load(args.sources), np.load(args.classes)
    with ThreadPoolExecutor(args.threads) as pool:
        centres = np.stack(list(pool.map(lambda seed: resample(seed, sources, classes),
                                         range(args.samples))))
    spread = centres.std(axis=0)
    for number, (centre, width) in enumerate(zip(classes, spread)):
        print(f"class {number:2d}", " ".join(f"{c:+.6f}({w:.6f})"
                                              for c, w in zip(centre, width)))
    print(f"  {args.samples} samples: mean spread {spread.mean():.9f}")


if __name__ == "__main__":
    main()
