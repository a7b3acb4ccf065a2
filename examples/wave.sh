#!/bin/bash
# A serial C program.   sbatch --checkpoint-interval=30m examples/wave.sh [STEPS]
#SBATCH --job-name=wave
#SBATCH --time=60

set -eu
cd "${SLURM_SUBMIT_DIR:-.}"
[ -x wave ] || cc -O2 -o wave examples/wave.c -lm
./wave "${1:-20000}" wave.txt
sha256sum wave.txt
