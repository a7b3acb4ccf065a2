#!/bin/bash
# Many inputs, each a job of its own with checkpoints of its own: every task of an array
# has its own job id, and is requeued by itself.
#SBATCH --job-name=array
#SBATCH --time=04:00:00
#SBATCH --ntasks=1
#SBATCH --array=1-10
#SBATCH --output=%x-%A_%a.out
#SBATCH --error=%x-%A_%a.err
#SBATCH --checkpoint-interval=30m

./my-program "input-$SLURM_ARRAY_TASK_ID.dat"
