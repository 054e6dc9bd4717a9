/* SPDX-License-Identifier: MIT */
/* A small seeded generator for jitter, splits and simulations: xoshiro256** seeded by SplitMix64
 * (Blackman and Vigna, 2018). Not for secrets: tickets and keys come from ek_loop_random(). */
#ifndef EK_BASE_RANDOM_H
#define EK_BASE_RANDOM_H

#include <stdint.h>

struct ek_random {
    uint64_t s[4];
};

struct ek_random ek_random_make(uint64_t seed);
uint64_t ek_random_u64(struct ek_random *r);
uint64_t ek_random_below(struct ek_random *r, uint64_t n); /* 0 .. n-1, n > 0; bias < 2^-32 for n < 2^32 */
double ek_random_unit(struct ek_random *r);                /* [0, 1), 53 bits */

#endif
