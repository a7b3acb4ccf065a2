# timeout: 500
# Connections whose other end is not part of the program: reset, ended, made again, or a
# reason to refuse the checkpoint, as the user wishes.
. "${0%/*}/lib.sh"

need python3
XDG_CONFIG_HOME=$T/config
export XDG_CONFIG_HOME

serve() { # what is outside; sets SERVER
    rm -rf "$T/out"
    mkdir -m 1777 "$T/out"
    python3 "$PROGRAMS/outside.py" serve "$T/out" >/dev/null 2>"$T/out/err" &
    SERVER=$!
    wait_for 20 test -e "$T/out/port" || diag_file "$T/out/err"
}

start() { # NAME KIND [OPTION...]
    job=$1${T_AS:+-$T_AS}
    t_kind=$2
    shift 2
    job_launch "$job" "$@" python3 "$PROGRAMS/outside.py" "$t_kind" "$T/out"
    job_ready "$job"
}

ends_with() { # DESCRIPTION OUTPUT: let the job end
    job_go "$job"
    job_end "$job"
    is "$1${T_AS:+ as an ordinary user}" "$(cat "$T/$job.out")" "$2" || job_diag "$job"
    job_kill9 "$job"
}

restarted() { # checkpoint, end, restart
    job_checkpoint "$job" --kill >"$T/said" 2>&1 && job_end "$job" && job_restart "$job" &&
        job_alive "$job"
}

refused() { # DESCRIPTION REGEX
    fails "$1${T_AS:+ as an ordinary user}" 1 job_checkpoint "$job"
    case $job in *-refuse*) record_refusal "t4530-sockets-outside/${job%-user}" 1 "$T/ok.log" ;; esac
    like "$1, by name" "$(cat "$T/ok.log")" "$2"
}

fails 'a policy that there is not' 2 stint launch --sockets=maybe true
fails 'a pattern is wanted' 2 stint launch --sockets=refuse,reconnect true
STINT_SOCKETS=never fails 'a policy that there is not, in the environment' 2 stint launch true
mkdir -p "$T/config/stint"
echo 'reset' >"$T/config/stint/sockets"
fails 'a line of the file that is none' 2 stint launch true
like 'is named' "$(cat "$T/ok.log")" 'config/stint/sockets, line 1'
rm "$T/config/stint/sockets"

serve
for T_AS in '' user; do
    is_root || [ -z "$T_AS" ] || continue

    start goes-on tcp
    ok 'a checkpoint with a TCP connection to outside' job_checkpoint "$job"
    ends_with 'the program that goes on does not notice' 'unread open'

    start tcp-reset tcp
    restarted
    ends_with 'TCP: what had arrived, then a reset' 'unread ECONNRESET'
    like 'the log tells at the checkpoint' "$(cat "$T/$job/log")" \
        "descriptor [0-9]+: the other end \(127.0.0.1:$(cat "$T/out/port")\) of the TCP socket"
    like 'and at the restart' "$(cat "$T/$job/log")" \
        "restore: the TCP connection to 127.0.0.1:$(cat "$T/out/port"), .* is reset"

    start unix-again idle-stream "--sockets=reconnect:$T/out/*"
    restarted
    ends_with 'UNIX: connected again' ' open'

    start box-again box "--sockets=reconnect:$T/out/*"
    restarted
    ends_with 'UNIX datagrams: connected again' 'sent'
    ok 'and they arrive' wait_for 30 grep -qx after "$T/out/received"
    rm "$T/out/received"
done

start tcp-end tcp "--sockets=end:127.0.0.1:*"
restarted
ends_with 'TCP: ended' 'unread end'

start tcp-refuse tcp --sockets=refuse
refused 'TCP: refused' "process [0-9]+ \(python3\), descriptor [0-9]+: .*127.0.0.1:$(cat "$T/out/port")"
ends_with 'TCP: the program goes on when it was refused' 'unread open'

# a coordinator that nobody tells, as under Slurm
as env STINT_SOCKETS=refuse stint coordinator -d "$T/by-hand" 2>"$T/by-hand.err" &
wait_for 30 test -e "$T/by-hand/coordinator.yaml"
job=by-hand
t_start by-hand launch --join "$T/by-hand" python3 "$PROGRAMS/outside.py" tcp "$T/out"
job_ready by-hand
refused 'TCP: refused, by the environment' '127.0.0.1'
ends_with 'TCP: and it goes on' 'unread open'

start unix-refuse stream
refused 'UNIX: refused' "process [0-9]+ \(python3\), descriptor [0-9]+: .*$T/out/stream"
ends_with 'UNIX: the program goes on when it was refused' 'unread open'

start unix-reset stream --sockets=reset
restarted
ends_with 'UNIX: what had arrived, then a reset' 'unread ECONNRESET'

STINT_SOCKETS="reconnect:$T/out/*"
export STINT_SOCKETS
start unix-unread stream
unset STINT_SOCKETS
restarted
ends_with 'UNIX: no new connection for bytes of the old one' 'unread end'

start tcp-again idle-tcp --sockets=refuse
refused 'TCP: not listed yet' '127.0.0.1'
echo 'reconnect 127.0.0.1:*' >"$T/config/stint/sockets"
restarted
rm "$T/config/stint/sockets"
ends_with 'TCP: connected again, as the file says meanwhile' ' open'

start tcp-gone idle-tcp '--sockets=reconnect:127.0.0.1:*'
job_checkpoint "$job" --kill >/dev/null && job_end "$job"
kill "$SERVER"
wait "$SERVER"
job_restart "$job" && job_alive "$job"
ends_with 'a service that has gone: the end of the stream' ' end'
serve
kill "$SERVER"
done_testing
