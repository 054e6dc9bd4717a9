/* SPDX-License-Identifier: MIT */
/* What is asked of the order: which class is due, which request goes next, who stands before whom. Changes
 * nothing but the count of starts out of turn. */
#include "policy/order.h"

#include "base/must.h"

#include <math.h>
#include <stddef.h>

#define LOCAL_RUN_MAX 16u       /* starts out of turn in a row */
#define CONVERSATION_RUN_MAX 4u /* requests of running conversations before a new one of the same user */
#define QUANTUM_REQUESTS 4

/* ---- who is due ----------------------------------------------------------------------------------- */

static bool may_go(const struct ek_order *o, uint32_t pool, uint32_t tier)
{
    const struct ek_order_class *c = &o->class[pool][tier];
    return ek_tree_count(&c->flows.head) > 0 || ek_tree_count(&c->returned) > 0;
}

/* Does (pool, tier) go before (bp, bt), of the same group? */
static bool goes_before(const struct ek_order *o, uint32_t pool, uint32_t tier, uint32_t bp, uint32_t bt)
{
    uint32_t g = o->group[pool];
    double a = o->clock[g][tier], b = o->clock[g][bt];
    if (tier == bt) return o->class[pool][tier].clock < o->class[bp][bt].clock;
    if (a < b || a > b) return a < b;
    return o->weight[tier] > o->weight[bt];
}

bool ek_order_due(const struct ek_order *o, uint64_t room, uint32_t *tier, uint32_t *pool)
{
    bool any = false;
    for (uint64_t m = room; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        MUST(i < o->pools);
        for (uint32_t t = 0; t < o->tiers; t++) {
            if (!may_go(o, i, t)) continue;
            if (any && o->group[i] != o->group[*pool]) break; /* groups share nothing: any order will do */
            if (any && !goes_before(o, i, t, *pool, *tier)) continue;
            any = true;
            *tier = t;
            *pool = i;
        }
    }
    return any;
}

/* ---- who is next ---------------------------------------------------------------------------------- */

static struct ek_order_item *item_of(struct ek_tree_node *n)
{
    return n ? EK_CONTAINER(n, struct ek_order_item, node) : NULL;
}

static struct ek_order_item *in_turn(struct ek_order_flow *f)
{
    struct ek_fair_node *n = ek_fair_next(&f->users);
    MUST(n);
    struct ek_order_user *u = EK_CONTAINER(n, struct ek_order_user, node);
    struct ek_order_item *it = item_of(ek_tree_first(&u->line));
    MUST(it);
    if (it->node.key != EK_RANK_CONVERSATION || u->run < CONVERSATION_RUN_MAX) return it;
    struct ek_order_item *fresh = item_of(ek_tree_first_from(&u->line, EK_RANK_NEW));
    return fresh ? fresh : it;
}

struct ek_order_item *ek_order_next(struct ek_order *o, uint32_t tier, uint32_t pool)
{
    struct ek_order_class *c = &o->class[pool][tier];
    if (c->returned.root) return item_of(ek_tree_first(&c->returned));
    struct ek_fair_node *n = ek_fair_next(&c->flows);
    MUST(n);
    struct ek_order_item *turn = in_turn(EK_CONTAINER(n, struct ek_order_flow, node));
    if (c->chains && c->local_run < LOCAL_RUN_MAX) {
        int64_t quantum = o->quantum_nano ? o->quantum_nano
                                          : QUANTUM_REQUESTS * (c->flows.work / (int64_t)c->flows.count);
        struct ek_order_item *warm = ek_order_warmest(o, tier, pool, turn, n->counter + quantum);
        if (warm) {
            c->local_run++;
            o->local++;
            return warm;
        }
    }
    c->local_run = 0;
    return turn;
}

/* ---- who stands before ---------------------------------------------------------------------------- */

double ek_order_share(const struct ek_order *o, uint32_t tier, uint32_t pool)
{
    double sum = o->weight[tier];
    MUST(tier < o->tiers);
    for (uint32_t t = 0; t < o->tiers; t++)
        if (t != tier && o->class[pool][t].flows.count) sum += o->weight[t];
    return o->weight[tier] / sum;
}

/* `a` is what goes before inside the class; add what the other tiers of the pool get meanwhile. */
static void add_tiers(const struct ek_order *o, uint32_t tier, uint32_t pool, struct ek_order_ahead *a)
{
    uint32_t g = o->group[pool];
    double own = o->clock[g][tier];
    if (o->backlog[g][tier] == 0) { /* as it would be lifted */
        double level = o->clock_last[g];
        bool any = false;
        for (uint32_t t = 0; t < o->tiers; t++) {
            if (!o->backlog[g][t]) continue;
            if (!any || o->clock[g][t] < level) level = o->clock[g][t];
            any = true;
        }
        if (own < level) own = level;
    }
    a->class_count = a->count;
    a->clock = own;
    double until = own + a->work / o->weight[tier];
    for (uint32_t t = 0; t < o->tiers; t++) {
        const struct ek_fair *f = &o->class[pool][t].flows;
        if (t == tier) continue;
        if (f->count == 0) {
            a->drained |= 1u << t;
            continue;
        }
        double span = until - o->clock[g][t];
        double mean = (double)f->work / f->count;
        if (span < 0 || (span <= 0 && o->weight[t] <= o->weight[tier])) continue;
        double work = fmax(mean, span * o->weight[t]); /* whoever goes before goes with a whole request */
        if (work >= (double)f->work) {
            work = (double)f->work;
            a->drained |= 1u << t;
        }
        a->work += work;
        a->count += mean > 0 ? work / mean : 0;
    }
}

struct ek_order_ahead ek_order_ahead(const struct ek_order *o, const struct ek_order_item *it)
{
    const struct ek_order_user *u = ek_order_user(o, it);
    const struct ek_order_flow *f = u->flow;
    const struct ek_order_class *c = &o->class[f->pool][f->tier];
    MUST(ek_tree_has(&it->node));
    if (it->returned) {
        struct ek_tree_sum before = ek_tree_before(&c->returned, 0, it->node.seq);
        struct ek_order_ahead r = {.count = before.count, .work = (double)before.sum,
                                    .class_count = before.count,
                                    .clock = o->clock[o->group[f->pool]][f->tier]};
        return r; /* other tiers may still be due before: few come back, and not for long */
    }
    struct ek_tree_sum mine = ek_tree_before(&u->line, it->node.key, it->node.seq);
    struct ek_fair_ahead users = {0};
    if (ek_tree_count(&f->users.head) > 1)
        users = ek_fair_ahead(&f->users, &u->node, (int64_t)mine.sum);
    double own = (double)mine.sum + users.work;
    struct ek_fair_ahead flows = ek_fair_ahead(&c->flows, &f->node, (int64_t)own);
    struct ek_order_ahead a = {.count = mine.count + users.count + flows.count, .work = own + flows.work,
                               .own = own};
    a.lead = fmax(0, (double)f->node.counter + own - c->flows.floor);
    a.members = ek_tree_count(&c->flows.head);
    a.flow_share = c->flows.work > 0 ? fmin(1, (double)f->node.work / (double)c->flows.work) : 1;
    a.count += ek_tree_count(&c->returned);
    a.work += c->returned.root ? (double)c->returned.root->sum : 0;
    add_tiers(o, f->tier, f->pool, &a);
    return a;
}

struct ek_order_ahead ek_order_ahead_of_new(const struct ek_order *o, uint32_t tier, uint32_t pool,
                                            uint64_t who)
{
    const struct ek_fair *f = &o->class[pool][tier].flows;
    const struct ek_order_flow *known = ek_order_flow_known(o, tier, pool, who);
    MUST(tier < o->tiers && pool < o->pools);
    struct ek_fair_node fresh = {.counter = (int64_t)f->floor, .seq = UINT64_MAX};
    const struct ek_fair_node *node = &fresh;
    struct ek_order_ahead a = {0};
    if (known && known->node.counter > fresh.counter) fresh.counter = known->node.counter;
    if (known && known->node.count > 0) { /* it has others in line */
        node = &known->node;
        a.count = node->count;
        a.own = (double)node->work;
    }
    struct ek_fair_ahead flows = ek_fair_ahead(f, node, (int64_t)a.own);
    a.count += flows.count;
    a.work = a.own + flows.work;
    a.lead = fmax(0, (double)node->counter + a.own - f->floor);
    a.members = ek_tree_count(&f->head);
    add_tiers(o, tier, pool, &a);
    return a;
}

/* ---- for tests ------------------------------------------------------------------------------------- */

void ek_order_check(const struct ek_order *o)
{
    uint32_t pinned = 0;
    for (uint32_t i = 0; i < o->flows_made; i++) {
        const struct ek_order_flow *f = &o->flow[i];
        MUST((f->pins == 0) == ek_link_linked(&f->idle));
        MUST(f->users.count == f->waiting && f->node.count == f->waiting);
        MUST(f->node.work == f->users.work);
        ek_tree_check(&f->users.head);
        pinned += f->pins != 0;
    }
    MUST(o->idle_flows.count + pinned == o->flows_made);
    for (uint32_t p = 0; p < o->pools; p++) {
        for (uint32_t t = 0; t < EK_DESK_TIERS_MAX; t++) {
            const struct ek_fair *f = &o->class[p][t].flows;
            ek_tree_check(&f->head);
            ek_tree_check(&f->rest);
            ek_tree_check(&f->end);
            MUST(f->count <= o->class[p][t].waiting);
        }
    }
}
