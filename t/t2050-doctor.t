# timeout: 120
# `stint doctor` says beforehand what a checkpoint would refuse, in the same words, and the
# processes that it looks at do not notice.
. "${0%/*}/lib.sh"

CONF=$T_STAGE/t/conformance

# run_case NAME TOPIC/CASE...: natively, up to its gate; sets PID
run_case() {
    run_name=$1
    shift
    mkdir -m 1777 "$T/$run_name.cases"
    (
        trap - EXIT
        GATE=$T/$run_name.gate exec $(as_words) "$CONF/driver" "$T/$run_name.cases" "$@"
    ) </dev/null >"$T/$run_name.out" 2>&1 &
    PID=$!
    job_ready "$run_name" 60
}

end_case() { # NAME: all its cases have passed
    job_go "$1"
    wait "$PID"
    is "$1: the program has not noticed" "$? $(cat "$T/$1.cases"/*/out | grep -vc '^PASS\|^SKIP')" '0 0' ||
        diag "$(cat "$T/$1.cases"/*/out)"
}

# finds NAME TOPIC/CASE REGEX: refused by doctor for that reason
finds() {
    run_case "$1" "$2"
    if grep -qs '^SKIP' "$T/$1.cases"/*/out; then
        skip "$1 is found" "$(cat "$T/$1.cases"/*/out)"
    else
        fails "$1 is found" 1 as stint doctor "$PID"
        like "$1: by its name" "$(cat "$T/ok.log")" "^(refused|later) +process [0-9]+ \(conf-refused\).*$3"
    fi
    end_case "$1"
}

ok 'the machine is in order' stint doctor
like 'namespaces were tried' "$(cat "$T/ok.log")" '^ok .*namespaces of a restart can be made'
fails 'an option that there is not' 2 stint doctor --nonsense
ok 'help' stint doctor --help

ok 'a program' stint doctor /bin/sleep 1
fails 'a static program' 1 stint doctor /sbin/ldconfig
like 'is named' "$(cat "$T/ok.log")" '^refused +/sbin/ldconfig is statically linked'
printf '#!/usr/bin/env -S sh -e\n' >"$T/script"
chmod 755 "$T/script"
ok 'a script' stint doctor "$T/script"
like 'its interpreter is named' "$(cat "$T/ok.log")" 'loaded into [a-z/]*/(da|ba)?sh;'
printf '#!/sbin/ldconfig\n' >"$T/script"
fails 'a script for a static program' 1 stint doctor "$T/script"
cp /bin/true "$T/ssh"
fails 'a program that talks to the world outside' 1 stint doctor "$T/ssh"
if [ -e "$CONF/waits_i386" ]; then
    fails 'a program of another architecture' 1 stint doctor "$CONF/waits_i386"
    like 'is named' "$(cat "$T/ok.log")" '^refused .*runs a program of another architecture'
fi
if command -v musl-gcc >/dev/null; then
    fails 'a program of another C library' 1 stint doctor "$CONF/conf-musl"
    like 'is named' "$(cat "$T/ok.log")" '^refused .*its C library is not glibc'
fi
cp /bin/true "$T/setuid"
chmod 4755 "$T/setuid"
fails 'a setuid program' 1 stint doctor "$T/setuid"
like 'is named, too' "$(cat "$T/ok.log")" '^refused .*runs a setuid program'
echo 'int main(void) { return 0; }' >"$T/main.c"
cc -shared -Wl,-soname,liburing.so.2 -o "$T/liburing.so.2" -x c /dev/null
cc -o "$T/linked" "$T/main.c" -Wl,--no-as-needed,-rpath,"$T" "$T/liburing.so.2"
ok 'a program with a library that tells' stint doctor "$T/linked"
like 'what it is there for' "$(cat "$T/ok.log")" \
    '^note +.*/linked is linked with liburing.so.2: .* refused while it has an io_uring open'
fails 'a command that is not there' 1 stint doctor /nonexistent
ok 'a directory' stint doctor -d "$T/not/there/yet"
like 'its file system' "$(cat "$T/ok.log")" "^ok +$T: .* GiB free"
fails 'a directory where nothing can be written' 1 stint doctor -d /proc/yet

for T_AS in '' user; do
    is_root || [ -z "$T_AS" ] || continue
    who=${T_AS:+-as-user}

    finds "filter$who" refused/system_call_filter 'has set a filter of system calls \(seccomp\)'
    finds "descriptors$who" refused/shared_descriptor_table 'shares its table of descriptors with process'
    finds "aio$who" refused/asynchronous_io 'asynchronous I/O'
    finds "fanotify$who" refused/fanotify_group 'descriptor [0-9]+: .* is not supported'

    # bytes in queues, all kinds of descriptors: nothing to complain of, nothing changes
    run_case "m$T_AS" $("$CONF/conf-unix" | sed 's,^,unix/,' | head -n 30) \
        $("$CONF/conf-sockets" | sed 's,^,sockets/,' | grep -v backlog | head -n 20) \
        $("$CONF/conf-events" | sed 's,^,events/,' | head -n 20) pipes/many
    as stint doctor "$PID" >"$T/many.log" 2>&1
    as stint doctor --json "$PID" >"$T/many.json" 2>&1
    like "the findings as JSON$who" "$(tail -n 2 "$T/many.json")" '"refused": [0-9]+'
    end_case "m$T_AS"

    job=launched$who
    job_launch "$job" sh -c '. "$1"; gate' sh "$PROGRAMS/gate.sh"
    job_ready "$job"
    ok "a job under stint$who" as stint doctor "$(job_left "$job" | grep -o '[0-9]* stint' | head -n 1 | cut -d' ' -f1)"
    job_go "$job"
    job_end "$job"
done

# the same words
T_AS=''
run_case words refused/shared_directory
stint doctor "$PID" | sed -n 's/^refused *process [0-9]* //p' >"$T/doctor.words"
end_case words
mkdir -m 1777 "$T/said.cases"
job_launch said "$CONF/driver" "$T/said.cases" refused/shared_directory
job_ready said
job_checkpoint said 2>&1 | sed -n 's/.*process [0-9]* \((conf-refused) shares\)/\1/p' >"$T/checkpoint.words"
job_go said
job_end said
is 'a checkpoint says it in the same words' "$(sed 's/process [0-9]*/process/' "$T/doctor.words" | head -n 1)" \
    "$(sed 's/process [0-9]*/process/' "$T/checkpoint.words")"
done_testing
