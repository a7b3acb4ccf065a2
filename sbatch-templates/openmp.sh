#!/bin/bash
# One program with many threads on one node.
#SBATCH --job-name=openmp
#SBATCH --time=04:00:00
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --output=%x-%j.out
#SBATCH --error=%x-%j.err
#SBATCH --checkpoint-interval=30m

# A restored program keeps the number of threads it was started with; it may get other
# cores. So do not pin threads to core numbers (leave GOMP_CPU_AFFINITY unset).
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
./my-openmp-program input.dat
