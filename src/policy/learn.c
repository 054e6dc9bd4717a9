/* SPDX-License-Identifier: MIT */
/* Learning what an upstream can take. The reasons, with the plot, are in docs/why/admission.md; the two
 * formulas in learn.h. Owns nothing but the arithmetic of struct ek_learn. */
#include "policy/learn.h"

#include "base/clock.h"
#include "base/must.h"

#include <math.h>

#define FIT_KEEP (1.0 - 1.0 / 96) /* samples of reading times are remembered */
#define SLACK 1.5          /* reading may take this much longer before it counts as waiting */
#define CLIP 3.0           /* a sample of reading time counts for at most so many times what was expected */
#define ABOVE 0.3          /* weight of samples above the line; below it is 1: the lower edge is sought */
#define LATE_WEIGHT (1.0 / 16)
#define TOLERANCE 4.0      /* time per token against that of one stream alone, where no target is given */
#define KNEE_MIN 4.0 /* so few say little of a line, and four at once harm nobody; with a target: 1 */
#define INTERVAL_LUMPS 4.0 /* of each stream */
#define INTERVAL_NS (EK_S_NS / 4)
#define SHAPE_KNOWN 8u      /* intervals of a bucket before it is believed that the machine has changed */
#define SHAPE_WEIGHT 0.03   /* an interval moves its bucket towards what was seen by so much */
#define DRIFT_WEIGHT 0.2
#define DRIFT_BEGIN 0.25    /* log of the ratio to what was usual: beyond it the machine has changed ... */
#define DRIFT_END 0.05      /* ... and all buckets follow until it is as usual again */
#define LIFE_KEEP (1.0 - 1.0 / 64)
#define ROUND_SAMPLES 8u
#define FULL_PART 0.7      /* a round says whether more would do only if the limit was reached so long */
#define QUEUE_LOW 0.5
#define QUEUE_HIGH 1.5
#define PROBE_ROUNDS 16u
#define READ_LATE 6.0
#define CALM_ROUNDS 4u
#define REFUSED_PART 0.9

void ek_learn_init(struct ek_learn *l)
{
    *l = (struct ek_learn){.limit = EK_LEARN_LIMIT_FIRST, .fast = true, .late = 1.0, .lump = 1.0};
}

static void begin_round(struct ek_learn *l, uint32_t settle)
{
    l->settle = settle;
    l->samples = 0;
    l->waiting_s = l->base_s = l->ahead_s = l->span_s = l->full_s = 0;
    l->measured = false;
    l->began_ns = l->at_ns;
}

void ek_learn_restarted(struct ek_learn *l)
{
    l->fast = true;
    l->calm = 0;
    l->probing = false;
    begin_round(l, 0);
}

static void advance(struct ek_learn *l, uint64_t now_ns)
{
    MUST(l->decoding <= l->inflight);
    if (l->at_ns == 0 || now_ns <= l->at_ns) {
        if (l->at_ns == 0) l->at_ns = l->begin_ns = now_ns;
        return;
    }
    double dt_s = (double)(now_ns - l->at_ns) * 1e-9;
    l->at_ns = now_ns;
    l->interval_stream_s += dt_s * l->decoding;
    l->life_s += dt_s * l->decoding;
    l->span_s += dt_s;
    l->waiting_s += dt_s * (l->inflight - l->decoding);
    if (l->inflight >= ek_learn_limit(l) || l->inflight + 1 > ek_learn_knee(l)) l->full_s += dt_s;
}

/* ---- reading ------------------------------------------------------------------------------------- */

static double base_of(const struct ek_learn *l, double tokens)
{
    return l->fixed_s + l->per_token_s * tokens;
}

/* A weighted line through (tokens, seconds), drawn towards the origin's side where all prompts are alike. */
static void fit_line(struct ek_learn *l)
{
    const double *s = l->fit;
    double tokens = s[1] / s[0], seconds = s[3] / s[0];
    double spread = s[2] / s[0] - tokens * tokens;
    double slope = (s[4] / s[0] - tokens * seconds) / (spread + 0.01 * tokens * tokens + 1.0);
    double steepest = tokens > 0 ? seconds / tokens : 0;
    MUST(s[0] > 0 && seconds >= 0);
    l->per_token_s = slope < 0 ? 0 : slope > steepest ? steepest : slope;
    l->fixed_s = fmax(seconds - l->per_token_s * tokens, 0);
}

/* One that waited for a slot got it when another request ended, so its reading is no longer than the time
 * since the last end. Where nobody waits that is sometimes too short: the safe side, see judge. */
static void learn_reading(struct ek_learn *l, const struct ek_learn_mark *m, double took_s)
{
    double tokens = (double)m->fresh_tokens;
    double since_end_s = (double)ek_ns_since(l->at_ns, l->end_ns) * 1e-9;
    double read_s = l->end_ns > m->sent_ns ? fmin(took_s, fmax(since_end_s, 1e-6)) : took_s;
    double expected = l->firsts ? base_of(l, tokens) : read_s;
    double y = fmin(read_s, CLIP * expected);
    double weight = y <= expected ? 1.0 : ABOVE;
    double keep = y < expected / 2 ? 0.5 : FIT_KEEP; /* the first one ever may have met a cold machine */
    const double x[5] = {1, tokens, tokens * tokens, y, tokens * y};
    for (int i = 0; i < 5; i++) l->fit[i] = l->fit[i] * keep + weight * x[i];
    fit_line(l);
    l->firsts++;
    double whole = base_of(l, tokens + m->ahead_tokens);
    if (m->clean && whole > 0) l->late += (fmin(took_s / whole, 10.0) - l->late) * LATE_WEIGHT;
}

/* ---- the limit ----------------------------------------------------------------------------------- */

uint32_t ek_learn_limit(const struct ek_learn *l)
{
    double limit = floor(l->limit + 0.5) - (l->probing ? 1 : 0);
    return limit < 1 ? 1 : (uint32_t)limit;
}

double ek_learn_knee(const struct ek_learn *l)
{
    if (l->b_s <= 0) return EK_LEARN_LIMIT_MAX;
    double knee = fmax((TOLERANCE - 1.0) * l->a_s / l->b_s, KNEE_MIN);
    if (l->target_s > 0) knee = fmax((l->target_s - l->a_s) / l->b_s, 1.0);
    return fmin(knee, EK_LEARN_LIMIT_MAX);
}

/* What a change sets in motion: those who wait inside begin one by one as others end; those who are sent now
 * are read, unless there are no slots for them, which shows when that takes many times too long. */
static void set_limit(struct ek_learn *l, double limit)
{
    uint32_t before = ek_learn_limit(l);
    l->limit = fmin(fmax(limit, 1.0), EK_LEARN_LIMIT_MAX);
    uint32_t after = ek_learn_limit(l);
    uint32_t more = after > before ? after - before : 0;
    begin_round(l, l->inflight - l->decoding + more);
    double mean = l->fit[0] > 0 ? l->fit[1] / l->fit[0] : 0;
    double read_s = base_of(l, (double)l->reading_tokens + more * mean) * l->late;
    l->settle_ns = l->firsts && more > 0 ? l->at_ns + (uint64_t)(READ_LATE * read_s * 1e9) : UINT64_MAX;
}

static void grow(struct ek_learn *l)
{
    l->calm++;
    if (l->calm > CALM_ROUNDS) l->fast = true; /* it has become another machine */
    double by = l->fast ? l->limit : fmax(1.0, floor(l->limit / 16));
    double most = fmax(l->limit, ceil(ek_learn_knee(l) * 1.1) + 1);
    l->sure = l->limit;
    set_limit(l, fmin(l->limit + by, most));
}

static void judge(struct ek_learn *l)
{
    /* Short of its limit it may have been given many prompts in a burst, which are read one by one. */
    bool full = l->full_s >= FULL_PART * l->span_s;
    double read_s = full ? l->base_s : l->ahead_s;
    double q = (l->waiting_s - SLACK * l->late * read_s) / fmax(l->span_s, 1e-9);
    bool probed = l->probing;
    MUST(l->samples > 0);
    l->queue = q;
    l->rounds++;
    l->probing = false;
    if (q > QUEUE_HIGH || (q >= QUEUE_LOW && full)) {
        l->fast = false;
        l->calm = 0;
    }
    if (q > QUEUE_HIGH) { /* also short of its limit, where nothing else would ever lower it */
        set_limit(l, fmin(l->limit, (double)l->inflight) - (q - 1.0));
        l->sure = floor(l->limit + 0.5) - 1;
    } else if (q < QUEUE_LOW && full && !probed) {
        grow(l);
    } else {
        if (full) l->sure = floor(l->limit + 0.5) - 1;
        begin_round(l, probed ? 1 : 0);
        l->settle_ns = UINT64_MAX;
        l->probing = !l->fast && l->limit >= 2 && l->rounds % PROBE_ROUNDS == 0;
    }
}

/* Nobody waits inside though as many are there as may, and how they decode has been seen: to wait for a
 * round of requests that take minutes each would teach nothing more. */
static void hurry(struct ek_learn *l)
{
    if (!l->fast || !l->measured || l->decoding < l->inflight) return;
    if (l->inflight >= ek_learn_limit(l) && l->inflight + 1 <= ek_learn_knee(l)) grow(l);
}

static void count_sample(struct ek_learn *l, const struct ek_learn_mark *m)
{
    if (l->settle > 0) {
        l->settle--;
        if (l->settle == 0 || l->at_ns >= l->settle_ns) begin_round(l, 0);
        return;
    }
    double wanted = l->fast ? ROUND_SAMPLES : fmax(ROUND_SAMPLES, l->limit / 4);
    l->samples++;
    l->base_s += base_of(l, (double)m->fresh_tokens);
    l->ahead_s += base_of(l, (double)m->fresh_tokens + m->ahead_tokens);
    if (l->samples >= (uint32_t)wanted) judge(l);
}

/* ---- decoding ------------------------------------------------------------------------------------ */

static void fit_knee(struct ek_learn *l)
{
    double s = 0, sx = 0, sy = 0, sxx = 0, sxy = 0, low = 0, high = 0;
    for (uint32_t k = 0; k < EK_LEARN_BUCKETS; k++) {
        const struct ek_learn_bucket *c = &l->bucket[k];
        if (c->seen == 0) continue;
        double w = c->seen < 8 ? c->seen : 8, x = (double)c->streams, y = (double)c->token_s;
        s += w;
        sx += w * x;
        sy += w * y;
        sxx += w * x * x;
        sxy += w * x * y;
        if (low <= 0) low = x;
        high = x;
    }
    l->a_s = l->b_s = 0;
    if (high < 2 * low || s <= 0) return; /* a line wants two ends */
    double slope = (s * sxy - sx * sy) / (s * sxx - sx * sx);
    double at0 = (sy - slope * sx) / s;
    if (slope <= 0) return;
    l->b_s = slope;
    l->a_s = fmax(at0, 0);
}

static uint32_t bucket_of(double streams)
{
    double k = 2.0 * log2(fmax(streams, 1.0));
    return k >= EK_LEARN_BUCKETS - 1 ? EK_LEARN_BUCKETS - 1 : (uint32_t)k;
}

/* Off what is usual for so many streams by much, and for some time: the machine is another one. Then all
 * buckets follow together and the shape is let alone; small differences are shape. */
static void watch_speed(struct ek_learn *l, double off)
{
    l->drift += (off - l->drift) * DRIFT_WEIGHT;
    if (fabs(l->drift) > DRIFT_BEGIN) l->changing = true;
    if (fabs(l->drift) < DRIFT_END) l->changing = false;
    if (!l->changing) return;
    float scale = (float)exp(off * DRIFT_WEIGHT);
    for (uint32_t k = 0; k < EK_LEARN_BUCKETS; k++) l->bucket[k].token_s *= scale;
}

static void close_interval(struct ek_learn *l)
{
    double span_s = (double)(l->at_ns - l->begin_ns) * 1e-9;
    double streams = l->interval_stream_s / span_s;
    double seen_s = l->interval_stream_s / l->interval_tokens;
    struct ek_learn_bucket *b = &l->bucket[bucket_of(streams)];
    l->token_s = seen_s;
    if (l->settle > 0 || l->begin_ns < l->began_ns) return; /* many prompts at once are being read */
    if (b->seen == 0) *b = (struct ek_learn_bucket){(float)streams, (float)seen_s, 0};
    /* Against what this bucket has seen before, not against the line: a bent line is no change of speed. */
    double mean_s = (double)b->token_s;
    double usual_s = fmax(mean_s + l->b_s * (streams - (double)b->streams), mean_s / 4);
    bool known = b->seen >= SHAPE_KNOWN;
    double off = log(fmin(fmax(seen_s / usual_s, 0.25), 4.0));
    if (known) watch_speed(l, off);
    if (!known || (!l->changing && fabs(off) < DRIFT_BEGIN)) {
        float weight = (float)fmax(SHAPE_WEIGHT, 1.0 / (b->seen + 1.0));
        b->token_s += ((float)seen_s - b->token_s) * weight;
        b->streams += ((float)streams - b->streams) * weight;
    }
    if (b->seen < UINT32_MAX) b->seen++;
    fit_knee(l);
    l->measured = true;
}

/* What is told at one moment belongs together: an interval ends before the first token after it. */
static void watch_interval(struct ek_learn *l, uint64_t now_ns)
{
    double wanted = INTERVAL_LUMPS * l->lump * fmax(l->decoding, 1.0);
    if (now_ns == l->at_ns || l->at_ns < l->begin_ns + INTERVAL_NS || l->interval_tokens < wanted) return;
    if (l->interval_stream_s > 0) close_interval(l);
    l->interval_tokens = l->interval_stream_s = 0;
    l->begin_ns = l->at_ns;
    hurry(l);
}

/* ---- events -------------------------------------------------------------------------------------- */

void ek_learn_sent(struct ek_learn *l, uint64_t now_ns, uint32_t fresh_tokens, struct ek_learn_mark *m)
{
    advance(l, now_ns);
    uint64_t ahead = l->reading_tokens < UINT32_MAX ? l->reading_tokens : UINT32_MAX;
    *m = (struct ek_learn_mark){.sent_ns = now_ns, .fresh_tokens = fresh_tokens,
                                .ahead_tokens = (uint32_t)ahead,
                                .clean = l->inflight < l->sure || l->firsts == 0};
    l->inflight++;
    l->reading_tokens += fresh_tokens;
}

void ek_learn_first(struct ek_learn *l, uint64_t now_ns, struct ek_learn_mark *m)
{
    MUST(!m->first && l->decoding < l->inflight);
    MUST(l->reading_tokens >= m->fresh_tokens);
    advance(l, now_ns);
    m->first = true;
    l->decoding++;
    l->reading_tokens -= m->fresh_tokens;
    learn_reading(l, m, fmax((double)ek_ns_since(now_ns, m->sent_ns) * 1e-9, 1e-6));
    count_sample(l, m);
}

void ek_learn_tokens(struct ek_learn *l, uint64_t now_ns, uint32_t tokens)
{
    if (tokens == 0) return;
    watch_interval(l, now_ns);
    advance(l, now_ns);
    l->interval_tokens += tokens;
    l->lump += (tokens - l->lump) * 0.02;
}

void ek_learn_end(struct ek_learn *l, uint64_t now_ns, const struct ek_learn_mark *m)
{
    MUST(l->inflight > 0);
    advance(l, now_ns);
    l->inflight--;
    l->end_ns = now_ns;
    if (!m->first) {
        MUST(l->reading_tokens >= m->fresh_tokens);
        l->reading_tokens -= m->fresh_tokens;
        return;
    }
    MUST(l->decoding > 0);
    l->decoding--;
    l->ends = l->ends * LIFE_KEEP + 1.0;
    l->life_s *= LIFE_KEEP;
}

void ek_learn_full(struct ek_learn *l, uint64_t now_ns)
{
    advance(l, now_ns);
    l->fast = false;
    l->calm = 0;
    double most = fmin(l->limit, (double)l->inflight) - 1.0;
    set_limit(l, fmax(most, fmin(l->limit * REFUSED_PART, l->decoding)));
}

/* ---- foresight ----------------------------------------------------------------------------------- */

double ek_learn_token_s(const struct ek_learn *l, double streams)
{
    if (l->b_s > 0) return l->a_s + l->b_s * fmax(streams, 1.0);
    return l->token_s;
}

static double read_s(const struct ek_learn *l, uint32_t fresh_tokens)
{
    return base_of(l, (double)l->reading_tokens + fresh_tokens) * l->late;
}

double ek_learn_decoding_then(const struct ek_learn *l, uint32_t fresh_tokens)
{
    double life_s = l->ends >= 1 ? l->life_s / l->ends : 0;
    double staying = life_s > 0 ? exp(-read_s(l, fresh_tokens) / life_s) : 1.0;
    return l->decoding * staying + (l->inflight - l->decoding);
}

double ek_learn_ttft_s(const struct ek_learn *l, uint32_t fresh_tokens)
{
    if (l->firsts == 0) return 0;
    double now_s = ek_learn_token_s(l, l->decoding);
    double then_s = ek_learn_token_s(l, ek_learn_decoding_then(l, fresh_tokens));
    double slower = now_s > 0 ? fmin(fmax(then_s / now_s, 1.0), TOLERANCE) : 1.0;
    return read_s(l, fresh_tokens) * slower;
}
