#!/bin/bash
# Two jobs, the second when the first has finished its work, however many stints that
# takes: a requeued job is the same job, so a dependency waits for its real end.
# Run this on the login node:   bash chained.sh
#
# A job whose site forbids requeueing goes on in a new job instead:
#   sbatch --checkpoint-interval=30m --restart-from=OLDJOBID script.sh

set -eu
first=$(sbatch --parsable --checkpoint-interval=30m --time=04:00:00 \
    --output=first-%j.out --error=first-%j.err first.sh)
second=$(sbatch --parsable --checkpoint-interval=30m --time=04:00:00 \
    --output=second-%j.out --error=second-%j.err \
    --dependency="afterok:$first" --kill-on-invalid-dep=yes second.sh)
echo "$first, then $second"
