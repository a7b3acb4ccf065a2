#!/bin/sh
# What a batch script uses: the module, start_coordinator in its three forms.
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
. "${0%/*}/lib.sh"
. "$T_DIR/dmtcp.sh"

# --- the modulefiles, as Tcl modules (t3190: under Lmod) ------------------------------------
modulecmd=${T_MODULECMD:-$(ls /usr/lib/*/modulecmd.tcl 2>/dev/null | head -n 1)}
if [ -e "$modulecmd" ]; then
    d_modules tcl
    in_module() { # COMMAND: in a bash that has no commands of ours on PATH yet
        env -i HOME="$HOME" PATH=/usr/local/bin:/usr/bin:/bin MODULEPATH="$T/modules" SLURM_JOB_ID=6 \
            bash -c "module() { eval \"\$(tclsh $modulecmd bash \"\$@\")\"; }; $1" 2>&1
    }
    is 'Tcl modules: module load dmtcp' \
        "$(in_module 'module load system dmtcp; type -P dmtcp_launch')" "$D_BIN/dmtcp_launch"
    like '  a program finds dmtcp.h' "$(in_module 'module load dmtcp; echo $CPATH')" \
        "$T_ROOT/runtime/include"
    d_module_checks in_module
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
# shellcheck disable=SC2016 # for the inner shell
is 'sourced by a script that has arguments of its own' \
    "$(echo 'source start_coordinator; dmtcp_command -s | grep INTERVAL; dmtcp_command -q' >with-arguments
    SLURM_JOB_ID=9 bash with-arguments input.dat -x)" \
    'Starting DMTCP coordinator for job 9
  CKPT_INTERVAL=0 (checkpoint manually)'
like '--help' "$(start_coordinator --help)" 'usage: start_coordinator'
fails 'a wrong option' 1 start_coordinator --no-such-thing

# --- as TU Dresden's page has it ------------------------------------------------------------
DMTCP_ROOT=${D_BIN%/bin}/root
export DMTCP_ROOT
ok 'DMTCP_ROOT/bin/bash is no program' test ! -x "$DMTCP_ROOT/bin/bash"
for form in 'source $DMTCP_ROOT/bin/bash start_coordinator -i 60 --exit-after-ckpt' \
    'source $DMTCP_ROOT/bin/bash; start_coordinator -i 60 --exit-after-ckpt'; do
    cat >dresden.sh <<JOB
$form
dmtcp_command -s | grep INTERVAL
dmtcp_launch $COUNT $T/work/dresden
JOB
    rm -f dresden dresden.stop dmtcp_restart_script.sh ckpt_*.dmtcp
    d_start dresden env SLURM_JOB_ID=11 bash dresden.sh input.dat
    ok "$form" wait_for 30 test -s dresden
    ok '  a checkpoint' ./dmtcp_command.11 --bcheckpoint
    is '  ends the program' "$(d_status dresden)" 75
    ok '  there is what goes on' test -e dmtcp_restart_script.sh
    like '  interval and message' "$(cat "$T/dresden.out")" '^  CKPT_INTERVAL=60'
done
sed -i 's/^dmtcp_launch.*/.\/dmtcp_restart_script.sh -h $DMTCP_COORD_HOST -p $DMTCP_COORD_PORT/
    s/ -i 60 --exit-after-ckpt//' dresden.sh
d_start dresden env SLURM_JOB_ID=11 bash dresden.sh
ok '  and the next job goes on' d_counts dresden
./dmtcp_command.11 --quit
d_status dresden >/dev/null
unset DMTCP_ROOT

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
