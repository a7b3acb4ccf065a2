# Shell library of the tests: TAP, waiting with deadlines, stint jobs, other users and hosts.
# SPDX-License-Identifier: Apache-2.0
#
# A test is POSIX sh: it sources this file, calls the functions below and ends with
# done_testing. In its first lines it may say:
#   # timeout: SECONDS   (60 when not said)     # slow   only under t/run --slow
#   # alone              nothing else runs meanwhile
#
# Every test has $T, a directory of its own that anybody may write to; it is removed
# at the end, together with every process that was started here. A job called NAME has
#   $T/NAME       its checkpoint directory      $T/NAME.out .err    what it printed
#   $T/NAME.gate  prefix of the files by which test programs and tests talk: the program
#                 makes .ready once and .alive again and again; .go lets it finish.

set -u
umask 022
LC_ALL=C.UTF-8
export LC_ALL

T_DIR=$(cd "${0%/*}" && pwd)
case $T_DIR in */conformance) T_DIR=${T_DIR%/*} ;; esac
T_ROOT=${T_DIR%/*}
T_USER=${T_USER:-33}          # www-data: exists on every Debian, owns nothing
T_AS=''                       # 'user': stint and its programs run as T_USER
T_COUNT=0
T_FAILED=0
T_HOSTS=''

T=$(mktemp -d "${TMPDIR:-/tmp}/stint-t.XXXXXX") || exit 1
chmod 1777 "$T"

t_cleanup() {
    trap '' HUP INT TERM
    for t_job in "$T"/*.err; do
        [ -e "$t_job" ] && "$T_STAGE/t/procs" kill "${t_job%.err}"
    done
    for t_host in $T_HOSTS; do
        kill -9 "$t_host" 2>/dev/null
    done
    cat "$T"/*.cases/*/leftovers 2>/dev/null | "$T_STAGE/t/conformance/leftovers" 2>/dev/null
    rm -rf "$T"
    [ -z "${T_OWN_STAGE:-}" ] || rm -rf "$T_OWN_STAGE"
}
trap t_cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# stage_programs DIR: copies of what was built, readable for everybody, in the build
# folder's layout: a user may not be able to read the build folder, and a build that
# runs meanwhile must not change what is being tested.
stage_programs() {
    mkdir -p "$1/coordinator" "$1/runtime/restorer" "$1/spank" "$1/t/programs" "$1/t/conformance"
    for t_file in coordinator/stint runtime/libstint.so runtime/restorer/stint-restorer \
        spank/spank_stint.so spank/stint-slurm; do
        [ ! -e "$T_BUILD/$t_file" ] || cp "$T_BUILD/$t_file" "$1/$t_file"
    done
    for t_file in "$T_BUILD"/t/* "$T_BUILD"/t/programs/* "$T_BUILD"/t/conformance/*; do
        [ ! -f "$t_file" ] || [ ! -x "$t_file" ] || cp "$t_file" "$1/${t_file#"$T_BUILD"/}"
    done
    cp "$T_DIR"/programs/* "$1/t/programs/"
    if [ -d "$T_BUILD/coordinator/dmtcp/bin" ]; then
        mkdir -p "$1/coordinator/dmtcp"
        cp -a "$T_BUILD/coordinator/dmtcp/." "$1/coordinator/dmtcp/"
    fi
    chmod -R a+rX "$1"
}

T_BUILD=${T_BUILD:-$T_ROOT/build}
T_NAME=${0##*/}
T_RECORDS=$T_BUILD/t/results/${T_NAME%.t}
rm -f "$T_RECORDS"
if [ -z "${T_STAGE:-}" ]; then
    [ -x "$T_BUILD/t/procs" ] || { echo "Bail out! nothing is built in $T_BUILD"; exit 1; }
    T_OWN_STAGE=$(mktemp -d "${TMPDIR:-/tmp}/stint-stage.XXXXXX") || exit 1
    chmod 755 "$T_OWN_STAGE"
    T_STAGE=$T_OWN_STAGE
    stage_programs "$T_STAGE"
fi
PROGRAMS=$T_STAGE/t/programs
PATH=$T_STAGE/coordinator:$PATH
export PATH

# --- TAP ------------------------------------------------------------------

t_point() { # RESULT DESCRIPTION
    T_COUNT=$((T_COUNT + 1))
    printf '%s %d - %s\n' "$1" "$T_COUNT" "$2"
    [ "$1" = ok ] || T_FAILED=$((T_FAILED + 1))
}

diag() { # TEXT...
    printf '%s\n' "$*" | sed 's/^/# /'
}

diag_file() { # FILE: its last lines
    [ ! -s "$1" ] || { diag "--- ${1##*/}"; tail -n 40 "$1" | sed 's/^/#   /'; }
}

pass() { # DESCRIPTION
    t_point ok "$1"
}

fail() { # DESCRIPTION [WHY]
    t_point 'not ok' "$1"
    [ $# -lt 2 ] || diag "$2"
    return 1
}

ok() { # DESCRIPTION COMMAND...: it succeeds
    t_desc=$1
    shift
    if "$@" >"$T/ok.log" 2>&1; then
        pass "$t_desc"
    else
        fail "$t_desc" "status $? of: $*"
        diag_file "$T/ok.log"
        return 1
    fi
}

fails() { # DESCRIPTION STATUS COMMAND...: it ends with that exit status
    t_desc=$1
    t_want=$2
    shift 2
    t_got=0
    "$@" >"$T/ok.log" 2>&1 || t_got=$?
    if [ "$t_got" -eq "$t_want" ]; then
        pass "$t_desc"
    else
        fail "$t_desc" "status $t_got, not $t_want, of: $*"
        diag_file "$T/ok.log"
        return 1
    fi
}

is() { # DESCRIPTION GOT WANTED
    if [ "$2" = "$3" ]; then
        pass "$1"
    else
        fail "$1" "got:    $2
wanted: $3"
    fi
}

like() { # DESCRIPTION TEXT EXTENDED-REGULAR-EXPRESSION
    if printf '%s\n' "$2" | grep -Eq -- "$3"; then
        pass "$1"
    else
        fail "$1" "got:    $2
wanted: /$3/"
    fi
}

same() { # DESCRIPTION FILE FILE: byte for byte
    if cmp -s "$2" "$3"; then
        pass "$1"
    else
        fail "$1" "$(diff "$2" "$3" 2>&1 | head -n 20)"
    fi
}

skip() { # DESCRIPTION WHY
    T_COUNT=$((T_COUNT + 1))
    printf 'ok %d - %s # SKIP %s\n' "$T_COUNT" "$1" "$2"
}

skip_all() { # WHY
    printf '1..0 # SKIP %s\n' "$1"
    exit 0
}

need() { # COMMAND...: or the whole test is skipped
    for t_need in "$@"; do
        command -v "$t_need" >/dev/null || skip_all "$t_need is not installed"
    done
}

done_testing() {
    printf '1..%d\n' "$T_COUNT"
    [ "$T_FAILED" -eq 0 ]
    exit
}

# --- results that the documentation tells ------------------------------------

# record CASE MODE OUTCOME [TEXT]: what has come of a case, for t/limits. OUTCOME is pass,
# fail, skip, or the exit status of a checkpoint that was refused with TEXT. The build folder
# has one file for each test, with what its last run said; cases have TOPIC/CASE as a name.
record() {
    mkdir -p "${T_RECORDS%/*}"
    t_as=user
    { is_root && [ "$T_AS" != user ]; } && t_as=root
    printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$t_as" "$2" "$3" \
        "$(printf '%s' "${4:-}" | sed "s,$T/,,g" | tr '\t\n' '  ')" >>"$T_RECORDS"
}

# record_refusal CASE STATUS FILE: a checkpoint ended with STATUS and has printed FILE
record_refusal() {
    record "$1" refused "$2" "$(sed -n 's/^stint: main: //p' "$3" | head -n 1)"
}

# --- waiting, users, hosts --------------------------------------------------

wait_for() { # SECONDS COMMAND...: until it succeeds; 1 when it never does
    t_until=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -le "$t_until" ] || return 1
        sleep 0.05 # paces this loop, nothing more
    done
}

is_root() {
    [ "$(id -u)" -eq 0 ]
}

as_user() { # COMMAND...: as an ordinary user
    if is_root; then
        HOME=$T setpriv --reuid="$T_USER" --regid="$T_USER" --clear-groups "$@"
    else
        "$@"
    fi
}

as() { # COMMAND...: as $T_AS says
    if [ "$T_AS" = user ]; then
        as_user "$@"
    else
        "$@"
    fi
}

# Another machine, as far as a program can tell: its own network, host name and
# mounts (with its own /dev/shm). Prints a handle for on_host. Needs root.
host_new() { # NAME
    unshare --net --uts --mount --propagation private sh -c '
        hostname "$1" && ip link set lo up && mount -t tmpfs -o mode=1777 tmpfs /dev/shm &&
        : >"$2" && exec tail -f /dev/null' sh "$1" "$T/$1.up" >/dev/null 2>&1 &
    t_host=$!
    wait_for 20 test -e "$T/$1.up" || return 1
    rm -f "$T/$1.up"
    T_HOSTS="$T_HOSTS $t_host"
    HOST=$t_host
}

on_host() { # HANDLE COMMAND... ('' is this host)
    t_on=$1
    shift
    if [ -n "$t_on" ]; then
        nsenter --target "$t_on" --net --uts --mount --wdns="$PWD" "$@"
    else
        "$@"
    fi
}

# --- jobs -------------------------------------------------------------------

T_HOST=''    # handle of the host on which jobs are started and asked

t_start() { # NAME SUBCOMMAND ARGUMENTS...: `stint SUBCOMMAND` in the background
    t_name=$1
    shift
    rm -f "$T/$t_name.status"
    GATE=$T/$t_name.gate
    export GATE
    (
        trap - EXIT HUP INT TERM
        t_status=0
        # shellcheck disable=SC2086 # empty or one word
        if [ -n "$T_HOST" ]; then
            on_host "$T_HOST" $(as_words) ${T_WRAP:-} stint "$@" || t_status=$?
        else
            $(as_words) ${T_WRAP:-} stint "$@" || t_status=$?
        fi
        echo "$t_status" >"$T/$t_name.status.new"
        mv "$T/$t_name.status.new" "$T/$t_name.status"
    ) </dev/null >>"$T/$t_name.out" 2>>"$T/$t_name.err" &
}

as_words() { # the command words by which $T_AS is become
    if [ "$T_AS" = user ] && is_root; then
        echo "env HOME=$T setpriv --reuid=$T_USER --regid=$T_USER --clear-groups"
    else
        echo env
    fi
}

job_launch() { # NAME [OPTION...] COMMAND...: stint launch in the background
    t_job=$1
    shift
    t_start "$t_job" launch -d "$T/$t_job" "$@"
}

job_restart() { # NAME [OPTION...]: stint restart in the background
    t_job=$1
    shift
    t_start "$t_job" restart "$@" "$T/$t_job"
}

job_stint() { # NAME SUBCOMMAND [OPTION...]: ask about a job, as its user, on its host
    t_job=$1
    t_sub=$2
    shift 2
    # shellcheck disable=SC2046 # words
    on_host "$T_HOST" $(as_words) timeout 120 stint "$t_sub" "$@" "$T/$t_job"
}

job_checkpoint() { # NAME [OPTION...]
    t_job=$1
    shift
    job_stint "$t_job" checkpoint "$@"
}

job_ready() { # NAME: the program stands where it is to be checkpointed
    wait_for "${2:-60}" test -e "$T/$1.gate.ready"
}

job_alive() { # NAME: the program runs (again)
    rm -f "$T/$1.gate.alive"
    wait_for "${2:-60}" test -e "$T/$1.gate.alive"
}

job_go() { # NAME: let the program finish
    : >"$T/$1.gate.go"
}

job_end() { # NAME [SECONDS]: wait for the end of launch or restart; sets JOB_STATUS
    JOB_STATUS=none
    wait_for "${2:-60}" test -e "$T/$1.status" || return 1
    JOB_STATUS=$(cat "$T/$1.status")
}

job_kill9() { # NAME: as when the machine loses power
    "$T_STAGE/t/procs" kill "$T/$1"
    job_end "$1" 20
}

job_left() { # NAME: processes of the job that run
    "$T_STAGE/t/procs" list "$T/$1"
}

job_diag() { # NAME: everything that helps
    diag_file "$T/$1.err"
    diag_file "$T/$1.out"
    diag_file "$T/$1/log"
    diag "running: $(job_left "$1" | tr '\n' ' ')"
}

job_generation() { # NAME: number of the newest committed generation
    readlink "$T/$1/manifest.yaml" | sed 's/^gen-0*//; s,/.*,,'
}

# reference NAME COMMAND...: the same program without stint, not held up at its gate;
# its output is $T/NAME.native
reference() {
    t_name=$1
    shift
    : >"$T/$t_name.native.gate.go"
    GATE=$T/$t_name.native.gate as "$@" >"$T/$t_name.native" 2>"$T/$t_name.native.err" </dev/null
}
