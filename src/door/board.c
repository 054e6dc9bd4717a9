/* SPDX-License-Identifier: MIT */
/* The scoreboard of upstreams as JSON, for `GET /admin/v1/upstreams`: what each says, how it fared, and what
 * those that are not ours have cost. Changes nothing. */
#include "door/door_state.h"

#include "base/json_write.h"

static void put_number(struct ek_buf *b, const char *name, bool known, double value)
{
    if (known) ek_buf_printf(b, ",\"%s\":%.6g", name, value);
    else ek_buf_printf(b, ",\"%s\":null", name);
}

static void put_outcomes(struct ek_buf *b, const struct ek_health *h)
{
    static const char *const outcome[] = {"done", "cut", "failed", "busy", "refused", "left"};
    _Static_assert(EK_COUNT(outcome) == EK_OUTCOMES, "a word for each");
    uint64_t done = h->outcomes[EK_OUTCOME_DONE];
    uint64_t judged = done + h->outcomes[EK_OUTCOME_CUT] + h->outcomes[EK_OUTCOME_FAILED];
    ek_buf_lit(b, ",\"requests\":{");
    for (int o = 0; o < EK_OUTCOMES; o++)
        ek_buf_printf(b, "%s\"%s\":%llu", o ? "," : "", outcome[o], (unsigned long long)h->outcomes[o]);
    ek_buf_char(b, '}');
    put_number(b, "success", judged > 0, judged ? (double)done / (double)judged : 0);
    put_number(b, "first_token_s", h->first_token_s > 0, h->first_token_s);
    put_number(b, "tokens_per_s", h->stream_s > 0, h->stream_s > 0 ? (double)h->tokens / h->stream_s : 0);
}

static void put_amount(struct ek_buf *b, const char *name, int64_t nano, bool known)
{
    char amount[EK_DOOR_AMOUNT_BYTES];
    if (known) ek_buf_printf(b, "\"%s\":\"%s\"", name, ek_door_amount(nano, amount));
    else ek_buf_printf(b, "\"%s\":null", name);
}

static void put_window(struct ek_buf *b, const char *name, const struct ek_lender *l, enum ek_purse_span span)
{
    ek_buf_printf(b, ",\"%s\":{", name);
    put_amount(b, "spent", l->kept.spent_nano[span] + l->elsewhere.spent_nano[span], true);
    ek_buf_char(b, ',');
    put_amount(b, "budget", l->terms.budget_nano[span], l->terms.budget_nano[span] > 0);
    ek_buf_char(b, '}');
}

static void put_lender(const struct ek_door *d, struct ek_buf *b, uint32_t i)
{
    struct ek_now now = ek_door_now(d);
    struct ek_lender l = ek_desk_lender(d->desk, now, i);
    struct ek_price_options price = ek_lender_price(&l, now);
    int64_t left = ek_lender_left_nano(&l);
    ek_buf_printf(b, ",\"borrowed\":{\"price\":{\"cached\":%.10g,\"prompt\":%.10g,\"output\":%.10g}",
                  (double)price.cached_pico / 1e6, (double)price.prompt_pico / 1e6,
                  (double)price.output_pico / 1e6);
    put_window(b, "hour", &l, EK_PURSE_HOUR);
    put_window(b, "day", &l, EK_PURSE_DAY);
    ek_buf_char(b, ',');
    put_amount(b, "reserved", l.reserved_nano + l.elsewhere.reserved_nano, true);
    ek_buf_char(b, ',');
    put_amount(b, "left", left, left < INT64_MAX);
    ek_buf_lit(b, ",\"sent\":{");
    for (unsigned w = 1; w < EK_OVERFLOW_WHYS; w++)
        ek_buf_printf(b, "%s\"%s\":%llu", w > 1 ? "," : "", ek_overflow_name((enum ek_overflow_why)w),
                      (unsigned long long)d->borrowed[i * EK_OVERFLOW_WHYS + w]);
    ek_buf_printf(b, "},\"swamped\":%llu,\"recalled\":%llu,\"overdrawn\":%llu,\"rests_s\":%.3g}",
                  (unsigned long long)l.swamped, (unsigned long long)l.recalled,
                  (unsigned long long)l.overdrafts,
                  (double)ek_ns_since(l.rest_until_ns, now.mono_ns) * 1e-9);
}

static void put_identity(const struct ek_door *d, struct ek_buf *b, uint32_t i)
{
    struct ek_pool_identity who;
    ek_pool_identity(d->pool, i, &who);
    ek_buf_lit(b, ",\"identity\":");
    if (!who.watched) {
        ek_buf_lit(b, "null");
        return;
    }
    ek_buf_printf(b, "{\"state\":\"%s\"", who.damaged && !who.recorded ? "damaged" : who.other ? "other"
                  : who.known ? "same" : who.recorded ? "recorded" : "unknown");
    put_number(b, "same", who.known, who.same);
    put_number(b, "drift", who.known && who.drift_known, who.drift);
    ek_buf_printf(b, ",\"checks\":%llu,\"alarms\":%llu}", (unsigned long long)who.checks,
                  (unsigned long long)who.alarms);
}

static void put_upstream(const struct ek_door *d, struct ek_buf *b, uint32_t i)
{
    static const char *const breaker[] = {"closed", "open", "trial"};
    const struct ek_health *h = ek_pool_health(d->pool, i);
    struct ek_upstream_load load = ek_pool_load(d->pool, i);
    struct ek_desk_upstream_stats s;
    ek_desk_upstream_stats(d->desk, i, &s);
    MUST(h->state < EK_COUNT(breaker));
    bool borrowed = ek_pool_loan(d->pool, i)->borrowed;
    ek_buf_lit(b, "{\"name\":");
    ek_json_put_string(b, ek_str_of(ek_pool_name(d->pool, i)));
    ek_buf_printf(b, ",\"dialect\":\"%s\",\"up\":%s,\"breaker\":\"%s\",\"opened\":%llu",
                  ek_pool_ways(d->pool, i)->name, load.up ? "true" : "false", breaker[h->state],
                  (unsigned long long)h->opened);
    ek_buf_printf(b, ",\"slots\":%u,\"running\":%u,\"decoding\":%u", borrowed ? load.slots : s.slots,
                  s.inflight, s.decoding);
    put_outcomes(b, h);
    put_identity(d, b, i);
    if (borrowed) put_lender(d, b, i);
    else ek_buf_lit(b, ",\"borrowed\":null");
    ek_buf_char(b, '}');
}

void ek_door_board(struct ek_door *d, struct ek_buf *out)
{
    bool first = true;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    ek_buf_lit(out, ",\"upstreams\":[");
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) {
        if (!ek_pool_is_there(d->pool, i)) continue;
        if (!first) ek_buf_char(out, ',');
        first = false;
        put_upstream(d, out, i);
    }
    ek_buf_char(out, ']');
}
