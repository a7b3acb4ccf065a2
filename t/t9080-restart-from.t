#!/bin/sh
# A job goes on from another job's checkpoint; damaged checkpoints are passed over; a job
# that has no good one is held, with the reason.
# timeout: 600
# slow
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

cluster_start 2
make_count 150

submit --checkpoint-interval=3 ./count.sh 150
slurm_wait_run 1
wait_for 60 lines_in "$T/run/numbers.txt" 30
ok "two checkpoints are committed" wait_for 60 slurm_committed 2
as_slurm scancel "$JOB"
ok "the job is cancelled" slurm_wait_end 30
first=$JOB
# another script, which is not run: the program goes on with its own
printf '#!/bin/bash\necho wrong\n' >"$T/run/other.sh"
submit --checkpoint-interval=3 --restart-from="$first" other.sh
ok "a job that starts from its checkpoint ends" slurm_wait_end 90
is "completed" "$(slurm_field JobState) $(slurm_field ExitCode)" "COMPLETED 0:0"
like "it says what it did" "$(cat "$T/run/err")" 'run 1: restored from generation [0-9]+ '
same "its file is that of an uninterrupted run" "$T/run/numbers.txt" "$T/native/numbers.txt"
is "its output goes on where the other's stopped" "$(tail -n 3 "$T/run/out")" \
    "$(tail -n 3 "$T/native/out")"
[ "$T_FAILED" -eq 0 ] || slurm_diag
ok "the first job's directory is found by its id" \
    as_slurm "$T_STAGE/spank/stint-slurm" dir "$first"

for command in "stint restart -d by-hand $first" "srun -Q --restart-from=$first true"; do
    echo "after the checkpoint" >>"$T/run/numbers.txt"
    # shellcheck disable=SC2086 # words
    ok "$command" as_slurm $command
    same "its file is that of an uninterrupted run" "$T/run/numbers.txt" "$T/native/numbers.txt"
done

submit --checkpoint-interval=3 --restart-from="$T/run" other.sh
slurm_wait_end 60
is "a directory without checkpoints: the job fails" "$(slurm_field JobState)" FAILED
like "and says why" "$(cat "$T/run/err")" 'stint: --restart-from=.*: '

damage() { # GENERATION: one bit of a page of the first process
    t_image=$(find "$CKPT/$(printf 'gen-%06d' "$1")" -name '*.img' | sort | head -n 1)
    python3 - "$t_image" <<'END'
import sys
with open(sys.argv[1], "r+b") as image:
    image.seek(4096 + 100)
    byte = image.read(1)
    image.seek(4096 + 100)
    image.write(bytes([byte[0] ^ 1]))
END
}

submit --checkpoint-interval=3 ./count.sh 150
slurm_wait_run 1
wait_for 60 lines_in "$T/run/numbers.txt" 30
ok "two checkpoints are committed" wait_for 60 slurm_committed 2
node=$(slurm_field NodeList)
"$T_DIR/cluster" fail "$T/cluster" "$node" # so that there is no last one
newest=$(slurm_generation)
damage "$newest"
scontrol update NodeName="$node" State=DOWN Reason=test
ok "its second run begins" slurm_wait_run 2 90
ok "the job ends" slurm_wait_end 120
is "completed" "$(slurm_field JobState) $(slurm_field ExitCode)" "COMPLETED 0:0"
like "the damaged checkpoint was passed over by name" "$(cat "$T/run/err" "$CKPT/log")" \
    "generation $newest cannot be restored: "
like "and the one before taken" "$(cat "$T/run/err")" \
    "run 2: restored from generation $((newest - 1)) "
count_matches "passed over"
[ "$T_FAILED" -eq 0 ] || slurm_diag
"$T_DIR/cluster" start "$T/cluster" "$node"

submit --checkpoint-interval=2 --checkpoint-keep=1 ./count.sh 150
slurm_wait_run 1
ok "a checkpoint is committed" wait_for 60 slurm_committed 2
node=$(slurm_field NodeList)
"$T_DIR/cluster" fail "$T/cluster" "$node"
for n in "$CKPT"/gen-*[0-9]; do
    damage "$(echo "${n##*-}" | sed 's/^0*//')"
done
scontrol update NodeName="$node" State=DOWN Reason=test
held() {
    slurm_is JobState PENDING && scontrol -o show job "$JOB" | grep -q 'Comment=stint: held: '
}
ok "with no good checkpoint left the job is held, and its comment says so" wait_for 90 held
is "it is held by its owner" "$(squeue -h -j "$JOB" -o %r | grep -Eci 'held')" 1
[ "$T_FAILED" -eq 0 ] || slurm_diag
done_testing
