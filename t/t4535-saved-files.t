# timeout: 90
# Closed files that are part of the checkpoint: those that --save-files names, and those in a
# TMPDIR of the job's own, come back as they were; nothing else is touched.
. "${0%/*}/lib.sh"

cat >"$T/program" <<'END'
. "$1/gate.sh"
gate
cat "${2:-/dev/null}"
END

fill() { # DIRECTORY: what is saved
    as mkdir -p "$1/sub/empty"
    as sh -c 'cd "$1" && echo removed >removed.dat && echo changed >changed.dat &&
        echo kept >kept.dat && echo longer, at first >longer.dat && echo deep >sub/deep &&
        echo read only >fixed.dat && chmod 440 fixed.dat && ln -s removed.dat link &&
        ln removed.dat twin.dat && mkfifo sub/pipe && chmod 750 sub/empty &&
        truncate -s 600M sparse.dat && echo middle | dd of=sparse.dat bs=1 seek=500000000 conv=notrunc 2>/dev/null &&
        touch -d 2001-02-03T04:05:06 *.dat' - "$1"
}

spoil() { # DIRECTORY: what happens after the checkpoint
    as sh -c 'cd "$1" && rm -r removed.dat twin.dat link sub sparse.dat && echo no longer >changed.dat &&
        chmod u+w fixed.dat && echo written all the same >fixed.dat && chmod 440 fixed.dat &&
        echo x >longer.dat && echo new >new.dat' - "$1"
}

describe() { # DIRECTORY
    (cd "$1" && find . -mindepth 1 ! -name new.dat ! -name large -printf '%p %y %m %s %l %Ts\n' |
        awk '$2 == "d" || $2 == "p" { $4 = $NF = "" } { print }' | sort &&
        cat changed.dat kept.dat longer.dat fixed.dat sub/deep twin.dat &&
        tail -c +500000001 sparse.dat | head -c 6)
}

restarted() { # JOB: checkpointed before, is killed and restarted
    job_kill9 "$1" && job_restart "$1" && job_alive "$1" && job_go "$1" && job_end "$1"
}

named() {
    job=named${T_AS:+-$T_AS}
    who=${T_AS:+ as an ordinary user}
    mkdir -m 1777 "$T/$job.d"
    fill "$T/$job.d/all"
    as sh -c 'mkdir "$1" && echo other >"$1/other" && echo one >"$1/one.txt"' - "$T/$job.d/some"
    describe "$T/$job.d/all" >"$T/$job.want"
    job_launch "$job" --save-files="$T/$job.d/a?l" --save-files="$T/nowhere/*:$T/$job.d/some/*.txt" \
        sh "$T/program" "$PROGRAMS"
    job_ready "$job"
    ok "a checkpoint with saved files$who" job_checkpoint "$job"
    ok "which is sound" job_stint "$job" verify
    spoil "$T/$job.d/all"
    as rm -r "$T/$job.d/some"
    ok "is restored$who" restarted "$job"
    describe "$T/$job.d/all" >"$T/$job.got"
    same "they are as they were$who" "$T/$job.got" "$T/$job.want"
    is "two names of one file are that again" "$(stat -c %h "$T/$job.d/all/twin.dat")" 2
    ok "holes are holes again" test "$(stat -c %b "$T/$job.d/all/sparse.dat")" -lt 4096
    is "what does not match is not there" "$(ls "$T/$job.d/some")" one.txt
    is "what is new stays" "$(cat "$T/$job.d/all/new.dat")" new
    like "a line tells" "$(cat "$T/$job/log")" 'saved files were gone: made again'
    [ "$T_FAILED" -eq 0 ] || job_diag "$job"
}

# own: the directory bears the job's id. shared: any other directory of the user's.
temporary() { # KIND NAME
    job=$1
    fill "$T/$2"
    describe "$T/$2" >"$T/$job.want"
    dd if=/dev/urandom of="$T/$2/large" bs=1M count=17 2>/dev/null
    (export TMPDIR="$T/$2" SLURM_JOB_ID=4242 && job_launch "$job" sh "$T/program" "$PROGRAMS" "$T/$2/kept.dat")
    job_ready "$job" && job_checkpoint "$job" >/dev/null
    spoil "$T/$2"
    rm -f "$T/$2/large"
    [ "$1" != moved ] || rm -r "${T:?}/$2"
    restarted "$job"
    is "TMPDIR, $1: the program reads there" "$JOB_STATUS $(cat "$T/$job.out")" "0 kept"
    describe "$T/$2" >"$T/$job.got"
}

T_AS=user
named
T_AS=''

mkdir "$T/tmp.dir"
export STINT_SAVE_OPEN_FILES=1m
temporary own tmp.dir/4242.batch
unset STINT_SAVE_OPEN_FILES
like "what has no room is counted" "$(cat "$T/own/log")" \
    '1 files in .*/4242.batch with 17825792 bytes are not part of the checkpoint'
same "a TMPDIR of the job's own is as it was" "$T/own.got" "$T/own.want"
temporary moved tmp.dir/me.4242
same "also on a node that has none of it" "$T/moved.got" "$T/moved.want"
temporary shared tmp.dir/142420
is "another one: what is missing comes back" "$(cat "$T/tmp.dir/142420/sub/deep")" deep
is "what is there stays" "$(cat "$T/tmp.dir/142420/changed.dat")" "no longer"
ok "and large files are not stored" test ! -e "$T/tmp.dir/142420/large"

fails "a pattern is wanted" 2 stint launch --save-files= true
ok "the wish is kept for restarts" grep -q "save_files:.*/a?l:.*some/\*.txt" "$T/named-user/config.yaml"

# Files that the program itself has open: a log goes on, whatever was written to it since.
cat >"$T/opener" <<'END'
. "$1/gate.sh"
exec 3>>"$2/log" 4<"$2/input"
echo before >&3
gate
echo after >&3
cat <&4
END
mkdir "$T/open.d"
echo read >"$T/open.d/input"
job_launch open --save-files="$T/open.d" sh "$T/opener" "$PROGRAMS" "$T/open.d"
job_ready open && job_checkpoint open >/dev/null
echo since >>"$T/open.d/log"
echo none >"$T/open.d/input"
restarted open
is "open files that match are as they were" \
    "$JOB_STATUS $(cat "$T/open.out" "$T/open.d/log" | tr '\n' ' ')" '0 read before after '
done_testing
