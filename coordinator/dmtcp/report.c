/* What the coordinator says, as people and programs know it from DMTCP.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/dmtcp/report.h"

#include <string.h>

#include "common/wire.h"

unsigned report_peers(const json_t *reply)
{
    unsigned n = 0;
    size_t i;
    json_t *agent;

    json_array_foreach(json_object_get(reply, "agents"), i, agent) {
        n += (unsigned)json_array_size(json_object_get(agent, "processes"));
    }
    return n;
}

bool report_is_running(const json_t *reply)
{
    size_t i;
    json_t *agent;

    json_array_foreach(json_object_get(reply, "agents"), i, agent) {
        if (!stint_json_bool(agent, "running", 0))
            return false;
    }
    return report_peers(reply) > 0 && stint_json_int(reply, "expected", 0, INT32_MAX, 0) == 0
           && strcmp(stint_json_string(reply, "state", ""), "idle") == 0;
}

void report_status(const json_t *reply, const char *host, unsigned port, FILE *out)
{
    long long interval = stint_json_int(reply, "interval_s", 0, INT32_MAX, 0);

    fprintf(out, "Coordinator:\n  Host: %s\n  Port: %u\nStatus...\n", host, port);
    fprintf(out, "  NUM_PEERS=%u\n  RUNNING=%s\n", report_peers(reply),
            report_is_running(reply) ? "yes" : "no");
    if (interval)
        fprintf(out, "  CKPT_INTERVAL=%lld\n", interval);
    else
        fprintf(out, "  CKPT_INTERVAL=0 (checkpoint manually)\n");
}

void report_list(const json_t *reply, FILE *out)
{
    const char *computation = stint_json_string(reply, "computation", "");
    const char *state = report_is_running(reply) ? "RUNNING" : "STOPPED";
    unsigned number = 0;
    size_t i, j;
    json_t *agent, *process;

    fputs("#, PROG[virtPID:realPID]@HOST, UNIQUEPID, STATE\n", out);
    json_array_foreach(json_object_get(reply, "agents"), i, agent) {
        json_array_foreach(json_object_get(agent, "processes"), j, process) {
            long long pid = stint_json_int(process, "pid", 0, INT32_MAX, 0);

            fprintf(out, "%u, %s[%lld:%lld]@%s, %s-%lld-%s, %s\n", ++number,
                    stint_json_string(process, "program", "?"), pid,
                    (long long)stint_json_int(process, "real_pid", 0, INT32_MAX, 0),
                    stint_json_string(agent, "host", "?"), computation, pid,
                    stint_json_string(agent, "group", "?"), state);
        }
    }
}
