#!/bin/sh
# The coordinator: console, daemon, files, limits of time.
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
. "${0%/*}/lib.sh"
. "$T_DIR/dmtcp.sh"

# --- console: keys through a FIFO, as a person would type them --------------------------
mkfifo keys
d_start console sh -c 'exec dmtcp_coordinator -p 0 --port-file console.port --status-file console.status <keys'
exec 3>keys
ok 'the port stands in the file within seconds' wait_for 10 test -s console.port
DMTCP_COORD_PORT=$(cat console.port)
export DMTCP_COORD_PORT
is 'status file' "$(cat console.status)" "Host: $(hostname)
Port: $DMTCP_COORD_PORT
PID: $(sed -n 's/^pid: //p' "$HOME"/.stint/dmtcp/*/coordinator.yaml)"
d_start prog dmtcp_launch "$COUNT" "$T/work/n" 0 1
ok 'two processes run' d_wait_peers 2

key() { # KEY PATTERN DESCRIPTION: type it and wait for an answer
    : >"$T/console.out"
    echo "$1" >&3
    if wait_for 20 grep -Eq -- "$2" "$T/console.out"; then
        pass "$3"
    else
        fail "$3" "$(cat "$T/console.out")"
    fi
}
key '?' 'COMMANDS:' '? shows the keys'
key 's' 'NUM_PEERS=2' 's shows the status'
like '  with RUNNING' "$(cat "$T/console.out")" 'RUNNING=yes'
key 'l' '^1, dmtcp-count\[[0-9]+:[0-9]+\]@' 'l lists the processes'
like '  all of them' "$(cat "$T/console.out")" '^2, dmtcp-count'
key 'i' 'disabled' 'i shows the interval'
key 'i 3600' 'every 1 h' 'i N sets it'
key 'i' '3600' '  and i shows it'
key 'i0' 'only on request' 'i0 too'
key 'c' 'generation 1 committed' 'c makes a checkpoint'
is '  a file for each process' "$(ls ckpt_dmtcp-count_*.dmtcp | wc -l)" 2
key 'bc' 'generation 2 committed' 'bc makes one'
key 'x' "unhandled command: 'x'" 'another key'
key 'kc' 'generation 3 committed' 'kc makes one'
is '  and ends the programs' "$(d_status prog)" 75
ok '  the coordinator stays' d_empty
d_start prog dmtcp_launch "$COUNT" "$T/work/n"
d_wait_peers 1
key 'k' 'ended' 'k ends the programs'
ok '  they are gone' test "$(d_status prog)" != none
ok '  the coordinator stays' d_empty
d_start prog dmtcp_launch "$COUNT" "$T/work/n"
d_wait_peers 1
echo q >&3
is 'q ends the coordinator' "$(d_status console)" 0
ok '  and the programs' test "$(d_status prog)" != none
exec 3>&-
rm -f n ckpt_*.dmtcp

# --- input at its end ----------------------------------------------------------------------
rm -f console.port
d_start eof dmtcp_coordinator -p 0 --port-file console.port
wait_for 10 test -s console.port
DMTCP_COORD_PORT=$(cat console.port)
ok 'without input it serves' dmtcp_command --status
ok 'quit' dmtcp_command --quit
is '  and it ends' "$(d_status eof)" 0

# --- daemon ----------------------------------------------------------------------------------
d_coordinator
fails 'a port that is taken' 1 dmtcp_coordinator --daemon -p "$DMTCP_COORD_PORT"
like '  and says so' "$(dmtcp_coordinator "$DMTCP_COORD_PORT" 2>&1 </dev/null)" \
    "port $DMTCP_COORD_PORT is taken"
fails 'by --new-coordinator' 1 dmtcp_launch --new-coordinator -p "$DMTCP_COORD_PORT" true
dmtcp_command -q
port=$DMTCP_COORD_PORT
ok 'the port as an argument' dmtcp_coordinator --daemon -q "$port"
ok '  is the port' dmtcp_command -p "$port" -s
dmtcp_command -p "$port" -q

# --- ends by itself -----------------------------------------------------------------------------
d_coordinator --exit-on-last
dir=$(echo "$HOME"/.stint/dmtcp/*-"$DMTCP_COORD_PORT")
dmtcp_launch true
ok '--exit-on-last' wait_for 10 test ! -e "$dir/coordinator.yaml"
d_coordinator --timeout 5
dir=$(echo "$HOME"/.stint/dmtcp/*-"$DMTCP_COORD_PORT")
d_start prog dmtcp_launch -j "$COUNT" "$T/work/n"
ok '--timeout' wait_for 30 test ! -e "$dir/coordinator.yaml"
ok '  ends the programs too' test "$(d_status prog)" != none
d_coordinator --stale-timeout 1
dir=$(echo "$HOME"/.stint/dmtcp/*-"$DMTCP_COORD_PORT")
ok '--stale-timeout' wait_for 10 test ! -e "$dir/coordinator.yaml"
d_coordinator --kill-after-ckpt --ckptdir "$T/work/kac" --coord-logfile "$T/work/co.log"
d_start prog dmtcp_launch "$COUNT" "$T/work/n"
d_wait_peers 1
ok 'a checkpoint' dmtcp_command -bc
is '  ends the programs with --kill-after-ckpt' "$(d_status prog)" 75
ok "  in the coordinator's --ckptdir" test -e kac/dmtcp_restart_script.sh
ok '  --coord-logfile' test -e co.log
dmtcp_command -q

# --- interval -------------------------------------------------------------------------------------
d_coordinator -i 1
d_start prog dmtcp_launch --ckptdir "$T/work/periodic" "$COUNT" "$T/work/n"
ok 'a checkpoint by itself' wait_for 20 test -e periodic/dmtcp_restart_script.sh
like 'CKPT_INTERVAL' "$(dmtcp_command -s)" 'CKPT_INTERVAL=1$'
ok 'dmtcp_command -i' dmtcp_command -i 0
like '  is shown' "$(dmtcp_command -s)" 'CKPT_INTERVAL=0 '
dmtcp_launch -i 77 true
like 'launch -i sets it' "$(dmtcp_command --json -s)" '"checkpoint_interval":77'
dmtcp_command -k
d_finish
