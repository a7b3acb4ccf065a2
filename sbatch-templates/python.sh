#!/bin/bash
# Python, with numpy's threads or its own.
#SBATCH --job-name=python
#SBATCH --time=04:00:00
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --output=%x-%j.out
#SBATCH --error=%x-%j.err
#SBATCH --checkpoint-interval=30m

# Keep the environment on storage that every node sees: the restored program wants its
# libraries at the same paths, unchanged.
#source ~/venv/bin/activate
export OPENBLAS_NUM_THREADS=$SLURM_CPUS_PER_TASK
python3 my_program.py
