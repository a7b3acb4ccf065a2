/* Ports that the kernel keeps for connections that are over.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One end of a TCP connection that has ended is remembered for a minute (TIME_WAIT), and no
 * listener gets its port meanwhile, unless both wanted to share it (SO_REUSEADDR). A reset
 * makes the kernel forget (RFC 1337 calls it assassination), and it comes from the other end
 * when that one gets an answer that it does not expect: so a connection is begun from there,
 * where that address is one of this machine's.
 */
#include "runtime/restorer/time_wait.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"

union name {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

/* The kernel prints the 32-bit words of an address as they are in memory. */
static bool parse_name(const char *text, int family, union name *name)
{
    unsigned word[4], port;

    memset(name, 0, sizeof(*name));
    name->any.sa_family = (sa_family_t)family;
    if (family == AF_INET) {
        if (sscanf(text, "%8x:%x", &word[0], &port) != 2)
            return false;
        name->in.sin_addr.s_addr = word[0];
        name->in.sin_port = htons((uint16_t)port);
        return true;
    }
    if (sscanf(text, "%8x%8x%8x%8x:%x", &word[0], &word[1], &word[2], &word[3], &port) != 5)
        return false;
    memcpy(&name->in6.sin6_addr, word, sizeof(name->in6.sin6_addr));
    name->in6.sin6_port = htons((uint16_t)port);
    return true;
}

/* The kernel does all of it before connect(2) returns: this machine's network has no delay. */
static void end_one(int family, const union name *local, const union name *remote)
{
    socklen_t len = family == AF_INET ? sizeof(local->in) : sizeof(local->in6);
    STINT_AUTO_CLOSE int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;

    if (fd < 0)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)); /* valid */
    if (bind(fd, &remote->any, len) == 0)
        (void)connect(fd, &local->any, len); /* nobody listens there: never succeeds */
}

struct found {
    unsigned waiting;
    bool taken; /* somebody listens */
};

static void look(int family, const char *table, uint16_t port, bool end, struct found *found)
{
    STINT_AUTO_FCLOSE FILE *file = fopen(table, "re");
    char line[512], local_text[48], remote_text[48];
    union name local, remote;
    unsigned state;

    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, " %*u: %47s %47s %x", local_text, remote_text, &state) != 3
            || !parse_name(local_text, family, &local)
            || !parse_name(remote_text, family, &remote)
            /* the port is at the same place in both families */
            || local.in.sin_port != port)
            continue;
        found->taken = found->taken || state == TCP_LISTEN;
        if (state != TCP_TIME_WAIT)
            continue;
        found->waiting++;
        if (end)
            end_one(family, &local, &remote);
    }
}

static struct found look_all(uint16_t port, bool end)
{
    struct found found = {0};

    look(AF_INET, "/proc/net/tcp", port, end, &found);
    look(AF_INET6, "/proc/net/tcp6", port, end, &found);
    return found;
}

bool stint_time_wait_holds(uint16_t port)
{
    struct found found = look_all(port, false);

    return found.waiting && !found.taken;
}

bool stint_time_wait_end(uint16_t port)
{
    return stint_time_wait_holds(port) && look_all(port, true).waiting;
}
