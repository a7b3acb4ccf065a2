#!/bin/sh
# Compiles a program of this folder into the working directory and becomes it.
# SPDX-License-Identifier: Apache-2.0
set -e
here=${0%/*}
language=$1
shift
case $language in
java)
    javac -d . "$here/Job.java"
    exec java "$@" -Xmx256m -XX:-UsePerfData -cp . Job ;;
go)
    GOCACHE=$PWD/cache go build -o job "$here/job.go"
    exec ./job ;;
ocaml)
    cp "$here/job.ml" .
    ocamlopt -I +unix -I +threads unix.cmxa threads.cmxa job.ml -o job
    exec ./job ;;
esac
