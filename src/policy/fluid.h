/* SPDX-License-Identifier: MIT */
/* How long will it take until one's turn comes? The line as a fluid (Whitt's view of many-server queues with
 * abandonment), followed forward in time from what is known now. All in requests, because it is requests
 * that leave slots and free them for others; costs come in only where the order weighs them:
 *
 *     X   of the own class that go before me             dX/dt = overtaking(L) - own share - hazard X
 *     W   that wait in each other tier                   dW/dt = coming - its share - hazard W
 *     L   how far the virtual time is from my turn       dL/dt = - own share / members of the class
 *
 * Shares are those of the order: by weight over mean cost among tiers that have work; a tier that has none
 * left takes what comes for it and no more, the rest goes to the others. My turn comes when X is used up.
 * Beside the time comes its relative spread, from the randomness of departures and of arrivals; it need
 * only be right up to a factor, which conform.h learns.
 *
 * Rejected: the same in nano-units. What is left for the lightest tier is a small difference of large
 * numbers, and a rate of heavy-tailed costs is known three times worse than a rate of departures.
 *
 * At most EK_FLUID_STEPS steps. Pure. */
#ifndef EK_POLICY_FLUID_H
#define EK_POLICY_FLUID_H

#include "policy/flux.h"

#define EK_FLUID_TIERS_MAX 16
#define EK_FLUID_STEPS 20
/* Of the departure that is mine: they are counted in wholes, and one is always under way. The median time to
 * the k-th is k - 1/3 distances where they are random (Erlang) and k - 1/2 where they are regular. */
#define EK_FLUID_MINE 0.58
#define EK_FLUID_SPREAD_MIN 0.05
#define EK_FLUID_SPREAD_MAX 1.2

struct ek_fluid_tier {
    double weight; /* over the mean cost of its requests */
    double count;  /* wait; of the own tier it is not asked */
    double coming; /* a second */
    double credit; /* requests by which it lags behind the own tier (> 0), or is ahead of it (< 0) */
    double age_s;  /* mean age of those who wait */
    const struct ek_leaving *leaving;
};

struct ek_fluid_ask {
    struct ek_fluid_tier tier[EK_FLUID_TIERS_MAX];
    uint32_t tiers, own;
    double rate;    /* starts a second of the whole pool, > 0 */
    double count;   /* of the own class before me */
    double lead;    /* mean requests */
    double members; /* accounts in line in the class */
    double done;    /* departures the rate was measured from */
    const double *below; /* [EK_FLUX_LEADS], overtaking, see flux.h */
};

struct ek_fluid_wait {
    double wait_s;
    double spread; /* relative standard deviation of it */
};

struct ek_fluid_wait ek_fluid_wait(const struct ek_fluid_ask *q);

#endif
