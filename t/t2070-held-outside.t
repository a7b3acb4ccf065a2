# timeout: 120
# What the program shares with a process outside of the job makes a checkpoint fail by its name,
# and the program goes on with it.
. "${0%/*}/lib.sh"

[ -x /usr/bin/python3 ] || skip_all 'no /usr/bin/python3'
T_AS=user
as /usr/bin/python3 "$PROGRAMS/held_outside.py" serve "$T/held" >/dev/null 2>"$T/serve.err" &
wait_for 30 test -e "$T/held" || { diag_file "$T/serve.err"; exit 1; }

held() { # KIND REGEX
    job_launch "$1" /usr/bin/python3 "$PROGRAMS/held_outside.py" "$1" "$T/held"
    job_ready "$1"
    job_checkpoint "$1" >"$T/said" 2>&1
    t_status=$?
    is "$1: refused" "$t_status" 1
    like "$1: by its name" "$(cat "$T/said")" "process [0-9]+ \(python3\).* $2"
    record_refusal "t2070-held-outside/$1" "$t_status" "$T/said"
    job_alive "$1"
    job_go "$1"
    job_end "$1"
    is "$1: and it goes on" "$JOB_STATUS $(cat "$T/$1.out")" '0 kept' || job_diag "$1"
}

held pipe 'the other end of pipe:\[[0-9]+\] is in a process that is not part of the program'
held terminal 'the terminal /dev/pts/[0-9]+, which is not the job.s own, is not supported'
held epoll 'epoll watches something .* that no process of the job has open'
held queue 'the message queue /stint-outside-[0-9]+ is open in a process that is not part'
held undo 'has SEM_UNDO adjustments of the semaphores [0-9]+, which are not the program.s own'
rm "$T/held"
wait
done_testing
