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

# A folder for MODULEPATH with our modulefiles, as installed but for where things are.
d_modules() { # tcl|lua
    rm -rf "$T/modules"
    for d_module in dmtcp nersc_cr; do
        d_dir=$T/modules/$d_module
        mkdir -p "$d_dir"
        sed "s,@bindir@,$D_BIN,; s,@root@,${D_BIN%/bin}/root,; s,@functions@,${D_BIN%/bin}/job-functions.sh,
            s,@includedir@,$T_ROOT/runtime/include,; s,@version@,1.0,g" \
            "$T_ROOT/coordinator/dmtcp/modulefiles/$d_module.$1.in" \
            >"$d_dir/1.0$([ "$1" = tcl ] || echo .lua)"
    done
    echo '#%Module1.0' >"$T/modules/system"
}

# What the modules do; RUN runs a command in a bash of its own that has `module`.
# shellcheck disable=SC2016 # for the inner shell
d_module_checks() { # RUN
    is '  DMTCP_ROOT has the commands, and is not on PATH' \
        "$("$1" 'module load dmtcp; test -x $DMTCP_ROOT/bin/dmtcp_launch && echo ${PATH%%:*}; type -P bash')" \
        "$D_BIN
$(PATH=/usr/local/bin:/usr/bin:/bin command -v bash)"
    is '  start_coordinator is a function: its variables reach the shell' \
        "$("$1" 'module load dmtcp; start_coordinator -i 7; test $DMTCP_COORD_PORT -gt 0 &&
            ./dmtcp_command.6 -s | grep INTERVAL; dmtcp_command -q')" \
        'Starting DMTCP coordinator for job 6
  CKPT_INTERVAL=7'
    is '  eval works, too' \
        "$("$1" 'module load dmtcp; eval "$(start_coordinator -i 8)"; test $DMTCP_COORD_PORT -gt 0 &&
            ./dmtcp_command.6 -s | grep INTERVAL; dmtcp_command -q')" \
        'Starting DMTCP coordinator for job 6
  CKPT_INTERVAL=8'
    is "  nersc_cr has NERSC's functions" \
        "$("$1" 'module load dmtcp nersc_cr; type -t start_coordinator restart_count requeue_job \
            func_trap ckpt_dmtcp parse_job restart_job | sort | uniq -c | xargs
            SLURM_RESTART_COUNT=3; [[ $(restart_count) == 3 ]] && echo $(restart_count)')" \
        '7 function
3'
    is '  and takes them with it' \
        "$("$1" 'module load dmtcp nersc_cr; module unload nersc_cr dmtcp; type -t requeue_job \
            restart_count; type -P dmtcp_launch; echo gone')" 'gone'
}
