"""Linear algebra on all cores (OpenBLAS threads), stopped between two products."""
# SPDX-License-Identifier: Apache-2.0
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate
import numpy

random = numpy.random.default_rng(20)
a = random.integers(-9, 9, (400, 400)).astype(numpy.float64)
b = numpy.eye(400)
for step in range(12):
    b = (a @ b) % 1009          # whole numbers: the same in whatever order they are added
    if step == 5:
        print("half way", int(b.sum()), flush=True)
        gate.wait()
print("sum", int(b.sum()), "trace", int(numpy.trace(b)), "random", int(random.integers(1 << 40)))
