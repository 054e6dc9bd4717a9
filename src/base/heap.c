/* SPDX-License-Identifier: MIT */
/* Textbook binary heap; the only liberty is that nodes carry their own slot. */
#include "base/heap.h"

#include <stdlib.h>

static bool before(const struct ek_heap_node *a, const struct ek_heap_node *b)
{
    return a->key < b->key || (a->key == b->key && a->seq < b->seq);
}

static void place(struct ek_heap *h, size_t index, struct ek_heap_node *n)
{
    h->nodes[index] = n;
    n->slot = index + 1;
}

static void sift_up(struct ek_heap *h, size_t index)
{
    struct ek_heap_node *n = h->nodes[index];
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (!before(n, h->nodes[parent])) break;
        place(h, index, h->nodes[parent]);
        index = parent;
    }
    place(h, index, n);
}

static void sift_down(struct ek_heap *h, size_t index)
{
    struct ek_heap_node *n = h->nodes[index];
    for (;;) {
        size_t child = index * 2 + 1;
        if (child >= h->count) break;
        if (child + 1 < h->count && before(h->nodes[child + 1], h->nodes[child])) child++;
        if (!before(h->nodes[child], n)) break;
        place(h, index, h->nodes[child]);
        index = child;
    }
    place(h, index, n);
}

void ek_heap_free(struct ek_heap *h)
{
    free(h->nodes);
    *h = (struct ek_heap){0};
}

enum ek_status ek_heap_reserve(struct ek_heap *h, size_t count)
{
    size_t bytes;
    if (count <= h->cap) return EK_OK;
    if (__builtin_mul_overflow(count, sizeof(struct ek_heap_node *), &bytes)) return EK_NOMEM;
    struct ek_heap_node **nodes = realloc(h->nodes, bytes);
    if (!nodes) return EK_NOMEM;
    h->nodes = nodes;
    h->cap = count;
    return EK_OK;
}

void ek_heap_put(struct ek_heap *h, struct ek_heap_node *n, uint64_t key)
{
    MUST(n->slot == 0);
    if (h->count == h->cap) MUST(ek_heap_reserve(h, h->cap ? h->cap * 2 : 16) == EK_OK);
    n->key = key;
    n->seq = h->next_seq++;
    place(h, h->count++, n);
    sift_up(h, h->count - 1);
}

void ek_heap_remove(struct ek_heap *h, struct ek_heap_node *n)
{
    MUST(n->slot > 0 && n->slot <= h->count);
    MUST(h->nodes[n->slot - 1] == n);
    size_t index = n->slot - 1;
    struct ek_heap_node *last = h->nodes[--h->count];
    n->slot = 0;
    if (last == n) return;
    place(h, index, last);
    sift_up(h, index);
    sift_down(h, last->slot - 1);
}

void ek_heap_rekey(struct ek_heap *h, struct ek_heap_node *n, uint64_t key)
{
    MUST(n->slot > 0 && h->nodes[n->slot - 1] == n);
    n->key = key;
    sift_up(h, n->slot - 1);
    sift_down(h, n->slot - 1);
}

struct ek_heap_node *ek_heap_first(const struct ek_heap *h)
{
    return h->count ? h->nodes[0] : NULL;
}
