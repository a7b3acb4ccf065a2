# timeout: 300
# slow
# An agent that says nothing any more: the checkpoint is given up, not waited for. One that
# is slow, but lives, is waited for.
. "${0%/*}/lib.sh"

job_launch j sh "$PROGRAMS/job.sh"
job_ready j || job_diag j
job_stint j status --json >"$T/s.json"
agent=$(sed -n 's/^      "pid": \([0-9]*\),*/\1/p' "$T/s.json")
kill -STOP "$agent"
begin=$(date +%s)
fails 'the checkpoint fails' 1 job_checkpoint j
took=$(($(date +%s) - begin))
if [ "$took" -le 45 ]; then pass "within bounds ($took s)"; else fail "took $took s"; fi
like '... with the reason' "$(job_stint j status)" 'failed: +no sign of life'
kill -CONT "$agent"
ok 'it goes on' job_alive j
ok 'and can be checkpointed' wait_for 30 job_checkpoint j
job_go j
job_end j
is 'exit status' "$JOB_STATUS" 0

# stint with fault points, beside the other parts: it takes its time over each thing
mkdir "$T/bin"
cp "$T_STAGE/t/stint-faulty" "$T/bin/stint"
cp "$T_STAGE/runtime/libstint.so" "$T_STAGE/runtime/restorer/stint-restorer" "$T/bin"
PATH=$T/bin:$PATH STINT_LIBEXECDIR=$T/bin STINT_FAULT=describe-slowly \
    job_launch slow bash -c 'for fd in {20..45}; do eval "exec $fd<\"$0\""; done; . "$0"' \
    "$PROGRAMS/job.sh"
job_ready slow || job_diag slow
begin=$(date +%s)
ok 'an agent that is slow is waited for' job_checkpoint slow || job_diag slow
took=$(($(date +%s) - begin))
if [ "$took" -gt 35 ]; then pass "... for $took s"; else fail "took $took s: too short to tell"; fi
job_kill9 slow
job_restart slow
ok '... and its program comes back' job_alive slow || job_diag slow
job_go slow
job_end slow
is '... to its end' "$JOB_STATUS" 0
done_testing
