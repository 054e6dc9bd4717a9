/* SPDX-License-Identifier: MIT */
/* The table. At most half full by construction, so a miss costs a step or two. */
#include "policy/index.h"

#include "base/must.h"

#include <stdlib.h>

bool ek_index_init(struct ek_index *x, uint32_t keys_max)
{
    MUST(keys_max > 0 && keys_max < 1u << 27);
    uint32_t cells = 16;
    while (cells < keys_max * 2) cells *= 2;
    *x = (struct ek_index){.mask = cells - 1};
    x->cell = calloc(cells, sizeof *x->cell);
    return x->cell != NULL;
}

void ek_index_free(struct ek_index *x)
{
    free(x->cell);
    *x = (struct ek_index){0};
}

static uint32_t home(const struct ek_index *x, uint64_t key)
{
    return (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 32) & x->mask;
}

static uint32_t find(const struct ek_index *x, uint64_t key)
{
    uint32_t i = home(x, key);
    while (x->cell[i].used && x->cell[i].key != key) i = (i + 1) & x->mask;
    return i;
}

uint32_t ek_index_find(const struct ek_index *x, uint64_t key)
{
    const struct ek_index_cell *c = &x->cell[find(x, key)];
    return c->used ? c->value : EK_INDEX_NONE;
}

void ek_index_set(struct ek_index *x, uint64_t key, uint32_t value)
{
    struct ek_index_cell *c = &x->cell[find(x, key)];
    if (!c->used) x->used++;
    MUST(x->used <= x->mask / 2 + 1);
    *c = (struct ek_index_cell){.key = key, .value = value, .used = true};
}

void ek_index_remove(struct ek_index *x, uint64_t key)
{
    uint32_t hole = find(x, key);
    MUST(x->cell[hole].used);
    x->used--;
    x->cell[hole].used = false;
    for (uint32_t i = (hole + 1) & x->mask; x->cell[i].used; i = (i + 1) & x->mask) {
        if (((i - home(x, x->cell[i].key)) & x->mask) < ((i - hole) & x->mask)) continue;
        x->cell[hole] = x->cell[i];
        x->cell[i].used = false;
        hole = i;
    }
}
