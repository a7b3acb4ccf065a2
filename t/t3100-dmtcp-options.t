#!/bin/sh
# Every flag, variable and spelling that DMTCP's commands take; nothing is run for long.
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
. "${0%/*}/lib.sh"
. "$T_DIR/dmtcp.sh"

# --- help and version -------------------------------------------------------------
for c in launch coordinator command restart; do
    like "dmtcp_$c --help" "$(dmtcp_$c --help)" "^usage: dmtcp_$c "
    like "dmtcp_$c --version" "$(dmtcp_$c --version)" "^dmtcp_$c \(stint [0-9]"
    fails "dmtcp_$c: an unknown option" 2 dmtcp_$c --no-such-option x
done
help=$(dmtcp_launch --help)
for flag in -h --coord-host -p --coord-port --port-file -j --join-coordinator \
    --new-coordinator --any-coordinator -i --interval --gzip --no-gzip --ckptdir \
    --ckpt-open-files --checkpoint-open-files --allow-file-overwrite --ckpt-signal \
    --enable-unique-checkpoint-filenames --disable-unique-checkpoint-filenames \
    --with-plugin --modify-env --pathvirt --disable-alloc-plugin --disable-all-plugins \
    --kernel-loader --tmpdir -q --quiet --coord-logfile --help --version; do
    like "launch --help names $flag" "$help" "(^| |,)$flag( |,|\$)"
done
for name in DMTCP_COORD_HOST DMTCP_COORD_PORT DMTCP_CHECKPOINT_INTERVAL DMTCP_GZIP \
    DMTCP_CHECKPOINT_DIR DMTCP_SIGCKPT DMTCP_UNIQUE_CKPT_PLUGIN DMTCP_PLUGIN \
    DMTCP_PATH_PREFIX DMTCP_TMPDIR DMTCP_QUIET DMTCP_COORD_LOG_FILENAME; do
    like "launch --help names $name" "$help" "$name"
done
help=$(dmtcp_coordinator --help)
for flag in -p --coord-port --port-file --status-file --ckptdir --tmpdir --write-kv-data \
    --exit-on-last --kill-after-ckpt --timeout --stale-timeout --daemon -i --interval \
    --coord-logfile -q; do
    like "coordinator --help names $flag" "$help" "(^| |,)$flag( |,|\$)"
done
help=$(dmtcp_restart --help)
for flag in -h -p --port-file -j --new-coordinator --any-coordinator -i \
    --no-strict-checking --ckptdir --restartdir --tmpdir -q --coord-logfile \
    --debug-restart-pause; do
    like "restart --help names $flag" "$help" "(^| |,)$flag( |,|\$)"
done

# --- how public scripts of HPC centres spell it -------------------------------------
# One launch a line; true runs under a coordinator of its own and ends with it.
while read -r flags; do
    # shellcheck disable=SC2086 # words
    ok "dmtcp_launch $flags" timeout 30 dmtcp_launch -p 0 $flags true
done <<'END'
--new-coordinator
--any-coordinator
--new-coordinator --coord-port 0
-i 60
--interval 600
--interval=600
-i3600
-i 0
--no-gzip
--gzip
--ckptdir ckpt
--ckptdir=ckpt
--checkpoint-open-files
--ckpt-open-files
--allow-file-overwrite
--ckpt-open-files --allow-file-overwrite
--ckpt-signal 10
--enable-unique-checkpoint-filenames
--disable-unique-checkpoint-filenames
--modify-env
--pathvirt
--disable-alloc-plugin
--disable-dl-plugin
--disable-all-plugins
--kernel-loader /bin/true
--tmpdir /tmp
-q
-q -q
--quiet
--quiet --quiet
--coord-logfile coordinator.log
--coord-host localhost
--host localhost
-h localhost
-h 127.0.0.1
--port 0
--rm
--rm --infiniband --no-gzip
--ib --rm
--batch-queue
--port-file the.port
--
END
is '--port-file' "$(cat the.port | tr -d 0-9)" ''
ok '--coord-logfile' test -s coordinator.log
ok '--ckptdir is made' test -d ckpt
like 'a flag without effect says so' "$(dmtcp_launch -p 0 --modify-env true 2>&1)" \
    'modify-env has no effect'
while IFS='|' read -r flags pattern; do
    # shellcheck disable=SC2086 # words
    like "  $flags: why" "$(dmtcp_launch -p 0 $flags true 2>&1)" "^stint: .*${flags%% *} has no effect here: $pattern"
done <<'END'
--gzip|images are not compressed
--modify-env|.*dmtcp_env.txt is not read
--pathvirt|.*paths that they had
--tmpdir /tmp|no temporary files
--ckpt-signal 12|.*SIGURG
END
is '  --ckpt-open-files has one' "$(dmtcp_launch -p 0 --ckpt-open-files --allow-file-overwrite true 2>&1)" ''
is 'but not with -q -q' "$(dmtcp_launch -p 0 -q -q --modify-env true 2>&1)" ''
like '--with-plugin says that there are no events' \
    "$(dmtcp_launch -p 0 --with-plugin "$T_STAGE/runtime/libstint.so" true 2>&1)" 'events'
# shellcheck disable=SC2016 # for the inner shell
is 'the program knows its coordinator' \
    "$(dmtcp_launch -p 0 --port-file p sh -c 'echo $DMTCP_COORD_HOST:$DMTCP_COORD_PORT')" \
    "$(hostname):$(cat p)"
is 'variables' "$(DMTCP_COORD_PORT=0 DMTCP_CHECKPOINT_INTERVAL=60 DMTCP_GZIP=0 \
    DMTCP_CHECKPOINT_DIR=ckpt DMTCP_TMPDIR=/tmp DMTCP_QUIET=2 DMTCP_SIGCKPT=12 \
    DMTCP_COORD_LOG_FILENAME=env.log dmtcp_launch --port-file p echo ran 2>&1)" ran
ok 'DMTCP_COORD_LOG_FILENAME' test -e env.log
is 'the exit status is the program'\''s' "$(dmtcp_launch -p 0 sh -c 'exit 42'; echo $?)" 42
fails 'a program that is not there' 127 dmtcp_launch -p 0 ./nothing
like 'and says so' "$(dmtcp_launch -p 0 ./nothing 2>&1)" '\./nothing: No such file'
: >plain
fails 'one that may not be run' 126 dmtcp_launch -p 0 ./plain
printf '#!/bin/sh\necho script $1\n' >script
chmod +x script
is 'a script by its first line' "$(dmtcp_launch -p 0 ./script x)" 'script x'
is 'a script by its interpreter' "$(dmtcp_launch -p 0 sh script y)" 'script y'
is 'options of the command are its own' "$(dmtcp_launch -p 0 echo -i 5 --help)" '-i 5 --help'

# --- wrong usage ---------------------------------------------------------------------
fails 'no command' 2 dmtcp_launch
fails 'a value is missing' 2 dmtcp_launch --ckptdir
fails 'a port that is none' 2 dmtcp_launch -p x true
fails 'a port that is too high' 2 dmtcp_launch -p 65536 true
fails 'an interval that is none' 2 dmtcp_launch -i soon true
fails 'DMTCP_COORD_PORT that is none' 2 env DMTCP_COORD_PORT=x dmtcp_launch true
fails '-j with -i' 2 dmtcp_launch -j -i 5 true
fails '-j with --new-coordinator' 2 dmtcp_launch -j --new-coordinator true
fails 'dmtcp_coordinator: a port that is none' 2 dmtcp_coordinator x
fails 'dmtcp_restart without images' 2 dmtcp_restart
fails 'dmtcp_command without a command' 2 dmtcp_command
fails 'dmtcp_command with a wrong one' 2 dmtcp_command --frobnicate
fails 'and with a wrong interval' 2 dmtcp_command -i x

# --- JSON without a coordinator ---------------------------------------------------------
json() { # ARGUMENT...: standard output, then "STATUS:standard error"
    j_status=0
    dmtcp_command -p 1 --json "$@" 2>"$T/json.err" || j_status=$?
    echo "$j_status:$(cat "$T/json.err")"
}
while read -r code words; do
    # shellcheck disable=SC2086 # words
    is "--json $words" "$(json $words)" \
        "{\"schema_version\":1,\"command\":\"$code\",\"command_status\":\"DMT_COORD_NOT_FOUND\",\"coordinator_host\":\"localhost\",\"coordinator_port\":1,\"message\":\"no coordinator on localhost, port 1\"}
2:"
done <<'END'
DMT_STATUS --status
DMT_STATUS -s
DMT_STATUS s
DMT_LIST --list
DMT_LIST -l
DMT_LIST l
DMT_CHECKPOINT --checkpoint
DMT_CHECKPOINT -c
DMT_CHECKPOINT c
DMT_BLOCKING_CKPT --bcheckpoint
DMT_BLOCKING_CKPT -bc
DMT_BLOCKING_CKPT bc
DMT_KILL_AFTER_CKPT --kcheckpoint
DMT_KILL_AFTER_CKPT -kc
DMT_KILL_AFTER_CKPT kc
DMT_KILL_AFTER_CKPT ck
DMT_KILL_AFTER_CKPT K
DMT_KILL_AFTER_CKPT Kc
DMT_UPDATE_CKPT_INTERVAL --interval 5
DMT_UPDATE_CKPT_INTERVAL -i 5
DMT_UPDATE_CKPT_INTERVAL i 5
DMT_UPDATE_CKPT_INTERVAL i9
DMT_UPDATE_CKPT_INTERVAL -i7
DMT_KILL --kill
DMT_KILL -k
DMT_KILL k
DMT_QUIT --quit
DMT_QUIT -q
DMT_QUIT q
END
for words in frobnicate -x ''; do
    # shellcheck disable=SC2086 # words
    like "--json with the wrong word '$words'" "$(json $words)" \
        '^\{"schema_version":1,"command":"DMT_INVALID_COORDINATOR_COMMAND","command_status":"DMT_COORD_INVALID_COMMAND"'
done
for word in -h h --help '?'; do
    like "--json $word" "$(json "$word")" '"command":"DMT_HELP","command_status":"DMT_COORD_SUCCESS"'
done
like '--json --version' "$(json --version)" '"command":"DMT_VERSION"'
like '-h HOST' "$(json -h nowhere.invalid -s)" '"coordinator_host":"nowhere.invalid"'
like '-h alone is help' "$(dmtcp_command -h)" '^usage: dmtcp_command'
d_finish
