#!/bin/bash
# Chained jobs without requeue, with DMTCP's commands: each job checkpoints and ends its
# program before its own limit, after it has submitted the next one; the last finds the
# program's end. (sbatch --checkpoint-interval=30m does the same within one job.)
#SBATCH --job-name=dmtcp-chained
#SBATCH --time=04:00:00
#SBATCH --ntasks=1
#SBATCH --signal=B:USR1@300
#SBATCH --no-requeue
#SBATCH --output=%x.out
#SBATCH --error=%x.err
#SBATCH --open-mode=append

ml dmtcp
source start_coordinator

next() {
    dmtcp_command --kcheckpoint &&
        sbatch --dependency="afterany:$SLURM_JOB_ID" dmtcp-chained.sh
}
trap next USR1

if [ -e dmtcp_restart_script.sh ]; then
    ./dmtcp_restart_script.sh -h "$DMTCP_COORD_HOST" -p "$DMTCP_COORD_PORT" &
else
    dmtcp_launch -j ./my-program input.dat &
fi
wait
status=$?
[ $status -lt 128 ] || { wait; status=$?; } # the trap has interrupted the first one
exit $status
