/* SPDX-License-Identifier: MIT */
/* Prices and the first guess of prompt tokens. */
#include "policy/cost.h"

#include "base/must.h"

#include <string.h>

const struct ek_price_options *ek_cost_price(const struct ek_price_list *l, const char *model)
{
    const struct ek_price_options *other = NULL;
    MUST(l->count > 0);
    for (size_t i = 0; i < l->count; i++) {
        if (strcmp(l->item[i].model, model) == 0) return &l->item[i];
        if (strcmp(l->item[i].model, "*") == 0) other = &l->item[i];
    }
    MUST(other); /* config adds it */
    return other;
}

int64_t ek_cost_nano(const struct ek_price_options *price, uint64_t cached_tokens,
                     uint64_t prompt_tokens, uint64_t output_tokens)
{
    MUST(price->cached_pico >= 0 && price->prompt_pico >= 0 && price->output_pico >= 0);
    unsigned __int128 pico = (unsigned __int128)cached_tokens * (uint64_t)price->cached_pico +
                             (unsigned __int128)prompt_tokens * (uint64_t)price->prompt_pico +
                             (unsigned __int128)output_tokens * (uint64_t)price->output_pico;
    unsigned __int128 nano = (pico + 999) / 1000;
    return nano > INT64_MAX ? INT64_MAX : (int64_t)nano;
}

uint32_t ek_cost_guess_tokens(uint64_t ascii_bytes, uint64_t wide_bytes, uint64_t other_bytes)
{
    uint64_t tokens = ascii_bytes / 4 + wide_bytes * 2 / 9 + other_bytes * 2 / 5 + 1;
    return tokens > UINT32_MAX ? UINT32_MAX : (uint32_t)tokens;
}
