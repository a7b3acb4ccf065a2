/* Where a coordinator is found by host and port.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/dmtcp/place.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/endpoint.h"

#define BASE_NAME    "dmtcp"
#define STALE_S      86400 /* a dead coordinator's key may still be needed until then */
#define CONNECT_MS   3000
#define GUARD_WAIT_MS 15000
#define POLL_MS      20

void dmtcp_place_host(char *host, unsigned size)
{
    host[0] = '\0';
    (void)gethostname(host, size - 1); /* then it is "localhost" */
    host[size - 1] = '\0';
    if (!host[0])
        snprintf(host, size, "localhost");
}

/* --- the base directory ----------------------------------------------------------- */

/* PATH/NAME as a directory of the user that is closed to others. */
static int try_base(const char *parent, const char *name, int create, char **path,
                    struct stint_err *err)
{
    STINT_AUTO_FREE char *wanted = NULL;
    int fd, ret;

    if (asprintf(&wanted, "%s/%s", parent, name) < 0)
        return stint_err_set(err, -ENOMEM, "find the coordinator");
    if (create && mkdir(wanted, 0700) < 0 && errno != EEXIST)
        return stint_err_set(err, -errno, "make directory %s", wanted);
    ret = stint_dir_open(wanted, &fd, path, err);
    return ret < 0 ? ret : fd;
}

static int try_home(const char *home, int create, char **path, struct stint_err *err)
{
    STINT_AUTO_FREE char *top = NULL, *stint = NULL;

    if (!home || home[0] != '/' || asprintf(&top, "%s/.stint", home) < 0)
        return -ENOENT;
    if (create && mkdir(top, 0700) < 0 && errno != EEXIST)
        return stint_err_set(err, -errno, "make directory %s", top);
    return try_base(top, BASE_NAME, create, path, err);
}

int dmtcp_place_base(int create, char **path, struct stint_err *err)
{
    const struct passwd *user = getpwuid(geteuid());
    const char *home = getenv("HOME");
    char name[32];
    int fd;

    fd = try_home(home, create, path, err);
    if (fd < 0 && user && user->pw_dir && (!home || strcmp(home, user->pw_dir) != 0))
        fd = try_home(user->pw_dir, create, path, err);
    if (fd >= 0)
        return fd;
    snprintf(name, sizeof(name), ".stint-%u", (unsigned)geteuid());
    return try_base("/tmp", name, create, path, err);
}

/* --- start and end of a coordinator ------------------------------------------------- */

/* Remove a coordinator's directory unless its coordinator lives. */
static void remove_dead(int base_fd, const char *name)
{
    static const char *const files[] = {"key", "log", STINT_ENDPOINT_NAME, "lock"};
    STINT_AUTO_CLOSE int dir = openat(base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW
                                                         | O_CLOEXEC);
    STINT_AUTO_CLOSE int lock = -1;

    if (dir < 0 || stint_dir_lock(dir, &lock, NULL) != 0)
        return;
    /* What cannot be removed is tried again at the next start. */
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        (void)unlinkat(dir, files[i], 0);
    (void)unlinkat(base_fd, name, AT_REMOVEDIR);
}

static void sweep(int base_fd)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    int fd = openat(base_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char host[HOST_NAME_MAX + 2];
    struct dirent *entry;
    struct stat st;
    size_t len;

    if (fd < 0)
        return;
    dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return;
    }
    dmtcp_place_host(host, sizeof(host) - 1);
    strcat(host, "-");
    len = strlen(host);
    /* locks of other hosts tell nothing on some file systems */
    while ((entry = readdir(dir)))
        if (strncmp(entry->d_name, host, len) == 0
            && fstatat(base_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0
            && S_ISDIR(st.st_mode) && time(NULL) - st.st_mtime > STALE_S)
            remove_dead(base_fd, entry->d_name);
}

static int take_guard(int base_fd, int wait, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = openat(base_fd, "guard",
                                     O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return stint_err_set(err, -errno, "open the guard of the coordinators");
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += POLL_MS) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return stint_err_set(err, -errno, "lock the guard of the coordinators");
        if (!wait || waited >= GUARD_WAIT_MS)
            return stint_err_set(err, -EBUSY, "another coordinator is being started");
        (void)poll(NULL, 0, POLL_MS); /* cut short by a signal: asked sooner */
    }
    return stint_steal_fd(&fd);
}

int dmtcp_place_make(unsigned port, char **dir, int *guard, struct stint_err *err)
{
    STINT_AUTO_FREE char *base = NULL, *path = NULL;
    STINT_AUTO_CLOSE int base_fd = -1, guard_fd = -1;
    char host[HOST_NAME_MAX + 1];
    int ret;

    base_fd = dmtcp_place_base(1, &base, err);
    if (base_fd < 0)
        return base_fd;
    guard_fd = take_guard(base_fd, 1, err);
    if (guard_fd < 0)
        return guard_fd;
    sweep(base_fd);
    dmtcp_place_host(host, sizeof(host));
    if (asprintf(&path, "%s/%s-%u", base, host, port) < 0)
        return stint_err_set(err, -ENOMEM, "make the coordinator's directory");
    ret = stint_dir_create(path, NULL, dir, err);
    if (ret == 0)
        *guard = stint_steal_fd(&guard_fd);
    return ret;
}

void dmtcp_place_remove(const char *dir)
{
    STINT_AUTO_FREE char *base = NULL;
    STINT_AUTO_CLOSE int base_fd = dmtcp_place_base(0, &base, NULL), guard = -1;
    const char *name = strrchr(dir, '/');

    if (base_fd < 0 || !name)
        return;
    guard = take_guard(base_fd, 0, NULL);
    if (guard >= 0)
        remove_dead(base_fd, name + 1);
}

/* --- finding one ------------------------------------------------------------------- */

static bool is_short_equal(const char *a, const char *b)
{
    size_t len = strcspn(a, ".");

    return len == strcspn(b, ".") && strncasecmp(a, b, len) == 0 && len > 0
           && !strspn(a, "0123456789");
}

static bool is_this_host(const char *host)
{
    char own[HOST_NAME_MAX + 1];

    dmtcp_place_host(own, sizeof(own));
    return !host || strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0
           || strcmp(host, "::1") == 0 || strcasecmp(host, own) == 0
           || is_short_equal(host, own);
}

/* Is one of the coordinator's addresses one of the host's? */
static bool has_address(int base_fd, const char *name, const struct addrinfo *list)
{
    STINT_AUTO_CLOSE int dir = openat(base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW
                                                         | O_CLOEXEC);
    struct stint_endpoint endpoint;
    bool found = false;

    if (dir < 0 || stint_endpoint_read(dir, &endpoint, NULL) < 0)
        return false;
    for (; list && !found; list = list->ai_next)
        for (size_t i = 0; i < endpoint.count && !found; i++) {
            const struct sockaddr *a = (const struct sockaddr *)&endpoint.addresses[i];

            if (a->sa_family != list->ai_family)
                continue;
            found = a->sa_family == AF_INET
                        ? memcmp(&((const struct sockaddr_in *)a)->sin_addr,
                                 &((struct sockaddr_in *)list->ai_addr)->sin_addr,
                                 sizeof(struct in_addr))
                              == 0
                        : memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                                 &((struct sockaddr_in6 *)list->ai_addr)->sin6_addr,
                                 sizeof(struct in6_addr))
                              == 0;
        }
    stint_endpoint_deinit(&endpoint);
    return found;
}

static char *search(int base_fd, const char *base, const char *host, unsigned port)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    int fd = openat(base_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses = NULL;
    char tail[16], *found = NULL;
    struct dirent *entry;

    if (fd < 0)
        return NULL;
    dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return NULL;
    }
    snprintf(tail, sizeof(tail), "-%u", port);
    if (getaddrinfo(host, NULL, &hints, &addresses) != 0)
        addresses = NULL; /* the name alone has to do */
    while (!found && (entry = readdir(dir))) {
        size_t len = strlen(entry->d_name), tail_len = strlen(tail);
        char name[NAME_MAX + 1];

        if (len <= tail_len || strcmp(entry->d_name + len - tail_len, tail) != 0)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(len - tail_len), entry->d_name);
        if (strcasecmp(name, host) != 0 && !is_short_equal(name, host)
            && !has_address(base_fd, entry->d_name, addresses))
            continue;
        if (asprintf(&found, "%s/%s", base, entry->d_name) < 0)
            found = NULL;
    }
    if (addresses)
        freeaddrinfo(addresses);
    return found;
}

char *dmtcp_place_find(const char *host, unsigned port)
{
    STINT_AUTO_FREE char *base = NULL;
    STINT_AUTO_CLOSE int base_fd = dmtcp_place_base(0, &base, NULL);
    char own[HOST_NAME_MAX + 1], *path;

    if (base_fd < 0)
        return NULL;
    if (!is_this_host(host))
        return search(base_fd, base, host, port);
    dmtcp_place_host(own, sizeof(own));
    if (asprintf(&path, "%s/%s-%u", base, own, port) < 0)
        return NULL;
    if (access(path, F_OK) == 0)
        return path;
    free(path);
    return NULL;
}

int dmtcp_place_is_taken(const char *host, unsigned port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses = NULL;
    char number[16];
    int taken = 0;

    snprintf(number, sizeof(number), "%u", port);
    if (getaddrinfo(is_this_host(host) ? "localhost" : host, number, &hints, &addresses) != 0)
        return 0;
    for (const struct addrinfo *a = addresses; a && !taken; a = a->ai_next) {
        STINT_AUTO_CLOSE int fd = socket(a->ai_family,
                                         SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
        socklen_t len = sizeof(int);
        int error = 0;

        if (fd < 0)
            continue;
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
            taken = 1;
        else if (errno == EINPROGRESS && poll(&poll_fd, 1, CONNECT_MS) == 1
                 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0)
            taken = error == 0;
    }
    freeaddrinfo(addresses);
    return taken;
}

/* --- a Slurm job's coordinator ------------------------------------------------------- */

/* The name holds the cluster's as well: job ids are its own. */
static void job_name(const char *job, char *name, size_t size)
{
    const char *cluster = getenv("SLURM_CLUSTER_NAME");

    snprintf(name, size, "job.%.60s.%.20s", cluster && !strchr(cluster, '/') ? cluster : "",
             job);
}

unsigned dmtcp_place_job(char *host, unsigned size)
{
    const char *job = getenv("SLURM_JOB_ID");
    STINT_AUTO_FREE char *base = NULL;
    STINT_AUTO_CLOSE int base_fd = -1;
    char name[128], target[HOST_NAME_MAX + 16], *colon;
    ssize_t len;

    if (!job || !*job || strspn(job, "0123456789") != strlen(job))
        return 0;
    base_fd = dmtcp_place_base(0, &base, NULL);
    if (base_fd < 0)
        return 0;
    job_name(job, name, sizeof(name));
    len = readlinkat(base_fd, name, target, sizeof(target) - 1);
    if (len <= 0)
        return 0;
    target[len] = '\0';
    colon = strrchr(target, ':');
    if (!colon)
        return 0;
    *colon = '\0';
    snprintf(host, size, "%s", target);
    return (unsigned)atoi(colon + 1);
}

void dmtcp_place_register_job(const char *job, const char *host, unsigned port)
{
    STINT_AUTO_FREE char *base = NULL;
    STINT_AUTO_CLOSE int base_fd = dmtcp_place_base(0, &base, NULL);
    char name[128], target[HOST_NAME_MAX + 16];

    if (base_fd < 0)
        return;
    job_name(job, name, sizeof(name));
    snprintf(target, sizeof(target), "%s:%u", host, port);
    (void)unlinkat(base_fd, name, 0); /* of an earlier run of the job */
    (void)symlinkat(target, base_fd, name); /* without it the variables say it */
}
