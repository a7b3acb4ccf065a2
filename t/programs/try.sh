# Runs a program without stint and with it, stopped and restored on the way. Sourced after lib.sh.
# SPDX-License-Identifier: Apache-2.0

try() { # NAME COMMAND...
    try_name=$1
    shift
    try_label="$try_name${T_AS:+ as an ordinary user}"
    reference "$try_name" "$@" || { fail "$try_label: works without stint"; return; }
    job_launch "$try_name" "$@"
    if job_ready "$try_name" &&
        ok "$try_label: checkpoint" job_checkpoint "$try_name" &&
        ok "$try_label: goes on" job_alive "$try_name" &&
        ok "$try_label: checkpoint and end" job_checkpoint "$try_name" --kill &&
        job_end "$try_name" &&
        job_restart "$try_name" &&
        ok "$try_label: runs again" job_alive "$try_name" 90; then
        job_go "$try_name"
        job_end "$try_name"
        is "$try_label: exit status" "$JOB_STATUS" 0
        same "$try_label: what it printed" "$T/$try_name.out" "$T/$try_name.native" ||
            job_diag "$try_name"
    else
        fail "$try_label: came to its end" || :
        job_diag "$try_name"
    fi
    job_kill9 "$try_name"
    rm -rf "$T/$try_name" "$T/$try_name".*
}
