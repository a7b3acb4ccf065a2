#!/bin/bash
# A batch job as people write them: functions, arrays, a pipe, a background child, a trap.
# SPDX-License-Identifier: Apache-2.0
. "${0%/*}/gate.sh"
set -u -o pipefail
before=$BASHPID
declare -A squares=()
trap 'echo "trap on exit, $count lines"' EXIT
count=0
exec 5< <(seq 1 400)                        # a pipe from a child that fills it
while read -r number <&5; do
    squares[$number]=$((number * number))
    count=$((count + 1))
    if [ "$number" -eq 150 ]; then
        (exit 42) & child=$!
        ( gate; echo "subshell done" ) | sed 's/^/filtered: /'
        wait "$child"
        echo "background child: $?"
    fi
done
echo "sum: $(printf '%s\n' "${squares[@]}" | awk '{ s += $1 } END { print s }')"
seq 1 1000 | sort -rn | head -n 3
[ "$before" = "$BASHPID" ] && echo "same pid"
