/* SPDX-License-Identifier: MIT */
/* Prices and the first guess of prompt tokens. */
#include "policy/cost.h"

#include "base/clock.h"
#include "base/must.h"

#include <string.h>

static bool has_own(const struct ek_price_list *l, const char *model)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->item[i].model, model) == 0) return true;
    return false;
}

const struct ek_price_options *ek_cost_price(const struct ek_price_list *l, const char *model,
                                             uint64_t unix_ns)
{
    const struct ek_price_options *always = NULL;
    MUST(l->count > 0);
    if (!has_own(l, model)) model = "*";
    for (size_t i = 0; i < l->count; i++) {
        const struct ek_price_options *p = &l->item[i];
        if (strcmp(p->model, model) != 0) continue;
        if (!p->hours) always = p;
        else if (ek_hours_hold(p->hours, (int64_t)(unix_ns / EK_S_NS))) return p;
    }
    MUST(always); /* config sees to it */
    return always;
}

int64_t ek_cost_price_until_s(const struct ek_price_list *l, const char *model, uint64_t unix_ns)
{
    const struct ek_price_options *now = ek_cost_price(l, model, unix_ns);
    int64_t at_s = (int64_t)(unix_ns / EK_S_NS);
    if (!has_own(l, model)) model = "*";
    for (int changes = 0; changes < 1000; changes++) { /* of hours that another price hides: few */
        int64_t next_s = EK_ZONE_NEVER;
        for (size_t i = 0; i < l->count; i++) {
            const struct ek_price_options *p = &l->item[i];
            if (!p->hours || strcmp(p->model, model) != 0) continue;
            int64_t change_s = ek_hours_change_s(p->hours, at_s);
            if (change_s < next_s) next_s = change_s;
        }
        if (next_s == EK_ZONE_NEVER) return next_s;
        if (ek_cost_price(l, model, (uint64_t)next_s * EK_S_NS) != now) return next_s;
        at_s = next_s;
    }
    return EK_ZONE_NEVER;
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
