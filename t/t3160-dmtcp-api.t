#!/bin/sh
# A program that asks for checkpoints itself: dmtcp.h and stint.h.
# SPDX-License-Identifier: Apache-2.0
# timeout: 200
. "${0%/*}/lib.sh"
. "$T_DIR/dmtcp.sh"
API=$PROGRAMS/dmtcp-api

# --- not under it ----------------------------------------------------------------
"$API" alone
is 'alone' "$(tr '\n' ',' <alone)" \
    'enabled 0,coordinator none,file none,id none,generation 0,local none,checkpoint 3,local none,disable 3,disable 3,enable 3,leaving,enable 3,enable 3,stint 3,local none,generation 0,'

# --- under dmtcp_launch -------------------------------------------------------------
d_coordinator
: >log.hold
d_start prog dmtcp_launch --ckptdir "$T/work/ck" "$API" "$T/work/log"
ok 'it comes to its critical section' wait_for 30 grep -q '^enable 1' log
line() {
    sed -n "$1p" log
}
is 'dmtcp_is_enabled' "$(line 1)" 'enabled 1'
is 'dmtcp_get_coordinator_status' "$(line 2)" 'coordinator 1 1'
is 'dmtcp_get_ckpt_filename' "$(line 3)" "file $(ls "$T"/work/ck/ckpt_dmtcp-api_*.dmtcp)"
like 'dmtcp_get_uniquepid_str' "$(line 4)" '^id [0-9a-f]*-[0-9]*-[0-9a-f]*$'
is 'dmtcp_get_generation' "$(line 5)" 'generation 0'
is 'dmtcp_get_local_status' "$(line 6)" 'local 0 0'
is 'dmtcp_checkpoint: after the checkpoint' "$(line 7)" 'checkpoint 1'
is '  is counted' "$(line 8)" 'local 1 0'
d_start bc dmtcp_command -bc
fails 'a checkpoint waits while they are disabled' 1 wait_for 1 test -e "$T/bc.status"
rm log.hold
is '  and comes afterwards' "$(d_status bc)" 0
is 'the program ends by itself' "$(d_status prog)" 5
is 'enable once too often' "$(grep -c '^enable 0$' log)" 1
is 'stint_checkpoint' "$(grep '^stint' log)" 'stint 1'

# --- restarted from its own checkpoint -------------------------------------------------
cp log before
d_start again dmtcp_restart ck/ckpt_*.dmtcp
is 'the restarted one ends by itself' "$(d_status again)" 5
is 'it was told that it was restarted' "$(grep '^stint' log)" 'stint 2'
is '  and counts it' "$(tail -n 2 log | head -n 1 | sed 's/local [0-9]*/local/')" 'local 1'

# --- under stint launch -----------------------------------------------------------------------
ok 'under stint launch' sh -c "stint launch -d '$T/work/sd' '$API' '$T/work/sl'; [ \$? -eq 5 ]"
is '  checkpoints' "$(grep -c '^checkpoint 1$\|^stint 1$' sl)" 2
is '  there are two' "$(ls -d sd/gen-* | wc -l)" 2

# --- the program's own command ------------------------------------------------------------------
# shellcheck disable=SC2016 # for the inner shell
d_start inside dmtcp_launch --ckptdir "$T/work/in" sh -c \
    'echo one >>in.log; dmtcp_command -bc 2>>in.err; echo "status $?" >>in.log; exit 9'
is 'dmtcp_command -bc in the program' "$(d_status inside)" 9
is '  succeeds' "$(tr '\n' ' ' <in.log)" 'one status 0 '
d_start inside dmtcp_restart in/ckpt_*.dmtcp
is '  restarted, it goes on behind it' "$(d_status inside)" 9
is '  with the same' "$(tail -n 1 in.log)" 'status 0'
d_finish
