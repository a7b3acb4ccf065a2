#!/bin/sh
# The modulefiles under a real Lmod: the one that is installed, else an unpacked copy of
# Debian's package, which cannot be installed beside environment-modules.
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# slow
. "${0%/*}/lib.sh"
. "$T_DIR/dmtcp.sh"

# Sets LMOD, a folder with init/bash.
lmod_find() {
    LMOD=/usr/share/lmod/lmod
    [ ! -e "$LMOD/init/bash" ] || return 0
    command -v lua5.3 >/dev/null || skip_all 'Lmod needs lua5.3 lua-posix lua-filesystem lua-json lua-term'
    mkdir "$T/lmod"
    (cd "$T/lmod" && timeout 60 apt-get download lmod >/dev/null 2>&1 && dpkg -x lmod_*.deb .) ||
        skip_all 'lmod is not installed, and cannot be had from an archive'
    grep -rlI '/usr/\(share\|lib\)/lmod' "$T/lmod/usr" |
        xargs sed -i "s,/usr/share/lmod,$T/lmod/usr/share/lmod,g; s,/usr/lib/lmod,$T/lmod/usr/lib/lmod,g"
    LMOD=$T/lmod/usr/share/lmod/lmod
}
lmod_find

in_module() { # COMMAND: in a bash that has no commands of ours on PATH yet
    env -i HOME="$HOME" PATH=/usr/local/bin:/usr/bin:/bin USER=user SLURM_JOB_ID=6 \
        bash -c ". $LMOD/init/bash >/dev/null 2>&1; export MODULEPATH=$T/modules; $1" 2>&1
}
for kind in lua tcl; do
    d_modules "$kind"
    # shellcheck disable=SC2016 # for the inner shell
    is "Lmod, $kind: ml system dmtcp" \
        "$(in_module 'ml system dmtcp; type -P dmtcp_launch; echo $DMTCP_ROOT')" \
        "$D_BIN/dmtcp_launch
${D_BIN%/bin}/root"
    # shellcheck disable=SC2016 # for the inner shell
    like '  a program finds dmtcp.h' "$(in_module 'ml dmtcp; echo $CPATH')" "$T_ROOT/runtime/include"
    is '  ml unload' "$(in_module 'ml dmtcp; ml -dmtcp; type -P dmtcp_launch; echo gone')" gone
    d_module_checks in_module
done
d_finish
