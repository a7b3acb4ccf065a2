#!/bin/sh
# job_container/tmpfs: the job has a /tmp and a /dev/shm of its own, new in every run.
# timeout: 360
# What all of them see is therefore not in /tmp.
TMPDIR=/var/tmp
export TMPDIR
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

is_root || skip_all "only root may mount"
cp -r "$T_STAGE" "$T/stage"
T_STAGE=$T/stage
echo "JobContainerType=job_container/tmpfs" >"$T/extra"
PROLOGFLAGS=contain cluster_start 2 "$T/extra"
make_count 150

cat >"$T/run/look.sh" <<'END'
#!/bin/bash
ls /tmp | wc -l
END
submit --checkpoint-interval=60 look.sh
slurm_wait_end 60
is "the job has a /tmp of its own" "$(cat "$T/run/out")" 0

# Closed files in the job's own /tmp come back with it, and others by name.
cat >"$T/run/scratch.sh" <<'END'
#!/bin/bash
#SBATCH --checkpoint-save-files=named/*.dat
mkdir /tmp/sub && echo inner >/tmp/sub/file && mkdir -p named && echo as it was >named/a.dat
: >holds
until [ -e go ]; do sleep 0.1; done
cat /tmp/sub/file named/a.dat
END
submit --checkpoint-interval=1h scratch.sh
wait_for 60 test -e "$T/run/holds"
ok "a checkpoint with a private /tmp" as_slurm stint checkpoint "$JOB"
echo changed >"$T/run/named/a.dat"
ok "its node fails" as_slurm scontrol requeue "$JOB"
wait_for 60 slurm_is Restarts 1
wait_for 120 grep -q 'restored from' "$T/run/err"
: >"$T/run/go"
ok "it ends" slurm_wait_end 120
# Slurm removes the private /tmp about when it sends SIGTERM: a last checkpoint may come before.
like "closed files came back" "$(tail -n 2 "$T/run/out" | tr '\n' ' ')" \
    '^inner (as it was|changed) $'
rm -f "$T/run/go"

submit --time=10 --checkpoint-interval=5 ./count.sh 150
ok "a job runs" slurm_wait_run 1 || { slurm_diag; done_testing; }
wait_for 60 lines_in "$T/run/numbers.txt" 50
slurm_end_in 15
ok "it is requeued" wait_for 60 slurm_is Restarts 1
ok "and ends" slurm_wait_end 120
is "completed" "$(slurm_field JobState) $(slurm_field ExitCode)" "COMPLETED 0:0"
count_matches "job_container/tmpfs"
[ "$T_FAILED" -eq 0 ] || slurm_diag
done_testing
