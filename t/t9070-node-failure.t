#!/bin/sh
# A node is lost: the job goes on elsewhere, from its newest checkpoint.
# timeout: 480
# slow
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

NODE_CPUS=1 SLURMDTIMEOUT=10 cluster_start 2
make_count 200

submit --time=30 --checkpoint-interval=3 ./count.sh 200
ok "the job runs" slurm_wait_run 1
wait_for 60 lines_in "$T/run/numbers.txt" 60
ok "checkpoints are committed" wait_for 60 slurm_committed 2
node=$(slurm_field NodeList)
"$T_DIR/cluster" fail "$T/cluster" "$node"
ok "Slurm queues it again when the node does not answer" wait_for 90 slurm_is Restarts 1 ||
    slurm_diag
ok "its second run begins" slurm_wait_run 2
ok "on another node" test "$(slurm_field NodeList)" != "$node"
ok "and ends" slurm_wait_end 120
is "completed" "$(slurm_field JobState) $(slurm_field ExitCode)" "COMPLETED 0:0"
count_matches "node failure"
[ "$T_FAILED" -eq 0 ] || slurm_diag
done_testing
