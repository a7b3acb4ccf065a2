# Shell library of the tests of DMTCP's commands.
# SPDX-License-Identifier: Apache-2.0
#
# Sourced after lib.sh. Each test has a home of its own, and works in $T/work. The program
# $COUNT FILE counts up in FILE until FILE.stop is there.

COUNT=$PROGRAMS/dmtcp-count
D_BIN=$T_STAGE/coordinator/dmtcp/bin
PATH=$D_BIN:$PATH
HOME=$T/home
mkdir -p "$HOME" "$T/work"
chmod 755 "$HOME" "$T/work"
cd "$T/work" || exit 1
unset DMTCP_COORD_HOST DMTCP_COORD_PORT DMTCP_CHECKPOINT_DIR DMTCP_CHECKPOINT_INTERVAL
unset DMTCP_QUIET DMTCP_GZIP SLURM_JOB_ID SLURM_JOBID SLURM_CLUSTER_NAME
export HOME PATH

# Every coordinator that this test has left, and what runs under it.
d_stop() {
    for d_dir in "$HOME"/.stint/dmtcp/*-[0-9]*; do
        [ -d "$d_dir" ] || continue
        timeout 60 dmtcp_command -p "${d_dir##*-}" --quit >/dev/null 2>&1
        d_wait_gone "$d_dir"
    done
}

d_wait_gone() { # DIR: its coordinator has ended
    wait_for 20 sh -c "! fuser -s '$1/lock' 2>/dev/null; ! [ -e '$1/coordinator.yaml' ]"
}

d_finish() {
    d_stop
    wait
    cd /
    done_testing
}

d_cleanup() {
    d_stop
    for d_pid in ${D_PIDS:-}; do
        kill -9 "$d_pid" 2>/dev/null
    done
    cd /
    t_cleanup
}
trap d_cleanup EXIT
D_PIDS=''

# Start a coordinator as a daemon on a free port; sets DMTCP_COORD_PORT.
d_coordinator() { # [OPTION...]
    rm -f "$T/port"
    dmtcp_coordinator --daemon -q -p 0 --port-file "$T/port" "$@" || return 1
    DMTCP_COORD_PORT=$(cat "$T/port")
    export DMTCP_COORD_PORT
}

# Run something in the background: D_PID; what it says in $T/NAME.out and .err, its
# exit status, when it ends, in $T/NAME.status.
d_start() { # NAME COMMAND...
    d_name=$1
    shift
    rm -f "$T/$d_name.status"
    (
        trap - EXIT HUP INT TERM
        d_status=0
        "$@" || d_status=$?
        echo "$d_status" >"$T/$d_name.status.new"
        mv "$T/$d_name.status.new" "$T/$d_name.status"
    ) </dev/null >>"$T/$d_name.out" 2>>"$T/$d_name.err" &
    D_PID=$!
    D_PIDS="$D_PIDS $D_PID"
}

d_status() { # NAME [SECONDS]: of its end; "none" when it does not end
    wait_for "${2:-30}" test -e "$T/$1.status" || { echo none; return; }
    cat "$T/$1.status"
}

d_peers() { # N: so many processes, all running
    dmtcp_command --json --status | grep -q "\"num_peers\":$1,\"running\":true"
}

d_wait_peers() { # N [SECONDS]
    wait_for "${2:-30}" d_peers "$1"
}

d_empty() { # no process is left
    dmtcp_command --json --status | grep -q '"num_peers":0,'
}

d_line() { # FILE: its last line, a number
    tail -n 1 "$1" 2>/dev/null
}

d_counts() { # FILE: it goes on
    d_before=$(d_line "$1")
    wait_for 20 sh -c "[ \"\$(tail -n 1 '$1')\" != '$d_before' ]"
}
