/* SPDX-License-Identifier: MIT */
/* The second attempt beside one whose first token is late; when and where, the desk says (policy/hedge.h).
 *
 *      SENT, no token ── late, and the desk says GO ──▶ two relays race
 *                                                        ├─ the first has a token, or ends ─▶ it alone
 *                                                        ├─ the second has ────────────────▶ adopted
 *                                                        ├─ the first fails ───────────────▶ adopted
 *                                                        └─ the second fails ──────▶ the first alone
 *
 * Nothing of the second is delivered before it is adopted, so its caller never hears two voices; what it said
 * before its first token (a role) is kept and said then. Whoever loses is cancelled in the same turn: its
 * upstream sees the connection close. The account pays for the answer it gets, once; what the other attempt
 * read in vain is written into the record, and counted.
 *
 * Nobody waits for the first token of a background answer, and a lender's attempt costs money: neither is
 * hedged. */
#include "door/door_state.h"

#include "policy/cost.h"

#include <stdio.h>
#include <stdlib.h>

#define LOOK_AGAIN_NS (100 * EK_MS_NS) /* too busy or no budget: perhaps soon */
#define EARLY_BYTES_MAX 16384u         /* of what is said before the first token */

struct ek_door_second {
    struct ek_relay *relay;
    uint32_t upstream;
    uint64_t sent_ns;
    struct ek_buf early;
};

static bool is_token(const struct ek_up_chunk *c)
{
    return (c->flags & EK_UP_TOKEN) != 0;
}

/* An end decides the race as a token does: whoever has ended will not begin. */
static bool is_begun(const struct ek_door_running *w)
{
    return w->thought_tokens + w->answer_tokens > 0 || w->finished > 0;
}

void ek_door_second_free(struct ek_door_second **s)
{
    struct ek_door_second *dead = *s;
    *s = NULL;
    if (!dead) return;
    if (dead->relay) ek_relay_cancel(&dead->relay);
    ek_buf_free(&dead->early);
    free(dead);
}

/* The first attempt goes on alone. */
static void drop(struct ek_door_request *r, uint64_t *counter)
{
    struct ek_door *d = r->door;
    MUST(r->running->second);
    ++*counter;
    ek_door_second_free(&r->running->second);
    ek_desk_hedge_end(d->desk, ek_door_now(d), r->ticket, false);
    ek_door_pump(d);
}

void ek_door_hedge_lost(struct ek_door_request *r)
{
    drop(r, &r->door->counters.hedge_lost);
}

/* What was said before the first token, each behind its length: of several choices each has its role. */
static void keep_early(struct ek_door_second *s, struct ek_str payload)
{
    uint32_t len = (uint32_t)payload.len;
    if (payload.len > EARLY_BYTES_MAX || s->early.len + sizeof len + len > EARLY_BYTES_MAX) return;
    ek_buf_put(&s->early, (const char *)&len, sizeof len);
    ek_buf_put(&s->early, payload.data, len);
}

/* False: it was the end of r's attempt. */
static bool say_early(struct ek_door_request *r, struct ek_str all)
{
    while (r->running && r->running->relay && all.len > 0) {
        uint32_t len;
        struct ek_up_chunk c;
        MUST(all.len > sizeof len);
        memcpy(&len, all.data, sizeof len);
        struct ek_str payload = ek_str_make(all.data + sizeof len, len);
        all = ek_str_skip(all, sizeof len + len);
        bool read = ek_up_chunk_read(payload, &c, NULL);
        MUST(read); /* as it was when it came */
        ek_door_relay_events.chunk(r, payload, &c);
    }
    return r->running && r->running->relay;
}

/* The second attempt is the request's from here on; the first is over, or is cancelled now. False: what it
 * had said before was the end of r. */
static bool adopt(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    struct ek_door_second *s = w->second;
    MUST(s && s->relay && !is_begun(w));
    if (w->relay) ek_relay_cancel(&w->relay);
    if (w->collect) ek_collect_free(&w->collect); /* it had a role at most */
    w->relay = s->relay;
    w->upstream = s->upstream;
    w->ours = ek_pool_is_ours(d->pool, s->upstream);
    w->sent_ns = s->sent_ns;
    w->prompt_tokens = w->cached_tokens = 0;
    w->saw_usage = false;
    w->ids_whole = true;
    w->id_count = 0;
    w->second = NULL;
    s->relay = NULL;
    ek_desk_hedge_end(d->desk, ek_door_now(d), r->ticket, true);
    ek_door_pump(d);
    ek_door_note_hedge(r, true);
    bool goes_on = say_early(r, ek_buf_view(&s->early));
    ek_door_second_free(&s);
    return goes_on;
}

bool ek_door_hedge_saves(struct ek_door_request *r)
{
    struct ek_door_running *w = r->running;
    if (!w->second) return false;
    MUST(!w->relay);
    w->failed_mask |= 1ull << w->upstream;
    r->door->counters.hedge_saved++;
    (void)adopt(r);
    return true;
}

/* ---- what the second relay reports ----------------------------------------------------------------------
 * Once it is adopted all of it goes where the first one's went. */

static void second_accepted(void *arg)
{
    struct ek_door_request *r = arg;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (!r->running->second) ek_door_relay_events.accepted(r);
}

static void second_chunk(void *arg, struct ek_str payload, const struct ek_up_chunk *c)
{
    struct ek_door_request *r = arg;
    struct ek_door_second *s = r->running->second;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (s && !is_token(c)) {
        bool ends = (c->flags & EK_UP_FINISH) != 0; /* an answer without a token is none to be quick with */
        if (ends) drop(r, &r->door->counters.hedge_failed);
        else if (!(c->flags & EK_UP_USAGE)) keep_early(s, payload);
        return;
    }
    if (s) {
        r->door->counters.hedge_won++;
        if (!adopt(r)) return;
    }
    ek_door_relay_events.chunk(r, payload, c);
}

static void second_done(void *arg)
{
    struct ek_door_request *r = arg;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (!r->running->second) {
        ek_door_relay_events.done(r);
        return;
    }
    r->running->second->relay = NULL; /* nothing came of it */
    drop(r, &r->door->counters.hedge_failed);
}

static void second_refused(void *arg, int status, uint64_t retry_after_ms, struct ek_str body)
{
    struct ek_door_request *r = arg;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (!r->running->second) {
        ek_door_relay_events.refused(r, status, retry_after_ms, body);
        return;
    }
    r->running->second->relay = NULL;
    drop(r, &r->door->counters.hedge_failed);
}

static void second_failed(void *arg, enum ek_reason why, const char *detail)
{
    struct ek_door_request *r = arg;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (!r->running->second) {
        ek_door_relay_events.failed(r, why, detail);
        return;
    }
    r->running->second->relay = NULL;
    drop(r, &r->door->counters.hedge_failed);
}

static const struct ek_relay_events second_events = {.accepted = second_accepted, .chunk = second_chunk,
                                                     .done = second_done, .refused = second_refused,
                                                     .failed = second_failed};

/* ---- when ------------------------------------------------------------------------------------------- */

void ek_door_hedge_arm(struct ek_door_request *r)
{
    struct ek_door_running *w = r->running;
    w->hedge_ns = 0;
    if (r->asked || r->detached || w->borrowed || is_begun(w)) return;
    double after_s = ek_desk_hedge_after_s(r->door->desk, r->ticket);
    if (after_s > 0) w->hedge_ns = w->sent_ns + (uint64_t)(after_s * 1e9);
}

static void begin(struct ek_door_request *r, uint32_t upstream)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    struct ek_relay_deadlines deadlines = ek_door_deadlines(d);
    struct ek_relay_request q;
    struct ek_door_second *s = calloc(1, sizeof *s);
    MUST(s); /* a part of what runs, which is bounded */
    *s = (struct ek_door_second){.upstream = upstream, .sent_ns = ek_door_now(d).mono_ns,
                                 .early = ek_buf_make(EARLY_BYTES_MAX)};
    w->second = s;
    d->counters.hedged++;
    ek_door_relay_request(r, upstream, &q);
    ek_door_note_hedge(r, false);
    s->relay = ek_relay_start(d->pool, d->loop, d->client, &q, &deadlines, &second_events, r);
}

void ek_door_hedge_due(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    uint32_t upstream;
    MUST(w && w->hedge_ns);
    w->hedge_ns = 0;
    if (!ek_door_is_running(r) || !w->relay || w->second || is_begun(w)) return;
    uint64_t mask = ek_door_reach(r) & ~w->failed_mask;
    enum ek_hedge_verdict v = ek_desk_hedge(d->desk, ek_door_now(d), r->ticket, mask, &upstream);
    if (v == EK_HEDGE_GO) begin(r, upstream);
    else if (v != EK_HEDGE_NOT) w->hedge_ns = ek_door_now(d).mono_ns + LOOK_AGAIN_NS;
}

/* ---- numbers ---------------------------------------------------------------------------------------- */

int64_t ek_door_hedge_nano(const struct ek_door_request *r, uint64_t prompt_tokens)
{
    return ek_cost_nano(ek_door_price(r), 0, prompt_tokens, 0);
}

void ek_door_hedge_metrics(const struct ek_door *d, struct ek_buf *out)
{
    const struct ek_door_counters *c = &d->counters;
    struct ek_desk_stats s;
    ek_desk_stats(d->desk, &s);
    ek_metric_help(out, "evenkeel_hedged_total", "counter",
                   "Second attempts for late first tokens, by what came of them.");
    ek_metric_value(out, "evenkeel_hedged_total", "end=\"won\"", c->hedge_won);
    ek_metric_value(out, "evenkeel_hedged_total", "end=\"lost\"", c->hedge_lost);
    ek_metric_value(out, "evenkeel_hedged_total", "end=\"failed\"", c->hedge_failed);
    ek_metric_value(out, "evenkeel_hedged_total", "end=\"saved\"", c->hedge_saved);
    ek_metric_help(out, "evenkeel_hedge_denied_total", "counter",
                   "Looks at a late first token that led to no second attempt, by why.");
    for (int v = 0; v < EK_HEDGE_VERDICTS; v++) {
        const char *name = ek_hedge_name((enum ek_hedge_verdict)v);
        char label[48];
        if (!*name) continue;
        snprintf(label, sizeof label, "why=\"%s\"", name);
        ek_metric_value(out, "evenkeel_hedge_denied_total", label, s.hedge[v]);
    }
    ek_metric_help(out, "evenkeel_hedge_cost_total", "counter",
                   "What attempts that lost have read in vain, by the price list, in the currency.");
    ek_metric_double(out, "evenkeel_hedge_cost_total", NULL, (double)c->hedge_nano * 1e-9);
}
