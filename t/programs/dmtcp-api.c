/* Uses dmtcp.h and stint.h. SPDX-License-Identifier: Apache-2.0
 *
 * dmtcp-api LOG: what each function returns, a line each; a checkpoint by dmtcp.h, a
 * critical section that lasts while LOG.hold is there, a checkpoint by stint.h; status 5.
 */
#include <dmtcp.h>
#include <stdio.h>
#include <stint.h>
#include <string.h>
#include <unistd.h>

static FILE *out;

static void local_status(void)
{
    int checkpoints = -1, restarts = -1;

    if (dmtcp_get_local_status(&checkpoints, &restarts) == DMTCP_IS_PRESENT)
        fprintf(out, "local %d %d\n", checkpoints, restarts);
    else
        fprintf(out, "local none\n");
    fflush(out);
}

static void critical_section(const char *log)
{
    char hold[4096];

    snprintf(hold, sizeof(hold), "%s.hold", log);
    fprintf(out, "disable %d\n", dmtcp_disable_ckpt());
    fprintf(out, "disable %d\n", dmtcp_disable_ckpt());
    fprintf(out, "enable %d\n", dmtcp_enable_ckpt());
    fflush(out);
    while (access(hold, F_OK) == 0)
        usleep(10000);
    fprintf(out, "leaving\n");
    fflush(out);
    fprintf(out, "enable %d\n", dmtcp_enable_ckpt());
    fprintf(out, "enable %d\n", dmtcp_enable_ckpt());
    fflush(out);
}

int main(int argc, char **argv)
{
    int peers = -1, running = -1;
    const char *name;

    out = argc > 1 ? fopen(argv[1], "a") : NULL;
    if (!out)
        return 2;
    fprintf(out, "enabled %d\n", dmtcp_is_enabled());
    if (dmtcp_get_coordinator_status(&peers, &running) == DMTCP_IS_PRESENT)
        fprintf(out, "coordinator %d %d\n", peers, running);
    else
        fprintf(out, "coordinator none\n");
    name = dmtcp_get_ckpt_filename();
    fprintf(out, "file %s\n", name ? name : "none");
    name = dmtcp_get_uniquepid_str();
    fprintf(out, "id %s\n", name ? name : "none");
    fprintf(out, "generation %u\n", dmtcp_get_generation());
    local_status();
    fprintf(out, "checkpoint %d\n", dmtcp_checkpoint());
    local_status();
    critical_section(argv[1]);
    fprintf(out, "stint %d\n", STINT_CHECKPOINT());
    local_status();
    fprintf(out, "generation %u\n", dmtcp_get_generation());
    return fclose(out) == 0 ? 5 : 2;
}
