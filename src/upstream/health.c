/* SPDX-License-Identifier: MIT */
/* The breaker, the ejection of the slow, and the budget of retries. */
#include "upstream/health.h"

#include "base/must.h"

#include <math.h>

#define FAILURES_MAX 5u
#define WINDOW_LEAST 10u             /* outcomes in the window that a part of them says something */
#define BUCKET_NS (5 * EK_S_NS)
#define OPEN_FIRST_NS EK_S_NS
#define OPEN_LONGEST_NS (60 * EK_S_NS)
#define TRIPS_MAX 6u                 /* 2^6 is beyond the longest */
#define GOOD_NS (60 * EK_S_NS)       /* closed for so long, a trip is forgotten */
#define REST_LONGEST_NS (60 * EK_S_NS)
#define SLOW_NS (30 * EK_S_NS)
#define SLOW_TIMES 4.0
#define SLOW_LEAST_S 0.005           /* nobody is slow who makes 200 tokens a second */
#define PACES_LEAST 10u
#define FADE 0.2                     /* weight of the newest in a faded mean */
#define STREAM_TOKENS_LEAST 8u       /* of a stream whose pace counts */
#define RETRY_PART 0.1
#define RETRY_PER_S 10.0
#define RETRY_CREDIT_MAX 100.0
#define PEERS_MAX 64u

void ek_health_init(struct ek_health *h, uint64_t now_ns)
{
    *h = (struct ek_health){.state = EK_HEALTH_CLOSED, .good_ns = now_ns, .bucket = now_ns / BUCKET_NS};
}

/* ---- the states ------------------------------------------------------------------------------------ */

static void forget_window(struct ek_health *h)
{
    for (size_t i = 0; i < EK_HEALTH_BUCKETS; i++) h->good[i] = h->bad[i] = 0;
    h->in_a_row = 0;
}

static void open_for(struct ek_health *h, uint64_t now_ns, uint64_t ns, uint32_t random)
{
    h->state = EK_HEALTH_OPEN;
    h->trial = false;
    h->opened++;
    h->paces = 0;
    h->until_ns = now_ns + ns - ns / 5 + (uint64_t)((double)(ns / 5) * (random / (double)UINT32_MAX) * 2);
    if (h->trips < TRIPS_MAX) h->trips++;
    forget_window(h);
}

static void trip(struct ek_health *h, uint64_t now_ns, uint32_t random)
{
    uint64_t ns = OPEN_FIRST_NS << h->trips;
    h->slow = false;
    open_for(h, now_ns, ns < OPEN_LONGEST_NS ? ns : OPEN_LONGEST_NS, random);
}

static void close_again(struct ek_health *h, uint64_t now_ns)
{
    MUST(h->state == EK_HEALTH_HALF);
    h->state = EK_HEALTH_CLOSED;
    h->slow = false;
    h->good_ns = now_ns;
    forget_window(h);
}

bool ek_health_admits(const struct ek_health *h, uint64_t now_ns)
{
    if (h->rest_ns > now_ns) return false;
    return h->state == EK_HEALTH_CLOSED || (h->state == EK_HEALTH_HALF && !h->trial);
}

void ek_health_sent(struct ek_health *h, uint64_t now_ns)
{
    ek_health_tick(h, now_ns);
    if (h->state == EK_HEALTH_HALF) h->trial = true;
}

uint64_t ek_health_wake_ns(const struct ek_health *h)
{
    uint64_t wake_ns = h->state == EK_HEALTH_OPEN ? h->until_ns : UINT64_MAX;
    if (h->rest_ns && h->rest_ns < wake_ns) wake_ns = h->rest_ns;
    return wake_ns;
}

void ek_health_tick(struct ek_health *h, uint64_t now_ns)
{
    if (h->state == EK_HEALTH_OPEN && now_ns >= h->until_ns) {
        h->state = EK_HEALTH_HALF;
        h->trial = false;
    }
    if (h->rest_ns && now_ns >= h->rest_ns) h->rest_ns = 0;
    if (h->state == EK_HEALTH_CLOSED && h->trips && ek_ns_since(now_ns, h->good_ns) >= GOOD_NS) {
        h->trips--;
        h->good_ns = now_ns;
    }
}

/* ---- outcomes -------------------------------------------------------------------------------------- */

static void advance(struct ek_health *h, uint64_t now_ns)
{
    uint64_t bucket = now_ns / BUCKET_NS;
    uint64_t passed = bucket > h->bucket ? bucket - h->bucket : 0;
    if (passed > EK_HEALTH_BUCKETS) passed = EK_HEALTH_BUCKETS;
    for (uint64_t i = 0; i < passed; i++) {
        size_t at = (size_t)((bucket - i) % EK_HEALTH_BUCKETS);
        h->good[at] = h->bad[at] = 0;
    }
    if (bucket > h->bucket) h->bucket = bucket;
}

static bool window_is_bad(const struct ek_health *h)
{
    uint64_t good = 0, bad = 0;
    for (size_t i = 0; i < EK_HEALTH_BUCKETS; i++) {
        good += h->good[i];
        bad += h->bad[i];
    }
    return good + bad >= WINDOW_LEAST && bad >= good;
}

static double faded(double mean, double value)
{
    return mean > 0 ? mean + FADE * (value - mean) : value;
}

static void score(struct ek_health *h, const struct ek_health_event *e)
{
    h->outcomes[e->what]++;
    if (e->first_token_s > 0) h->first_token_s = faded(h->first_token_s, e->first_token_s);
    if (e->tokens < STREAM_TOKENS_LEAST || e->stream_s <= 0) return;
    h->tokens += e->tokens;
    h->stream_s += e->stream_s;
    h->token_s = faded(h->token_s, e->stream_s / (double)e->tokens);
    if (h->paces < UINT32_MAX) h->paces++;
}

static void good_outcome(struct ek_health *h, uint64_t now_ns)
{
    if (h->state == EK_HEALTH_HALF) close_again(h, now_ns);
    h->good[h->bucket % EK_HEALTH_BUCKETS]++;
    h->in_a_row = 0;
}

static void bad_outcome(struct ek_health *h, uint64_t now_ns, uint32_t random)
{
    h->bad[h->bucket % EK_HEALTH_BUCKETS]++;
    h->in_a_row++;
    if (h->state == EK_HEALTH_HALF || h->in_a_row >= FAILURES_MAX || window_is_bad(h))
        trip(h, now_ns, random);
}

void ek_health_outcome(struct ek_health *h, uint64_t now_ns, const struct ek_health_event *e, uint32_t random)
{
    MUST((unsigned)e->what < EK_OUTCOMES);
    ek_health_tick(h, now_ns);
    advance(h, now_ns);
    score(h, e);
    if (e->what == EK_OUTCOME_BUSY && e->rest_ns) {
        uint64_t ns = e->rest_ns < REST_LONGEST_NS ? e->rest_ns : REST_LONGEST_NS;
        if (now_ns + ns > h->rest_ns) h->rest_ns = now_ns + ns;
    }
    h->trial = false; /* whichever it was: the next one is the trial then */
    if (h->state == EK_HEALTH_OPEN) return; /* sent before it was opened */
    switch (e->what) {
    case EK_OUTCOME_DONE:
    case EK_OUTCOME_REFUSED: good_outcome(h, now_ns); break;
    case EK_OUTCOME_CUT:
    case EK_OUTCOME_FAILED: bad_outcome(h, now_ns, random); break;
    case EK_OUTCOME_BUSY:
    case EK_OUTCOME_LEFT:
    case EK_OUTCOMES: break;
    }
}

/* ---- the slow ones --------------------------------------------------------------------------------- */

static double median_of(double *value, size_t count)
{
    MUST(count > 0);
    for (size_t i = 1; i < count; i++) {
        double v = value[i];
        size_t at = i;
        for (; at > 0 && value[at - 1] > v; at--) value[at] = value[at - 1];
        value[at] = v;
    }
    return value[(count - 1) / 2]; /* of two the quicker one */
}

size_t ek_health_eject(struct ek_health *const *peer, size_t count, uint64_t now_ns, uint32_t random)
{
    double pace[PEERS_MAX];
    size_t known = 0, closed = 0, ejected = 0;
    MUST(count <= PEERS_MAX);
    for (size_t i = 0; i < count; i++) {
        closed += peer[i]->state == EK_HEALTH_CLOSED;
        if (peer[i]->state == EK_HEALTH_CLOSED &&
            peer[i]->paces >= PACES_LEAST) pace[known++] = peer[i]->token_s;
    }
    if (known < 2) return 0;
    double limit_s = fmax(median_of(pace, known) * SLOW_TIMES, SLOW_LEAST_S);
    for (size_t i = 0; i < count && 2 * (closed - 1) >= count; i++) {
        struct ek_health *h = peer[i];
        if (h->state != EK_HEALTH_CLOSED || h->paces < PACES_LEAST || h->token_s <= limit_s) continue;
        open_for(h, now_ns, SLOW_NS, random);
        h->slow = true;
        h->token_s = 0; /* it may have been the hour */
        closed--;
        ejected++;
    }
    return ejected;
}

/* ---- retries --------------------------------------------------------------------------------------- */

void ek_retry_init(struct ek_retry_budget *b, uint64_t now_ns)
{
    *b = (struct ek_retry_budget){.credit = RETRY_PER_S, .at_ns = now_ns};
}

void ek_retry_sent(struct ek_retry_budget *b)
{
    b->credit = fmin(b->credit + RETRY_PART, RETRY_CREDIT_MAX);
}

uint64_t ek_retry_take(struct ek_retry_budget *b, uint64_t now_ns)
{
    double earned = (double)ek_ns_since(now_ns, b->at_ns) * 1e-9 * RETRY_PER_S;
    /* Time alone earns one second's worth, no more: calm is not saved up. */
    if (b->credit < RETRY_PER_S) b->credit = fmin(b->credit + earned, RETRY_PER_S);
    b->at_ns = now_ns;
    if (b->credit >= 1) {
        b->credit -= 1;
        b->spent++;
        return 0;
    }
    b->denied++;
    return (uint64_t)((1 - b->credit) / RETRY_PER_S * 1e9) + 1;
}
