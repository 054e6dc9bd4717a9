/* SPDX-License-Identifier: MIT */
/* Which prefixes are probably still in which upstream's cache: a fixed table of blocks seen lately, four
 * places for each hash, the longest unused makes room. A guess, never more: nothing goes wrong when it is
 * wrong, some prompt is computed again. Pure; owns its array. */
#ifndef EK_POLICY_WARM_H
#define EK_POLICY_WARM_H

#include "policy/chain.h"

struct ek_warm_cell {
    uint64_t key;
    uint64_t used; /* count of touches at the last one; 0: empty */
};

struct ek_warm {
    struct ek_warm_cell *cell;
    uint32_t mask;
    uint64_t time;
};

bool ek_warm_init(struct ek_warm *w, uint32_t cells); /* a power of two; false: no memory */
void ek_warm_free(struct ek_warm *w);
void ek_warm_touch(struct ek_warm *w, uint32_t upstream, const struct ek_chain *chain);
/* Tokens of the longest prefix that this upstream has seen lately. */
uint32_t ek_warm_tokens(const struct ek_warm *w, uint32_t upstream, const struct ek_chain *chain);
/* It died: it remembers nothing. O(cells); rare. */
void ek_warm_forget_all(struct ek_warm *w);

#endif
