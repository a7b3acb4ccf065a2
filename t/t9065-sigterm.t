#!/bin/sh
# Slurm sends its SIGTERM to every process of the job (proctrack/linuxproc): none of them
# sees it before the last checkpoint is committed, and all of them when there is none. What
# cannot hold it back and ends by it is no part of a checkpoint.
# timeout: 480
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

cat >"$T/extra" <<'END'
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
END
KILLWAIT=60 PARTITION="PriorityTier=1 PreemptMode=REQUEUE GraceTime=0" NODE_CPUS=1 \
    cluster_start 1 "$T/extra"

# A shell, a program without a handler, and two with: one is told by the signal's handler,
# one waits for it. All have to be there to the end; their own signals work as ever.
cat >"$T/run/handler.pl" <<'END'
$| = 1;
$SIG{TERM} = sub { print "handler: TERM\n"; exit 5 };
sleep 1 until -e "stop";
END
cat >"$T/run/waiter.py" <<'END'
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGALRM])
while not os.path.exists("stop"):
    signal.setitimer(signal.ITIMER_REAL, 1)
    if signal.sigwait([signal.SIGTERM, signal.SIGALRM]) == signal.SIGTERM:
        print("waiter: TERM", flush=True)
        sys.exit(6)
END
cat >"$T/run/job.sh" <<'END'
#!/bin/bash
perl handler.pl &
handler=$!
python3 waiter.py &
waiter=$!
perl -e 'sleep 1 until -e "stop"' &
plain=$!
# no program is just being executed when the SIGTERM comes
mkfifo pause 2>/dev/null
exec 9<>pause
for i in $(seq "$1"); do echo "$i"; read -r -t 0.1 -u 9; done
timeout 0.2 sleep 60
echo "timeout: $?"
sleep 60 &
read -r -t 0.5 -u 9 # it runs, and is no shell any more
kill $!
wait $!
echo "killed: $?"
touch stop
wait $handler $waiter $plain
echo "all ended: $?"
END

submit --time=30 --checkpoint-interval=600 job.sh 200
ok "the job runs" slurm_wait_run 1
wait_for 60 lines_in "$T/run/out" 50
low=$JOB
as_slurm sbatch -Q --partition=urgent --output="$T/run/urgent.out" --wrap 'echo urgent'
ok "it is preempted without notice" wait_for 120 slurm_is Restarts 1 || slurm_diag
ok "the urgent job runs" wait_for 60 grep -q urgent "$T/run/urgent.out"
JOB=$low
ok "then the first goes on" slurm_wait_run 2 90
ok "from a checkpoint that was taken at the SIGTERM" \
    wait_for 60 grep -q 'run 2: restored from generation 1' "$T/run/err"
as_slurm sbatch -Q --partition=urgent --output="$T/run/urgent.out" --wrap 'echo again'
ok "a restored job is preempted" wait_for 120 slurm_is Restarts 2 || slurm_diag
JOB=$low
ok "and goes on" slurm_wait_run 3 90
ok "likewise" wait_for 60 grep -q 'run 3: restored from generation 2' "$T/run/err"
ok "and ends" slurm_wait_end 120
is "completed" "$(slurm_field JobState)" COMPLETED
{
    seq 200
    echo "timeout: 124"
    echo "killed: 143"
    echo "all ended: 0"
} >"$T/wanted"
same "every process went on, and its own signals have their effect" "$T/run/out" "$T/wanted"
[ "$T_FAILED" -eq 0 ] || slurm_diag

# A program that the runtime does not get into: the script would go on as if it had failed.
cat >"$T/static.c" <<'END'
#include <unistd.h>
int main(void)
{
    sleep(600);
    return 0;
}
END
cc -static -o "$T/run/static" "$T/static.c"
cat >"$T/run/outside.sh" <<'END'
#!/bin/bash
for i in $(seq 20); do echo "$i"; sleep 0.1; done
touch holds
until [ -e go ]; do sleep 0.1; done
./static
echo "static: $?"
sleep 60
END
submit --time=30 --checkpoint-interval=600 outside.sh
wait_for 60 test -e "$T/run/holds"
ok "a checkpoint by hand" as_slurm stint checkpoint "$JOB"
touch "$T/run/go"
ok "a static program runs" wait_for 30 pgrep -x static
low=$JOB
as_slurm sbatch -Q --partition=urgent --output="$T/run/urgent.out" --wrap 'echo third'
ok "its job is preempted" wait_for 120 slurm_is Restarts 1 || slurm_diag
JOB=$low
ok "SIGTERM has ended the program" wait_for 60 \
    grep -q "no last checkpoint.*Slurm's SIGTERM.*goes on from checkpoint 1" "$CKPT/log"
ok "the job goes on" slurm_wait_run 2 90
ok "from before the program" wait_for 30 pgrep -x static
is "which nothing knows to have failed" "$(grep -c static "$T/run/out")" 0
as_slurm scancel "$JOB"
slurm_wait_end 55
[ "$T_FAILED" -eq 0 ] || slurm_diag

rm -f "$T/run/stop"
submit --time=30 --checkpoint-interval=600 job.sh 3000
slurm_wait_run 1
wait_for 60 lines_in "$T/run/out" 20
as_slurm scancel "$JOB"
ok "scancel: the job ends" slurm_wait_end 55
like "each process had its SIGTERM" "$(grep TERM "$T/run/out" | sort | tr '\n' ' ')" \
    '^handler: TERM waiter: TERM $'
done_testing
