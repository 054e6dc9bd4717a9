/* SPDX-License-Identifier: MIT */
/* Byte-pair merging. Owns the merge table's slots and a thread's work space; decides nothing about
 * text. Must give the same symbols by scan and by heap, and must not go quadratic on a long piece. */
#include "engine/bpe.h"

#include <stdlib.h>

static size_t pair_hash(uint64_t pair)
{
    pair ^= pair >> 29; /* splitmix64's finisher, shortened: the two ids must both reach the low bits */
    pair *= 0xBF58476D1CE4E5B9ULL;
    return (size_t)(pair ^ (pair >> 32));
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static void table_make(struct ek_merges *t, size_t cap)
{
    t->slots = malloc(cap * sizeof *t->slots);
    MUST(t->slots);
    for (size_t i = 0; i < cap; i++) t->slots[i].pair = EK_PAIR_NONE;
    t->mask = cap - 1;
    t->count = 0;
}

void ek_merges_init(struct ek_merges *t)
{
    table_make(t, 1024);
}

void ek_merges_free(struct ek_merges *t)
{
    free(t->slots);
    *t = (struct ek_merges){0};
}

static void table_grow(struct ek_merges *t)
{
    struct ek_merges old = *t;
    MUST(old.mask < SIZE_MAX / 64);
    table_make(t, (old.mask + 1) * 2);
    for (size_t i = 0; i <= old.mask; i++) {
        if (old.slots[i].pair == EK_PAIR_NONE) continue;
        size_t at = pair_hash(old.slots[i].pair) & t->mask;
        while (t->slots[at].pair != EK_PAIR_NONE) at = (at + 1) & t->mask;
        t->slots[at] = old.slots[i];
        t->count++;
    }
    MUST(t->count == old.count);
    free(old.slots);
}

void ek_merges_add(struct ek_merges *t, int32_t left, int32_t right, uint32_t rank, int32_t result)
{
    MUST(left >= 0 && right >= 0 && result >= 0);
    if (t->count > t->mask / 2) table_grow(t);
    uint64_t pair = pair_of(left, right);
    size_t at = pair_hash(pair) & t->mask;
    while (t->slots[at].pair != EK_PAIR_NONE) {
        if (t->slots[at].pair == pair) return;
        at = (at + 1) & t->mask;
    }
    t->slots[at] = (struct ek_merge){pair, rank, result};
    t->count++;
}

const struct ek_merge *ek_merges_find(const struct ek_merges *t, int32_t left, int32_t right)
{
    uint64_t pair = pair_of(left, right);
    size_t at = pair_hash(pair) & t->mask;
    while (t->slots[at].pair != EK_PAIR_NONE) {
        if (t->slots[at].pair == pair) return &t->slots[at];
        at = (at + 1) & t->mask;
    }
    return NULL;
}

size_t ek_bpe_scan(const struct ek_merges *t, int32_t *sym, size_t n)
{
    MUST(n <= EK_BPE_SCAN_MAX);
    const struct ek_merge *next[EK_BPE_SCAN_MAX]; /* next[i]: how sym[i] and sym[i+1] merge, or NULL */
    for (size_t i = 0; i + 1 < n; i++) next[i] = ek_merges_find(t, sym[i], sym[i + 1]);
    while (n > 1) {
        size_t best = n;
        for (size_t i = 0; i + 1 < n; i++) {
            if (next[i] && (best == n || next[i]->rank < next[best]->rank)) best = i;
        }
        if (best == n) break;
        sym[best] = next[best]->result;
        for (size_t i = best + 1; i + 1 < n; i++) {
            sym[i] = sym[i + 1];
            next[i] = i + 2 < n ? next[i + 1] : NULL;
        }
        n--;
        next[best] = best + 1 < n ? ek_merges_find(t, sym[best], sym[best + 1]) : NULL;
        if (best > 0) next[best - 1] = ek_merges_find(t, sym[best - 1], sym[best]);
    }
    return n;
}

/* Long pieces.  The symbols are a chain through an array:
 *
 *     nodes   [ th ]--[ e ]--[ gone ]--[ re ]        a merge writes its result into the left node and
 *                 \______________________/           unlinks the right one, which becomes -1
 *
 * and every pair that may merge lies in a heap by (rank, place). Candidates are never removed when a
 * neighbour changes; one that comes up is stale unless both its symbols still stand as they did. */
struct ek_bpe_node {
    int32_t sym; /* -1: merged away */
    int32_t prev;
    int32_t next;
};

struct ek_bpe_cand {
    uint32_t rank;
    int32_t left; /* place */
    const struct ek_merge *merge;
};

static bool before(const struct ek_bpe_cand *a, const struct ek_bpe_cand *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static void heap_push(struct ek_bpe_cand *heap, size_t *count, struct ek_bpe_cand c)
{
    size_t at = (*count)++;
    while (at > 0 && before(&c, &heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = c;
}

static struct ek_bpe_cand heap_pop(struct ek_bpe_cand *heap, size_t *count)
{
    struct ek_bpe_cand top = heap[0], last = heap[--(*count)];
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= *count) break;
        if (child + 1 < *count && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

static void consider(const struct ek_merges *t, struct ek_bpe_work *w, size_t *count, int32_t left)
{
    if (left < 0 || w->nodes[left].next < 0) return;
    const struct ek_merge *m = ek_merges_find(t, w->nodes[left].sym, w->nodes[w->nodes[left].next].sym);
    if (!m) return;
    MUST(*count < w->heap_cap);
    heap_push(w->heap, count, (struct ek_bpe_cand){m->rank, left, m});
}

static void work_grow(struct ek_bpe_work *w, size_t n)
{
    if (n > w->nodes_cap) {
        w->nodes = realloc(w->nodes, n * sizeof *w->nodes);
        w->nodes_cap = n;
    }
    if (n * 3 > w->heap_cap) { /* n - 1 at the start, and each of n - 1 merges adds at most two */
        w->heap = realloc(w->heap, n * 3 * sizeof *w->heap);
        w->heap_cap = n * 3;
    }
    MUST(w->nodes && w->heap);
}

void ek_bpe_work_free(struct ek_bpe_work *w)
{
    free(w->nodes);
    free(w->heap);
    *w = (struct ek_bpe_work){0};
}

size_t ek_bpe_heap(const struct ek_merges *t, struct ek_bpe_work *w, int32_t *sym, size_t n)
{
    if (n == 0) return 0;
    MUST(n < INT32_MAX / 4);
    work_grow(w, n);
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        w->nodes[i] = (struct ek_bpe_node){sym[i], (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
    }
    for (size_t i = 0; i + 1 < n; i++) consider(t, w, &count, (int32_t)i);
    while (count > 0) {
        struct ek_bpe_cand c = heap_pop(w->heap, &count);
        struct ek_bpe_node *left = &w->nodes[c.left];
        if (left->sym < 0 || left->next < 0) continue;
        struct ek_bpe_node *right = &w->nodes[left->next];
        if (pair_of(left->sym, right->sym) != c.merge->pair) continue;
        left->sym = c.merge->result;
        right->sym = -1;
        left->next = right->next;
        if (left->next >= 0) w->nodes[left->next].prev = c.left;
        consider(t, w, &count, left->prev);
        consider(t, w, &count, c.left);
    }
    size_t out = 0;
    for (int32_t at = 0; at >= 0; at = w->nodes[at].next) sym[out++] = w->nodes[at].sym;
    return out;
}

size_t ek_bpe_run(const struct ek_merges *t, struct ek_bpe_work *w, int32_t *sym, size_t n)
{
    return n <= EK_BPE_SCAN_MAX ? ek_bpe_scan(t, sym, n) : ek_bpe_heap(t, w, sym, n);
}
