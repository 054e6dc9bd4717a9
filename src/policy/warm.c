/* SPDX-License-Identifier: MIT */
/* The table of warm prefixes. */
#include "policy/warm.h"

#include "base/must.h"
#include "policy/index.h"

#include <stdlib.h>
#include <string.h>

#define WAYS 4u

bool ek_warm_init(struct ek_warm *w, uint32_t cells)
{
    MUST(cells >= WAYS && (cells & (cells - 1)) == 0);
    *w = (struct ek_warm){.mask = cells - 1};
    w->cell = calloc(cells, sizeof *w->cell);
    return w->cell != NULL;
}

void ek_warm_free(struct ek_warm *w)
{
    free(w->cell);
    *w = (struct ek_warm){0};
}

static struct ek_warm_cell *set_of(const struct ek_warm *w, uint64_t key)
{
    return &w->cell[(uint32_t)(key >> 16) & w->mask & ~(WAYS - 1)];
}

void ek_warm_touch(struct ek_warm *w, uint32_t upstream, const struct ek_chain *chain)
{
    MUST(chain->count <= EK_DESK_PREFIX_MAX);
    w->time++;
    for (uint32_t k = 0; k < chain->count; k++) {
        uint64_t key = ek_index_mix(chain->tag[k], upstream + 1);
        struct ek_warm_cell *set = set_of(w, key), *at = set;
        for (uint32_t i = 0; i < WAYS; i++) {
            if (set[i].key == key && set[i].used) {
                at = &set[i];
                break;
            }
            if (set[i].used < at->used) at = &set[i];
        }
        *at = (struct ek_warm_cell){.key = key, .used = w->time};
    }
}

uint32_t ek_warm_tokens(const struct ek_warm *w, uint32_t upstream, const struct ek_chain *chain)
{
    MUST(chain->count <= EK_DESK_PREFIX_MAX);
    for (uint32_t k = chain->count; k > 0; k--) {
        uint64_t key = ek_index_mix(chain->tag[k - 1], upstream + 1);
        const struct ek_warm_cell *set = set_of(w, key);
        for (uint32_t i = 0; i < WAYS; i++)
            if (set[i].key == key && set[i].used) return chain->tokens[k - 1];
    }
    return 0;
}

void ek_warm_forget_all(struct ek_warm *w)
{
    memset(w->cell, 0, ((size_t)w->mask + 1) * sizeof *w->cell);
}
