/* SPDX-License-Identifier: MIT */
/* The brownout controller against a plant of fluid: so much work comes a second, so many slots work it off,
 * a request that has started keeps the budget it started with, and tiers share free slots by weight. No
 * chance in it, so that what swings is the controller. */
#include "cm.h"

#include "policy/brownout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DT_S 0.25
#define CLASSES 5     /* of length: quantiles of a log-normal with sigma 0.8 */
#define COHORTS 20000 /* a start of one class each, in the order of their starts */
#define SLOTS 100.0
#define TIERS 3

static const double weight[TIERS] = {1, 3, 8};
static const double part[TIERS] = {0.3, 0.3, 0.4};
static const double quantile[CLASSES] = {-1.2816, -0.5244, 0, 0.5244, 1.2816};

struct cohort {
    double ends_s, slots;
};

struct plant {
    struct ek_brownout b;
    double target_s[TIERS];
    double thought;   /* part of the work */
    double service_s; /* mean, whole thoughts */
    double lies;      /* a shorter budget saves only this part of what it should */
    double line[TIERS]; /* requests */
    double running;
    struct cohort cohort[COHORTS];
    size_t to;
    double now_s;
    double length[CLASSES], left[EK_BROWNOUT_STEPS];
    double done, tick_s, came[TIERS];
    double light_rate; /* starts of the lightest tier a second, over some 5 s */
};

static double cut(const struct plant *p, double length, uint32_t step, double p90)
{
    double thought = length * p->thought, budget = p90 * (4 - step) / 4.0;
    double saved = step && budget < thought ? (thought - budget) * p->lies : 0;
    return length - saved;
}

static void plant_new(struct plant *p, double service_s, double thought, const double *target_s)
{
    double sum = 0;
    memset(p, 0, sizeof *p);
    memcpy(p->target_s, target_s, sizeof p->target_s);
    p->service_s = service_s;
    p->thought = thought;
    p->lies = 1;
    for (int c = 0; c < CLASSES; c++) sum += p->length[c] = exp(0.8 * quantile[c]);
    for (int c = 0; c < CLASSES; c++) p->length[c] *= CLASSES * service_s / sum;
    double p90 = p->length[CLASSES - 1] * thought;
    for (uint32_t s = 0; s < EK_BROWNOUT_STEPS; s++) {
        double all = 0;
        for (int c = 0; c < CLASSES; c++) all += p->length[c] - cut(p, p->length[c], s, p90);
        p->left[s] = 1 - all / CLASSES / service_s / thought;
    }
    ek_brownout_tiers(&p->b, TIERS, weight, p->target_s);
}

static void start(struct plant *p, uint32_t tier, double n)
{
    double p90 = p->length[CLASSES - 1] * p->thought;
    for (int c = 0; c < CLASSES; c++) {
        assert_true(p->to < COHORTS);
        double lasts_s = cut(p, p->length[c], p->b.tier[tier].step, p90);
        p->cohort[p->to++] = (struct cohort){p->now_s + lasts_s, n / CLASSES};
    }
    p->running += n;
    p->line[tier] -= n;
    if (tier == 0) p->light_rate += n / 5.0;
}

static void fill_slots(struct plant *p)
{
    bool full[TIERS] = {false};
    for (int round = 0; round < TIERS; round++) {
        double room = SLOTS - p->running, weights = 0;
        for (uint32_t t = 0; t < TIERS; t++) weights += full[t] ? 0 : weight[t];
        if (room < 1e-9 || weights <= 0) return;
        for (uint32_t t = 0; t < TIERS; t++) {
            if (full[t]) continue;
            double take = room * weight[t] / weights;
            full[t] = take >= p->line[t];
            take = fmin(take, p->line[t]);
            if (take > 1e-9) start(p, t, take);
        }
    }
}

static void tick(struct plant *p)
{
    struct ek_brownout_sight s = {.dt_s = p->now_s - p->tick_s, .done = p->done, .slot_s = p->done,
                                  .slots = SLOTS, .running = p->running, .service_s = p->service_s};
    memcpy(s.left, p->left, sizeof s.left);
    for (uint32_t t = 0; t < TIERS; t++) {
        s.arrivals += p->came[t] * 1000; /* a fluid: very many, very small */
        s.tier[t].came = p->came[t] * p->service_s;
        s.tier[t].soft = p->thought;
        s.tier[t].waiting = p->line[t] * p->service_s;
        p->came[t] = 0;
    }
    p->done = 0;
    p->tick_s = p->now_s;
    ek_brownout_tick(&p->b, &s);
}

static void end_services(struct plant *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->to; i++) {
        if (p->cohort[i].ends_s <= p->now_s) p->running -= p->cohort[i].slots;
        else p->cohort[kept++] = p->cohort[i];
    }
    p->to = kept;
}

struct run {
    double settled_s; /* since when the wait is within a fifth of its last level, or of what is allowed */
    double line_top, line_end; /* wait of the lightest tier: line over starts, as part of its target */
    uint32_t turns;          /* changes of direction of the rung */
    uint32_t rung_top, rung_end;
};

static struct run play(struct plant *p, double load, double services)
{
    struct run r = {0};
    double from_s = p->now_s, until_s = from_s + services * p->service_s;
    uint32_t rung = p->b.rung;
    int way = 0;
    static double over[4096];
    size_t n = 0;
    while (p->now_s < until_s) {
        p->now_s += DT_S;
        end_services(p);
        p->done += p->running * DT_S;
        for (uint32_t t = 0; t < TIERS; t++) {
            double n_came = load * part[t] * SLOTS / p->service_s * DT_S;
            p->line[t] += n_came;
            p->came[t] += n_came;
        }
        p->light_rate *= 1 - DT_S / 5.0;
        fill_slots(p);
        if (p->now_s < p->tick_s + 1 - 1e-9) continue;
        tick(p);
        if (p->b.rung != rung) {
            int now = p->b.rung > rung ? 1 : -1;
            r.turns += way != 0 && now != way;
            way = now;
            rung = p->b.rung;
        }
        if (rung > r.rung_top) r.rung_top = rung;
        over[n++] = p->line[0] / fmax(p->light_rate, 0.01) / fmax(p->target_s[0], 1);
        r.line_top = fmax(r.line_top, over[n - 1]);
        assert_true(n < 4096);
    }
    r.rung_end = rung;
    r.line_end = over[n - 1];
    for (size_t i = 0; i < n; i++)
        if (over[i] > 1.2 && fabs(over[i] - r.line_end) > 0.2 * r.line_end) r.settled_s = (double)(i + 1);
    printf("  load %.2f: settled after %.2f services; wait at most %.2f of its target, at the end %.2f; rung "
           "at most %u, at the end %u; %u turns\n", load, r.settled_s / p->service_s, r.line_top, r.line_end,
           r.rung_top, r.rung_end, r.turns);
    return r;
}

static void a_step_settles_within_two_services_without_swinging(void **state)
{
    (void)state;
    static struct plant p;
    static const double service_s[] = {10, 34, 79};
    static const double step[][2] = {{0.85, 1.19}, {1.0, 1.4}, {0.7, 1.4}};
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 3; k++) {
            double target_s[TIERS] = {service_s[i] / 3, service_s[i] / 6, service_s[i] / 15};
            plant_new(&p, service_s[i], 0.7, target_s);
            printf("service %.0f s, from %.2f to %.2f\n", service_s[i], step[k][0], step[k][1]);
            struct run calm = play(&p, step[k][0], 10);
            struct run busy = play(&p, step[k][1], 12);
            uint32_t heaviest = p.b.tier[2].step;
            struct run after = play(&p, step[k][0], 8);
            assert_int_equal(calm.turns, 0);
            assert_true(busy.settled_s <= 2 * service_s[i]);
            assert_true(busy.turns <= 1); /* deeper while the slots turn over, then back a little */
            assert_int_equal(after.turns, 0);
            assert_int_equal(heaviest, 0); /* paid thought all the time */
            assert_true(after.line_top <= 1.2 && after.settled_s <= 2 * service_s[i]);
            if (k == 0) assert_true(busy.line_top <= 1.2);
            if (step[k][0] < 1) assert_int_equal(after.rung_end, 0);
        }
}

/* An engine that saves only 70 % of what a lower budget should: the error is found and does not wind up. */
static void a_wrong_model_costs_a_deeper_step_and_nothing_else(void **state)
{
    (void)state;
    static struct plant p;
    static const double target_s[TIERS] = {11, 6, 2};
    plant_new(&p, 34, 0.7, target_s);
    p.lies = 0.7;
    play(&p, 0.85, 6);
    struct run busy = play(&p, 1.3, 20);
    assert_true(busy.line_top < 5);
    assert_true(busy.turns <= 6); /* what is needed lies between two steps: a slow walk between them */
    struct run jam = play(&p, 2.6, 20); /* more than no thought at all could serve */
    assert_true(jam.line_end > 1);
    assert_int_equal(jam.rung_end, 12);
    struct run after = play(&p, 0.5, 24);
    assert_int_equal(after.rung_end, 0);
    assert_true(after.line_end < 0.01);
}

static void who_has_no_target_is_never_shortened(void **state)
{
    (void)state;
    static struct plant p;
    static const double target_s[TIERS] = {0, 6, 0};
    plant_new(&p, 34, 0.7, target_s);
    play(&p, 1.6, 20);
    assert_int_equal(p.b.tier[0].step, 0);
    assert_int_equal(p.b.tier[2].step, 0);
    ek_brownout_tiers(&p.b, TIERS, weight, (const double[TIERS]){0}); /* reload */
    assert_false(p.b.rung > 0);
    play(&p, 1.6, 4);
    assert_int_equal(p.b.tier[1].step, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_settles_within_two_services_without_swinging),
        cmocka_unit_test(a_wrong_model_costs_a_deeper_step_and_nothing_else),
        cmocka_unit_test(who_has_no_target_is_never_shortened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
