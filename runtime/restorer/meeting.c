/* Where sockets of other groups are at a restart.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/restorer/meeting.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_MS 300000 /* for the other groups to be restored, too */
#define POLL_MS 200

int64_t stint_meeting_now(void)
{
    struct timespec now = {0, 0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* exists */
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- names and addresses --------------------------------------------------------------- */

void stint_meeting_print(const struct sockaddr *name, char text[STINT_MEETING_NAME])
{
    const struct sockaddr_in *in = (const void *)name;
    const struct sockaddr_in6 *in6 = (const void *)name;
    char host[INET6_ADDRSTRLEN] = "?";

    memset(text, 0, STINT_MEETING_NAME);
    if (name->sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host)); /* fits */
    else if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        (void)inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], host, sizeof(host)); /* fits */
    else
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host)); /* fits */
    (void)snprintf(text, STINT_MEETING_NAME, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
                   ntohs(in->sin_port)); /* fits */
}

socklen_t stint_meeting_address(const struct stint_restored_socket *sock, const char *text,
                                uint16_t port, struct sockaddr_storage *to)
{
    struct sockaddr_in *in = (void *)to;
    struct sockaddr_in6 *in6 = (void *)to;
    char mapped[INET6_ADDRSTRLEN + 8];

    memset(to, 0, sizeof(*to));
    to->ss_family = sock->record->family;
    if (to->ss_family == AF_INET) {
        in->sin_port = port;
        return inet_pton(AF_INET, text, &in->sin_addr) == 1 ? sizeof(*in) : 0;
    }
    in6->sin6_port = port;
    (void)snprintf(mapped, sizeof(mapped), strchr(text, ':') ? "%s" : "::ffff:%s", text);
    return inet_pton(AF_INET6, mapped, &in6->sin6_addr) == 1 ? sizeof(*in6) : 0;
}

/* --- where they are ---------------------------------------------------------------------- */

void stint_meeting_start(struct stint_meeting *meeting, struct stint_restore *restore)
{
    *meeting = (struct stint_meeting){.restore = restore,
                                      .deadline_ms = stint_meeting_now() + WAIT_MS};
}

void stint_meeting_end(struct stint_meeting *meeting, bool done)
{
    free(meeting->places);
    meeting->places = NULL;
    if (done)
        stint_control_send(meeting->restore, "connected");
}

/* "at KEY PORT ADDRESS..." */
static void note_place(struct stint_meeting *meeting, char *text)
{
    struct stint_place *places, *place;
    char *save, *word = strtok_r(text, " ", &save);

    places = reallocarray(meeting->places, meeting->nplaces + 1, sizeof(*places));
    if (!places || !word || strcmp(word, "at") != 0)
        return; /* without it the time runs out, and that is told */
    meeting->places = places;
    place = &places[meeting->nplaces];
    memset(place, 0, sizeof(*place));
    word = strtok_r(NULL, " ", &save);
    (void)snprintf(place->key, sizeof(place->key), "%s", word ? word : ""); /* cut: no match */
    word = strtok_r(NULL, " ", &save);
    place->port = htons((uint16_t)(word ? strtoul(word, NULL, 10) : 0));
    while (place->count < 16 && (word = strtok_r(NULL, " ", &save)))
        (void)snprintf(place->addresses[place->count++], INET6_ADDRSTRLEN, "%s", word);
    if (place->key[0] && place->port && place->count)
        meeting->nplaces++;
}

int stint_meeting_hear(struct stint_meeting *meeting, const char *group, int timeout_ms,
                       struct stint_err *err)
{
    char text[4096];
    int r = stint_control_receive(meeting->restore, text, sizeof(text), timeout_ms);

    if (r < 0)
        return stint_err_set(err, -ECANCELED, "the agent has gone.");
    if (r > 0)
        note_place(meeting, text);
    if (stint_meeting_now() < meeting->deadline_ms)
        return 0;
    return stint_err_set(err, -ETIMEDOUT,
                         "the group %s, which has the other ends of TCP connections, was not "
                         "restored within %d s (stint restart --join --group %s DIR).",
                         group, WAIT_MS / 1000, group);
}

const struct stint_place *stint_meeting_find(const struct stint_meeting *meeting, const char *key)
{
    for (size_t i = meeting->nplaces; i > 0; i--) {
        if (strcmp(meeting->places[i - 1].key, key) == 0)
            return &meeting->places[i - 1];
    }
    return NULL;
}

/* --- bytes --------------------------------------------------------------------------------- */

int stint_meeting_send(int fd, const void *bytes, size_t len, int timeout_ms)
{
    int64_t deadline = stint_meeting_now() + timeout_ms;
    size_t done = 0;

    while (done < len) {
        ssize_t n = send(fd, (const char *)bytes + done, len - done,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n >= 0)
            done += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return -errno;
        else if (stint_meeting_now() > deadline)
            return -ETIMEDOUT;
        else
            (void)stint_socket_wait(fd, POLLOUT, POLL_MS); /* the deadline counts */
    }
    return 0;
}
