/* SPDX-License-Identifier: MIT */
/* The store of chains: one array of words, a list of places let go for each count. */
#include "policy/chain.h"

#include "base/must.h"

#include <stdlib.h>
#include <string.h>

#define SHARES 255u /* parts of a prompt */

static uint32_t words_of(uint32_t count)
{
    return count + (count + 3) / 4;
}

bool ek_chains_init(struct ek_chains *x, uint32_t requests_max)
{
    uint32_t each = 0;
    MUST(requests_max > 0 && requests_max < 1u << 20);
    for (uint32_t count = 1; count <= EK_DESK_PREFIX_MAX; count++) each += words_of(count);
    *x = (struct ek_chains){.words = 1 + requests_max * each, .made = 1};
    x->word = calloc(x->words, sizeof *x->word);
    return x->word != NULL;
}

void ek_chains_free(struct ek_chains *x)
{
    free(x->word);
    *x = (struct ek_chains){0};
}

uint32_t ek_chains_put(struct ek_chains *x, const struct ek_prefix *prefix, uint32_t count,
                       uint32_t prompt_tokens)
{
    uint8_t share[EK_DESK_PREFIX_MAX] = {0};
    MUST(count <= EK_DESK_PREFIX_MAX);
    if (count == 0) return 0;
    uint32_t place = x->free[count];
    if (place) {
        x->free[count] = x->word[place];
    } else {
        place = x->made;
        x->made += words_of(count);
        MUST(x->made <= x->words);
    }
    for (uint32_t k = 0; k < count; k++) {
        uint64_t part = prompt_tokens ? (uint64_t)prefix[k].tokens * SHARES / prompt_tokens : 0;
        x->word[place + k] = (uint32_t)prefix[k].hash;
        share[k] = (uint8_t)(part > SHARES ? SHARES : part);
    }
    memcpy(&x->word[place + count], share, (words_of(count) - count) * sizeof *x->word);
    return place;
}

void ek_chains_drop(struct ek_chains *x, uint32_t place, uint32_t count)
{
    MUST(count <= EK_DESK_PREFIX_MAX);
    if (count == 0) return;
    MUST(place > 0 && place < x->made);
    x->word[place] = x->free[count];
    x->free[count] = place;
}

const uint32_t *ek_chains_tags(const struct ek_chains *x, uint32_t place, uint32_t count)
{
    MUST(count > 0 && place > 0 && place + words_of(count) <= x->made);
    return &x->word[place];
}

struct ek_chain ek_chains_get(const struct ek_chains *x, uint32_t place, uint32_t count,
                              uint32_t prompt_tokens)
{
    struct ek_chain c = {.count = count};
    uint8_t share[EK_DESK_PREFIX_MAX];
    MUST(count <= EK_DESK_PREFIX_MAX);
    if (count == 0) return c;
    const uint32_t *word = ek_chains_tags(x, place, count);
    memcpy(c.tag, word, count * sizeof *word);
    memcpy(share, word + count, count);
    for (uint32_t k = 0; k < count; k++)
        c.tokens[k] = (uint32_t)((uint64_t)share[k] * prompt_tokens / SHARES);
    return c;
}
