# timeout: 900
# A storm of short-lived children through many checkpoints and restarts: not one failure, not
# one lost process. STORM_CHECKPOINTS and STORM_RESTARTS say how many; t5110 does more.
. "${0%/*}/lib.sh"

checkpoints=${STORM_CHECKPOINTS:-10}
restarts=${STORM_RESTARTS:-3}

storm() { # LABEL
    job_launch storm "$PROGRAMS/storm" 3
    job_ready storm || { fail "$1: starts"; job_diag storm; return; }
    i=0
    while [ $i -lt "$restarts" ]; do
        i=$((i + 1))
        j=0
        while [ $j -lt "$checkpoints" ]; do
            j=$((j + 1))
            job_checkpoint storm >"$T/storm.said" 2>&1 || {
                fail "$1: checkpoint $j before restart $i" "$(cat "$T/storm.said")"
                job_diag storm
                break 2
            }
        done
        pass "$1: $checkpoints checkpoints before restart $i"
        job_kill9 storm
        job_restart storm
        job_alive storm 90 || { fail "$1: restart $i"; job_diag storm; break; }
        pass "$1: restart $i"
    done
    job_go storm
    job_end storm
    is "$1: exit status" "$JOB_STATUS" 0
    is "$1: every child's status was right" "$(cat "$T/storm.out")" "every child ended as it should" ||
        job_diag storm
    job_kill9 storm
    rm -rf "$T/storm" "$T"/storm.*
}

storm "storm"
if is_root; then
    T_AS=user
    storm "storm as an ordinary user"
fi
done_testing
