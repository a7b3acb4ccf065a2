#!/bin/bash
# One program on one core, for as long as it takes.
#SBATCH --job-name=serial
#SBATCH --time=04:00:00
#SBATCH --ntasks=1
#SBATCH --output=%x-%j.out
#SBATCH --error=%x-%j.err
#SBATCH --checkpoint-interval=30m

./my-program input.dat
