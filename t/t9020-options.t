#!/bin/sh
# What sbatch, srun and salloc make of the options; jobs that do not ask see no change.
# timeout: 480
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

echo JobRequeue=0 >"$T/extra"
cluster_start 1 "$T/extra"

cat >"$T/run/look.sh" <<'END'
#!/bin/bash
env | grep -E 'STINT|SPANK|LD_PRELOAD|SBATCH_' | sed 's/=.*//' | sort | tr '\n' ' '
echo
scontrol show job "$SLURM_JOB_ID" | grep -o 'Requeue=.'
echo "mode $SLURM_OPEN_MODE"
tr '\0' '\n' </proc/$PPID/cmdline | sed 's,.*/,,; s/^/parent /; q'
echo "comm $(cat /proc/$$/comm), 0 is ${0##*/}, arguments $*"
grep -q libstint /proc/$$/maps && echo preloaded || echo untouched
END
sed "1a #SBATCH --checkpoint-interval=1-02:30" "$T/run/look.sh" >"$T/run/look-script.sh"
sed "1a #SBATCH --checkpoint-interval=5m --no-requeue\\n#SBATCH --open-mode=truncate" \
    "$T/run/look.sh" >"$T/run/look-no.sh"
chmod 755 "$T"/run/*.sh

plain='
Requeue=0
mode 
parent slurmstepd: [ID.batch]
comm slurm_script, 0 is slurm_script, arguments a b c
untouched'
under='LD_PRELOAD STINT_DIR STINT_JOB 
Requeue=1
mode a
parent stint-task
comm slurm_script, 0 is slurm_script, arguments a b c
preloaded'

look() { # DESCRIPTION WANTED OPTION... SCRIPT: what the script sees
    t_what=$1
    t_wanted=$2
    shift 2
    submit "$@" a 'b c'
    slurm_wait_end 60
    is "$t_what" "$(sed "s/\[$JOB\.batch\]/[ID.batch]/" "$T/run/out")" "$t_wanted" || { slurm_diag; false; }
}

look "a job that does not ask sees nothing" "$plain" look.sh
ok "and has no directory" test ! -e "$T/run/stint-checkpoints"
look "a word of the script's own is no option" "$(printf '%s' "$plain" |
    sed 's/arguments a/arguments --checkpoint-interval=5 a/')" look.sh --checkpoint-interval=5
look "--checkpoint-interval" "$under" --checkpoint-interval=60 look.sh
is "the directory is the user's alone" "$(stat -c %a "$CKPT")" 700
look "#SBATCH --checkpoint-interval" "$under" look-script.sh
look "an abbreviation" "$under" --checkpoint-int=1m look.sh
look "--export=NONE" "$under" --export=NONE --checkpoint-interval=60 look.sh
look "the user's --no-requeue and --open-mode stand (command line)" "$(printf '%s' "$under" |
    sed 's/Requeue=1/Requeue=0/; s/mode a/mode t/')" \
    --checkpoint-interval=60 --no-requeue --open-mode=truncate look.sh
look "the user's --no-requeue and --open-mode stand (script)" "$(printf '%s' "$under" |
    sed 's/Requeue=1/Requeue=0/; s/mode a/mode t/')" look-no.sh

is "SBATCH_CHECKPOINT_INTERVAL" "$(as_slurm env SBATCH_CHECKPOINT_INTERVAL=60 sbatch -Q -W \
    --output="$T/run/env.out" look.sh a 'b c'; sed -n '1s/SBATCH_[A-Z_]* //p;2p' "$T/run/env.out")" \
    "LD_PRELOAD STINT_DIR STINT_JOB 
Requeue=1"
is "Slurm's own variable" "$(as_slurm env \
    SLURM_SPANK__SLURM_SPANK_OPTION_stint_checkpoint_interval=60 sbatch -Q -W \
    --output="$T/run/env.out" look.sh a 'b c'; sed -n '2p;4p' "$T/run/env.out")" "Requeue=1
parent stint-task"

look "--checkpoint-dir" "$under" --checkpoint-interval=60 --checkpoint-dir=elsewhere look.sh
ok "is where the directory is" test -d "$T/run/elsewhere/$JOB"
is "and stint-slurm finds it" "$(as_slurm "$T_STAGE/spank/stint-slurm" dir "$JOB")" \
    "$(readlink -f "$T/run/elsewhere/$JOB")"

cat >"$T/run/save.sh" <<'END'
#!/bin/bash
#SBATCH --checkpoint-save-files=*.none:/else
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -Fxe "$PWD/*.none:/else" -e "$PWD/a:$PWD/b" | head -n 1
END
for how in --checkpoint-save-files=a:b ''; do
    submit --checkpoint-interval=60 $how save.sh
    slurm_wait_end 60
    is "${how:-#SBATCH --checkpoint-save-files}: the coordinator has it" "$(cat "$T/run/out")" \
        "$(cd "$T/run" && pwd -P)/$([ -z "$how" ] && echo '*.none:/else' || echo "a:$(cd "$T/run" && pwd -P)/b")"
done

for bad in abc -5 '' 1:99 1.5 99999999999; do
    is "--checkpoint-interval='$bad' is refused" \
        "$(as_slurm sbatch --checkpoint-interval="$bad" look.sh 2>&1 | grep -c 'stint: --checkpoint-interval')" 1
done
for command in sbatch salloc srun; do
    fails "$command refuses it" 255 as_slurm $command --checkpoint-interval=x ./look.sh
done
like "a bad value in the environment is refused, too" \
    "$(as_slurm env SBATCH_CHECKPOINT_INTERVAL=x sbatch look.sh 2>&1)" \
    'stint: --checkpoint-interval: .x. is no duration'
is "--checkpoint-keep=0 is refused" \
    "$(as_slurm sbatch --checkpoint-keep=0 look.sh 2>&1 | grep -c 'stint: --checkpoint-keep')" 1
is "--checkpoint-on-unsupported=maybe is refused" \
    "$(as_slurm sbatch --checkpoint-on-unsupported=maybe look.sh 2>&1 |
        grep -c 'stint: --checkpoint-on-unsupported')" 1
like "an option without effect is said to be one" \
    "$(as_slurm sbatch --checkpoint-keep=3 look.sh 2>&1)" \
    'stint: --checkpoint-keep has no effect without --checkpoint-interval'

cat >"$T/run/unsupported.sh" <<'END'
#!/bin/bash
mkfifo fifo && exec 9<>fifo && rm fifo
: >holds
until [ -e go ]; do sleep 0.1; done
END
for how in refuse ignore; do
    rm -f "$T/run/holds" "$T/run/go"
    submit --checkpoint-interval=1h --checkpoint-on-unsupported=$how unsupported.sh
    wait_for 60 test -e "$T/run/holds"
    if [ $how = refuse ]; then
        fails "--checkpoint-on-unsupported=refuse" 1 as_slurm stint checkpoint "$JOB"
    else
        ok "--checkpoint-on-unsupported=ignore" as_slurm stint checkpoint "$JOB"
        like "it says what it leaves out" "$(cat "$T/run/err")" 'descriptor 9: .* left out'
    fi
    : >"$T/run/go"
    slurm_wait_end 60
done

cat >"$T/run/element.sh" <<'END'
#!/bin/bash
until [ -e go ]; do sleep 0.1; done
END
chmod 755 "$T/run/element.sh"
rm -f "$T/run/go"
submit --checkpoint-interval=1h --array=7 element.sh
slurm_wait_run 1
ok "a task of an array is found by its name" wait_for 60 as_slurm stint checkpoint "${JOB}_7"
is "and by its number" "$(as_slurm stint list "${JOB}_7")" "$(as_slurm stint list "$JOB")"
: >"$T/run/go"
slurm_wait_end 60
# shellcheck disable=SC2016 # the step's
like "the job of a step is found by its number" "$(as_slurm srun --checkpoint-interval=60 \
    sh -c 'stint status $SLURM_JOB_ID')" 'running: +step on '

like "srun: a step of one task is an agent" \
    "$(as_slurm srun --checkpoint-interval=60 ./look.sh)" 'parent stint-task'
like "salloc: so is a step in its allocation" \
    "$(as_slurm salloc -Q --checkpoint-interval=60 srun ./look.sh)" 'parent stint-task'
like "several tasks run plainly, and are told so" \
    "$(as_slurm srun -n2 --checkpoint-interval=60 ./look.sh 2>&1 | tr '\n' ' ')" \
    'stint: steps of several tasks are not checkpointed yet.*parent slurmstepd'
cat >"$T/run/steps.sh" <<'END'
#!/bin/bash
srun bash -c 'echo "step: ${LD_PRELOAD:-none}"; tr "\0" "\n" </proc/$PPID/cmdline | head -n 1'
END
submit --checkpoint-interval=60 steps.sh
slurm_wait_end 60
like "steps within a batch job are left alone" "$(tr '\n' ' ' <"$T/run/out")" \
    '^step: none slurmstepd'

sed -i "s,task=[^ ]*,task=$T/nowhere," "$T/cluster/plugstack.conf"
submit --checkpoint-interval=60 look.sh a 'b c'
slurm_wait_end 60
is "an agent that is missing fails no job" "$(slurm_field JobState)" COMPLETED
like "the job is told" "$(cat "$T/run/err")" 'stint: .*nowhere: .*without checkpoints'
is "no node was drained" "$(sinfo -h -t drain -o %N)" ""
[ "$T_FAILED" -eq 0 ] || slurm_diag
done_testing
