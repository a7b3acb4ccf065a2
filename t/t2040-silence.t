# timeout: 180
# slow
# An agent that says nothing any more: the checkpoint is given up, not waited for.
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
done_testing
