#!/bin/bash
# A job that is stopped stays so, until the shell lets it go on.
# SPDX-License-Identifier: Apache-2.0
. "${0%/*}/gate.sh"
set -m
bash -c 'trap "echo seen a SIGCONT" CONT; kill -STOP $$; echo goes on; exit 7' &
job=$!
until [ "$(jobs -s)" ]; do sleep 0.02; done
gate
[ "$(awk '{ print $3 }' "/proc/$job/stat")" = T ] && echo "the job is stopped"
jobs -s | sed 's/  */ /g; s/ bash .*//'
fg %1 >/dev/null
echo "it has ended with $?"
