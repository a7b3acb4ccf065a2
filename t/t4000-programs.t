# timeout: 900
# Programs in several languages: checkpointed, ended, restored; the result is that of a run
# without stint, and so is every byte that they print.
. "${0%/*}/lib.sh"

. "$T_DIR/programs/try.sh"

try_all() {
    try threads "$PROGRAMS/threads"
    try memory "$PROGRAMS/memory" 50
    try storm "$PROGRAMS/storm" 3
    try bash bash "$PROGRAMS/job.bash"
    try dash dash "$PROGRAMS/job.sh"
    try gawk gawk -f "$PROGRAMS/job.awk"
    try perl perl "$PROGRAMS/job.pl"
    try python-threads /usr/bin/python3 "$PROGRAMS/threads.py"
    try python-processes /usr/bin/python3 "$PROGRAMS/processes.py"
    try numpy /usr/bin/python3 "$PROGRAMS/numpy_job.py"
}

PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
try_all
if is_root; then
    T_AS=user
    try_all
fi
done_testing
