# timeout: 120
# The commands: help, usage, what they print of a job, and what they refuse.
. "${0%/*}/lib.sh"

like 'version' "$(stint version)" '^stint [0-9]+\.[0-9]+'
ok 'help' stint help
fails 'no command is a wrong usage' 2 stint
fails 'nor is one that does not exist' 2 stint dance
fails 'help for it neither' 2 stint help dance
for word in --help help version; do
    is "help $word" "$(stint help $word)" "$(stint help)"
done
for command in checkpoint status list verify prune coordinator launch restart; do
    like "$command --help" "$(stint "$command" --help 2>&1)" "usage: stint $command"
    is "help $command" "$(stint help "$command")" "$(stint "$command" --help)"
    fails "$command with a wrong option" 2 stint "$command" --no-such-option
    like "... which is named" "$(stint "$command" --no-such-option 2>&1)" \
        '^stint: .*no-such-option'
done
for command in checkpoint status list verify; do
    fails "$command without DIR" 2 stint "$command"
    fails "$command of two DIRs" 2 stint "$command" "$T" "$T"
    fails "$command of nothing" 1 stint "$command" "$T/none"
    like "... says so" "$(stint "$command" "$T/none" 2>&1)" "^stint: .*$T/none: No such file"
done
fails 'prune wants --keep' 2 stint prune "$T"
fails 'prune keeps one at least' 2 stint prune --keep 0 "$T"
fails 'prune wants a number' 2 stint prune --keep many "$T"
fails 'coordinator wants DIR' 2 stint coordinator
for interval in -1 5x 1:60 1.5 soon ''; do
    fails "coordinator -i '$interval'" 2 stint coordinator -d "$T/c" -i "$interval"
done
ok 'nothing was made by that' test ! -e "$T/c"
if is_root; then
    mkdir -m 700 "$T/mine"
    fails "another user's directory" 1 as_user stint status "$T/mine"
    mkdir -m 755 "$T/open" && chown "$T_USER" "$T/open" && touch "$T/open/key"
    like 'a directory that others may read' "$(as_user stint list "$T/open" 2>&1)" \
        '^stint: .*open to other users'
fi
mkdir "$T/other" && : >"$T/other/file"
for command in status list verify restart checkpoint 'prune --keep 1'; do
    # shellcheck disable=SC2086 # words
    fails "$command of another directory" 1 stint $command "$T/other"
    # shellcheck disable=SC2086 # words
    is '... says so' "$(stint $command "$T/other" 2>&1)" \
        "stint: $T/other is no checkpoint directory"
done
is 'nothing was made there' "$(ls "$T/other")" file
for command in launch restart; do
    fails "$command -d ''" 2 stint $command -d '' true
done
mkdir -m 700 "$T/empty"
ok 'status of an empty directory' stint status "$T/empty"
like '... says that nothing runs' "$(stint status "$T/empty")" 'running: +nothing'
fails 'checkpoint where nothing runs' 1 stint checkpoint "$T/empty"
like '... says so' "$(stint checkpoint "$T/empty" 2>&1)" '^stint: nothing runs in '
ok 'list of an empty directory' stint list "$T/empty"
fails 'verify of an empty directory' 1 stint verify "$T/empty"

json() { # FILE EXPRESSION: of the value v
    /usr/bin/python3 -c 'import json, sys
v = json.load(open(sys.argv[1]))
print(eval("(" + sys.argv[2] + ")"))' "$@"
}

job_launch j -i 1h sh "$PROGRAMS/job.sh"
job_ready j || job_diag j
like 'status of a job' "$(job_stint j status)" 'running: +main on .*job.sh'
like '... tells the interval' "$(job_stint j status)" 'interval: +1 h 0 min'
job_stint j checkpoint --json >"$T/c.json"
is 'checkpoint --json' "$(json "$T/c.json" 'v["ok"], v["code"], v["generation"]')" '(True, 0, 1)'
like 'checkpoint says what it did' "$(job_stint j checkpoint 2>&1)" \
    '^stint: generation 2 committed: .*iB, .* s$'
fails 'checkpoint --timeout 0 does not wait' 75 job_stint j checkpoint --timeout 0
job_stint j checkpoint >/dev/null 2>&1
job_stint j status --json >"$T/s.json"
is 'status --json' "$(json "$T/s.json" 'v["running"], v["last"]["generation"],
    v["checkpoints"], v["interval_s"], len(v["agents"]), v["failure"]')" "(True, 3, 3, 3600, 1, '')"
is 'two generations are kept' "$(cd "$T/j" && echo gen-*)" 'gen-000002 gen-000003'
like 'list marks the newest' "$(job_stint j list)" '^\* +3 '
job_stint j list --json >"$T/l.json"
is 'list --json' "$(json "$T/l.json" '[(g["generation"], g["newest"]) for g in v]')" \
    '[(2, False), (3, True)]'
ok 'verify' job_stint j verify
job_stint j verify --json >"$T/v.json"
is 'verify --json' "$(json "$T/v.json" '[(g["generation"], g["ok"]) for g in v]')" \
    '[(2, True), (3, True)]'
ok 'verify one' job_stint j verify --generation 2
fails 'verify one that is not there' 1 job_stint j verify --generation 1
ok 'prune beside the running job' job_stint j prune --keep 1
is '... has removed one' "$(cd "$T/j" && echo gen-*)" 'gen-000003'
is 'modes' "$(cd "$T/j" && stat -c '%a %n' . key log lock gen-000003 gen-000003/* |
    sed 's/ .*//' | sort -u | tr '\n' ' ')" '600 700 '
job_kill9 j

image=$(find "$T/j/gen-000003" -name '*.img' | head -n 1)
cp "$image" "$T/good"
size=$(stat -c %s "$image")
for offset in 4200 $((size / 2)) $((size - 4097)); do
    cp "$T/good" "$image"
    printf '\377\376\375' | dd of="$image" bs=1 seek="$offset" conv=notrunc 2>/dev/null
    if ! cmp -s "$T/good" "$image"; then
        fails "verify finds the change at $offset" 1 job_stint j verify
        like '... and names the file' "$(job_stint j verify 2>&1)" "${image##*/}"
    fi
done
cp "$T/good" "$image"
ok 'put back it is good' job_stint j verify
truncate -s -4096 "$image"
fails 'verify finds the cut' 1 job_stint j verify
cp "$T/good" "$image"
sed -i 's/name: "main-/name: "..\/main-/' "$T/j/gen-000003/manifest.yaml"
fails 'verify refuses a manifest that leads elsewhere' 1 job_stint j verify
fails 'so does list' 1 job_stint j list
rm -rf "$T/j"

# A job id stands for its directory; stint-slurm is played by a script.
mkdir "$T/lib" && cat >"$T/lib/stint-slurm" <<E
#!/bin/sh
[ "\$*" = 'dir 4711' ] && echo $T/empty && exit
echo "stint: slurm: no checkpoint directory of job \$2 is known" >&2
exit 1
E
chmod 755 "$T/lib/stint-slurm"
like 'a job id for DIR' "$(cd "$T" && STINT_LIBEXECDIR=$T/lib stint status 4711)" "$T/empty"
like 'an unknown job' "$(cd "$T" && STINT_LIBEXECDIR=$T/lib stint status 4712 2>&1)" \
    '^stint: there is no directory 4712 here; no checkpoint directory of job 4712 is known$'
like 'a task of an array' "$(cd "$T" && STINT_LIBEXECDIR=$T/lib stint status 4711_3 2>&1)" \
    'job 4711_3 is known$'
mkdir -m 700 "$T/4712"
like 'a directory of that name comes first' \
    "$(cd "$T" && STINT_LIBEXECDIR=$T/lib stint status 4712)" "directory: $T/4712"
done_testing
