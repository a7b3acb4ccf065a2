#!/bin/bash
# An Octave script.
#SBATCH --job-name=octave
#SBATCH --time=04:00:00
#SBATCH --ntasks=1
#SBATCH --output=%x-%j.out
#SBATCH --error=%x-%j.err
#SBATCH --checkpoint-interval=30m

octave --no-gui my_script.m
