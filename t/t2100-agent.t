# timeout: 300
# The agent by itself: it ends as its program ends, passes signals on, is not missed when
# it dies, and says by name what keeps a checkpoint from being made.
. "${0%/*}/lib.sh"

need cc pgrep

T_AS=user

# --- the end ------------------------------------------------------------------

ends() { # WHAT STATUS COMMAND...
    t_what=$1
    t_status=$2
    shift 2
    fails "$t_what" "$t_status" as stint launch -d "$T/e" -- "$@"
}

ends 'exit status 0' 0 true
ends 'exit status 7' 7 sh -c 'exit 7'
ends 'killed by SIGTERM' 143 sh -c 'kill -TERM $$'
ends 'killed by SIGKILL' 137 sh -c 'kill -KILL $$'
ends 'no such command' 127 "$T/none"
ends 'no command' 126 /etc/passwd
is 'says nothing' "$(as stint launch -d "$T/e" true 2>&1)" ''
is 'leaves nothing' "$(find "$T/e" -name coordinator.yaml; job_left e)" ''
is 'input and output are its own' "$(echo a b | as stint launch -d "$T/e" tr a-z A-Z)" 'A B'

# The agent is the parent, of orphans too, and reaps them.
cat >"$T/orphan.sh" <<'END'
sh -c 'sh -c "sleep 0.2; ps -o ppid= -p \$\$ >$0.new; mv $0.new $0" "$0" &' "$1"
until [ -e "$1" ]; do sleep 0.05; done
[ "$(tr -d ' ' <"$1")" -eq "$PPID" ]
END
ok 'is the parent of orphans' as stint launch -d "$T/e" sh "$T/orphan.sh" "$T/orphan"

agent_of() { # NAME: its process id
    pgrep -f "^stint launch -d $T/$1( |$)"
}

# --- signals --------------------------------------------------------------------

for signal in HUP USR1 USR2 TERM CONT WINCH 34; do
    rm -f "$T/s.out" "$T/s.up"
    t_start s launch -d "$T/s" bash -c "
        trap 'echo got; exit 5' $signal; : >'$T/s.up'; while :; do sleep 0.05; done"
    wait_for 20 test -e "$T/s.up"
    as kill -s "$signal" "$(agent_of s)"
    job_end s 20
    is "SIG$signal is passed on" "$JOB_STATUS $(cat "$T/s.out")" '5 got' || job_kill9 s
done

# --- not missed -------------------------------------------------------------------

reference k sh "$PROGRAMS/job.sh"
job_launch k sh "$PROGRAMS/job.sh"
if job_ready k; then
    agent=$(agent_of k)
    job_checkpoint k >/dev/null 2>&1 &
    asked=$!
    kill -9 "$agent"
    wait "$asked"
    ok 'killed in a checkpoint: the program goes on' job_alive k
    ok 'its coordinator ends' wait_for 20 test ! -e "$T/k/coordinator.yaml"
    job_go k
    ok 'and ends as it should' wait_for 30 cmp "$T/k.out" "$T/k.native"
fi
job_kill9 k

# --- what is in the way --------------------------------------------------------------

cat >"$T/wait.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void)
{
    FILE *up = fopen(getenv("UP"), "w");
    fclose(up);
    for (;;)
        pause();
}
END
cc -o "$T/dynamic" "$T/wait.c" && cc -static -o "$T/static" "$T/wait.c"
cp "$T/dynamic" "$T/srun"
UP=$T/up
export UP

in_the_way() { # WHAT STATUS REGEX COMMAND...: while it runs, a checkpoint fails so
    t_what=$1
    t_status=$2
    t_regex=$3
    shift 3
    rm -f "$UP"
    job_launch r "$@"
    wait_for 20 test -e "$UP"
    t_got=0
    job_checkpoint r >"$T/said" 2>&1 || t_got=$?
    case $t_what in srun | stopped) record_refusal "t2100-agent/$t_what" "$t_got" "$T/said" ;; esac
    is "$t_what: exit status" "$t_got" "$t_status"
    like "$t_what: says so" "$(cat "$T/said")" "$t_regex"
    is "$t_what: the program goes on" "$(test -e "$T/r.status"; echo $?)" 1
    job_kill9 r
    rm -rf "$T/r" "$T/r.out" "$T/r.err"
}

in_the_way static 1 'process [0-9]+ \(static\) is statically linked' "$T/static"
T_WRAP=$PROGRAMS/no_ptrace
in_the_way stopped 75 'process [0-9]+ \(dynamic\) is stopped' \
    sh -c "UP=$T/inner $T/dynamic & until [ -e $T/inner ]; do sleep 0.05; done; kill -STOP \$!
        until grep -q '^State:.T' /proc/\$!/status; do sleep 0.05; done; : >$UP; sleep 30"
T_WRAP=''
in_the_way srun 75 'srun is running' "$T/srun"
in_the_way 'a removed pipe' 1 'descriptor 9: the removed named pipe' \
    sh -c "mkfifo $T/gone; exec 9<>$T/gone; rm $T/gone; exec $T/dynamic"
if command -v strace >/dev/null; then
    in_the_way traced 75 'process [0-9]+ \(dynamic\) is traced by process' \
        strace -f -o /dev/null "$T/dynamic"
else
    skip traced 'no strace'
fi

# What does not stay in the way is waited for.
rm -f "$UP"
job_launch w sh -c "$T/srun & until [ -e $UP ]; do sleep 0.05; done; sleep 2; kill \$!; sleep 30"
wait_for 20 test -e "$UP"
ok 'an srun that ends is waited for' job_checkpoint w
job_kill9 w

# A pipe that was open before, to a process outside, does no harm.
mkfifo "$T/fifo"
sleep 30 >"$T/fifo" &
outside=$!
exec 8<"$T/fifo"
rm -f "$UP"
job_launch p "$T/dynamic"
wait_for 20 test -e "$UP"
ok 'a pipe that was open before is let through' job_checkpoint p
exec 8<&-
job_kill9 p
kill "$outside"

done_testing
