/* SPDX-License-Identifier: MIT */
/* Hash table from a 64-bit hash to a pointer; the caller keeps the key inside the value and compares
 * it. Open addressing with backward-shift deletion: no tombstones, so a table that lives for months
 * stays as fast as on its first day. Hash with ek_hash() and a seed from the loop's randomness when
 * keys come from outside (hash flooding). */
#ifndef EK_BASE_MAP_H
#define EK_BASE_MAP_H

#include "base/status.h"
#include "base/str.h"

struct ek_map_slot {
    uint64_t hash;
    void *value; /* NULL: empty slot */
};

struct ek_map {
    struct ek_map_slot *slots;
    size_t count;
    size_t cap; /* 0 or a power of two */
};

typedef bool ek_map_eq_fn(const void *value, const void *key);

uint64_t ek_hash(struct ek_str bytes, uint64_t seed); /* XXH3, 64 bits */

void ek_map_free(struct ek_map *m); /* the table, not the values */
/* The value whose hash is `hash` and for which eq(value, key) holds; NULL if none. */
void *ek_map_find(const struct ek_map *m, uint64_t hash, ek_map_eq_fn *eq, const void *key);
/* Adds; the caller has made sure that the key is not there. EK_NOMEM only. value is not NULL. */
EK_CHECKED enum ek_status ek_map_put(struct ek_map *m, uint64_t hash, void *value);
/* Removes and returns what ek_map_find would have returned. */
void *ek_map_take(struct ek_map *m, uint64_t hash, ek_map_eq_fn *eq, const void *key);

#endif
