#!/bin/bash
# One job that is requeued by itself, with DMTCP's commands: Slurm sends a signal before the
# limit, a trap checkpoints, ends the program and requeues the job. (What
# sbatch --checkpoint-interval=30m replaces: this script is then its last line.)
#SBATCH --job-name=dmtcp-signal
#SBATCH --time=04:00:00
#SBATCH --ntasks=1
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --output=%x-%j.out
#SBATCH --error=%x-%j.err
#SBATCH --open-mode=append

ml dmtcp
source start_coordinator

requeue() {
    dmtcp_command --kcheckpoint && scontrol requeue "$SLURM_JOB_ID"
}
trap requeue USR1

if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [ -e dmtcp_restart_script.sh ]; then
    ./dmtcp_restart_script.sh -h "$DMTCP_COORD_HOST" -p "$DMTCP_COORD_PORT" &
else
    dmtcp_launch -j ./my-program input.dat &
fi
wait
status=$?
[ $status -lt 128 ] || { wait; status=$?; } # the trap has interrupted the first one
exit $status
