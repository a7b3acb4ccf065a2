# timeout: 3000
# slow
# The conformance set, going on after a checkpoint, and restored three times in a row.
. "${0%/*}/lib.sh"
. "$T_DIR/conformance/runner.sh"

for T_AS in '' user; do
    [ -z "$T_AS" ] || is_root || continue
    conf_all "continue thrice" $(conf_topics)
    conf_all "restart refused" inet locks shared shm sockets terminals unix
done
done_testing
