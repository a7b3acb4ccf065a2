# Runs conformance cases in the ways that a job can go. Sourced after lib.sh.
# SPDX-License-Identifier: Apache-2.0
#
# The cases of a batch run at once below one driver, so that one launch, checkpoint and
# restart serves them all. A batch that fails as a whole is halved until the case that is
# to blame stands alone.

CONF=$T_STAGE/t/conformance
CONF_TABLE=$T_DIR/conformance/table
CONF_BATCH=${CONF_BATCH:-48}
CONF_LIMIT=80 # seconds for one batch to do its work, natively
CONF_LONG='huge|inet|locks|shared|shm|sockets|terminals|unix' # topics that wait for the kernel's timers
conf_batches=0
# For refused/privileged_program: it changes the user of an ordinary user, and root's group.
is_root && install -m 6755 -g "$T_USER" "$CONF/waits" "$T/privileged"

conf_expect() { # TOPIC/CASE: what the table says of it
    awk -v name="$1" -v me="${T_AS:-root}" '
        $1 == name {
            who = $NF == "root" || $NF == "user" ? $NF : me
            if (who == me) {
                $1 = ""
                sub(/^ /, "")
                sub(/ (root|user)$/, "")
                found = $0
            }
        }
        END { print found == "" ? "restore" : found }' "$CONF_TABLE"
}

conf_topics() { # all of them, by the programs that were built
    for t_topic in "$CONF"/conf-*; do
        echo "${t_topic##*/conf-}"
    done
}

conf_cases() { # TOPIC...: all their cases
    for t_topic in "$@"; do
        "$CONF/conf-$t_topic" | sed "s,^,$t_topic/,"
    done
}

conf_select() { # KIND CASE...: those with that expectation (restore, refuse, slow, todo)
    t_kind=$1
    shift
    for t_case in "$@"; do
        case $(conf_expect "$t_case") in "$t_kind"*) echo "$t_case" ;; esac
    done
}

conf_job() { # a fresh name and directory; sets JOB
    conf_batches=$((conf_batches + 1))
    JOB=conf$conf_batches
    mkdir -m 1777 "$T/$JOB.cases"
}

conf_steps() { # MODE: what happens to the job $JOB between ready and go
    t_mode=$1
    case $t_mode in
    native) return 0 ;;
    continue) job_checkpoint "$JOB" && job_alive "$JOB" ;;
    restart) conf_kill_and_restart ;;
    thrice) conf_kill_and_restart && conf_kill_and_restart && conf_kill_and_restart ;;
    esac
}

conf_kill_and_restart() {
    job_checkpoint "$JOB" --kill || return 1
    job_end "$JOB" 60 || { diag "the job did not end after checkpoint --kill"; return 1; }
    job_restart "$JOB"
    job_alive "$JOB" "${CONF_ALIVE:-90}" || { diag "not alive after the restart"; return 1; }
}

conf_begin() { # MODE CASE...
    t_mode=$1
    shift
    if [ "$t_mode" = native ]; then
        # shellcheck disable=SC2046 # words
        (
            trap - EXIT
            GATE=$T/$JOB.gate $(as_words) "$T_STAGE/t/procs" run -k "$CONF_LIMIT" \
                "$CONF/driver" "$T/$JOB.cases" "$@"
            echo $? >"$T/$JOB.status"
        ) </dev/null >>"$T/$JOB.out" 2>>"$T/$JOB.err" &
    else
        job_launch "$JOB" "$CONF/driver" "$T/$JOB.cases" "$@"
    fi
    job_ready "$JOB" 60 || { diag "the cases were never all ready"; return 1; }
}

conf_record() { # CASE MODE OUTCOME [TEXT]
    [ -n "${T_LABEL:-}" ] || record "$@"
}

conf_verdict() { # MODE CASE: one TAP point
    t_out=$T/$JOB.cases/$(echo "$2" | tr / .)/out
    t_label="$2: $1${T_AS:+ as an ordinary user}${T_LABEL:+ $T_LABEL}"
    case $(tail -n 1 "$t_out" 2>/dev/null) in
    PASS)
        pass "$t_label"
        [ "$1" = refused ] || conf_record "$2" "$1" pass
        ;;
    SKIP*)
        t_why=$(sed -n 's/^SKIP //p' "$t_out")
        skip "$t_label" "$t_why"
        conf_record "$2" "$1" skip "$t_why"
        ;;
    *)
        conf_record "$2" "$1" fail
        fail "$t_label" "$(tail -n 20 "$t_out" 2>/dev/null)
$([ -e "${t_out%out}status" ] || echo "it did not end")" || :
        ;;
    esac
}

# conf_batch MODE CASE...: MODE is native, continue, restart or thrice
conf_batch() {
    conf_mode=$1
    shift
    [ $# -gt 0 ] || return 0
    conf_job
    if conf_begin "$conf_mode" "$@" && conf_steps "$conf_mode" >"$T/$JOB.steps" 2>&1; then
        job_go "$JOB"
        job_end "$JOB" "$CONF_LIMIT" || diag "$conf_mode: not all of this batch came to an end"
        for t_case in "$@"; do
            conf_verdict "$conf_mode" "$t_case"
        done
        conf_forget
        return 0
    fi
    if [ $# -eq 1 ]; then
        conf_record "$1" "$conf_mode" fail
        fail "$1: $conf_mode${T_AS:+ as an ordinary user}${T_LABEL:+ $T_LABEL}" \
            "$(tail -n 3 "$T/$JOB.steps"; cat "$T/$JOB.cases"/*/out 2>/dev/null)" || :
        job_diag "$JOB"
        conf_forget
        return 0
    fi
    diag "$conf_mode: a batch of $# failed as a whole: $(tail -n 1 "$T/$JOB.steps")"
    conf_forget
    t_half=$(($# / 2))
    set -- "$conf_mode" "$(conf_part 1 $t_half "$@")" "$(conf_part $((t_half + 1)) $# "$@")"
    # shellcheck disable=SC2086
    conf_batch "$1" $2
    # shellcheck disable=SC2086
    conf_batch "$1" $3
}

conf_forget() { # everything about the job $JOB
    job_kill9 "$JOB"
    cat "$T/$JOB.cases"/*/leftovers 2>/dev/null | "$CONF/leftovers"
    rm -rf "$T/$JOB" "$T/$JOB".*
}

conf_part() { # FROM TO WORD...
    t_from=$1
    t_to=$2
    shift 2
    t_i=0
    for t_word in "$@"; do
        t_i=$((t_i + 1))
        if [ $t_i -ge "$t_from" ] && [ $t_i -le "$t_to" ]; then echo "$t_word"; fi
    done
}

# conf_run MODE CASE...: in batches of CONF_BATCH
conf_run() {
    t_way=$1
    shift
    while [ $# -gt 0 ]; do
        t_these=$(conf_part 1 "$CONF_BATCH" "$@")
        t_n=$#
        [ "$t_n" -le "$CONF_BATCH" ] || t_n=$CONF_BATCH
        shift "$t_n"
        conf_rest="$*"
        conf_way=$t_way
        # shellcheck disable=SC2086
        conf_batch "$t_way" $t_these
        t_way=$conf_way
        # shellcheck disable=SC2086
        set -- $conf_rest
    done
}

# conf_whose FILE: the case that a refusal names, by the process in it
conf_whose() {
    t_pid=$(sed -n 's/^[^(]*process \([0-9]*\) (.*/\1/p' "$1" | head -n 1)
    [ -n "$t_pid" ] || return 0
    t_pid=$(ps -o pgid= -p "$t_pid" | tr -d ' ')
    t_dir=$(readlink "/proc/${t_pid:-0}/cwd") || return 0
    echo "${t_dir##*/}" | sed 's,\.,/,'
}

# conf_whose_reason FILE CASE...: the first case whose expected reason a refusal is
conf_whose_reason() {
    t_said=$1
    shift
    for t_case in "$@"; do
        conf_is_reason "$t_case" "$t_said" || continue
        echo "$t_case"
        return
    done
}

conf_is_reason() { # CASE FILE
    grep -Eq -- "$(conf_expect "$1" | sed 's/^refuse://')" "$2"
}

# conf_let_go CASE STATUS: it was refused, goes on and comes to its end
conf_let_go() {
    t_label="$1: refused${T_AS:+ as an ordinary user}"
    if conf_is_reason "$1" "$T/$JOB.said"; then
        record_refusal "$1" "$2" "$T/$JOB.said"
        : >"$T/$JOB.cases/$(echo "$1" | tr / .)/go"
        wait_for 60 test -e "$T/$JOB.cases/$(echo "$1" | tr / .)/status"
        conf_verdict refused "$1"
    else
        fail "$t_label" "the reason is another one: $(cat "$T/$JOB.said")" || :
        : >"$T/$JOB.cases/$(echo "$1" | tr / .)/go"
    fi
}

# conf_refused CASE...: all in one job, of which each checkpoint is refused for the sake of one
# of them. That one is let go until none is left.
conf_refused() {
    [ $# -gt 0 ] || return 0
    conf_job
    conf_left=" $* "
    conf_begin continue "$@" || job_diag "$JOB"
    for t_each in "$@"; do
        grep -qs '^SKIP' "$T/$JOB.cases/$(echo "$t_each" | tr / .)/out" || continue
        conf_verdict refused "$t_each"
        conf_left=${conf_left%% "$t_each" *}\ ${conf_left#* "$t_each" }
    done
    while [ -n "${conf_left# }" ]; do
        t_status=0
        job_checkpoint "$JOB" >"$T/$JOB.said" 2>&1 || t_status=$?
        # shellcheck disable=SC2086 # words
        conf_this=$(conf_whose "$T/$JOB.said" | grep . || conf_whose_reason "$T/$JOB.said" $conf_left)
        case "$t_status$conf_left" in
        0*) break ;;
        *" $conf_this "*) conf_let_go "$conf_this" "$t_status" ;;
        *) break ;;
        esac
        conf_left=${conf_left%% "$conf_this" *}\ ${conf_left#* "$conf_this" }
    done
    for t_each in $conf_left; do
        fail "$t_each: refused${T_AS:+ as an ordinary user}" "$(cat "$T/$JOB.said")" || :
    done
    conf_forget
}

# conf_all MODES TOPIC...: what is to be restored in each of these ways; what is to be
# refused, once, with the mode `refused`; what is not done yet as skipped points
conf_all() {
    t_modes=$1
    shift
    t_cases=$(conf_cases "$@")
    for t_each in $t_modes; do
        conf_list=$t_cases
        conf_modes=$t_modes
        if [ "$t_each" = refused ]; then
            # shellcheck disable=SC2046
            conf_refused $(conf_select refuse $conf_list)
            for conf_each in $(conf_select todo $conf_list); do
                skip "$conf_each${T_AS:+ as an ordinary user}" "$(conf_expect "$conf_each" | sed 's/^todo://')"
            done
        else
            # shellcheck disable=SC2046
            conf_run "$t_each" $(conf_select restore $conf_list)
        fi
        t_modes=$conf_modes
        t_cases=$conf_list
    done
}
