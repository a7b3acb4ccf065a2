#!/bin/sh
# --open-mode=truncate: Slurm empties the output at each requeue, and stint puts it back.
# timeout: 480
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

cluster_start 2

# Output by several processes, through one description and through another.
cat >"$T/run/job.sh" <<'END'
#!/bin/bash
#SBATCH --open-mode=truncate
env | grep -c ^SLURM_SPANK_STINT
for i in $(seq "$1"); do
    sh -c 'echo "$1" >>/dev/stdout' sh "$i"
    echo "line $i" >&2
    sleep 0.1
done
END
want() {
    echo 0
    seq "$1"
}
submit --time=10 --checkpoint-interval=3 job.sh 250
for run in 2 3; do
    wait_for 60 lines_in "$T/run/out" $((run * 60 - 60))
    slurm_end_in 12
    ok "run $run begins" slurm_wait_run $run 90 || slurm_diag
done
ok "the job ends" slurm_wait_end 120
is "completed" "$(slurm_field JobState) $(slurm_field Restarts)" "COMPLETED 2"
want 250 >"$T/wanted"
same "its output has every line once" "$T/run/out" "$T/wanted"
seq 250 | sed 's/^/line /' >"$T/wanted"
grep '^line ' "$T/run/err" >"$T/lines"
same "so has its standard error" "$T/lines" "$T/wanted"
[ "$T_FAILED" -eq 0 ] || slurm_diag
done_testing
