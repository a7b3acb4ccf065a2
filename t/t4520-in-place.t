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

need python3
for T_AS in '' user; do
    is_root || [ -z "$T_AS" ] || continue
    for kind in ${IN_PLACE:-file mapped sqlite gone}; do
        in_place $kind
    done
done
done_testing
