/* SPDX-License-Identifier: MIT */
/* Shorter thoughts before longer lines. When a tier's newcomers would wait longer than its target, thinking
 * budgets are lowered in steps of 100, 75, 50, 25 and 0 % of what a thought of that model usually takes (its
 * p90), the lightest tiers first, the paid ones last and only when those below them think no more.
 *
 * One PI controller a tier, ticked once a second, on the relative error e = (delay - target) / target:
 *
 *      pressure = KP e + integral,   integral += KI e dt,   both kept within 0 ... 1
 *
 * The integral is bounded where the actuator is (no wind-up), and an error above 3 counts as 3, so that a
 * night-long jam does not take a day to unlearn. The step follows the pressure with hysteresis: down at
 * once, up again only when the pressure has fallen a third of a step below where it went down, and no more
 * than one step in HOLD seconds in either direction. Pure: no clock, no allocation. */
#ifndef EK_POLICY_BROWNOUT_H
#define EK_POLICY_BROWNOUT_H

#include <stdbool.h>
#include <stdint.h>

#define EK_BROWNOUT_STEPS 5 /* 100, 75, 50, 25, 0 % */
#define EK_BROWNOUT_TIERS_MAX 16

struct ek_brownout_tier {
    double target_s;
    double integral;
    double pressure; /* 0 ... 1 */
    double held_s;   /* since the last step */
    uint32_t step;   /* 0: full thinking ... 4: none */
};

struct ek_brownout {
    uint32_t tiers;
    uint32_t order[EK_BROWNOUT_TIERS_MAX]; /* the lightest first */
    struct ek_brownout_tier tier[EK_BROWNOUT_TIERS_MAX];
};

/* weight and target_s of each tier; keeps what was learned. */
void ek_brownout_tiers(struct ek_brownout *b, uint32_t tiers, const double *weight, const double *target_s);
/* dt_s has passed; delay_s[t]: how long a newcomer of tier t would wait now; present[t]: it has work here
 * (waiting or running), so that its thinking can be shortened at all. */
void ek_brownout_tick(struct ek_brownout *b, double dt_s, const double *delay_s, const bool *present);
/* 100, 75, 50, 25 or 0. */
uint32_t ek_brownout_percent(const struct ek_brownout *b, uint32_t tier);

#endif
