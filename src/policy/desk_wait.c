/* SPDX-License-Identifier: MIT */
/* Estimates: the order says how much work goes before (order.h), the pace of the pool how long that takes
 * (estimate.h), and the errors of the waits before this one how far to trust it (conform.h). */
#include "policy/desk_state.h"

#include "base/must.h"

#include <math.h>

#define RETRY_MIN_MS 1000.0
#define RETRY_MAX_MS 60000.0
#define RETRY_UNKNOWN_MS 5000.0 /* nothing measured yet: come back in about 5 to 10 s */
#define ETA_MS_MAX (24 * 3600 * 1000.0)

static const double arriving_s[2] = {60, 600};

void ek_desk_arriving(struct ek_desk_pool *pool, uint32_t tier, double work, uint64_t now_ns)
{
    double since_s = (double)ek_ns_since(now_ns, pool->arriving_ns) * 1e-9;
    MUST(tier < EK_DESK_TIERS_MAX);
    for (uint32_t k = 0; k < 2; k++) {
        double keep = exp(-since_s / arriving_s[k]);
        for (uint32_t t = 0; t < EK_DESK_TIERS_MAX; t++) pool->arriving[k].work[t] *= keep;
        pool->arriving[k].work[tier] += work;
    }
    pool->arriving_ns = now_ns;
}

/* Nano-units a second that come for a tier: the last minute speaks for short waits, ten for long ones. */
static double arrival_rate(const struct ek_desk_pool *pool, uint32_t tier, double horizon_s, uint64_t now_ns)
{
    uint32_t k = horizon_s > arriving_s[0];
    double keep = exp(-(double)ek_ns_since(now_ns, pool->arriving_ns) * 1e-9 / arriving_s[k]);
    return pool->arriving[k].work[tier] * keep / arriving_s[k];
}

/* Nano-units a second that later arrivals of tiers with nothing left to serve will take before this one. */
static double overtaking(const struct ek_policy *p, uint32_t tier, const struct ek_desk_pool *pool,
                         const struct ek_order_ahead *a, double rate, uint64_t now_ns)
{
    double sum = 0;
    if (rate <= 0) return 0;
    for (uint32_t t = 0; t < p->tiers; t++) {
        if (t == tier || !(a->drained >> t & 1)) continue;
        double pair = p->order.weight[t] + p->order.weight[tier];
        double most = rate * p->order.weight[t] / pair;
        sum += fmin(arrival_rate(pool, t, a->work / rate, now_ns), most);
    }
    return sum;
}

/* Nano-units of later arrivals in its own tier, of accounts that had nothing waiting, that go before one who
 * waits behind others of its own account: until virtual time has come to its turn. */
static double newcomers(const struct ek_policy *p, uint32_t tier, const struct ek_desk_pool *pool,
                        const struct ek_order_ahead *a, double rate, uint64_t now_ns)
{
    if (a->lead <= 0 || rate <= 0) return 0;
    double own_rate = rate * ek_order_share(&p->order, tier, (uint32_t)(pool - p->pool));
    double until_s = a->lead * (a->members + 1) / own_rate;
    double others = arrival_rate(pool, tier, until_s, now_ns) * (1 - a->flow_share);
    return others * fmin(until_s, a->work / own_rate + until_s / 2);
}

static struct ek_desk_wait wait_behind(struct ek_policy *p, uint32_t tier, uint32_t index,
                                       const struct ek_order_ahead *a, uint64_t now_ns)
{
    struct ek_desk_pool *pool = &p->pool[index];
    struct ek_desk_wait w = {.position = 1 + (uint32_t)lround(a->count), .eta_ms = -1, .eta_p90_ms = -1};
    ek_desk_tick_pool(p, pool, now_ns);
    uint32_t slots = ek_desk_pool_slots(p, pool);
    double rate = ek_pace_rate(&pool->pace, slots);
    double work = 0, count = 0;
    for (uint32_t t = 0; t < p->tiers; t++) {
        work += (double)p->order.class[index][t].flows.work;
        count += p->order.class[index][t].flows.count;
    }
    double mean = count > 0 ? work / count : a->count > 0 ? a->work / a->count : 1.0;
    if (pool->pace.memory[EK_PACE_SLOW].done > 0)
        mean = pool->pace.memory[EK_PACE_SLOW].work / pool->pace.memory[EK_PACE_SLOW].done;
    mean = fmax(mean, 1e-9);
    double more = newcomers(p, tier, pool, a, rate, now_ns);
    struct ek_wait_ask q = {.work = a->work + more, .count = a->count + more / mean, .mean = mean,
                            .slots = slots, .overtaking = overtaking(p, tier, pool, a, rate, now_ns),
                            .share_min = ek_order_share(&p->order, tier, index)};
    struct ek_wait_raw raw = ek_pace_wait(&pool->pace, &q);
    if (!raw.known) return w;
    w.kind = ek_conform_depth(w.position) + (a->lead > mean ? EK_CONFORM_DEPTHS : 0);
    struct ek_band b = ek_conform_band(&p->conform[tier][w.kind], raw.p50_s, raw.sd_s);
    w.known = true;
    w.raw_s = raw.p50_s;
    w.sd_s = raw.sd_s;
    w.eta_ms = (int64_t)fmin(b.p50_s * 1000.0, ETA_MS_MAX);
    w.eta_p90_ms = (int64_t)fmin(b.p90_s * 1000.0, ETA_MS_MAX);
    MUST(w.eta_p90_ms >= w.eta_ms);
    return w;
}

struct ek_desk_wait ek_desk_wait_of(struct ek_policy *p, const struct ek_desk_entry *e, uint64_t now_ns)
{
    MUST(e->state == ENTRY_WAITING);
    struct ek_order_ahead a = ek_order_ahead(&p->order, &e->item);
    return wait_behind(p, e->tier, e->pool, &a, now_ns);
}

struct ek_desk_wait ek_desk_wait_of_new(struct ek_policy *p, uint32_t tier, uint32_t pool,
                                        uint64_t now_ns)
{
    struct ek_order_ahead a = ek_order_ahead_of_new(&p->order, tier, pool);
    return wait_behind(p, tier, pool, &a, now_ns);
}

void ek_desk_would_wait(struct ek_policy *p, struct ek_now now, uint32_t tier, uint32_t pool,
                        struct ek_action *out)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(tier < p->tiers && pool < p->pools);
    *out = (struct ek_action){.act = EK_DESK_TELL};
    if (p->pool[pool].waiting == 0 && ek_desk_has_room(p, &p->pool[pool])) return;
    struct ek_desk_wait w = ek_desk_wait_of_new(p, tier, pool, now.mono_ns);
    out->position = w.position;
    out->eta_ms = w.eta_ms;
    out->eta_p90_ms = w.eta_p90_ms;
}

void ek_desk_score(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns)
{
    if (!e->first_ns) return;
    MUST(e->tier < EK_DESK_TIERS_MAX);
    struct ek_desk_truth *t = &p->stats.truth[e->tier];
    double wait_s = (double)ek_ns_since(now_ns, e->first_ns) * 1e-9;
    double error_s = wait_s - (double)e->first_p50_ms * 1e-3;
    bool held50 = error_s <= 0;
    bool held90 = wait_s <= (double)e->first_p90_ms * 1e-3;
    t->shown++;
    t->within_p50 += held50;
    t->within_p90 += held90;
    t->wait_s += wait_s;
    t->error_s += error_s;
    t->error_abs_s += fabs(error_s);
    if (e->first_sd_s > 0)
        ek_conform_add(&p->conform[e->tier][e->first_kind],
                       (wait_s - (double)e->first_raw_s) / (double)e->first_sd_s, held50, held90);
    e->first_ns = 0; /* should it come back, it was scored */
}

uint32_t ek_desk_retry_after_ms(struct ek_policy *p, struct ek_desk_pool *pool)
{
    double slots = ek_desk_pool_slots(p, pool);
    double slot_s = ek_pace_slot_s(&pool->pace);
    double spread = ek_random_unit(&p->random);
    if (slots <= 0 || slot_s <= 0) return (uint32_t)(RETRY_UNKNOWN_MS * (1.0 + spread));
    double ms = 1000.0 * (pool->away + 1.0) * slot_s / slots;
    if (ms > RETRY_MAX_MS) return (uint32_t)(RETRY_MAX_MS * (0.75 + 0.25 * spread));
    pool->away += 1.0; /* the next one is promised the next place */
    ms *= 0.8 + 0.4 * spread;
    if (ms < RETRY_MIN_MS) return (uint32_t)(RETRY_MIN_MS * (1.0 + spread));
    return (uint32_t)(ms > RETRY_MAX_MS ? RETRY_MAX_MS : ms);
}
