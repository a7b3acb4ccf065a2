# timeout: 1200
# slow
# Two programs of one job on two hosts, with TCP connections between them: checkpointed
# together, restored on the same hosts, on hosts with other addresses, and on one.
. "${0%/*}/lib.sh"

need python3 ip nsenter
is_root || skip_all 'network namespaces need root'

# Two hosts with a network between them; sets A and B.
pair() { # NAME NETWORK
    host_new "$1-a" && A=$HOST && host_new "$1-b" && B=$HOST &&
        ip link add eth0 netns "$A" type veth peer name eth0 netns "$B" || return 1
    for t_end in "$A:1" "$B:2"; do
        on_host "${t_end%:*}" ip address add "$2.${t_end#*:}/24" dev eth0 &&
            on_host "${t_end%:*}" ip link set eth0 up || return 1
    done
}

both() { # COMMAND...: for the programs a and b
    "$@" a && "$@" b
}

started() { # the two stand at their gates
    rm -f "$T/port" "$T/port.small"
    T_HOST=$A
    t_start a launch -d "$T/job" python3 "$PROGRAMS/remote.py" serve "$T/port"
    wait_for 30 test -e "$T/port" || return 1
    T_HOST=$B
    t_start b launch --join "$T/job" python3 "$PROGRAMS/remote.py" connect "$T/port" "$1"
    both job_ready
}

ended() { # after a checkpoint
    T_HOST=$A
    job_stint job checkpoint --kill && both job_end
}

restored() { # on the hosts A and B
    group=$(cd "$T/job" && ls gen-*/*.grp | sed -n 's,.*/,,;s/\.grp$//;/^main$/!p' | head -n 1)
    T_HOST=$A
    t_start a restart --group main "$T/job"
    T_HOST=$B
    t_start b restart --join --group "$group" "$T/job"
    both job_alive
}

finished() { # DESCRIPTION WANTED
    both job_go
    both job_end
    is "$1" "$(cat "$T/a.out"; cat "$T/b.out")" "$2" || {
        both job_diag
        diag_file "$T/job/log"
    }
    T_HOST=''
    for t_each in a b; do
        "$T_STAGE/t/procs" kill "$T/$t_each"
        rm -f "$T/$t_each".*
    done
    "$T_STAGE/t/procs" kill "$T/job"
    rm -rf "$T/job"
}

same='the names are as they were
PASS
the names are as they were
PASS'

for T_AS in '' user; do
    who=${T_AS:+ as an ordinary user}
    ok "two hosts$who" pair "one$T_AS" 10.77.0 || break
    ok "two programs on them$who" started 10.77.0.1
    T_HOST=$A
    ok "a checkpoint of both$who" job_stint job checkpoint
    both job_alive
    finished "which they do not notice$who" "$same"

    started 10.77.0.1
    ok "they end after a checkpoint$who" ended
    ok "restored where they were$who" restored
    ok "and once more$who" ended
    ok "and restored again$who" restored
    finished "with every byte$who" "$same"

    started 10.77.0.1
    ended
    ok "hosts with other addresses$who" pair "two$T_AS" 10.88.0
    ok "restored on these$who" restored
    finished "with every byte there$who" "$(printf 'PASS\nPASS')"

    pair "three$T_AS" 10.77.0
    started 10.77.0.1
    ended
    A='' B=''
    ok "restored on one host$who" restored
    finished "with every byte on one host$who" "$(printf 'PASS\nPASS')"
done
done_testing
