/* SPDX-License-Identifier: MIT */
/* An ordered set that also counts and sums: who stands before me, and how much work is that?
 *
 * A treap (Seidel and Aragon, 1996): a binary search tree on (key, seq) that is a heap on a random
 * priority, here a hash of seq, which no caller of the service can choose. Every node knows the count and
 * the sum of values of its subtree, so a prefix sum is one walk down. All operations are O(log n)
 * expected. Intrusive; no allocation; sums are integers modulo 2^64, so they cannot drift: what callers make
 * of them is exact as long as their result fits 63 bits, whatever overflowed on the way. Pure. */
#ifndef EK_POLICY_TREE_H
#define EK_POLICY_TREE_H

#include <stdbool.h>
#include <stdint.h>

struct ek_tree_node {
    struct ek_tree_node *left, *right;
    int64_t key;
    uint64_t seq; /* breaks ties; (key, seq) is unique in a tree */
    int64_t value;
    uint64_t sum;   /* of values of this subtree */
    uint32_t count; /* of nodes of this subtree; 0: in no tree */
    uint32_t priority;
};

struct ek_tree {
    struct ek_tree_node *root;
};

struct ek_tree_sum {
    uint32_t count;
    uint64_t sum;
};

/* Add n, which is in no tree. */
void ek_tree_put(struct ek_tree *t, struct ek_tree_node *n, int64_t key, uint64_t seq, int64_t value);
void ek_tree_remove(struct ek_tree *t, struct ek_tree_node *n);
void ek_tree_set_value(struct ek_tree *t, struct ek_tree_node *n, int64_t value);
struct ek_tree_node *ek_tree_first(const struct ek_tree *t); /* NULL when empty */
/* The first with a key of at least `key`; NULL: none. */
struct ek_tree_node *ek_tree_first_from(const struct ek_tree *t, int64_t key);
/* Everything strictly before (key, seq). */
struct ek_tree_sum ek_tree_before(const struct ek_tree *t, int64_t key, uint64_t seq);
static inline uint32_t ek_tree_count(const struct ek_tree *t) { return t->root ? t->root->count : 0; }
static inline bool ek_tree_has(const struct ek_tree_node *n) { return n->count != 0; }
/* Every invariant, O(n); for tests. */
void ek_tree_check(const struct ek_tree *t);

#endif
