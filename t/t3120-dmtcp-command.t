#!/bin/sh
# dmtcp_command on a coordinator with something to do; who else may.
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
. "${0%/*}/lib.sh"
. "$T_DIR/dmtcp.sh"
d_coordinator

json() {
    dmtcp_command --json "$@" 2>"$T/json.err"
}
head="{\"schema_version\":1,\"command\":"
host="\"coordinator_host\":\"localhost\",\"coordinator_port\":$DMTCP_COORD_PORT"

# --- nothing runs -----------------------------------------------------------------
is '--status of nothing' "$(json --status)" \
    "$head\"DMT_STATUS\",\"command_status\":\"DMT_COORD_SUCCESS\",$host,\"num_peers\":0,\"running\":false,\"checkpoint_interval\":0}"
for c in -c -bc -kc; do
    fails "$c of nothing" 2 dmtcp_command $c
    like "  --json" "$(json $c)" '"command_status":"DMT_COORD_NOT_RUNNING"'
    is "  nothing on standard error" "$(cat "$T/json.err")" ''
done
ok '--kill of nothing' dmtcp_command --kill

# --- something runs -------------------------------------------------------------------
d_start prog dmtcp_launch "$COUNT" "$T/work/n" 0 2
ok 'three processes' d_wait_peers 3
is '--status' "$(json --status)" \
    "$head\"DMT_STATUS\",\"command_status\":\"DMT_COORD_SUCCESS\",$host,\"num_peers\":3,\"running\":true,\"checkpoint_interval\":0}"
like '-s for people' "$(dmtcp_command -s)" 'NUM_PEERS=3'
like '  RUNNING' "$(dmtcp_command s)" 'RUNNING=yes'
is '-l: a line for each process' "$(dmtcp_command -l | grep -c '^[1-3], dmtcp-count\[[0-9]*:[0-9]*\]@[^,]*, [0-9a-f]*-[0-9]*-[0-9a-f]*, RUNNING$')" 3
like '--list --json' "$(json --list)" '"workers":"#, PROG.*\\n1, dmtcp-count\['
ok '--bcheckpoint' dmtcp_command --bcheckpoint
is '  the files are there when it returns' "$(ls ckpt_dmtcp-count_*.dmtcp | wc -l)" 3
ok '  with all the data' sh -c "stint verify ckpt_*_files"
ok '  and a script' test -x dmtcp_restart_script.sh
is '--bcheckpoint --json' "$(json -bc | sed 's/,"message.*//')" \
    "$head\"DMT_BLOCKING_CKPT\",\"command_status\":\"DMT_COORD_SUCCESS\",$host,\"num_peers\":3,\"running\":true,\"checkpoint_interval\":0"
rm -f ckpt_*.dmtcp
ok '--checkpoint' dmtcp_command --checkpoint
ok '  comes' wait_for 20 sh -c 'ls ckpt_*.dmtcp'
ok 'c --quiet' dmtcp_command --quiet c
ok 'i 30' dmtcp_command i 30
like '  --json' "$(json -i 31)" '"command":"DMT_UPDATE_CKPT_INTERVAL","command_status":"DMT_COORD_SUCCESS".*"checkpoint_interval":31'
ok 'i9' dmtcp_command i9
like '  is in force' "$(dmtcp_command -s)" 'CKPT_INTERVAL=9$'
dmtcp_command -i 0

# --- from elsewhere -----------------------------------------------------------------------
for h in localhost 127.0.0.1 "$(hostname)"; do
    ok "-h $h -p N" env -u DMTCP_COORD_PORT dmtcp_command -h "$h" -p "$DMTCP_COORD_PORT" -s
done
ok 'DMTCP_COORD_HOST' env DMTCP_COORD_HOST="$(hostname)" dmtcp_command -s
address=$(hostname -I 2>/dev/null | tr ' ' '\n' | head -n 1)
if [ -n "$address" ]; then
    ok "-h $address" dmtcp_command -h "$address" -s
fi
if is_root; then
    refused=$(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent \
        dmtcp_command -p "$DMTCP_COORD_PORT" -s 2>&1)
    like 'another user is refused' "$refused" "no coordinator of yours"
    refused=$(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent \
        dmtcp_command -p "$DMTCP_COORD_PORT" --json -k 2>&1)
    like '  --json' "$refused" '"DMT_COORD_NOT_FOUND"'
    refused=$(cd /tmp && setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent \
        timeout 20 dmtcp_launch -p "$DMTCP_COORD_PORT" true 2>&1)
    like '  cannot join, and is told' "$refused" "port $DMTCP_COORD_PORT is taken"
    ok '  nothing happened to the programs' d_peers 3
fi
fails 'a wrong port' 2 dmtcp_command -p 1 -s
like '  and says so' "$(dmtcp_command -p 1 -s 2>&1)" 'no coordinator on localhost, port 1'

# --- a process ends -------------------------------------------------------------------------
child=$(dmtcp_command -l | sed -n 's/^3, .*:\([0-9]*\)\]@.*/\1/p')
kill -9 "$child"
ok 'one that was killed leaves' d_wait_peers 2
ok 'the next checkpoint' dmtcp_command -bc
is '  has no file of it' "$(ls ckpt_dmtcp-count_*.dmtcp | wc -l)" 2

# --- ends ---------------------------------------------------------------------------------------
ok '--kcheckpoint' dmtcp_command --kcheckpoint
is '  the program ends' "$(d_status prog)" 75
like '  and says how to go on' "$(cat "$T/prog.err")" 'dmtcp_restart_script.sh'
ok '  nothing is left' d_empty
d_start prog dmtcp_launch "$COUNT" "$T/work/n"
d_wait_peers 1
ok '--kill' dmtcp_command --kill
ok '  the program ends' test "$(d_status prog)" != none
ok '  the coordinator stays' dmtcp_command -s
d_start prog dmtcp_launch "$COUNT" "$T/work/n"
d_wait_peers 1
pids=$(dmtcp_command -l | sed -n 's/^[0-9]*, .*:\([0-9]*\)\]@.*/\1/p')
ok '--quit' dmtcp_command --quit
ok '  the program ends' test "$(d_status prog)" != none
fails '  and the coordinator' 2 dmtcp_command -s
for pid in $pids; do
    ok '  no process is left, not even a zombie' test ! -e "/proc/$pid"
done
d_finish
