/* SPDX-License-Identifier: MIT */
/* One request to an upstream and its answer, whatever carries it:
 *
 *   plain     http:// and unix: over base/loop.h, our own client: here is the volume
 *   curl      https:// through libcurl multi: TLS, HTTP/2, proxies; real loop only
 *   virtual   a script of answers on virtual time, for tests (http/exchange_virtual.h)
 *
 * An exchange ends in exactly one of `end`, `fail` or ek_exchange_cancel(); after that nothing calls
 * back and the pointer is dead. An answer that was cut short is a fail, never an end: a close before
 * the announced length or before the final chunk, and a reset anywhere. */
#ifndef EK_HTTP_EXCHANGE_H
#define EK_HTTP_EXCHANGE_H

#include "base/loop.h"
#include "base/reason.h"
#include "http/parse.h"

#include <sys/uio.h>

/* ---- where to -------------------------------------------------------------------------------- */
enum ek_exchange_scheme { EK_EXCHANGE_HTTP, EK_EXCHANGE_HTTPS, EK_EXCHANGE_UNIX };

/* A parsed upstream URL:  http://host[:port][/base]   https://host[:port][/base]   unix:/path
 * A base path is put before every request's path; a trailing '/' is dropped. */
struct ek_exchange_target {
    enum ek_exchange_scheme scheme;
    char address[256];   /* for ek_sock_connect: "host:port", "[::1]:80", "unix:/path" */
    char authority[256]; /* for the Host field: "host:port", without a default port; "localhost" for unix */
    char base[256];      /* "" or "/v1" */
};

/* EK_OK, or EK_INVALID with a sentence in why[0..cap). No user info, query or fragment. */
EK_CHECKED enum ek_status ek_exchange_target_parse(struct ek_str url,
                                                   struct ek_exchange_target *out, char *why,
                                                   size_t cap);

/* ---- what ------------------------------------------------------------------------------------ */
struct ek_exchange;

/* Everything here is copied by start except the body, whose bytes stay the caller's and must not
 * move until `head`, `fail` or cancel: after `head` the body is never sent again. (The array of
 * iovecs itself is copied.) Durations are nanoseconds, 0 = none. */
struct ek_exchange_request {
    const struct ek_exchange_target *target;
    struct ek_str method;                 /* "POST" */
    struct ek_str path;                   /* "/v1/chat/completions", put behind target->base */
    const struct ek_http_header *headers; /* Host, Content-Length and Connection are added */
    size_t header_count;                  /* <= EK_EXCHANGE_HEADERS_MAX */
    const struct iovec *body;             /* pieces in order; none: no body */
    size_t body_count;                    /* <= EK_EXCHANGE_BODY_PARTS_MAX */
    uint64_t connect_ns;                  /* to a connection (names, TCP, TLS) */
    uint64_t first_byte_ns;               /* from start to the final head, connecting included */
    uint64_t idle_ns;                     /* no byte of the body for this long, unless paused */
    bool keep_apart;                      /* no pooled connection: for probes */
};
#define EK_EXCHANGE_HEADERS_MAX 32u
#define EK_EXCHANGE_BODY_PARTS_MAX 32u

/* Callbacks run on the loop's thread, never inside start, pause or cancel. Each may cancel. */
struct ek_exchange_events {
    /* The final head (1xx are skipped). Views die when this returns. */
    void (*head)(void *arg, struct ek_exchange *x, const struct ek_http_head *head);
    /* Decoded body bytes, 0 < len <= 65536. The view dies when this returns. */
    void (*data)(void *arg, struct ek_exchange *x, const char *data, size_t len);
    void (*end)(void *arg, struct ek_exchange *x);
    /* why: upstream_connect (no byte of the request was sent), upstream_timeout (before the head),
     * upstream_stall (after it), upstream_reset, upstream_cut, upstream_bad, upstream_tls,
     * no_memory. detail is a sentence for logs, valid in the call. */
    void (*fail)(void *arg, struct ek_exchange *x, enum ek_reason why, const char *detail);
};

/* ---- the vtable ------------------------------------------------------------------------------ */
struct ek_exchange_client;

struct ek_exchange_ops {
    struct ek_exchange *(*start)(struct ek_exchange_client *c, const struct ek_exchange_request *r,
                                 const struct ek_exchange_events *events, void *arg);
    void (*pause)(struct ek_exchange *x, bool paused);
    void (*cancel)(struct ek_exchange *x);
    void (*free)(struct ek_exchange_client *c);
};

/* The first member of every client and of every exchange. */
struct ek_exchange_client {
    const struct ek_exchange_ops *ops;
};
struct ek_exchange {
    struct ek_exchange_client *client;
};

/* Never NULL: what cannot even begin fails through `fail`, later. `events` must outlive it. */
static inline struct ek_exchange *ek_exchange_start(struct ek_exchange_client *c,
                                                    const struct ek_exchange_request *r,
                                                    const struct ek_exchange_events *events,
                                                    void *arg)
{
    return c->ops->start(c, r, events, arg);
}

/* Stop reading (back-pressure), and go on. At most one more `data` may come, and `end` where that was
 * the last. Before `head` it does nothing. */
static inline void ek_exchange_pause(struct ek_exchange *x, bool paused)
{
    x->client->ops->pause(x, paused);
}

/* Forget it: no callback any more; the upstream sees the connection close. NULLs the pointer. */
static inline void ek_exchange_cancel(struct ek_exchange **x)
{
    struct ek_exchange *dead = *x;
    *x = NULL;
    dead->client->ops->cancel(dead);
}

/* Cancels what is still under way. NULLs the pointer. */
static inline void ek_exchange_client_free(struct ek_exchange_client **c)
{
    struct ek_exchange_client *dead = *c;
    *c = NULL;
    if (dead) dead->ops->free(dead);
}

/* ---- the clients ----------------------------------------------------------------------------- */
struct ek_exchange_options {
    size_t idle_connections_max; /* kept open per target; 0 = 64 */
    uint64_t idle_ns;            /* and for how long; 0 = 30 s */
    const char *ca_file;         /* extra trusted certificates for https (PEM), NULL = the system's */
};

struct ek_exchange_counters {
    uint64_t started, ended, failed, cancelled;
    uint64_t connects;      /* new connections */
    uint64_t reused;        /* exchanges on a pooled connection */
    uint64_t stale;         /* pooled connections found dead; the request was sent again once */
    uint64_t idle;          /* pooled now */
    uint64_t bytes_in, bytes_out;
};

/* http:// and unix: targets, on any loop (an https target fails with upstream_tls). */
struct ek_exchange_client *ek_exchange_plain_new(struct ek_loop *loop,
                                                 const struct ek_exchange_options *o);
const struct ek_exchange_counters *ek_exchange_plain_counters(const struct ek_exchange_client *c);

/* Any target, through libcurl; real loop only. */
struct ek_exchange_client *ek_exchange_curl_new(struct ek_loop *loop,
                                                const struct ek_exchange_options *o);

/* What programs use: plain for http and unix, curl (made on first use) for https. */
struct ek_exchange_client *ek_exchange_client_new(struct ek_loop *loop,
                                                  const struct ek_exchange_options *o);

#endif
