/* SPDX-License-Identifier: MIT */
/* One level of fair queueing. Three trees hold what the header promises; a member is in `head` when it
 * takes part, and in `rest` and `end` when it also has more than one request waiting. */
#include "policy/fair.h"

#include "base/must.h"

#include <stddef.h>

/* Put the node where its numbers say, touching only the trees in which something changes. */
static void place(struct ek_tree *t, struct ek_tree_node *n, bool in, int64_t key, uint64_t seq,
                  int64_t value)
{
    if (ek_tree_has(n)) {
        if (in && n->key == key && n->seq == seq) {
            if (n->value != value) ek_tree_set_value(t, n, value);
            return;
        }
        ek_tree_remove(t, n);
    }
    if (in) ek_tree_put(t, n, key, seq, value);
}

static void arrange(struct ek_fair *f, struct ek_fair_node *n)
{
    bool in = n->count > 0 && !n->held;
    bool deep = in && n->count > 1;
    int64_t b = n->counter + n->first;
    int64_t e = n->counter + n->work;
    place(&f->head, &n->head, in, n->counter, n->seq, n->first);
    place(&f->rest, &n->rest, deep, b, n->seq, b);
    place(&f->end, &n->end, deep, e, n->seq, e);
}

static void raise_floor(struct ek_fair *f)
{
    const struct ek_fair_node *least = ek_fair_next(f);
    if (least && (double)least->counter > f->floor) f->floor = (double)least->counter;
}

static void count_in(struct ek_fair *f, const struct ek_fair_node *n, int sign)
{
    if (n->held) return;
    f->work += sign * n->work;
    f->count += (uint32_t)(sign * (int)n->count);
    MUST(f->work >= 0);
}

void ek_fair_set(struct ek_fair *f, struct ek_fair_node *n, uint32_t count, int64_t work, int64_t first,
                 bool keep)
{
    MUST(count > 0 || work == 0);
    MUST(first <= work && first >= 0);
    if (n->count == 0 && count > 0) {
        if (!keep && (double)n->counter < f->floor) n->counter = (int64_t)f->floor;
        n->seq = ++f->next_seq;
    }
    count_in(f, n, -1);
    n->count = count;
    n->work = work;
    n->first = first;
    count_in(f, n, +1);
    arrange(f, n);
}

void ek_fair_charge(struct ek_fair *f, struct ek_fair_node *n, int64_t by)
{
    MUST(n->counter >= 0);
    if (by == 0) return;
    if (__builtin_add_overflow(n->counter, by, &n->counter) || n->counter > INT64_MAX / 4)
        n->counter = INT64_MAX / 4;
    if (n->counter < 0) n->counter = 0;
    uint32_t members = ek_tree_count(&f->head);
    f->floor += (double)by / (members ? members : 1);
    if (f->floor < 0) f->floor = 0;
    arrange(f, n);
    raise_floor(f);
}

void ek_fair_hold(struct ek_fair *f, struct ek_fair_node *n, bool held)
{
    if (n->held == held) return;
    count_in(f, n, -1);
    n->held = held;
    count_in(f, n, +1);
    /* While held it did not compete: it comes back like one that was away. */
    if (!held && (double)n->counter < f->floor) n->counter = (int64_t)f->floor;
    arrange(f, n);
}

struct ek_fair_node *ek_fair_next(const struct ek_fair *f)
{
    struct ek_tree_node *n = ek_tree_first(&f->head);
    return n ? EK_CONTAINER(n, struct ek_fair_node, head) : NULL;
}

struct ek_fair_ahead ek_fair_ahead(const struct ek_fair *f, const struct ek_fair_node *n, int64_t own)
{
    struct ek_fair_ahead a = {0};
    MUST(own >= 0);
    if (f->count == 0) return a;
    int64_t s = n->counter + own;
    struct ek_tree_sum heads = ek_tree_before(&f->head, s, n->seq);
    struct ek_tree_sum rest = ek_tree_before(&f->rest, s, n->seq);
    struct ek_tree_sum end = ek_tree_before(&f->end, s, n->seq);
    /* Not itself: its own work is the caller's to count. */
    if (ek_tree_has(&n->head) && own > 0) heads.count--, heads.sum -= (uint64_t)n->first;
    if (ek_tree_has(&n->rest) && n->rest.key < s) rest.count--, rest.sum -= (uint64_t)n->rest.key;
    if (ek_tree_has(&n->end) && n->end.key < s) end.count--, end.sum -= (uint64_t)n->end.key;
    /* Modulo 2^64: the single sums may be larger, the fluid is at most all the work that waits. */
    uint64_t reached = (uint64_t)s;
    double fluid = (double)(int64_t)(rest.count * reached - rest.sum - (end.count * reached - end.sum));
    double mean = (double)f->work / f->count;
    /* Each of those in the middle of its line is half a request farther than its fluid. */
    double active = (double)rest.count - (double)end.count;
    a.count = (double)heads.count + (mean > 0 ? fluid / mean : 0) + 0.5 * active;
    a.work = (double)(int64_t)heads.sum + fluid + 0.5 * active * mean;
    if (a.count < 0) a.count = 0;
    if (a.work < 0) a.work = 0;
    return a;
}
