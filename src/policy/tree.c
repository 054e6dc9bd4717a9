/* SPDX-License-Identifier: MIT */
/* The treap. Insertion walks down until its priority says that it belongs here, then splits what is below;
 * removal walks down and merges the two halves left behind. */
#include "policy/tree.h"

#include "base/must.h"

#include <stddef.h>

static bool before(const struct ek_tree_node *n, int64_t key, uint64_t seq)
{
    return n->key < key || (n->key == key && n->seq < seq);
}

static void pull_up(struct ek_tree_node *n)
{
    n->count = 1 + (n->left ? n->left->count : 0) + (n->right ? n->right->count : 0);
    n->sum = (uint64_t)n->value + (n->left ? n->left->sum : 0) + (n->right ? n->right->sum : 0);
}

/* The finalizer of SplitMix64. */
static uint32_t mix(uint64_t x)
{
    x = (x + 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return (uint32_t)(x >> 32);
}

static void split(struct ek_tree_node *n, int64_t key, uint64_t seq, struct ek_tree_node **low,
                  struct ek_tree_node **high)
{
    if (!n) {
        *low = *high = NULL;
        return;
    }
    if (before(n, key, seq)) {
        split(n->right, key, seq, &n->right, high);
        *low = n;
    } else {
        split(n->left, key, seq, low, &n->left);
        *high = n;
    }
    pull_up(n);
}

static struct ek_tree_node *merge(struct ek_tree_node *low, struct ek_tree_node *high)
{
    if (!low) return high;
    if (!high) return low;
    if (low->priority >= high->priority) {
        low->right = merge(low->right, high);
        pull_up(low);
        return low;
    }
    high->left = merge(low, high->left);
    pull_up(high);
    return high;
}

void ek_tree_put(struct ek_tree *t, struct ek_tree_node *n, int64_t key, uint64_t seq, int64_t value)
{
    struct ek_tree_node **at = &t->root;
    MUST(n->count == 0);
    n->key = key;
    n->seq = seq;
    n->value = value;
    n->priority = mix(seq);
    while (*at && (*at)->priority >= n->priority) {
        MUST((*at)->key != key || (*at)->seq != seq);
        (*at)->count++;
        (*at)->sum += (uint64_t)value;
        at = before(*at, key, seq) ? &(*at)->right : &(*at)->left;
    }
    split(*at, key, seq, &n->left, &n->right);
    pull_up(n);
    *at = n;
}

void ek_tree_remove(struct ek_tree *t, struct ek_tree_node *n)
{
    struct ek_tree_node **at = &t->root;
    MUST(n->count > 0);
    while (*at != n) {
        MUST(*at);
        (*at)->count--;
        (*at)->sum -= (uint64_t)n->value;
        at = before(*at, n->key, n->seq) ? &(*at)->right : &(*at)->left;
    }
    *at = merge(n->left, n->right);
    n->left = n->right = NULL;
    n->count = 0;
}

void ek_tree_set_value(struct ek_tree *t, struct ek_tree_node *n, int64_t value)
{
    MUST(n->count > 0);
    uint64_t by = (uint64_t)value - (uint64_t)n->value;
    struct ek_tree_node *at = t->root;
    while (at != n) {
        MUST(at);
        at->sum += by;
        at = before(at, n->key, n->seq) ? at->right : at->left;
    }
    n->sum += by;
    n->value = value;
}

struct ek_tree_node *ek_tree_first(const struct ek_tree *t)
{
    struct ek_tree_node *n = t->root;
    while (n && n->left) n = n->left;
    return n;
}

struct ek_tree_node *ek_tree_first_from(const struct ek_tree *t, int64_t key)
{
    struct ek_tree_node *best = NULL;
    for (struct ek_tree_node *n = t->root; n; n = n->key >= key ? n->left : n->right)
        if (n->key >= key) best = n;
    return best;
}

struct ek_tree_sum ek_tree_before(const struct ek_tree *t, int64_t key, uint64_t seq)
{
    struct ek_tree_sum s = {0};
    const struct ek_tree_node *n = t->root;
    while (n) {
        if (!before(n, key, seq)) {
            n = n->left;
            continue;
        }
        s.count += 1 + (n->left ? n->left->count : 0);
        s.sum += (uint64_t)n->value + (n->left ? n->left->sum : 0);
        n = n->right;
    }
    return s;
}

static void check(const struct ek_tree_node *n)
{
    if (!n) return;
    struct ek_tree_node copy = *n;
    check(n->left);
    check(n->right);
    pull_up(&copy);
    MUST(copy.count == n->count && copy.sum == n->sum);
    MUST(!n->left || (before(n->left, n->key, n->seq) && n->left->priority <= n->priority));
    MUST(!n->right || (before(n, n->right->key, n->right->seq) && n->right->priority <= n->priority));
}

void ek_tree_check(const struct ek_tree *t)
{
    check(t->root);
}
