#!/bin/sh
# proctrack/cgroup: signals reach only the agent, and nothing escapes.
# timeout: 480
# slow
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

is_root || skip_all "only root may make cgroups"
# node names are names of cgroups: not those of another cluster
PROCTRACK=cgroup NODE_PREFIX=c$$n cluster_start 2
make_count 350

submit --time=10 --checkpoint-interval=5 ./count.sh 350
for run in 1 2; do
    ok "run $run begins" slurm_wait_run $run || { slurm_diag; done_testing; }
    wait_for 60 lines_in "$T/run/numbers.txt" $((run * 60))
    slurm_end_in 15
    ok "run $run ends in a requeue" wait_for 60 slurm_is Restarts $run
done
ok "the job ends" slurm_wait_end 120
is "it completed" "$(slurm_field JobState) $(slurm_field ExitCode)" "COMPLETED 0:0"
count_matches "proctrack/cgroup"
[ "$T_FAILED" -eq 0 ] || slurm_diag

make_count 150
# the coordinator learns of this end only by Slurm's SIGTERM
submit --time=10 --checkpoint-interval=0 --checkpoint-margin=1 ./count.sh 150
ok "a job without periodic checkpoints runs" slurm_wait_run 1
wait_for 60 lines_in "$T/run/numbers.txt" 30
scontrol requeue "$JOB"
ok "an administrator's requeue leads to a second run" slurm_wait_run 2
ok "which ends" slurm_wait_end 120
count_matches "requeued from outside"
like "it was restored" "$(cat "$T/run/err")" 'run 2: restored from generation 1'
[ "$T_FAILED" -eq 0 ] || slurm_diag

submit --checkpoint-interval=3 ./count.sh 600
slurm_wait_run 1
wait_for 60 slurm_committed 1
as_slurm scancel "$JOB"
ok "scancel: the job ends" slurm_wait_end 30
is "cancelled, not requeued" "$(slurm_field JobState) $(slurm_field Restarts)" "CANCELLED 0"
is "nothing of it is left" "$(pgrep -f "$T/cluster/spool|$CKPT" | wc -l)" 0
is "no node was drained" "$(sinfo -h -t drain -o %N)" ""
done_testing
