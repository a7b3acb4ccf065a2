# timeout: 900
# R, and Java with several garbage collectors: checkpointed, ended, restored.
. "${0%/*}/lib.sh"
. "$T_DIR/programs/try.sh"

try_java() { # COLLECTOR
    try "java-$1" java "-XX:+Use$1" -Xmx512m -XX:-UsePerfData -cp "$T/classes" Job
}

try_all() {
    if command -v Rscript >/dev/null; then
        try R Rscript --vanilla "$PROGRAMS/job.R"
    else
        skip R "it is not installed"
    fi
    if [ -d "$T/classes" ]; then
        for collector in SerialGC ParallelGC G1GC ZGC; do
            try_java "$collector"
        done
    else
        skip Java "it is not installed"
    fi
}

if command -v javac >/dev/null; then
    javac -d "$T/classes" "$PROGRAMS/Job.java" && chmod -R a+rX "$T/classes"
fi
try_all
if is_root; then
    T_AS=user
    try_all
fi
done_testing
