#!/bin/bash
# One program on one core. With DMTCP's commands: submit the script again until the
# work is done. (serial.sh does the same with one option and without resubmitting.)
#SBATCH --job-name=dmtcp-serial
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
    dmtcp_launch -j ./my-program input.dat
fi
