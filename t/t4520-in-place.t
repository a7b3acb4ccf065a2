# timeout: 200
# What a program has written to a file after its checkpoint is undone at the restart, and
# so is the removal of a file that it had open.
. "${0%/*}/lib.sh"

in_place() { # KIND
    job=$1${T_AS:+-$T_AS}
    label="$1: changes after the checkpoint are undone${T_AS:+ as an ordinary user}"
    mkdir -m 1777 "$T/$job.dir"
    job_launch "$job" python3 "$PROGRAMS/in_place.py" "$1" "$T/$job.dir/file"
    if job_ready "$job" && job_checkpoint "$job" >/dev/null && job_alive "$job" &&
        job_alive "$job" && job_alive "$job" && job_kill9 "$job" && job_restart "$job" &&
        job_alive "$job" && job_checkpoint "$job" >/dev/null && job_alive "$job" &&
        job_alive "$job" && job_kill9 "$job" && job_restart "$job" && job_alive "$job" &&
        job_go "$job" && job_end "$job"; then
        is "$label" "$(cat "$T/$job.out")" PASS || job_diag "$job"
    else
        fail "$label" "it did not come to its end"
        job_diag "$job"
    fi
}

# A file and standard output, both written on after the checkpoint. POLICY cut: no number stands
# there twice. keep: what was there before the restart still is.
output() { # POLICY
    job=output-$1
    job_launch "$job" sh -c '. "$0/gate.sh"; exec 3>"$GATE.file"; n=0
        until [ -e "$GATE.go" ]; do
            n=$((n + 1)); echo $n; echo $n >&3; : >"$GATE.alive"; : >"$GATE.ready"; sleep 0.02
        done' "$PROGRAMS"
    job_ready "$job" && job_checkpoint "$job" >/dev/null && job_alive "$job" &&
        job_alive "$job" && job_alive "$job" && job_kill9 "$job"
    cp "$T/$job.gate.file" "$T/$job.before"
    job_restart "$job" "--output=$1"
    job_alive "$job" && job_alive "$job" && job_go "$job" && job_end "$job" || job_diag "$job"
    for file in gate.file out; do
        twice=$(sort "$T/$job.$file" | uniq -d | wc -l)
        case $1 in
        cut) is "$file is cut back" "$twice" 0 ;;
        keep) ok "$file is kept: $twice lines twice" test "$twice" -gt 0 ;;
        esac
    done
    [ "$1" = cut ] || ok "what was written stays where it was" \
        sh -c 'head -n "$(wc -l <"$1")" "$2" | cmp - "$1"' - "$T/$job.before" "$T/$job.gate.file"
}

output cut
output keep
fails "no other policy" 2 stint restart --output=lose "$T/output-cut"

need python3
for T_AS in '' user; do
    is_root || [ -z "$T_AS" ] || continue
    for kind in ${IN_PLACE:-file mapped sqlite gone}; do
        in_place $kind
    done
done
done_testing
