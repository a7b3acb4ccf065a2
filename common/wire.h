/* Authenticated connections between coordinator, agents and clients;
 * doc/protocol.md, 1. SPDX-License-Identifier: Apache-2.0
 *
 * Messages are JSON objects (jansson) with a string member "t". All of it runs on one
 * libevent loop; no function here blocks, except stint_wire_call().
 */
#ifndef STINT_COMMON_WIRE_H
#define STINT_COMMON_WIRE_H

#include <jansson.h>
#include <stdint.h>

#include "common/dir.h"
#include "common/err.h"

#define STINT_WIRE_VERSION     1
#define STINT_WIRE_FRAME_MAX   (16u << 20) /* bytes of JSON in one frame */
#define STINT_WIRE_HANDSHAKE_S 10

struct event_base;
struct stint_wire;

/* message: one message came; `t` is its "t" member and `message` is borrowed: take a
 *     reference (json_incref) to keep it. On the connecting side the first one is
 *     "welcome", on the accepting side "hello": both prove that the peer has the key.
 * closed: the connection has ended or never came about; called once, last. `reason` is
 *     one line. The owner calls stint_wire_free() in it or later. Not called after
 *     stint_wire_free().
 * Both may call any function here, stint_wire_free() of the same connection included.
 */
struct stint_wire_callbacks {
    void (*message)(struct stint_wire *wire, const char *t, json_t *message, void *arg);
    void (*closed)(struct stint_wire *wire, const char *reason, void *arg);
};

/* Connect to the coordinator of a checkpoint directory (absolute path): reads
 * DIR/coordinator.yaml and DIR/key, tries the addresses one after the other, proves the
 * key and sends `hello` (reference stolen, also on failure).
 *
 * Returns 0 with *wire set (freed by the caller, with stint_wire_free()); -ENOENT when
 * there is no DIR/coordinator.yaml, so no coordinator; another -errno; *err is set.
 * What fails later arrives by the `closed` callback.
 */
int stint_wire_connect(struct event_base *base,
                       const char *dir,
                       json_t *hello,
                       const struct stint_wire_callbacks *callbacks,
                       void *arg,
                       struct stint_wire **wire,
                       struct stint_err *err);

/* Serve an accepted TCP connection. fd: non-blocking; taken over on success.
 * Returns 0 with *wire set, or -errno with *err set. */
int stint_wire_accept(struct event_base *base,
                      int fd,
                      const struct stint_key *key,
                      const struct stint_wire_callbacks *callbacks,
                      void *arg,
                      struct stint_wire **wire,
                      struct stint_err *err);

/* Queue a message. The reference to `message` is stolen, also on failure. On the
 * connecting side messages may be queued at once: they go out after the hello.
 * Returns 0; -EMSGSIZE; -EPIPE when the connection has ended (`closed` is or will be
 * called); -ENOMEM. The result may be ignored where `closed` deals with it. */
int stint_wire_send(struct stint_wire *wire, json_t *message);

/* Make a message and send it: `t`, then members as json_pack() formats them without the
 * braces, e.g. stint_wire_sendf(w, "quiesced", "s:I, s:i", "generation", g,
 * "processes", n). format may be "" . Returns as stint_wire_send(); -EINVAL for a wrong
 * format or text that is no UTF-8. */
int stint_wire_sendf(struct stint_wire *wire, const char *t, const char *format, ...);

/* End the connection when what is queued has gone out (at most 5 s), then `closed`. */
void stint_wire_finish(struct stint_wire *wire);

/* True when nobody listened at any of the addresses: the coordinator that wrote
 * DIR/coordinator.yaml is no more. To be asked when `closed` is called. */
int stint_wire_was_refused(const struct stint_wire *wire);

/* Bytes that are queued and not yet handed to the kernel. */
size_t stint_wire_pending(const struct stint_wire *wire);

/* Close at once, without the `closed` callback. Takes NULL. */
void stint_wire_free(struct stint_wire *wire);

/* --- members of messages, checked; also for other JSON ----------------- */

/* The member if it is of that type and in range, else the default. */
const char *
stint_json_string(const json_t *object, const char *name, const char *otherwise);
int64_t stint_json_int(const json_t *object,
                       const char *name,
                       int64_t min,
                       int64_t max,
                       int64_t otherwise);
int stint_json_bool(const json_t *object, const char *name, int otherwise);

/* A string of any bytes, e.g. a command line: what is no UTF-8 becomes '?'.
 * Returns a new reference, or NULL for want of memory. */
json_t *stint_json_text(const char *bytes);

/* --- for commands -------------------------------------------------------- */

#define STINT_WIRE_E_NONE 1 /* there is no coordinator */

/* Ask the coordinator of DIR one thing and wait for the answer: connects as client,
 * sends `request` (an object without "t": {"command":...}; reference stolen), waits for
 * `reply`. Blocks for at most timeout_ms (-1 = without limit, once connected; the loss
 * of the coordinator ends it at once).
 * note: called with the text of each `note` message that comes before; may be NULL
 *
 * Returns 0 with *reply set (json_decref() by the caller); STINT_WIRE_E_NONE;
 * -ETIMEDOUT; another -errno; *err is set in all but the first.
 */
int stint_wire_call(const char *dir,
                    json_t *request,
                    int timeout_ms,
                    void (*note)(const char *text, void *arg),
                    void *arg,
                    json_t **reply,
                    struct stint_err *err);

#endif
