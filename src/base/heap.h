/* SPDX-License-Identifier: MIT */
/* Intrusive binary min-heap on a 64-bit key (a time, a virtual counter). The element remembers its
 * slot, so that removal and re-keying cost O(log n). Equal keys leave in order of arrival: `seq`
 * breaks ties, so that two runs with one seed are the same run. */
#ifndef EK_BASE_HEAP_H
#define EK_BASE_HEAP_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

struct ek_heap_node {
    uint64_t key;
    uint64_t seq;
    size_t slot; /* 1-based place in the heap; 0 = in no heap */
};

struct ek_heap {
    struct ek_heap_node **nodes; /* nodes[0] is the smallest */
    size_t count;
    size_t cap;
    uint64_t next_seq;
};

void ek_heap_free(struct ek_heap *h); /* frees the array, not the elements */
/* Grow ahead of time to hold `count` nodes; EK_NOMEM if impossible. */
EK_CHECKED enum ek_status ek_heap_reserve(struct ek_heap *h, size_t count);
/* Add n with `key`; n must be in no heap. Grows as needed; without memory the program stops, so a
 * heap whose size comes from outside is reserved first. */
void ek_heap_put(struct ek_heap *h, struct ek_heap_node *n, uint64_t key);
void ek_heap_remove(struct ek_heap *h, struct ek_heap_node *n);
void ek_heap_rekey(struct ek_heap *h, struct ek_heap_node *n, uint64_t key);
struct ek_heap_node *ek_heap_first(const struct ek_heap *h); /* NULL when empty */
static inline bool ek_heap_has(const struct ek_heap_node *n) { return n->slot != 0; }

#endif
