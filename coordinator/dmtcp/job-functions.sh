# Shell functions for batch scripts: those of the centres that teach DMTCP, by their names.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# To be sourced by bash (4.4 or newer); the modules dmtcp and nersc_cr do so at the first call.
#
#   start_coordinator [-i SECONDS] [options of dmtcp_coordinator]
#   restart_count                how often Slurm has requeued this job
#   requeue_job FUNCTION SIG...  call FUNCTION on these signals while the job has time left:
#                                --comment=TIME, the time that all its runs may take together
#   func_trap                    such a function: run $ckpt_command, then requeue the job
#   ckpt_dmtcp                   a checkpoint; returns when it is on disk and committed
#   restart_job                  restart the newest checkpoint of the working directory
#   parse_job                    what requeue_job does first: sets remainingTimeSec (below 1:
#                                no more runs), remainingTime and requestTime (minutes, or
#                                nothing), and takes this run off the job's comment
#
# Variables of the script that they heed: ckpt_command, ckpt_overhead (seconds; else the
# number of `#SBATCH --signal=B:USR1@60`), max_timelimit (the longest run, HH:MM:SS).

_dmtcp_bin=$(cd "$(dirname "${BASH_SOURCE[0]}")/bin" && pwd)
case ":$PATH:" in
*":$_dmtcp_bin:"*) ;;
*) export PATH="$_dmtcp_bin:$PATH" ;;
esac
unset _dmtcp_bin

# --- the coordinator ---------------------------------------------------------------

_dmtcp_usage() {
    cat <<'TEXT'
usage: start_coordinator [-i SECONDS] [options of dmtcp_coordinator]
       source start_coordinator [...]        eval "$(start_coordinator [...])"

A coordinator runs in the background on a free port until the last program has ended.
In a Slurm job, dmtcp_launch, dmtcp_restart and dmtcp_command find it by themselves;
sourced or evaluated, DMTCP_COORD_HOST and DMTCP_COORD_PORT say where it is. The working
directory gets dmtcp_command.$SLURM_JOB_ID, which talks to it from anywhere.

TEXT
    dmtcp_coordinator --help
}

start_coordinator() {
    local job=${SLURM_JOB_ID:-${SLURM_JOBID:-$$}} portfile port host command message
    case " $* " in
    *" --help "*) _dmtcp_usage; return ;;
    esac
    portfile=$(mktemp) || return 1
    if ! dmtcp_coordinator --daemon --exit-on-last --coord-port 0 --port-file "$portfile" \
        --register-job "$job" "$@" >/dev/null; then
        rm -f "$portfile"
        return 1
    fi
    port=$(cat "$portfile")
    rm -f "$portfile"
    host=$(hostname)
    export DMTCP_COORD_HOST=$host DMTCP_COORD_PORT=$port

    command=dmtcp_command.$job
    {
        echo '#!/bin/bash'
        echo "# Commands for the coordinator of job $job; see --help."
        printf 'export DMTCP_COORD_HOST=%q DMTCP_COORD_PORT=%q\n' "$host" "$port"
        printf 'exec %q "$@"\n' "$(type -P dmtcp_command)"
    } >"$command.new" && chmod 755 "$command.new" && mv "$command.new" "$command" ||
        echo "start_coordinator: cannot write $PWD/$command" >&2

    message="Starting DMTCP coordinator for job $job"
    if ((BASH_SUBSHELL > 0)) && [ -p /dev/stdout ]; then
        # for eval, or somebody who reads it
        printf 'export DMTCP_COORD_HOST=%q DMTCP_COORD_PORT=%q; echo %q;\n' \
            "$host" "$port" "$message"
    else
        echo "$message"
    fi
}

# --- checkpoint and restart ----------------------------------------------------------

restart_count() {
    echo "${SLURM_RESTART_COUNT:-0}"
}

ckpt_dmtcp() {
    dmtcp_command --bcheckpoint
}

restart_job() {
    if [ ! -e dmtcp_restart_script.sh ]; then
        echo "restart_job: there is no dmtcp_restart_script.sh in $PWD" >&2
        return 1
    fi
    ./dmtcp_restart_script.sh "$@"
}

# --- the time that a job has left ------------------------------------------------------

# Seconds of [days-]hours:minutes:seconds, minutes:seconds, minutes, as Slurm reads them.
timestr2secs() {
    local days=0 hours=0 minutes=0 seconds=0
    [[ $1 =~ ^([0-9]+-)?[0-9]+(:[0-9]+){0,2}$ ]] || return 1
    case $1 in
    *-*)
        days=${1%%-*}
        IFS=: read -r hours minutes seconds <<<"${1#*-}" ;;
    *:*:*) IFS=: read -r hours minutes seconds <<<"$1" ;;
    *) IFS=: read -r minutes seconds <<<"$1" ;;
    esac
    echo $((((10#$days * 24 + 10#$hours) * 60 + 10#${minutes:-0}) * 60 + 10#${seconds:-0}))
}

secs2timestr() {
    printf '%02d:%02d:%02d\n' $(($1 / 3600)) $(($1 % 3600 / 60)) $(($1 % 60))
}

# How long before the limit the signal comes: what the script itself asks for.
_dmtcp_signal_time() {
    local seconds
    seconds=$(sed -n 's/^#SBATCH[[:space:]].*--signal[=[:space:]][^@]*@\([0-9]*\).*/\1/p' \
        "$0" 2>/dev/null | tail -n 1)
    echo "${seconds:-60}"
}

# shellcheck disable=SC2034 # the variables are for the caller
parse_job() {
    local job=${SLURM_JOB_ID:-} answer limit total longest
    remainingTimeSec=0 remainingTime='' requestTime=''
    if [ -z "$job" ]; then
        echo 'parse_job: this is not a Slurm job' >&2
        return 1
    fi
    if ! answer=$(squeue -h -j "$job" -o '%l|%k'); then
        echo "parse_job: squeue does not know job $job" >&2
        return 1
    fi
    if ! total=$(timestr2secs "${answer#*|}"); then
        echo "parse_job: no time left is known: the job has no --comment=HH:MM:SS," \
            'the time that all its runs may take together' >&2
        return 1
    fi
    if ! limit=$(timestr2secs "${answer%%|*}"); then
        echo "parse_job: the job has no time limit (${answer%%|*})" >&2
        return 1
    fi
    ckpt_overhead=${ckpt_overhead:-$(_dmtcp_signal_time)}
    remainingTimeSec=$((total - limit + ckpt_overhead))
    ((remainingTimeSec > 0)) || return 0
    remainingTime=$(secs2timestr "$remainingTimeSec")
    scontrol update JobId="$job" Comment="$remainingTime" >&2 ||
        echo "parse_job: the comment of job $job still says ${answer#*|}" >&2
    # Users may shorten a limit, down to --time-min, and not extend it.
    longest=$(timestr2secs "${max_timelimit:-}") && ((longest < limit)) || longest=$limit
    ((remainingTimeSec > longest)) || longest=$remainingTimeSec
    # a run has to come to something before its signal
    ((longest >= limit || longest <= 2 * ckpt_overhead)) || requestTime=$(((longest + 59) / 60))
    echo "time remaining: $remainingTime" >&2
}

# --- requeue -----------------------------------------------------------------------------

requeue_job() {
    local func=${1:-func_trap} sig
    [ $# -eq 0 ] || shift
    parse_job || return 0
    if ((remainingTimeSec <= 0)); then
        echo 'requeue_job: the time is used up, the job is not requeued again' >&2
        return 0
    fi
    for sig in "${@:-USR1}"; do
        # shellcheck disable=SC2064 # now
        trap "$func $sig" "$sig"
    done
}

func_trap() {
    if [ -n "${ckpt_command:-}" ]; then
        # shellcheck disable=SC2086 # a command and its arguments
        $ckpt_command >&2 ||
            echo "func_trap: $ckpt_command failed; the job goes on from the checkpoint before" >&2
    fi
    trap '' TERM # what the requeue sends to this shell
    if ! scontrol requeue "$SLURM_JOB_ID" >&2; then
        echo "func_trap: job $SLURM_JOB_ID is not requeued; it runs on to its limit" >&2
        trap - TERM
        wait
        return
    fi
    [ -z "${requestTime:-}" ] ||
        scontrol update JobId="$SLURM_JOB_ID" TimeLimit="$requestTime" >/dev/null 2>&1 || :
    # Slurm ends the programs. Where it finds them by their parent, this shell has to be there
    # still: an orphan would go on beside the next run.
    wait
    trap - TERM
}
