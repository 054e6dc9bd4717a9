/* SPDX-License-Identifier: MIT */
/* The prefix cache: a hash table by chaining over a fixed array of nodes, which is also the list in
 * order of use. Inside one request the last blocks are touched first, so that a chain of blocks loses
 * its tail before its head and what is held stays usable. */
#include "sim/cache.h"

#include "base/must.h"

#include <stdlib.h>

struct node {
    uint32_t id; /* 0: free */
    uint32_t chain;
    uint32_t older, newer; /* NONE at the ends */
};

#define NONE UINT32_MAX

struct ek_sim_cache {
    uint32_t max, used, mask;
    uint32_t oldest, newest;
    uint32_t *bucket;
    struct node *node;
};

struct ek_sim_cache *ek_sim_cache_new(uint32_t blocks_max)
{
    struct ek_sim_cache *c = calloc(1, sizeof *c);
    MUST(c && blocks_max > 0 && blocks_max <= 1u << 26);
    uint32_t buckets = 16;
    while (buckets < blocks_max) buckets *= 2;
    c->max = blocks_max;
    c->mask = buckets - 1;
    c->oldest = c->newest = NONE;
    c->bucket = malloc(buckets * sizeof *c->bucket);
    c->node = calloc(blocks_max, sizeof *c->node);
    MUST(c->bucket && c->node);
    for (uint32_t i = 0; i < buckets; i++) c->bucket[i] = NONE;
    return c;
}

void ek_sim_cache_free(struct ek_sim_cache *c)
{
    if (!c) return;
    free(c->bucket);
    free(c->node);
    free(c);
}

static uint32_t *bucket_of(const struct ek_sim_cache *c, uint32_t id)
{
    return &c->bucket[(id * 2654435761u >> 7) & c->mask];
}

static uint32_t find(const struct ek_sim_cache *c, uint32_t id)
{
    uint32_t i = *bucket_of(c, id);
    while (i != NONE && c->node[i].id != id) i = c->node[i].chain;
    return i;
}

static void unlink_use(struct ek_sim_cache *c, uint32_t i)
{
    struct node *n = &c->node[i];
    if (n->older != NONE) c->node[n->older].newer = n->newer;
    if (n->newer != NONE) c->node[n->newer].older = n->older;
    if (c->oldest == i) c->oldest = n->newer;
    if (c->newest == i) c->newest = n->older;
}

static void use(struct ek_sim_cache *c, uint32_t i)
{
    c->node[i].older = c->newest;
    c->node[i].newer = NONE;
    if (c->newest != NONE) c->node[c->newest].newer = i;
    c->newest = i;
    if (c->oldest == NONE) c->oldest = i;
}

static uint32_t take_node(struct ek_sim_cache *c)
{
    if (c->used < c->max) return c->used++;
    uint32_t i = c->oldest;
    MUST(i != NONE);
    unlink_use(c, i);
    uint32_t *at = bucket_of(c, c->node[i].id);
    while (*at != i) at = &c->node[*at].chain;
    *at = c->node[i].chain;
    return i;
}

uint32_t ek_sim_cache_peek(const struct ek_sim_cache *c, const uint32_t *id, uint32_t count)
{
    uint32_t held = 0;
    while (held < count && find(c, id[held]) != NONE) held++;
    return held;
}

uint32_t ek_sim_cache_hit(struct ek_sim_cache *c, const uint32_t *id, uint32_t count)
{
    uint32_t held = ek_sim_cache_peek(c, id, count);
    for (uint32_t k = held; k > 0; k--) {
        uint32_t i = find(c, id[k - 1]);
        unlink_use(c, i);
        use(c, i);
    }
    return held;
}

void ek_sim_cache_add(struct ek_sim_cache *c, const uint32_t *id, uint32_t count)
{
    if (count > c->max) count = c->max;
    for (uint32_t k = count; k > 0; k--) {
        MUST(id[k - 1] != 0);
        uint32_t i = find(c, id[k - 1]);
        if (i != NONE) {
            unlink_use(c, i);
        } else {
            i = take_node(c);
            uint32_t *at = bucket_of(c, id[k - 1]);
            c->node[i] = (struct node){.id = id[k - 1], .chain = *at};
            *at = i;
        }
        use(c, i);
    }
}
