#!/bin/sh
# What a batch script uses: the module, start_coordinator in its three forms.
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
. "${0%/*}/lib.sh"
. "$T_DIR/dmtcp.sh"

# --- the modulefile, under whatever is installed -------------------------------------
module_dir() { # SUFFIX: a folder for MODULEPATH with our modulefile, made for the stage
    mkdir -p "$T/modules/dmtcp"
    rm -f "$T"/modules/dmtcp/*
    sed "s,@bindir@,$D_BIN,; s,@root@,${D_BIN%/bin},; s,@includedir@,$T_ROOT/runtime/include,; s,@version@,1.0,g" \
        "$T_ROOT/coordinator/dmtcp/modulefiles/dmtcp.$1.in" >"$T/modules/dmtcp/1.0${2:-}"
    echo '#%Module1.0' >"$T/modules/system"
}
in_module() { # INIT COMMAND: in a bash that has no commands of ours on PATH yet
    env -i HOME="$HOME" PATH=/usr/local/bin:/usr/bin:/bin MODULEPATH="$T/modules" \
        bash -c ". $1 >/dev/null 2>&1; MODULEPATH=$T/modules; $2" 2>&1
}
lmod=/usr/share/lmod/lmod/init/bash
for kind in tcl lua; do
    if [ ! -e "$lmod" ]; then
        skip "Lmod, $kind" 'lmod is not installed'
        continue
    fi
    module_dir "$kind" "$([ "$kind" = tcl ] || echo .lua)"
    # shellcheck disable=SC2016 # for the inner shell
    is "Lmod, $kind: ml system dmtcp" "$(in_module $lmod 'ml system dmtcp; command -v dmtcp_launch; echo $DMTCP_ROOT')" \
        "$D_BIN/dmtcp_launch
${D_BIN%/bin}"
    # shellcheck disable=SC2016 # for the inner shell
    like '  a program finds dmtcp.h' "$(in_module $lmod 'ml dmtcp; echo $CPATH')" "$T_ROOT/runtime/include"
    like '  ml unload' "$(in_module $lmod 'ml dmtcp; ml -dmtcp; command -v dmtcp_launch; echo gone')" '^gone$'
done
modulecmd=${T_MODULECMD:-$(ls /usr/lib/*/modulecmd.tcl 2>/dev/null | head -n 1)}
if [ -e "$modulecmd" ]; then
    module_dir tcl
    # shellcheck disable=SC2016 # for the inner shell
    is 'Tcl modules: module load dmtcp' \
        "$(in_module /dev/null 'eval "$(tclsh '"$modulecmd"' bash load system dmtcp)"; command -v dmtcp_launch')" \
        "$D_BIN/dmtcp_launch"
else
    skip 'Tcl modules: module load dmtcp' 'environment-modules is not installed'
fi

# --- start_coordinator --------------------------------------------------------------------
SLURM_JOB_ID=$((900000 + $$ % 100000))
SLURM_CLUSTER_NAME=test
export SLURM_JOB_ID SLURM_CLUSTER_NAME
start_coordinator -i 60 >said
is 'as a command' "$(cat said)" "Starting DMTCP coordinator for job $SLURM_JOB_ID"
ok '  dmtcp_command.JOB is there' test -x "dmtcp_command.$SLURM_JOB_ID"
like '  and works from anywhere' "$(cd / && env -i HOME="$HOME" "$T/work/dmtcp_command.$SLURM_JOB_ID" -s)" 'CKPT_INTERVAL=60'
d_start prog dmtcp_launch "$COUNT" "$T/work/n"
ok '  dmtcp_launch finds it by the job' d_wait_peers 1
is '  dmtcp_command too' "$(dmtcp_command --json -s | sed 's/.*"coordinator_port":\([0-9]*\).*/\1/')" \
    "$(sed -n 's/.*DMTCP_COORD_PORT=//p' "dmtcp_command.$SLURM_JOB_ID")"
ok '  a checkpoint by the file' "./dmtcp_command.$SLURM_JOB_ID" -kc
d_status prog >/dev/null
start_coordinator >said
d_start prog dmtcp_restart ckpt_*.dmtcp
ok '  and dmtcp_restart in the next' d_wait_peers 1
"./dmtcp_command.$SLURM_JOB_ID" --quit
d_status prog >/dev/null

unset SLURM_JOB_ID
# shellcheck disable=SC2016 # for the inner shell
is 'sourced: the environment has host and port' \
    "$(SLURM_JOB_ID=7 bash -c 'source start_coordinator -i 5 >said2; echo $DMTCP_COORD_HOST; dmtcp_command -s | grep INTERVAL; dmtcp_command -q; cat said2')" \
    "$(hostname)
  CKPT_INTERVAL=5
Starting DMTCP coordinator for job 7"
# shellcheck disable=SC2016 # for the inner shell
is 'evaluated' \
    "$(SLURM_JOB_ID=8 bash -c 'eval "$(start_coordinator -i 6)"; dmtcp_command -s | grep INTERVAL; dmtcp_command -q')" \
    'Starting DMTCP coordinator for job 8
  CKPT_INTERVAL=6'
# shellcheck disable=SC2016 # for the inner shell
is 'evaluated without quotes, by sh' \
    "$(SLURM_JOB_ID=9 sh -c 'eval $(start_coordinator); dmtcp_command -s | grep NUM; dmtcp_command -q')" \
    'Starting DMTCP coordinator for job 9
  NUM_PEERS=0'
like '--help' "$(start_coordinator --help)" 'usage: start_coordinator'
fails 'a wrong option' 1 start_coordinator --no-such-thing

# --- the tutorial's script without Slurm ------------------------------------------------------
SLURM_JOB_ID=10
export SLURM_JOB_ID
cat >job.sh <<'JOB'
#!/bin/bash
start_coordinator -i 1
if [[ -e dmtcp_restart_script.sh ]]; then
    ./dmtcp_restart_script.sh -h $DMTCP_COORD_HOST -p $DMTCP_COORD_PORT
else
    dmtcp_launch -j "$1" m 200
fi
JOB
sed -i 's/^start_coordinator/source start_coordinator/' job.sh
mkdir job
cd job || exit 1
d_start job bash ../job.sh "$COUNT"
ok 'a first job checkpoints' wait_for 30 test -e dmtcp_restart_script.sh
"./dmtcp_command.$SLURM_JOB_ID" -kc
is '  and is ended' "$(d_status job)" 75
d_start job bash ../job.sh "$COUNT"
is 'a second job finishes' "$(d_status job 60)" 0
is '  all of it, once' "$(sort -n m | uniq -c | awk '$1 != 1' | wc -l) $(tail -n 1 m)" '0 200'
d_finish
