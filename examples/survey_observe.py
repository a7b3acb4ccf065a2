#!/usr/bin/python3
"""Make the survey's data: sources with seven measured properties, from a seed."""
import argparse

import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--sources", type=int, default=300000)
    parser.add_argument("output")
    args = parser.parse_args()

    random = np.random.default_rng(args.seed)
    kinds = random.normal(scale=4.0, size=(12, 7))
    kind = random.choice(len(kinds), size=args.sources)
    spread = random.uniform(0.5, 2.0, size=(len(kinds), 7))
    sources = kinds[kind] + spread[kind] * random.normal(size=(args.sources, 7))
    np.save(args.output, sources)
    print(f"  {args.sources} sources, {sources.nbytes >> 20} MiB")


if __name__ == "__main__":
    main()
