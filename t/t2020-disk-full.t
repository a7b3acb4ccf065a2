# timeout: 180
# No room for a checkpoint: it is refused or dropped, the program and the last good one stay.
. "${0%/*}/lib.sh"

is_root || skip_all 'needs root to mount a small file system'
mkdir "$T/disk"
mount -t tmpfs -o size=48m,mode=1777 tmpfs "$T/disk" 2>/dev/null ||
    skip_all 'cannot mount a tmpfs here'
trap 'umount -l "$T/disk"; t_cleanup' EXIT

disk_job() { # SUBCOMMAND [OPTION...]
    sub=$1
    shift
    as timeout 120 stint "$sub" "$@" "$T/disk/j"
}

T_AS=user
export GATE="$T/j.gate"
t_start j launch -d "$T/disk/j" "$PROGRAMS/memory" 20
job_ready j || job_diag j
ok 'first checkpoint' disk_job checkpoint
size=$(du -sk "$T/disk/j" | cut -f 1)
free=$(df -Pk "$T/disk" | awk 'NR == 2 { print $4 }')
diag "checkpoint: $size KiB, then free: $free KiB"
head -c "$(((free - size / 2) * 1024))" /dev/zero >"$T/disk/ballast"
fails 'the second does not fit' 1 disk_job checkpoint
like '... and is refused before it is begun' "$(disk_job checkpoint 2>&1)" 'stint: no room: .* free'
ok '... the program goes on' job_alive j
is '... the first stays' "$(cd "$T/disk/j" && echo gen-*)" gen-000001
ok '... and is whole' disk_job verify
like '... status tells' "$(disk_job status)" 'failed: +no room'
rm "$T/disk/ballast"
ok 'with room again it works' disk_job checkpoint
"$T_STAGE/t/procs" kill "$T/disk/j"
job_end j 20
rm -rf "$T/disk/j" "$T"/j.gate.*

# The first one: nobody knows yet how large it will be.
t_start k launch -d "$T/disk/j" "$PROGRAMS/memory" 60
export GATE="$T/k.gate"
job_ready k || job_diag k
fails 'too large for the disk' 1 disk_job checkpoint
like '... says so' "$(disk_job checkpoint 2>&1)" 'No space left'
fails 'nor can it be ended with a checkpoint' 1 disk_job checkpoint --kill
ok '... the program goes on' job_alive k
is '... nothing is left of it' "$(cd "$T/disk/j" && echo gen-*)" 'gen-*'
job_go k
job_end k
is '... and comes to its end' "$JOB_STATUS" 0
done_testing
