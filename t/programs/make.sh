#!/bin/sh
# make -j over real sources (stint's own), again and again; the objects are always the same.
# SPDX-License-Identifier: Apache-2.0
. "${0%/*}/gate.sh"
set -e
cat >Makefile <<END
objects = \$(patsubst $1/%.c,%.o,\$(wildcard $1/common/*.c))
library.a: \$(objects)
	ar rcD \$@ \$^
\$(objects): %.o: $1/%.c
	@mkdir -p \$(@D)
	gcc -std=gnu11 -D_GNU_SOURCE -O1 -pipe -I$1 \
	    -DSTINT_BINDIR='"/usr/bin"' -DSTINT_LIBEXECDIR='"/usr/lib"' -c -o \$@ \$<
END
build() {
    rm -rf common library.a
    make -j3 >make.log 2>&1 || { tail make.log; exit 1; }
    sha256sum <library.a
}
(
    first=$(build)
    until [ -e "$GATE.go" ]; do
        [ "$(build)" = "$first" ] || { echo 'the objects differ'; exit 1; }
    done
    echo "$first"
) &
gate
wait $!
