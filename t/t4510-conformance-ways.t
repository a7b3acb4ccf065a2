# timeout: 3000
# slow
# The conformance set, going on after a checkpoint, and restored three times in a row.
. "${0%/*}/lib.sh"
. "$T_DIR/conformance/runner.sh"

topics=${CONF_TOPICS:-$(conf_topics)}
for T_AS in '' user; do
    [ -z "$T_AS" ] || is_root || continue
    conf_all "continue thrice" $topics
    # shellcheck disable=SC2046 # words
    conf_all "restart refused" $(printf '%s\n' $topics | grep -xE "$CONF_LONG")
done
done_testing
