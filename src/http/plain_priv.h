/* SPDX-License-Identifier: MIT */
/* The plain client's structs: plain.c is the exchange, plain_pool.c the connections at rest; private
 * to the room.
 *
 *             pooled ┌─────────────────── stale: once more ────────────────┐
 *   start ──────────▶ SENT ◀──connected── CONNECTING ◀──────────────────────┘
 *      └──no pooled──────────────────────────▲
 *   SENT ──final head──▶ BODY ──complete──▶ DEAD (end; the socket rests in the pool or closes)
 *   from anywhere ──────────────────────▶ DEAD (fail, cancel; the socket closes)
 *
 * While SENT the rest of the request's body goes out whenever the socket has drained. A dead exchange
 * is freed by the client's next post, never in the callback it died in. */
#ifndef EK_HTTP_PLAIN_PRIV_H
#define EK_HTTP_PLAIN_PRIV_H

#include "base/buf.h"
#include "http/exchange.h"

#define PLAIN_MAGIC 0x706c6169u
#define EXCHANGE_MAGIC 0x65786368u
#define SEND_SLICE_BYTES (256u << 10) /* of a body, handed to the socket at a time */
#define INTERIM_MAX 16                /* 1xx heads before the final one */
#define FAIL_TEXT_BYTES 160

struct plain {
    struct ek_exchange_client base;
    uint32_t magic;
    struct ek_loop *loop;
    struct ek_exchange_options options;
    struct ek_exchange_counters counters;
    struct ek_list running; /* struct exchange */
    struct ek_list dead;    /* struct exchange */
    struct ek_list idle;    /* struct pooled, newest first */
    struct ek_post reap;
};

enum exchange_state { EX_CONNECTING, EX_SENT, EX_BODY, EX_DEAD };
enum framing { FRAME_NONE, FRAME_LENGTH, FRAME_CHUNKED, FRAME_CLOSE };

/* What each piece of an answer looks at comes first. */
struct exchange {
    struct ek_exchange base;
    uint32_t magic;
    uint8_t state;   /* enum exchange_state */
    uint8_t framing; /* enum framing, of the answer */
    uint8_t interims;
    bool reused, retried, paused, keep_alive, is_head, keep_apart, body_sent;
    enum ek_reason why;   /* a failure to be told by `post` */
    struct plain *plain;
    const struct ek_exchange_events *events;
    void *arg;
    uint64_t last_ns;     /* mono: last byte of the answer */
    struct ek_http_chunks chunks;
    struct ek_buf held;   /* an answer's head in parts; what a pause left over */
    uint64_t body_left;
    struct ek_link link;
    struct ek_sock *sock;
    struct ek_timer timer;
    struct ek_post post;  /* tell a failure, or read on after a pause */
    uint64_t begun_ns;    /* mono: start */
    uint64_t tried_ns;    /* mono: start of this connection attempt */
    uint64_t connect_ns, first_byte_ns, idle_ns;
    struct ek_buf out;    /* request head; given back at the answer's head */
    char *address;        /* behind the parts */
    size_t part_index, part_at; /* next body byte to send */
    size_t part_count;
    struct iovec parts[];
};

/* The pool. take: an idle socket to this address, or NULL; ownership moves. put: it rests, or closes
 * when there are too many. */
struct ek_sock *ek_plain_pool_take(struct plain *p, const char *address);
void ek_plain_pool_put(struct plain *p, struct ek_sock **sock, const char *address);
void ek_plain_pool_drain(struct plain *p);

#endif
