# timeout: 600
# The conformance cases must hold without stint before they can say anything about it.
. "${0%/*}/lib.sh"
. "$T_DIR/conformance/runner.sh"

set -- $(conf_cases ${CONF_TOPICS:-$(conf_topics)})
conf_run native "$@"
if is_root; then
    T_AS=user
    conf_run native "$@"
fi
done_testing
