/* SPDX-License-Identifier: MIT */
/* Who goes next: the whole order of those who wait.
 *
 *   group of pools that share upstreams
 *     └─ tiers        by weight: a clock each, served work / weight; the smallest goes next; a tier that
 *        │            was idle is lifted to the clocks of those who were not, so idle shares are lent
 *        └─ class     one a (tier, pool); among pools of a tier, the least served
 *           └─ flow   one a payer: an account, or the owner (address prefix) of unproven accounts
 *           │  └─ user  a user_id of the account, or one unproven account of the owner
 *           │     └─ line   its conversation is running < new; then first come first served
 *           └─ returned   those whose engine died: before all others of the class, charged already
 *
 * Flows and users are levels of fair.h. Locality (DLPM, Cao et al. 2025, arXiv 2501.14312): a flow whose
 * counter is at most a quantum above the smallest may go before its turn if it has a request whose prompt
 * begins like one that was started lately; the quantum is all that fairness pays for it. At the latest every
 * sixteenth start the oldest of the flow in turn goes, so nobody is passed over for ever.
 *
 * Memory is taken once. Flows and users are remembered while they have anything waiting or running, and
 * after that until others need their room (the idlest first). Pure. */
#ifndef EK_POLICY_ORDER_H
#define EK_POLICY_ORDER_H

#include "base/list.h"
#include "policy/chain.h"
#include "policy/desk.h"
#include "policy/fair.h"
#include "policy/index.h"

#define EK_ORDER_HOT 8          /* prompts started lately that are remembered, per class */
#define EK_ORDER_HOT_CELLS 256u /* four times as many as they can have tags */

enum ek_order_rank { EK_RANK_CONVERSATION = 0, EK_RANK_NEW };

struct ek_order_flow {
    struct ek_fair_node node;
    struct ek_fair users;
    struct ek_link idle; /* on order.idle_flows when nobody needs it */
    uint64_t key;
    uint64_t who;
    uint32_t waiting;
    uint32_t pins; /* waiting and running requests */
    uint32_t generation;
    uint8_t tier, pool;
};

struct ek_order_user {
    struct ek_fair_node node;
    struct ek_tree line; /* of requests: key rank, value cost */
    struct ek_link idle;
    uint64_t key;
    uint64_t id;         /* as given to ek_order_put */
    struct ek_order_flow *flow;
    uint32_t pins;
    uint32_t run;        /* requests of running conversations in a row */
    uint32_t generation; /* of the flow it was counted in */
};

/* A request's part in the order; embedded in the desk's entry, of which a hundred thousand may wait. The
 * node holds three of its facts for good, in line or not:
 *   node.key    its rank, until it has started
 *   node.seq    its place among its like
 *   node.value  its cost, as charged, or to be charged (ek_order_cost) */
struct ek_order_item {
    struct ek_tree_node node; /* in user->line, or in the class's `returned` */
    uint32_t user;            /* index; who pays is the user's flow */
    bool pinned;              /* waits or runs. `user` is true a little longer, until the next arrival: whose
                               * it was is asked once more at its end */
    bool returned;            /* waits in the class's line of those who came back */
    uint8_t chain_count;
    uint32_t chain;           /* what the prompt begins with: a place in order.chains; 0: nothing told */
    uint32_t bag_at;          /* in line, when it told that */
};

struct ek_order_hot { /* a prompt started lately */
    struct ek_chain chain;
    uint32_t flow, generation; /* whose it was */
};

struct ek_order_class {
    struct ek_fair flows;
    struct ek_tree returned; /* key 0, by seq; value cost */
    double clock; /* work served, nano-units: chooses among the pools of a tier */
    uint32_t waiting;   /* held back ones included */
    bool chains;        /* some request here told what it begins with */
    uint32_t local_run; /* starts out of turn in a row */
    uint32_t hot_next;
    struct ek_order_hot hot[EK_ORDER_HOT];
    uint8_t hot_place[EK_ORDER_HOT_CELLS]; /* by tag, open addressing: 1 + number in hot * 8 + in its chain */
};

struct ek_order {
    uint32_t tiers;
    uint32_t pools;
    double weight[EK_DESK_TIERS_MAX];
    uint32_t group[EK_DESK_POOLS_MAX]; /* the lowest pool that is linked with it */
    uint64_t mask[EK_DESK_POOLS_MAX];
    double clock[EK_DESK_POOLS_MAX][EK_DESK_TIERS_MAX];     /* of a group's tier */
    uint32_t backlog[EK_DESK_POOLS_MAX][EK_DESK_TIERS_MAX]; /* waiting in a group's tier */
    double clock_last[EK_DESK_POOLS_MAX];                   /* of the tier served last */
    struct ek_order_class class[EK_DESK_POOLS_MAX][EK_DESK_TIERS_MAX];
    struct ek_chains chains;
    char *items;   /* the first of the caller's, and how far it is from one to the next */
    size_t item_stride_bytes;
    uint32_t *bag; /* order_local.c: numbers of those in line that told what they begin with */
    uint32_t bag_count, look_next;
    struct ek_order_flow *flow;
    struct ek_order_user *user;
    uint32_t flows_max, flows_made, users_max, users_made;
    struct ek_list idle_flows, idle_users; /* the longest idle first */
    struct ek_index flow_index, user_index;
    int64_t quantum_nano;
    uint64_t local; /* starts out of turn */
};

/* items_max: requests that may wait or run at once; they lie so many bytes apart, from `items` on, inside
 * the caller's table. false: no memory. */
bool ek_order_init(struct ek_order *o, uint32_t items_max, uint32_t accounts_max,
                   struct ek_order_item *items, size_t item_stride_bytes);
void ek_order_free(struct ek_order *o);
void ek_order_tiers(struct ek_order *o, uint32_t tiers, const double *weight);
/* Pool `o->pools` serves these upstreams; groups that touch become one. */
void ek_order_add_pool(struct ek_order *o, uint64_t mask);

static inline int64_t ek_order_cost(const struct ek_order_item *it) { return it->node.value; }
static inline struct ek_order_user *ek_order_user(const struct ek_order *o, const struct ek_order_item *it)
{
    MUST(it->user < o->users_made);
    return &o->user[it->user];
}
static inline struct ek_order_flow *ek_order_flow(const struct ek_order *o, const struct ek_order_item *it)
{
    return ek_order_user(o, it)->flow;
}
/* What its prompt begins with; before ek_order_put. Kept until ek_order_forget, in line or not. */
void ek_order_tell(struct ek_order *o, struct ek_order_item *it, const struct ek_prefix *prefix,
                   uint32_t count, uint32_t prompt_tokens);
void ek_order_forget(struct ek_order *o, struct ek_order_item *it);
struct ek_chain ek_order_chain(const struct ek_order *o, const struct ek_order_item *it,
                               uint32_t prompt_tokens);

static inline uint32_t ek_order_index_of(const struct ek_order *o, const struct ek_order_item *it)
{
    return (uint32_t)((size_t)((const char *)it - o->items) / o->item_stride_bytes);
}
static inline struct ek_order_item *ek_order_item_at(const struct ek_order *o, uint32_t index)
{
    return (struct ek_order_item *)(void *)(o->items + index * o->item_stride_bytes);
}

/* A request enters the line: rank, seq and cost are set. `who` pays, `user` is the level below;
 * keep: no lift, its place is its by right. put_back: it was running and stays charged. */
void ek_order_put(struct ek_order *o, struct ek_order_item *it, uint32_t tier, uint32_t pool, uint64_t who,
                  uint64_t user, bool keep);
void ek_order_put_back(struct ek_order *o, struct ek_order_item *it);
/* It leaves the line without having been served; one that came back is given back its charge. */
void ek_order_leave(struct ek_order *o, struct ek_order_item *it);
/* The class of the group that is due among pools in `room` (bit a pool); false: nobody may. */
bool ek_order_due(const struct ek_order *o, uint64_t room, uint32_t *tier, uint32_t *pool);
/* The request of this class that goes next (it stays in line); the class must have one that may. */
struct ek_order_item *ek_order_next(struct ek_order *o, uint32_t tier, uint32_t pool);
/* It starts: leaves the line and is charged its cost. */
void ek_order_start(struct ek_order *o, struct ek_order_item *it);
/* order_local.c: with this chain a prompt was started; others that begin so may go before their turn. */
void ek_order_warmed(struct ek_order *o, const struct ek_order_item *it, const struct ek_chain *chain);
void ek_order_bag_in(struct ek_order *o, struct ek_order_item *it); /* into line, out of it */
void ek_order_bag_out(struct ek_order *o, struct ek_order_item *it);
/* The one that shares most with those started lately, if it shares more than the one in turn does; of flows
 * with a counter up to counter_max. NULL: none. */
struct ek_order_item *ek_order_warmest(struct ek_order *o, uint32_t tier, uint32_t pool,
                                       const struct ek_order_item *turn, int64_t counter_max);
/* A running one turned out to cost `by` more (or less). */
void ek_order_settle(struct ek_order *o, struct ek_order_item *it, int64_t by);
/* A running one has ended, after settling. */
void ek_order_end(struct ek_order *o, struct ek_order_item *it);
/* All flows of `who` in this tier are at their cap, or no longer. */
void ek_order_hold(struct ek_order *o, uint32_t tier, uint64_t who, bool held);

struct ek_order_ahead {
    double count;     /* requests that go before */
    double work;      /* and what they cost, nano-units */
    double own;       /* the part of work that is of the same flow */
    double lead;      /* its turn is this far beyond the virtual time of its class: what arrives until
                       * that has grown so far, of accounts that had nothing waiting, goes before it */
    uint32_t members; /* accounts in line in its class */
    double flow_share; /* of the class's waiting work that is of the same flow */
    double class_count; /* the part of count that is of the same class */
    double clock;      /* of its tier, as it is or as it would be lifted */
    uint32_t drained; /* bit t: tier t will have no work left before then, so its new arrivals go before */
};

/* What is served before this waiting one, of all tiers of its pool. */
struct ek_order_ahead ek_order_ahead(const struct ek_order *o, const struct ek_order_item *it);
/* What would be served before a new request of `who` (0: of a new account), all of its own included. */
struct ek_order_ahead ek_order_ahead_of_new(const struct ek_order *o, uint32_t tier, uint32_t pool,
                                            uint64_t who);
/* The flow of one who is remembered here; NULL: it is not. */
const struct ek_order_flow *ek_order_flow_known(const struct ek_order *o, uint32_t tier, uint32_t pool,
                                                uint64_t who);
/* The share of the pool that this tier is sure of while others wait. */
double ek_order_share(const struct ek_order *o, uint32_t tier, uint32_t pool);
void ek_order_check(const struct ek_order *o);

#endif
