/* SPDX-License-Identifier: MIT */
/* The inside of the desk, shared by its files and nobody else. Who does what in this room:
 *
 *   what happens                                    what is decided
 *   desk_arrive.c  someone comes: in or not,        desk_next.c     the next action: start, word, refusal
 *                  at what price                    desk_admit.c    may it be sent: slots, KV, deadlines
 *   desk_event.c   what becomes of those inside     desk_wait.c     how long will it wait; was that true
 *   desk_place.c   places that outlive a client     desk_control.c  brownout and shedding
 *                                                   desk_borrow.c   who goes to a lender, and what it costs
 *                                                   desk_hedge.c    who gets a second attempt elsewhere
 *   desk.c         the table: entries, lists, pools, birth, options; ek_desk_move is the one that changes
 *                  a state                          desk_look.c     counts, statistics, invariants
 *
 *   made of parts that know nothing of the desk, each pure and tested by itself:
 *   who goes next   order.h (order.c changes it, order_ask.c asks, order_local.c prefers what is warm), on
 *                   levels of fair.h, which stand on the treap of tree.h
 *   how long, how   estimate.h (the pace of a pool), vacancy.h (when slots come free), flux.h (who comes,
 *   much            overtakes, leaves), fluid.h (what follows for a wait), first.h (from the turn to the
 *                   first token), conform.h (how far to trust all that), predict.h (how long an answer
 *                   gets), cost.h (prices), learn.h (what an upstream can bear)
 *   when too much   brownout.h (think less), overflow.h (other people's machines), shed.h (let fewer in)
 *   who is who      accounts.h, kinds.h, chain.h, warm.h, all by hash: index.h
 *
 *   entry:   FREE ──▶ WAITING ──▶ RUNNING ──▶ FREE
 *                     ▲  ▲  │        │  │
 *            ABSENT ◀─┘  └──┼─ back ─┘  └▶ STOPPING ──▶ FREE     (a CANCEL was given out)
 *               └───────────┴────────────────────────▶ FREE
 *
 * The state is the list: FREE entries are on free, WAITING ones on waiting (in the order in which they are
 * looked at again; until they were told their place once, on fresh), RUNNING and STOPPING on theirs.
 * A WAITING entry also has its place in the order (order.h), and in the heap of deadlines if it has one. An
 * ABSENT one is out of the order but keeps its number there (node.seq), and is always in that heap. */
#ifndef EK_POLICY_DESK_STATE_H
#define EK_POLICY_DESK_STATE_H

#include "base/heap.h"
#include "base/list.h"
#include "base/random.h"
#include "policy/accounts.h"
#include "policy/brownout.h"
#include "policy/conform.h"
#include "policy/desk.h"
#include "policy/estimate.h"
#include "policy/first.h"
#include "policy/fluid.h"
#include "policy/flux.h"
#include "policy/kinds.h"
#include "policy/learn.h"
#include "policy/order.h"
#include "policy/predict.h"
#include "policy/shed.h"
#include "policy/vacancy.h"
#include "policy/warm.h"

/* What was shown to one first, until its first token says whether it was true. */
struct ek_desk_shown {
    uint32_t at_ms; /* the clock's low 32 bits (ek_desk_ms): nobody waits 24 days */
    int32_t p50_ms;
    int32_t p90_ms;
    float raw_s;
    float spread;
};

#define EK_POLICY_MAGIC 0x9d3a61c4u
#define EK_DESK_INDEX_BITS 17
#define EK_DESK_ROUND_NS (EK_S_NS / 4)
#define EK_DESK_PLACES_MAX 4096u /* places kept for those who left and may come again */

enum ek_desk_entry_state {
    ENTRY_FREE = 0, ENTRY_WAITING, ENTRY_ABSENT, ENTRY_RUNNING, ENTRY_STOPPING, ENTRY_STATES
};

/* One request, and what it costs to wait: 100,000 may, and all of a waiting request beyond its body is to fit
 * one kilobyte, of which socket, connection and door take the larger part. So here is only what nearly every
 * request needs; what is shared or rare lies elsewhere:
 *
 *     entry ──kind──▶ kinds     model, effort, prices: the same for many          (kinds.h)
 *       │ ──item──▶ order       who pays (flow), for whom (user)                  (order.h)
 *       │      └──▶ chains      what the prompt begins with, of those who told it (chain.h)
 *       │──index──▶ deadlines   of those who have one
 *       └─service─▶ service     of those who run
 *
 * Chains, deadlines and service are tables of their own, in which a page that was never touched takes no
 * memory. */
struct ek_desk_entry {
    struct ek_link link; /* the state */
    struct ek_order_item item;
    uint64_t id;
    uint64_t conversation;
    uint64_t repeat;
    union {
        struct { /* WAITING: what its caller was told */
            uint32_t told_ms; /* as shown.at_ms */
            int32_t told_eta_ms;
            int32_t told_p90_ms;
            struct ek_desk_shown shown;
            float told_rate; /* of the pool when p90 was shown, nano-units a second */
            uint32_t told_position : 24;
            uint32_t told_why : 4;
            uint32_t shown_kind : 4; /* of wait (struct ek_desk_wait); or EK_DESK_NOT_SHOWN: none yet, or
                                      * it was scored */
        };
        struct { /* ABSENT: what it enters the order with when it is back */
            uint64_t payer;
            uint64_t user;
            uint64_t deadline_ns; /* its own; in the heap is when its place is given up */
        };
        struct { /* RUNNING, STOPPING */
            double guess_nano; /* cost as it was counted while it waited */
            struct ek_used used;
            uint32_t service; /* its number among those in service */
            bool used_known;
            uint8_t upstream;
        };
    };
    uint32_t kind;
    uint32_t prompt_tokens;
    uint32_t output_tokens; /* predicted */
    uint32_t tokens;        /* generated so far */
    enum ek_desk_entry_state state : 3;
    bool fresh : 1;       /* WAITING and not told yet */
    bool timed : 1;       /* has a deadline */
    bool owned : 1;       /* its account is unproven: the user of its flow, whose payer is the owner */
    bool may_shorten : 1; /* it thinks, and may think less */
    bool hurried : 1;     /* the deadline is the caller's own: of its first token, not of its patience */
    uint8_t tier;
    uint16_t generation : 15;
    bool lent : 1; /* RUNNING, STOPPING: at a lender, and no part of our own pace */
    uint8_t pool;
    uint8_t returned; /* enum ek_desk_why: why it came back; EK_WHY_BUSY: it did not */
    uint8_t step;     /* of brownout it was predicted, or started, at */
};
_Static_assert(sizeof(struct ek_desk_entry) <= 176,
               "a waiting request may cost 1 kB beyond its body, and 830 bytes of it are spoken for");
#define EK_DESK_NOT_SHOWN 15u
_Static_assert(2 * EK_CONFORM_DEPTHS <= EK_DESK_NOT_SHOWN && EK_WHY_COUNT <= 16, "four bits hold them");
/* A time of the entry: rounded up, so that what has passed since is never told as more than it is. */
static inline uint64_t ek_desk_ms(uint64_t now_ns) { return (now_ns + EK_MS_NS - 1) / EK_MS_NS; }

static inline uint32_t ek_desk_ms_since(uint64_t now_ns, uint32_t then_ms)
{
    uint32_t passed = (uint32_t)(now_ns / EK_MS_NS) - then_ms;
    return passed > INT32_MAX ? 0 : passed; /* the millisecond that was rounded up is not over */
}

_Static_assert(EK_DESK_WAITING_MAX < 1u << 24, "told_position holds every place there is");

struct ek_desk_upstream {
    struct ek_load load;
    uint32_t inflight;
    uint32_t more; /* slots that those take for further choices */
    bool was_up;
    uint64_t down_ns; /* since when it is not up */
    struct ek_learn learn;
    uint64_t kv_tokens; /* of context, foreseen, of all that is there */
    double kv_learned;  /* bound on them since it said that it is full; 0: none */
    struct ek_desk_share share;
    struct ek_lender lender;
    struct ek_hedge_firsts firsts;
};

/* Of a request in service; beside the entries, because far more wait than run. */
struct ek_desk_service {
    struct ek_learn_mark mark;
    uint64_t kv_tokens;
    struct ek_desk_shown shown;
    uint32_t shown_kind; /* as in the entry */
    bool waited;         /* it comes out of the line */
    float tokens;        /* of work that were foreseen when it began (vacancy.h); 0: at a lender */
    uint32_t life_at;    /* how far it is counted in the life table */
    bool hedged;         /* a second attempt is under way ... */
    uint8_t hedge;       /* ... at this upstream */
    struct ek_learn_mark second;
    struct ek_desk_lent { /* at a lender */
        struct ek_desk_price price;
        int64_t reserved_nano;
        uint32_t tokens; /* of output that are reserved ... */
        uint32_t made;   /* ... and that were made there */
        uint32_t before; /* made elsewhere, a part of its prompt there */
        bool accepted, trial, overdrawn, recalled, to_recall;
    } lent;
    uint32_t next_free; /* 1 + number; 0: none */
};

/* What the brownout controller of a group of pools is told, kept with each pool; the controller itself lies
 * with the lowest pool of the group. Work in nano-units. */
struct ek_desk_control {
    double done, arrivals; /* since the last tick */
    struct {
        double came;            /* since the last tick */
        double seen, seen_soft; /* of arrivals, faded by them; of that, what may be shortened */
        double mean;            /* of one request, were nothing shortened */
        double thought, whole;  /* of whole thoughts, faded */
    } tier[EK_DESK_TIERS_MAX];
    double left[EK_BROWNOUT_STEPS]; /* tokens of whole thoughts, as each step would have left them, faded */
    struct ek_brownout brownout;
};

struct ek_desk_pool {
    uint64_t mask;
    uint32_t waiting;
    uint32_t running;
    struct ek_pace pace;
    struct ek_life life;
    struct ek_vacancy vacancy;
    uint64_t ends; /* of services at its machines */
    struct ek_first first;
    double away; /* refused since the line was last short: places promised by Retry-After */
    struct ek_flux flux[EK_DESK_TIERS_MAX];
    uint64_t told_ms[EK_DESK_TIERS_MAX]; /* those who wait and were told an estimate: sum of when they were */
    uint32_t told[EK_DESK_TIERS_MAX];    /* ... and how many; together: how long people wait now */
    struct ek_desk_control control;
};

/* A place kept for one who left the line and may come again. */
struct ek_desk_place {
    uint64_t repeat;
    uint64_t seq;
    uint64_t until_ns;
};

struct ek_policy {
    uint32_t magic;
    uint32_t tiers;
    uint32_t pools;
    uint32_t entries; /* room for so many */
    uint32_t made;    /* entries touched so far */
    uint64_t waiting_max;
    uint64_t absent_max; /* as many as may wait, if there is room for them */
    uint64_t running_max;
    uint64_t tell_min_ns;
    uint64_t tell_max_ns;
    uint64_t down_grace_ns;
    double tell_change;
    struct ek_tier_options tier[EK_DESK_TIERS_MAX];
    uint32_t tier_waiting[EK_DESK_TIERS_MAX];
    struct ek_desk_upstream upstream[EK_DESK_UPSTREAMS_MAX];
    struct ek_desk_pool pool[EK_DESK_POOLS_MAX];
    struct ek_order order;
    struct ek_predict predict;
    struct ek_warm warm;
    struct ek_shed shed;
    bool brownout_on, shed_on;
    uint64_t tick_ns; /* when the controllers were last ticked */
    struct ek_leaving leaving[EK_DESK_TIERS_MAX];
    struct ek_conform conform[EK_DESK_TIERS_MAX][2 * EK_CONFORM_DEPTHS]; /* of two kinds of wait */
    struct ek_list free;
    struct ek_list absent;
    struct ek_list fresh;
    struct ek_list waiting;
    struct ek_list running;
    struct ek_list stopping;
    struct ek_heap deadlines;
    struct ek_heap_node *deadline; /* by entry; of those with `timed` */
    uint64_t *only; /* by entry: the upstreams one that came back may go to; 0: any */
    struct ek_desk_loan {
        int64_t nano;     /* charged by lenders, of attempts that are over */
        uint32_t came_ms; /* as told_ms */
        bool may_borrow;  /* its prompt may go to lenders */
        bool overfull;    /* the line was full when it came, and a lender was not */
        uint8_t more;     /* choices beyond the first: slots it takes besides its own */
    } *loan; /* by entry */
    uint64_t lent_mask; /* upstreams that are lenders */
    uint32_t recalls;   /* to be given out */
    struct ek_hedge_budget hedge;
    double hedge_part;
    uint64_t hedge_after_ns;
    uint32_t hedges;    /* second attempts under way; each is one more in flight */
    struct ek_kinds kinds;
    struct ek_accounts accounts; /* by who */
    struct ek_index repeats;     /* WAITING and ABSENT entries by repeat */
    struct ek_index conversations; /* by conversation, when it last ended; ring below bounds it */
    uint64_t conversation_ring[EK_DESK_PLACES_MAX];
    uint32_t conversation_at;
    struct ek_index places;
    struct ek_desk_place place[EK_DESK_PLACES_MAX];
    uint32_t place_at;
    struct ek_random random;
    struct ek_desk_counts counts;
    struct ek_desk_stats stats;
    uint64_t round_ns; /* when the next round of TELLs begins */
    uint32_t visits;   /* left in this round */
    uint64_t next_seq;
    bool draining;
    uint64_t drain_ns;
    uint64_t hold_ns; /* nothing starts before */
    struct ek_desk_entry *entry;
    struct ek_desk_service *service;
    uint32_t services_made, service_free; /* numbers given out so far; 1 + the first that came back */
    uint64_t service_changes; /* beginnings and ends */
    uint64_t lives_ns;        /* when all that run were counted in the life tables last */
};

/* desk.c: the only mover. The entry's upstream must already be right for `next`. */
void ek_desk_move(struct ek_policy *p, struct ek_desk_entry *e, enum ek_desk_entry_state next);
/* WAITING: to be told its place before all others are, or told. */
void ek_desk_set_fresh(struct ek_policy *p, struct ek_desk_entry *e, bool fresh);
uint32_t ek_desk_ticket(const struct ek_policy *p, const struct ek_desk_entry *e);
/* Waiting or absent, with no deadline yet. UINT64_MAX: it has none. */
void ek_desk_set_deadline(struct ek_policy *p, struct ek_desk_entry *e, uint64_t deadline_ns);
uint32_t ek_desk_index(const struct ek_policy *p, const struct ek_desk_entry *e);
struct ek_desk_entry *ek_desk_entry_of(struct ek_policy *p, uint32_t ticket);
/* Out of the order, unserved. */
void ek_desk_leave_line(struct ek_policy *p, struct ek_desk_entry *e);
/* What the pool's upstreams that are up may have at once. */
uint32_t ek_desk_pool_slots(const struct ek_policy *p, const struct ek_desk_pool *pool);
/* Does any upstream of the pool have room? */
bool ek_desk_has_room(const struct ek_policy *p, const struct ek_desk_pool *pool);
/* The upstream for this one: with its prefix warm, else with most room. EK_DESK_UPSTREAMS_MAX: none. */
uint32_t ek_desk_pick(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e,
                      uint32_t *cached_tokens);
/* Brings the pool's pace up to date; before any change of `running`. */
void ek_desk_tick_pool(struct ek_policy *p, struct ek_desk_pool *pool, uint64_t now_ns);
/* When the pool's last upstream went down; 0 while one is up. */
uint64_t ek_desk_pool_down_ns(const struct ek_policy *p, const struct ek_desk_pool *pool);

/* desk_admit.c */
/* Requests it may have at once: its slots and one more, or what was learned; 0: it is down. */
uint32_t ek_desk_upstream_slots(const struct ek_desk_upstream *u);
/* How many more it may be sent now. */
uint32_t ek_desk_upstream_room(const struct ek_desk_upstream *u);
/* Is there room for its context? Always where nothing is known of KV, or nothing else is there. */
bool ek_desk_kv_fits(const struct ek_desk_upstream *u, const struct ek_desk_entry *e);
/* In service: sent to its upstream, made tokens, left it. */
void ek_desk_service_begin(struct ek_policy *p, struct ek_now now, struct ek_desk_entry *e,
                           uint32_t cached_tokens);
void ek_desk_service_tokens(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e,
                            uint32_t tokens);
void ek_desk_service_end(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e);
struct ek_desk_service *ek_desk_service_of(const struct ek_policy *p, const struct ek_desk_entry *e);
/* Seconds to the first token of a new prompt at the quickest upstream of the pool; 0: not known. */
double ek_desk_first_token_s(const struct ek_policy *p, uint32_t pool, uint32_t prompt_tokens);
/* Sent to this upstream now, its first token would come behind its caller's deadline. */
bool ek_desk_too_late(const struct ek_policy *p, const struct ek_desk_entry *e, uint32_t upstream,
                      uint32_t cached_tokens, uint64_t now_ns);

/* desk_arrive.c */
struct ek_price_options ek_desk_price_of(const struct ek_policy *p, const struct ek_desk_entry *e);
bool ek_desk_priced(const struct ek_policy *p, const struct ek_desk_entry *e); /* the shell told prices */
/* Of what it will be learned, and predicted, as; the entry is in the order. */
struct ek_predict_key ek_desk_key(const struct ek_policy *p, const struct ek_desk_entry *e);
int64_t ek_desk_bounded(int64_t nano);              /* a cost that sums can bear: 1 ... 10^13 */

/* desk_place.c */
/* It leaves the line; should it come again, its place is kept for a minute. */
void ek_desk_keep_place(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e);
/* One who left the line lately and comes again gets the old place back: true, and its number is the old. */
bool ek_desk_reclaim_place(struct ek_policy *p, struct ek_now now, struct ek_desk_entry *e);

/* desk_borrow.c: lenders */
struct ek_desk_wait;
/* What the lenders' purses say to one request: of those that are up, the one that can pay soonest. */
struct ek_desk_purse {
    bool there; /* one is up, and it may go there */
    enum ek_purse_state state;
    int64_t nano;     /* what would be reserved */
    uint64_t wait_ns; /* WINDOW */
    int64_t budget_nano; /* the smaller one */
};
struct ek_desk_purse ek_desk_purse_of(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e);
struct ek_desk_purse ek_desk_purse_of_new(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a);
bool ek_desk_lenders_alone(const struct ek_policy *p, uint32_t pool); /* none of our own serves it */
/* Why one that no upstream of our own can take now is not to wait for lenders; NONE: it may. deadline_ns: its
 * patience (monotonic), UINT64_MAX: it named none. */
enum ek_reason ek_desk_purse_says(const struct ek_policy *p, struct ek_now now, uint32_t pool,
                                  const struct ek_desk_purse *s, uint64_t deadline_ns);
uint32_t ek_desk_purse_retry_ms(struct ek_policy *p, const struct ek_desk_purse *s);
/* Would one take this arrival at once? */
bool ek_desk_lender_takes(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a);
/* One that came back and can go on at lenders alone: does one take it at once? */
bool ek_desk_lender_takes_back(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e);
/* The lender for one who waits, and is foreseen to wait like that; EK_DESK_UPSTREAMS_MAX: it waits on. */
uint32_t ek_desk_lender_for(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e,
                            const struct ek_desk_wait *w, enum ek_overflow_why *why);
void ek_desk_lent_begin(struct ek_policy *p, struct ek_now now, struct ek_desk_entry *e, uint32_t upstream);
void ek_desk_lent_tokens(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e,
                         uint32_t tokens);
void ek_desk_lent_end(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e);
struct ek_desk_entry *ek_desk_recalled(struct ek_policy *p); /* NULL: none is to be */

/* desk_hedge.c: second attempts */
void ek_desk_hedge_sent(struct ek_policy *p, const struct ek_desk_entry *e); /* that earns a part */
void ek_desk_hedge_drop(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e);

/* desk_control.c: brownout and shedding */
void ek_desk_control_options(struct ek_policy *p, const struct ek_desk_options *o);
void ek_desk_control_pool(struct ek_policy *p, uint32_t index); /* the same, for a new pool */
/* What they see: an arrival and its work were nothing shortened; work done; a whole thought, by tokens and
 * by what it and all of its request came to. */
void ek_desk_saw_arrival(struct ek_policy *p, const struct ek_desk_entry *e, double whole_nano);
void ek_desk_saw_refused(struct ek_policy *p, const struct ek_arrival *a); /* demand all the same */
/* A running one takes so much more than it was thought to (less: negative). */
void ek_desk_saw_more(struct ek_policy *p, const struct ek_desk_entry *e, double nano);
void ek_desk_saw_work(struct ek_policy *p, const struct ek_desk_entry *e, double nano);
void ek_desk_saw_thought(struct ek_policy *p, const struct ek_desk_entry *e, uint32_t thought_tokens,
                         double thought_nano, double whole_nano);
/* Ticks the controllers when a second has passed. */
void ek_desk_control(struct ek_policy *p, uint64_t now_ns);
bool ek_desk_control_busy(const struct ek_policy *p); /* they want to be ticked though nobody waits */
/* The thinking budget of a tier where it is lowest, per cent. */
uint32_t ek_desk_percent(const struct ek_policy *p, uint32_t tier);
/* The step of brownout this one is at now. */
uint8_t ek_desk_step(const struct ek_policy *p, const struct ek_desk_entry *e);
/* It starts: fills the thinking budget. */
void ek_desk_shorten(struct ek_policy *p, struct ek_desk_entry *e, struct ek_action *a);

/* desk_wait.c */
struct ek_desk_wait {
    bool known;
    uint32_t position;
    int64_t eta_ms, eta_p90_ms; /* -1: not known */
    double line_s;              /* of it, until its turn, as the fluid says */
    double raw_s, spread;
    double lead; /* its turn is so many mean requests behind the virtual time of its class */
    uint32_t kind; /* of its errors: depth, and whether it waits behind others of its own account */
};
struct ek_desk_wait ek_desk_wait_of(struct ek_policy *p, const struct ek_desk_entry *e, uint64_t now_ns);
/* Of one more request of `who`, 0: of somebody new; with such a prompt, 0: the mean one. */
struct ek_desk_wait ek_desk_wait_of_new(struct ek_policy *p, uint32_t tier, uint32_t pool, uint64_t who,
                                        uint32_t prompt_tokens, uint64_t now_ns);
/* An estimate is shown to it for the first time. */
void ek_desk_show(struct ek_policy *p, struct ek_desk_entry *e, const struct ek_desk_wait *w,
                  const struct ek_action *shown, uint64_t now_ns);
/* It begins, after its thinking budget is known (priced was it at another step of brownout); and ends: what
 * slots come free by. counts: it was served. */
void ek_desk_slot_taken(struct ek_policy *p, const struct ek_desk_entry *e, uint8_t priced_step);
void ek_desk_slot_left(struct ek_policy *p, const struct ek_desk_entry *e, bool counts, uint64_t now_ns);
/* Those who run are counted in the life tables, every few seconds where thousands do. */
void ek_desk_count_lives(struct ek_policy *p, uint64_t now_ns);
/* It leaves the line for a lender: what it was told of our own line is not judged by that. */
void ek_desk_promise_drop(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns);
/* It leaves the line without having been started: was what it was told true? */
void ek_desk_score_left(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns);
/* It starts: what it was shown goes with it into service. Around the move to RUNNING. */
struct ek_desk_shown ek_desk_promise_take(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns,
                                          uint32_t *kind);
/* It is in service: its first token is here, or it ends without one. */
void ek_desk_promise_kept(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns);
void ek_desk_promise_void(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns);
/* It is back in the line and has no token yet: what was taken along still counts. */
void ek_desk_promise_return(struct ek_policy *p, struct ek_desk_entry *e, const struct ek_desk_shown *shown,
                            uint32_t kind, uint64_t now_ns);
/* Personal: the time until a place comes free for this one among all that were sent away. */
uint32_t ek_desk_retry_after_ms(struct ek_policy *p, struct ek_desk_pool *pool);

#endif
