/* SPDX-License-Identifier: MIT */
/* The steps of the fluid. */
#include "policy/fluid.h"

#include "base/must.h"

#include <math.h>

#define WAIT_MAX_S 86400.0
#define STEP_PART 0.25
#define BURSTS 4.0      /* arrivals are this much burstier than Poisson's */

struct state {
    double x, lead, at_s;
    double count[EK_FLUID_TIERS_MAX];
    double rate[EK_FLUID_TIERS_MAX];
    double inflow; /* of the last step: what came before me, a second */
};

/* The rate is dealt by weight; a tier with nothing waiting takes at most what comes. */
static void deal(const struct ek_fluid_ask *q, struct state *s)
{
    double rest = q->rate, weights = 0;
    uint32_t open = 0;
    for (uint32_t t = 0; t < q->tiers; t++) {
        s->rate[t] = 0;
        if (t != q->own && s->count[t] <= 0 && q->tier[t].coming <= 0) continue;
        open |= 1u << t;
        weights += q->tier[t].weight;
    }
    for (uint32_t again = 1; again;) {
        again = 0;
        for (uint32_t m = open; m; m &= m - 1) {
            uint32_t t = (uint32_t)__builtin_ctz(m);
            if (t == q->own || s->count[t] > 0) continue;
            if (q->tier[t].coming > rest * q->tier[t].weight / weights) continue;
            s->rate[t] = q->tier[t].coming;
            rest -= s->rate[t];
            weights -= q->tier[t].weight;
            open &= ~(1u << t);
            again = 1;
        }
    }
    for (uint32_t m = open; m; m &= m - 1) {
        uint32_t t = (uint32_t)__builtin_ctz(m);
        s->rate[t] = rest * q->tier[t].weight / weights;
    }
}

/* Tiers whose clocks lag are served alone until they are level: before me, or to my good. */
static void level(const struct ek_fluid_ask *q, struct state *s)
{
    double ahead = HUGE_VAL; /* of the own tier before the next one, in its own requests */
    for (uint32_t t = 0; t < q->tiers; t++) {
        const struct ek_fluid_tier *o = &q->tier[t];
        s->count[t] = t == q->own ? 0 : o->count;
        if (t == q->own || o->count <= 0) continue;
        ahead = fmin(ahead, -o->credit / o->weight * q->tier[q->own].weight);
        if (o->credit <= 0) continue;
        double first = fmin(o->count, o->credit);
        s->count[t] -= first;
        s->at_s += first / q->rate;
    }
    if (!(ahead > 0) || ahead >= HUGE_VAL) return;
    double mine = fmin(s->x, ahead);
    s->x -= mine;
    s->at_s += mine / q->rate;
}

static double others(const struct ek_fluid_ask *q, struct state *s, double dt_s, bool move)
{
    double first_s = dt_s;
    for (uint32_t t = 0; t < q->tiers; t++) {
        const struct ek_fluid_tier *o = &q->tier[t];
        if (t == q->own) continue;
        if (s->count[t] <= 0) {
            s->inflow += s->rate[t];
            if (move && o->coming > s->rate[t]) s->count[t] = (o->coming - s->rate[t]) * dt_s;
            continue;
        }
        double leave = s->count[t] * ek_leaving_hazard(o->leaving, o->age_s + s->at_s);
        double fall = s->rate[t] - o->coming + leave;
        if (move) s->count[t] = fmax(0, s->count[t] - fall * dt_s);
        else if (fall > 0 && s->count[t] / fall < first_s) first_s = fmax(s->count[t] / fall, 0.05 * dt_s);
    }
    return first_s;
}

/* true: X is used up. */
static bool step(const struct ek_fluid_ask *q, struct state *s)
{
    const struct ek_fluid_tier *own = &q->tier[q->own];
    deal(q, s);
    double mine = s->rate[q->own];
    double leave = s->x * ek_leaving_hazard(own->leaving, own->age_s + s->at_s);
    double passed = ek_flux_overtaking(q->below, s->lead);
    double fall = mine + leave - passed;
    double dt_s = fmax(STEP_PART * s->x / (mine + leave), STEP_PART * s->at_s);
    s->inflow = 0;
    dt_s = others(q, s, dt_s, false);
    if (fall > 0 && s->x <= fall * dt_s) {
        s->at_s += s->x / fall;
        s->x = 0;
        s->inflow += passed;
        return true;
    }
    s->inflow = 0;
    others(q, s, dt_s, true);
    s->inflow += passed;
    s->x -= fall * dt_s;
    s->lead = fmax(0, s->lead - mine / fmax(q->members, 1) * dt_s);
    s->at_s += dt_s;
    return s->at_s > WAIT_MAX_S;
}

struct ek_fluid_wait ek_fluid_wait(const struct ek_fluid_ask *q)
{
    struct state s = {.x = q->count + EK_FLUID_MINE, .lead = q->lead};
    struct ek_fluid_wait w;
    MUST(q->rate > 0 && q->count >= 0);
    MUST(q->own < q->tiers && q->tiers <= EK_FLUID_TIERS_MAX);
    level(q, &s);
    uint32_t steps = 0;
    bool over = s.x <= 0;
    while (!over && steps++ < EK_FLUID_STEPS) over = step(q, &s);
    if (!over) s.at_s += s.x / fmax(s.rate[q->own], 0.01 * q->rate); /* crowded out for as far as one sees */
    w.wait_s = fmin(s.at_s, WAIT_MAX_S);
    /* Counts of departures and of what came in between are random; over the pace at the end they are time. */
    double pace = fmax(q->rate - s.inflow, 0.1 * q->rate);
    double var = w.wait_s * (q->rate + BURSTS * s.inflow);
    double spread2 = var / (pace * pace * w.wait_s * w.wait_s) + 1 / fmax(q->done, 1);
    w.spread = fmin(fmax(sqrt(spread2), EK_FLUID_SPREAD_MIN), EK_FLUID_SPREAD_MAX);
    return w;
}
