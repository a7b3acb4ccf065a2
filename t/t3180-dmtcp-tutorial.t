#!/bin/bash
# The tutorial of doc/from-dmtcp.md, typed block by block into two terminals.
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
. "${0%/*}/lib.sh"
. "$T_DIR/dmtcp.sh"
need tmux awk cc

# Programs as the page has them: they count on their standard output.
cat >count.c <<'C'
#include <stdio.h>
#include <unistd.h>
int main(void)
{
    for (int n = 1; n < 100000; n++) {
        printf("%d\n", n);
        fflush(stdout);
        usleep(100000);
    }
}
C
cc -o a.out count.c && cp a.out my.app && rm count.c

# A port and a job of its own; the rest of the environment is a user's.
python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])' >../free.port
SLURM_JOB_ID=$((800000 + $$ % 100000))
export SLURM_JOB_ID
DMTCP_COORD_PORT=$(cat ../free.port)
export DMTCP_COORD_PORT
cat >"$T/rc" <<RC
PS1='\$ '
PATH=/usr/local/bin:/usr/bin:/bin
ml() { PATH=$D_BIN:\$PATH; } # t3170 tries the modulefile itself
RC
tm() {
    tmux -S "$T/tmux" -f /dev/null "$@"
}
t_end() {
    tm kill-server 2>/dev/null
    d_cleanup
}
trap t_end EXIT
tm new-session -d -s t -x 150 -y 500 -n w1 "bash --rcfile $T/rc -i" || skip_all 'tmux does not start'
tm new-window -d -t t -n w2 "bash --rcfile $T/rc -i"

screen() { # TERMINAL
    tm capture-pane -p -J -t "t:w$1" 2>/dev/null | sed '/^$/d'
}
shows() { # TERMINAL PATTERN: since the mark that was printed last
    screen "$1" | grep -q -- "$2"
}

type_in() { # TERMINAL LINE
    tm send-keys -t "t:w$1" -l -- "$2"
    tm send-keys -t "t:w$1" Enter
}

# One line of a block: a command after "$ ", a key after "> ", else what is to be seen (a
# pattern of the shell).
run_line() { # TERMINAL LINE
    case $2 in
    '$ '*)
        case $2 in
        *start_coordinator*) # its port, not ours
            type_in "$1" 'unset DMTCP_COORD_PORT'
            wait_for 10 prompt "$1" ;;
        esac
        tm clear-history -t "t:w$1"
        tm send-keys -t "t:w$1" -R
        type_in "$1" "${2#\$ }"
        pass "terminal $1: ${2#\$ }"
        D_LAST=${2#\$ }
        # shellcheck disable=SC2254 # patterns
        case $D_LAST in
        'dmtcp_coordinator' | dmtcp_launch*[!\&] | dmtcp_restart*) ;; # they stay in front
        *) wait_for 30 prompt "$1" || fail "  ends" "$(screen "$1")" ;;
        esac ;;
    '> '*)
        type_in "$1" "${2#> }"
        pass "terminal $1: key ${2#> }"
        if [ "${2#> }" = q ]; then
            wait_for 30 prompt 1 && wait_for 30 prompt 2 || fail '  ends both' "$(screen 1; screen 2)"
        fi ;;
    *)
        D_PATTERN=$2
        wait_for 20 seen "$1" || fail "  shows $2" "$(screen "$1")" ;;
    esac
}
prompt() { # the shell waits for the next command
    [ "$(screen "$1" | tail -n 1)" = '$' ] || [ "$(screen "$1" | tail -n 1)" = '$ ' ]
}
seen() {
    d_text=$(screen "$1")
    # shellcheck disable=SC2254 # a pattern
    case $d_text in *$D_PATTERN*) return 0 ;; esac
    return 1
}

wait_for 20 prompt 1
wait_for 20 prompt 2
n=0
while IFS= read -r line; do
    case $line in
    WAIT*)
        n=$((n + 1))
        wait_for 40 bash -c "${line#WAIT }" || fail "waiting for: ${line#WAIT }" "$(screen 1; screen 2)" ;;
    *) run_line "${line%% *}" "${line#* }" ;;
    esac
done <<END
$(awk '
    /^<!-- wait: / { sub(/^<!-- wait: /, ""); sub(/ -->$/, ""); print "WAIT " $0 }
    /^```console / { terminal = $2; next }
    /^```/ { terminal = ""; next }
    terminal { print terminal " " $0 }' "$T_ROOT/doc/from-dmtcp.md")
END
ok 'the page has its blocks' test "$n" -ge 6

# A program of the foreground, restarted behind the shell: the shell keeps its terminal.
for w in 1 2; do
    tm clear-history -t "t:w$w"
    tm send-keys -t "t:w$w" -R
    type_in "$w" "export DMTCP_COORD_PORT=$DMTCP_COORD_PORT"
    wait_for 20 prompt "$w"
done
running() {
    dmtcp_command -s | grep -q RUNNING=yes
}
rm -rf ckpt_* dmtcp_restart_script*
type_in 1 'dmtcp_launch ./a.out >> out'
ok 'in front' wait_for 40 running
dmtcp_command --kcheckpoint >/dev/null 2>&1
wait_for 30 prompt 1
type_in 1 './dmtcp_restart_script.sh >> out &'
ok '  restarted in the background' wait_for 40 running
type_in 1 'echo still $((40 + 2))'
D_PATTERN='still 42'
ok '  the shell goes on' wait_for 20 seen 1
dmtcp_command --quit >/dev/null 2>&1
wait_for 20 prompt 2
is 'nothing is left running' "$(ps -eo args= | grep -c "[d]mtcp_.*$T")" 0
tm kill-server
d_finish
