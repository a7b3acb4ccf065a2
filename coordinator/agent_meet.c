/* TCP connections between groups, at a restart: who listens where.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_meet.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/endpoint.h"
#include "common/log.h"
#include "common/wire.h"
#include "coordinator/agent_state.h"

#define ROOM_MS    8000 /* longer than an address that does not answer is tried */
#define PATIENCE_S 3 /* before the user is told who is waited for */

struct agent_meet {
    struct agent *agent;
    int control;
    json_t *offers;  /* ours: messages */
    json_t *heard;   /* of others, so far */
    bool listening;  /* the restorer waits for offers */
    char group[128]; /* one of those that are waited for */
    struct event *timer;
};

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    const struct agent_meet *meet = arg;

    if (meet->listening)
        agent_say("waiting for the group %s, which has the other ends of connections: stint "
                  "restart --join --group %s %s",
                  meet->group, meet->group, meet->agent->config->dir);
}

struct agent_meet *agent_meet_new(struct agent *agent, int control)
{
    struct agent_meet *meet = calloc(1, sizeof(*meet));

    if (!meet)
        return NULL;
    meet->agent = agent;
    meet->control = control;
    meet->offers = json_array();
    meet->heard = json_array();
    meet->timer = evtimer_new(agent->base, on_timer, meet);
    if (meet->offers && meet->heard && meet->timer)
        return meet;
    agent_meet_free(meet);
    return NULL;
}

void agent_meet_free(struct agent_meet *meet)
{
    if (!meet)
        return;
    json_decref(meet->offers);
    json_decref(meet->heard);
    if (meet->timer)
        event_free(meet->timer);
    free(meet);
}

/* --- ours ----------------------------------------------------------------------------- */

void agent_meet_network(char *text, size_t size)
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    char boot[64] = "";
    struct stat st = {0};

    if (file && !fgets(boot, sizeof(boot), file))
        boot[0] = '\0';
    if (file)
        fclose(file);
    boot[strcspn(boot, "\n")] = '\0';
    (void)stat("/proc/self/ns/net", &st); /* 0 then */
    snprintf(text, size, "%s:%llu", boot, (unsigned long long)st.st_ino);
}

static void send_offer(struct agent *agent, const json_t *offer)
{
    agent_link_send(agent, "offer", "s:O, s:O, s:O, s:O", "key", json_object_get(offer, "key"),
                    "port", json_object_get(offer, "port"), "addresses",
                    json_object_get(offer, "addresses"), "network",
                    json_object_get(offer, "network"));
}

/* "listening ADDRESS PORT" */
static void offer_place(struct agent_meet *meet, const char *text)
{
    char address[160], key[256], network[128];
    unsigned port;
    json_t *offer;

    if (sscanf(text, "listening %159s %u", address, &port) != 2)
        return;
    snprintf(key, sizeof(key), "%s/%s", meet->agent->config->group, address);
    agent_meet_network(network, sizeof(network));
    offer = json_pack("{s:s, s:i, s:o, s:s}", "key", key, "port", (int)port, "addresses",
                      stint_endpoint_own_addresses(), "network", network);
    if (!offer || json_array_append_new(meet->offers, offer) < 0) {
        stint_warn("out of memory: connections to other groups will not be made");
        return;
    }
    if (agent_link_connected(meet->agent))
        send_offer(meet->agent, offer);
}

void agent_meet_connected(struct agent_meet *meet)
{
    const json_t *offer;
    size_t i;

    if (!meet)
        return;
    json_array_foreach (meet->offers, i, offer)
        send_offer(meet->agent, offer);
}

/* --- those of others ------------------------------------------------------------------- */

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

/* The restorer may be busy connecting: there are many offers when there are many ports. */
static void send_line(const struct agent_meet *meet, const char *text, size_t len)
{
    struct pollfd room = {meet->control, POLLOUT, 0};

    while (send(meet->control, text, len, MSG_NOSIGNAL) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN || poll(&room, 1, ROOM_MS) <= 0) {
            stint_warn("an offer does not reach the restorer: %s", strerror(errno));
            return;
        }
    }
}

/* Does the key (GROUP/OLD-ADDRESS) have this address? */
static bool is_old(const char *key, const char *address)
{
    const char *old = strchr(key, '/');
    size_t len = strlen(address);

    if (!old)
        return false;
    old += 1 + (old[1] == '[');
    return strncmp(old, address, len) == 0 && (old[len] == ':' || old[len] == ']');
}

/* In which turn an address is to be tried; -1: not at all. */
static int rank(const char *key, const char *address, bool is_here)
{
    enum stint_distance distance = stint_endpoint_distance(address);

    if (is_here)
        return is_old(key, address) ? 0 : 1;
    if (is_loopback(address))
        return -1;
    if (distance == STINT_DISTANCE_OWN)
        return 3; /* of a network within each host */
    return is_old(key, address) ? 0 : distance == STINT_DISTANCE_NEAR ? 1 : 2;
}

/* "at KEY PORT ADDRESS...": first the address that it had, then those of networks that this
 * host is attached to, and the loopback ones only within it. */
static void pass_on(const struct agent_meet *meet, const json_t *offer)
{
    const char *key = stint_json_string(offer, "key", "");
    const json_t *addresses = json_object_get(offer, "addresses");
    char text[2048], network[128];
    const json_t *item;
    bool is_here;
    size_t len, i;

    agent_meet_network(network, sizeof(network));
    is_here = strcmp(stint_json_string(offer, "network", ""), network) == 0;
    len = (size_t)snprintf(text, sizeof(text), "at %.255s %d", key,
                           (int)stint_json_int(offer, "port", 1, 65535, 0));
    for (int turn = 0; turn <= 3; turn++)
        json_array_foreach (addresses, i, item) {
            const char *address = json_string_value(item);

            if (address && len + strlen(address) + 2 <= sizeof(text)
                && rank(key, address, is_here) == turn)
                len += (size_t)snprintf(text + len, sizeof(text) - len, " %s", address);
        }
    send_line(meet, text, len);
}

void agent_meet_offer(struct agent_meet *meet, const json_t *message)
{
    if (!meet)
        return;
    (void)json_array_append(meet->heard, (json_t *)message); /* else: it times out */
    if (meet->listening)
        pass_on(meet, message);
}

static void start_listening(struct agent_meet *meet, const char *group)
{
    const struct timeval patience = {PATIENCE_S, 0};
    const json_t *offer;
    size_t i;

    snprintf(meet->group, sizeof(meet->group), "%s", group);
    if (meet->listening)
        return;
    meet->listening = true;
    evtimer_add(meet->timer, &patience);
    json_array_foreach (meet->heard, i, offer)
        pass_on(meet, offer);
}

bool agent_meet_packet(struct agent_meet *meet, const char *text)
{
    if (strncmp(text, "listening ", 10) == 0) {
        offer_place(meet, text);
    } else if (strncmp(text, "connections ", 12) == 0) {
        start_listening(meet, text + 12);
    } else if (strcmp(text, "connected") == 0) {
        meet->listening = false;
        evtimer_del(meet->timer);
    } else {
        return false;
    }
    return true;
}
