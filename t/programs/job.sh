#!/bin/dash
# The same kind of job for a plain shell.
# SPDX-License-Identifier: Apache-2.0
. "${0%/*}/gate.sh"
before=$$
total=0
i=0
while [ $i -lt 300 ]; do
    i=$((i + 1))
    total=$((total + i * i))
    [ $i -ne 100 ] || gate
done
echo "total $total"
[ "$before" = "$(exec sh -c 'echo $PPID')" ] && echo "same pid"
(gate; exit 9)
echo "subshell: $?"
