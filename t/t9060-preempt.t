#!/bin/sh
# A job that is preempted goes on where it was, not where its last checkpoint was.
# timeout: 480
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

cat >"$T/extra" <<'END'
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
END
PARTITION="PriorityTier=1 PreemptMode=REQUEUE GraceTime=20" NODE_CPUS=1 cluster_start 1 "$T/extra"
make_count 250

submit --time=30 --checkpoint-interval=600 ./count.sh 250
ok "the job runs" slurm_wait_run 1
wait_for 60 lines_in "$T/run/numbers.txt" 50
low=$JOB
as_slurm sbatch -Q --partition=urgent --output="$T/run/urgent.out" --wrap 'sleep 3; echo urgent'
ok "it is preempted" wait_for 120 slurm_is Restarts 1 || slurm_diag
ok "the urgent job runs" wait_for 60 grep -q urgent "$T/run/urgent.out"
JOB=$low
ok "then the first goes on" slurm_wait_run 2 90
ok "and ends" slurm_wait_end 120
is "completed" "$(slurm_field JobState)" COMPLETED
like "it was restored from the notice's checkpoint" "$(cat "$T/run/err")" \
    'run 2: restored from generation 1'
count_matches "preemption"
[ "$T_FAILED" -eq 0 ] || slurm_diag
done_testing
