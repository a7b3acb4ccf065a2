# timeout: 900
# Restarts after the worst: everything killed, other hosts, ten times over, with and without
# address randomisation, as root and as an ordinary user.
. "${0%/*}/lib.sh"

program() { # the job of this file: threads, memory, a child and a pipe, in one shell script
    cat >"$T/program" <<'END'
. "$1/gate.sh"
exec 3>"$GATE.file"
echo one; echo one >&3
"$1/threads" | sed 's/^/T: /' &
(GATE=$GATE; "$1/memory" 20) &
gate
echo two; echo two >&3
wait
cat "$GATE.file"
END
}

start() { # NAME
    job_launch "$1" bash "$T/program" "$PROGRAMS"
    job_ready "$1"
}

finish() { # NAME LABEL
    job_go "$1"
    job_end "$1"
    is "$2: exit status" "$JOB_STATUS" 0
    sort "$T/$1.out" >"$T/$1.sorted" # the parts run side by side: their order is free
    same "$2: what it printed" "$T/$1.sorted" "$T/reference.sorted" || job_diag "$1"
}

kill9() {
    start kill9 || fail "$1: starts"
    ok "$1: checkpoint" job_checkpoint kill9
    ok "$1: goes on" job_alive kill9
    ok "$1: everything killed" job_kill9 kill9
    is "$1: nothing of it runs" "$(job_left kill9)" ""
    job_restart kill9
    ok "$1: runs again" job_alive kill9 90
    finish kill9 "$1"
}

ten_times() {
    start ten || fail "$1: starts"
    for i in 1 2 3 4 5 6 7 8 9 10; do
        ok "$1: checkpoint $i" job_checkpoint ten
        job_kill9 ten
        job_restart ten
        ok "$1: restart $i" job_alive ten 90 || { job_diag ten; break; }
    done
    finish ten "$1"
}

without_randomisation() {
    T_WRAP="setarch -R"
    start fixed || fail "$1: starts"
    T_WRAP=''
    ok "$1: checkpoint" job_checkpoint fixed --kill
    job_end fixed
    job_restart fixed
    ok "$1: restarted with it" job_alive fixed 90
    ok "$1: second checkpoint" job_checkpoint fixed --kill
    job_end fixed
    T_WRAP="setarch -R"
    job_restart fixed
    ok "$1: restarted without it" job_alive fixed 90
    T_WRAP=''
    finish fixed "$1"
}

elsewhere() {
    start moved || fail "$1: starts"
    ok "$1: checkpoint here" job_checkpoint moved
    job_kill9 moved
    host_new other || fail "$1: there is another host"
    T_HOST=$HOST
    job_restart moved
    ok "$1: runs there" job_alive moved 90 || job_diag moved
    ok "$1: checkpoint there" job_checkpoint moved
    job_kill9 moved
    T_HOST=''
    job_restart moved
    ok "$1: runs here again" job_alive moved 90 || job_diag moved
    finish moved "$1"
}

lazily() {
    start lazy || fail "$1: starts"
    ok "$1: checkpoint" job_checkpoint lazy --kill
    job_end lazy
    job_restart lazy --lazy
    ok "$1: runs again" job_alive lazy 90
    ok "$1: second checkpoint" job_checkpoint lazy --kill
    job_end lazy
    job_restart lazy
    ok "$1: runs again, read in full" job_alive lazy 90
    finish lazy "$1"
}

# as on a kernel before 5.5: ids of processes and threads by way of ns_last_pid
without_set_tid() {
    start ids || fail "$1: starts"
    ok "$1: checkpoint" job_checkpoint ids --kill
    job_end ids
    STINT_NO_SET_TID=1 job_restart ids
    ok "$1: runs again" job_alive ids 90
    like "$1: and that was the way" "$(cat "$T/ids/log")" 'asked for by ns_last_pid'
    finish ids "$1"
}

program
reference reference bash "$T/program" "$PROGRAMS"
sort "$T/reference.native" >"$T/reference.sorted"
for T_AS in '' user; do
    [ -z "$T_AS" ] || is_root || continue
    who="${T_AS:+ as an ordinary user}"
    kill9 "killed$who"
    ten_times "ten times$who"
    without_randomisation "no address randomisation$who"
    lazily "lazily$who"
    without_set_tid "old kernel$who"
    if is_root; then elsewhere "another host$who"; fi
    for name in kill9 ten fixed moved lazy ids; do
        rm -rf "$T/$name" "$T/$name".*
    done
done
done_testing
