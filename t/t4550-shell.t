# timeout: 300
# slow
# `stint launch` and `stint restart` are jobs of an interactive shell as any other command.
. "${0%/*}/lib.sh"

need python3
python=/usr/bin/python3 # one that every user may run
[ -x "$python" ] || python=python3
for T_AS in '' user; do
    is_root || [ -z "$T_AS" ] || continue
    job=shell$T_AS
    : >"$T/$job.err" # the job is ended with the test
    (cd "$T" && as "$python" "$PROGRAMS/shell_job.py" "$T/$job" "$PROGRAMS/reads.sh") >"$T/out" 2>&1
    is "launch, restart, restart &; ^C, ^Z, fg${T_AS:+ as an ordinary user}" "$(tail -n 1 "$T/out")" \
        'all well' || diag_file "$T/out"
done
done_testing
