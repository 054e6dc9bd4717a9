/* SPDX-License-Identifier: MIT */
/* The inside of the desk, shared by desk.c (events, entries), desk_next.c (actions) and nobody else.
 *
 *   entry:   FREE ──▶ WAITING ──▶ RUNNING ──▶ FREE
 *                        ▲  │        │  │
 *                        └──┼─ back ─┘  └▶ STOPPING ──▶ FREE     (a CANCEL was given out)
 *                           └────────────────────────▶ FREE
 *
 * The state is the list: FREE entries are on free, WAITING ones on line[tier][pool] in the order of
 * their seq (and on `fresh` until they were told their place once), RUNNING and STOPPING on theirs. */
#ifndef EK_POLICY_DESK_STATE_H
#define EK_POLICY_DESK_STATE_H

#include "base/list.h"
#include "base/random.h"
#include "policy/accounts.h"
#include "policy/desk.h"
#include "policy/estimate.h"

#define EK_POLICY_MAGIC 0x9d3a61c4u
#define EK_DESK_INDEX_BITS 17

enum ek_desk_entry_state { ENTRY_FREE = 0, ENTRY_WAITING, ENTRY_RUNNING, ENTRY_STOPPING, ENTRY_STATES };

struct ek_desk_entry {
    struct ek_link link;  /* the state */
    struct ek_link fresh; /* WAITING and not told yet */
    uint64_t id;
    uint64_t account;
    uint64_t seq; /* order of arrival; kept when it comes back */
    uint64_t deadline_ns;
    uint64_t told_ns;
    int64_t told_eta_ms;
    int64_t told_p90_ms;
    uint64_t first_ns;    /* when an estimate was shown first; 0: never */
    int64_t first_p50_ms;
    int64_t first_p90_ms;
    uint64_t repeat;
    struct ek_used used;
    bool used_known;
    uint32_t told_position;
    uint32_t tokens; /* generated so far */
    uint16_t generation;
    uint8_t state;
    uint8_t tier;
    uint8_t pool;
    uint8_t upstream; /* RUNNING, STOPPING */
    uint8_t told_why;
    uint8_t returned; /* enum ek_desk_why: why it came back; EK_WHY_BUSY: it did not */
};

struct ek_desk_upstream {
    struct ek_load load;
    uint32_t inflight;
    bool was_up;
    uint64_t down_ns; /* since when it is not up */
};

struct ek_desk_pool {
    uint64_t mask;
    uint32_t waiting;
    uint32_t running;
    struct ek_pace pace;
    double away; /* refused since the line was last short: places promised by Retry-After */
};

/* Where the round of TELLs stands. `at` may be the head of its list: end of that line. */
struct ek_desk_round {
    bool active;
    uint32_t pool;
    uint32_t rank; /* index into order[] */
    uint32_t ahead;
    struct ek_link *at;
};

struct ek_policy {
    uint32_t magic;
    uint32_t tiers;
    uint32_t pools;
    uint32_t entries;
    uint64_t waiting_max;
    uint64_t running_max;
    uint64_t tell_min_ns;
    uint64_t tell_max_ns;
    uint64_t down_grace_ns;
    double tell_change;
    struct ek_tier_options tier[EK_DESK_TIERS_MAX];
    uint32_t order[EK_DESK_TIERS_MAX]; /* tiers, the heaviest first */
    uint32_t tier_waiting[EK_DESK_TIERS_MAX];
    struct ek_desk_upstream upstream[EK_DESK_UPSTREAMS_MAX];
    struct ek_desk_pool pool[EK_DESK_POOLS_MAX];
    struct ek_list line[EK_DESK_TIERS_MAX][EK_DESK_POOLS_MAX];
    struct ek_list free;
    struct ek_list fresh;
    struct ek_list running;
    struct ek_list stopping;
    struct ek_accounts accounts;
    struct ek_random random;
    struct ek_desk_counts counts;
    struct ek_desk_stats stats;
    struct ek_desk_round round;
    uint64_t round_ns; /* when the next round of TELLs begins */
    uint64_t next_seq;
    bool draining;
    uint64_t drain_ns;
    struct ek_desk_entry *entry;
};

/* The only mover. The entry's tier, pool and upstream must already be right for `next`. */
void ek_desk_move(struct ek_policy *p, struct ek_desk_entry *e, enum ek_desk_entry_state next);
uint32_t ek_desk_ticket(const struct ek_policy *p, const struct ek_desk_entry *e);
/* Slots (+ 1) of the pool's upstreams that are up. */
uint32_t ek_desk_pool_slots(const struct ek_policy *p, const struct ek_desk_pool *pool);
/* The upstream of the pool with most room, or EK_DESK_UPSTREAMS_MAX. */
uint32_t ek_desk_pick(const struct ek_policy *p, const struct ek_desk_pool *pool);
/* Brings the pool's pace up to date; before any change of `running`. */
void ek_desk_tick_pool(struct ek_policy *p, struct ek_desk_pool *pool, uint64_t now_ns);
/* When the pool's last upstream went down; 0 while one is up. */
uint64_t ek_desk_pool_down_ns(const struct ek_policy *p, const struct ek_desk_pool *pool);
/* Personal: the time until a place comes free for this one among all that were sent away. */
uint32_t ek_desk_retry_after_ms(struct ek_policy *p, struct ek_desk_pool *pool);
/* Entries ahead of a WAITING entry of this tier and pool that stands at the tail. */
uint32_t ek_desk_ahead_of_tier(const struct ek_policy *p, uint32_t tier, uint32_t pool);

#endif
