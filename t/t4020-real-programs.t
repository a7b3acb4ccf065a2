# timeout: 3600
# slow
# Programs that people run: checkpointed while they work, killed, restored, three times in a
# row; the result is that of a run without stint. REAL='NAME...' takes some of them.
. "${0%/*}/lib.sh"

# What takes any file that is there for a finished one, as make does: it ends with its last
# checkpoint, as at a time limit. The others work on and lose power.
at_limit=' make '

# work_on NAME ROUNDS: as often, two checkpoints, and the end
work_on() {
    for round in $(seq "$2"); do
        ok "$label: first checkpoint of run $round" job_checkpoint "$1" || return
        ok "$label: goes on after it" job_alive "$1" 120 || return
        case $at_limit in
        *" ${1%-user} "*)
            ok "$label: last checkpoint of run $round" job_checkpoint "$1" --kill || return
            job_end "$1" 60 ;;
        *)
            ok "$label: second checkpoint of run $round" job_checkpoint "$1" || return
            ok "$label: goes on after it" job_alive "$1" 120 || return
            job_kill9 "$1" ;;
        esac
        job_restart "$1"
        ok "$label: restart $round" job_alive "$1" 120 || return
    done
}

version() { # PROGRAM: its package and version
    t_file=$(readlink -f "$(PATH=/usr/bin:/bin command -v "$1")")
    t_package=$({ dpkg -S "$t_file" || dpkg -S "${t_file#/usr}"; } 2>/dev/null | tail -n 1)
    t_package=${t_package%%[:,]*}
    dpkg-query -W -f '${Package} ${Version}\n' "${t_package:-?}" 2>/dev/null || echo "$1"
}

real() { # NAME NEEDED,... COMMAND...
    name=$1
    needed=$2
    label="$name${T_AS:+ as an ordinary user}"
    shift 2
    case " ${REAL:-$name} " in *" $name "*) ;; *) return ;; esac
    for program in $(echo "$needed" | tr , ' '); do
        command -v "$program" >/dev/null || {
            skip "$label" "no $program"
            record "program/$name" real skip
            return
        }
    done
    key=program/$name
    outcome=fail
    name=$name${T_AS:+-$T_AS}
    WORK=$T/$name.work
    export WORK
    as mkdir -p "$WORK.native" "$WORK"
    (cd "$WORK.native" && WORK=$WORK.native && reference "$name" "$@") ||
        { fail "$label: works without stint"; diag_file "$T/$name.native.err"; return; }
    (cd "$WORK" && job_launch "$name" "$@")
    if job_ready "$name" 120 && work_on "$name" 3; then
        job_go "$name"
        job_end "$name" 300
        is "$label: exit status" "$JOB_STATUS" 0
        same "$label: result" "$T/$name.out" "$T/$name.native" && [ "$JOB_STATUS" = 0 ] &&
            outcome=pass || job_diag "$name"
    else
        fail "$label: came to its end" || :
        job_diag "$name"
    fi
    record "$key" real "$outcome" "$(version "${needed%%,*}")"
    job_kill9 "$name"
    [ -n "${REAL_KEEP:-}" ] || rm -rf "$T/$name" "$T/$name".*
}

PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE

real_all() {
    while read -r name needed command; do
        case $name in ''|'#'*) continue ;; esac
        # shellcheck disable=SC2086 # words
        real "$name" "$needed" $command <&3
    done 3</dev/null <<END
$table
END
}

# name, programs that it needs, command
P=$PROGRAMS
table="
python-fork         python3     /usr/bin/python3 $P/mp_job.py fork
python-spawn        python3     /usr/bin/python3 $P/mp_job.py spawn
python-forkserver   python3     /usr/bin/python3 $P/mp_job.py forkserver
python-asyncio      python3     /usr/bin/python3 $P/asyncio_job.py
python-pipeline     python3     /usr/bin/python3 $P/pipeline_job.py
gromacs             gmx,g++     sh $P/gromacs.sh 20000
java-zgc            javac       sh $P/build_run.sh java -XX:+UseZGC
node-workers        node        node $P/workers.js
go-cgo              go,gcc      sh $P/build_run.sh go
ocaml               ocamlopt    sh $P/build_run.sh ocaml
ruby                ruby        ruby $P/job.rb
octave              octave-cli  octave-cli --no-init-file $P/job.m
R-fork              Rscript     Rscript --vanilla $P/parallel.R FORK
R-psock             Rscript     Rscript --vanilla $P/parallel.R PSOCK
R-mclapply          Rscript     Rscript --vanilla $P/parallel.R mclapply
sqlite-wal          python3     /usr/bin/python3 $P/sqlite_job.py
redis               redis-server /usr/bin/python3 $P/redis_job.py
make                gcc,make    sh $P/make.sh $T_ROOT
parallel            parallel    bash $P/batches.sh parallel
xargs               xargs       bash $P/batches.sh xargs
lammps              lmp         sh $P/lammps.sh
bash-jobs           bash        /usr/bin/python3 $P/terminal.py bash
zsh-jobs            zsh         /usr/bin/python3 $P/terminal.py zsh
tcsh-jobs           tcsh        /usr/bin/python3 $P/terminal.py tcsh
vim                 vim         /usr/bin/python3 $P/terminal.py vim
emacs               emacs       /usr/bin/python3 $P/terminal.py emacs
tmux                tmux        /usr/bin/python3 $P/terminal.py tmux
screen              screen      /usr/bin/python3 $P/terminal.py screen
"
user_table="
postgresql          psql        bash $P/postgres.sh
"

real_all
is_root || table=''
table="$table$user_table"
if is_root; then
    T_AS=user
    real_all
fi
done_testing
