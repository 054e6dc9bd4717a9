/* SPDX-License-Identifier: MIT */
/* Estimates of the first token, which is what a reader feels: the order says how much work goes before
 * (order.h), the pace of the pool how long that takes (estimate.h), the starts before this one how long it is
 * from the turn to the first token (first.h), and the errors of the waits before this one how far to trust it
 * (conform.h). */
#include "policy/desk_state.h"

#include "base/must.h"

#include <math.h>

#define RETRY_MIN_MS 1000.0
#define RETRY_MAX_MS 60000.0
#define RETRY_UNKNOWN_MS 5000.0 /* nothing measured yet: come back in about 5 to 10 s */
#define ETA_MS_MAX (24 * 3600 * 1000.0)
#define READING (1.0 / 16) /* of a token that is made: the slot time of one that is read */
#define WAIT_MIN_S 1e-3
#define FEW 64u /* run: beyond that departures are a stream, and the mean rate tells all there is to tell */
#define SPACING_MIN_NS (EK_S_NS / 10)
#define SPACING_NS (2 * EK_MS_NS)     /* for each that runs, between two curves of departures */

/* Cost of a mean request, as departures say, else as those who wait say. */
static double mean_cost(const struct ek_policy *p, uint32_t index, const struct ek_order_ahead *a)
{
    const struct ek_pace *pace = &p->pool[index].pace;
    double work = a->work, count = a->count;
    if (pace->memory[EK_PACE_SLOW].done > 0)
        return fmax(pace->memory[EK_PACE_SLOW].work / pace->memory[EK_PACE_SLOW].done, 1e-9);
    for (uint32_t t = 0; t < p->tiers; t++) {
        work += (double)p->order.class[index][t].flows.work;
        count += p->order.class[index][t].flows.count;
    }
    return count > 0 ? fmax(work / count, 1e-9) : 1.0;
}

static void tier_of_fluid(struct ek_policy *p, uint32_t t, uint32_t index, double clock, double mean,
                          double horizon_s, uint64_t now_ns, struct ek_fluid_tier *to)
{
    struct ek_desk_pool *pool = &p->pool[index];
    const struct ek_fair *f = &p->order.class[index][t].flows;
    uint32_t n = pool->told[t];
    if (f->count > 0) mean = fmax((double)f->work / f->count, 1e-9);
    *to = (struct ek_fluid_tier){.weight = p->order.weight[t] / mean, .count = f->count,
                                 .coming = ek_flux_rate(&pool->flux[t], horizon_s, now_ns),
                                 .leaving = &p->leaving[t]};
    to->credit = (clock - p->order.clock[p->order.group[index]][t]) * to->weight;
    if (n) to->age_s = fmax(0, (double)now_ns * 1e-9 - (double)pool->told_ms[t] / n * 1e-3);
}

/* The turn, and from there to the first token: two times that do not depend on each other. */
static void add_first_token(const struct ek_policy *p, uint32_t index, uint32_t prompt_tokens,
                            const struct ek_fluid_wait *line, struct ek_desk_wait *w)
{
    struct ek_first_guess first = ek_first_guess(&p->pool[index].first, prompt_tokens);
    if (first.known <= 0) {
        first.mean_s = ek_desk_first_token_s(p, index, prompt_tokens);
        first.sd_s = first.mean_s / 2;
    }
    double sd_s = hypot(line->spread * line->wait_s, first.sd_s);
    w->line_s = line->wait_s;
    w->raw_s = line->wait_s + first.mean_s;
    w->spread = fmin(fmax(sd_s / w->raw_s, EK_FLUID_SPREAD_MIN), EK_FLUID_SPREAD_MAX);
}

/* ---- when slots come free ------------------------------------------------------------------------------ */

void ek_desk_slot_taken(struct ek_policy *p, const struct ek_desk_entry *e, uint8_t priced_step)
{
    struct ek_desk_service *s = ek_desk_service_of(p, e);
    MUST(e->state == ENTRY_RUNNING);
    if (e->lent) return;
    double output = e->output_tokens;
    if (e->step != priced_step) {
        struct ek_predict_key key = ek_desk_key(p, e);
        struct ek_prediction guess = ek_predict_output(&p->predict, &key);
        if (guess.known) output = guess.mean;
    }
    if (e->tokens < output) output -= e->tokens; /* made before, elsewhere */
    s->tokens = (float)fmax(output + e->prompt_tokens * READING, 1);
    ek_life_began(&p->pool[e->pool].life, (double)s->tokens, &s->life_at);
}

void ek_desk_slot_left(struct ek_policy *p, const struct ek_desk_entry *e, bool counts, uint64_t now_ns)
{
    struct ek_desk_service *s = ek_desk_service_of(p, e);
    struct ek_life *life = &p->pool[e->pool].life;
    double slot_s = (double)ek_ns_since(now_ns, s->mark.sent_ns) * 1e-9;
    if (s->tokens < 1) return;
    if (counts) ek_life_ended(life, (double)s->tokens, slot_s, &s->life_at);
    else ek_life_taken(life, s->life_at);
    s->tokens = 0;
}

static void add_running(struct ek_policy *p, struct ek_list *list, struct ek_desk_pool *pool, double speed,
                        uint64_t now_ns)
{
    EK_LIST_EACH(list, n) {
        const struct ek_desk_entry *e = EK_CONTAINER(n, struct ek_desk_entry, link);
        const struct ek_desk_service *s = ek_desk_service_of(p, e);
        if (e->lent || s->tokens < 1 || !(pool->mask >> e->upstream & 1)) continue;
        double age_s = (double)ek_ns_since(now_ns, s->mark.sent_ns) * 1e-9;
        ek_vacancy_add(&pool->vacancy, &p->pool[e->pool].life, (double)s->tokens, age_s, speed);
    }
}

/* Worked out anew when something changed, not more often than so many milliseconds as run. */
static const struct ek_vacancy *vacancy_of(struct ek_policy *p, struct ek_desk_pool *pool, double rate,
                                           uint64_t now_ns)
{
    struct ek_vacancy *v = &pool->vacancy;
    uint64_t old_ns = ek_ns_since(now_ns, v->at_ns);
    bool stale = v->changes != p->service_changes || (double)old_ns * 1e-9 > v->step_s / 2;
    if (v->at_ns && (!stale || old_ns < v->running * SPACING_NS)) return v;
    struct ek_vacancy old = *v;
    double speed = ek_pace_speed(&pool->pace) * ek_vacancy_factor(v);
    ek_vacancy_begin(v, &pool->life, fmax(ek_pace_slot_s(&pool->pace), 1e-3), speed);
    add_running(p, &p->running, pool, speed, now_ns);
    add_running(p, &p->stopping, pool, speed, now_ns);
    ek_vacancy_end(v, &pool->life, speed, rate, now_ns);
    if (old.at_ns && old.running == v->running) /* taken again at once: there was a line */
        ek_vacancy_learn(v, &old, (double)old_ns * 1e-9, pool->ends - old.ends);
    v->changes = p->service_changes;
    v->ends = pool->ends;
    return v;
}

static void count_lives(struct ek_policy *p, struct ek_list *list, uint64_t now_ns)
{
    EK_LIST_EACH(list, n) {
        const struct ek_desk_entry *e = EK_CONTAINER(n, struct ek_desk_entry, link);
        struct ek_desk_service *s = ek_desk_service_of(p, e);
        if (e->lent || s->tokens < 1) continue;
        ek_life_lasts(&p->pool[e->pool].life, (double)s->tokens,
                      (double)ek_ns_since(now_ns, s->mark.sent_ns) * 1e-9, &s->life_at);
    }
}

void ek_desk_count_lives(struct ek_policy *p, uint64_t now_ns)
{
    uint64_t running = p->running.count + p->stopping.count;
    if (running == 0 || running > FEW) return;
    if (now_ns < p->lives_ns + running * SPACING_NS + SPACING_MIN_NS) return;
    p->lives_ns = now_ns;
    count_lives(p, &p->running, now_ns);
    count_lives(p, &p->stopping, now_ns);
}

/* The fluid at the mean pace of the time that it takes: found in two turns. */
static struct ek_fluid_wait fluid_wait(struct ek_policy *p, struct ek_desk_pool *pool, struct ek_fluid_ask *q,
                                       uint64_t now_ns)
{
    struct ek_fluid_wait w = ek_fluid_wait(q);
    uint32_t slots = ek_desk_pool_slots(p, pool);
    if (p->running.count + p->stopping.count > FEW) return w;
    const struct ek_vacancy *v = vacancy_of(p, pool, q->rate, now_ns);
    if (v->running == 0) return w;
    double old_s = (double)ek_ns_since(now_ns, v->at_ns) * 1e-9;
    double surplus = v->running > slots ? v->running - slots : 0;
    for (int turn = 0; turn < 2; turn++) {
        double gone = ek_vacancy_gone(v, old_s, surplus, w.wait_s);
        double n = turn ? gone : fmax(gone, EK_FLUID_MINE);
        q->rate = fmax(n / fmax(w.wait_s, 1e-6), 1e-6);
        w = ek_fluid_wait(q);
    }
    w.wait_s = fmax(ek_vacancy_until(v, old_s, surplus, q->rate * w.wait_s), WAIT_MIN_S);
    return w;
}

/* ---- the wait ------------------------------------------------------------------------------------------ */

static struct ek_desk_wait wait_behind(struct ek_policy *p, uint32_t tier, uint32_t index,
                                       const struct ek_order_ahead *a, uint32_t prompt_tokens,
                                       uint64_t now_ns)
{
    struct ek_desk_pool *pool = &p->pool[index];
    struct ek_desk_wait w = {.position = 1 + (uint32_t)lround(a->count), .eta_ms = -1, .eta_p90_ms = -1};
    struct ek_fluid_ask q;
    ek_desk_tick_pool(p, pool, now_ns);
    double mean = mean_cost(p, index, a);
    w.lead = a->lead / mean;
    q.rate = ek_pace_turnover(&pool->pace, ek_desk_pool_slots(p, pool));
    if (q.rate <= 0) return w;
    q.tiers = p->tiers;
    q.own = tier;
    q.count = a->class_count;
    q.lead = w.lead;
    q.members = a->members;
    q.done = pool->pace.memory[EK_PACE_SLOW].done;
    for (uint32_t t = 0; t < p->tiers; t++)
        tier_of_fluid(p, t, index, a->clock, mean, a->count / q.rate, now_ns, &q.tier[t]);
    q.below = ek_flux_profile(&pool->flux[tier], now_ns);
    struct ek_fluid_wait raw = fluid_wait(p, pool, &q, now_ns);
    w.kind = ek_conform_depth(w.position) + (w.lead > 1 ? EK_CONFORM_DEPTHS : 0);
    add_first_token(p, index, prompt_tokens, &raw, &w);
    struct ek_band b = ek_conform_band(&p->conform[tier][w.kind], w.raw_s, w.spread);
    w.known = true;
    w.eta_ms = (int64_t)fmin(b.p50_s * 1000.0, ETA_MS_MAX);
    w.eta_p90_ms = (int64_t)fmin(b.p90_s * 1000.0, ETA_MS_MAX);
    MUST(w.eta_p90_ms >= w.eta_ms);
    return w;
}

struct ek_desk_wait ek_desk_wait_of(struct ek_policy *p, const struct ek_desk_entry *e, uint64_t now_ns)
{
    MUST(e->state == ENTRY_WAITING);
    struct ek_order_ahead a = ek_order_ahead(&p->order, &e->item);
    return wait_behind(p, e->tier, e->pool, &a, e->prompt_tokens, now_ns);
}

struct ek_desk_wait ek_desk_wait_of_new(struct ek_policy *p, uint32_t tier, uint32_t pool, uint64_t who,
                                        uint32_t prompt_tokens, uint64_t now_ns)
{
    struct ek_order_ahead a = ek_order_ahead_of_new(&p->order, tier, pool, who);
    return wait_behind(p, tier, pool, &a, prompt_tokens, now_ns);
}

void ek_desk_would_wait(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a, uint32_t pool,
                        struct ek_action *out)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(a->tier < p->tiers && pool < p->pools);
    *out = (struct ek_action){.act = EK_DESK_TELL};
    if (p->pool[pool].waiting == 0 && ek_desk_has_room(p, &p->pool[pool])) {
        out->eta_ms = (int64_t)(ek_desk_first_token_s(p, pool, a->prompt_tokens) * 1e3);
        out->eta_p90_ms = out->eta_ms;
        return;
    }
    uint64_t payer = a->owner ? a->owner : a->account;
    struct ek_desk_wait w = ek_desk_wait_of_new(p, a->tier, pool, payer, a->prompt_tokens, now.mono_ns);
    out->position = w.position;
    out->eta_ms = w.eta_ms;
    out->eta_p90_ms = w.eta_p90_ms;
}

void ek_desk_show(struct ek_policy *p, struct ek_desk_entry *e, const struct ek_desk_wait *w,
                  const struct ek_action *shown, uint64_t now_ns)
{
    struct ek_desk_pool *pool = &p->pool[e->pool];
    MUST(e->state == ENTRY_WAITING && e->shown_kind == EK_DESK_NOT_SHOWN);
    e->shown = (struct ek_desk_shown){.at_ms = (uint32_t)ek_desk_ms(now_ns), .p50_ms = (int32_t)shown->eta_ms,
                                      .p90_ms = (int32_t)shown->eta_p90_ms, .raw_s = (float)w->raw_s,
                                      .spread = (float)w->spread};
    e->shown_kind = w->kind & 15u;
    pool->told[e->tier]++;
    pool->told_ms[e->tier] += ek_desk_ms(now_ns);
    ek_flux_waits(&pool->flux[e->tier], w->lead, now_ns);
}

/* ---- was it true? --------------------------------------------------------------------------------------
 *
 *     shown ──start──▶ goes along (struct ek_desk_service) ──first token──▶ scored
 *       │  ◀───back, no token yet───┘                 └──ended without──▶ scored if p90 had passed, else
 *       └──left the line──────────────────────────────────────────────▶ nobody knows: not scored        */

static void score(struct ek_policy *p, const struct ek_desk_entry *e, const struct ek_desk_shown *s,
                  uint32_t kind, bool first_token, uint64_t now_ns)
{
    struct ek_desk_truth *t = &p->stats.truth[e->tier];
    MUST(kind < EK_DESK_NOT_SHOWN && e->tier < EK_DESK_TIERS_MAX);
    double wait_s = ek_desk_ms_since(now_ns, s->at_ms) * 1e-3;
    double error_s = wait_s - (double)s->p50_ms * 1e-3;
    bool held90 = wait_s <= (double)s->p90_ms * 1e-3;
    bool held50 = error_s <= 0;
    if (!first_token && held90) return; /* gone before the time was up */
    t->shown++;
    t->within_p50 += held50;
    t->within_p90 += held90;
    t->wait_s += wait_s;
    t->error_s += error_s;
    t->error_abs_s += fabs(error_s);
    double x = ek_conform_score((double)s->raw_s, (double)s->spread, wait_s);
    ek_conform_add(&p->conform[e->tier][kind], x, held50, held90, wait_s, now_ns);
}

/* The line is one shorter: of those who were told, how long they wait, and how they leave. */
static void untell(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns, bool left)
{
    struct ek_desk_pool *pool = &p->pool[e->pool];
    uint64_t now_ms = ek_desk_ms(now_ns);
    uint64_t shown_ms = now_ms - (uint32_t)((uint32_t)now_ms - e->shown.at_ms);
    MUST(e->state == ENTRY_WAITING && e->shown_kind != EK_DESK_NOT_SHOWN);
    MUST(pool->told[e->tier] > 0 && pool->told_ms[e->tier] >= shown_ms);
    pool->told[e->tier]--;
    pool->told_ms[e->tier] -= shown_ms;
    e->shown_kind = EK_DESK_NOT_SHOWN;
    ek_leaving_end(&p->leaving[e->tier], ek_desk_ms_since(now_ns, e->shown.at_ms) * 1e-3, left);
}

void ek_desk_promise_drop(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns)
{
    MUST(e->state == ENTRY_WAITING);
    if (e->shown_kind != EK_DESK_NOT_SHOWN) untell(p, e, now_ns, true);
}

void ek_desk_score_left(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns)
{
    uint32_t kind = e->shown_kind;
    MUST(e->state == ENTRY_WAITING);
    if (kind == EK_DESK_NOT_SHOWN) return;
    untell(p, e, now_ns, true);
    score(p, e, &e->shown, kind, false, now_ns);
}

struct ek_desk_shown ek_desk_promise_take(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns,
                                          uint32_t *kind)
{
    MUST(e->state == ENTRY_WAITING);
    *kind = e->shown_kind;
    if (*kind != EK_DESK_NOT_SHOWN) untell(p, e, now_ns, false);
    return e->shown;
}

void ek_desk_promise_kept(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns)
{
    struct ek_desk_service *s = ek_desk_service_of(p, e);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    double took_s = (double)ek_ns_since(now_ns, s->mark.sent_ns) * 1e-9;
    if (s->waited) ek_first_learn(&p->pool[e->pool].first, e->prompt_tokens, took_s);
    if (s->shown_kind != EK_DESK_NOT_SHOWN) score(p, e, &s->shown, s->shown_kind, true, now_ns);
    s->shown_kind = EK_DESK_NOT_SHOWN;
    s->waited = false;
}

void ek_desk_promise_void(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns)
{
    struct ek_desk_service *s = ek_desk_service_of(p, e);
    if (s->shown_kind != EK_DESK_NOT_SHOWN) score(p, e, &s->shown, s->shown_kind, false, now_ns);
    s->shown_kind = EK_DESK_NOT_SHOWN;
    s->waited = false;
}

void ek_desk_promise_return(struct ek_policy *p, struct ek_desk_entry *e, const struct ek_desk_shown *shown,
                            uint32_t kind, uint64_t now_ns)
{
    struct ek_desk_pool *pool = &p->pool[e->pool];
    uint64_t now_ms = ek_desk_ms(now_ns);
    MUST(e->state == ENTRY_WAITING && e->shown_kind == EK_DESK_NOT_SHOWN);
    if (kind == EK_DESK_NOT_SHOWN) return;
    e->shown = *shown;
    e->shown_kind = kind & 15u;
    pool->told[e->tier]++;
    pool->told_ms[e->tier] += now_ms - (uint32_t)((uint32_t)now_ms - shown->at_ms);
}

/* ---- when to come back --------------------------------------------------------------------------------- */

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
