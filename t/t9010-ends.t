#!/bin/sh
# However a job ends, it ends: exit codes are kept, scancel is obeyed, nothing is requeued.
# timeout: 600
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

cluster_start 2
make_count 100

cat >"$T/run/fail.sh" <<'END'
#!/bin/bash
echo working
sleep 2
exit 3
END
submit --checkpoint-interval=60 fail.sh
slurm_wait_end 60
is "a program that fails: its exit code" "$(slurm_field JobState) $(slurm_field ExitCode)" \
    "FAILED 3:0"
is "and no requeue" "$(slurm_field Restarts)" 0
is "its output" "$(cat "$T/run/out")" working
[ "$T_FAILED" -eq 0 ] || slurm_diag

cat >"$T/run/kill.sh" <<'END'
#!/bin/bash
kill -KILL $$
END
submit --checkpoint-interval=60 kill.sh
slurm_wait_end 60
is "a program killed by a signal: Slurm sees the signal" \
    "$(slurm_field JobState) $(slurm_field ExitCode)" "FAILED 0:9"

submit --checkpoint-interval=3 ./count.sh 600
slurm_wait_run 1
ok "a checkpoint is committed" wait_for 60 slurm_committed 1
as_slurm scancel "$JOB"
ok "scancel: the job ends" slurm_wait_end 30
is "it is cancelled, not requeued" "$(slurm_field JobState) $(slurm_field Restarts)" "CANCELLED 0"
is "nothing of it is left" "$(pgrep -f "$T/cluster/spool|$CKPT" | wc -l)" 0

cat >"$T/run/late.sh" <<'END'
#!/bin/bash
for i in $(seq 150); do sleep 0.1; echo "$i"; done
exit 7
END
submit --time=10 --checkpoint-interval=3 late.sh
slurm_wait_run 1
wait_for 60 slurm_committed 1
slurm_end_in 12
slurm_wait_run 2 || slurm_diag
ok "a job that was requeued ends" slurm_wait_end 90
is "with the exit code of its program" "$(slurm_field JobState) $(slurm_field ExitCode)" \
    "FAILED 7:0"
is "after one requeue" "$(slurm_field Restarts)" 1
[ "$T_FAILED" -eq 0 ] || slurm_diag
seq 150 >"$T/wanted"
same "and with every line once" "$T/run/out" "$T/wanted"

submit --checkpoint-interval=600 ./count.sh 100
slurm_wait_run 1
wait_for 60 lines_in "$T/run/numbers.txt" 20
as_slurm scontrol requeue "$JOB"
ok "a requeue by the user: it is checkpointed first" wait_for 60 slurm_committed 1
like "in its first run" "$(as_slurm stint list --json "$JOB")" '"run": 1,'
wait_for 90 slurm_hurry_run 1
ok "it goes on and ends" slurm_wait_end 90
like "from there" "$(cat "$T/run/err")" 'run 2: restored from generation 1'
count_matches "a requeue by the user"
[ "$T_FAILED" -eq 0 ] || slurm_diag

submit --checkpoint-interval=3 ./count.sh 600
slurm_wait_run 1
ok "a checkpoint is committed" wait_for 60 slurm_committed 1
slurm_end_in 12
slurm_wait_run 2 || slurm_diag
wait_for 30 grep -q 'run 2: restored' "$T/run/err"
as_slurm scancel "$JOB"
ok "scancel of a restored job: it ends" slurm_wait_end 30
is "cancelled, not requeued" "$(slurm_field JobState) $(slurm_field Restarts)" "CANCELLED 1"
is "nothing of it is left" "$(pgrep -f "$T/cluster/spool|$CKPT" | wc -l)" 0
done_testing
