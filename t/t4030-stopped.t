# timeout: 120
# A process that is stopped (SIGSTOP, job control) is checkpointed as it is, stays stopped,
# and is stopped again after a restart.
. "${0%/*}/lib.sh"

root_of() { # NAME: the first process of the job that is the program's
    job_left "$1" | sed -n 's/ sh$//p' | head -n 1
}

is_stopped() { # NAME
    [ "$(awk '{ print $3 }' "/proc/$(root_of "$1")/stat" 2>/dev/null)" = T ]
}

launch_and_stop() { # NAME
    job_launch "$1" sh -c '. "$0/gate.sh"; gate' "$PROGRAMS"
    job_ready "$1"
    kill -STOP "$(root_of "$1")"
    wait_for 20 is_stopped "$1"
}

for T_AS in '' user; do
    is_root || [ -z "$T_AS" ] || continue
    who=${T_AS:+ as an ordinary user}

    job=shell$T_AS
    reference "$job" "$PROGRAMS/job_control.bash"
    job_launch "$job" "$PROGRAMS/job_control.bash"
    if job_ready "$job" && job_checkpoint "$job" >/dev/null && job_alive "$job" &&
        job_checkpoint "$job" --kill >/dev/null && job_end "$job" && job_restart "$job" &&
        job_alive "$job" && job_checkpoint "$job" --kill >/dev/null && job_end "$job" &&
        job_restart "$job" && job_alive "$job" && job_go "$job" && job_end "$job"; then
        same "a stopped job of a shell is one after two restarts$who" "$T/$job.out" "$T/$job.native" ||
            job_diag "$job"
    else
        fail "a stopped job of a shell is one after two restarts$who" 'it did not come to its end'
        job_diag "$job"
    fi

    job=root$T_AS
    launch_and_stop "$job"
    ok "the program itself is stopped: a checkpoint is taken$who" job_checkpoint "$job"
    ok "it stays stopped$who" wait_for 20 is_stopped "$job"
    ok "and another one$who" job_checkpoint "$job" --kill
    job_end "$job"
    job_restart "$job"
    ok "it is stopped after the restart$who" wait_for 30 is_stopped "$job"
    kill -CONT "$(root_of "$job")"
    job_go "$job"
    ok "and ends when it is continued$who" job_end "$job"
    is "it ends well$who" "$JOB_STATUS" 0
done
# Where processes may not be traced it is refused by name, and nothing changes.
T_AS=''
T_WRAP=$PROGRAMS/no_ptrace
launch_and_stop untraced
job_checkpoint untraced >"$T/said" 2>&1
is 'without ptrace(2) it is for later' "$?" 75
like 'and it is said why' "$(cat "$T/said")" 'process [0-9]* \(sh\) is stopped .* may not be traced here'
ok 'it stays stopped' is_stopped untraced
like 'stint doctor says so beforehand' "$($T_WRAP stint doctor)" '^note +processes cannot be traced'
kill -CONT "$(root_of untraced)"
job_go untraced
job_end untraced
is 'and ends when it is continued' "$JOB_STATUS" 0
done_testing
