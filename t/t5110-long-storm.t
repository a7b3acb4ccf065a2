# timeout: 3000
# slow
# The storm of t5100 through hundreds of checkpoints and fifty restarts.
STORM_CHECKPOINTS=5
STORM_RESTARTS=50
. "${0%/*}/t5100-storm.t"
