/* Authenticated connections: handshake, frames, life time.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/endpoint.h"

#define MAGIC        "STINT/1\n"
#define MAGIC_LEN    8
#define NONCE_LEN    32
#define HEADER_LEN   crypto_secretstream_xchacha20poly1305_HEADERBYTES
#define TAG_LEN      crypto_secretstream_xchacha20poly1305_ABYTES
#define LEN_LEN      4
#define STRANGER_MAX (64u << 10) /* frame of a peer that has proved nothing yet */
#define CONNECT_S    3           /* for each address */
#define FINISH_S     5
#define DEAD_PEER_MS 20000

enum wire_state {
    WIRE_CONNECTING,
    WIRE_NONCE,  /* waiting for the peer's magic and nonce */
    WIRE_HEADER, /* waiting for the header of its stream */
    WIRE_OPEN,   /* frames */
    WIRE_FINISHING,
    WIRE_CLOSED,
};

struct stint_wire {
    struct event_base *base;
    struct bufferevent *bev;
    struct event *timer; /* connect and handshake, later the end of finishing */
    const struct stint_wire_callbacks *callbacks;
    void *arg;
    enum wire_state state;
    int is_client;
    int is_authenticated; /* a frame of the peer has been opened */
    unsigned busy;        /* callbacks under way: the memory stays */
    int is_freed;
    struct stint_key key;
    unsigned char nonce[NONCE_LEN];
    crypto_secretstream_xchacha20poly1305_state push, pull;
    struct stint_endpoint endpoint; /* connecting side */
    size_t next_address;
    json_t *hello;     /* connecting side: sent on each attempt */
    json_t *early;     /* queued before the peer has authenticated */
    unsigned refusals; /* addresses where nobody listened */
    char reason[256];  /* why it ended; of the first address that failed */
};

static void on_read(struct bufferevent *bev, void *arg);
static void on_write(struct bufferevent *bev, void *arg);
static void on_event(struct bufferevent *bev, short what, void *arg);
static int connect_next(struct stint_wire *w);

/* --- life time ----------------------------------------------------------- */

/* bufferevent_free() would close the descriptor only when the loop runs again: the
 * other side is to notice now. */
static void drop_connection(struct stint_wire *w)
{
    if (w->bev) {
        int fd = bufferevent_getfd(w->bev);

        (void)bufferevent_setfd(w->bev, -1); /* -1 cannot fail */
        bufferevent_free(w->bev);
        if (fd >= 0)
            close(fd);
    }
    w->bev = NULL;
    if (w->timer)
        event_del(w->timer);
}

static void destroy(struct stint_wire *w)
{
    drop_connection(w);
    if (w->timer)
        event_free(w->timer);
    json_decref(w->hello);
    json_decref(w->early);
    stint_endpoint_deinit(&w->endpoint);
    sodium_memzero(w, sizeof(*w));
    free(w);
}

void stint_wire_free(struct stint_wire *w)
{
    int saved = errno;

    if (!w)
        return;
    w->is_freed = 1;
    w->state = WIRE_CLOSED;
    drop_connection(w);
    if (w->busy == 0)
        destroy(w);
    errno = saved;
}

static void leave(struct stint_wire *w)
{
    w->busy--;
    if (w->busy == 0 && w->is_freed)
        destroy(w);
}

/* Only from the event loop, never from a function that the owner calls. */
static void end_connection(struct stint_wire *w, const char *reason)
{
    if (w->state == WIRE_CLOSED)
        return;
    if (!w->reason[0])
        snprintf(w->reason, sizeof(w->reason), "%s", reason);
    drop_connection(w);
    if (w->is_client && !w->is_authenticated && w->state != WIRE_FINISHING
        && connect_next(w) == 0)
        return;
    w->state = WIRE_CLOSED;
    w->busy++;
    w->callbacks->closed(w, w->reason, w->arg);
    leave(w);
}

static void set_timer(struct stint_wire *w, int seconds)
{
    struct timeval tv = {.tv_sec = seconds};

    (void)evtimer_add(w->timer, &tv); /* fails only for want of memory at creation */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct stint_wire *w = arg;

    switch (w->state) {
    case WIRE_CONNECTING:
        end_connection(w, w->bev ? "no answer from its address"
                                 : "none of its addresses can be reached");
        break;
    case WIRE_FINISHING:
        end_connection(w, "finished");
        break;
    case WIRE_NONCE:
    case WIRE_HEADER:
    case WIRE_OPEN:
    case WIRE_CLOSED:
    default:
        end_connection(w, "the other side did not authenticate in time");
        break;
    }
}

/* --- sending --------------------------------------------------------------- */

static int send_frame(struct stint_wire *w, json_t *message)
{
    STINT_AUTO_FREE char *text = NULL;
    STINT_AUTO_FREE unsigned char *frame = NULL;
    size_t len;
    uint32_t length;

    text = json_dumps(message, JSON_COMPACT);
    if (!text)
        return -EINVAL;
    len = strlen(text);
    if (len > STINT_WIRE_FRAME_MAX)
        return -EMSGSIZE;
    frame = malloc(LEN_LEN + len + TAG_LEN);
    if (!frame)
        return -ENOMEM;
    length = htonl((uint32_t)(len + TAG_LEN));
    memcpy(frame, &length, LEN_LEN);
    if (crypto_secretstream_xchacha20poly1305_push(
            &w->push, frame + LEN_LEN, NULL, (unsigned char *)text, len, NULL, 0, 0)
        != 0)
        return -EINVAL;
    if (bufferevent_write(w->bev, frame, LEN_LEN + len + TAG_LEN) < 0)
        return -ENOMEM;
    return 0;
}

int stint_wire_send(struct stint_wire *w, json_t *message)
{
    int ret;

    if (!message)
        return -EINVAL;
    if (w->state == WIRE_CLOSED || w->state == WIRE_FINISHING) {
        json_decref(message);
        return -EPIPE;
    }
    if (!w->is_authenticated)
        return json_array_append_new(w->early, message) < 0 ? -ENOMEM : 0;
    ret = send_frame(w, message);
    json_decref(message);
    return ret;
}

int stint_wire_sendf(struct stint_wire *w, const char *t, const char *format, ...)
{
    char braced[256];
    json_error_t error;
    json_t *message;
    va_list args;

    if (snprintf(braced, sizeof(braced), "{%s}", format) >= (int)sizeof(braced))
        return -EINVAL;
    va_start(args, format);
    message = json_vpack_ex(&error, 0, braced, args);
    va_end(args);
    if (!message || json_object_set_new(message, "t", json_string(t)) < 0) {
        json_decref(message);
        return -EINVAL;
    }
    return stint_wire_send(w, message);
}

static int send_early(struct stint_wire *w)
{
    size_t index;
    json_t *message;

    json_array_foreach(w->early, index, message)
    {
        int ret = send_frame(w, message);

        if (ret < 0)
            return ret;
    }
    json_array_clear(w->early);
    return 0;
}

size_t stint_wire_pending(const struct stint_wire *w)
{
    return w->bev ? evbuffer_get_length(bufferevent_get_output(w->bev)) : 0;
}

int stint_wire_was_refused(const struct stint_wire *w)
{
    return w->endpoint.count > 0 && w->refusals == w->endpoint.count;
}

/* --- handshake --------------------------------------------------------------- */

static void derive_key(const struct stint_wire *w,
                       const char *direction,
                       const unsigned char *client_nonce,
                       const unsigned char *server_nonce,
                       unsigned char *key)
{
    crypto_generichash_state hash;

    /* cannot fail with these constant lengths */
    (void)crypto_generichash_init(&hash, w->key.bytes, sizeof(w->key.bytes),
                                  crypto_secretstream_xchacha20poly1305_KEYBYTES);
    (void)crypto_generichash_update(&hash, (const unsigned char *)direction, 3);
    (void)crypto_generichash_update(&hash, client_nonce, NONCE_LEN);
    (void)crypto_generichash_update(&hash, server_nonce, NONCE_LEN);
    (void)crypto_generichash_final(&hash, key,
                                   crypto_secretstream_xchacha20poly1305_KEYBYTES);
    sodium_memzero(&hash, sizeof(hash));
}

/* The stream that the side `of_client` sends. */
static void stream_key(const struct stint_wire *w,
                       int of_client,
                       const unsigned char *peer_nonce,
                       unsigned char *key)
{
    derive_key(w, of_client ? "c2s" : "s2c", w->is_client ? w->nonce : peer_nonce,
               w->is_client ? peer_nonce : w->nonce, key);
}

/* The peer's nonce is kept in `pull`'s place until its header comes: both are public.
 */
static int take_nonce(struct stint_wire *w, struct evbuffer *in)
{
    unsigned char got[MAGIC_LEN + NONCE_LEN], header[HEADER_LEN];
    unsigned char key[crypto_secretstream_xchacha20poly1305_KEYBYTES];
    int ret = 0;

    if (evbuffer_get_length(in) < sizeof(got)) {
        unsigned char head[MAGIC_LEN];
        ev_ssize_t n = evbuffer_copyout(in, head, sizeof(head));

        if (n > 0 && memcmp(head, MAGIC, (size_t)n) != 0)
            return -EPROTO;
        return -EAGAIN;
    }
    (void)evbuffer_remove(in, got, sizeof(got)); /* they are there */
    if (memcmp(got, MAGIC, MAGIC_LEN) != 0)
        return -EPROTO;
    stream_key(w, !w->is_client, got + MAGIC_LEN, key);
    memcpy(w->pull.k, key, sizeof(w->pull.k)); /* until the header comes */
    stream_key(w, w->is_client, got + MAGIC_LEN, key);
    (void)crypto_secretstream_xchacha20poly1305_init_push(&w->push, header, key);
    sodium_memzero(key, sizeof(key));
    if (bufferevent_write(w->bev, header, sizeof(header)) < 0)
        ret = -ENOMEM;
    w->state = WIRE_HEADER;
    return ret;
}

static int take_header(struct stint_wire *w, struct evbuffer *in)
{
    unsigned char header[HEADER_LEN], key[sizeof(w->pull.k)];

    if (evbuffer_get_length(in) < sizeof(header))
        return -EAGAIN;
    (void)evbuffer_remove(in, header, sizeof(header)); /* they are there */
    memcpy(key, w->pull.k, sizeof(key));
    if (crypto_secretstream_xchacha20poly1305_init_pull(&w->pull, header, key) != 0)
        return -EPROTO;
    sodium_memzero(key, sizeof(key));
    w->state = WIRE_OPEN;
    return w->is_client ? send_frame(w, w->hello) : 0;
}

static int start_handshake(struct stint_wire *w)
{
    unsigned char out[MAGIC_LEN + NONCE_LEN];

    randombytes_buf(w->nonce, sizeof(w->nonce));
    memcpy(out, MAGIC, MAGIC_LEN);
    memcpy(out + MAGIC_LEN, w->nonce, NONCE_LEN);
    w->state = WIRE_NONCE;
    set_timer(w, STINT_WIRE_HANDSHAKE_S);
    return bufferevent_write(w->bev, out, sizeof(out)) < 0 ? -ENOMEM : 0;
}

/* --- receiving --------------------------------------------------------------- */

/* Open one frame. Returns 0 with *message set, -EAGAIN when it is not all there,
 * -EPROTO, -ENOMEM. */
static int take_frame(struct stint_wire *w, struct evbuffer *in, json_t **message)
{
    STINT_AUTO_FREE unsigned char *text = NULL;
    uint32_t length;
    unsigned char tag, *frame;
    unsigned long long text_len;
    size_t max = w->is_authenticated ? STINT_WIRE_FRAME_MAX : STRANGER_MAX;

    if (evbuffer_copyout(in, &length, LEN_LEN) < LEN_LEN)
        return -EAGAIN;
    length = ntohl(length);
    if (length < TAG_LEN || length > max + TAG_LEN)
        return -EPROTO;
    if (evbuffer_get_length(in) < LEN_LEN + (size_t)length)
        return -EAGAIN;
    frame = evbuffer_pullup(in, (ev_ssize_t)(LEN_LEN + (size_t)length));
    text = malloc(length);
    if (!frame || !text)
        return -ENOMEM;
    if (crypto_secretstream_xchacha20poly1305_pull(&w->pull, text, &text_len, &tag,
                                                   frame + LEN_LEN, length, NULL, 0)
        != 0)
        return -EPROTO;
    (void)evbuffer_drain(in, LEN_LEN + (size_t)length);
    *message = json_loadb((char *)text, (size_t)text_len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_string(json_object_get(*message, "t"))) {
        json_decref(*message);
        return -EPROTO;
    }
    return 0;
}

static int dispatch(struct stint_wire *w, json_t *message)
{
    int ret = 0;

    if (!w->is_authenticated) {
        w->is_authenticated = 1;
        event_del(w->timer);
        ret = send_early(w);
    }
    if (ret == 0)
        w->callbacks->message(w, json_string_value(json_object_get(message, "t")),
                              message, w->arg);
    json_decref(message);
    return ret;
}

/* Take what is complete. Returns -EAGAIN when more has to come. */
static int take_input(struct stint_wire *w, struct evbuffer *in)
{
    json_t *message;
    int ret;

    switch (w->state) {
    case WIRE_NONCE:
        return take_nonce(w, in);
    case WIRE_HEADER:
        return take_header(w, in);
    case WIRE_OPEN:
        ret = take_frame(w, in, &message);
        return ret < 0 ? ret : dispatch(w, message);
    case WIRE_FINISHING:
        (void)evbuffer_drain(in, evbuffer_get_length(in));
        return -EAGAIN;
    case WIRE_CONNECTING:
    case WIRE_CLOSED:
    default:
        return -EAGAIN;
    }
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct stint_wire *w = arg;
    int ret = 0;

    w->busy++;
    while (ret == 0 && !w->is_freed)
        ret = take_input(w, bufferevent_get_input(bev));
    if (!w->is_freed && ret == -EPROTO)
        end_connection(w, w->is_authenticated
                              ? "the other side sent what is no message of stint"
                              : "the other side does not hold the job's key");
    else if (!w->is_freed && ret != -EAGAIN)
        end_connection(w, strerror(-ret));
    leave(w);
}

static void on_write(struct bufferevent *bev, void *arg)
{
    struct stint_wire *w = arg;

    /* The peer closes when it has read all of it; a close here could lose that. */
    if (w->state == WIRE_FINISHING && stint_wire_pending(w) == 0)
        (void)shutdown(bufferevent_getfd(bev), SHUT_WR); /* gone already: EOF follows */
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct stint_wire *w = arg;
    char text[256];

    if (w->state == WIRE_FINISHING) { /* also when it has just been connected */
        end_connection(w, "finished");
    } else if (what & BEV_EVENT_CONNECTED) {
        if (start_handshake(w) < 0)
            end_connection(w, "out of memory");
    } else if (what & BEV_EVENT_EOF) {
        end_connection(w, w->is_authenticated
                              ? "the other side has gone"
                              : "the other side refused the connection: has it another "
                                "key?");
    } else if (what & BEV_EVENT_ERROR) {
        w->refusals += EVUTIL_SOCKET_ERROR() == ECONNREFUSED;
        snprintf(text, sizeof(text), "%s",
                 evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
        end_connection(w, text);
    }
}

/* --- making connections --------------------------------------------------------- */

/* A node that dies sends nothing: the kernel has to find out, within DEAD_PEER_MS. */
static void set_options(int fd)
{
    const int on = 1, idle_s = 5, interval_s = 5, probes = 3, timeout_ms = DEAD_PEER_MS;

    /* Each is an improvement only: without it things are slower to notice. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms,
                     sizeof(timeout_ms));
}

static int attach(struct stint_wire *w, int fd)
{
    w->bev = bufferevent_socket_new(w->base, fd, 0);
    if (!w->bev)
        return -ENOMEM;
    bufferevent_setcb(w->bev, on_read, on_write, on_event, w);
    bufferevent_setwatermark(w->bev, EV_READ, 0,
                             LEN_LEN + TAG_LEN + STINT_WIRE_FRAME_MAX);
    if (bufferevent_enable(w->bev, EV_READ | EV_WRITE) < 0)
        return -ENOMEM;
    return 0;
}

/* Begin with the next address that can be begun with; -ENOENT when none is left. */
static int connect_next(struct stint_wire *w)
{
    while (w->next_address < w->endpoint.count) {
        const struct sockaddr_storage *address =
            &w->endpoint.addresses[w->next_address++];
        socklen_t len = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                       : sizeof(struct sockaddr_in);
        int fd =
            socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
            continue;
        set_options(fd);
        if (attach(w, fd) < 0) {
            if (!w->bev)
                close(fd);
            drop_connection(w);
            continue;
        }
        w->state = WIRE_CONNECTING;
        set_timer(w, CONNECT_S);
        if (bufferevent_socket_connect(w->bev, (const struct sockaddr *)address,
                                       (int)len)
            == 0)
            return 0;
        drop_connection(w);
    }
    return -ENOENT;
}

static int wire_new(struct event_base *base,
                    const struct stint_wire_callbacks *callbacks,
                    void *arg,
                    struct stint_wire **out)
{
    struct stint_wire *w;

    if (sodium_init() < 0)
        return -EIO;
    w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->base = base;
    w->callbacks = callbacks;
    w->arg = arg;
    w->early = json_array();
    w->timer = evtimer_new(base, on_timer, w);
    if (!w->early || !w->timer) {
        destroy(w);
        return -ENOMEM;
    }
    *out = w;
    return 0;
}

int stint_wire_connect(struct event_base *base,
                       const char *dir,
                       json_t *hello,
                       const struct stint_wire_callbacks *callbacks,
                       void *arg,
                       struct stint_wire **wire,
                       struct stint_err *err)
{
    STINT_AUTO_CLOSE int dir_fd = -1;
    struct stint_wire *w = NULL;
    int ret;

    ret = wire_new(base, callbacks, arg, &w);
    if (ret < 0) {
        json_decref(hello);
        return stint_err_set(err, ret, "connect to the coordinator");
    }
    w->is_client = 1;
    w->hello = hello;
    ret = stint_dir_open(dir, &dir_fd, NULL, err);
    if (ret == 0)
        ret = stint_endpoint_read(dir_fd, &w->endpoint, err);
    if (ret == 0)
        ret = stint_dir_key(dir_fd, &w->key, err);
    if (ret < 0) {
        stint_wire_free(w);
        return ret;
    }
    if (connect_next(w) < 0) {
        /* by way of the loop: the owner is not called back from inside its own call */
        w->state = WIRE_CONNECTING;
        set_timer(w, 0);
    }
    *wire = w;
    return 0;
}

int stint_wire_accept(struct event_base *base,
                      int fd,
                      const struct stint_key *key,
                      const struct stint_wire_callbacks *callbacks,
                      void *arg,
                      struct stint_wire **wire,
                      struct stint_err *err)
{
    struct stint_wire *w = NULL;
    int ret;

    ret = wire_new(base, callbacks, arg, &w);
    if (ret < 0)
        return stint_err_set(err, ret, "accept a connection");
    w->key = *key;
    set_options(fd);
    ret = attach(w, fd);
    if (ret == 0)
        ret = start_handshake(w);
    if (ret < 0) {
        if (w->bev)
            (void)bufferevent_setfd(w->bev, -1); /* the caller keeps the descriptor */
        stint_wire_free(w);
        return stint_err_set(err, ret, "accept a connection");
    }
    *wire = w;
    return 0;
}

void stint_wire_finish(struct stint_wire *w)
{
    if (w->state == WIRE_CLOSED || w->state == WIRE_FINISHING)
        return;
    if (!w->is_authenticated) {
        w->state = WIRE_FINISHING;
        set_timer(w, 0);
        return;
    }
    w->state = WIRE_FINISHING;
    set_timer(w, FINISH_S);
    if (stint_wire_pending(w) == 0)
        (void)shutdown(bufferevent_getfd(w->bev),
                       SHUT_WR); /* gone already: EOF follows */
}
