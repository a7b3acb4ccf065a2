/* Job control of a restored program on the terminal of `stint restart`.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_terminal.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "coordinator/agent_proc.h"
#include "coordinator/agent_state.h"

/* A shell tells nobody whom it puts in front. */
#define LOOK_INTERVAL_MS 200

struct agent_terminal {
    struct agent *agent;
    struct event *timer;
};

/* The program's first group gets the terminal, and what it was stopped by is over. */
static void put_in_front(pid_t pgid)
{
    if (tcsetpgrp(STDIN_FILENO, pgid) < 0) {
        stint_debug("put process group %d in front: %s", (int)pgid, strerror(errno));
        return;
    }
    if (kill(-pgid, SIGCONT) < 0 && errno != ESRCH)
        stint_debug("continue process group %d: %s", (int)pgid, strerror(errno));
}

/* Has job control stopped it? SIGSTOP is somebody else's affair. */
static bool is_stopped_by_terminal(const struct agent_proc *root)
{
    int signo = root->exit_code & 0x7f;

    return root->state == 'T' && (signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct agent *agent = ((struct agent_terminal *)arg)->agent;
    pid_t front = tcgetpgrp(STDIN_FILENO), own = getpgrp();
    struct agent_proc root;

    /* A checkpoint leaves everything as it found it. */
    if (agent->checkpoint || agent->root <= 0 || front <= 0
        || agent_proc_read(agent->root, &root) < 0 || root.pgid == own
        || root.sid != getsid(0))
        return;
    if (front == own)
        put_in_front(root.pgid);
    else if (is_stopped_by_terminal(&root))
        (void)kill(0, SIGTSTP); /* the whole job of the shell, as the terminal would */
}

int agent_terminal_start(struct agent *agent, struct stint_err *err)
{
    const struct timeval interval = {0, LOOK_INTERVAL_MS * 1000};
    struct agent_terminal *terminal;

    if (!agent->restore || tcgetpgrp(STDIN_FILENO) < 0)
        return 0;
    terminal = calloc(1, sizeof(*terminal));
    if (!terminal)
        return stint_err_set(err, -ENOMEM, "watch the terminal");
    agent->terminal = terminal;
    terminal->agent = agent;
    terminal->timer = event_new(agent->base, -1, EV_PERSIST, on_timer, terminal);
    if (!terminal->timer || event_add(terminal->timer, &interval) < 0)
        return stint_err_set(err, -ENOMEM, "watch the terminal");
    return 0;
}

void agent_terminal_free(struct agent *agent)
{
    if (!agent->terminal)
        return;
    if (agent->terminal->timer)
        event_free(agent->terminal->timer);
    free(agent->terminal);
    agent->terminal = NULL;
}
