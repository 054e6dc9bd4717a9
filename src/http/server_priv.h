/* SPDX-License-Identifier: MIT */
/* The server's own structs, shared by server.c (listening, caps, stopping), conn.c (what comes in,
 * deadlines), answer.c (what goes out) and hand.c (to and from another process); private to the room.
 *
 * A connection and its request are one struct, since a connection carries one request at a time. Its
 * state says what the bytes that arrive are, and is the list it is on; conn_move() is the only mover.
 *
 *            ┌──────────────────────────── answered, flushed ─────────────────────────────┐
 *            ▼                                                                            │
 *   ──▶ IDLE ──byte──▶ HEAD ──complete──▶ BODY ──complete (or none)──▶ WAIT ──────────────┤
 *        │              │                  ├──answered early, little left──▶ SKIP ─────────┘
 *        │              └──refused──┐      └──refused, or much left──┐     (rest of the body)
 *        │                          └────────────▶ LINGER ◀──────────┘
 *        └──────────── from anywhere ───────────▶ DEAD   (struct freed by the server's next post)
 *
 * Beside it `answer` says how far the reply is: NONE → STARTED → FINISHED, or ABORTED. The handler's
 * `gone` is called when FINISHED and the socket's queue is empty, or as soon as something is wrong;
 * always from a post or a socket's callback, never inside a call of the handler's. */
#ifndef EK_HTTP_SERVER_PRIV_H
#define EK_HTTP_SERVER_PRIV_H

#include "base/map.h"
#include "http/server.h"

#define CONN_MAGIC 0x636f6e6eu
#define SERVER_MAGIC 0x73657276u
#define HELD_BYTES_MAX (EK_HTTP_HEAD_BYTES_MAX + 2u * 65536u) /* a head, and one turn's bytes behind it */

enum conn_state {
    CONN_IDLE,
    CONN_HEAD,
    CONN_BODY,
    CONN_WAIT,
    CONN_SKIP,
    CONN_LINGER,
    CONN_DEAD,
    CONN_STATES
};

enum answer_state { ANSWER_NONE, ANSWER_STARTED, ANSWER_FINISHED, ANSWER_ABORTED };

/* How many connections one address has; IPv6 by its /64, which is what one customer gets. */
struct address {
    uint8_t key[16];
    uint32_t count;
};

struct ek_http_req {
    uint32_t magic;
    uint8_t state;  /* enum conn_state */
    uint8_t answer; /* enum answer_state */
    bool live : 1;             /* head was called, gone was not */
    bool keep_alive : 1;       /* the client would go on */
    bool close_after : 1;      /* ... but we said close */
    bool old : 1;              /* HTTP/1.0 */
    bool is_head : 1;          /* HEAD: bodies are measured, not sent */
    bool body_chunked : 1;     /* of the request */
    bool wants_continue : 1;   /* 100-continue still to be said */
    bool paused : 1;
    bool out_chunked : 1;      /* of the answer */
    bool out_unbounded : 1;    /* ... until the connection closes */
    bool stalling : 1;         /* bytes are queued; stall_* are set */
    bool client_closed : 1;    /* end of file was seen while the last bytes drain */
    uint8_t peer_family;       /* AF_INET, AF_INET6; 0: a unix socket */
    uint8_t peer[16];          /* the client's address, 4 or 16 bytes */
    uint16_t abort_why;        /* enum ek_reason, for ANSWER_ABORTED */
    uint32_t discard_left;     /* LINGER */
    struct ek_http_server *server;
    struct ek_sock *sock;      /* NULL in DEAD */
    struct ek_link link;       /* on server->conns[state] */
    struct ek_timer timer;
    struct ek_post post;       /* settle the answer, resume, or read on in `held` */
    struct address *address;   /* NULL for unix sockets */
    void *user;
    struct ek_buf *held;       /* a head in parts, bytes sent ahead, a paused body's bytes; or NULL */
    uint64_t since_ns;         /* mono: start of this state; while paused, how old the state was then */
    uint64_t stall_ns;         /* mono: last progress of the queue */
    uint64_t stall_sent;       /* bytes taken by the kernel then */
    uint64_t sent_bytes;       /* handed to the socket since the connection began */
    uint64_t budget_bytes;     /* charged for this body */
    uint64_t body_seen;        /* body bytes so far */
    union {
        uint64_t body_left;    /* with Content-Length */
        struct ek_http_chunks chunks;
    } in;
    uint64_t out_left;         /* of an answer with a known length */
};
_Static_assert(sizeof(struct ek_http_req) <= 216,
               "of the kilobyte that a waiting request may cost; malloc hands out 16 bytes at a time");

struct ek_http_server {
    uint32_t magic;
    bool stopping;
    bool waiting_to_accept; /* the cap is reached */
    bool handing;           /* what rests goes to the heir */
    struct ek_loop *loop;
    struct ek_listener *listener;
    const struct ek_http_handler *handler;
    void *arg;
    struct ek_http_budget *budget;
    struct ek_http_options options;
    struct ek_http_counters counters;
    struct ek_list conns[CONN_STATES];
    struct ek_map addresses;
    uint64_t hash_seed;
    struct ek_post reap; /* frees what is DEAD; says `stopped` */
    void (*stopped)(void *arg);
    void *stopped_arg;
    ek_http_heir_fn *heir;
    void *heir_arg;
    struct ek_buf scratch; /* one answer's head at a time */
    struct ek_http_req *pending; /* whose head stands in scratch, not sent yet; or NULL */
    uint64_t date_s;
    char date[32];
    char peer[64];            /* the text ek_http_peer gave last */
    struct ek_http_head head; /* the head being handed over; nothing outlives the callback */
};

/* conn.c */
extern const struct ek_sock_handler ek_http_conn_handler;
void ek_http_conn_begin(struct ek_http_req *c);
void ek_http_conn_close(struct ek_http_req *c, enum ek_reason why, bool reset);
void ek_http_conn_arm(struct ek_http_req *c); /* set the timer to the earliest deadline */
bool ek_http_conn_can_skip(const struct ek_http_req *c);
/* It goes to the heir, with `read`. False: it cannot; nothing has changed. */
bool ek_http_conn_hand(struct ek_http_req *c, struct ek_str read);

/* server.c */
void ek_http_server_buried(struct ek_http_req *c); /* c has become DEAD */
/* NULL: it is one too many, and closed. */
struct ek_http_req *ek_http_server_begin(struct ek_http_server *s, struct ek_sock *sock);
extern const struct ek_listener_handler ek_http_listener_handler;

/* answer.c: the server's own answer, and the interim one. */
void ek_http_answer_refuse(struct ek_http_req *c, enum ek_reason why, const char *detail);
void ek_http_answer_continue(struct ek_http_req *c);
void ek_http_answer_flush(struct ek_http_req *c); /* send a pending head */

#endif
