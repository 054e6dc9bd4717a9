/* SPDX-License-Identifier: MIT */
/* The table of kinds. Two kinds with one hash are kept apart: the second goes under the next key, since money
 * depends on which is which. */
#include "policy/kinds.h"

#include "base/must.h"

#include <stdlib.h>

bool ek_kinds_init(struct ek_kinds *x, uint32_t kinds_max)
{
    MUST(kinds_max > 0);
    *x = (struct ek_kinds){.max = kinds_max};
    x->kind = calloc(kinds_max, sizeof *x->kind);
    if (ek_index_init(&x->index, kinds_max) && x->kind) return true;
    ek_kinds_free(x);
    return false;
}

void ek_kinds_free(struct ek_kinds *x)
{
    ek_index_free(&x->index);
    free(x->kind);
    *x = (struct ek_kinds){0};
}

static bool same(const struct ek_kind *k, uint64_t model, uint32_t effort, struct ek_desk_price price)
{
    return k->model == model && k->effort == effort && k->price.cached_pico == price.cached_pico &&
           k->price.prompt_pico == price.prompt_pico && k->price.output_pico == price.output_pico;
}

static struct ek_kind *take(struct ek_kinds *x)
{
    if (!x->first_free) {
        MUST(x->made < x->max);
        return &x->kind[x->made++];
    }
    struct ek_kind *k = &x->kind[x->first_free - 1];
    MUST(k->members == 0);
    x->first_free = k->next_free;
    return k;
}

uint32_t ek_kinds_join(struct ek_kinds *x, uint64_t model, uint32_t effort, struct ek_desk_price price)
{
    uint64_t key = ek_index_mix(ek_index_mix(model, effort), (uint64_t)price.output_pico);
    key = ek_index_mix(ek_index_mix(key, (uint64_t)price.prompt_pico), (uint64_t)price.cached_pico);
    uint32_t at;
    while ((at = ek_index_find(&x->index, key)) != EK_INDEX_NONE) {
        if (same(&x->kind[at], model, effort, price)) {
            MUST(x->kind[at].members > 0);
            x->kind[at].members++;
            return at;
        }
        key++;
    }
    struct ek_kind *k = take(x);
    *k = (struct ek_kind){.model = model, .price = price, .effort = effort, .members = 1, .key = key};
    at = (uint32_t)(k - x->kind);
    ek_index_set(&x->index, key, at);
    return at;
}

void ek_kinds_leave(struct ek_kinds *x, uint32_t number)
{
    MUST(number < x->made && x->kind[number].members > 0);
    struct ek_kind *k = &x->kind[number];
    if (--k->members > 0) return;
    ek_index_remove(&x->index, k->key);
    k->next_free = x->first_free;
    x->first_free = number + 1;
}
