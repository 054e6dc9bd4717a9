/* SPDX-License-Identifier: MIT */
/* Is an upstream fit to be sent work? A pure state machine for each: what became of what it was sent goes in,
 * whether it may be sent more comes out; time is an argument.
 *
 *      CLOSED ── 5 failures in a row, or half of 10 and more in 20 s, or far slower than its peers ──▶ OPEN
 *        ▲                                                                                             │
 *        └── a trial succeeds ── HALF ◀── 1 s, doubling to 60 s with each time, a fifth of it jitter ──┘
 *                                  └── the trial fails ──▶ OPEN
 *
 * HALF lets one request through at a time. An upstream that asks for a rest (429, 503 with Retry-After) gets
 * it. Closing looks at work, not at probes: GET /health is answered by many a server that serves nobody.
 * What was refused for the request's own sake (400, 404, 413, 422), and what was left by its caller, says
 * nothing. Ideas: M. Nygard, "Release It!" (circuit breaker); Envoy's outlier detection; Finagle's retry
 * budget. */
#ifndef EK_UPSTREAM_HEALTH_H
#define EK_UPSTREAM_HEALTH_H

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ek_health_state { EK_HEALTH_CLOSED, EK_HEALTH_OPEN, EK_HEALTH_HALF };

/* What became of one request. */
enum ek_outcome {
    EK_OUTCOME_DONE,    /* a whole answer */
    EK_OUTCOME_CUT,     /* it broke off, stalled or made no sense behind its first token */
    EK_OUTCOME_FAILED,  /* before it: not reached, reset, 5xx, nonsense, nothing in time */
    EK_OUTCOME_BUSY,    /* 429, 503: alive, and full */
    EK_OUTCOME_REFUSED, /* for the request's own sake */
    EK_OUTCOME_LEFT,    /* cancelled by us */
    EK_OUTCOMES
};

struct ek_health_event {
    enum ek_outcome what;
    uint64_t rest_ns;     /* BUSY: Retry-After; 0: none */
    double first_token_s; /* sent to first token; 0: there was none */
    uint64_t tokens;      /* behind the first ... */
    double stream_s;      /* ... and the time they took, without that in which nobody read */
};

#define EK_HEALTH_BUCKETS 4u

struct ek_health {
    uint8_t state; /* enum ek_health_state */
    bool trial;    /* HALF: one is under way */
    bool slow;     /* it was opened for its pace */
    uint32_t in_a_row;  /* failures */
    uint32_t trips;     /* times opened without a good minute between */
    uint64_t until_ns;  /* OPEN */
    uint64_t rest_ns;   /* not before; 0: no rest */
    uint64_t good_ns;   /* since when it is closed */
    uint64_t bucket;    /* number of the newest, 5 s each */
    uint32_t good[EK_HEALTH_BUCKETS], bad[EK_HEALTH_BUCKETS]; /* by bucket modulo their number */
    double first_token_s; /* faded means; 0: nothing yet */
    double token_s;
    uint32_t paces;       /* streams in token_s since it was last opened */
    uint64_t outcomes[EK_OUTCOMES]; /* the scoreboard ... */
    uint64_t opened;
    uint64_t tokens;      /* ... tokens a second are tokens over seconds */
    double stream_s;
};

void ek_health_init(struct ek_health *h, uint64_t now_ns);
/* May one more be sent? HALF: while no trial is under way. */
bool ek_health_admits(const struct ek_health *h, uint64_t now_ns);
/* One is sent. */
void ek_health_sent(struct ek_health *h, uint64_t now_ns);
/* `random` is any number: the jitter. */
void ek_health_outcome(struct ek_health *h, uint64_t now_ns, const struct ek_health_event *e,
                       uint32_t random);
/* When the time alone changes something; UINT64_MAX: never. Call ek_health_tick then. */
uint64_t ek_health_wake_ns(const struct ek_health *h);
void ek_health_tick(struct ek_health *h, uint64_t now_ns);
/* Of upstreams that serve the same model: those whose tokens take four times as long as the median's are
 * opened for 30 s; never so many that less than half of them are left closed. Returns how many. */
size_t ek_health_eject(struct ek_health *const *peer, size_t count, uint64_t now_ns, uint32_t random);

/* ---- retries --------------------------------------------------------------------------------------- */

/* Failures must not multiply the load: work is sent again at most for a tenth of what is sent, and ten times
 * a second besides, so that a quiet door may retry at all. */
struct ek_retry_budget {
    double credit;
    uint64_t at_ns;
    uint64_t spent, denied;
};

void ek_retry_init(struct ek_retry_budget *b, uint64_t now_ns);
void ek_retry_sent(struct ek_retry_budget *b); /* a request's first attempt */
/* 0: taken, send it again. Else nothing is taken, and it is so long until there is credit again. */
uint64_t ek_retry_take(struct ek_retry_budget *b, uint64_t now_ns);

#endif
