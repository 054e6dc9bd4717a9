/* SPDX-License-Identifier: MIT */
/* The last resort: who is turned away when even short thoughts do not help. DAGOR (Zhou et al., SoCC 2018):
 * everyone has a level, tier first and then a hash of person and hour; a cursor moves along the levels, those
 * behind it come in, the others do not. So one person is served for the whole hour or sent away for the whole
 * hour, which is far better than every second request of everybody failing, and being sent again.
 *
 * Every window (1 s) the cursor moves so that, by what usually comes at each level, a share of it fewer come
 * in when the line is too long, and a fifth of that more when it is short (5 % and 1 %, the paper's). What
 * the paper does not have: in between, and while the line moves the right way already, the cursor stands,
 * and every turn halves the step (far from rest it grows again), so that the same people stay in. A window
 * with few arrivals is prolonged. Also here: the retry budget, at most a tenth of what comes in while the
 * cursor is down may be requests sent again. Pure. */
#ifndef EK_POLICY_SHED_H
#define EK_POLICY_SHED_H

#include <stdbool.h>
#include <stdint.h>

#define EK_SHED_TIERS_MAX 16
#define EK_SHED_PEOPLE 128
#define EK_SHED_LEVELS (EK_SHED_TIERS_MAX * EK_SHED_PEOPLE)

struct ek_shed {
    uint32_t tiers;
    uint32_t rank[EK_SHED_TIERS_MAX]; /* of each tier: 0 the heaviest */
    uint32_t came[EK_SHED_LEVELS];    /* arrivals of this window, by level */
    uint32_t total;                   /* of them */
    float usual[EK_SHED_LEVELS];      /* the same of all windows, faded */
    uint32_t cursor;                  /* levels below it come in; EK_SHED_LEVELS: everyone */
    double step;                      /* part of what comes in by which the cursor moves down */
    double line;                      /* at the last move */
    int8_t way;                       /* of it */
    uint32_t rested;                  /* windows since */
    double fresh, again;              /* let in, faded: first attempts and repeats */
    uint64_t window_ns;               /* when this window began */
};

void ek_shed_tiers(struct ek_shed *s, uint32_t tiers, const double *weight);
/* May this one come in? who: hash of account and user. hour: of the clock. */
bool ek_shed_admits(struct ek_shed *s, uint32_t tier, uint64_t who, uint64_t hour, bool again);
/* Time passes; line: the wait of newcomers as part of what anyone should wait. Beyond 1 fewer come in, below
 * half of it more. */
void ek_shed_tick(struct ek_shed *s, uint64_t now_ns, double line);
static inline bool ek_shed_active(const struct ek_shed *s)
{
    return s->cursor < s->tiers * EK_SHED_PEOPLE;
}

#endif
