#!/bin/sh
# A job that is given more time before its limit comes goes on without a requeue; one that
# may not be requeued is told so at its start, and goes on all the same.
# timeout: 480
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

echo JobRequeue=0 >"$T/extra"
cluster_start 2 "$T/extra"
make_count 300

submit --time=10 --checkpoint-interval=5 ./count.sh 300
ok "the job runs" slurm_wait_run 1
ok "a checkpoint is committed" wait_for 60 slurm_committed 1
as_slurm scontrol update JobId="$JOB" EndTime="$(date -d '+50 sec' +%FT%T)"
wait_for 30 lines_in "$T/run/numbers.txt" 100
# only an administrator may add time
scontrol update JobId="$JOB" TimeLimit=20
ok "it ends" slurm_wait_end 120
is "completed, in its first run" \
    "$(slurm_field JobState) $(slurm_field Restarts)" "COMPLETED 0"
count_matches "more time"
[ "$T_FAILED" -eq 0 ] || slurm_diag

submit --time=10 --checkpoint-interval=5 --no-requeue ./count.sh 300
ok "--no-requeue: the job runs" slurm_wait_run 1
ok "a checkpoint is committed" wait_for 60 slurm_committed 1
like "it is told what will be done" "$(cat "$T/run/err" "$CKPT/log")" 'no-requeue'
slurm_end_in 15
ok "its second run begins" slurm_wait_run 2
ok "it ends" slurm_wait_end 120
is "completed" "$(slurm_field JobState) $(slurm_field Restarts)" "COMPLETED 1"
count_matches "--no-requeue"
[ "$T_FAILED" -eq 0 ] || slurm_diag
done_testing
