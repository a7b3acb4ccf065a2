#!/bin/sh
# Fifty jobs pass their limits of one minute, two or three times each; nobody can tell from
# their output. FLOWS sets another number.
# timeout: 3000
# slow
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

flows=${FLOWS:-50}
echo "MinJobAge=3600" >"$T/extra"
NODE_CPUS=${FLOWS_AT_ONCE:-8} cluster_start 2 "$T/extra"
make_count 600 # two minutes and a half of work, at least

jobs_left() {
    [ -z "$(squeue -h -t pending,running,completing,configuring)" ]
}

all=''
for flow in $(seq "$flows"); do
    mkdir -p "$T/run/$flow"
    ! is_root || chown "$T_USER" "$T/run/$flow"
    JOB=$(as_slurm sbatch --parsable --time=1 --checkpoint-interval=20 --chdir="$T/run/$flow" \
        --output=out --error=err --checkpoint-dir="$T/run/$flow/ckpt" \
        "$T/run/count.sh" 600 0.25) || fail "submit $flow"
    all="$all $JOB"
done
diag "waiting for $flows jobs"
ok "all $flows come to their end" wait_for 2700 jobs_left

set -- $all
restarts=0
for flow in $(seq "$flows"); do
    JOB=$1
    shift
    label="job $flow"
    state=$(slurm_field JobState)
    runs=$(slurm_field Restarts)
    restarts=$((restarts + runs))
    if [ "$state" = COMPLETED ] && [ "$runs" -ge 2 ] &&
        cmp -s "$T/run/$flow/numbers.txt" "$T/native/numbers.txt" &&
        cmp -s "$T/run/$flow/out" "$T/native/out"; then
        pass "$label: $runs restarts, the output of an uninterrupted run"
    else
        fail "$label: $state after $runs restarts"
        scontrol show job "$JOB" 2>&1 | sed 's/^/#   /'
        diag_file "$T/run/$flow/err"
        diff "$T/run/$flow/out" "$T/native/out" | head -n 20 | sed 's/^/#   /'
        diff "$T/run/$flow/numbers.txt" "$T/native/numbers.txt" | head -n 20 | sed 's/^/#   /'
    fi
done
diag "$restarts restarts of $flows jobs"
done_testing
