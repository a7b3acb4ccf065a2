#!/bin/bash
# R. Its temporary directory must be there again on the next node.
#SBATCH --job-name=r
#SBATCH --time=04:00:00
#SBATCH --ntasks=1
#SBATCH --output=%x-%j.out
#SBATCH --error=%x-%j.err
#SBATCH --checkpoint-interval=30m

export TMPDIR=$SLURM_SUBMIT_DIR/tmp-$SLURM_JOB_ID
mkdir -p "$TMPDIR"
Rscript my_program.R
rm -rf "$TMPDIR"
