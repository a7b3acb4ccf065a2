#!/bin/bash
# An Octave script. With DMTCP's commands: submit the script again until the
# work is done. (octave.sh does the same with one option and without resubmitting.)
#SBATCH --job-name=dmtcp-octave
#SBATCH --time=04:00:00
#SBATCH --ntasks=1
#SBATCH --output=%x.out
#SBATCH --error=%x.err
#SBATCH --open-mode=append

ml dmtcp
source start_coordinator -i 1800

if [ -e dmtcp_restart_script.sh ]; then
    ./dmtcp_restart_script.sh -h "$DMTCP_COORD_HOST" -p "$DMTCP_COORD_PORT"
else
    dmtcp_launch -j octave --no-gui my-script.m
fi
