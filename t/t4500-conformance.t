# timeout: 900
# The conformance set, stopped and restored: what a process holds comes back as it was.
. "${0%/*}/lib.sh"
. "$T_DIR/conformance/runner.sh"

topics=${CONF_TOPICS:-$(conf_topics)}
modes=${CONF_MODES:-continue restart thrice}
users=${CONF_USERS:-root user}

for user in $users; do
    T_AS=''
    [ "$user" = root ] || T_AS=user
    for mode in $modes; do
        conf_run "$mode" $(conf_select restore $(conf_cases $topics))
    done
done
done_testing
