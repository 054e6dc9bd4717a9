/* SPDX-License-Identifier: MIT */
/* Estimates that own up to their errors: split conformal prediction (Vovk; Lei et al. 2018) with the
 * target adapted on line (Gibbs and Candes, 2021).
 *
 * Every finished wait gives a score, (true wait - raw estimate) / raw sd. The last 500 scores of the same
 * kind of wait (tier, depth) are kept; what is shown is raw + quantile(scores) * sd. So the band is right by
 * construction whatever the distribution, as long as tomorrow is like the last 500; and because it is not
 * always, the quantile asked for moves up a little with each miss and down with each hit. Pure. */
#ifndef EK_POLICY_CONFORM_H
#define EK_POLICY_CONFORM_H

#include <stdbool.h>
#include <stdint.h>

#define EK_CONFORM_SCORES 500
#define EK_CONFORM_DEPTHS 7

struct ek_conform {
    float ring[EK_CONFORM_SCORES];
    float sorted[EK_CONFORM_SCORES];
    uint32_t count;
    uint32_t at;
    double level50; /* quantile asked for so that half holds; 0: not yet used */
    double level90;
};

struct ek_band {
    double p50_s, p90_s; /* 0 <= p50 <= p90 */
};

struct ek_band ek_conform_band(const struct ek_conform *c, double raw_s, double sd_s);
/* A wait has ended: its score, and whether what was shown at its beginning held. */
void ek_conform_add(struct ek_conform *c, double score, bool held50, bool held90);
/* 0 ... EK_CONFORM_DEPTHS - 1: 1-2, 3-8, 9-32, 33-128, 129-512, 513-2048, more. */
uint32_t ek_conform_depth(uint32_t position);

#endif
