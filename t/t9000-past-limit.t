#!/bin/sh
# A batch job passes its time limit three times; nobody can tell from its output.
# timeout: 600
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

NODE_CPUS=1 cluster_start 2
make_count 500

ok "submit" submit --time=10 --checkpoint-interval=5 ./count.sh 500
for run in 1 2 3; do
    slurm_wait_run $run || { fail "run $run begins"; slurm_diag; done_testing; }
    # cut back by the restart, if the file was longer
    [ $run = 1 ] || wait_for 60 grep -q "run $run: restored" "$T/run/err"
    ok "run $run gets on" wait_for 60 lines_in "$T/run/numbers.txt" $(($(lines "$T/run/numbers.txt") + 30))
    node=$(slurm_field NodeList)
    slurm_end_in 15
    if ! wait_for 60 slurm_is Restarts $run; then
        fail "run $run ends in a requeue"
        slurm_diag
        done_testing
    fi
    pass "run $run ends in a requeue"
    # the next run is elsewhere, with a spool directory on another path
    scontrol update NodeName="$node" Weight=$((run + 10))
done
ok "the job ends" slurm_wait_end 120
is "it completed" "$(slurm_field JobState) $(slurm_field ExitCode)" "COMPLETED 0:0"
# on a busy machine its last run may be longer than the limit, too
ok "in its fourth run, at the soonest" test "$(slurm_field Restarts)" -ge 3
count_matches "count.sh"
like "the job was told what happened" "$(cat "$T/run/err")" \
    '^stint: run 4: restored from generation [0-9]+ \(committed [0-9:]{8} on [a-z0-9]+\)'
[ "$T_FAILED" -eq 0 ] || slurm_diag
is "nothing of it runs any more" "$(pgrep -f "$T/cluster/spool|$CKPT" | wc -l)" 0
done_testing
