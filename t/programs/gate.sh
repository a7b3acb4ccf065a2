# Shell side of gate.h; sourced.
gate() {
    : >"$GATE.ready"
    until [ -e "$GATE.go" ]; do
        : >"$GATE.alive"
        sleep 0.02
    done
}
