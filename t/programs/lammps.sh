#!/bin/sh
# A melt by LAMMPS, serially: its thermodynamic output to the last digit.
# SPDX-License-Identifier: Apache-2.0
. "${0%/*}/gate.sh"
set -e
cat >in.melt <<'END'
units lj
atom_style atomic
lattice fcc 0.8442
region box block 0 6 0 6 0 6
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 3.0 87287 loop geom
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
neigh_modify every 20 delay 0 check no
fix 1 all nve
thermo 500
thermo_modify format float %20.15g flush yes
dump 1 all custom 2000 melt.dump id x y z
run 20000
END
lmp -in in.melt -log log.melt >melt.out 2>&1 </dev/null &
until grep -q '^ *500 ' log.melt 2>/dev/null; do
    kill -0 $! || { cat melt.out; exit 1; }
    sleep 0.1
done
gate
kill -0 $! && echo 'still at work'
wait $!
grep -E '^ *20000 ' log.melt
sha256sum <melt.dump
