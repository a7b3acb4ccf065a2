# timeout: 120
# A process that is stopped (SIGSTOP, job control) is checkpointed as it is, stays stopped,
# and is stopped again after a restart.
. "${0%/*}/lib.sh"

state() { # NAME: of the first process of the job that is the program's
    awk '{ print $3 }' "/proc/$(job_left "$1" | grep -o '[0-9]* sleep' | cut -d' ' -f1)/stat" 2>/dev/null
}

is_in() { # NAME STATE
    [ "$(state "$1")" = "$2" ]
}

root_of() { # NAME
    job_left "$1" | grep -o '[0-9]* sleep' | cut -d' ' -f1
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
    job_launch "$job" sleep 1.5
    wait_for 20 is_in "$job" S
    kill -STOP "$(root_of "$job")"
    wait_for 20 is_in "$job" T
    ok "the program itself is stopped: a checkpoint is taken$who" job_checkpoint "$job"
    ok "it stays stopped$who" wait_for 5 is_in "$job" T
    ok "and another one$who" job_checkpoint "$job" --kill
    job_end "$job"
    job_restart "$job"
    ok "it is stopped after the restart$who" wait_for 30 is_in "$job" T
    kill -CONT "$(root_of "$job")"
    ok "and ends when it is continued$who" job_end "$job"
    is "it ends well$who" "$JOB_STATUS" 0
done
done_testing
