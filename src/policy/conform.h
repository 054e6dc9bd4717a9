/* SPDX-License-Identifier: MIT */
/* Estimates that own up to their errors: split conformal prediction (Vovk; Lei et al. 2018) with the
 * target adapted on line (Gibbs and Candes, 2021).
 *
 * Every finished wait gives a score, log(true wait / raw estimate) / spread. The last 500 scores of the same
 * kind of wait (tier, depth) are kept; what is shown is raw * exp(quantile(scores) * spread). Logarithms,
 * because a raw estimate is wrong by a factor rather than by seconds. So the band is right by
 * construction whatever the distribution, as long as tomorrow is like the last 500; and because it is not
 * always, the quantile asked for moves up a little with each miss and down with each hit.
 *
 * Waits that overlap share their luck: five hundred who wait out the same quarter of an hour are one error
 * told five hundred times. So a score is kept only when a 25th of its wait has passed since the last one,
 * and the 500 reach back over at least twenty waits. The quantile asked for moves with every one of them, by
 * little: what is promised is a part of all requests, and most of them come in crowds. Pure. */
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
    uint64_t last_ns; /* when a score was kept last */
    double level50; /* quantile asked for so that half holds; 0: not yet used */
    double level90;
};

struct ek_band {
    double p50_s, p90_s; /* 0 <= p50 <= p90 */
};

/* raw_s > 0; spread: relative standard deviation of it, > 0. */
struct ek_band ek_conform_band(const struct ek_conform *c, double raw_s, double spread);
/* How far off the raw estimate was, in spreads. */
double ek_conform_score(double raw_s, double spread, double wait_s);
/* A wait of so long has ended: its score, and whether what was shown at its beginning held. It is kept unless
 * one of nearly the same time was. */
void ek_conform_add(struct ek_conform *c, double score, bool held50, bool held90, double wait_s,
                    uint64_t now_ns);
/* 0 ... EK_CONFORM_DEPTHS - 1: 1-2, 3-8, 9-32, 33-128, 129-512, 513-2048, more. */
uint32_t ek_conform_depth(uint32_t position);

#endif
