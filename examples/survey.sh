#!/bin/bash
# A sky survey in two stages: sort the observed sources into classes (k-means, several
# threads), then say how well each class is known (bootstrap). An ordinary batch script:
# nothing in it knows of checkpoints.
#
#   sbatch --time=1 --checkpoint-interval=20 examples/survey.sh [ROUNDS [DIRECTORY]]
#   examples/survey.sh [ROUNDS [DIRECTORY]]          # without Slurm
#
# ROUNDS is the length of the work (400: some minutes). The results are in DIRECTORY
# (default: survey-results) and depend on ROUNDS alone.
#
#SBATCH --job-name=survey
#SBATCH --cpus-per-task=2

set -euo pipefail
rounds=${1:-400}
out=${2:-survey-results}
if [ -n "${SLURM_SUBMIT_DIR:-}" ]; then
    programs=$SLURM_SUBMIT_DIR/examples
else
    programs=$(dirname "$0")
fi
python=/usr/bin/python3 # Debian's, which has numpy (package python3-numpy)
export OPENBLAS_NUM_THREADS=1 # the programs have threads of their own

mkdir -p "$out"
echo "survey: $rounds rounds"

"$python" "$programs/survey_observe.py" --seed 7 --sources 300000 "$out/sources.npy"
echo "stage 1: classes"
"$python" "$programs/survey_classify.py" --rounds "$rounds" --threads 2 \
    "$out/sources.npy" "$out/classes.npy" |
    awk -v log_file="$out/progress.txt" '
        { print > log_file }
        $2 % 20 == 0 { printf "  round %4d: cost %s\n", $2, $4; fflush() }
        END { print "  rounds done: " NR }'

echo "stage 2: how well they are known"
"$python" "$programs/survey_bootstrap.py" --samples $((rounds / 4)) --threads 2 \
    "$out/sources.npy" "$out/classes.npy" > "$out/classes.txt"
tail -n 1 "$out/classes.txt"

(cd "$out" && sha256sum progress.txt classes.npy classes.txt) | tee "$out/checksums.txt"
echo "survey: done"
