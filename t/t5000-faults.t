# timeout: 900
# Bad moments: killed in the middle of a checkpoint, torn and altered images, no space left.
# A checkpoint never harms the program, and the last good generation is always there.
. "${0%/*}/lib.sh"

start() { # NAME [MEGABYTES]
    reference "$1" "$PROGRAMS/memory" "${2:-10}"
    job_launch "$1" "$PROGRAMS/memory" "${2:-10}"
    job_ready "$1" || { fail "$1: starts"; job_diag "$1"; }
}

finish() { # NAME LABEL
    job_go "$1"
    job_end "$1"
    is "$2: exit status" "$JOB_STATUS" 0
    same "$2: what it printed" "$T/$1.out" "$T/$1.native" || job_diag "$1"
}

forget() { # NAME
    job_kill9 "$1"
    rm -rf "$T/$1" "$T/$1".*
}

restart_works() { # NAME LABEL
    job_restart "$1"
    ok "$2: restart" job_alive "$1" 90 || job_diag "$1"
    finish "$1" "$2"
}

pid_of() { # NAME COMM: the first process of the job with that name
    job_left "$1" | awk -v comm="$2" '$2 == comm { print $1; exit }'
}

coordinator_of() { # NAME
    sed -n 's/^pid: *//p' "$T/$1/coordinator.yaml"
}

unfinished() { # NAME: a generation is being written
    ls -d "$T/$1"/gen-*.tmp
}

# kill WHAT when a checkpoint is being written; the checkpoint must not hang
while_writing() { # NAME COMMAND...
    t_job=$1
    shift
    job_checkpoint "$t_job" >"$T/$t_job.said" 2>&1 &
    t_asking=$!
    wait_for 30 unfinished "$t_job"
    "$@"
    wait "$t_asking"
}

power_fails() {
    start power 200
    ok "power fails in a checkpoint: first one" job_checkpoint power
    while_writing power job_kill9 power
    is "power fails in a checkpoint: nothing runs" "$(job_left power)" ""
    is "power fails in a checkpoint: the last good one stays" "$(job_generation power)" 1
    restart_works power "power fails in a checkpoint"
    is "power fails in a checkpoint: nothing unfinished is left" "$(unfinished power 2>/dev/null)" ""
    forget power
}

coordinator_dies() {
    start lonely
    kill -9 "$(coordinator_of lonely)"
    ok "coordinator killed: the program goes on" job_alive lonely
    fails "coordinator killed: a checkpoint says so" 1 job_checkpoint lonely ||
        fails "coordinator killed: a checkpoint says so, later" 75 job_checkpoint lonely
    finish lonely "coordinator killed"
    forget lonely
}

coordinator_dies_while_writing() {
    start orphaned 200
    ok "coordinator killed in a checkpoint: first one" job_checkpoint orphaned
    t_coordinator=$(coordinator_of orphaned)
    if while_writing orphaned kill -9 "$t_coordinator"; then
        fail "coordinator killed in a checkpoint: the client says so" "$(cat "$T/orphaned.said")"
    else
        pass "coordinator killed in a checkpoint: the client says so"
    fi
    ok "coordinator killed in a checkpoint: the program goes on" job_alive orphaned
    is "coordinator killed in a checkpoint: the last good one stays" "$(job_generation orphaned)" 1
    finish orphaned "coordinator killed in a checkpoint"
    forget orphaned
}

member_dies_while_writing() {
    cat >"$T/two" <<'END'
. "$1/gate.sh"
"$1/memory" 200 >/dev/null & victim=$!
echo $victim >"$GATE.victim"
wait $victim
echo "victim: $?"
gate
END
    job_launch member sh "$T/two" "$PROGRAMS"
    ok "a process killed in a checkpoint: starts" wait_for 60 test -e "$T/member.gate.ready"
    while_writing member kill -9 "$(cat "$T/member.gate.victim")" || : # it may fail or not
    wait_for 30 grep -q 'victim: 137' "$T/member.out"
    is "a process killed in a checkpoint: its parent is told" "$(cat "$T/member.out")" "victim: 137"
    ok "a process killed in a checkpoint: the next one works" job_checkpoint member
    job_go member
    job_end member
    is "a process killed in a checkpoint: exit status" "$JOB_STATUS" 0
    forget member
}

damage() { # LABEL REGEX COMMAND: with the newest generation's directory as argument
    t_label=$1
    t_said=$2
    shift 2
    start damaged
    job_checkpoint damaged >/dev/null 2>&1
    job_checkpoint damaged >/dev/null 2>&1
    job_kill9 damaged
    "$@" "$T/damaged/gen-000002"
    if job_stint damaged verify >"$T/damaged.said" 2>&1; then
        fail "$t_label: verify finds it"
    else
        pass "$t_label: verify finds it"
    fi
    job_restart damaged
    ok "$t_label: the generation before is taken" job_alive damaged 90 || job_diag damaged
    like "$t_label: and it is said" "$(cat "$T/damaged/log")" "$t_said"
    finish damaged "$t_label"
    forget damaged
}

cut_image() { truncate -s -4096 "$1"/*.img; }
empty_image() { truncate -s 0 "$1"/*.img; }
no_image() { rm "$1"/*.img; }
no_group() { rm "$1"/main.grp; }
cut_group() { truncate -s 5000 "$1"/main.grp; }
flip() { # FILE OFFSET
    t_byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf %03o $((255 - t_byte)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
flip_header() { flip "$1"/*.img 20; }
flip_data() { flip "$1"/*.img 1000000; }
flip_group() { flip "$1"/main.grp 4200; }
no_manifest() { rm "$1"/manifest.yaml; }
cut_manifest() { truncate -s 60 "$1"/manifest.yaml; }

nothing_good() {
    start hopeless
    job_checkpoint hopeless >/dev/null 2>&1
    job_kill9 hopeless
    empty_image "$T/hopeless/gen-000001"
    job_restart hopeless
    job_end hopeless
    is "nothing good is left: restart fails" "$JOB_STATUS" 1
    like "nothing good is left: and says so" "$(cat "$T/hopeless.err")" '^stint: .*could be restored'
    is "nothing good is left: nothing runs" "$(job_left hopeless)" ""
    forget hopeless
}

no_space() {
    mkdir "$T/full"
    mount -t tmpfs -o size=64m,mode=1777 tmpfs "$T/full" ||
        { skip "no space left" "cannot mount here"; return; }
    start space 40
    job_kill9 space
    rm -f "$T"/space.* "$T"/space.gate.*
    GATE=$T/space.gate
    reference space "$PROGRAMS/memory" 40
    t_start space launch -d "$T/full/space" "$PROGRAMS/memory" 40
    job_ready space
    ok "no space left: the first checkpoint fits" stint checkpoint "$T/full/space"
    fails "no space left: the second one fails" 1 stint checkpoint "$T/full/space"
    ok "no space left: the program goes on" job_alive space
    ok "no space left: the first one is whole" stint verify "$T/full/space"
    "$T_STAGE/t/procs" kill "$T/full/space"
    job_end space
    t_start space restart "$T/full/space"
    ok "no space left: restart" job_alive space 90
    finish space "no space left"
    "$T_STAGE/t/procs" kill "$T/full/space"
    umount "$T/full"
    forget space
}

power_fails
coordinator_dies
coordinator_dies_while_writing
member_dies_while_writing
damage "image cut short" 'generation 2 cannot be restored' cut_image
damage "image empty" 'generation 2 cannot be restored' empty_image
damage "image missing" 'generation 2 cannot be restored' no_image
damage "group image missing" 'generation 2 cannot be restored' no_group
damage "group image cut short" 'generation 2 cannot be restored' cut_group
damage "bit flipped in a header" 'generation 2 cannot be restored' flip_header
damage "bit flipped in memory" 'generation 2 cannot be restored' flip_data
damage "bit flipped in the group image" 'generation 2 cannot be restored' flip_group
damage "manifest missing" . no_manifest
damage "manifest cut short" 'gen-000002: manifest' cut_manifest
nothing_good
if is_root; then no_space; else skip "no space left" "needs root"; fi
done_testing
