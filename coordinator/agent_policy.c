/* Connections whose other end is not part of the program: what becomes of them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fnmatch.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"

#define FILE_NAME "stint/sockets"

static const struct {
    const char *name;
    enum agent_policy policy;
} names[] = {
    {"reset", AGENT_POLICY_RESET},
    {"end", AGENT_POLICY_END},
    {"reconnect", AGENT_POLICY_RECONNECT},
    {"refuse", AGENT_POLICY_REFUSE},
};

/* Daemons of the machine, which know nothing of the job's state. The libraries that speak to
 * those that want to be greeted first do so again when a stream has ended. */
static const struct {
    const char *pattern;
    enum agent_policy policy;
} helpers[] = {
    {"/run/nscd/*", AGENT_POLICY_RECONNECT},
    {"/var/run/nscd/*", AGENT_POLICY_RECONNECT},
    {"/run/nslcd/*", AGENT_POLICY_RECONNECT},
    {"/var/run/nslcd/*", AGENT_POLICY_RECONNECT},
    {"/run/munge/*", AGENT_POLICY_RECONNECT},
    {"/var/run/munge/*", AGENT_POLICY_RECONNECT},
    {"/dev/log", AGENT_POLICY_RECONNECT},
    {"/var/lib/sss/*", AGENT_POLICY_END},
    {"/tmp/.X11-unix/*", AGENT_POLICY_END},
    {"@/tmp/.X11-unix/*", AGENT_POLICY_END},
    {"/tmp/.ICE-unix/*", AGENT_POLICY_END},
    {"@/tmp/.ICE-unix/*", AGENT_POLICY_END},
    {"/run/systemd/*", AGENT_POLICY_END},
    {"/var/run/systemd/*", AGENT_POLICY_END},
    {"/run/dbus/*", AGENT_POLICY_END},
    {"/var/run/dbus/*", AGENT_POLICY_END},
    {"@/tmp/dbus-*", AGENT_POLICY_END},
    {"/run/user/*/bus", AGENT_POLICY_END},
    {"/run/user/*/pulse/*", AGENT_POLICY_END},
    {"/run/user/*/systemd/*", AGENT_POLICY_END},
    {"/run/avahi-daemon/*", AGENT_POLICY_END},
    {"/var/run/avahi-daemon/*", AGENT_POLICY_END},
};

/* --- one rule ------------------------------------------------------------------------ */

struct rule {
    enum agent_policy policy;
    const char *pattern; /* len bytes; none: for all others */
    size_t len;
};

static bool take_policy(const char *text, size_t len, enum agent_policy *policy)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i].name) == len && strncmp(names[i].name, text, len) == 0) {
            *policy = names[i].policy;
            return true;
        }
    }
    return false;
}

/* Take the next rule off the text. Returns 1, 0 at the end, or -EINVAL. */
static int next_rule(const char **text, struct rule *rule)
{
    const char *at = *text;
    size_t len = strcspn(at, ","), name = strcspn(at, ":,");

    if (!*at)
        return 0;
    if (!take_policy(at, name, &rule->policy))
        return -EINVAL;
    rule->pattern = name < len ? at + name + 1 : NULL;
    rule->len = name < len ? len - name - 1 : 0;
    if (rule->pattern ? rule->len == 0
                      : rule->policy != AGENT_POLICY_RESET && rule->policy != AGENT_POLICY_REFUSE)
        return -EINVAL;
    *text = at + len + (at[len] == ',');
    return 1;
}

static bool is_match(const struct rule *rule, const char *name)
{
    char pattern[AGENT_POLICY_MAX + 1];

    if (!rule->pattern || rule->len > AGENT_POLICY_MAX)
        return false;
    memcpy(pattern, rule->pattern, rule->len);
    pattern[rule->len] = '\0';
    /* literally first: the brackets of an IPv6 address are none of a pattern */
    return strcmp(pattern, name) == 0 || fnmatch(pattern, name, 0) == 0;
}

int agent_policy_check(const char *rules, struct stint_err *err)
{
    const char *at = rules;
    struct rule rule;
    int ret;

    if (strlen(rules) > AGENT_POLICY_MAX)
        return stint_err_set(err, -EINVAL, "--sockets takes %d bytes.", AGENT_POLICY_MAX);
    while ((ret = next_rule(&at, &rule)) > 0)
        ;
    if (ret == 0)
        return 0;
    return stint_err_set(err, -EINVAL,
                         "--sockets wants reset, refuse, or reset:, refuse:, end: or "
                         "reconnect: and a pattern, not '%.*s'.",
                         (int)strcspn(at, ","), at);
}

/* --- the user's file ----------------------------------------------------------------- */

static FILE *open_file(char *path, size_t size)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

    if (config && config[0] == '/')
        snprintf(path, size, "%s/" FILE_NAME, config);
    else if (home && home[0] == '/')
        snprintf(path, size, "%s/.config/" FILE_NAME, home);
    else
        return NULL;
    return fopen(path, "re");
}

/* Returns 1 with a rule, which lies in line; 0 for an empty one; -EINVAL. */
static int parse_line(char *line, struct rule *rule)
{
    char *word = line + strspn(line, " \t");
    size_t len = strcspn(word, " \t\n");

    if (len == 0 || *word == '#')
        return 0;
    if (!take_policy(word, len, &rule->policy))
        return -EINVAL;
    rule->pattern = word + len + strspn(word + len, " \t");
    rule->len = strcspn(rule->pattern, "\n");
    while (rule->len > 0 && strchr(" \t", rule->pattern[rule->len - 1]))
        rule->len--;
    return rule->len ? 1 : -EINVAL;
}

int agent_policy_check_file(struct stint_err *err)
{
    char path[4096], line[2048];
    STINT_AUTO_FCLOSE FILE *file = open_file(path, sizeof(path));
    struct rule rule;

    for (int n = 1; file && fgets(line, sizeof(line), file); n++) {
        if (parse_line(line, &rule) < 0)
            return stint_err_set(err, -EINVAL,
                                 "%s, line %d: reset, end, reconnect or refuse and a pattern "
                                 "are wanted.",
                                 path, n);
    }
    return 0;
}

/* Returns whether a line matches. One that is not understood was told at the start. */
static bool find_in_file(const char *name, enum agent_policy *policy)
{
    char path[4096], line[2048];
    STINT_AUTO_FCLOSE FILE *file = open_file(path, sizeof(path));
    struct rule rule;

    while (file && fgets(line, sizeof(line), file)) {
        if (parse_line(line, &rule) > 0 && is_match(&rule, name)) {
            *policy = rule.policy;
            return true;
        }
    }
    return false;
}

/* --- all ----------------------------------------------------------------------------- */

enum agent_policy agent_policy_general(const char *rules, enum agent_policy otherwise)
{
    struct rule rule;

    while (next_rule(&rules, &rule) > 0) {
        if (!rule.pattern)
            return rule.policy;
    }
    return otherwise;
}

enum agent_policy agent_policy_find(const char *rules, const char *name,
                                    enum agent_policy otherwise)
{
    const char *at = rules;
    enum agent_policy policy;
    struct rule rule;

    while (next_rule(&at, &rule) > 0) {
        if (is_match(&rule, name))
            return rule.policy;
    }
    if (find_in_file(name, &policy))
        return policy;
    for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++) {
        if (fnmatch(helpers[i].pattern, name, 0) == 0)
            return helpers[i].policy;
    }
    return agent_policy_general(rules, otherwise);
}

void agent_policy_name(const struct sockaddr_storage *address, char *text, size_t size)
{
    const struct sockaddr_in *in = (const void *)address;
    const struct sockaddr_in6 *in6 = (const void *)address;
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->ss_family == AF_INET)
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
    else if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], host, sizeof(host));
    else
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
    /* the port is at the same place in both families */
    snprintf(text, size, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, ntohs(in->sin_port));
}
