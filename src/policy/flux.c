/* SPDX-License-Identifier: MIT */
/* Faded sums and a life table. Owns their arithmetic; decides nothing. */
#include "policy/flux.h"

#include "base/clock.h"
#include "base/must.h"

#include <math.h>

#define LEAD_S 120.0        /* the memory of leads */
#define BEFORE_S 30.0 /* without anybody, before the first one came: a burst at the opening is no rate */
#define LOOK_NS (EK_S_NS / 10)
#define SPENT_MAX_S 20000.0 /* of people's waiting: a bucket that holds more forgets half */
#define SPENT_LITTLE_S 60.0 /* less says little: taken as if nobody had left in that long */

static const double span_s[EK_FLUX_SPANS] = {60, 600};

static double faded(double since_s, double memory_s)
{
    return since_s <= 0 ? 1.0 : exp(-since_s / memory_s);
}

void ek_flux_came(struct ek_flux *f, uint64_t now_ns)
{
    double since_s = (double)ek_ns_since(now_ns, f->at_ns[0]) * 1e-9;
    if (f->born_ns == 0) f->born_ns = now_ns;
    for (int k = 0; k < EK_FLUX_SPANS; k++) f->came[k] = f->came[k] * faded(since_s, span_s[k]) + 1;
    f->at_ns[0] = now_ns;
}

/* Where a lead lies among the buckets, which end at 2^k - 1: its number and how far inside. */
static uint32_t lead_bucket(double lead, double *inside)
{
    double x = lead > 0 ? lead + 1 : 1;
    int exponent;
    double mantissa = frexp(x, &exponent); /* x = mantissa 2^exponent, 0.5 <= mantissa < 1 */
    uint32_t k = (uint32_t)(exponent - 1);
    *inside = 2 * mantissa - 1;
    if (k < EK_FLUX_LEADS) return k;
    *inside = 1;
    return EK_FLUX_LEADS - 1;
}

void ek_flux_waits(struct ek_flux *f, double lead, uint64_t now_ns)
{
    double inside;
    double keep = faded((double)ek_ns_since(now_ns, f->at_ns[1]) * 1e-9, LEAD_S);
    for (uint32_t k = 0; k < EK_FLUX_LEADS; k++) f->by_lead[k] *= keep;
    f->by_lead[lead_bucket(lead, &inside)] += 1;
    f->at_ns[1] = now_ns;
}

/* Seconds that a faded sum stands for: all of its memory, or less while it is young. */
static double stands_for_s(const struct ek_flux *f, double memory_s, uint64_t now_ns)
{
    double age_s = (double)ek_ns_since(now_ns, f->born_ns) * 1e-9;
    return memory_s * (1 - faded(age_s + BEFORE_S, memory_s));
}

static void look(struct ek_flux *f, uint64_t now_ns)
{
    if (f->seen_ns && ek_ns_since(now_ns, f->seen_ns) < LOOK_NS) return;
    f->seen_ns = now_ns;
    double since_s = (double)ek_ns_since(now_ns, f->at_ns[0]) * 1e-9;
    for (int k = 0; k < EK_FLUX_SPANS; k++)
        f->rate[k] = f->came[k] * faded(since_s, span_s[k]) / stands_for_s(f, span_s[k], now_ns);
    double keep = faded((double)ek_ns_since(now_ns, f->at_ns[1]) * 1e-9, LEAD_S) /
                  stands_for_s(f, LEAD_S, now_ns);
    double sum = 0;
    for (uint32_t k = 0; k < EK_FLUX_LEADS; k++) {
        sum += f->by_lead[k] * keep;
        f->below[k] = sum;
    }
}

double ek_flux_rate(struct ek_flux *f, double horizon_s, uint64_t now_ns)
{
    MUST(horizon_s >= 0);
    if (f->born_ns == 0) return 0;
    look(f, now_ns);
    double part = horizon_s / (horizon_s + span_s[EK_FLUX_MINUTE]);
    return f->rate[EK_FLUX_MINUTE] + (f->rate[EK_FLUX_TEN] - f->rate[EK_FLUX_MINUTE]) * part;
}

const double *ek_flux_profile(struct ek_flux *f, uint64_t now_ns)
{
    if (f->born_ns) look(f, now_ns);
    return f->below;
}

double ek_flux_overtaking(const double below[EK_FLUX_LEADS], double lead)
{
    double inside;
    if (lead <= 0) return 0;
    uint32_t k = lead_bucket(lead, &inside);
    double from = k ? below[k - 1] : 0;
    return from + (below[k] - from) * inside;
}

static uint32_t age_bucket(double age_s)
{
    int exponent;
    if (age_s < 1) return 0;
    frexp(age_s, &exponent);
    return exponent < EK_FLUX_AGES ? (uint32_t)exponent : EK_FLUX_AGES - 1;
}

void ek_leaving_end(struct ek_leaving *l, double waited_s, bool left)
{
    MUST(waited_s >= 0);
    uint32_t last = age_bucket(waited_s);
    double from_s = 0, to_s = 1;
    for (uint32_t k = 0; k <= last; k++) {
        l->spent_s[k] += (k == last ? waited_s : to_s) - from_s;
        from_s = to_s;
        to_s *= 2;
    }
    l->left[last] += left;
    for (uint32_t k = 0; k <= last; k++) {
        if (l->spent_s[k] < SPENT_MAX_S) continue;
        l->spent_s[k] /= 2;
        l->left[k] /= 2;
    }
}

static double hazard_at(const struct ek_leaving *l, uint32_t k)
{
    return l->left[k] / (l->spent_s[k] + SPENT_LITTLE_S);
}

double ek_leaving_hazard(const struct ek_leaving *l, double age_s)
{
    uint32_t k = age_bucket(age_s);
    double low_s = k ? ldexp(1, (int)k - 1) : 0;
    double width_s = k ? low_s : 1;
    double at = (age_s - low_s) / width_s - 0.5; /* from the middle of the bucket */
    uint32_t other = at < 0 ? (k ? k - 1 : 0) : (k + 1 < EK_FLUX_AGES ? k + 1 : k);
    double part = fmin(fabs(at), 0.5);
    return hazard_at(l, k) * (1 - part) + hazard_at(l, other) * part;
}
