/* SPDX-License-Identifier: MIT */
/* Flows, users and lines: who is where, and what each start and each end does to the counters. What is
 * asked of the order (who is due, who stands before whom) is order_ask.c. */
#include "policy/order.h"

#include "base/must.h"

#include <stdlib.h>

/* ---- birth ---------------------------------------------------------------------------------------- */

bool ek_order_init(struct ek_order *o, uint32_t items_max, uint32_t accounts_max,
                   struct ek_order_item *items, size_t item_stride_bytes)
{
    MUST(items_max > 0 && items_max < 1u << 20);
    MUST(accounts_max < 1u << 24);
    *o = (struct ek_order){.items = (char *)items, .item_stride_bytes = item_stride_bytes};
    ek_list_init(&o->idle_flows);
    ek_list_init(&o->idle_users);
    o->flows_max = o->users_max = items_max + accounts_max;
    o->flow = calloc(o->flows_max, sizeof *o->flow);
    o->user = calloc(o->users_max, sizeof *o->user);
    bool ok = ek_index_init(&o->flow_index, o->flows_max);
    ok = ek_index_init(&o->user_index, o->users_max) && ok;
    ok = ek_chains_init(&o->chains, items_max) && ok;
    o->bag = calloc(items_max, sizeof *o->bag);
    if (ok && o->flow && o->user && o->bag) return true;
    ek_order_free(o);
    return false;
}

void ek_order_free(struct ek_order *o)
{
    ek_index_free(&o->flow_index);
    ek_index_free(&o->user_index);
    ek_chains_free(&o->chains);
    free(o->bag);
    free(o->flow);
    free(o->user);
    o->bag = NULL;
    o->flow = NULL;
    o->user = NULL;
}

void ek_order_tiers(struct ek_order *o, uint32_t tiers, const double *weight)
{
    MUST(tiers >= 1 && tiers <= EK_DESK_TIERS_MAX);
    o->tiers = tiers;
    for (uint32_t t = 0; t < tiers; t++) o->weight[t] = weight[t] > 0 ? weight[t] : 1;
}

void ek_order_add_pool(struct ek_order *o, uint64_t mask)
{
    uint32_t pool = o->pools++;
    MUST(pool < EK_DESK_POOLS_MAX);
    o->mask[pool] = mask;
    o->group[pool] = pool;
    for (uint32_t i = 0; i < pool; i++) {
        uint32_t from = o->group[pool], to = o->group[i];
        if (!(o->mask[i] & mask) || from == to) continue;
        if (to > from) from = o->group[i], to = o->group[pool];
        for (uint32_t t = 0; t < EK_DESK_TIERS_MAX; t++) {
            if (o->clock[from][t] > o->clock[to][t]) o->clock[to][t] = o->clock[from][t];
            o->backlog[to][t] += o->backlog[from][t];
        }
        if (o->clock_last[from] > o->clock_last[to]) o->clock_last[to] = o->clock_last[from];
        for (uint32_t k = 0; k <= pool; k++)
            if (o->group[k] == from) o->group[k] = to;
    }
}

/* ---- flows and users ------------------------------------------------------------------------------ */

static uint64_t flow_key(uint32_t tier, uint32_t pool, uint64_t who)
{
    return ek_index_mix(who, (uint64_t)(tier * EK_DESK_POOLS_MAX + pool) * 0x9e3779b97f4a7c15ull);
}

static struct ek_order_flow *flow_of(struct ek_order *o, uint32_t tier, uint32_t pool, uint64_t who)
{
    uint64_t key = flow_key(tier, pool, who);
    uint32_t at = ek_index_find(&o->flow_index, key);
    if (at != EK_INDEX_NONE) return &o->flow[at];
    struct ek_order_flow *f;
    uint32_t generation = 1;
    if (o->flows_made < o->flows_max) {
        f = &o->flow[o->flows_made++];
    } else {
        MUST(o->idle_flows.count > 0); /* there are more flows than requests */
        f = EK_CONTAINER(ek_list_first(&o->idle_flows), struct ek_order_flow, idle);
        ek_list_remove(&o->idle_flows, &f->idle);
        ek_index_remove(&o->flow_index, f->key);
        generation = f->generation + 1;
    }
    *f = (struct ek_order_flow){.key = key, .who = who, .tier = (uint8_t)tier, .pool = (uint8_t)pool,
                                .generation = generation};
    ek_index_set(&o->flow_index, key, (uint32_t)(f - o->flow));
    ek_list_append(&o->idle_flows, &f->idle);
    return f;
}

const struct ek_order_flow *ek_order_flow_known(const struct ek_order *o, uint32_t tier, uint32_t pool,
                                                uint64_t who)
{
    uint32_t at = who ? ek_index_find(&o->flow_index, flow_key(tier, pool, who)) : EK_INDEX_NONE;
    MUST(at == EK_INDEX_NONE || at < o->flows_made);
    return at == EK_INDEX_NONE ? NULL : &o->flow[at];
}

static struct ek_order_user *user_of(struct ek_order *o, struct ek_order_flow *f, uint64_t user)
{
    uint64_t key = ek_index_mix(f->key, user);
    uint32_t at = ek_index_find(&o->user_index, key);
    struct ek_order_user *u;
    if (at != EK_INDEX_NONE) {
        u = &o->user[at];
        if (u->flow == f && u->generation == f->generation) return u;
        MUST(u->pins == 0); /* its flow was forgotten, so it had nothing */
        u->node = (struct ek_fair_node){0};
        u->flow = f;
        u->generation = f->generation;
        return u;
    }
    if (o->users_made < o->users_max) {
        u = &o->user[o->users_made++];
    } else {
        MUST(o->idle_users.count > 0);
        u = EK_CONTAINER(ek_list_first(&o->idle_users), struct ek_order_user, idle);
        ek_list_remove(&o->idle_users, &u->idle);
        ek_index_remove(&o->user_index, u->key);
    }
    *u = (struct ek_order_user){.key = key, .id = user, .flow = f, .generation = f->generation};
    ek_index_set(&o->user_index, key, (uint32_t)(u - o->user));
    ek_list_append(&o->idle_users, &u->idle);
    return u;
}

static void pin(struct ek_order *o, struct ek_order_item *it)
{
    struct ek_order_user *u = ek_order_user(o, it);
    struct ek_order_flow *f = u->flow;
    MUST(!it->pinned);
    it->pinned = true;
    if (f->pins++ == 0) ek_list_remove(&o->idle_flows, &f->idle);
    if (u->pins++ == 0) ek_list_remove(&o->idle_users, &u->idle);
}

static void unpin(struct ek_order *o, struct ek_order_item *it)
{
    struct ek_order_user *u = ek_order_user(o, it);
    struct ek_order_flow *f = u->flow;
    MUST(it->pinned && f->pins > 0 && u->pins > 0);
    it->pinned = false;
    if (--f->pins == 0) ek_list_append(&o->idle_flows, &f->idle);
    if (--u->pins == 0) ek_list_append(&o->idle_users, &u->idle);
}

/* ---- in and out of line ---------------------------------------------------------------------------- */

/* Bring user and flow in step with the user's line. */
static void refresh(struct ek_order *o, struct ek_order_flow *f, struct ek_order_user *u, bool keep)
{
    struct ek_order_class *c = &o->class[f->pool][f->tier];
    struct ek_tree_node *first = ek_tree_first(&u->line);
    ek_fair_set(&f->users, &u->node, ek_tree_count(&u->line), first ? (int64_t)u->line.root->sum : 0,
                first ? first->value : 0, keep);
    struct ek_fair_node *next = ek_fair_next(&f->users);
    ek_fair_set(&c->flows, &f->node, f->users.count, f->users.work, next ? next->first : 0, keep);
    MUST(f->users.count == f->waiting);
}

/* A tier that had nobody waiting is lifted to the clocks of those who had. */
static void tier_joins(struct ek_order *o, uint32_t group, uint32_t tier)
{
    double level = o->clock_last[group];
    bool any = false;
    for (uint32_t t = 0; t < o->tiers; t++) {
        if (!o->backlog[group][t]) continue;
        if (!any || o->clock[group][t] < level) level = o->clock[group][t];
        any = true;
    }
    if (o->clock[group][tier] < level) o->clock[group][tier] = level;
}

static void enter(struct ek_order *o, struct ek_order_item *it, bool keep)
{
    struct ek_order_user *u = ek_order_user(o, it);
    struct ek_order_flow *f = u->flow;
    uint32_t group = o->group[f->pool];
    MUST(it->node.value > 0);
    if (o->backlog[group][f->tier] == 0) tier_joins(o, group, f->tier);
    o->backlog[group][f->tier]++;
    o->class[f->pool][f->tier].waiting++;
    f->waiting++;
    ek_tree_put(&u->line, &it->node, it->node.key, it->node.seq, it->node.value);
    if (it->chain_count) o->class[f->pool][f->tier].chains = true;
    ek_order_bag_in(o, it);
    refresh(o, f, u, keep);
}

static void leave(struct ek_order *o, struct ek_order_item *it)
{
    struct ek_order_user *u = ek_order_user(o, it);
    struct ek_order_flow *f = u->flow;
    uint32_t group = o->group[f->pool];
    MUST(f->waiting > 0 && o->backlog[group][f->tier] > 0);
    o->backlog[group][f->tier]--;
    o->class[f->pool][f->tier].waiting--;
    f->waiting--;
    ek_tree_remove(&u->line, &it->node);
    ek_order_bag_out(o, it);
    refresh(o, f, u, true);
}

static void charge(struct ek_order *o, struct ek_order_item *it, int64_t by)
{
    struct ek_order_flow *f = ek_order_flow(o, it);
    struct ek_order_class *c = &o->class[f->pool][f->tier];
    ek_fair_charge(&f->users, &ek_order_user(o, it)->node, by);
    ek_fair_charge(&c->flows, &f->node, by);
    o->clock[o->group[f->pool]][f->tier] += (double)by / o->weight[f->tier];
    c->clock += (double)by;
}

void ek_order_tell(struct ek_order *o, struct ek_order_item *it, const struct ek_prefix *prefix,
                   uint32_t count, uint32_t prompt_tokens)
{
    MUST(it->chain == 0 && !it->pinned);
    it->chain = ek_chains_put(&o->chains, prefix, count, prompt_tokens);
    it->chain_count = (uint8_t)count;
}

void ek_order_forget(struct ek_order *o, struct ek_order_item *it)
{
    MUST(!it->pinned && !ek_tree_has(&it->node));
    ek_chains_drop(&o->chains, it->chain, it->chain_count);
    it->chain = it->chain_count = 0;
}

struct ek_chain ek_order_chain(const struct ek_order *o, const struct ek_order_item *it,
                               uint32_t prompt_tokens)
{
    return ek_chains_get(&o->chains, it->chain, it->chain_count, prompt_tokens);
}

void ek_order_put(struct ek_order *o, struct ek_order_item *it, uint32_t tier, uint32_t pool, uint64_t who,
                  uint64_t user, bool keep)
{
    MUST(tier < o->tiers && pool < o->pools);
    MUST(!it->pinned && !it->returned);
    it->user = (uint32_t)(user_of(o, flow_of(o, tier, pool, who), user) - o->user);
    pin(o, it);
    enter(o, it, keep);
}

/* In and out of the line of those who came back. */
static void wait_returned(struct ek_order *o, struct ek_order_item *it, bool in)
{
    struct ek_order_flow *f = ek_order_flow(o, it);
    struct ek_order_class *c = &o->class[f->pool][f->tier];
    uint32_t group = o->group[f->pool];
    MUST(it->returned != in);
    it->returned = in;
    if (in && o->backlog[group][f->tier] == 0) tier_joins(o, group, f->tier);
    if (in) ek_tree_put(&c->returned, &it->node, 0, it->node.seq, it->node.value);
    else ek_tree_remove(&c->returned, &it->node);
    o->backlog[group][f->tier] += in ? 1u : UINT32_MAX;
    c->waiting += in ? 1u : UINT32_MAX;
}

void ek_order_put_back(struct ek_order *o, struct ek_order_item *it)
{
    MUST(it->pinned);
    wait_returned(o, it, true);
}

void ek_order_leave(struct ek_order *o, struct ek_order_item *it)
{
    if (it->returned) {
        wait_returned(o, it, false);
        charge(o, it, -it->node.value);
    } else {
        leave(o, it);
    }
    unpin(o, it);
}

void ek_order_start(struct ek_order *o, struct ek_order_item *it)
{
    struct ek_order_flow *f = ek_order_flow(o, it);
    if (it->returned) { /* it was charged when it started first */
        wait_returned(o, it, false);
        return;
    }
    MUST(!f->node.held);
    leave(o, it);
    struct ek_order_user *u = ek_order_user(o, it);
    u->run = it->node.key == EK_RANK_CONVERSATION ? u->run + 1 : 0;
    o->clock_last[o->group[f->pool]] = o->clock[o->group[f->pool]][f->tier];
    charge(o, it, it->node.value);
}

void ek_order_settle(struct ek_order *o, struct ek_order_item *it, int64_t by)
{
    MUST(it->pinned && !ek_tree_has(&it->node));
    charge(o, it, by);
    it->node.value += by;
}

void ek_order_end(struct ek_order *o, struct ek_order_item *it)
{
    unpin(o, it);
}

void ek_order_hold(struct ek_order *o, uint32_t tier, uint64_t who, bool held)
{
    for (uint32_t pool = 0; pool < o->pools; pool++) {
        uint32_t at = ek_index_find(&o->flow_index, flow_key(tier, pool, who));
        if (at == EK_INDEX_NONE) continue;
        struct ek_order_flow *f = &o->flow[at];
        ek_fair_hold(&o->class[pool][tier].flows, &f->node, held);
    }
}
