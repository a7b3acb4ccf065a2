#!/bin/sh
# timeout: 480
# slow
# The last checkpoint cannot be taken: the job goes on from the one before. A job that has
# none at all ends at its limit, as it would without stint.
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

cluster_start 2

cat >"$T/run/step.sh" <<'END'
#!/bin/bash
for i in $(seq 50); do echo "$i"; sleep 0.1; done
srun sleep "$1" # cannot be checkpointed while it runs
echo done
END
submit --time=10 --checkpoint-interval=2 step.sh 45
slurm_wait_run 1
ok "a checkpoint is committed before the step" wait_for 60 slurm_committed 1
ok "the step begins" wait_for 60 lines_in "$T/run/out" 50
slurm_end_in 15
ok "at the limit the job is requeued all the same" wait_for 120 slurm_is Restarts 1 ||
    slurm_diag
like "it is told why" "$(cat "$T/run/err" "$CKPT/log")" 'no last checkpoint \(.*srun.*goes on from'
ok "its second run begins" slurm_wait_run 2
scontrol update JobId="$JOB" TimeLimit=10
ok "and ends" slurm_wait_end 180
is "completed" "$(slurm_field JobState) $(slurm_field Restarts)" "COMPLETED 1"
is "with every line once" "$(grep -v '^srun\|^slurmstepd' "$T/run/out" | tr '\n' ' ')" \
    "$(seq 50 | tr '\n' ' ')done "
[ "$T_FAILED" -eq 0 ] || slurm_diag

printf '#!/bin/bash\nsrun sleep 300\n' >"$T/run/never.sh"
submit --time=10 --checkpoint-interval=2 never.sh
slurm_wait_run 1
slurm_end_in 15
ok "a job without any checkpoint ends at its limit" slurm_wait_end 120
is "and is not requeued" "$(slurm_field JobState) $(slurm_field Restarts)" "TIMEOUT 0"
[ "$T_FAILED" -eq 0 ] || slurm_diag
done_testing
