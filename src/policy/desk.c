/* SPDX-License-Identifier: MIT */
/* The desk's table: entries, their lists and the one function that moves them; pools and upstreams; birth,
 * options, death. The drawing is in desk_state.h. */
#include "policy/desk_state.h"

#include "base/must.h"
#include "policy/cost.h"

#include <stdlib.h>

#define ACCOUNTS_DEFAULT 65536u
#define PREDICT_CELLS 65536u
#define WARM_CELLS 65536u

/* ---- tickets, lists ---------------------------------------------------------------------------- */

uint32_t ek_desk_ticket(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    return (uint32_t)e->generation << EK_DESK_INDEX_BITS | ek_desk_index(p, e);
}

uint32_t ek_desk_index(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    MUST(e >= p->entry && e < p->entry + p->entries);
    return (uint32_t)(e - p->entry);
}

struct ek_desk_entry *ek_desk_entry_of(struct ek_policy *p, uint32_t ticket)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    uint32_t index = ticket & ((1u << EK_DESK_INDEX_BITS) - 1);
    MUST(index < p->entries);
    struct ek_desk_entry *e = &p->entry[index];
    MUST(e->state != ENTRY_FREE);
    MUST(ek_desk_ticket(p, e) == ticket);
    return e;
}

static struct ek_list *list_of(struct ek_policy *p, const struct ek_desk_entry *e)
{
    switch (e->state) {
    case ENTRY_FREE: return &p->free;
    case ENTRY_WAITING: return e->fresh ? &p->fresh : &p->waiting;
    case ENTRY_ABSENT: return &p->absent;
    case ENTRY_RUNNING: return &p->running;
    case ENTRY_STOPPING: return &p->stopping;
    case ENTRY_STATES: break;
    }
    WRONG("a desk entry has a state");
}

static const bool legal[ENTRY_STATES][ENTRY_STATES] = {
    [ENTRY_FREE] = {[ENTRY_WAITING] = true},
    [ENTRY_WAITING] = {[ENTRY_FREE] = true, [ENTRY_RUNNING] = true, [ENTRY_ABSENT] = true},
    [ENTRY_ABSENT] = {[ENTRY_FREE] = true, [ENTRY_WAITING] = true},
    [ENTRY_RUNNING] = {[ENTRY_FREE] = true, [ENTRY_WAITING] = true, [ENTRY_STOPPING] = true},
    [ENTRY_STOPPING] = {[ENTRY_FREE] = true},
};

/* Those at their cap keep their line and do not take part. */
static void watch_cap(struct ek_policy *p, uint64_t who)
{
    uint32_t running = ek_accounts_get(&p->accounts, who).running;
    for (uint32_t t = 0; t < p->tiers; t++) {
        uint64_t cap = p->tier[t].account_running_max;
        if (cap) ek_order_hold(&p->order, t, who, running >= cap);
    }
}

static uint64_t payer_of(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    return e->state == ENTRY_ABSENT ? e->payer : ek_order_flow(&p->order, &e->item)->who;
}

static void count_state(struct ek_policy *p, const struct ek_desk_entry *e, uint64_t payer, int by)
{
    struct ek_desk_pool *pool = &p->pool[e->pool];
    if (e->state == ENTRY_WAITING) {
        p->counts.waiting += (uint32_t)by;
        p->tier_waiting[e->tier] += (uint32_t)by;
        pool->waiting += (uint32_t)by;
        ek_accounts_add(&p->accounts, payer, by, 0);
    } else if (e->state == ENTRY_ABSENT) {
        p->counts.absent += (uint32_t)by;
        ek_accounts_add(&p->accounts, payer, by, 0);
    } else if (e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING) {
        p->counts.running += (uint32_t)by;
        p->upstream[e->upstream].inflight += (uint32_t)by;
        p->upstream[e->upstream].more += (uint32_t)(by * p->loan[ek_desk_index(p, e)].more);
        if (!e->lent) pool->running += (uint32_t)by;
        ek_accounts_add(&p->accounts, payer, 0, by);
    }
}

/* Waiting or absent. */
static void end_waiting(struct ek_policy *p, struct ek_desk_entry *e)
{
    uint32_t index = ek_desk_index(p, e);
    if (e->timed) ek_heap_remove(&p->deadlines, &p->deadline[index]);
    e->timed = false;
    if (e->repeat && ek_index_find(&p->repeats, e->repeat) == index)
        ek_index_remove(&p->repeats, e->repeat);
}

static void begin_waiting(struct ek_policy *p, struct ek_desk_entry *e)
{
    if (e->repeat) ek_index_set(&p->repeats, e->repeat, ek_desk_index(p, e));
    if (e->state != ENTRY_WAITING) return;
    e->fresh = true;
    e->lent = false;
    e->shown_kind = EK_DESK_NOT_SHOWN;
    e->told_p90_ms = -1;
}

void ek_desk_move(struct ek_policy *p, struct ek_desk_entry *e, enum ek_desk_entry_state next)
{
    MUST(e->state < ENTRY_STATES);
    MUST(legal[e->state][next]);
    uint64_t payer = payer_of(p, e);
    ek_list_remove(list_of(p, e), &e->link);
    if (e->state == ENTRY_WAITING || e->state == ENTRY_ABSENT) end_waiting(p, e);
    count_state(p, e, payer, -1);
    e->state = next;
    count_state(p, e, payer, +1);
    if (next == ENTRY_WAITING || next == ENTRY_ABSENT) begin_waiting(p, e);
    ek_list_append(list_of(p, e), &e->link);
    watch_cap(p, payer);
    if (next != ENTRY_WAITING && e->returned != EK_WHY_BUSY) p->only[ek_desk_index(p, e)] = 0;
    if (next == ENTRY_FREE) ek_kinds_leave(&p->kinds, e->kind);
    if (next == ENTRY_FREE) ek_order_forget(&p->order, &e->item);
    if (next == ENTRY_FREE) e->generation = (uint16_t)((e->generation + 1) & 0x7fff);
    if (next == ENTRY_FREE && e->generation == 0) e->generation = 1; /* a ticket is never 0 */
}

void ek_desk_leave_line(struct ek_policy *p, struct ek_desk_entry *e)
{
    MUST(e->state == ENTRY_WAITING);
    if (e->item.returned) p->stats.charged_nano[e->tier] -= ek_order_cost(&e->item);
    ek_order_leave(&p->order, &e->item);
}

void ek_desk_set_deadline(struct ek_policy *p, struct ek_desk_entry *e, uint64_t deadline_ns)
{
    MUST(e->state == ENTRY_WAITING || e->state == ENTRY_ABSENT);
    MUST(!e->timed);
    p->deadline[ek_desk_index(p, e)].key = deadline_ns; /* also of none: a lender may send it back */
    if (deadline_ns == UINT64_MAX) return;
    e->timed = true;
    ek_heap_put(&p->deadlines, &p->deadline[ek_desk_index(p, e)], deadline_ns);
}

void ek_desk_set_fresh(struct ek_policy *p, struct ek_desk_entry *e, bool fresh)
{
    MUST(e->state == ENTRY_WAITING);
    if (e->fresh == fresh) return;
    ek_list_remove(list_of(p, e), &e->link);
    e->fresh = fresh;
    ek_list_append(list_of(p, e), &e->link);
}

/* ---- birth and options ------------------------------------------------------------------------- */

static bool options_fit(const struct ek_desk_options *o)
{
    return o->tiers.count >= 1 && o->tiers.count <= EK_DESK_TIERS_MAX && o->running_max >= 1 &&
           o->running_max <= EK_DESK_RUNNING_MAX && o->queue.waiting_max <= EK_DESK_WAITING_MAX;
}

static void take_options(struct ek_policy *p, const struct ek_desk_options *o)
{
    double weight[EK_DESK_TIERS_MAX];
    MUST(options_fit(o));
    MUST(o->queue.waiting_max + o->running_max <= p->entries);
    uint64_t room = p->entries - o->queue.waiting_max - o->running_max;
    p->waiting_max = o->queue.waiting_max;
    p->absent_max = room < p->waiting_max ? room : p->waiting_max;
    p->running_max = o->running_max;
    p->tell_min_ns = o->tell_min_ns;
    p->tell_max_ns = o->tell_max_ns;
    p->tell_change = o->tell_change;
    p->down_grace_ns = o->down_grace_ns;
    p->tiers = (uint32_t)o->tiers.count;
    for (uint32_t t = 0; t < p->tiers; t++) {
        p->tier[t] = o->tiers.item[t];
        p->tier[t].name = NULL; /* the desk outlives the snapshot it came from */
        weight[t] = (double)p->tier[t].weight;
    }
    ek_order_tiers(&p->order, p->tiers, weight);
    ek_desk_control_options(p, o);
    for (uint32_t u = 0; u < EK_DESK_UPSTREAMS_MAX; u++)
        p->upstream[u].learn.target_s = (double)o->tpot_target_ns * 1e-9;
    p->hedge_part = o->queue.hedge_part;
    p->hedge_after_ns = o->queue.hedge_after_ns;
    p->order.quantum_nano = o->quantum_nano > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)o->quantum_nano;
}

static bool make_rooms(struct ek_policy *p, const struct ek_desk_options *o)
{
    uint32_t accounts = o->accounts_max ? o->accounts_max : ACCOUNTS_DEFAULT;
    p->entry = calloc(p->entries, sizeof *p->entry);
    p->service = calloc(EK_DESK_RUNNING_MAX, sizeof *p->service);
    p->deadline = calloc(p->entries, sizeof *p->deadline);
    p->only = calloc(p->entries, sizeof *p->only);
    p->loan = calloc(p->entries, sizeof *p->loan);
    bool ok = p->entry && p->deadline && p->service && p->only && p->loan;
    ok = ek_kinds_init(&p->kinds, p->entries) && ok;
    ok = ek_accounts_init(&p->accounts, p->entries) && ok;
    ok = p->entry && ek_order_init(&p->order, p->entries, accounts, &p->entry->item, sizeof *p->entry) && ok;
    ok = ek_predict_init(&p->predict, PREDICT_CELLS) && ok;
    ok = ek_warm_init(&p->warm, WARM_CELLS) && ok;
    ok = ek_index_init(&p->repeats, p->entries) && ok;
    ok = ek_index_init(&p->conversations, EK_DESK_PLACES_MAX) && ok;
    ok = ek_index_init(&p->places, EK_DESK_PLACES_MAX) && ok;
    return ek_heap_reserve(&p->deadlines, p->entries) == EK_OK && ok;
}

struct ek_policy *ek_desk_new(const struct ek_desk_options *o, struct ek_now now)
{
    if (!options_fit(o)) return NULL;
    struct ek_policy *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    /* A reload may double the line, and a short one may become an ordinary one. */
    uint64_t waiting = o->queue.waiting_max * 2 > 1024 ? o->queue.waiting_max * 2 : 1024;
    if (waiting > EK_DESK_WAITING_MAX) waiting = EK_DESK_WAITING_MAX;
    p->entries = (uint32_t)(waiting + o->running_max);
    if (waiting == EK_DESK_WAITING_MAX) p->entries = (1u << EK_DESK_INDEX_BITS) - 1;
    p->magic = EK_POLICY_MAGIC;
    if (!make_rooms(p, o)) {
        ek_desk_free(&p);
        return NULL;
    }
    p->random = ek_random_make(o->seed);
    for (uint32_t u = 0; u < EK_DESK_UPSTREAMS_MAX; u++) ek_learn_init(&p->upstream[u].learn);
    take_options(p, o);
    p->tick_ns = now.mono_ns;
    ek_list_init(&p->free);
    ek_list_init(&p->absent);
    ek_list_init(&p->fresh);
    ek_list_init(&p->waiting);
    ek_list_init(&p->running);
    ek_list_init(&p->stopping);
    for (uint32_t u = 0; u < EK_DESK_UPSTREAMS_MAX; u++) p->upstream[u].down_ns = now.mono_ns;
    return p;
}

void ek_desk_free(struct ek_policy **p)
{
    if (!*p) return;
    MUST_OBJ(*p, EK_POLICY_MAGIC);
    ek_accounts_free(&(*p)->accounts);
    ek_order_free(&(*p)->order);
    ek_kinds_free(&(*p)->kinds);
    ek_predict_free(&(*p)->predict);
    ek_warm_free(&(*p)->warm);
    ek_index_free(&(*p)->repeats);
    ek_index_free(&(*p)->conversations);
    ek_index_free(&(*p)->places);
    ek_heap_free(&(*p)->deadlines);
    (*p)->magic = 0;
    free((*p)->deadline);
    free((*p)->only);
    free((*p)->loan);
    free((*p)->entry);
    free((*p)->service);
    free(*p);
    *p = NULL;
}

bool ek_desk_reload(struct ek_policy *p, const struct ek_desk_options *o)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    if (!options_fit(o)) return false;
    if (o->queue.waiting_max + o->running_max > p->entries) return false;
    if (o->tiers.count < p->tiers) return false;
    take_options(p, o);
    for (uint32_t i = 0; i < p->order.flows_made; i++) { /* caps may have changed */
        const struct ek_order_flow *f = &p->order.flow[i];
        if (f->pins == 0) continue;
        ek_order_hold(&p->order, f->tier, f->who, false);
        watch_cap(p, f->who);
    }
    p->round_ns = 0;
    return true;
}

uint32_t ek_desk_pool(struct ek_policy *p, uint64_t upstream_mask)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(upstream_mask != 0);
    for (uint32_t i = 0; i < p->pools; i++)
        if (p->pool[i].mask == upstream_mask) return i;
    if (p->pools == EK_DESK_POOLS_MAX) return EK_DESK_POOLS_MAX;
    p->pool[p->pools] = (struct ek_desk_pool){.mask = upstream_mask};
    ek_desk_control_pool(p, p->pools);
    uint64_t own = upstream_mask & ~p->lent_mask; /* who shares but a lender shares no line */
    ek_order_add_pool(&p->order, own ? own : upstream_mask);
    return p->pools++;
}

/* ---- pools and upstreams ----------------------------------------------------------------------- */

uint32_t ek_desk_pool_slots(const struct ek_policy *p, const struct ek_desk_pool *pool)
{
    uint32_t slots = 0;
    for (uint64_t m = pool->mask; m; m &= m - 1) {
        slots += ek_desk_upstream_slots(&p->upstream[__builtin_ctzll(m)]);
    }
    return slots;
}

bool ek_desk_has_room(const struct ek_policy *p, const struct ek_desk_pool *pool)
{
    if (p->counts.running >= p->running_max) return false;
    for (uint64_t m = pool->mask; m; m &= m - 1)
        if (ek_desk_upstream_room(&p->upstream[__builtin_ctzll(m)])) return true;
    return false;
}

/* The upstreams it may go to: where one that failed elsewhere is to go, while any of those is up. */
static uint64_t allowed_mask(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e)
{
    uint64_t mask = p->pool[e->pool].mask;
    if (e->returned == EK_WHY_BUSY) return mask;
    uint64_t only = p->only[ek_desk_index(p, e)] & mask;
    if (only && !(only & ~p->lent_mask) && ek_desk_lender_takes_back(p, now, e)) return 0;
    only &= ~p->lent_mask;
    for (uint64_t m = only; m; m &= m - 1)
        if (p->upstream[__builtin_ctzll(m)].load.up) return only;
    return mask;
}

/* Its free part. A heavier weight makes the same number of requests there seem fewer, a lighter one more. */
static double free_part(const struct ek_desk_upstream *u, uint32_t room)
{
    double weight = u->load.weight ? u->load.weight * 0.1 : 1;
    double busy = 1 - (double)room / ek_desk_upstream_slots(u);
    return 1 - busy / weight;
}

/* Predicted context of all that is there, a slot: tells long work from short where the numbers are alike. */
static double work_of(const struct ek_desk_upstream *u)
{
    double slots = ek_desk_upstream_slots(u) * (u->load.weight ? u->load.weight * 0.1 : 1);
    return slots > 0 ? (double)u->kv_tokens / slots : 0;
}

uint32_t ek_desk_pick(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e,
                      uint32_t *cached_tokens)
{
    uint64_t mask = allowed_mask(p, now, e);
    double work_max = 1;
    uint32_t best = EK_DESK_UPSTREAMS_MAX;
    double best_score = 0;
    struct ek_chain chain = ek_order_chain(&p->order, &e->item, e->prompt_tokens);
    *cached_tokens = 0;
    for (uint64_t m = mask; m; m &= m - 1) {
        double work = work_of(&p->upstream[__builtin_ctzll(m)]);
        if (work > work_max) work_max = work;
    }
    for (uint64_t m = mask; m; m &= m - 1) {
        uint32_t u = (uint32_t)__builtin_ctzll(m);
        uint32_t room = ek_desk_upstream_room(&p->upstream[u]);
        if (room == 0 || !ek_desk_kv_fits(&p->upstream[u], e)) continue;
        uint32_t warm = ek_warm_tokens(&p->warm, u, &chain);
        /* A whole warm prompt is worth half of the upstream's slots being busy, no more. */
        double share = e->prompt_tokens ? (double)warm / e->prompt_tokens : 0;
        double score = free_part(&p->upstream[u], room) + 0.5 * (share > 1 ? 1 : share) -
                       0.1 * work_of(&p->upstream[u]) / work_max;
        if (best < EK_DESK_UPSTREAMS_MAX && score <= best_score) continue;
        best = u;
        best_score = score;
        *cached_tokens = warm;
    }
    return best;
}

uint64_t ek_desk_pool_down_ns(const struct ek_policy *p, const struct ek_desk_pool *pool)
{
    uint64_t latest_ns = 0;
    for (uint64_t m = pool->mask & ~p->lent_mask; m; m &= m - 1) {
        const struct ek_desk_upstream *u = &p->upstream[__builtin_ctzll(m)];
        if (u->load.up) return 0;
        if (u->down_ns > latest_ns) latest_ns = u->down_ns;
    }
    return latest_ns ? latest_ns : 1;
}

void ek_desk_tick_pool(struct ek_policy *p, struct ek_desk_pool *pool, uint64_t now_ns)
{
    MUST(pool >= p->pool && pool < p->pool + p->pools);
    ek_pace_advance(&pool->pace, now_ns, pool->running);
}
