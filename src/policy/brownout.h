/* SPDX-License-Identifier: MIT */
/* Shorter thoughts before longer lines: how much each tier of one group of engines may think now, in steps
 * of 100, 75, 50, 25 and 0 % of what a thought of that model usually takes (its p90).
 *
 * The steps of all tiers form one ladder: the lightest tier from 100 to 0 %, then the next, the paid ones
 * last. A tier without a target is never shortened and has no rung. Once a second the controller asks a
 * fluid model for the lowest rung at which no tier will be over its target one horizon from now:
 *
 *      horizon H     the mean time in a slot: sooner no shorter thought is felt
 *      demand d_t    work that comes, as part of capacity, were nothing shortened (filtered over H / 6, or
 *                    over 30 requests where few come)
 *      cost c_t      1 - soft_t (1 - left[step]): what is left of that work at this rung
 *      waiting q_t   seconds of the whole group that its line would take
 *      y_t           what weighted sharing gives it of the group: max-min over q_t c_t / H + d_t c_t
 *      delay         (q_t c_t / H + d_t c_t - y_t) H / y_t  <=  target_t ?
 *
 * For a part of the horizon slots are still taken by those who started before a step, so capacity counts
 * there only as (new cost / cost in flight). Measuring demand and not only the line is what lets the
 * controller act before there is one, and rest at a rung instead of swinging about it.
 *
 * Down (shorter) at once, but into a heavier tier only as far as the load itself asks, seen through a longer
 * filter; the heaviest tier only for its own line, of which what is beyond its target counts several times
 * (a horizon is too long for it to be gone in). Up only to the highest rung that was needed, with margins, in
 * a window of a horizon or more. What the model gets wrong is taken out by a slow bounded integral, one a
 * tier, over its delay's error. That stands still where the actuator can do no more and while a step is not
 * yet felt (no wind-up). Pure: no clock, no allocation. */
#ifndef EK_POLICY_BROWNOUT_H
#define EK_POLICY_BROWNOUT_H

#include <stdbool.h>
#include <stdint.h>

#define EK_BROWNOUT_STEPS 5 /* 100, 75, 50, 25, 0 % */
#define EK_BROWNOUT_TIERS_MAX 16

/* What was seen since the last tick. Work in any one unit. */
struct ek_brownout_sight {
    double dt_s;
    double arrivals;  /* requests that came, all tiers */
    double done;      /* work done */
    double slot_s;    /* slot-seconds spent on it */
    double slots;     /* of the group; 0: none is up */
    double running;   /* slots taken now */
    double service_s; /* mean time in a slot; 0: not known */
    double left[EK_BROWNOUT_STEPS]; /* part of all thought that is left at each step; [0] is 1 */
    struct {
        double came;    /* work that came, were nothing shortened; what runs longer, or ends earlier, than
                         * foreseen is added here, or taken off, when that is seen */
        double soft;    /* part of such work that is thought and may be shortened, 0 ... 1 */
        double waiting; /* work in line, were nothing shortened */
    } tier[EK_BROWNOUT_TIERS_MAX];
};

struct ek_brownout_tier {
    double weight;
    double target_s; /* 0: none, never shortened */
    double demand;   /* filtered, work a second */
    double steady;   /* the same, filtered longer */
    double error;    /* the model's, as a factor on demand, 1 or more */
    uint32_t step;   /* 0: full thinking ... 4: none */
};

struct ek_brownout {
    uint32_t tiers;
    uint32_t order[EK_BROWNOUT_TIERS_MAX]; /* those with a target, the lightest first */
    uint32_t ladder;                       /* how many they are; rungs: 4 times as many */
    struct ek_brownout_tier tier[EK_BROWNOUT_TIERS_MAX];
    double done, slot_s; /* faded over a horizon; and the slot-seconds there were, taken or not */
    double there_s;
    /* A line through work per slot-second (y) over the part of slots that is taken (x), from blocks of time:
     * faded sums of 1, x, x^2, y, xy, y^2; and the block that is not full yet. */
    double fill[6], block_done, block_slot_s, block_there_s, block_s;
    double arrivals;     /* requests a second, filtered over a horizon */
    double flight;       /* cost of what is in the slots, 1: whole thoughts */
    uint32_t rung;
    uint32_t needed[2];  /* highest rung needed in this and the last half of the window */
    double window_s;
    double half_s;       /* age of this half */
    double since_s;      /* since the rung last changed */
};

/* weight and target_s (0: none) of each tier; keeps what was learned. */
void ek_brownout_tiers(struct ek_brownout *b, uint32_t tiers, const double *weight, const double *target_s);
void ek_brownout_tick(struct ek_brownout *b, const struct ek_brownout_sight *s);
/* 100, 75, 50, 25 or 0. */
uint32_t ek_brownout_percent(const struct ek_brownout *b, uint32_t tier);
static inline bool ek_brownout_active(const struct ek_brownout *b)
{
    return b->rung > 0 || b->needed[0] > 0 || b->needed[1] > 0;
}

#endif
