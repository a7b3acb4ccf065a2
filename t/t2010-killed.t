# timeout: 400
# kill -9 of the coordinator at every point of a checkpoint: the program goes on, another
# coordinator is started, and what is restarted from in the end is whole.
. "${0%/*}/lib.sh"

# stint with fault points, beside the other parts
mkdir "$T/bin"
cp "$T_STAGE/t/stint-faulty" "$T/bin/stint"
cp "$T_STAGE/runtime/libstint.so" "$T_STAGE/runtime/restorer/stint-restorer" "$T/bin"
STINT_LIBEXECDIR=$T/bin
PATH=$T/bin:$PATH
export STINT_LIBEXECDIR PATH
chmod -R a+rX "$T/bin"

serves() { # NAME: a coordinator that works
    job_stint "$1" status --json | grep -q '"state": "idle"'
}

moment() { # DIGIT: is this tenth of a second
    [ "$(date +%N | cut -c 1)" -eq "$1" ]
}

try() { # POINT [OPTION...]: killed in the second checkpoint
    point=$1
    shift
    export STINT_FAULT="$point:2" STINT_FAULT_ONCE="$T/once"
    as touch "$T/once"
    job_launch j sh "$PROGRAMS/job.sh"
    if ! job_ready j; then
        fail "$point: starts" || job_diag j
        job_kill9 j
        return
    fi
    ok "$point: first checkpoint" job_checkpoint j
    fails "$point: the second does not succeed" 1 job_checkpoint j "$@"
    ok "$point: the program goes on" job_alive j
    ok "$point: there is a coordinator again" wait_for 40 serves j
    ok "$point: what is there is whole" job_stint j verify
    ok "$point: the next checkpoint" job_checkpoint j
    is "$point: no leftovers" "$(find "$T/j" -maxdepth 1 -name '*.tmp')" ''
    unset STINT_FAULT STINT_FAULT_ONCE
    job_kill9 j
    job_restart j
    if ok "$point: restart" job_alive j 60; then
        job_go j
        job_end j
        is "$point: exit status" "$JOB_STATUS" 0
        same "$point: output" "$T/j.out" "$T/j.native" || job_diag j
    else
        job_diag j
    fi
    job_kill9 j
    rm -rf "$T/j" "$T"/j.out "$T"/j.err "$T"/j.status "$T"/j.gate.*
}

T_AS=user
reference j sh "$PROGRAMS/job.sh"
for point in coordinator-quiesce coordinator-capture coordinator-commit dir-renamed \
    dir-symlink; do
    try "$point"
done
# the state after the second commit: its own checkpoint has been committed already
try coordinator-idle

# Killed at any other moment, many times: the program never notices.
job_launch j sh "$PROGRAMS/job.sh"
if job_ready j; then
    lost=0
    for i in 1 2 3 4 5 6 7 8 9 10; do
        wait_for 40 serves j || break
        job_checkpoint j >/dev/null 2>&1 &
        asked=$!
        pid=$(sed -n 's/^pid: //p' "$T/j/coordinator.yaml")
        wait_for 2 moment $((i % 10)) # another moment each time
        kill -9 "$pid"
        wait "$asked"
        job_alive j || lost=$((lost + 1))
    done
    is 'killed ten times: the program runs' "$lost" 0
    ok 'and is checkpointed again' wait_for 60 job_checkpoint j
    ok 'into what is whole' job_stint j verify
else
    fail 'starts' || job_diag j
fi
job_kill9 j
done_testing
