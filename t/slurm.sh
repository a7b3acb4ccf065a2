# Shell library of the tests that need a real Slurm: a cluster, jobs, their ends.
# SPDX-License-Identifier: Apache-2.0
#
# Sourced after lib.sh. The cluster (t/cluster) lives in $T/cluster, jobs are submitted by
# an ordinary user in $T/run. $JOB is the job that was submitted last.

need slurmctld slurmd sbatch munged
[ -e "$T_STAGE/spank/spank_stint.so" ] || skip_all "the Slurm plugin was not built"

CKPT='' # the job's checkpoint directory

slurm_cleanup() {
    "$T_DIR/cluster" down "$T/cluster" 2>/dev/null
    t_cleanup
}

cluster_start() { # N [EXTRA]: see t/cluster for the variables that it heeds
    mkdir -p "$T/run"
    chmod 755 "$T/run"
    ! is_root || chown "$T_USER" "$T/run"
    trap slurm_cleanup EXIT
    SLURM_CONF=$T/cluster/slurm.conf
    export SLURM_CONF
    STINT_BUILD=$T_STAGE "$T_DIR/cluster" up "$T/cluster" "$@" >"$T/cluster.log" 2>&1 ||
        skip_all "no Slurm cluster here: $(tail -n 1 "$T/cluster.log")"
    # the first pass of the scheduler comes 3 s after the start
    as_slurm srun -Q true || skip_all "no job runs on the cluster"
}

# Where the hosts have networks of their own, commands have to be run on one of them.
on_cluster() { # COMMAND...
    "$T_DIR/cluster" exec "$T/cluster" "$@"
}

scontrol() {
    on_cluster scontrol "$@"
}

squeue() {
    on_cluster squeue "$@"
}

sinfo() {
    on_cluster sinfo "$@"
}

as_slurm() { # COMMAND...: as the user, in $T/run, with an environment of its own
    # shellcheck disable=SC2046 # words
    on_cluster env -C "$T/run" -i PATH="$PATH" HOME="$T/run" LANG=C.UTF-8 SLURM_CONF="$SLURM_CONF" \
        $(slurm_user) "$@"
}

slurm_user() {
    if is_root; then
        echo "setpriv --reuid=$T_USER --regid=$T_USER --clear-groups"
    fi
}

# submit OPTION... SCRIPT...: sets JOB and CKPT; output in $T/run/out and err
submit() {
    rm -f "$T/run/out" "$T/run/err"
    JOB=$(as_slurm sbatch --parsable --output="$T/run/out" --error="$T/run/err" "$@") ||
        return 1
    CKPT=$T/run/stint-checkpoints/$JOB
}

slurm_field() { # FIELD of `scontrol show job`
    scontrol -o show job "$JOB" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$1=//p" | head -n 1
}

slurm_is() { # FIELD VALUE
    [ "$(slurm_field "$1")" = "$2" ]
}

slurm_runs() { # RUN: that run of the job has begun
    slurm_is JobState RUNNING && slurm_is Restarts $(($1 - 1))
}

slurm_ended() {
    case $(slurm_field JobState) in
    PENDING | RUNNING | COMPLETING | SUSPENDED | CONFIGURING) return 1 ;;
    esac
}

slurm_wait_run() { # RUN [SECONDS]
    wait_for "${2:-60}" slurm_runs "$1"
}

slurm_wait_end() { # SECONDS; until Slurm has cleaned up, too
    wait_for "$1" slurm_ended && wait_for 30 slurm_idle
}

slurm_idle() {
    [ -z "$(squeue -h -j "$JOB" -t completing,running 2>/dev/null)" ]
}

# Slurm puts a requeued job off for two minutes; not here. (In the second of the requeue its
# node would take the next run for the last one, and refuse it.)
slurm_hurry() {
    slurm_is JobState PENDING || return 0
    [ $(($(date +%s) - $(date -d "$(slurm_field SubmitTime)" +%s))) -lt 3 ] ||
        as_slurm scontrol update JobId="$JOB" StartTime=now >/dev/null 2>&1
}
slurm_hurry_run() { # N: it runs again, after N requeues
    slurm_hurry
    slurm_is Restarts "$1" && slurm_is JobState RUNNING
}

# The limit comes SECONDS from now. Limits have a resolution of minutes, but for this.
slurm_end_in() {
    as_slurm scontrol update JobId="$JOB" EndTime="$(date -d "+$1 sec" +%FT%T)"
}

slurm_generation() { # newest committed generation of the job, 0 when there is none
    t_gen=$(readlink "$CKPT/manifest.yaml" 2>/dev/null | sed 's/^gen-0*//; s,/.*,,')
    echo "${t_gen:-0}"
}

slurm_committed() { # N: generation N or a later one is committed
    [ "$(slurm_generation)" -ge "$1" ]
}

lines() { # FILE
    if [ -e "$1" ]; then wc -l <"$1"; else echo 0; fi
}

lines_in() { # FILE N: it has that many lines
    [ "$(lines "$1")" -ge "$2" ]
}

slurm_diag() {
    scontrol show job "$JOB" 2>&1 | sed 's/^/#   /'
    for t_file in "$T/run/err" "$T/run/out" "$CKPT/log" "$T/cluster/log/slurmctld.log" \
        "$T"/cluster/log/slurmd.*.log; do
        diag_file "$t_file"
    done
}

# count.sh N: numbers through a pipe into numbers.txt and to standard output, ten a
# second; what they are depends on N alone.
make_count() {
    cat >"$T/run/count.sh" <<'END'
#!/bin/bash
# A batch script of the tests: a loop, a pipe, a filter, a file, and a second stage.
n=$1 pace=${2:-0.1} out=${3:-.}
echo "counting to $n"
for ((i = 1; i <= n; i++)); do
    echo "line $i"
    sleep "$pace"
done | awk -v file="$out/numbers.txt" '
    { sum += $2; print $0, sum >file; fflush(file) }
    $2 % 20 == 0 { print "at", $2; fflush() }'
echo "second stage"
sort -r "$out/numbers.txt" | cksum
echo "counted"
END
    chmod 755 "$T/run/count.sh"
    # what it should come to
    mkdir -p "$T/native"
    chmod 1777 "$T/native"
    "$T/run/count.sh" "$1" 0 "$T/native" >"$T/native/out"
}

count_matches() {
    same "$1: the file is that of an uninterrupted run" "$T/run/numbers.txt" \
        "$T/native/numbers.txt"
    same "$1: so is standard output" "$T/run/out" "$T/native/out"
}
