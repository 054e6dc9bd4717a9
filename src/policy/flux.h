/* SPDX-License-Identifier: MIT */
/* What comes into a line and what leaves it unserved, measured, for whoever wants to know how the line will
 * look in a minute.
 *
 * Coming: requests a second of each tier, over the last minute and over ten; and how far behind
 * the virtual time of its class each newcomer's turn lay when it came (its lead, in mean requests). The
 * newcomers that go before one who waits are those with less lead than he has left, so the cumulated
 * profile of leads is the rate at which he is overtaken: light accounts have hardly any lead, and an account
 * with a long line of its own overtakes nobody.
 *
 * Leaving: the hazard of giving up by the time waited so far, as the actuary does it: in each bucket of age
 * (ratio 2) how many left, over the time spent there by all. Patience is a property of people, so there is
 * one for a tier, whatever the pool. Pure; time is an argument. */
#ifndef EK_POLICY_FLUX_H
#define EK_POLICY_FLUX_H

#include <stdbool.h>
#include <stdint.h>

#define EK_FLUX_LEADS 12 /* 0-1 mean requests, 1-3, 3-7, ... 2^11 - 1 and more */
#define EK_FLUX_AGES 14  /* under 1 s, 1-2, 2-4, ... 4096 s and more */

enum { EK_FLUX_MINUTE, EK_FLUX_TEN, EK_FLUX_SPANS };

struct ek_flux { /* of one tier of one pool */
    uint64_t born_ns;  /* the first one came; 0: none did */
    uint64_t at_ns[2]; /* up to when it is faded: came, by_lead */
    double came[EK_FLUX_SPANS];
    double by_lead[EK_FLUX_LEADS];
    uint64_t seen_ns; /* what follows was worked out then: it serves all questions of a tenth of a second */
    double rate[EK_FLUX_SPANS];
    double below[EK_FLUX_LEADS];
};

struct ek_leaving { /* of one tier */
    double spent_s[EK_FLUX_AGES];
    double left[EK_FLUX_AGES];
};

/* One came. */
void ek_flux_came(struct ek_flux *f, uint64_t now_ns);
/* It had to be told to wait, and its turn lay `lead` mean requests behind the virtual time. */
void ek_flux_waits(struct ek_flux *f, double lead, uint64_t now_ns);
/* Requests a second that come, for a look so far ahead. */
double ek_flux_rate(struct ek_flux *f, double horizon_s, uint64_t now_ns);
/* below[k]: requests a second of those that wait with a lead of at most bucket k. */
const double *ek_flux_profile(struct ek_flux *f, uint64_t now_ns);
/* The rate at which one with so much lead left (mean requests) is overtaken. */
double ek_flux_overtaking(const double below[EK_FLUX_LEADS], double lead);

/* A wait of so long has ended: it was served, or it `left`. */
void ek_leaving_end(struct ek_leaving *l, double waited_s, bool left);
/* Part of those who have waited for age_s that leaves each second. */
double ek_leaving_hazard(const struct ek_leaving *l, double age_s);

#endif
