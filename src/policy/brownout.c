/* SPDX-License-Identifier: MIT */
/* The ladder and its fluid model. */
#include "policy/brownout.h"

#include "base/must.h"

#include <math.h>

#define HORIZON_MIN_S 5.0
#define HORIZON_MAX_S 120.0
#define LAG 0.7        /* of the horizon: slots still taken by those who started before a step */
#define QUICK 6.0      /* demand is filtered over this part of the horizon ... */
#define ENOUGH 30.0    /* ... or over the time in which so many come, */
#define STEADY 3.0     /* and what heavier tiers are asked by over so many times as much, */
#define SLOW 3.0       /* at most over so many horizons */
#define FILLING 0.4    /* 1 - exp(-LAG): how far the slots taken follow the load in that time */
#define UP_DEMAND 1.05 /* margins that must hold before thinking is given back */
#define UP_TARGET 0.5
#define DRAIN 0.15     /* of the horizon, in which the heaviest's line beyond its target is to be gone */
#define ERROR_GAIN 1.0 /* a horizon at twice the target */
#define ERROR_MAX 1.3
#define ERROR_MAX_OWN 3.0 /* of the heaviest tier: only its own thoughts are shortened by it */
#define FORGET 30.0    /* horizons */
#define SLOT_S_ENOUGH 0.3 /* horizons that every slot must have worked before capacity is believed */
#define FILL_BLOCK 0.25   /* of a horizon */
#define FILL_BLOCKS 12.0  /* so many, before anything is made of them */
#define FILL_MEMORY 80.0  /* blocks */
#define FILL_WHOLE 0.98
#define FULL_LEAST 0.88
#define STEPS_DOWN (EK_BROWNOUT_STEPS - 1u)

struct outlook { /* one horizon at one rung; work as part of capacity */
    double want[EK_BROWNOUT_TIERS_MAX]; /* line and newcomers */
    double get[EK_BROWNOUT_TIERS_MAX];
};

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* The step of the tier at this place of the ladder. */
static uint32_t step_at(uint32_t place, uint32_t rung)
{
    uint32_t from = place * STEPS_DOWN;
    uint32_t down = rung > from ? rung - from : 0;
    return down < STEPS_DOWN ? down : STEPS_DOWN;
}

static void stand_at(struct ek_brownout *b, uint32_t rung)
{
    MUST(rung <= b->ladder * STEPS_DOWN);
    if (rung != b->rung) b->since_s = 0;
    b->rung = rung;
    for (uint32_t i = 0; i < b->ladder; i++) b->tier[b->order[i]].step = step_at(i, rung);
}

void ek_brownout_tiers(struct ek_brownout *b, uint32_t tiers, const double *weight, const double *target_s)
{
    MUST(tiers >= 1 && tiers <= EK_BROWNOUT_TIERS_MAX);
    b->tiers = tiers;
    b->ladder = 0;
    if (b->flight <= 0) b->flight = 1.0;
    for (uint32_t t = 0; t < tiers; t++) {
        MUST(target_s[t] >= 0 && weight[t] > 0);
        b->tier[t].target_s = target_s[t];
        b->tier[t].weight = weight[t];
        b->tier[t].step = 0;
        b->tier[t].error = fmax(b->tier[t].error, 1.0);
        if (target_s[t] <= 0) continue;
        uint32_t at = b->ladder++;
        while (at > 0 && weight[b->order[at - 1]] > weight[t]) {
            b->order[at] = b->order[at - 1];
            at--;
        }
        b->order[at] = t;
    }
    uint32_t top = b->ladder * STEPS_DOWN;
    stand_at(b, b->rung < top ? b->rung : top);
}

static double horizon_s(const struct ek_brownout_sight *s)
{
    return clamp(s->service_s, HORIZON_MIN_S, HORIZON_MAX_S);
}

/* The more streams, the slower each. What a slot will do when all are taken, as part of what it did of late:
 * measured in a house two thirds full, capacity would come out a tenth too large, and thinking be given back
 * into the next crowd. Only as far as the line is sure of: by its slope less two standard errors. */
static double when_full(const struct ek_brownout *b)
{
    const double *f = b->fill;
    if (f[0] < FILL_BLOCKS || b->there_s <= 0) return 1.0;
    double x = f[1] / f[0], y = f[3] / f[0];
    double xx = fmax(f[2] / f[0] - x * x, 1e-9), xy = f[4] / f[0] - x * y, yy = f[5] / f[0] - y * y;
    double slope = xy / xx;
    double error = sqrt(fmax(yy - slope * xy, 0) / (xx * f[0]));
    slope = fmin(slope + 2 * error, 0);
    double now = y + slope * (fmin(b->slot_s / b->there_s, 1.0) - x);
    return now > 0 ? clamp((y + slope * (1.0 - x)) / now, FULL_LEAST, 1.0) : 1.0;
}

static double capacity(const struct ek_brownout *b, const struct ek_brownout_sight *s)
{
    bool enough = s->slots > 0 && b->slot_s > SLOT_S_ENOUGH * s->slots * horizon_s(s);
    return enough ? s->slots * b->done / b->slot_s * when_full(b) : 0;
}

static void costs(const struct ek_brownout *b, const struct ek_brownout_sight *s, uint32_t rung,
                  double *cost)
{
    for (uint32_t t = 0; t < b->tiers; t++) cost[t] = 1.0;
    for (uint32_t i = 0; i < b->ladder; i++) {
        uint32_t t = b->order[i];
        cost[t] = 1.0 - s->tier[t].soft * (1.0 - s->left[step_at(i, rung)]);
    }
}

/* What is left, at these costs, of all the work that comes. */
static double mean_cost(const struct ek_brownout *b, const double *cost)
{
    double whole = 0, left = 0;
    for (uint32_t t = 0; t < b->tiers; t++) {
        double come = fmax(b->tier[t].demand, 0); /* what ends early is taken off again: it may be less */
        whole += come;
        left += come * cost[t];
    }
    return whole > 0 ? left / whole : 1.0;
}

/* Max-min by weight: who wants less than its share gets that, the rest is shared among the others. */
static void share(const struct ek_brownout *b, double whole, struct outlook *o)
{
    bool full[EK_BROWNOUT_TIERS_MAX] = {false};
    for (uint32_t round = 0; round < b->tiers; round++) {
        double weights = 0, rest = whole;
        bool changed = false;
        for (uint32_t t = 0; t < b->tiers; t++) {
            if (full[t]) rest -= o->want[t];
            else weights += b->tier[t].weight;
        }
        for (uint32_t t = 0; t < b->tiers; t++) {
            if (full[t]) continue;
            o->get[t] = fmax(rest, 0) * b->tier[t].weight / weights;
            if (o->get[t] < o->want[t]) continue;
            o->get[t] = o->want[t];
            full[t] = changed = true;
        }
        if (!changed) return;
    }
}

enum view {
    VIEW_NOW,   /* this horizon, slots taken by those who started before the step included */
    VIEW_LATER, /* the next, when they are gone */
    VIEW_UP     /* with margins, for one who would give thinking back */
};

/* The first tier of the ladder whose lateness counts at this rung: where the next step would be the
 * heaviest's, its own alone. What the free wait is not paid by the thoughts of those who pay. */
static uint32_t first_that_counts(const struct ek_brownout *b, uint32_t rung)
{
    return rung + STEPS_DOWN >= b->ladder * STEPS_DOWN ? b->ladder - 1 : 0;
}

/* Work in line. Of the heaviest's, what is more than its share does in its target counts several times: a
 * horizon is the time of a whole answer, and nobody of that tier is to wait so long. */
static double line(const struct ek_brownout *b, const struct ek_brownout_sight *s, uint32_t t, double full)
{
    double waiting = s->tier[t].waiting, weights = 0;
    if (b->ladder < 2 || t != b->order[b->ladder - 1]) return waiting;
    for (uint32_t i = 0; i < b->tiers; i++) weights += b->tier[i].weight;
    double allowed = b->tier[t].target_s * full * b->tier[t].weight / weights;
    return waiting <= allowed ? waiting : allowed + (waiting - allowed) / DRAIN;
}

/* What one horizon brings at this rung. */
static void look_ahead(const struct ek_brownout *b, const struct ek_brownout_sight *s, uint32_t rung,
                       enum view view, struct outlook *o)
{
    double cost[EK_BROWNOUT_TIERS_MAX];
    double full = capacity(b, s), h = horizon_s(s);
    MUST(full > 0);
    costs(b, s, rung, cost);
    double wanted = 0, taken = s->running / s->slots;
    for (uint32_t t = 0; t < b->tiers; t++) {
        double come = fmax(view == VIEW_LATER ? b->tier[t].steady : b->tier[t].demand, 0);
        come *= b->tier[t].error * (view == VIEW_UP ? UP_DEMAND : 1.0);
        o->want[t] = cost[t] * (come + line(b, s, t, full) / h) / full;
        o->get[t] = 0;
        wanted += o->want[t];
    }
    double whole = 1.0;
    if (view != VIEW_LATER) whole += LAG * (fmin(1.0, mean_cost(b, cost) / b->flight) - 1.0);
    taken += FILLING * fmax(wanted - taken, 0); /* free now, and still when a step is felt */
    if (view != VIEW_UP) whole += fmax(1.0 - taken, 0);
    share(b, whole, o);
}

static double late(const struct ek_brownout *b, const struct outlook *o, uint32_t t, double h)
{
    double over = o->want[t] - o->get[t];
    if (over <= 1e-9) return 0;
    return over * h / fmax(o->get[t], 1e-9) / b->tier[t].target_s;
}

/* The lowest rung at which nobody is too late, else the highest. */
static uint32_t rung_for(const struct ek_brownout *b, const struct ek_brownout_sight *s, enum view view)
{
    uint32_t top = b->ladder * STEPS_DOWN, rung = 0;
    for (; rung < top; rung++) {
        struct outlook o;
        bool fits = true;
        look_ahead(b, s, rung, view, &o);
        for (uint32_t i = first_that_counts(b, rung); i < b->ladder; i++)
            fits = fits && late(b, &o, b->order[i], horizon_s(s)) <= (view == VIEW_UP ? UP_TARGET : 1.0);
        if (fits) break;
    }
    return rung;
}

static void see_fill(struct ek_brownout *b, const struct ek_brownout_sight *s)
{
    b->block_done += s->done;
    b->block_slot_s += s->slot_s;
    b->block_there_s += s->slots * s->dt_s;
    b->block_s += s->dt_s;
    if (b->block_s < FILL_BLOCK * horizon_s(s)) return;
    /* Only of whole thoughts: where they are shortened, prices and the machine's time part ways. */
    if (b->flight > FILL_WHOLE && b->block_slot_s > 0 && b->block_there_s > 0) {
        double x = fmin(b->block_slot_s / b->block_there_s, 1.0), y = b->block_done / b->block_slot_s;
        const double by[6] = {1, x, x * x, y, x * y, y * y};
        for (int i = 0; i < 6; i++) b->fill[i] = b->fill[i] * (1.0 - 1.0 / FILL_MEMORY) + by[i];
    }
    b->block_done = b->block_slot_s = b->block_there_s = b->block_s = 0;
}

static void see(struct ek_brownout *b, const struct ek_brownout_sight *s)
{
    double h = horizon_s(s), cost[EK_BROWNOUT_TIERS_MAX];
    b->arrivals += (1.0 - exp(-s->dt_s / h)) * (s->arrivals / s->dt_s - b->arrivals);
    double enough_s = ENOUGH / fmax(b->arrivals, 1e-6);
    double quick = 1.0 - exp(-s->dt_s / clamp(enough_s, h / QUICK, h * SLOW));
    b->window_s = clamp(2 * enough_s, h, h * SLOW);
    double steady = 1.0 - exp(-s->dt_s / clamp(STEADY * enough_s, 1.5 * h / QUICK, h * SLOW));
    double keep = exp(-s->dt_s / b->window_s);
    for (uint32_t t = 0; t < b->tiers; t++) {
        b->tier[t].demand += quick * (s->tier[t].came / s->dt_s - b->tier[t].demand);
        b->tier[t].steady += steady * (s->tier[t].came / s->dt_s - b->tier[t].steady);
    }
    b->done = b->done * keep + s->done;
    b->slot_s = b->slot_s * keep + s->slot_s;
    b->there_s = b->there_s * keep + s->slots * s->dt_s;
    see_fill(b, s);
    costs(b, s, b->rung, cost);
    b->flight += (1.0 - exp(-s->dt_s / (h * 0.7))) * (mean_cost(b, cost) - b->flight);
    b->since_s += s->dt_s;
    b->half_s += s->dt_s;
}

/* The line is what it is; where it stays over its target though the model said it would not, more comes, or
 * less is saved, than the model thinks. */
static void correct(struct ek_brownout *b, const struct ek_brownout_sight *s)
{
    double h = horizon_s(s), full = capacity(b, s), cost[EK_BROWNOUT_TIERS_MAX];
    struct outlook o;
    look_ahead(b, s, b->rung, VIEW_NOW, &o);
    costs(b, s, b->rung, cost);
    bool can_do_more = b->rung < b->ladder * STEPS_DOWN;
    for (uint32_t i = 0; i < b->ladder; i++) {
        uint32_t t = b->order[i];
        double *error = &b->tier[t].error;
        double wait_s = cost[t] * s->tier[t].waiting / full / fmax(o.get[t], 1e-3);
        double late = clamp(wait_s / b->tier[t].target_s - 1.0, -1.0, 1.0);
        bool counts = i >= first_that_counts(b, b->rung) && can_do_more && b->since_s > h;
        if (late > 0 && counts) *error += ERROR_GAIN * late * s->dt_s / h;
        if (late <= 0) *error += (1.0 - *error) * fmin(1.0, s->dt_s / (FORGET * h));
        *error = clamp(*error, 1.0, b->ladder > 1 && i == b->ladder - 1 ? ERROR_MAX_OWN : ERROR_MAX);
    }
}

void ek_brownout_tick(struct ek_brownout *b, const struct ek_brownout_sight *s)
{
    MUST(b->tiers >= 1 && s->dt_s > 0);
    MUST(s->left[0] >= 1.0 && s->left[0] <= 1.0);
    see(b, s);
    if (s->slots <= 0 || capacity(b, s) <= 0) return; /* nothing is known: nothing is done */
    correct(b, s);
    uint32_t last = b->ladder > 1 ? (b->ladder - 1) * STEPS_DOWN : STEPS_DOWN;
    uint32_t later = rung_for(b, s, VIEW_LATER), need = rung_for(b, s, VIEW_NOW);
    uint32_t keep = rung_for(b, s, VIEW_UP);
    /* Haste never takes from a heavier tier than the load itself does, and never from the heaviest. */
    uint32_t end = (later + STEPS_DOWN - 1) / STEPS_DOWN * STEPS_DOWN;
    end = end < STEPS_DOWN ? STEPS_DOWN : end > last ? (later > last ? later : last) : end;
    if (need > end) need = end;
    if (keep < need) keep = need;
    if (b->half_s > b->window_s / 2) {
        b->needed[1] = b->needed[0];
        b->needed[0] = 0;
        b->half_s = 0;
    }
    if (keep > b->needed[0]) b->needed[0] = keep;
    uint32_t lately = b->needed[0] > b->needed[1] ? b->needed[0] : b->needed[1];
    if (need > b->rung) stand_at(b, need);
    else if (lately < b->rung) stand_at(b, lately);
}

uint32_t ek_brownout_percent(const struct ek_brownout *b, uint32_t tier)
{
    MUST(tier < b->tiers);
    return 100 - 25 * b->tier[tier].step;
}
