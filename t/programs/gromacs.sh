#!/bin/sh
# Molecular dynamics of water by GROMACS: thread-MPI ranks with OpenMP threads.
# SPDX-License-Identifier: Apache-2.0
. "${0%/*}/gate.sh"
set -e
export GMX_MAXBACKUP=-1
cat >topol.top <<'END'
#include "oplsaa.ff/forcefield.itp"
#include "oplsaa.ff/spc.itp"
[ system ]
water
[ molecules ]
END
cat >md.mdp <<END
integrator = md
nsteps = $1
dt = 0.002
nstlog = 100
nstenergy = 100
nstxout-compressed = 100
coulombtype = PME
rcoulomb = 0.9
rvdw = 0.9
tcoupl = v-rescale
tc-grps = system
tau-t = 0.1
ref-t = 300
ld-seed = 7
gen-vel = yes
gen-temp = 300
gen-seed = 7
constraints = h-bonds
END
gmx -quiet solvate -cs spc216 -box 2.4 2.4 2.4 -o water.gro -p topol.top >prepare.log 2>&1
gmx -quiet grompp -f md.mdp -c water.gro -p topol.top -o md.tpr >>prepare.log 2>&1
if ! grep -qw rdtscp /proc/cpuinfo; then # Debian's GROMACS insists on it
    g++ -O1 -shared -fPIC -o rdtscp.so "${0%/*}/gromacs_rdtscp.cc"
    preload=$PWD/rdtscp.so:
fi
LD_PRELOAD=${preload:-}${LD_PRELOAD:-} gmx -quiet mdrun -deffnm md -reprod -ntmpi 2 -ntomp 2 \
    -pin off -nb cpu -dlb no -tunepme no >mdrun.log 2>&1 </dev/null &
until grep -q '^ *100 ' md.log 2>/dev/null; do
    kill -0 $! || { cat mdrun.log; exit 1; }
    sleep 0.1
done
gate
kill -0 $! && echo "still at work"
wait $!
awk '/A V E R A G E S/, /Total Virial/' md.log
sha256sum <md.gro
sha256sum <md.xtc
echo Potential | gmx -quiet energy -f md.edr -o pot.xvg 2>/dev/null | grep '^Potential'
