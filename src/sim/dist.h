/* SPDX-License-Identifier: MIT */
/* Random numbers of a given shape, each from one seeded generator. Sources: gamma by Marsaglia and
 * Tsang (2000), normal by the polar method, Weibull by inversion. */
#ifndef EK_SIM_DIST_H
#define EK_SIM_DIST_H

#include "base/random.h"

#include <stddef.h>

double ek_sim_exp(struct ek_random *r, double mean);
double ek_sim_normal(struct ek_random *r);                   /* mean 0, deviation 1 */
double ek_sim_gamma(struct ek_random *r, double shape);      /* scale 1 */
double ek_sim_weibull(struct ek_random *r, double shape);    /* scale 1 */
double ek_sim_lognormal(struct ek_random *r, double median, double sigma);

/* The index drawn from cumulated weights cdf[0..n-1], cdf[n-1] the total. n > 0. */
size_t ek_sim_pick(struct ek_random *r, const float *cdf, size_t n);

#endif
