/* Where the coordinator of a checkpoint directory listens.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/wire.h"
#include "common/yaml.h"

#define FILE_MAX (64u << 10)

void stint_endpoint_deinit(struct stint_endpoint *endpoint)
{
    free(endpoint->host);
    endpoint->host = NULL;
    endpoint->count = 0;
}

static int parse_address(const char *text, uint16_t port, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return 0;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return 0;
    }
    return -EINVAL;
}

static int is_loopback(const struct sockaddr_storage *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

    if (address->ss_family == AF_INET)
        return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

/* On the same host the loopback addresses come first: they always work. */
static void loopback_first(struct stint_endpoint *endpoint)
{
    struct sockaddr_storage sorted[STINT_ENDPOINT_ADDRESSES_MAX];
    size_t n = 0;

    for (int loopback = 1; loopback >= 0; loopback--)
        for (size_t i = 0; i < endpoint->count; i++)
            if (is_loopback(&endpoint->addresses[i]) == loopback)
                sorted[n++] = endpoint->addresses[i];
    memcpy(endpoint->addresses, sorted, n * sizeof(sorted[0]));
}

static int
parse_endpoint(const json_t *file, struct stint_endpoint *out, struct stint_err *err)
{
    struct stint_endpoint endpoint = {0};
    const char *host = stint_json_string(file, "host", NULL);
    json_t *list = json_object_get(file, "addresses"), *item;
    uint64_t version, port, pid;
    char here[HOST_NAME_MAX + 1] = "";
    size_t index;

    if (stint_yaml_uint(file, "version", UINT32_MAX, &version) < 0 || version != 1)
        return stint_err_set(err, -EBADMSG, "another version of stint wrote it.");
    if (!host || stint_yaml_uint(file, "port", 65535, &port) < 0 || port == 0
        || stint_yaml_uint(file, "pid", INT32_MAX, &pid) < 0)
        return stint_err_set(err, -EBADMSG, "host, port or pid is missing.");
    json_array_foreach(list, index, item)
    {
        const char *text = json_string_value(item);

        if (!text || endpoint.count == STINT_ENDPOINT_ADDRESSES_MAX
            || parse_address(text, (uint16_t)port, &endpoint.addresses[endpoint.count])
                   < 0)
            return stint_err_set(err, -EBADMSG, "a wrong address.");
        endpoint.count++;
    }
    if (endpoint.count == 0)
        return stint_err_set(err, -EBADMSG, "no address.");
    endpoint.host = strdup(host);
    if (!endpoint.host)
        return stint_err_set(err, -ENOMEM, "read it");
    endpoint.pid = (int64_t)pid;
    (void)gethostname(here, sizeof(here) - 1); /* without it: the listed order */
    if (strcmp(here, host) == 0)
        loopback_first(&endpoint);
    *out = endpoint;
    return 0;
}

int stint_endpoint_read(int dir_fd,
                        struct stint_endpoint *endpoint,
                        struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    STINT_AUTO_FREE char *text = NULL;
    json_t *file = NULL;
    ssize_t len;
    int ret;

    fd = openat(dir_fd, STINT_ENDPOINT_NAME,
                O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return stint_err_set(err, -ENOENT, "no coordinator runs there.");
    if (fd < 0)
        return stint_err_set(err, -errno, STINT_ENDPOINT_NAME);
    text = malloc(FILE_MAX);
    if (!text)
        return stint_err_set(err, -ENOMEM, STINT_ENDPOINT_NAME);
    len = read(fd, text, FILE_MAX);
    if (len < 0)
        return stint_err_set(err, -errno, STINT_ENDPOINT_NAME);
    ret = stint_yaml_load(text, (size_t)len, &file, err);
    if (ret == 0)
        ret = parse_endpoint(file, endpoint, err);
    json_decref(file);
    if (ret < 0)
        (void)stint_err_prefix(err, STINT_ENDPOINT_NAME);
    return ret;
}

static void add_address(json_t *list, const struct sockaddr *address)
{
    char text[INET6_ADDRSTRLEN];
    const void *bytes =
        address->sa_family == AF_INET
            ? (const void *)&((const struct sockaddr_in *)address)->sin_addr
            : &((const struct sockaddr_in6 *)address)->sin6_addr;

    if (json_array_size(list) < STINT_ENDPOINT_ADDRESSES_MAX
        && inet_ntop(address->sa_family, bytes, text, sizeof(text)))
        (void)json_array_append_new(list, json_string(text)); /* one address less */
}

/* Link-local ones of IPv6 mean nothing without the name of an interface. */
json_t *stint_endpoint_own_addresses(void)
{
    json_t *list = json_array();
    struct ifaddrs *all = NULL;

    if (!list)
        return NULL;
    if (getifaddrs(&all) < 0)
        all = NULL;
    for (int loopback = 0; loopback <= 1; loopback++)
        for (struct ifaddrs *i = all; i; i = i->ifa_next) {
            const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)i->ifa_addr;

            if (!i->ifa_addr || !(i->ifa_flags & IFF_UP)
                || !(i->ifa_flags & IFF_LOOPBACK) != !loopback
                || (i->ifa_addr->sa_family != AF_INET
                    && i->ifa_addr->sa_family != AF_INET6))
                continue;
            if (i->ifa_addr->sa_family == AF_INET6
                && IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
                continue;
            add_address(list, i->ifa_addr);
        }
    if (all)
        freeifaddrs(all);
    if (json_array_size(list) == 0)
        (void)json_array_append_new(list, json_string("127.0.0.1"));
    return list;
}

static const uint8_t *bytes_of(const struct sockaddr *address, size_t *len)
{
    *len = address->sa_family == AF_INET ? 4 : 16;
    return address->sa_family == AF_INET
               ? (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr
               : (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)address)
                     ->sin6_addr;
}

static enum stint_distance distance(const struct ifaddrs *interface,
                                    const struct sockaddr *address)
{
    const uint8_t *own, *mask, *other;
    bool is_own = true;
    size_t len;

    if (!interface->ifa_addr || !interface->ifa_netmask
        || interface->ifa_addr->sa_family != address->sa_family)
        return STINT_DISTANCE_FAR;
    other = bytes_of(address, &len);
    own = bytes_of(interface->ifa_addr, &len);
    /* its family is not filled in for each kind of interface */
    mask = address->sa_family == AF_INET
               ? (const uint8_t *)&((const struct sockaddr_in *)(const void *)
                                        interface->ifa_netmask)->sin_addr
               : (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)
                                        interface->ifa_netmask)->sin6_addr;
    for (size_t i = 0; i < len; i++) {
        if ((own[i] ^ other[i]) & mask[i])
            return STINT_DISTANCE_FAR;
        is_own = is_own && own[i] == other[i];
    }
    return is_own ? STINT_DISTANCE_OWN : STINT_DISTANCE_NEAR;
}

enum stint_distance stint_endpoint_distance(const char *address)
{
    enum stint_distance nearest = STINT_DISTANCE_FAR;
    struct sockaddr_storage name;
    struct ifaddrs *all = NULL;

    if (parse_address(address, 0, &name) < 0 || getifaddrs(&all) < 0)
        return nearest;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        enum stint_distance here = distance(i, (const struct sockaddr *)&name);

        if (here < nearest)
            nearest = here;
    }
    freeifaddrs(all);
    return nearest;
}

static int write_text(int dir_fd, const char *text, size_t len, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    char name[64];
    int ret = 0;

    snprintf(name, sizeof(name), ".coordinator.%d.tmp", (int)getpid());
    (void)unlinkat(dir_fd, name, 0); /* of a coordinator that had this pid */
    fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                0600);
    if (fd < 0)
        return stint_err_set(err, -errno, "write " STINT_ENDPOINT_NAME);
    errno = 0;
    if (write(fd, text, len) != (ssize_t)len)
        ret =
            stint_err_set(err, errno ? -errno : -ENOSPC, "write " STINT_ENDPOINT_NAME);
    else if (renameat(dir_fd, name, dir_fd, STINT_ENDPOINT_NAME) < 0)
        ret = stint_err_set(err, -errno, "write " STINT_ENDPOINT_NAME);
    if (ret < 0)
        (void)unlinkat(dir_fd, name, 0); /* cleaned at the next start */
    return ret;
}

int stint_endpoint_write(int dir_fd, uint16_t port, struct stint_err *err)
{
    STINT_AUTO_FREE char *text = NULL;
    char host[HOST_NAME_MAX + 1] = "";
    size_t len = 0;
    json_t *file;
    int ret;

    if (gethostname(host, sizeof(host) - 1) < 0)
        return stint_err_set(err, -errno, "name of this host");
    file =
        json_pack("{s:i, s:s, s:o, s:i, s:i}", "version", 1, "host", host, "addresses",
                  stint_endpoint_own_addresses(), "port", (int)port, "pid", (int)getpid());
    if (!file)
        return stint_err_set(err, -ENOMEM, "write " STINT_ENDPOINT_NAME);
    ret = stint_yaml_dump(file, &text, &len, err);
    json_decref(file);
    if (ret == 0)
        ret = write_text(dir_fd, text, len, err);
    return ret;
}
