#!/bin/sh
# Every script of sbatch-templates/ works, once the names in it are those of real programs.
# timeout: 480
# slow
. "${0%/*}/lib.sh"
. "${0%/*}/slurm.sh"

echo "PartitionName=preemptible Nodes=ALL MaxTime=INFINITE State=UP" >"$T/extra"
NODE_CPUS=8 cluster_start 2 "$T/extra"

for name in my-program my-openmp-program; do
    printf '#!/bin/sh\necho "%s $* threads ${OMP_NUM_THREADS:-1}"\n' $name >"$T/run/$name"
done
chmod 755 "$T/run/my-program" "$T/run/my-openmp-program"
echo 'import os; print("python, threads", os.environ["OPENBLAS_NUM_THREADS"])' \
    >"$T/run/my_program.py"
printf '%s\n' 'cat("R, temporary files below", basename(dirname(tempdir())), "\n")' >"$T/run/my_program.R"
printf '%s\n' 'printf("Octave %d\n", sum(1:6) * 2);' >"$T/run/my_script.m"

template() { # NAME WANTED: the template's output
    cp "$T_ROOT/sbatch-templates/$1.sh" "$T/run/"
    JOB=$(as_slurm sbatch --parsable "$1.sh") || { fail "$1.sh is accepted"; return; }
    CKPT=$T/run/stint-checkpoints/$JOB
    slurm_wait_end 60
    like "$1.sh" "$(cat "$T/run/$1-$JOB.out")" "$2" || {
        diag_file "$T/run/$1-$JOB.err"
        slurm_diag
    }
    ok "$1.sh: it was under stint" test -d "$CKPT"
}

template serial '^my-program input.dat threads 1$'
template openmp '^my-openmp-program input.dat threads 8$'
template python '^python, threads 4$'
if command -v Rscript >/dev/null; then
    template r '^R, temporary files below tmp-[0-9]+'
else
    skip r.sh "R is not installed"
fi
if command -v octave >/dev/null; then
    template octave '^Octave 42$'
else
    skip octave.sh "Octave is not installed"
fi
template preemptible '^my-program input.dat threads 1$'

cp "$T_ROOT/sbatch-templates/array.sh" "$T/run/"
JOB=$(as_slurm sbatch --parsable array.sh)
array_ended() {
    [ -z "$(squeue -h -j "$JOB" 2>/dev/null)" ]
}
wait_for 90 array_ended
is "array.sh" "$(cat "$T/run/array-$JOB"_*.out | sort -u |
    grep -c 'my-program input-[0-9]*.dat threads 1')" 10
is "array.sh: each task has an output" "$(cat "$T/run/array-$JOB"_*.out | wc -l)" 10
is "array.sh: and a directory" "$(find "$T/run/stint-checkpoints" -name manifest.yaml -o \
    -name task.json | wc -l)" "$(find "$T/run/stint-checkpoints" -mindepth 1 -maxdepth 1 | wc -l)"

printf '#!/bin/bash\necho first\n' >"$T/run/first.sh"
printf '#!/bin/bash\necho second\n' >"$T/run/second.sh"
cp "$T_ROOT/sbatch-templates/chained.sh" "$T/run/"
JOB=$(as_slurm bash chained.sh | sed 's/.*then //')
slurm_wait_end 90
is "chained.sh" "$(cat "$T/run/first-"*.out "$T/run/second-$JOB.out" | tr '\n' ' ')" \
    "first second "
done_testing
