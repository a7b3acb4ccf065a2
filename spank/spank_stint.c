/* Slurm's entry points to the plugin.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The same file is loaded into sbatch, salloc and srun, into slurmstepd and into
 * slurmd. As root nothing runs but the registration of the options; the work in
 * slurmstepd is done in task_init, as the user, in the child that becomes the task.
 * From remote hooks nothing but 0 is returned: an error there would drain the node.
 */
#include "plugin.h"

SPANK_PLUGIN(stint, 1)

static int option_given(int id, const char *value, int remote)
{
    /* in slurmstepd the value has been checked; task_init reads it */
    return remote ? 0 : submit_option(id, value);
}

int slurm_spank_init(spank_t sp, int argc, char **argv)
{
    spank_context_t context = spank_context();

    if (context == S_CTX_ALLOCATOR || context == S_CTX_LOCAL)
        submit_init();
    if (context != S_CTX_SLURMD)
        options_register(sp, option_given);
    return 0;
}

int slurm_spank_init_post_opt(spank_t sp, int argc, char **argv)
{
    spank_context_t context = spank_context();

    if (context == S_CTX_ALLOCATOR || context == S_CTX_LOCAL)
        submit_options_done(sp);
    return 0;
}

int slurm_spank_task_init(spank_t sp, int argc, char **argv)
{
    if (spank_context() == S_CTX_REMOTE)
        task_init(sp, argc, argv);
    return 0;
}
