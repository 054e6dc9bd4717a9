/* SPDX-License-Identifier: MIT */
/* Byte-pair merging: the table of merges and the two ways to run it.
 *
 * A symbol is a number that stands for some bytes. A merge says: `left` and `right` side by side become
 * `result`, and merges of lower rank go first, the leftmost among equals. Symbols below the vocabulary's
 * size are its tokens; those above are strings that occur only half-way through merging.
 * Source: Sennrich, Haddow, Birch 2016 (arXiv:1508.07909), as byte-level BPE of openai/gpt-2.
 *
 * The table is filled once and then only read. Work space belongs to the caller, one a thread. */
#ifndef EK_ENGINE_BPE_H
#define EK_ENGINE_BPE_H

#include "base/must.h"

#include <stdbool.h>
#include <stddef.h>

struct ek_merge {
    uint64_t pair; /* left << 32 | right; EK_PAIR_NONE: an empty place */
    uint32_t rank;
    int32_t result;
};

#define EK_PAIR_NONE UINT64_MAX

struct ek_merges {
    struct ek_merge *slots; /* open addressing, power of two, at most half full */
    size_t mask;
    size_t count;
};

void ek_merges_init(struct ek_merges *t);
void ek_merges_free(struct ek_merges *t);

/* The first rank given to a pair stays. Allocates; symbols are not negative. */
void ek_merges_add(struct ek_merges *t, int32_t left, int32_t right, uint32_t rank, int32_t result);

/* NULL when the two do not merge. */
const struct ek_merge *ek_merges_find(const struct ek_merges *t, int32_t left, int32_t right);

struct ek_bpe_node;
struct ek_bpe_cand;
struct ek_bpe_work { /* grows to the longest piece seen, 40 bytes a byte of it; zero is a fresh one */
    struct ek_bpe_node *nodes;
    size_t nodes_cap;
    struct ek_bpe_cand *heap;
    size_t heap_cap;
};

void ek_bpe_work_free(struct ek_bpe_work *w);

/* Merge sym[0..n) in place as far as it goes; returns how many symbols are left. Short pieces are
 * scanned (n*n/2 looks at an array in L1), long ones use a heap: n log n whatever the text. */
size_t ek_bpe_run(const struct ek_merges *t, struct ek_bpe_work *w, int32_t *sym, size_t n);

enum { EK_BPE_SCAN_MAX = 32 }; /* symbols; above: the heap */

/* The two by name, for tests that hold one against the other. scan: n <= EK_BPE_SCAN_MAX. */
size_t ek_bpe_scan(const struct ek_merges *t, int32_t *sym, size_t n);
size_t ek_bpe_heap(const struct ek_merges *t, struct ek_bpe_work *w, int32_t *sym, size_t n);

#endif
