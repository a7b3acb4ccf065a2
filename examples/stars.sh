#!/bin/bash
# An OpenMP program.   sbatch --checkpoint-interval=30m examples/stars.sh [STEPS]
#SBATCH --job-name=stars
#SBATCH --time=60
#SBATCH --cpus-per-task=2

set -eu
cd "${SLURM_SUBMIT_DIR:-.}"
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-2}
[ -x stars ] || cc -O2 -fopenmp -o stars examples/stars.c -lm
./stars "${1:-2000}" > stars.txt
tail -n 1 stars.txt
