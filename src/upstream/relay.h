/* SPDX-License-Identifier: MIT */
/* One attempt of one request at one upstream: builds the body, reads the stream, reports.
 *
 *   start ──▶ chunk* ──▶ done | refused | failed          or ek_relay_cancel at any time
 *
 * The upstream is always asked to stream and to report usage. Does I/O and reports; what is retried,
 * continued or told to the client is the door's business. No callback runs inside start, pause or
 * cancel; after done, refused, failed or cancel nothing calls back and the pointer is dead. */
#ifndef EK_UPSTREAM_RELAY_H
#define EK_UPSTREAM_RELAY_H

#include "base/list.h"
#include "chat/upstream_chunk.h"
#include "upstream/pool.h"

#define EK_RELAY_ERROR_BODY_BYTES_MAX 65536u /* of an upstream's error answer; the rest is dropped */

struct ek_relay;

struct ek_relay_request {
    uint32_t upstream;
    uint32_t model;                   /* index in the pool */
    const struct ek_request *request;
    struct ek_str body;               /* stays in place until the relay is dead */
    char request_id[33];              /* hex */
    uint64_t seed;                    /* < 2^63: for our engine, when the caller gave none */
    uint64_t cache_salt;              /* our engine: requests of different salts share no computed prefix */
    bool shorten;                     /* think no more than thinking_budget tokens, where it can be told */
    uint32_t thinking_budget;
    const uint32_t *prefix_ids;       /* our engine: what was generated before; copied */
    size_t prefix_count;
    /* Go on with an answer that began elsewhere, by its text (escaped, without quotes; copied). Not together
     * with a prefix; what the upstream's dialect can carry, ek_relay_can_carry says. */
    bool carries;
    struct ek_str thought;
    struct ek_str answer;
    bool reprompts; /* instead: it is shown the answer, and asked to go on with it; what comes is its own */
    uint64_t carried_tokens; /* counted already, of the caller's limit */
    uint64_t elsewhere;      /* upstreams (bit i = upstream i) that it could go to instead */
};

/* Can this upstream go on with an answer to this request by its text? `answers`: some of the answer proper is
 * there already, not of the thought alone. Never where the text alone does not say where the answer stood:
 * several choices, a grammar, a caller's own beginning. */
bool ek_relay_can_carry(const struct ek_pool *pool, uint32_t upstream, const struct ek_request *q,
                        struct ek_str body, bool thinks, bool answers);

/* Can any upstream be asked in words to go on with an answer to this request? */
bool ek_relay_can_reprompt(const struct ek_request *q, struct ek_str body);

struct ek_relay_events {
    /* Data came, and chunks may be in it: time to bring near what they need (EK_NEAR). NULL: not wanted. */
    void (*soon)(void *arg);
    /* A 2xx head came: the upstream has the whole request. NULL: not wanted. */
    void (*accepted)(void *arg);
    /* One data event which is not [DONE]. Views die when this returns. */
    void (*chunk)(void *arg, struct ek_str payload, const struct ek_up_chunk *c);
    /* The stream ended as it should ([DONE] was seen, or every choice has finished). */
    void (*done)(void *arg);
    /* Answered with an error status instead of a stream. body dies when this returns.
     * retry_after_ms 0: not given. */
    void (*refused)(void *arg, int status, uint64_t retry_after_ms, struct ek_str body);
    /* upstream_connect: no byte of the request was sent. detail: a sentence for logs. */
    void (*failed)(void *arg, enum ek_reason why, const char *detail);
};

struct ek_relay_deadlines {
    uint64_t connect_ns;
    uint64_t first_token_ns;
    uint64_t stall_ns;
    uint64_t floor_tokens; /* a minute; 0: no floor. Only for who is also far below what its upstream's
                            * streams make, and, while it makes anything, has somewhere else to go */
};

/* Never NULL. `events` outlives the relay. */
struct ek_relay *ek_relay_start(struct ek_pool *pool, struct ek_loop *loop,
                                struct ek_exchange_client *client, const struct ek_relay_request *r,
                                const struct ek_relay_deadlines *d, const struct ek_relay_events *events,
                                void *arg);
void ek_relay_pause(struct ek_relay *r, bool paused); /* back-pressure */
void ek_relay_cancel(struct ek_relay **r);            /* the upstream sees the connection close */
void ek_relay_forget(struct ek_link *rest);           /* pool.c: one that rests, at the end of its pool */

#endif
