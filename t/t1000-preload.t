# timeout: 600
# The runtime in a program that is never checkpointed: nobody must notice it.
. "${0%/*}/lib.sh"
. "$T_DIR/conformance/runner.sh"

lib=$T_STAGE/runtime/libstint.so
[ -e "$lib" ] || skip_all "libstint.so is not built"

preloaded() {
    LD_PRELOAD=$lib "$@"
}

is "output is the same" "$(preloaded sh -c 'echo out; echo err >&2' 2>&1)" "out
err"
fails "the exit status is the same" 7 preloaded sh -c 'exit 7'
is "no descriptor is left open" \
    "$(preloaded sh -c 'ls /proc/self/fd | tr "\n" " "')" "$(sh -c 'ls /proc/self/fd | tr "\n" " "')"
is "no thread is started" "$(preloaded sh -c 'ls /proc/self/task | wc -l')" 1
is "the environment is the program's" \
    "$(preloaded env -i A=b env | grep -v ^LD_PRELOAD= | grep -v ^STINT_)" "A=b"
is "a program with an empty environment still has the runtime" \
    "$(preloaded env -i cat /proc/self/maps | grep -c libstint)" \
    "$(preloaded cat /proc/self/maps | grep -c libstint)"
is "a signal for urgent data does no harm" \
    "$(preloaded sh -c 'kill -URG $$; echo alive')" "alive"
fails "a program that is killed is seen killed" 143 preloaded sh -c 'kill -TERM $$'

is "SIGTERM works as ever" "$(preloaded "$PROGRAMS/sigterm")" "as ever"

# STINT_JOB as an agent sets it that holds Slurm's SIGTERM back; there is none here.
held() {
    as_user env LD_PRELOAD="$lib" STINT_JOB=0t "$@"
}
is "also where it is held back" "$(held "$PROGRAMS/sigterm")" "as ever"
if is_root; then
    caught=$(held sed -n 's/^SigCgt:[^0-9a-f]*/0x/p' /proc/self/status)
    is "the kernel's handler is there" $((caught >> 14 & 1)) 1
    : >"$T/pid"
    chmod 666 "$T/pid"
    # shellcheck disable=SC2016 # that shell's
    held sh -c 'echo $$ >"$1"; exec sleep 60' sh "$T/pid" &
    job=$!
    wait_for 10 test -s "$T/pid"
    kill "$(cat "$T/pid")"
    fails "without an agent root's SIGTERM ends the program" 143 wait $job
fi

T_LABEL="with the runtime"
LD_PRELOAD=$lib
export LD_PRELOAD
conf_run native $(conf_cases $(conf_topics))
done_testing
