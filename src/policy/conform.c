/* SPDX-License-Identifier: MIT */
/* Scores in a ring, and the same ones sorted: 500 floats are moved faster than any tree is walked. */
#include "policy/conform.h"

#include "base/clock.h"
#include "base/must.h"

#include <math.h>
#include <string.h>

#define Z90 1.2816       /* 90 % quantile of the standard normal: before anything is known */
#define TRUSTED 60u      /* scores from which on they alone decide */
#define PER_WAIT 25.0    /* scores kept in the time of one wait */
#define STEP 0.002      /* of the adapted target, per wait, also where its score is not kept */
#define SCORE_MAX 50.0
#define WAIT_MIN 1e-3      /* of the raw estimate: a wait of nothing has a logarithm too */

static uint32_t lower_bound(const struct ek_conform *c, float x)
{
    uint32_t low = 0, high = c->count;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (c->sorted[mid] < x) low = mid + 1;
        else high = mid;
    }
    return low;
}

static void forget(struct ek_conform *c, float x)
{
    uint32_t i = lower_bound(c, x);
    MUST(i < c->count);
    memmove(&c->sorted[i], &c->sorted[i + 1], (c->count - i - 1) * sizeof *c->sorted);
    c->count--;
}

static double adapted(double level, double target, bool held, double low, double high)
{
    if (level <= 0) level = target;
    level += STEP * (target - (held ? 1.0 : 0.0));
    return level < low ? low : level > high ? high : level;
}

void ek_conform_add(struct ek_conform *c, double score, bool held50, bool held90, double wait_s,
                    uint64_t now_ns)
{
    MUST(c->at < EK_CONFORM_SCORES && wait_s >= 0);
    if (!isfinite(score)) return;
    c->level50 = adapted(c->level50, 0.5, held50, 0.2, 0.8);
    c->level90 = adapted(c->level90, 0.9, held90, 0.7, 0.998);
    if (c->last_ns && (double)ek_ns_since(now_ns, c->last_ns) * 1e-9 < wait_s / PER_WAIT) return;
    c->last_ns = now_ns;
    float x = (float)fmax(-SCORE_MAX, fmin(SCORE_MAX, score));
    if (c->count == EK_CONFORM_SCORES) forget(c, c->ring[c->at]);
    uint32_t i = lower_bound(c, x);
    memmove(&c->sorted[i + 1], &c->sorted[i], (c->count - i) * sizeof *c->sorted);
    c->sorted[i] = x;
    c->count++;
    c->ring[c->at] = x;
    c->at = (c->at + 1) % EK_CONFORM_SCORES;
}

static double quantile(const struct ek_conform *c, double level, double unknown)
{
    if (c->count < 8) return unknown;
    double at = level * (c->count + 1) - 1; /* the finite-sample correction of split conformal */
    uint32_t i = at <= 0 ? 0 : at >= c->count - 1 ? c->count - 1 : (uint32_t)at;
    double frac = at - i;
    double q = c->sorted[i];
    if (frac > 0 && i + 1 < c->count) q += frac * (c->sorted[i + 1] - c->sorted[i]);
    double trust = c->count >= TRUSTED ? 1.0 : (double)c->count / TRUSTED;
    return trust * q + (1.0 - trust) * unknown;
}

double ek_conform_score(double raw_s, double spread, double wait_s)
{
    MUST(raw_s > 0 && spread > 0);
    return log(fmax(wait_s / raw_s, WAIT_MIN)) / spread;
}

struct ek_band ek_conform_band(const struct ek_conform *c, double raw_s, double spread)
{
    struct ek_band b;
    MUST(raw_s > 0 && spread > 0);
    b.p50_s = raw_s * exp(spread * quantile(c, c->level50 > 0 ? c->level50 : 0.5, 0));
    b.p90_s = raw_s * exp(spread * quantile(c, c->level90 > 0 ? c->level90 : 0.9, Z90));
    if (b.p90_s < b.p50_s) b.p90_s = b.p50_s;
    return b;
}

uint32_t ek_conform_depth(uint32_t position)
{
    static const uint32_t last[] = {2, 8, 32, 128, 512, 2048};
    uint32_t d = 0;
    _Static_assert(EK_COUNT(last) == EK_CONFORM_DEPTHS - 1, "one bound between two depths");
    while (d < EK_COUNT(last) && position > last[d]) d++;
    return d;
}
