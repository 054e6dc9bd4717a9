/* SPDX-License-Identifier: MIT */
/* The unit of work: what a request costs, in nano-units of the configured currency. Summed in
 * pico-units and rounded up once. Pure. */
#ifndef EK_POLICY_COST_H
#define EK_POLICY_COST_H

#include "policy/options.h"

/* The price of `model` for a request that arrives at that instant; those of "*" when it has none of its
 * own. */
const struct ek_price_options *ek_cost_price(const struct ek_price_list *l, const char *model,
                                             uint64_t unix_ns);
/* The first instant (seconds since 1970) after this one at which that answer is another, which may be sooner
 * than the hours of the price itself end; EK_ZONE_NEVER: not within forty days. */
int64_t ek_cost_price_until_s(const struct ek_price_list *l, const char *model, uint64_t unix_ns);

/* Nano-units, at most INT64_MAX (saturating: no count of tokens makes it wrap). */
int64_t ek_cost_nano(const struct ek_price_options *price, uint64_t cached_tokens,
                     uint64_t prompt_tokens, uint64_t output_tokens);

/* Prompt tokens of so many bytes of text, before anything was learned: about 4 bytes a token in
 * ASCII, 4.5 in Chinese, Japanese and Korean (3 bytes a character), 2.5 in other scripts. */
uint32_t ek_cost_guess_tokens(uint64_t ascii_bytes, uint64_t wide_bytes, uint64_t other_bytes);

#endif
