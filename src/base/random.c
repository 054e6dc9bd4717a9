/* SPDX-License-Identifier: MIT */
/* The small seeded generator. */
#include "base/random.h"

#include "base/must.h"

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

struct ek_random ek_random_make(uint64_t seed)
{
    struct ek_random r;
    for (int i = 0; i < 4; i++) r.s[i] = splitmix(&seed);
    return r;
}

uint64_t ek_random_u64(struct ek_random *r)
{
    uint64_t result = rotl(r->s[1] * 5, 7) * 9;
    uint64_t t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return result;
}

uint64_t ek_random_below(struct ek_random *r, uint64_t n)
{
    MUST(n > 0);
    return (uint64_t)(((unsigned __int128)ek_random_u64(r) * n) >> 64);
}

double ek_random_unit(struct ek_random *r)
{
    return (double)(ek_random_u64(r) >> 11) * 0x1p-53;
}
