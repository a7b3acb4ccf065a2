#!/bin/bash
# One program with several threads. With DMTCP's commands: submit the script again until the
# work is done. (openmp.sh does the same with one option and without resubmitting.)
#SBATCH --job-name=dmtcp-openmp
#SBATCH --time=04:00:00
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --output=%x.out
#SBATCH --error=%x.err
#SBATCH --open-mode=append

ml dmtcp
source start_coordinator -i 1800

export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
if [ -e dmtcp_restart_script.sh ]; then
    ./dmtcp_restart_script.sh -h "$DMTCP_COORD_HOST" -p "$DMTCP_COORD_PORT"
else
    dmtcp_launch -j ./my-openmp-program input.dat
fi
