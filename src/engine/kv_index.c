/* SPDX-License-Identifier: MIT */
/* Nodes in one array that grows, linked three times: by age (older, newer), in the bucket of their hash
 * (next), and, when free, by `next` too. Buckets double with the array, and everything is linked anew. */
#include "engine/kv_index.h"

#include <stdlib.h>

#define NONE UINT32_MAX

struct node {
    struct ek_kv_name name;
    uint32_t older, newer, next;
};

struct ek_kv_index {
    struct node *node;
    uint32_t *bucket; /* [cap] */
    uint32_t cap, count, max, free_nodes;
    uint32_t oldest, newest;
};

struct ek_kv_index *ek_kv_index_new(uint32_t names_max)
{
    struct ek_kv_index *x = calloc(1, sizeof *x);
    MUST(x && names_max > 0);
    *x = (struct ek_kv_index){.max = names_max, .free_nodes = NONE, .oldest = NONE, .newest = NONE};
    return x;
}

void ek_kv_index_free(struct ek_kv_index **xp)
{
    if (!*xp) return;
    free((*xp)->node);
    free((*xp)->bucket);
    free(*xp);
    *xp = NULL;
}

static uint32_t *bucket_of(const struct ek_kv_index *x, struct ek_kv_name name)
{
    return &x->bucket[name.lo & (x->cap - 1)];
}

static uint32_t find(const struct ek_kv_index *x, struct ek_kv_name name)
{
    uint32_t at = x->cap ? *bucket_of(x, name) : NONE;
    for (; at != NONE; at = x->node[at].next) {
        if (x->node[at].name.lo == name.lo && x->node[at].name.hi == name.hi) break;
    }
    return at;
}

static void grow(struct ek_kv_index *x)
{
    uint32_t cap = x->cap ? 2 * x->cap : 64;
    x->node = realloc(x->node, cap * sizeof *x->node);
    x->bucket = realloc(x->bucket, cap * sizeof *x->bucket);
    MUST(x->node && x->bucket && x->free_nodes == NONE);
    for (uint32_t i = cap; i > x->cap; i--) {
        x->node[i - 1].next = x->free_nodes;
        x->free_nodes = i - 1;
    }
    x->cap = cap;
    for (uint32_t i = 0; i < cap; i++) x->bucket[i] = NONE;
    for (uint32_t at = x->oldest; at != NONE; at = x->node[at].newer) {
        uint32_t *head = bucket_of(x, x->node[at].name);
        x->node[at].next = *head;
        *head = at;
    }
}

static void link_newest(struct ek_kv_index *x, uint32_t at)
{
    x->node[at].older = x->newest;
    x->node[at].newer = NONE;
    *(x->newest == NONE ? &x->oldest : &x->node[x->newest].newer) = at;
    x->newest = at;
}

static void unlink_age(struct ek_kv_index *x, uint32_t at)
{
    const struct node *n = &x->node[at];
    *(n->older == NONE ? &x->oldest : &x->node[n->older].newer) = n->newer;
    *(n->newer == NONE ? &x->newest : &x->node[n->newer].older) = n->older;
}

bool ek_kv_index_has(const struct ek_kv_index *x, struct ek_kv_name name) { return find(x, name) != NONE; }
bool ek_kv_index_full(const struct ek_kv_index *x) { return x->count == x->max; }
uint32_t ek_kv_index_count(const struct ek_kv_index *x) { return x->count; }

void ek_kv_index_add(struct ek_kv_index *x, struct ek_kv_name name)
{
    if (find(x, name) != NONE) {
        ek_kv_index_use(x, name);
        return;
    }
    if (ek_kv_index_full(x)) return;
    if (x->free_nodes == NONE) grow(x);
    uint32_t at = x->free_nodes, *head = bucket_of(x, name);
    x->free_nodes = x->node[at].next;
    x->node[at].name = name;
    x->node[at].next = *head;
    *head = at;
    link_newest(x, at);
    x->count++;
}

void ek_kv_index_use(struct ek_kv_index *x, struct ek_kv_name name)
{
    uint32_t at = find(x, name);
    MUST(at != NONE);
    unlink_age(x, at);
    link_newest(x, at);
}

void ek_kv_index_remove(struct ek_kv_index *x, struct ek_kv_name name)
{
    uint32_t at = find(x, name);
    if (at == NONE) return;
    uint32_t *link = bucket_of(x, name);
    while (*link != at) link = &x->node[*link].next;
    *link = x->node[at].next;
    unlink_age(x, at);
    x->node[at].next = x->free_nodes;
    x->free_nodes = at;
    MUST(x->count > 0);
    x->count--;
}

bool ek_kv_index_pop_oldest(struct ek_kv_index *x, struct ek_kv_name *out)
{
    if (x->oldest == NONE) return false;
    *out = x->node[x->oldest].name;
    ek_kv_index_remove(x, *out);
    return true;
}
