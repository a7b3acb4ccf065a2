#!/bin/sh
# What goes wrong gets one clear line and a status, and no program suffers.
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
. "${0%/*}/lib.sh"
. "$T_DIR/dmtcp.sh"

says() { # DESCRIPTION STATUS PATTERN COMMAND...
    s_desc=$1
    s_want=$2
    s_pattern=$3
    shift 3
    s_status=0
    s_text=$("$@" 2>&1 </dev/null) || s_status=$?
    is "$s_desc" "$s_status" "$s_want"
    like '  and says so' "$s_text" "$s_pattern"
    is '  in one line' "$(printf '%s\n' "$s_text" | wc -l)" 1
}

says 'launch -j without a coordinator' 1 'no coordinator on localhost, port 1$' dmtcp_launch -j -p 1 true
says 'command without one' 2 'no coordinator on localhost, port 1$' dmtcp_command -p 1 -bc
says 'a host that is none' 1 'no coordinator on nowhere\.invalid' dmtcp_launch -h nowhere.invalid true
says 'restart -j without one' 1 'there is no file' dmtcp_restart -j -p 1 'ckpt_*.dmtcp'

# --- the port is somebody else's -----------------------------------------------------
python3 -c '
import socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
open("other.port", "w").write(str(s.getsockname()[1])); time.sleep(100)' &
other=$!
D_PIDS="$D_PIDS $other"
wait_for 60 test -s other.port
port=$(cat other.port)
says 'a port of another program: launch' 1 "port $port is taken" dmtcp_launch -p "$port" true
says 'a port of another program: command' 2 "port $port of localhost is no coordinator of yours" \
    dmtcp_command -p "$port" -s
says 'a port of another program: coordinator' 1 "port $port is taken" dmtcp_coordinator --daemon -p "$port"
kill "$other"

# --- directories ----------------------------------------------------------------------------
: >file
says 'a checkpoint directory that cannot be' 1 'make directory .*file/ckpt' \
    dmtcp_launch -p 0 --ckptdir "$T/work/file/ckpt" true
says 'likewise for the coordinator' 1 'make directory' dmtcp_coordinator --daemon -p 0 --ckptdir file/x
d_coordinator
d_start prog dmtcp_launch --ckptdir gone "$COUNT" "$T/work/n"
d_wait_peers 1
rmdir gone
: >gone
says 'one that has become a file: checkpoint' 2 'gone' dmtcp_command -bc
ok '  the program runs on' d_counts n
rm gone
ok '  when it is mended: checkpoint' dmtcp_command -bc
ok '  is there' test -e gone/dmtcp_restart_script.sh
if is_root; then
    mkdir -m 755 mine
    # shellcheck disable=SC2016 # for the inner shell
    says 'not writable, as a user' 1 'write to the checkpoint directory' \
        setpriv --reuid="$T_USER" --regid="$T_USER" --clear-groups env HOME="$T" \
        dmtcp_launch -p 0 --ckptdir "$T/work/mine" true
fi

# --- the coordinator is killed --------------------------------------------------------------
dir=$(echo "$HOME"/.stint/dmtcp/*-"$DMTCP_COORD_PORT")
kill -9 "$(sed -n 's/^pid: //p' "$dir/coordinator.yaml")"
wait_for 10 sh -c "! dmtcp_command -s"
says 'the coordinator was killed' 2 'no coordinator on localhost' dmtcp_command -s
ok '  the program runs on' d_counts n
ok '  another at the same port' dmtcp_coordinator --daemon -q -p "$DMTCP_COORD_PORT"
ok '  gets the program back' d_wait_peers 1 30
ok '  and checkpoints it' dmtcp_command -bc
is '  in its directory' "$(ls gone/ckpt_*.dmtcp | wc -l)" 1
dmtcp_command -k
d_status prog >/dev/null
d_start prog dmtcp_restart gone/ckpt_*.dmtcp
ok '  which restarts' d_wait_peers 1

# --- launched twice, killed from outside ------------------------------------------------------
d_start second dmtcp_launch sleep 1000
d_wait_peers 2
kill -9 "$(dmtcp_command -l | sed -n 's/^[0-9]*, sleep\[[0-9]*:\([0-9]*\)\].*/\1/p')"
is 'a program that was killed' "$(d_status second)" 137
ok '  leaves' d_wait_peers 1
d_start second dmtcp_launch sleep 1000
d_wait_peers 2
kill -TERM "$(pgrep -P "$D_PID" | head -n 1)"
is 'SIGTERM to dmtcp_launch goes to the program' "$(d_status second)" 143
dmtcp_command -q

# --- DMTCP itself, and stint --------------------------------------------------------------------
like 'DMTCP itself is loaded' \
    "$(LD_PRELOAD=/nowhere/libdmtcp.so dmtcp_launch true 2>&1)" 'DMTCP itself is loaded here'
mkdir real
printf '#!/bin/sh\necho real "$@"\n' >real/dmtcp_launch
chmod +x real/dmtcp_launch
like '  its command takes over' "$(PATH=$PATH:$T/work/real LD_PRELOAD=/nowhere/libdmtcp.so \
    dmtcp_launch -i 5 x 2>/dev/null)" '^real -i 5 x$'
# shellcheck disable=SC2034 # used by the library
if command -v cc >/dev/null; then
    echo 'int nothing_of_dmtcp;' | cc -shared -fPIC -o libdmtcp.so -x c -
    d_start real stint launch -d "$T/work/rd" env LD_PRELOAD="$T/work/libdmtcp.so" sleep 30
    wait_for 20 pgrep -P "$(pgrep -P "$D_PID" | head -n 1)" sleep
    like 'a program of DMTCP itself under stint' "$(stint checkpoint "$T/work/rd" 2>&1)" \
        'runs under DMTCP itself'
    kill "$(pgrep -P "$D_PID" | head -n 1)"
    d_status real >/dev/null
fi
like 'under stint' "$(stint launch -d "$T/work/ck" dmtcp_launch echo ran 2>&1)" 'runs under stint already'
like '  the command runs' "$(stint launch -d "$T/work/ck" dmtcp_launch echo ran 2>/dev/null)" '^ran$'
d_finish
