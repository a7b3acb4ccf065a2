# timeout: 120
# Who may talk to a coordinator: holders of the key, and nobody else.
. "${0%/*}/lib.sh"
need bash

T_AS=user
job_launch j sh "$PROGRAMS/job.sh"
job_ready j || job_diag j
is 'the key is private' "$(stat -c %a "$T/j/key")" 600
is 'and on no command line' \
    "$(grep -al -f "$T/j/key" /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null)" ''
if is_root; then
    fails 'another user gets nothing' 1 setpriv --reuid=65534 --regid=65534 --clear-groups \
        stint status "$T/j"
fi

mkdir -m 700 "$T/other" && cp "$T/j/coordinator.yaml" "$T/other" &&
    printf '%064d\n' 7 >"$T/other/key" && chmod 600 "$T/other/key"
is_root && chown -R "$T_USER" "$T/other"
fails 'another key is refused' 1 as stint checkpoint "$T/other"
like '... and it is said' "$(as stint checkpoint "$T/other" 2>&1)" '^stint: .*key'
ok 'the job goes on' job_alive j

port=$(sed -n 's/^port: //p' "$T/j/coordinator.yaml")
say() { # TEXT: to the coordinator's port; prints what comes back in a second
    bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "$2" >&3 && timeout 1 cat <&3' \
        sh "$port" "$1" 2>/dev/null | od -An -c | tr -d ' \n' | cut -c 1-9
}
is 'a stranger sees a greeting and no more' "$(say 'GET / HTTP/1.0\r\n\r\n')" 'STINT/1\n'
for text in 'STINT/1\n' '\0\0\0\0' 'STINT/1\n0123456789abcdef0123456789abcdef0123456789abcdef01234567\377\377\377\377'; do
    say "$text" >/dev/null
done
ok 'strangers do no harm' job_checkpoint j

# More connections that say nothing than it keeps: those who hold the key still get in.
bash -c 'for i in $(seq 200); do eval "exec $((i + 10))<>/dev/tcp/127.0.0.1/$1" || exit; done
         : >"$2"; exec sleep 30' sh "$port" "$T/flooded" 2>/dev/null &
flood=$!
wait_for 10 test -e "$T/flooded"
ok 'a flood of silent connections passes' wait_for 30 job_stint j status
kill "$flood"

t_start j2 launch -d "$T/j" sleep 1
job_end j2 30
like 'a second program in the same directory is refused' "$JOB_STATUS" '^(1|75)$'
like '... and told why' "$(cat "$T/j2.err")" '^stint: .*runs there already'
ok 'the first is not disturbed' job_checkpoint j

fails 'a second coordinator is refused' 75 as stint coordinator -d "$T/j"
job_stint j status --json >"$T/s.json"
kill -STOP "$(sed -n 's/^    "pid": \([0-9]*\),*/\1/p; s/^  "pid": \([0-9]*\),*/\1/p' "$T/s.json" |
    head -n 1)"
fails 'a coordinator that hangs does not hang the command' 75 job_checkpoint j --timeout 2
kill -CONT "$(sed -n 's/^  "pid": \([0-9]*\),*/\1/p' "$T/s.json" | head -n 1)"
ok 'it goes on' job_checkpoint j
job_go j
job_end j
is 'exit status' "$JOB_STATUS" 0
ok 'the directory is released' wait_for 10 test ! -e "$T/j/coordinator.yaml"
rm -rf "$T/j"

# The agent is killed: nothing is left waiting.
job_launch k sh "$PROGRAMS/job.sh"
job_ready k || job_diag k
ok 'a checkpoint' job_checkpoint k
job_stint k status --json >"$T/s.json"
agent=$(sed -n 's/^      "pid": \([0-9]*\),*/\1/p' "$T/s.json")
coordinator=$(sed -n 's/^  "pid": \([0-9]*\),*/\1/p' "$T/s.json")
kill -9 "$agent"
ended() {
    ! kill -0 "$coordinator" 2>/dev/null
}
ok 'kill -9 of the agent ends its coordinator' wait_for 15 ended
like 'the checkpoint stays' "$(job_stint k list)" '^\* +1 '
ok '... whole' job_stint k verify
done_testing
