#!/bin/bash
# Many small jobs, three at a time, by xargs -P or GNU parallel.
# SPDX-License-Identifier: Apache-2.0
. "${0%/*}/gate.sh"
set -e -o pipefail
work() { seq "$1" $(($1 + 300)) | sort -r | sha256sum | cut -c 1-8; }
export -f work
case $1 in
xargs) run() { xargs -P 3 -I@ bash -c 'echo "@ $(work @)"' | sort -n; } ;;
parallel) run() { SHELL=/bin/bash parallel --will-cite -j 3 -k 'echo "{} $(work {})"'; } ;;
esac
(
    first=$(seq 1 8 | run)
    until [ -e "$GATE.go" ]; do
        [ "$(seq 1 8 | run)" = "$first" ] || { echo 'results differ'; exit 1; }
    done
    echo "$first"
) &
gate
wait $!
