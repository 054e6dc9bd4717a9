/* SPDX-License-Identifier: MIT */
/* Linear probing at a load of at most 3/4. */
#include "base/map.h"

#include <stdlib.h>
#include <xxhash.h>

#define MAP_FIRST_SLOTS 16

uint64_t ek_hash(struct ek_str bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.len, seed);
}

void ek_map_free(struct ek_map *m)
{
    free(m->slots);
    *m = (struct ek_map){0};
}

static void insert(struct ek_map *m, uint64_t hash, void *value)
{
    size_t at = hash & (m->cap - 1);
    while (m->slots[at].value) at = (at + 1) & (m->cap - 1);
    m->slots[at] = (struct ek_map_slot){hash, value};
    m->count++;
}

static enum ek_status grow(struct ek_map *m)
{
    size_t cap = m->cap ? m->cap * 2 : MAP_FIRST_SLOTS;
    struct ek_map bigger = {.slots = calloc(cap, sizeof *bigger.slots), .cap = cap};
    if (!bigger.slots) return EK_NOMEM;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value) insert(&bigger, m->slots[i].hash, m->slots[i].value);
    MUST(bigger.count == m->count);
    free(m->slots);
    *m = bigger;
    return EK_OK;
}

static size_t find_slot(const struct ek_map *m, uint64_t hash, ek_map_eq_fn *eq, const void *key)
{
    if (m->count == 0) return SIZE_MAX;
    for (size_t at = hash & (m->cap - 1); m->slots[at].value; at = (at + 1) & (m->cap - 1))
        if (m->slots[at].hash == hash && eq(m->slots[at].value, key)) return at;
    return SIZE_MAX;
}

void *ek_map_find(const struct ek_map *m, uint64_t hash, ek_map_eq_fn *eq, const void *key)
{
    size_t at = find_slot(m, hash, eq, key);
    return at == SIZE_MAX ? NULL : m->slots[at].value;
}

enum ek_status ek_map_put(struct ek_map *m, uint64_t hash, void *value)
{
    MUST(value != NULL);
    if (m->count + 1 > m->cap / 4 * 3) {
        enum ek_status s = grow(m);
        if (s != EK_OK) return s;
    }
    insert(m, hash, value);
    return EK_OK;
}

void *ek_map_take(struct ek_map *m, uint64_t hash, ek_map_eq_fn *eq, const void *key)
{
    size_t hole = find_slot(m, hash, eq, key);
    if (hole == SIZE_MAX) return NULL;
    void *value = m->slots[hole].value;
    size_t mask = m->cap - 1;
    /* Pull back every later member of the run whose home is at or before the hole. */
    for (size_t at = (hole + 1) & mask; m->slots[at].value; at = (at + 1) & mask) {
        size_t home = m->slots[at].hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            m->slots[hole] = m->slots[at];
            hole = at;
        }
    }
    m->slots[hole] = (struct ek_map_slot){0};
    m->count--;
    return value;
}
