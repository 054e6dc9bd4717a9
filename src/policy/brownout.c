/* SPDX-License-Identifier: MIT */
/* The controllers. The gains are for a plant whose delay answers within tens of seconds: an error that
 * stays at one target's worth takes full effect in about 90 s. */
#include "policy/brownout.h"

#include "base/must.h"

#define KP 0.1
#define KI 0.01
#define ERROR_MAX 3.0
#define HOLD_S 20.0

void ek_brownout_tiers(struct ek_brownout *b, uint32_t tiers, const double *weight, const double *target_s)
{
    MUST(tiers >= 1 && tiers <= EK_BROWNOUT_TIERS_MAX);
    b->tiers = tiers;
    for (uint32_t t = 0; t < tiers; t++) {
        MUST(target_s[t] > 0);
        b->tier[t].target_s = target_s[t];
        uint32_t at = t;
        while (at > 0 && weight[b->order[at - 1]] > weight[t]) {
            b->order[at] = b->order[at - 1];
            at--;
        }
        b->order[at] = t;
    }
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static void follow(struct ek_brownout_tier *t, double wanted)
{
    const double width = 1.0 / (EK_BROWNOUT_STEPS - 1);
    double at = t->step * width;
    if (t->held_s < HOLD_S) return;
    if (wanted >= at + width && t->step < EK_BROWNOUT_STEPS - 1) t->step++;
    else if (t->step > 0 && wanted < at - width / 3) t->step--;
    else return;
    t->held_s = 0;
}

void ek_brownout_tick(struct ek_brownout *b, double dt_s, const double *delay_s, const bool *present)
{
    MUST(dt_s >= 0);
    for (uint32_t i = 0; i < b->tiers; i++) {
        struct ek_brownout_tier *t = &b->tier[i];
        double e = clamp((delay_s[i] - t->target_s) / t->target_s, -1.0, ERROR_MAX);
        t->integral = clamp(t->integral + KI * e * dt_s, 0, 1);
        t->pressure = clamp(KP * e + t->integral, 0, 1);
        t->held_s += dt_s;
    }
    /* What a tier needs is first asked of those below it. */
    for (uint32_t r = 0; r < b->tiers; r++) {
        struct ek_brownout_tier *t = &b->tier[b->order[r]];
        double wanted = t->pressure;
        bool below = false; /* somebody lighter still thinks */
        for (uint32_t k = 0; k < r; k++) {
            uint32_t other = b->order[k];
            below = below || (present[other] && b->tier[other].step < EK_BROWNOUT_STEPS - 1);
        }
        for (uint32_t k = r + 1; k < b->tiers; k++)
            if (b->tier[b->order[k]].pressure > wanted) wanted = b->tier[b->order[k]].pressure;
        if (below && wanted > 0) {
            if (t->step == 0) wanted = 0;
            else wanted = clamp(wanted, 0, t->step / (EK_BROWNOUT_STEPS - 1.0)); /* no further */
        }
        follow(t, wanted);
    }
}

uint32_t ek_brownout_percent(const struct ek_brownout *b, uint32_t tier)
{
    MUST(tier < b->tiers);
    return 100 - 25 * b->tier[tier].step;
}
