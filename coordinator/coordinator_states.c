/* The coordinator's states and transitions.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/coordinator_states.h"

#include <stddef.h>

static const struct coordinator_transition table[] = {
    {STATE_IDLE, EVENT_START, STATE_QUIESCE, ACTION_START},
    {STATE_IDLE, EVENT_STOP, STATE_ENDING, ACTION_END},
    {STATE_IDLE, EVENT_ALL_GONE, STATE_OVER, ACTION_FINISH},
    {STATE_IDLE, EVENT_EMPTY, STATE_IDLE, ACTION_ENDED},

    {STATE_QUIESCE, EVENT_ALL_QUIESCED, STATE_CAPTURE, ACTION_CAPTURE},
    {STATE_QUIESCE, EVENT_FAILED, STATE_IDLE, ACTION_ABORT},
    {STATE_QUIESCE, EVENT_STOP, STATE_ENDING, ACTION_ABORT_END},
    {STATE_QUIESCE, EVENT_ALL_GONE, STATE_OVER, ACTION_ABORT_FINISH},
    {STATE_QUIESCE, EVENT_EMPTY, STATE_IDLE, ACTION_ABORT},

    {STATE_CAPTURE, EVENT_ALL_CAPTURED, STATE_COMMIT, ACTION_COMMIT},
    {STATE_CAPTURE, EVENT_FAILED, STATE_IDLE, ACTION_ABORT},
    {STATE_CAPTURE, EVENT_STOP, STATE_ENDING, ACTION_ABORT_END},
    {STATE_CAPTURE, EVENT_ALL_GONE, STATE_OVER, ACTION_ABORT_FINISH},
    {STATE_CAPTURE, EVENT_EMPTY, STATE_IDLE, ACTION_ABORT},

    {STATE_COMMIT, EVENT_COMMITTED, STATE_IDLE, ACTION_ANNOUNCE},
    {STATE_COMMIT, EVENT_COMMITTED_END, STATE_ENDING, ACTION_END},
    {STATE_COMMIT, EVENT_COMMITTED_HOLD, STATE_HELD, ACTION_REQUEUE},
    {STATE_COMMIT, EVENT_FAILED, STATE_IDLE, ACTION_ABORT},

    {STATE_HELD, EVENT_REQUEUED, STATE_ENDING, ACTION_END},
    {STATE_HELD, EVENT_FAILED, STATE_IDLE, ACTION_RESUME},
    /* EVENT_ALL_GONE has to wait: Slurm kills agents while the requeue is under way */
    {STATE_HELD, EVENT_STOP, STATE_ENDING, ACTION_END},

    {STATE_ENDING, EVENT_ALL_GONE, STATE_OVER, ACTION_FINISH},
    {STATE_ENDING, EVENT_EMPTY, STATE_IDLE, ACTION_ENDED},
    {STATE_ENDING, EVENT_TIMEOUT, STATE_OVER, ACTION_FINISH},
};

const struct coordinator_transition *
coordinator_transition(enum coordinator_state from, enum coordinator_event event)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].from == from && table[i].event == event)
            return &table[i];
    return NULL;
}

const char *coordinator_state_name(enum coordinator_state state)
{
    switch (state) {
    case STATE_IDLE:
        return "idle";
    case STATE_QUIESCE:
        return "quiesce";
    case STATE_CAPTURE:
        return "capture";
    case STATE_COMMIT:
        return "commit";
    case STATE_HELD:
        return "held";
    case STATE_ENDING:
        return "ending";
    case STATE_OVER:
        return "over";
    case STATE_COUNT:
    default:
        return "unknown";
    }
}

int coordinator_state_is_busy(enum coordinator_state state)
{
    return state == STATE_QUIESCE || state == STATE_CAPTURE || state == STATE_COMMIT
           || state == STATE_HELD;
}
