# timeout: 400
# slow
# Huge pages come back as such; where the pool has too few at a restart, private memory comes
# back in ordinary ones, and shared memory is refused with what to do.
. "${0%/*}/lib.sh"
. "$T_DIR/conformance/runner.sh"

POOL=/sys/kernel/mm/hugepages/hugepages-2048kB
[ -d $POOL ] || skip_all "no huge pages of 2 MiB here"
before=$(cat $POOL/nr_hugepages)
group=$(cat /proc/sys/vm/hugetlb_shm_group)

pool() { # N: free pages, as far as that can be had
    used=$(($(cat $POOL/nr_hugepages) - $(cat $POOL/free_hugepages)))
    { echo $((used + $1)) >$POOL/nr_hugepages; } 2>/dev/null
    [ "$(cat $POOL/free_hugepages)" -ge "$1" ]
}

huge_cleanup() {
    t_cleanup
    { echo "$before" >$POOL/nr_hugepages && echo "$group" >/proc/sys/vm/hugetlb_shm_group; } 2>/dev/null
}
trap huge_cleanup EXIT

pool 80 || [ "$(cat $POOL/free_hugepages)" -ge 80 ] || skip_all "the pool of huge pages cannot be filled"
{ echo "$T_USER" >/proc/sys/vm/hugetlb_shm_group; } 2>/dev/null

for T_AS in '' user; do
    is_root || [ -z "$T_AS" ] || continue
    conf_all "restart refused" huge
done
T_AS=''
conf_all thrice huge

short() { # CASE: it is checkpointed and ended, then the pool is emptied
    conf_job
    conf_begin restart "huge/$1" && job_checkpoint "$JOB" --kill >"$T/said" 2>&1 && job_end "$JOB"
    pool 0
    [ "$(cat $POOL/free_hugepages)" -eq 0 ] || diag "the pool does not shrink"
}

is_root || { skip "a pool that is empty" "only root can empty it"; done_testing; }
short own
job_restart "$JOB"
job_alive "$JOB"
like "private memory comes back in ordinary pages, which is said" "$(cat "$T/$JOB/log")" \
    'there are too few huge pages \(sysctl vm.nr_hugepages\): private memory'
job_go "$JOB"
job_end "$JOB"
like "with what it held" "$(cat "$T/$JOB.cases/huge.own/out")" 'page_kb\(at\) is 4 '
conf_forget

pool 80
short shared
job_restart "$JOB"
job_end "$JOB"
is "shared memory is refused" "$JOB_STATUS" 1
like "with what to do" "$(cat "$T/$JOB.err")" \
    'needs 3 huge pages of 2048 kB, 0 are free: raise .*2048kB/nr_hugepages .*by 3'
pool 80
job_restart "$JOB"
ok "and comes back when that was done" job_alive "$JOB"
job_go "$JOB"
job_end "$JOB"
is "as it was" "$(tail -n 1 "$T/$JOB.cases/huge.shared/out")" PASS
conf_forget
done_testing
