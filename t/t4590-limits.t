# timeout: 60
# alone
# doc/limits-tested.md tells what this run's tests have shown (which is why this comes after
# them), and each line of the table in doc/limits.md is that of a test.
. "${0%/*}/lib.sh"

need python3
mkdir "$T/results"
check() { # [OPTION...]
    "$T_DIR/limits" --check "$@"
}

ok 'doc/limits-tested.md and doc/limits.md are what the tests have shown' check

# altered SED-SCRIPT [FILE]: in a copy of the documentation
altered() {
    rm -rf "$T/doc"
    mkdir "$T/doc"
    cp "$T_ROOT/doc/limits.md" "$T_ROOT/doc/limits-tested.md" "$T/doc/"
    sed -i "$1" "$T/doc/${2:-limits-tested.md}"
}

differs() { # DESCRIPTION WHAT-IT-SAYS
    fails "$1 is found" 1 check --doc "$T/doc" --results "$T/results"
    like "$1 is shown" "$(cat "$T/ok.log")" "$2"
}

altered '/^| pipes\/full |/d'
differs 'a case that is missing' '^\+\| pipes/full '
like 'and what to do' "$(cat "$T/ok.log")" './t/run --limits'
altered 's,^| pipes/full |.*,&\n| pipes/of_clay | all | all |,'
differs 'a case that there is not' '^-\| pipes/of_clay '
altered 's/is traced by process/is watched by process/'
differs 'other words' 'refused/traced_child says something else'
altered '/(chroot)/d' limits.md
differs 'a refusal that limits.md does not tell of' 'refused/changed_root is refused, but no line'
altered ''
printf 'pipes/full\troot\trestart\tfail\t\n' >"$T/results/t4500-conformance"
differs 'a case that fails' '^\+\| pipes/full .*fails: restart'
printf 'refused/traced_child\troot\trefused\t1\tmy dog ate it\n' >"$T/results/t4500-conformance"
differs 'another refusal' '^\+\| refused/traced_child \| root \| 1 \| `` my dog ate it ``'
printf 'pipes/full\troot\trestart\tskip\tno pipes here\n' >"$T/results/t4500-conformance"
ok 'what a machine cannot show is no difference' check --doc "$T/doc" --results "$T/results"
done_testing
