#!/bin/sh
# The scripts of NERSC and TU Dresden on doc/from-dmtcp.md, as they stand there: real modules,
# a real Slurm, its real signal before the limit.
# SPDX-License-Identifier: Apache-2.0
# timeout: 900
# slow
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"
. "$T_DIR/dmtcp.sh"
need cc awk tclsh
modules=/usr/share/modules/init/bash
[ -e "$modules" ] || skip_all 'environment-modules is not installed'

block() { # NAME: the script of that name on the page
    awk -v name="$1" '
        $0 == "<!-- file: " name " -->" { found = 1; next }
        found && /^```bash/ { inside = 1; next }
        inside && /^```/ { exit }
        inside' "$T_ROOT/doc/from-dmtcp.md"
}

cluster_start 2
d_modules tcl
chmod -R a+rX "$T/modules"
# what a site's /etc/profile.d does for batch scripts
printf '. %s\nMODULEPATH=%s\n' "$modules" "$T/modules" >"$T/init"
submit_there() { # DIRECTORY SCRIPT
    mkdir -p "$T/run/$1"
    ! is_root || chown "$T_USER" "$T/run/$1"
    cp "$T/a.out" "$T/run/$1/"
    block "$2" >"$T/run/$1/$2"
    ok "$2: submit" test -s "$T/run/$1/$2"
    JOB=$(as_slurm env -C "$T/run/$1" sbatch --parsable --export="ALL,BASH_ENV=$T/init" "$2")
}

# The numbers from 1 to N and their sum, ten a second.
cat >"$T/count.c" <<'C'
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void)
{
    int fd = open("numbers", O_WRONLY | O_CREAT | O_APPEND, 0644);
    long sum = 0;
    for (int n = 1; n <= 1500; n++) {
        sum += n;
        dprintf(fd, "%d %ld\n", n, sum);
        usleep(100000);
    }
    printf("sum %ld\n", sum);
    return 0;
}
C
cc -o "$T/a.out" "$T/count.c"
all_counted() { # DIRECTORY: each number once, in order, with its sum
    awk '{ sum += NR } $1 != NR || $2 != sum { print "line", NR, $0; exit 1 }
        END { print NR, "lines"; exit NR != 1500 }' "$T/run/$1/numbers"
}

# --- TU Dresden --------------------------------------------------------------------------
submit_there dresden dresden.sh
ok '  it counts' wait_for 60 lines_in "$T/run/dresden/numbers" 20
ok '  the checkpoint of its interval ends the job' slurm_wait_end 120
is '  with the status of that' "$(slurm_field JobState) $(slurm_field ExitCode)" 'FAILED 75:0'
sed -i 's/ -i 40 --exit-after-ckpt//
    s/^dmtcp_launch.*/.\/dmtcp_restart_script.sh -h $DMTCP_COORD_HOST -p $DMTCP_COORD_PORT/' \
    "$T/run/dresden/dresden.sh"
JOB=$(as_slurm env -C "$T/run/dresden" sbatch --parsable --export="ALL,BASH_ENV=$T/init" dresden.sh)
ok '  the second job goes on to the end' slurm_wait_end 240
is '  well' "$(slurm_field JobState) $(slurm_field ExitCode)" 'COMPLETED 0:0'
ok '  with the right result' all_counted dresden
[ "$T_FAILED" -eq 0 ] || slurm_diag

# --- NERSC ---------------------------------------------------------------------------------
nersc_diag() {
    slurm_diag
    diag_file "$T/run/nersc/test-$JOB.err"
    diag_file "$T/run/nersc/test-$JOB.out"
}
submit_there nersc nersc.sh
ok '  it counts' wait_for 60 lines_in "$T/run/nersc/numbers" 20
like '  the coordinator is on the login node, too' \
    "$(as_slurm env -C "$T/run/nersc" "./dmtcp_command.$JOB" -s)" 'RUNNING=yes'
ok '  the comment is what is left: 10 minutes - 2 + 1' wait_for 30 slurm_is Comment 00:09:00
ok '  the signal before the limit: requeued' wait_for 180 slurm_hurry_run 1
before=$(lines "$T/run/nersc/numbers")
ok '  it goes on' wait_for 90 lines_in "$T/run/nersc/numbers" "$((before + 20))"
ok '  with the comment' wait_for 30 slurm_is Comment 00:08:00
ok '  requeued again' wait_for 180 slurm_hurry_run 2
nersc_ended() { # where it is slow, it takes more than two
    slurm_hurry
    slurm_ended
}
ok '  it ends' wait_for 360 nersc_ended
is '  well' "$(slurm_field JobState) $(slurm_field ExitCode)" 'COMPLETED 0:0'
ok '  with the right result' all_counted nersc
is '  and output' "$(grep sum "$T/run/nersc/test-$JOB.out")" 'sum 1125750'
[ "$T_FAILED" -eq 0 ] || nersc_diag
done_testing
