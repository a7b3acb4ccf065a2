#!/bin/sh
# Restarts: by the glob, by the script, again and again, from elsewhere; and wrong choices.
# SPDX-License-Identifier: Apache-2.0
# timeout: 400
. "${0%/*}/lib.sh"
. "$T_DIR/dmtcp.sh"
d_coordinator

goes_on() { # DESCRIPTION FILE STOPPED-AT: the count goes on without a gap or a repetition
    if ! d_wait_peers "${4:-1}" || ! d_counts "$2"; then
        fail "$1" "$(cat "$T/prog.err"; tail -n 3 "$2")"
        return 1
    fi
    if awk '$1 != NR { exit 1 }' "$2"; then
        pass "$1"
    else
        fail "$1" "$(awk '$1 != NR { print NR ": " $1 }' "$2" | head -n 3)"
    fi
}

stop() { # checkpoint and end
    dmtcp_command -kc >"$T/stop.log" 2>&1 || { fail 'kc' "$(cat "$T/stop.log")"; return; }
    [ "$(d_status prog)" = 75 ] || fail 'the program ends with 75' "$(d_status prog)"
}

# --- ten in a row, by turns with the glob and the script ---------------------------------
d_start prog dmtcp_launch "$COUNT" "$T/work/n" 0 1
d_wait_peers 2
d_counts n
stop
for i in 1 2 3 4 5 6 7 8 9 10; do
    case $i in
    *[13579]) d_start prog dmtcp_restart ckpt_dmtcp-count_*.dmtcp ;;
    *) d_start prog ./dmtcp_restart_script.sh ;;
    esac
    goes_on "restart $i" n "" 2
    [ "$i" -eq 10 ] || stop
done

# --- a restart while it runs is refused ---------------------------------------------------
dmtcp_command -bc
fails 'a restart of what still runs' 1 dmtcp_restart ckpt_*.dmtcp
like '  says so' "$(dmtcp_restart ckpt_*.dmtcp 2>&1)" 'still run under this coordinator'
goes_on '  does not disturb it' n "" 2

# --- the directory is emptied ------------------------------------------------------------------
find . -mindepth 1 \( -name 'ckpt_*' -o -name 'dmtcp_*' \) -prune -exec rm -rf {} +
goes_on 'it does not need its files' n "" 2
ok 'the next checkpoint' dmtcp_command -bc
is '  makes them anew' "$(ls ckpt_*.dmtcp | wc -l) $(ls -d ckpt_*_files dmtcp_restart_script.sh | wc -l)" '2 2'
stop

# --- wrong choices -------------------------------------------------------------------------------
first=$(ls ckpt_*.dmtcp | head -n 1)
fails 'not all processes' 1 dmtcp_restart "$first"
like '  what to type' "$(dmtcp_restart "$first" 2>&1)" '1 of the 2 processes.*dmtcp_restart ckpt_\*_[0-9a-f]*-\*\.dmtcp'
fails 'no such file' 1 dmtcp_restart ckpt_nothing.dmtcp
like '  a glob without a match' "$(dmtcp_restart 'ckpt_x_*.dmtcp' 2>&1)" 'nothing has been checkpointed'
echo x >ckpt_other.dmtcp
like 'no image' "$(dmtcp_restart ckpt_other.dmtcp 2>&1)" 'is not a checkpoint of stint'
rm ckpt_other.dmtcp
mkdir other
cp "$first" other/
sed -i 's/"generation": [0-9]*/"generation": 1/' other/"$first"
like 'two checkpoints' "$(dmtcp_restart ckpt_*.dmtcp other/"$first" 2>&1)" 'is of checkpoint 1,.*dmtcp_restart_script.sh'
sed -i 's/"computation": "[0-9a-f]*"/"computation": "0123456789abcdef"/' other/"$first"
like 'two computations' "$(dmtcp_restart ckpt_*.dmtcp other/"$first" 2>&1)" 'images of two computations'
rm -r other
mv ckpt_*_files aside
like 'the data has gone' "$(dmtcp_restart ckpt_*.dmtcp 2>&1)" 'is not there any more'
mv aside "$(sed -n 's/.*"files": "\(.*\)",/\1/p' "$first")"
data=$(echo ckpt_*_files)
image=$(ls "$data"/gen-*/*dmtcp-count.img | tail -n 1)
cp "$image" image
printf X | dd of="$image" bs=1 seek=5000 conv=notrunc 2>/dev/null
fails 'a damaged image' 1 timeout 60 dmtcp_restart ckpt_*.dmtcp
ok '  the coordinator is not waiting' d_empty
cp image "$image"

# --- other ways to say it ---------------------------------------------------------------------------
d_start prog dmtcp_restart ckpt_*
goes_on 'a glob that catches the directory as well' n "" 2
stop
d_start prog dmtcp_restart "$data"
goes_on 'the directory with the data' n "" 2
stop
d_start prog dmtcp_restart .
goes_on 'the checkpoint directory' n "" 2
stop
mkdir -p deep/er
mv ckpt_* dmtcp_restart_script* deep/er/
d_start prog dmtcp_restart --restartdir deep
goes_on '--restartdir alone' n "" 2
stop
d_start prog dmtcp_restart --restartdir "$T/work/deep" $(cd deep/er && ls ckpt_*.dmtcp)
goes_on '--restartdir with names' n "" 2
rm -rf ckpt_* dmtcp_restart_script*
stop
mv ckpt_* dmtcp_restart_script* "$T/home/"
d_start prog dmtcp_restart --ckptdir "$T/work/later" "$T"/home/ckpt_*.dmtcp
goes_on '--ckptdir, from a directory that was moved' n "" 2
stop
is '  later images are there' "$(ls later/ckpt_*.dmtcp | wc -l)" 2
d_start prog later/dmtcp_restart_script.sh --interval 3600 --debug-restart-pause 1 -q
goes_on 'the script with options' n "" 2
like '  the interval is set' "$(dmtcp_command -s)" 'CKPT_INTERVAL=3600'
stop
dmtcp_command -q
like 'the script: help' "$(later/dmtcp_restart_script.sh --help)" '--hostfile'
fails 'the script: a wrong option' 2 later/dmtcp_restart_script.sh --nonsense
d_start prog dmtcp_restart --new-coordinator --port-file p later/ckpt_*.dmtcp
wait_for 20 test -s p
DMTCP_COORD_PORT=$(cat p)
goes_on '--new-coordinator' n "" 2
like '  the interval comes along' "$(dmtcp_command -s)" 'CKPT_INTERVAL=3600'
touch n.stop
is 'the exit status is the program'\''s' "$(d_status prog)" 7
rm n.stop
fails '-j without a coordinator' 1 dmtcp_restart -j -p 1 later/ckpt_*.dmtcp

# --- unique names ---------------------------------------------------------------------------------------
d_coordinator
mkdir unique
d_start prog dmtcp_launch --ckptdir unique --enable-unique-checkpoint-filenames "$COUNT" "$T/work/u"
d_wait_peers 1
for i in 1 2 3; do
    dmtcp_command -bc
done
is 'unique names: all generations stay' "$(ls unique/ckpt_*.dmtcp | wc -l) $(ls -d unique/ckpt_*_files/gen-* | wc -l)" '3 3'
dmtcp_command -k
d_status prog >/dev/null
like 'a glob of all' "$(dmtcp_restart unique/ckpt_*.dmtcp 2>&1)" 'several checkpoints.*ckpt_\*_00003\.dmtcp'
d_start prog dmtcp_restart unique/ckpt_*_00002.dmtcp
goes_on 'an earlier one' u
dmtcp_command -q

# --- contents of open files ------------------------------------------------------------------------------
cat >files.py <<'PY'
import os, sys, time
scratch = open('scratch', 'r+b', buffering=0)
given = open('given', 'rb', buffering=0)
n = 0
while not os.path.exists('finish'):
    scratch.seek(0)
    if n and scratch.read(8) != b'%08d' % n:
        sys.exit(3)
    n += 1
    scratch.seek(0)
    scratch.write(b'%08d' % n)
    time.sleep(0.05)
sys.exit(0 if given.read() == b'x' * 20000000 else 4)
PY
files_start() { # COMMAND...
    d_coordinator
    rm -f dmtcp_restart_script.sh ckpt_*.dmtcp
    head -c 20000000 /dev/zero | tr '\0' x >given
    head -c 1000000 /dev/zero >scratch
    d_start prog env STINT_SAVE_OPEN_FILES=1k "$@" python3 files.py
    d_wait_peers 1
    wait_for 20 grep -q '^000000[1-9]' scratch
}
files_start dmtcp_launch
dmtcp_command -kc
d_status prog >/dev/null
like 'a file beyond the limit: a warning' "$(cat "$T/prog.err")" 'changes .*scratch in place: .*STINT_SAVE_OPEN_FILES'
: >"$T/prog.err"
files_start dmtcp_launch --ckpt-open-files --allow-file-overwrite
for i in 1 2; do
    dmtcp_command -kc
    is "--ckpt-open-files $i: the program is ended" "$(d_status prog)" 75
    rm given
    head -c 1000000 /dev/zero >scratch
    d_start prog ./dmtcp_restart_script.sh -q
    d_wait_peers 1
done
: >finish
is '  what it had changed is back, and what was gone' "$(d_status prog)" 0
is '  no warning' "$(grep -c STINT_SAVE_OPEN_FILES "$T/prog.err")" 0
dmtcp_command -q
d_finish
