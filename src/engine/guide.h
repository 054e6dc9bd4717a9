/* SPDX-License-Identifier: MIT */
/* Which tokens may come next: a grammar walked along with the answer.
 *
 * A guide holds the places of the grammar where the answer so far may stand: mostly one, several where the
 * grammar leaves open what is being read. Each place is a state and a stack of states to come back to.
 *
 *   ek_guide_mask     every token after which there is still a place: the vocabulary's tree walked together
 *                     with the grammar, so a byte shared by a thousand tokens is looked at once
 *   ek_guide_advance  the token was chosen
 *
 * What a walk finds inside one rule does not depend on the stack. So for each state it is remembered which
 * tokens end inside the rule, and at which nodes of the tree the rule is left ("exits"); only from there the
 * stack is asked. (The idea of Dong et al. 2024, "XGrammar", section 3.) For the rules every grammar begins
 * with, which hold the only masks that are large (inside of strings), that is done once for all requests.
 *
 * Never a dead end: see grammar.h, and every single byte that the grammar counts on is a token. Where limits
 * of a walk are met, tokens are left out, never let in. A guide belongs to one job and one thread at a time;
 * grammar, tree and masks are shared and constant. No memory is allocated after ek_guide_new. */
#ifndef EK_ENGINE_GUIDE_H
#define EK_ENGINE_GUIDE_H

#include "engine/grammar.h"
#include "engine/trie.h"

enum {
    EK_GUIDE_PLACES_MAX = 64,   /* at once; further ones are forgotten, which only narrows the choice */
    EK_GUIDE_STOPS_MAX = 16,
    EK_GUIDE_WORK_MAX = 1 << 23, /* steps of one walk */
};

struct ek_masks; /* of the base rules, for one vocabulary */
struct ek_masks *ek_masks_new(const struct ek_trie *trie);
void ek_masks_free(struct ek_masks **m);

struct ek_guide;

/* stop_ids[stop_count]: tokens that end an answer, allowed where it is complete. All that is handed in but
 * the stop ids must outlive the guide. */
struct ek_guide *ek_guide_new(const struct ek_grammar *g, const struct ek_trie *trie,
                              const struct ek_masks *masks, const uint32_t *stop_ids, uint32_t stop_count);
void ek_guide_free(struct ek_guide **guide);
struct ek_guide *ek_guide_copy(const struct ek_guide *guide); /* at the same place */

/* Words of a mask; bit i of word i / 64 is token i. */
size_t ek_guide_words(const struct ek_guide *guide);
/* The tokens that may come next; valid until the guide is used again. */
const uint64_t *ek_guide_mask(struct ek_guide *guide);

/* Let one more token into the mask, for this step only: it is none that the grammar knows. */
void ek_guide_permit(struct ek_guide *guide, uint32_t id);

/* False, and nothing changes: the token (the symbol) may not come here. */
EK_CHECKED bool ek_guide_advance(struct ek_guide *guide, uint32_t id);
EK_CHECKED bool ek_guide_read(struct ek_guide *guide, const uint16_t *symbols, size_t count);

bool ek_guide_complete(const struct ek_guide *guide); /* the answer may end here */
bool ek_guide_over(const struct ek_guide *guide);     /* it must */

struct ek_guide_counters {
    uint64_t masks, hits, misses, cleared; /* masks made; states found, computed; caches emptied */
    uint64_t steps;                        /* of all walks */
    uint64_t forgotten;                    /* places beyond EK_GUIDE_PLACES_MAX */
};
struct ek_guide_counters ek_guide_counters(const struct ek_guide *guide);

#endif
