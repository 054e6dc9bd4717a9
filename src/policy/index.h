/* SPDX-License-Identifier: MIT */
/* A fixed table from a 64-bit hash to a number: open addressing, linear probing, deletion by shifting back.
 * Made once; keys come in already hashed with a seed. Pure; owns its array. */
#ifndef EK_POLICY_INDEX_H
#define EK_POLICY_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#define EK_INDEX_NONE UINT32_MAX

struct ek_index_cell {
    uint64_t key;
    uint32_t value;
    bool used;
};

struct ek_index {
    struct ek_index_cell *cell;
    uint32_t mask;
    uint32_t used;
};

bool ek_index_init(struct ek_index *x, uint32_t keys_max); /* false: no memory */
void ek_index_free(struct ek_index *x);
uint32_t ek_index_find(const struct ek_index *x, uint64_t key); /* EK_INDEX_NONE: not there */
void ek_index_set(struct ek_index *x, uint64_t key, uint32_t value); /* adds or changes */
void ek_index_remove(struct ek_index *x, uint64_t key); /* it must be there */

/* Two hashes into one. */
static inline uint64_t ek_index_mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15ull + (a << 6) + (a >> 2))) * 0xff51afd7ed558ccdull;
    return x ^ (x >> 32);
}

#endif
