# timeout: 60
# What cannot be restored makes a checkpoint fail by its name, or is left out, as the user
# wishes; a restart goes on with that wish.
. "${0%/*}/lib.sh"

cat >"$T/program" <<'END'
. "$1/gate.sh"
mkfifo "$GATE.fifo"
exec 9<>"$GATE.fifo"
rm "$GATE.fifo"
gate
if true >&9; then echo kept; else echo left out; fi 2>/dev/null
END

job_launch strict sh "$T/program" "$PROGRAMS"
job_ready strict
job_checkpoint strict >"$T/said" 2>&1
is 'a removed pipe is refused' "$?" 1
like 'by its name' "$(cat "$T/said")" 'descriptor 9: the removed named pipe .* is not supported'
job_alive strict
job_go strict
job_end strict
is 'and the program goes on with it' "$JOB_STATUS $(cat "$T/strict.out")" '0 kept'

job_launch lax --on-unsupported=ignore sh "$T/program" "$PROGRAMS"
job_ready lax
ok 'with --on-unsupported=ignore it is left out' job_checkpoint lax --kill
job_end lax
like 'which is said' "$(cat "$T/lax.err")" 'descriptor 9: .* left out of the checkpoint'
job_restart lax
job_alive lax
ok 'the next checkpoint has nothing to complain of' job_checkpoint lax
job_alive lax
job_go lax
job_end lax
is 'and the program goes on without it' "$JOB_STATUS $(cat "$T/lax.out")" '0 left out'
like 'the wish is kept for restarts' "$(cat "$T/lax/config.yaml")" 'on_unsupported: *"?ignore'
fails 'another wish is refused' 2 stint launch --on-unsupported=maybe true
done_testing
