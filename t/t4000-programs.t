# timeout: 600
# Programs in several languages: checkpointed, ended, restored; the result is that of a run
# without stint, and so is every byte that they print.
. "${0%/*}/lib.sh"

try() { # NAME COMMAND...
    try_name=$1
    shift
    try_label="$try_name${T_AS:+ as an ordinary user}"
    reference "$try_name" "$@" || { fail "$try_label: works without stint"; return; }
    job_launch "$try_name" "$@"
    if job_ready "$try_name" &&
        ok "$try_label: checkpoint" job_checkpoint "$try_name" &&
        ok "$try_label: goes on" job_alive "$try_name" &&
        ok "$try_label: checkpoint and end" job_checkpoint "$try_name" --kill &&
        job_end "$try_name" &&
        job_restart "$try_name" &&
        ok "$try_label: runs again" job_alive "$try_name" 90; then
        job_go "$try_name"
        job_end "$try_name"
        is "$try_label: exit status" "$JOB_STATUS" 0
        same "$try_label: what it printed" "$T/$try_name.out" "$T/$try_name.native" ||
            job_diag "$try_name"
    else
        fail "$try_label: came to its end" || :
        job_diag "$try_name"
    fi
    job_kill9 "$try_name"
    rm -rf "$T/$try_name" "$T/$try_name".*
}

try_all() {
    try threads "$PROGRAMS/threads"
    try memory "$PROGRAMS/memory" 50
    try storm "$PROGRAMS/storm" 3
    try bash bash "$PROGRAMS/job.bash"
    try dash dash "$PROGRAMS/job.sh"
    try gawk gawk -f "$PROGRAMS/job.awk"
    try perl perl "$PROGRAMS/job.pl"
    try python-threads /usr/bin/python3 "$PROGRAMS/threads.py"
    try python-processes /usr/bin/python3 "$PROGRAMS/processes.py"
    try numpy /usr/bin/python3 "$PROGRAMS/numpy_job.py"
}

PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
try_all
if is_root; then
    T_AS=user
    try_all
fi
done_testing
