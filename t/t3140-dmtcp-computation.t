#!/bin/sh
# Programs from several terminals and hosts in one computation.
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
. "${0%/*}/lib.sh"
. "$T_DIR/dmtcp.sh"
d_coordinator

launch3() { # three launches in directories of their own
    for i in 1 2 3; do
        mkdir -p "$T/work/t$i"
        d_start "l$i" env -C "$T/work/t$i" dmtcp_launch -j "$COUNT" "$T/work/n$i"
    done
}

all_go_on() { # DESCRIPTION
    d_wait_peers 3 || { fail "$1" "$(dmtcp_command -s; cat "$T"/*.err)"; return; }
    for i in 1 2 3; do
        d_counts "n$i" && awk '$1 != NR { exit 1 }' "n$i" ||
            { fail "$1" "program $i: $(awk '$1 != NR' "n$i" | head -n 3)"; return; }
    done
    pass "$1"
}

launch3
all_go_on 'three programs run'
ok 'one checkpoint of all' dmtcp_command -kc
is '  in the directory of each' "$(ls t1/ckpt_*.dmtcp t2/ckpt_*.dmtcp t3/ckpt_*.dmtcp | wc -l)" 3
is '  one directory with data' "$(ls -d t?/ckpt_*_files | wc -l)" 1
is '  a script in each' "$(ls t?/dmtcp_restart_script.sh | wc -l)" 3
for i in 1 2 3; do
    is "  program $i ends" "$(d_status "l$i")" 75
done

for round in 1 2 3 4 5; do
    case $round in
    1 | 4) # the script, for all of them
        d_start r1 t2/dmtcp_restart_script.sh ;;
    2) # all files in one terminal
        d_start r1 dmtcp_restart t?/ckpt_*.dmtcp ;;
    *) # each in a terminal of its own
        for i in 1 2 3; do
            d_start "r$i" dmtcp_restart t$i/ckpt_*.dmtcp
        done ;;
    esac
    all_go_on "restart $round"
    ok "  and a checkpoint" dmtcp_command -kc
    is "  what restarted them ends" "$(d_status r1)" 75
done

# --- a part only ---------------------------------------------------------------------------
d_status r2 >/dev/null
d_status r3 >/dev/null
d_start r1 dmtcp_restart t1/ckpt_*.dmtcp
wait_for 20 sh -c 'dmtcp_command --json -s | grep -q "\"num_peers\":1,\"running\":false"'
ok 'one of three: it is not all running yet' sh -c 'dmtcp_command -s | grep -q RUNNING=no'
like '  a checkpoint has to wait' "$(timeout 3 dmtcp_command -bc; echo $?)" '^124$'
d_start r2 dmtcp_restart t2/ckpt_*.dmtcp t3/ckpt_*.dmtcp
all_go_on '  until the others have come'
d_start l4 dmtcp_launch -j "$COUNT" "$T/work/n4"
ok 'one more joins' d_wait_peers 4
touch n4.stop
ok '  and leaves' d_wait_peers 3
is '  with its own status' "$(d_status l4)" 7
ok '  the others run on' dmtcp_command -bc
dmtcp_command -q
d_status r1 >/dev/null
d_status r2 >/dev/null
fails 'a part without a coordinator' 1 dmtcp_restart -p 0 t1/ckpt_*.dmtcp
like '  what to type' "$(dmtcp_restart --new-coordinator t1/ckpt_*.dmtcp 2>&1)" \
    '1 of the 3 programs.*dmtcp_restart /.*_files, or dmtcp_restart_script.sh'

# --- several hosts ------------------------------------------------------------------------------
if is_root && unshare --uts true 2>/dev/null; then
    at() { # HOST COMMAND...: as on another host that shares network and home
        a_host=$1
        shift
        # shellcheck disable=SC2016 # for the inner shell
        unshare --uts sh -c 'hostname "$1" && shift && exec "$@"' sh "$a_host" "$@"
    }
    d_coordinator
    rm -f n1 n2
    d_start h1 at one dmtcp_launch -h "$(hostname)" --ckptdir hosts "$COUNT" "$T/work/n1"
    d_start h2 at two dmtcp_launch -h "$(hostname)" --ckptdir hosts "$COUNT" "$T/work/n2"
    ok 'programs on two hosts' d_wait_peers 2
    like '  are listed with them' "$(dmtcp_command -l)" 'dmtcp-count\[[0-9:]*\]@one,'
    ok '  dmtcp_command from there' at two dmtcp_command -h "$(hostname)" -s
    ok '  checkpoint' at one dmtcp_command -h "$(hostname)" -kc
    d_status h1 >/dev/null
    d_status h2 >/dev/null
    cat >ssh <<'SSH'
#!/bin/sh
echo "$1" >>ssh.log
host=$1
shift
exec unshare --uts sh -c 'hostname "$1" && shift && exec sh -c "$*"' sh "$host" "$@"
SSH
    chmod +x ssh
    d_start s1 env DMTCP_REMOTE_SHELL_CMD="$T/work/ssh" hosts/dmtcp_restart_script.sh \
        -h "$(hostname)" -p "$DMTCP_COORD_PORT"
    ok 'the script restarts both' d_wait_peers 2
    is '  each on its host' "$(sort ssh.log | tr '\n' ' ')" 'one two '
    dmtcp_command -kc
    d_status s1 >/dev/null
    rm -f ssh.log
    printf '%s\n' "$(hostname)" '# a remark' three >hostfile
    d_start s1 env DMTCP_REMOTE_SHELL_CMD="$T/work/ssh" hosts/dmtcp_restart_script.sh \
        --hostfile hostfile -p "$DMTCP_COORD_PORT"
    ok '--hostfile' d_wait_peers 2
    is '  one here, one there' "$(cat ssh.log)" three
    dmtcp_command -q
else
    skip 'programs on two hosts' 'needs root'
fi
d_finish
