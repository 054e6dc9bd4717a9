/* SPDX-License-Identifier: MIT */
/* An HTTP/1.1 server on one loop: it listens, reads heads and bodies within limits, and hands each
 * request to one handler, which answers at once, later, or piece by piece for an hour. It knows
 * nothing of what is said in a request and keeps no byte of it: what the handler wants, it copies.
 *
 * One connection carries one request at a time; what a client sends ahead waits (a little: see
 * EK_HTTP_PIPELINE_BYTES_MAX). A connection whose request is being answered keeps reading, so that a
 * client which leaves is noticed while its request is parked: end of file from a client means it has
 * left, also when it only closed its sending half.
 *
 * A parked connection costs the loop's socket and one struct of 224 bytes: 600 bytes of heap together,
 * measured. Nothing is buffered per connection but a head that has not come whole, and what the kernel
 * would not take. */
#ifndef EK_HTTP_SERVER_H
#define EK_HTTP_SERVER_H

#include "base/buf.h"
#include "base/loop.h"
#include "base/reason.h"
#include "http/options.h"
#include "http/parse.h"

struct ek_http_server;
struct ek_http_req; /* one request and its answer; belongs to the server */

#define EK_HTTP_PIPELINE_BYTES_MAX 4096u       /* sent ahead while a request runs; beyond: closed */
#define EK_HTTP_UNSENT_BYTES_MAX (4u << 20)    /* queued for one slow client; beyond: EK_FULL */
#define EK_HTTP_DISCARD_BYTES_MAX (256u << 10) /* read and dropped so that a refused client can read */
#define EK_HTTP_LINGER_NS (2 * EK_S_NS)        /* ... and for this long */
#define EK_HTTP_DRAIN_BODY_BYTES_MAX 65536u    /* rest of a body skipped to keep a connection alive */
#define EK_HTTP_CHUNKED (-1)                   /* body_bytes of ek_http_start: not known before */

/* Bytes of bodies that handlers hold, over all servers that share this struct. Begin with zeros; the
 * servers' option bodies_bytes_max sets the maximum. */
struct ek_http_budget {
    uint64_t max_bytes;
    uint64_t used_bytes;
    uint64_t peak_bytes;
    uint64_t refused_count;
};

/* Numbers for /metrics; the server only ever adds. */
struct ek_http_counters {
    uint64_t accepted;
    uint64_t open;              /* now */
    uint64_t requests;          /* heads handed to the handler */
    uint64_t running;           /* requests whose `gone` is still to come, now */
    uint64_t bytes_in, bytes_out;
    uint64_t answers[6];        /* by hundreds of the status: [2] is 2xx */
    uint64_t pipelined;         /* requests whose bytes came while another ran */
    uint64_t accept_waits;      /* times accepting stopped at the cap */
    uint64_t handed, received;  /* connections given to another process, and those it gave */
    uint64_t headers_dropped;   /* fields a handler gave that may not stand in a head */
    uint64_t reasons[EK_REASON_COUNT]; /* connections closed and requests refused or ended, by why */
};

/* The handler. All callbacks run on the loop's thread, never inside a call of ek_http_*() below.
 *
 *      head ─▶ body* ─▶ end ─▶ (drain*) ─▶ gone          gone may come at any time after head
 *
 * After ek_http_reply/finish/abort only `gone` follows. `gone` comes exactly once for every `head`,
 * is the last call for this request, and `req` is dead when it returns. */
struct ek_http_handler {
    /* The head is complete; no byte of the body has been looked at. *head and its views die when
     * this returns. Answering here refuses a request cheaply. Not answering means the body is
     * wanted: only then is 100-continue said and the body budget charged. */
    void (*head)(void *arg, struct ek_http_req *req, const struct ek_http_head *head);
    /* Some of the body: len > 0, and no more than 65536 bytes a turn, though a chunked body may come
     * in several calls. The view dies when this returns. */
    void (*body)(void *arg, struct ek_http_req *req, const char *data, size_t len);
    /* The body is complete (also when there is none). */
    void (*end)(void *arg, struct ek_http_req *req);
    /* Everything unsent has left; only after ek_http_unsent() was above 0. NULL: not wanted. */
    void (*drain)(void *arg, struct ek_http_req *req);
    /* EK_REASON_NONE: answered, and the kernel has taken every byte. Anything else: what happened
     * (client_gone, body_timeout, write_stall, body_budget, ...; the reason given to abort). */
    void (*gone)(void *arg, struct ek_http_req *req, enum ek_reason why);
    /* Write the body (JSON) of an answer which the server itself must give: malformed head, caps,
     * deadlines. `detail` says more than the reason's own sentence, or equals it. Returns seconds for
     * Retry-After, 0 for none. NULL: a plain envelope of the server's own. There is no request here. */
    unsigned (*refusal)(void *arg, enum ek_reason why, const char *detail, struct ek_buf *body);
    /* A head has come whole. True: another process is to answer it, and the connection goes there with all
     * that was read of it (ek_http_server_heir); `head` is not called. NULL: never. */
    bool (*elsewhere)(void *arg, const struct ek_http_head *head);
};

/* Listen on "ADDRESS:PORT" or "unix:/path". The options are copied; budget (may be shared, may be
 * NULL for none) and handler must outlive the server. NULL with *why on failure (a sentence). */
struct ek_http_server *ek_http_server_start(struct ek_loop *loop, const char *address,
                                            const struct ek_http_options *options,
                                            struct ek_http_budget *budget,
                                            const struct ek_http_handler *handler, void *arg,
                                            const char **why);
/* The defaults of section `limits`: for tests and programs that read no configuration. */
struct ek_http_options ek_http_options_default(void);
/* From now on; limits of requests already under way do not change. */
void ek_http_server_set_options(struct ek_http_server *s, const struct ek_http_options *options);
void ek_http_server_address(const struct ek_http_server *s, char *out, size_t cap);
const struct ek_http_counters *ek_http_server_counters(const struct ek_http_server *s);

/* Stop accepting, close what is idle, let running requests end ("Connection: close"); then
 * stopped(arg), not inside this call. ek_http_server_free may be called from `stopped`. */
void ek_http_server_stop(struct ek_http_server *s, void (*stopped)(void *arg), void *arg);
/* At once: every request still running is told gone(EK_REASON_DRAINING) from inside this call. */
void ek_http_server_free(struct ek_http_server **s);

/* ---- handing over to another process --------------------------------------------------------- */

/* A server that does not listen yet; ek_http_server_listen follows, or not. */
struct ek_http_server *ek_http_server_new(struct ek_loop *loop, const struct ek_http_options *options,
                                          struct ek_http_budget *budget,
                                          const struct ek_http_handler *handler, void *arg);
/* Listen at address; with fd >= 0 on that descriptor, which listens there already and is the server's from
 * now on. False with *why. */
bool ek_http_server_listen(struct ek_http_server *s, const char *address, int fd, const char **why);
bool ek_http_server_listens(const struct ek_http_server *s);

/* Takes the connection `fd` over, and `read`, which was read of it and not used. */
typedef void ek_http_heir_fn(void *arg, struct ek_http_server *s, int fd, struct ek_str read);
/* To whom connections go that another process is to answer. */
void ek_http_server_heir(struct ek_http_server *s, ek_http_heir_fn *take, void *arg);
/* From now on nothing is accepted, and each connection goes to the heir as soon as it rests; requests go on
 * until they are answered. Returns the listening descriptor, now the caller's; -1: there was none, or it
 * cannot be given, and nothing has changed. */
int ek_http_server_hand_over(struct ek_http_server *s);
/* No more: what rests stays here. (ek_http_server_listen makes it accept again.) */
void ek_http_server_hand_back(struct ek_http_server *s);
/* A connection from another process, with what that has read of it. */
void ek_http_server_receive(struct ek_http_server *s, int fd, struct ek_str read);

/* ---- one request: what a handler may do until `gone` ----------------------------------------- */

void ek_http_set_user(struct ek_http_req *req, void *user); /* a pointer of the handler's own */
void *ek_http_user(const struct ek_http_req *req);
/* "127.0.0.1" or "unix". Valid until the next call for any request. */
struct ek_str ek_http_peer(const struct ek_http_req *req);

/* The whole answer in one write. The server adds Date, Content-Length and Connection; the handler's
 * fields must not contain those (they are dropped and counted, as is a field with control bytes).
 * Nothing else may have been sent. Any status but 1xx. For HEAD the body is measured, not sent. */
void ek_http_reply(struct ek_http_req *req, int status, const struct ek_http_header *headers,
                   size_t header_count, struct ek_str body);

/* Begin an answer whose body follows: body_bytes exactly, or EK_HTTP_CHUNKED (towards an HTTP/1.0
 * client: until the connection closes). The head leaves in one write with the first bytes of the body
 * if those follow at once, else by itself before the turn ends. */
void ek_http_start(struct ek_http_req *req, int status, const struct ek_http_header *headers,
                   size_t header_count, int64_t body_bytes);

/* More of the body, after ek_http_start. Goes out at once in one writev, chunk frame included,
 * without allocating when the socket takes it; what it does not take is queued. EK_FULL: more than
 * EK_HTTP_UNSENT_BYTES_MAX would wait, nothing was taken. Empty writes do nothing. */
EK_CHECKED enum ek_status ek_http_write(struct ek_http_req *req, struct ek_str bytes);
EK_CHECKED enum ek_status ek_http_writev(struct ek_http_req *req, const struct iovec *parts,
                                         size_t count); /* count <= EK_HTTP_WRITE_PARTS_MAX */
#define EK_HTTP_WRITE_PARTS_MAX 12u

/* The body is complete. With `last` these bytes and the end go out in one write; they are taken
 * whatever is queued. A body shorter than announced is an abort (EK_REASON_INTERNAL). */
void ek_http_finish(struct ek_http_req *req, struct ek_str last);

/* Break off so that the client must see an incomplete message: no final chunk, connection reset.
 * `gone` follows with `why`. Also legal before anything was sent. */
void ek_http_abort(struct ek_http_req *req, enum ek_reason why);

void ek_http_near(const struct ek_http_req *req); /* something will be written soon: see EK_NEAR */
size_t ek_http_unsent(const struct ek_http_req *req); /* bytes the kernel has not taken */

/* Hold the body back (in `head` or `body`), and go on. While paused the body's deadline stands
 * still, and a client that leaves is not noticed. */
void ek_http_pause(struct ek_http_req *req);
void ek_http_resume(struct ek_http_req *req);

/* The body's bytes are no longer held by the handler: give them back to the budget before `gone`
 * does. */
void ek_http_release_body(struct ek_http_req *req);

#endif
