/* Connections whose other end is not part of the program: what becomes of them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Rules are text, separated by commas: "POLICY:PATTERN" holds for the other ends whose name
 * matches (fnmatch(3)), "POLICY" alone for all that nothing else says anything of. A UNIX
 * socket's name is its path, or "@" and its abstract name; a TCP one's is "10.1.2.3:80" or
 * "[fe80::1]:80". The first rule that matches counts; after those given come those of the
 * user's file, one "POLICY PATTERN" a line, then the helpers of the machine.
 */
#ifndef STINT_COORDINATOR_AGENT_POLICY_H
#define STINT_COORDINATOR_AGENT_POLICY_H

#include <stddef.h>
#include <sys/socket.h>

#include "common/err.h"

#define AGENT_POLICY_MAX      1000 /* bytes of rules */
#define AGENT_POLICY_VARIABLE "STINT_SOCKETS" /* rules, where no option says any */

enum agent_policy {
    AGENT_POLICY_RESET,     /* what had arrived is read, then ECONNRESET */
    AGENT_POLICY_END,       /* likewise, then the end of the stream */
    AGENT_POLICY_RECONNECT, /* connected again; END where bytes are under way */
    AGENT_POLICY_REFUSE,    /* no checkpoint */
};

/* Are rules well-formed? Returns 0, or -EINVAL with *err: what is wrong with which. */
int agent_policy_check(const char *rules, struct stint_err *err);

/* Likewise the user's file; 0 also when there is none. */
int agent_policy_check_file(struct stint_err *err);

/* What holds for the other end of that name. otherwise: when no rule says anything. */
enum agent_policy agent_policy_find(const char *rules, const char *name,
                                    enum agent_policy otherwise);

/* What holds for those of which nothing is known. */
enum agent_policy agent_policy_general(const char *rules, enum agent_policy otherwise);

/* The name of a TCP address, for rules. An IPv4 address that is mapped into IPv6 is one of
 * IPv4. */
void agent_policy_name(const struct sockaddr_storage *address, char *text, size_t size);

#endif
