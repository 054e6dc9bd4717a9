/* SPDX-License-Identifier: MIT */
/* The two controllers at the desk: what they see, and what follows for thinking budgets and, at the last, for
 * who comes in at all. One brownout controller a group of pools that share upstreams; one cursor for all. */
#include "policy/desk_state.h"

#include "base/must.h"


#define TICK_NS EK_S_NS
#define BUDGET_MIN 64u  /* a budget that is not 0 leaves room for a sentence or two */
#define LEARN 256.0     /* whole thoughts remembered */

void ek_desk_control_pool(struct ek_policy *p, uint32_t index)
{
    double target_s[EK_DESK_TIERS_MAX];
    MUST(index < EK_DESK_POOLS_MAX);
    for (uint32_t t = 0; t < p->tiers; t++) target_s[t] = (double)p->tier[t].delay_target_ns * 1e-9;
    ek_brownout_tiers(&p->pool[index].control.brownout, p->tiers, p->order.weight, target_s);
}

void ek_desk_control_options(struct ek_policy *p, const struct ek_desk_options *o)
{
    _Static_assert(EK_BROWNOUT_TIERS_MAX == EK_DESK_TIERS_MAX, "one bound");
    _Static_assert(EK_SHED_TIERS_MAX == EK_DESK_TIERS_MAX, "one bound");
    MUST(p->tiers >= 1);
    p->brownout_on = o->brownout;
    p->shed_on = o->shed;
    for (uint32_t i = 0; i < p->pools; i++) ek_desk_control_pool(p, i);
    ek_shed_tiers(&p->shed, p->tiers, p->order.weight);
}

/* ---- what is seen --------------------------------------------------------------------------------- */

static void see_arrival(struct ek_desk_control *c, uint32_t tier, double whole_nano, bool soft)
{
    double fade = 1.0 - 1.0 / LEARN;
    c->arrivals += 1;
    c->tier[tier].came += whole_nano;
    c->tier[tier].seen = c->tier[tier].seen * fade + whole_nano;
    c->tier[tier].seen_soft = c->tier[tier].seen_soft * fade + (soft ? whole_nano : 0);
    MUST(c->tier[tier].seen_soft <= c->tier[tier].seen * (1 + 1e-9));
}

void ek_desk_saw_arrival(struct ek_policy *p, const struct ek_desk_entry *e, double whole_nano)
{
    struct ek_desk_control *c = &p->pool[e->pool].control;
    MUST(whole_nano >= 0);
    see_arrival(c, e->tier, whole_nano, e->may_shorten);
    double *mean = &c->tier[e->tier].mean;
    *mean = *mean > 0 ? *mean + (whole_nano - *mean) / LEARN : whole_nano;
}

void ek_desk_saw_refused(struct ek_policy *p, const struct ek_arrival *a)
{
    struct ek_desk_control *c = &p->pool[a->pool].control;
    double mean = c->tier[a->tier].mean;
    if (a->retries > 0) return; /* it was counted when it came first */
    see_arrival(c, a->tier, mean, a->thinks && !a->keep_thinking);
}

void ek_desk_saw_more(struct ek_policy *p, const struct ek_desk_entry *e, double nano)
{
    if (e->lent) return; /* neither the work nor the demand of our own machines */
    p->pool[e->pool].control.tier[e->tier].came += nano;
}

void ek_desk_saw_work(struct ek_policy *p, const struct ek_desk_entry *e, double nano)
{
    if (e->lent) return;
    p->pool[e->pool].control.done += nano;
}

/* One whole thought: what part of such work is thought, and what each step would have left of it. */
void ek_desk_saw_thought(struct ek_policy *p, const struct ek_desk_entry *e, uint32_t thought_tokens,
                         double thought_nano, double whole_nano)
{
    struct ek_desk_control *c = &p->pool[e->pool].control;
    struct ek_predict_key key = ek_desk_key(p, e);
    struct ek_prediction usual = ek_predict_thought(&p->predict, &key);
    MUST(thought_nano >= 0 && whole_nano >= 0);
    if (!usual.known) return;
    double fade = 1.0 - 1.0 / LEARN;
    c->tier[e->tier].thought = c->tier[e->tier].thought * fade + thought_nano;
    c->tier[e->tier].whole = c->tier[e->tier].whole * fade + whole_nano;
    for (uint32_t s = 0; s < EK_BROWNOUT_STEPS; s++) {
        double budget = (double)usual.p90 * (EK_BROWNOUT_STEPS - 1 - s) / (EK_BROWNOUT_STEPS - 1);
        c->left[s] = c->left[s] * fade + (s > 0 && budget < thought_tokens ? budget : thought_tokens);
    }
}

/* Adds what pool i saw; clears what is counted from tick to tick. */
static void gather(struct ek_policy *p, uint32_t i, struct ek_brownout_sight *s, double *seen)
{
    struct ek_desk_control *c = &p->pool[i].control;
    s->arrivals += c->arrivals;
    s->done += c->done;
    s->slot_s += p->pool[i].running * s->dt_s;
    s->running += p->pool[i].running;
    for (uint32_t k = 0; k < EK_BROWNOUT_STEPS; k++) s->left[k] += c->left[k];
    for (uint32_t t = 0; t < p->tiers; t++) {
        double share = c->tier[t].whole > 0 ? c->tier[t].thought / c->tier[t].whole : 0;
        seen[t] += c->tier[t].seen;
        s->tier[t].soft += c->tier[t].seen_soft * share;
        s->tier[t].came += c->tier[t].came;
        s->tier[t].waiting += p->order.class[i][t].waiting * c->tier[t].mean;
        c->tier[t].came = 0;
    }
    c->done = c->arrivals = 0;
}

/* What the pools of group g saw. */
static void look(struct ek_policy *p, uint32_t g, double dt_s, struct ek_brownout_sight *s)
{
    double seen[EK_DESK_TIERS_MAX] = {0};
    struct ek_desk_pool all = {0};
    *s = (struct ek_brownout_sight){.dt_s = dt_s, .service_s = ek_pace_slot_s(&p->pool[g].pace)};
    for (uint32_t i = g; i < p->pools; i++) {
        if (p->order.group[i] != g) continue;
        all.mask |= p->pool[i].mask;
        gather(p, i, s, seen);
    }
    s->slots = ek_desk_pool_slots(p, &all);
    double thoughts = s->left[0];
    for (uint32_t k = 0; k < EK_BROWNOUT_STEPS; k++) s->left[k] = thoughts > 0 ? s->left[k] / thoughts : 1.0;
    for (uint32_t t = 0; t < p->tiers; t++) s->tier[t].soft = seen[t] > 0 ? s->tier[t].soft / seen[t] : 0;
}

/* ---- ticks ---------------------------------------------------------------------------------------- */

bool ek_desk_control_busy(const struct ek_policy *p)
{
    if (p->shed_on && ek_shed_active(&p->shed)) return true;
    for (uint32_t i = 0; p->brownout_on && i < p->pools; i++)
        if (ek_brownout_active(&p->pool[i].control.brownout)) return true;
    return false;
}

/* The longest line, as part of what its tier should wait at most. */
static double longest(struct ek_policy *p, uint64_t now_ns)
{
    double line = 0;
    for (uint32_t t = 0; t < p->tiers; t++) {
        double patience_s = (double)p->tier[t].patience_ns * 1e-9;
        for (uint32_t i = 0; i < p->pools && p->tier[t].patience_ns; i++) {
            if (p->order.class[i][t].waiting == 0) continue;
            struct ek_desk_wait w = ek_desk_wait_of_new(p, t, i, 0, 0, now_ns);
            if (w.known && w.line_s > line * patience_s) line = w.line_s / patience_s;
        }
    }
    return line;
}

void ek_desk_control(struct ek_policy *p, uint64_t now_ns)
{
    if (!p->brownout_on && !p->shed_on) return;
    if (now_ns < p->tick_ns + TICK_NS) return;
    double dt_s = (double)(now_ns - p->tick_ns) * 1e-9;
    p->tick_ns = now_ns;
    for (uint32_t i = 0; p->brownout_on && i < p->pools; i++) {
        struct ek_brownout_sight s;
        if (p->order.group[i] != i) continue;
        look(p, i, dt_s, &s);
        ek_brownout_tick(&p->pool[i].control.brownout, &s);
    }
    if (p->shed_on) ek_shed_tick(&p->shed, now_ns, longest(p, now_ns));
}

/* ---- what follows --------------------------------------------------------------------------------- */

uint32_t ek_desk_percent(const struct ek_policy *p, uint32_t tier)
{
    uint32_t least = 100;
    for (uint32_t i = 0; p->brownout_on && i < p->pools; i++) {
        if (p->order.group[i] != i) continue;
        uint32_t percent = ek_brownout_percent(&p->pool[i].control.brownout, tier);
        if (percent < least) least = percent;
    }
    return least;
}

uint32_t ek_desk_thinking_percent(const struct ek_policy *p, uint32_t tier, uint32_t pool)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(tier < p->tiers && pool < p->pools);
    return p->brownout_on ? ek_brownout_percent(&p->pool[p->order.group[pool]].control.brownout, tier) : 100;
}

static const struct ek_brownout *brownout_of(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    return &p->pool[p->order.group[e->pool]].control.brownout;
}

uint8_t ek_desk_step(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    if (!p->brownout_on || !e->may_shorten) return 0;
    return (uint8_t)brownout_of(p, e)->tier[e->tier].step;
}

void ek_desk_shorten(struct ek_policy *p, struct ek_desk_entry *e, struct ek_action *a)
{
    e->step = 0; /* predicted is a thought at its full length */
    struct ek_predict_key key = ek_desk_key(p, e);
    e->step = ek_desk_step(p, e); /* what comes of it is learned for this step */
    a->thinking_budget_tokens = EK_DESK_THINKING_UNLIMITED;
    a->thinking_percent = 100;
    struct ek_prediction thought = {.known = false};
    if (e->step > 0) thought = ek_predict_thought(&p->predict, &key);
    if (!thought.known) e->step = 0; /* no thought of this model was ever seen: nothing to shorten */
    if (e->step > 0) {
        uint64_t usual = thought.p90;
        a->thinking_percent = ek_brownout_percent(brownout_of(p, e), e->tier);
        a->thinking_budget_tokens = (uint32_t)(usual * a->thinking_percent / 100);
        if (a->thinking_percent > 0 && a->thinking_budget_tokens < BUDGET_MIN)
            a->thinking_budget_tokens = BUDGET_MIN;
        p->stats.shortened++;
        MUST(a->thinking_percent < 100);
    }
}
