/* SPDX-License-Identifier: MIT */
/* The two controllers at the desk: how long newcomers would wait, and what follows for thinking budgets and,
 * at the last, for who comes in at all. */
#include "policy/desk_state.h"

#include "base/must.h"

#define TICK_NS EK_S_NS
#define NEVER_S 1e12         /* a tier without a target: no wait is that long */
#define BUDGET_MIN 64u       /* a budget that is not 0 leaves room for a sentence or two */

void ek_desk_control_options(struct ek_policy *p, const struct ek_desk_options *o)
{
    double weight[EK_DESK_TIERS_MAX], target_s[EK_DESK_TIERS_MAX];
    _Static_assert(EK_BROWNOUT_TIERS_MAX == EK_DESK_TIERS_MAX, "one bound");
    _Static_assert(EK_SHED_TIERS_MAX == EK_DESK_TIERS_MAX, "one bound");
    MUST(p->tiers >= 1);
    p->brownout_on = o->brownout;
    p->shed_on = o->shed;
    for (uint32_t t = 0; t < p->tiers; t++) {
        weight[t] = (double)p->tier[t].weight;
        target_s[t] = p->tier[t].delay_target_ns ? (double)p->tier[t].delay_target_ns * 1e-9 : NEVER_S;
    }
    ek_brownout_tiers(&p->brownout, p->tiers, weight, target_s);
    ek_shed_tiers(&p->shed, p->tiers, weight);
}

/* How long a newcomer of each tier would wait now, in the pool where it is worst. */
static void delays(struct ek_policy *p, uint64_t now_ns, double *delay_s, bool *present)
{
    for (uint32_t t = 0; t < p->tiers; t++) {
        delay_s[t] = 0;
        present[t] = p->tier_waiting[t] > 0;
        for (uint32_t i = 0; i < p->pools; i++) {
            if (p->pool[i].waiting == 0) continue;
            struct ek_desk_wait w = ek_desk_wait_of_new(p, t, i, now_ns);
            if (w.known && w.raw_s > delay_s[t]) delay_s[t] = w.raw_s;
        }
    }
    for (struct ek_link *n = ek_list_first(&p->running); n; n = ek_list_next(&p->running, n))
        present[EK_CONTAINER(n, struct ek_desk_entry, link)->tier] = true;
}

bool ek_desk_control_busy(const struct ek_policy *p)
{
    if (p->shed_on && ek_shed_active(&p->shed)) return true;
    for (uint32_t t = 0; p->brownout_on && t < p->tiers; t++)
        if (p->brownout.tier[t].step > 0 || p->brownout.tier[t].integral > 0) return true;
    return false;
}

void ek_desk_control(struct ek_policy *p, uint64_t now_ns)
{
    double delay_s[EK_DESK_TIERS_MAX];
    bool present[EK_DESK_TIERS_MAX];
    if (!p->brownout_on && !p->shed_on) return;
    if (now_ns < p->tick_ns + TICK_NS) return;
    double dt_s = (double)(now_ns - p->tick_ns) * 1e-9;
    p->tick_ns = now_ns;
    delays(p, now_ns, delay_s, present);
    if (p->brownout_on) ek_brownout_tick(&p->brownout, dt_s > 5 ? 5 : dt_s, delay_s, present);
    if (!p->shed_on) return;
    bool overloaded = false;
    for (uint32_t t = 0; t < p->tiers; t++) {
        double patience_s = (double)p->tier[t].patience_ns * 1e-9;
        if (p->tier[t].patience_ns && present[t] && delay_s[t] > patience_s) overloaded = true;
    }
    ek_shed_tick(&p->shed, now_ns, overloaded);
}

uint8_t ek_desk_step(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    if (!p->brownout_on || !e->may_shorten) return 0;
    return (uint8_t)p->brownout.tier[e->tier].step;
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
        a->thinking_percent = ek_brownout_percent(&p->brownout, e->tier);
        a->thinking_budget_tokens = (uint32_t)(usual * a->thinking_percent / 100);
        if (a->thinking_percent > 0 && a->thinking_budget_tokens < BUDGET_MIN)
            a->thinking_budget_tokens = BUDGET_MIN;
        p->stats.shortened++;
        MUST(a->thinking_percent < 100);
    }
}
