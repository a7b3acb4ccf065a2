/* The text of dmtcp_restart_script.sh.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/dmtcp/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/manifest.h"
#include "common/paths.h"
#include "coordinator/dmtcp/names.h"

static const char head[] =
    "#!/bin/bash\n"
    "# Restarts the newest checkpoint of a computation. Written anew by every checkpoint.\n";

/* After the arrays `hosts` and `files_N`, which are what differs. */
static const char body[] =
    "\n"
    "usage() {\n"
    "    cat <<'END'\n"
    "usage: dmtcp_restart_script.sh [options]\n"
    "\n"
    "Restarts all programs of the checkpoint, on the hosts where they ran; those of a\n"
    "single host on this one.\n"
    "\n"
    "  -h, --coord-host HOST   coordinator's host (environment: DMTCP_COORD_HOST)\n"
    "  -p, --coord-port N      its port (environment: DMTCP_COORD_PORT)\n"
    "  --hostfile FILE         hosts to use instead, one a line, in the order of the old ones\n"
    "  --ckptdir DIR           where later checkpoints go\n"
    "  --restartdir DIR        find the images below DIR\n"
    "  -i, --interval SEC      seconds between checkpoints\n"
    "  --new-coordinator, --any-coordinator, -j, --join-coordinator, --port-file FILE,\n"
    "  --tmpdir DIR, --coord-logfile FILE, --no-strict-checking, --debug-restart-pause N,\n"
    "  -q, --quiet             as for dmtcp_restart\n"
    "  --help, --version\n"
    "\n"
    "Other hosts are reached by ssh, or by what $DMTCP_REMOTE_SHELL_CMD names.\n"
    "END\n"
    "}\n"
    "\n"
    "fail() {\n"
    "    echo \"dmtcp_restart_script.sh: $*\" >&2\n"
    "    exit 1\n"
    "}\n"
    "\n"
    "# stint itself under the name of one of its commands; else what is on PATH\n"
    "run() {\n"
    "    local name=$1\n"
    "    shift\n"
    "    if [ -x \"$stint\" ]; then\n"
    "        (exec -a \"$name\" \"$stint\" \"$@\")\n"
    "    else\n"
    "        \"$name\" \"$@\"\n"
    "    fi\n"
    "}\n"
    "\n"
    "options=()\n"
    "hostfile=\n"
    "restartdir=\n"
    "port=${DMTCP_COORD_PORT:-}\n"
    "coordinator=${DMTCP_COORD_HOST:-}\n"
    "mode=\n"
    "while [ $# -gt 0 ]; do\n"
    "    case $1 in\n"
    "    --help) usage; exit 0 ;;\n"
    "    --version) run dmtcp_restart --version; exit ;;\n"
    "    -j | --join | --join-coordinator | --new-coordinator | --any-coordinator)\n"
    "        mode=$1; shift ;;\n"
    "    --no-strict-checking | -q | --quiet) options+=(\"$1\"); shift ;;\n"
    "    -h | --host | --coord-host | -p | --port | --coord-port | --hostfile | --ckptdir | \\\n"
    "        --restartdir | --tmpdir | -i | --interval | --port-file | --coord-logfile | \\\n"
    "        --debug-restart-pause)\n"
    "        [ $# -ge 2 ] || fail \"$1 needs a value (--help)\"\n"
    "        case $1 in\n"
    "        -h | --host | --coord-host) coordinator=$2 ;;\n"
    "        -p | --port | --coord-port) port=$2 ;;\n"
    "        --hostfile) hostfile=$2 ;;\n"
    "        --restartdir) restartdir=$2 ;;\n"
    "        *) options+=(\"$1\" \"$2\") ;;\n"
    "        esac\n"
    "        shift 2 ;;\n"
    "    *) echo \"dmtcp_restart_script.sh: there is no option '$1' (--help)\" >&2; exit 2 ;;\n"
    "    esac\n"
    "done\n"
    "[ -z \"$coordinator\" ] || options+=(--coord-host \"$coordinator\")\n"
    "here=$(cd \"$(dirname \"$0\")\" && pwd)\n"
    "\n"
    "# The files of host number $1, where they are now.\n"
    "locate() {\n"
    "    local -n list=files_$1\n"
    "    local path\n"
    "    found=()\n"
    "    for path in \"${list[@]}\"; do\n"
    "        if [ -n \"$restartdir\" ]; then\n"
    "            path=$restartdir/${path##*/}\n"
    "        elif [ ! -e \"$path\" ] && [ -e \"$here/${path##*/}\" ]; then\n"
    "            path=$here/${path##*/}\n"
    "        fi\n"
    "        found+=(\"$path\")\n"
    "    done\n"
    "}\n"
    "\n"
    "# On which host those that ran on number $1 are to run now.\n"
    "targets=(\"${hosts[@]}\")\n"
    "if [ -n \"$hostfile\" ]; then\n"
    "    [ -r \"$hostfile\" ] || fail \"cannot read $hostfile\"\n"
    "    mapfile -t given < <(sed 's/#.*//; s/:.*//; s/[[:space:]].*//' \"$hostfile\" |\n"
    "        awk 'NF && !seen[$1]++ { print $1 }')\n"
    "    [ ${#given[@]} -gt 0 ] || fail \"$hostfile names no host\"\n"
    "    for i in \"${!hosts[@]}\"; do\n"
    "        targets[i]=${given[i % ${#given[@]}]}\n"
    "    done\n"
    "elif [ ${#hosts[@]} -eq 1 ]; then\n"
    "    targets=(\"$(hostname)\")\n"
    "fi\n"
    "is_here() {\n"
    "    case $1 in localhost | 127.* | \"$(hostname)\" | \"$(hostname -s)\") return 0 ;; esac\n"
    "    [ \"${1%%.*}\" = \"$(hostname -s)\" ]\n"
    "}\n"
    "\n"
    "local_files=()\n"
    "remote=()\n"
    "for i in \"${!hosts[@]}\"; do\n"
    "    if is_here \"${targets[i]}\"; then\n"
    "        locate \"$i\"\n"
    "        local_files+=(\"${found[@]}\")\n"
    "    else\n"
    "        remote+=(\"$i\")\n"
    "    fi\n"
    "done\n"
    "\n"
    "if [ ${#remote[@]} -eq 0 ]; then\n"
    "    [ -z \"$port\" ] || options+=(--coord-port \"$port\")\n"
    "    [ -z \"$mode\" ] || options+=(\"$mode\")\n"
    "    [ ! -x \"$stint\" ] ||\n"
    "        exec -a dmtcp_restart \"$stint\" \"${options[@]}\" \"${local_files[@]}\"\n"
    "    exec dmtcp_restart \"${options[@]}\" \"${local_files[@]}\"\n"
    "fi\n"
    "\n"
    "# Several hosts: one coordinator that all of them join.\n"
    "if [ -z \"$coordinator\" ]; then\n"
    "    coordinator=$(hostname)\n"
    "    if [ \"$mode\" = --new-coordinator ] ||\n"
    "        ! run dmtcp_command --coord-port \"${port:-7779}\" --json --status >/dev/null; then\n"
    "        portfile=$(mktemp) || exit 1\n"
    "        run dmtcp_coordinator --daemon --exit-on-last --coord-port \"${port:-7779}\" \\\n"
    "            --port-file \"$portfile\" || exit 1\n"
    "        port=$(cat \"$portfile\")\n"
    "        rm -f \"$portfile\"\n"
    "    fi\n"
    "    options+=(--coord-host \"$coordinator\")\n"
    "fi\n"
    "options+=(--coord-port \"${port:-7779}\" --join-coordinator)\n"
    "pids=()\n"
    "for i in \"${remote[@]}\"; do\n"
    "    locate \"$i\"\n"
    "    if [ -x \"$stint\" ]; then\n"
    "        words=(exec -a dmtcp_restart \"$stint\")\n"
    "    else\n"
    "        words=(exec dmtcp_restart)\n"
    "    fi\n"
    "    printf -v command '%q ' \"${words[@]}\" \"${options[@]}\" \"${found[@]}\"\n"
    "    printf -v command 'bash -c %q' \"cd $(printf %q \"$PWD\") && $command\"\n"
    "    # shellcheck disable=SC2086 # a command and its options\n"
    "    ${DMTCP_REMOTE_SHELL_CMD:-ssh} \"${targets[i]}\" \"$command\" </dev/null &\n"
    "    pids+=($!)\n"
    "done\n"
    "status=0\n"
    "if [ ${#local_files[@]} -gt 0 ]; then\n"
    "    run dmtcp_restart \"${options[@]}\" \"${local_files[@]}\" || status=$?\n"
    "fi\n"
    "for pid in \"${pids[@]}\"; do\n"
    "    wait \"$pid\" || [ $status -ne 0 ] || status=$?\n"
    "done\n"
    "exit $status\n";

/* A word of the shell. */
static void put_quoted(FILE *out, const char *text, size_t len)
{
    fputc('\'', out);
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\'')
            fputs("'\\''", out);
        else
            fputc(text[i], out);
    fputc('\'', out);
}

/* Number of the host, which is new in the list when it is the count before. */
static size_t host_index(const char *host, const char **hosts, size_t *count)
{
    for (size_t i = 0; i < *count; i++)
        if (strcmp(hosts[i], host) == 0)
            return i;
    hosts[*count] = host;
    return (*count)++;
}

static void put_files(FILE *out, const char *paths)
{
    while (paths && *paths) {
        size_t len = strcspn(paths, "\n");

        fputs("    ", out);
        put_quoted(out, paths, len);
        fputc('\n', out);
        paths += len + (paths[len] == '\n');
    }
}

static void put_lists(FILE *out, const struct stint_manifest *m, char *const *paths,
                      const char **hosts)
{
    size_t count = 0;

    for (size_t i = 0; i < m->ngroups; i++)
        (void)host_index(m->groups[i].host, hosts, &count);
    fputs("hosts=(", out);
    for (size_t h = 0; h < count; h++) {
        fputs(h ? " " : "", out);
        put_quoted(out, hosts[h], strlen(hosts[h]));
    }
    fputs(")\n", out);
    for (size_t h = 0; h < count; h++) {
        fprintf(out, "files_%zu=(\n", h);
        for (size_t i = 0; i < m->ngroups; i++)
            if (strcmp(m->groups[i].host, hosts[h]) == 0)
                put_files(out, paths[i]);
        fputs(")\n", out);
    }
}

char *dmtcp_script_text(const struct dmtcp_names_order *order, char *const *paths)
{
    const struct stint_manifest *m = order->manifest;
    STINT_AUTO_FREE const char **hosts = calloc(m->ngroups + 1, sizeof(*hosts));
    STINT_AUTO_FREE char *self = NULL;
    char *text = NULL, when[64] = "";
    time_t committed = (time_t)m->committed;
    size_t size = 0;
    struct tm tm;
    FILE *out;

    if (!hosts || stint_path_self(&self, NULL) < 0)
        return NULL;
    out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    if (localtime_r(&committed, &tm))
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
    fputs(head, out);
    fprintf(out, "# Generation %llu, %s, %llu processes. SPDX-License-Identifier: Apache-2.0\n\n",
            (unsigned long long)m->generation, when, (unsigned long long)m->processes);
    fputs("stint=", out);
    put_quoted(out, self, strlen(self));
    fputc('\n', out);
    put_lists(out, m, paths, hosts);
    fputs(body, out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}
