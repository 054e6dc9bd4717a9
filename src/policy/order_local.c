/* SPDX-License-Identifier: MIT */
/* Locality: who of those that may go now has a prompt that begins like one that was started lately.
 *
 * Two kinds are looked at: the next requests of the flows that were served lately, which are the likeliest to
 * go on with the same text; and some of all those that told what they begin with, others each time, out of a
 * bag without order:
 *
 *   bag:  | 7 | 2 | 9 | 4 | 1 |     of item numbers; who leaves is replaced by the last
 *               ▲ look_next         each look goes on where the last one ended
 *
 * An index of all that wait by what they begin with would find every one at once, and cost each of them more
 * memory than the rest of its entry. */
#include "policy/order.h"

#include "base/must.h"

#include <string.h>

#define LOOK_MAX 64u /* of the bag, for one start */

struct share {
    uint32_t tokens; /* that a prompt shares with one of those started lately; 0: none */
    uint32_t age;    /* starts since then */
};

struct look {
    const struct ek_order *o;
    const struct ek_order_class *c;
    int64_t counter_max; /* of flows that may go */
    struct share best;
    struct ek_order_item *warmest;
};

/* Where this tag is in the table of those in hot, or would go. The table is never half full. */
static uint32_t cell_of(const struct ek_order_class *c, uint32_t tag)
{
    uint32_t i = tag % EK_ORDER_HOT_CELLS;
    for (; c->hot_place[i]; i = (i + 1) % EK_ORDER_HOT_CELLS) {
        uint32_t place = c->hot_place[i] - 1u;
        if (c->hot[place / EK_DESK_PREFIX_MAX].chain.tag[place % EK_DESK_PREFIX_MAX] == tag) break;
    }
    return i;
}

void ek_order_warmed(struct ek_order *o, const struct ek_order_item *it, const struct ek_chain *chain)
{
    const struct ek_order_user *u = ek_order_user(o, it);
    struct ek_order_class *c = &o->class[u->flow->pool][u->flow->tier];
    MUST(chain->count == it->chain_count);
    if (chain->count == 0) return;
    c->hot[c->hot_next++ % EK_ORDER_HOT] = (struct ek_order_hot){
        .chain = *chain, .flow = (uint32_t)(u->flow - o->flow), .generation = u->flow->generation};
    memset(c->hot_place, 0, sizeof c->hot_place);
    for (uint32_t age = 1; age <= EK_ORDER_HOT; age++) {
        uint32_t h = (c->hot_next - age) % EK_ORDER_HOT;
        for (uint32_t k = 0; k < c->hot[h].chain.count; k++) {
            uint32_t i = cell_of(c, c->hot[h].chain.tag[k]);
            if (!c->hot_place[i]) c->hot_place[i] = (uint8_t)(1 + h * EK_DESK_PREFIX_MAX + k);
        }
    }
}

/* The latest that began so. */
static struct share share_of(const struct ek_order_class *c, uint32_t tag)
{
    uint32_t place = c->hot_place[cell_of(c, tag)];
    if (!place--) return (struct share){0};
    uint32_t h = place / EK_DESK_PREFIX_MAX;
    return (struct share){.tokens = c->hot[h].chain.tokens[place % EK_DESK_PREFIX_MAX],
                          .age = (c->hot_next - 1 - h) % EK_ORDER_HOT};
}

static struct share longest_share(const struct ek_order *o, const struct ek_order_class *c,
                                  const struct ek_order_item *it)
{
    struct share s = {0};
    if (it->chain_count == 0) return s;
    const uint32_t *tag = ek_chains_tags(&o->chains, it->chain, it->chain_count);
    for (uint32_t k = it->chain_count; k > 0 && s.tokens == 0; k--) s = share_of(c, tag[k - 1]);
    return s;
}

static void look_at(struct look *l, struct ek_order_item *it)
{
    struct share s = longest_share(l->o, l->c, it);
    bool better = s.tokens > l->best.tokens;
    bool as_good = l->warmest && s.tokens == l->best.tokens && s.age < l->best.age;
    if (!better && !as_good) return;
    l->best = s;
    l->warmest = it;
}

static bool may_go(const struct look *l, const struct ek_order_flow *f)
{
    return !f->node.held && f->node.counter <= l->counter_max;
}

static void look_at_flow(struct look *l, const struct ek_order_hot *hot)
{
    const struct ek_order_flow *f = &l->o->flow[hot->flow];
    if (hot->chain.count == 0 || f->generation != hot->generation || !may_go(l, f)) return;
    struct ek_fair_node *n = ek_fair_next(&f->users);
    if (!n) return;
    struct ek_tree_node *next = ek_tree_first(&EK_CONTAINER(n, struct ek_order_user, node)->line);
    MUST(next);
    look_at(l, EK_CONTAINER(next, struct ek_order_item, node));
}

struct ek_order_item *ek_order_warmest(struct ek_order *o, uint32_t tier, uint32_t pool,
                                       const struct ek_order_item *turn, int64_t counter_max)
{
    const struct ek_order_class *c = &o->class[pool][tier];
    struct look l = {.o = o, .c = c, .counter_max = counter_max, .best = longest_share(o, c, turn)};
    uint32_t looks = o->bag_count < LOOK_MAX ? o->bag_count : LOOK_MAX;
    for (uint32_t h = 0; h < EK_ORDER_HOT; h++) look_at_flow(&l, &c->hot[h]);
    for (uint32_t i = 0; i < looks; i++) {
        if (o->look_next >= o->bag_count) o->look_next = 0;
        struct ek_order_item *it = ek_order_item_at(o, o->bag[o->look_next++]);
        const struct ek_order_flow *f = ek_order_flow(o, it);
        if (f->tier == tier && f->pool == pool && may_go(&l, f)) look_at(&l, it);
    }
    return l.warmest;
}

void ek_order_bag_in(struct ek_order *o, struct ek_order_item *it)
{
    if (it->chain_count == 0) return;
    it->bag_at = o->bag_count;
    o->bag[o->bag_count++] = ek_order_index_of(o, it);
}

void ek_order_bag_out(struct ek_order *o, struct ek_order_item *it)
{
    if (it->chain_count == 0) return;
    MUST(o->bag_count > 0 && o->bag[it->bag_at] == ek_order_index_of(o, it));
    uint32_t last = o->bag[--o->bag_count];
    o->bag[it->bag_at] = last;
    ek_order_item_at(o, last)->bag_at = it->bag_at;
}
