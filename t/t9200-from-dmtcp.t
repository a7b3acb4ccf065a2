#!/bin/sh
# The batch scripts of doc/from-dmtcp.md, under a real Slurm.
# SPDX-License-Identifier: Apache-2.0
# timeout: 400
# slow
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"
need cc awk

block() { # NAME: the script of that name on the page, with our times
    awk -v name="$1" '
        $0 == "<!-- file: " name " -->" { found = 1; next }
        found && /^```bash/ { inside = 1; next }
        inside && /^```/ { exit }
        inside' "$T_ROOT/doc/from-dmtcp.md"
}

cluster_start 2
BIN=$T_STAGE/coordinator/dmtcp/bin
cat >"$T/count.c" <<'C'
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void)
{
    int fd = open("numbers", O_WRONLY | O_CREAT | O_APPEND, 0644);
    for (int n = 1; n <= 160; n++) {
        dprintf(fd, "%d\n", n);
        usleep(100000);
    }
    return 0;
}
C
cc -o "$T/run/a.out" "$T/count.c"
# what the modulefile does
echo "ml() { PATH=$BIN:\$PATH; }" >"$T/run/ml"
for f in batch automatic; do
    block $f.sh | sed "2,\$s,^ml ,. ./ml; ml ," >"$T/run/$f.sh"
    ok "$f.sh is on the page" test -s "$T/run/$f.sh"
done
sed -i 's/-i 60/-i 2/' "$T/run/batch.sh"

counted() { # so far
    lines "$T/run/numbers"
}
all_counted() { # each number once, in order
    awk '$1 != NR { exit 1 } END { exit NR != 160 }' "$T/run/numbers"
}
clean() {
    rm -rf "$T"/run/ckpt_* "$T"/run/dmtcp_* "$T/run/numbers"
}

# --- submitted again ------------------------------------------------------------------
ok 'batch.sh: submit' submit batch.sh
first=$JOB
ok '  the coordinator answers on the login node' \
    wait_for 60 as_slurm "./dmtcp_command.$first" -s
like '  and said so' "$(wait_for 20 grep -q Starting "$T/run/out"; cat "$T/run/out")" \
    "^Starting DMTCP coordinator for job $first\$"
ok '  it checkpoints' wait_for 60 test -e "$T/run/dmtcp_restart_script.sh"
ok '  by hand too' as_slurm "./dmtcp_command.$first" --bcheckpoint
before=$(counted)
as_slurm scancel "$JOB"
ok '  the job is cancelled' slurm_wait_end 60
ok 'batch.sh: submit it again' submit batch.sh
ok '  it goes on' wait_for 60 lines_in "$T/run/numbers" "$((before + 5))"
ok '  and ends' slurm_wait_end 90
is '  well' "$(slurm_field JobState) $(slurm_field ExitCode)" 'COMPLETED 0:0'
ok '  with the right result' all_counted
[ "$T_FAILED" -eq 0 ] || slurm_diag

# --- requeued by its trap ------------------------------------------------------------------
clean
ok 'automatic.sh: submit' submit automatic.sh
ok '  it runs' wait_for 60 lines_in "$T/run/numbers" 20
as_slurm scancel --batch --signal=USR1 "$JOB" # as --signal=B:USR1@60 would
ok '  the trap requeues it' wait_for 90 slurm_is Restarts 1
ok '  it runs again' wait_for 90 slurm_hurry_run 1
ok '  it goes on' wait_for 150 lines_in "$T/run/numbers" 60
ok '  and ends' slurm_wait_end 90
is '  well' "$(slurm_field JobState) $(slurm_field ExitCode)" 'COMPLETED 0:0'
ok '  with the right result' all_counted
[ "$T_FAILED" -eq 0 ] || slurm_diag
done_testing
