# timeout: 120
# slow
# A message queue that only root can make again is refused where the program is a user's.

# The limits of queues are the IPC namespace's: those of the machine stay as they are.
if [ "$(id -u)" -eq 0 ] && [ "${1:-}" != inside ]; then
    unshare --ipc true 2>/dev/null && exec unshare --ipc sh "$0" inside
fi
. "${0%/*}/lib.sh"

need python3 unshare
is_root || skip_all 'only root can allow larger queues'
[ "${1:-}" = inside ] || skip_all 'no IPC namespace can be made here'
(echo 65536 >/proc/sys/fs/mqueue/msgsize_max) 2>/dev/null ||
    skip_all 'larger queues cannot be allowed here'

launch() { # NAME
    job_launch "$1" python3 "$PROGRAMS/large_queue.py" /large
    job_ready "$1" || job_diag "$1"
}

finish() { # NAME
    job_go "$1"
    job_end "$1"
    is "$1: its message is there" "$(cat "$T/$1.out")" '20000 5 True' || job_diag "$1"
}

T_AS=user
launch user
fails 'user: a checkpoint is refused' 1 job_checkpoint user
like '... by name' "$(cat "$T/ok.log")" \
    'process [0-9]+ \(python3[^)]*\), descriptor [0-9]+: the message queue /large is larger than an ordinary user can'
ok '... and the program goes on' job_alive user
finish user

T_AS=''
launch root
ok 'root: a checkpoint' job_checkpoint root --kill
job_end root
job_restart root
ok 'root: a restart' job_alive root || job_diag root
finish root
done_testing
