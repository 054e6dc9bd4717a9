/* SPDX-License-Identifier: MIT */
/* What prompts begin with, in few bytes. A prompt tells up to eight prefixes, shortest first, each a hash and
 * a number of tokens (struct ek_prefix); those who wait keep 32 bits of each hash and its tokens as 255ths of
 * the prompt. Two different prefixes with one tag may cost a prompt its turn or a guess about a cache, once
 * in 10^7 or so; nobody can choose a tag, since the hashes are keyed.
 *
 *   word:  ... | tag tag tag  share share share - | tag  share - - - | ...     a chain of three, one of one
 *                ▲ place, kept by the request with its count
 *
 * What is let go is kept for the next chain of the same count. There is room for everybody with a chain of
 * each count at once, so it cannot run out; pages that were never touched take no memory. Pure; owns its
 * array. */
#ifndef EK_POLICY_CHAIN_H
#define EK_POLICY_CHAIN_H

#include "policy/desk.h"

struct ek_chain { /* unpacked; shortest first */
    uint32_t count;
    uint32_t tag[EK_DESK_PREFIX_MAX];
    uint32_t tokens[EK_DESK_PREFIX_MAX];
};

struct ek_chains {
    uint32_t *word;
    uint32_t words, made;                   /* room for so many; touched so far */
    uint32_t free[EK_DESK_PREFIX_MAX + 1];  /* by count: the first place let go; 0: none */
};

/* Room for so many requests. false: no memory. */
bool ek_chains_init(struct ek_chains *x, uint32_t requests_max);
void ek_chains_free(struct ek_chains *x);
/* Keeps these; the place. 0 when count is 0. */
uint32_t ek_chains_put(struct ek_chains *x, const struct ek_prefix *prefix, uint32_t count,
                       uint32_t prompt_tokens);
void ek_chains_drop(struct ek_chains *x, uint32_t place, uint32_t count);
const uint32_t *ek_chains_tags(const struct ek_chains *x, uint32_t place, uint32_t count);
struct ek_chain ek_chains_get(const struct ek_chains *x, uint32_t place, uint32_t count,
                              uint32_t prompt_tokens);

#endif
