#!/bin/bash
# A job in a partition whose jobs may be preempted at any time: it is checkpointed when
# the notice comes (GraceTime), else goes on from the newest checkpoint; so the interval
# says how much work can be lost.
#SBATCH --job-name=preemptible
#SBATCH --partition=preemptible
#SBATCH --time=1-00:00:00
#SBATCH --ntasks=1
#SBATCH --output=%x-%j.out
#SBATCH --error=%x-%j.err
#SBATCH --checkpoint-interval=10m
#SBATCH --checkpoint-keep=3

./my-program input.dat
