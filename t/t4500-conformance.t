# timeout: 1500
# The conformance set, ended and restored: what a process holds comes back as it was, or the
# checkpoint is refused by name and the program goes on. t4510 has the other ways, and
# the topics that take long (connections wait for the kernel's timers).
. "${0%/*}/lib.sh"
. "$T_DIR/conformance/runner.sh"

topics=${CONF_TOPICS:-$(conf_topics | grep -vxE "$CONF_LONG")}
modes=${CONF_MODES:-restart refused}
users=${CONF_USERS:-root user}

for user in $users; do
    T_AS=''
    [ "$user" = root ] || { is_root && T_AS=user; } || continue
    conf_all "$modes" $topics
done
done_testing
