# timeout: 180
# slow
# The names of sockets that are closed by now come back with their messages, and nothing is
# left in /tmp by that, however the restart ends: nothing is made there.
. "${0%/*}/lib.sh"

need python3 unshare
is_root || skip_all 'only root can cover /tmp'
case $T:$T_STAGE in
/tmp/*:/tmp/*) ;;
*) skip_all 'the test does not run in /tmp' ;;
esac

below_tmp() { # PATH: the directory in /tmp that it is in
    echo "/tmp/$(echo "${1#/tmp/}" | cut -d / -f 1)"
}

cd "$T" || exit 1 # where every command on the host begins
host_new bare
for kept in $(printf '%s\n' "$(below_tmp "$T")" "$(below_tmp "$T_STAGE")" | sort -u); do
    places="${places:-} $kept"
done
# a /tmp in which nobody can make anything outside of this test's directories
# shellcheck disable=SC2086,SC2016
ok 'another /tmp' on_host "$HOST" sh -ec '
    mount --rbind /tmp /mnt
    mount -t tmpfs tmpfs /tmp
    for kept; do
        mkdir "$kept"
        mount --rbind "/mnt/${kept#/tmp/}" "$kept"
    done
    mount -o remount,ro /tmp' sh $places
T_HOST=$HOST
for T_AS in '' user; do
    job=names${T_AS:+-$T_AS}
    mkdir -m 1777 "$T/$job.place"
    job_launch "$job" python3 "$PROGRAMS/left_names.py" "$T/$job.place"
    job_ready "$job" || job_diag "$job"
    ok "$job: a checkpoint" job_checkpoint "$job" --kill
    job_end "$job"
    job_restart "$job"
    ok "$job: a restart" job_alive "$job" || job_diag "$job"
    job_go "$job"
    job_end "$job"
    is "$job: the messages, and who sent them" "$(cat "$T/$job.out")" \
        "(b'ONE', 'one') (b'TWO', 'two') ['box']" || job_diag "$job"
done
done_testing
