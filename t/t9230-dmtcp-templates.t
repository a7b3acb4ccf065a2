#!/bin/sh
# Every sbatch-templates/dmtcp-*.sh as it stands, with programs of the names in it: all of them
# are checkpointed, ended, go on in the next job or run, and come to the right result.
# SPDX-License-Identifier: Apache-2.0
# timeout: 900
# slow
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"
. "$T_DIR/dmtcp.sh"
need cc awk python3 tclsh
modules=/usr/share/modules/init/bash
[ -e "$modules" ] || skip_all 'environment-modules is not installed'

NODE_CPUS=8 cluster_start 2
d_modules tcl
chmod -R a+rX "$T/modules"
printf '. %s\nMODULEPATH=%s\n' "$modules" "$T/modules" >"$T/init"

# --- the programs: each counts to LAST in `progress`, and prints the sum ------------------
LAST=600
mkdir "$T/programs"
cat >"$T/programs/my-program.c" <<C
#include <stdio.h>
#include <unistd.h>
int main(void)
{
    FILE *out = fopen("progress", "a");
    long sum = 0;
    for (int n = 1; n <= $LAST; n++) {
        long part = 0;
        #pragma omp parallel for reduction(+ : part)
        for (int i = 0; i < n; i++)
            part += 1;
        sum += part;
        fprintf(out, "%d\\n", n);
        fflush(out);
        usleep(100000);
    }
    printf("sum %ld\\n", sum);
    return 0;
}
C
cc -o "$T/programs/my-program" "$T/programs/my-program.c"
cc -fopenmp -o "$T/programs/my-openmp-program" "$T/programs/my-program.c"
cat >"$T/programs/my-script.py" <<PY
import time
total = 0
with open('progress', 'a') as out:
    for n in range(1, $LAST + 1):
        total += n
        print(n, file=out, flush=True)
        time.sleep(0.1)
print('sum', total)
PY
cat >"$T/programs/my-script.m" <<M
out = fopen("progress", "a");
total = 0;
for n = 1:$LAST
  total += n;
  fprintf(out, "%d\n", n);
  fflush(out);
  pause(0.1);
end
printf("sum %d\n", total);
M
cat >"$T/programs/my-script.R" <<R
out <- file("progress", "a")
total <- 0
for (n in 1:$LAST) {
    total <- total + n
    writeLines(as.character(n), out)
    flush(out)
    Sys.sleep(0.1)
}
cat("sum", format(total), "\n")
R

there() { # NAME COMMAND...: in the directory of that template
    t_dir=$T/run/$1
    shift
    as_slurm env -C "$t_dir" "$@"
}
submit_template() { # NAME: sets JOB
    JOB=$(there "$1" sbatch --parsable --export="ALL,BASH_ENV=$T/init" "dmtcp-$1.sh")
    echo "$JOB" >"$T/$1.job"
}
job_of() { # NAME
    JOB=$(cat "$T/$1.job")
}
begun() { # NAME N: it has counted so far
    wait_for 120 lines_in "$T/run/$1/progress" "$2"
}
result() { # NAME
    job_of "$1"
    ok "$1: ends" slurm_wait_end 240
    is "$1: well" "$(slurm_field JobState) $(slurm_field ExitCode)" 'COMPLETED 0:0'
    ok "$1: each number once" awk -v last=$LAST '$1 != NR { exit 1 } END { exit NR != last }' \
        "$T/run/$1/progress"
    ok "$1: the sum" grep -q "^sum $((LAST * (LAST + 1) / 2)) *\$" "$T/run/$1"/dmtcp-"$1"*.out
    [ "$T_FAILED" -eq 0 ] || {
        diag_file "$(ls -t "$T/run/$1"/dmtcp-"$1"*.err | head -n 1)"
        slurm_diag
    }
}

# --- all at once --------------------------------------------------------------------------
names=''
for name in serial openmp python octave r chained signal; do
    case $name in
    octave) program=octave ;;
    r) program=Rscript ;;
    *) program=true ;;
    esac
    if ! command -v $program >/dev/null; then
        skip "$name" "$program is not installed"
        continue
    fi
    mkdir "$T/run/$name"
    cp "$T"/programs/* "$T_ROOT/sbatch-templates/dmtcp-$name.sh" "$T/run/$name/"
    ! is_root || chown "$T_USER" "$T/run/$name"
    ok "$name: submit" submit_template "$name"
    names="$names $name"
done
for name in $names; do
    ok "$name: counts" begun "$name" 20
done
for name in $names; do
    job_of "$name"
    case $name in
    chained | signal) as_slurm scancel --batch --signal=USR1 "$JOB" ;; # as --signal=B:USR1@300
    *)
        ok "$name: checkpoint" there "$name" "./dmtcp_command.$JOB" --bcheckpoint
        as_slurm scancel "$JOB" ;;
    esac
done

# --- and on ---------------------------------------------------------------------------------
next_job() { # NAME: the one that a job has submitted
    t_next=$(squeue -h --name="dmtcp-$1" -o %A | sort -n | tail -n 1)
    [ -n "$t_next" ] && [ "$t_next" != "$JOB" ] && echo "$t_next" >"$T/$1.job"
}
for name in $names; do
    job_of "$name"
    case $name in
    signal)
        ok "$name: is requeued" wait_for 90 slurm_is Restarts 1
        ok "$name: runs again" wait_for 90 slurm_hurry_run 1 ;;
    chained) ok "$name: has submitted the next job" wait_for 90 next_job "$name" ;;
    *)
        ok "$name: cancelled" slurm_wait_end 60
        ok "$name: submit again" submit_template "$name" ;;
    esac
done
for name in $names; do
    result "$name"
done
done_testing
