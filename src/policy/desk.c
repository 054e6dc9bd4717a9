/* SPDX-License-Identifier: MIT */
/* The desk: its table, its lists, and what each event does to them. What follows from the state (who
 * starts, who is told what) is desk_next.c. The drawing is in desk_state.h. */
#include "policy/desk_state.h"

#include "base/must.h"

#include <stdlib.h>

#define RETRY_MIN_MS 1000.0
#define RETRY_MAX_MS 60000.0
#define RETRY_UNKNOWN_MS 5000.0 /* nothing measured yet: come back in about 5 to 10 s */

/* ---- tickets, lists ---------------------------------------------------------------------------- */

uint32_t ek_desk_ticket(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    return (uint32_t)e->generation << EK_DESK_INDEX_BITS | (uint32_t)(e - p->entry);
}

static struct ek_desk_entry *entry_of(struct ek_policy *p, uint32_t ticket)
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
    switch ((enum ek_desk_entry_state)e->state) {
    case ENTRY_FREE: return &p->free;
    case ENTRY_WAITING: return &p->line[e->tier][e->pool];
    case ENTRY_RUNNING: return &p->running;
    case ENTRY_STOPPING: return &p->stopping;
    case ENTRY_STATES: break;
    }
    WRONG("a desk entry has a state");
}

static const bool legal[ENTRY_STATES][ENTRY_STATES] = {
    [ENTRY_FREE] = {[ENTRY_WAITING] = true},
    [ENTRY_WAITING] = {[ENTRY_FREE] = true, [ENTRY_RUNNING] = true},
    [ENTRY_RUNNING] = {[ENTRY_FREE] = true, [ENTRY_WAITING] = true, [ENTRY_STOPPING] = true},
    [ENTRY_STOPPING] = {[ENTRY_FREE] = true},
};

static void count_state(struct ek_policy *p, const struct ek_desk_entry *e, int by)
{
    struct ek_desk_pool *pool = &p->pool[e->pool];
    if (e->state == ENTRY_WAITING) {
        p->counts.waiting += (uint32_t)by;
        p->tier_waiting[e->tier] += (uint32_t)by;
        pool->waiting += (uint32_t)by;
        ek_accounts_add(&p->accounts, e->account, by, 0);
    } else if (e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING) {
        p->counts.running += (uint32_t)by;
        p->upstream[e->upstream].inflight += (uint32_t)by;
        pool->running += (uint32_t)by;
        ek_accounts_add(&p->accounts, e->account, 0, by);
    }
}

void ek_desk_move(struct ek_policy *p, struct ek_desk_entry *e, enum ek_desk_entry_state next)
{
    MUST(e->state < ENTRY_STATES);
    MUST(legal[e->state][next]);
    if (p->round.at == &e->link) p->round.at = e->link.next;
    ek_list_remove(list_of(p, e), &e->link);
    if (ek_link_linked(&e->fresh)) ek_list_remove(&p->fresh, &e->fresh);
    count_state(p, e, -1);
    e->state = (uint8_t)next;
    count_state(p, e, +1);
    struct ek_list *l = list_of(p, e);
    struct ek_link *at = &l->head;
    if (next == ENTRY_WAITING) {
        /* New ones have the largest seq: no step. One that comes back walks over those after it. */
        while (at->prev != &l->head &&
               EK_CONTAINER(at->prev, struct ek_desk_entry, link)->seq > e->seq)
            at = at->prev;
        ek_list_append(&p->fresh, &e->fresh);
    }
    ek_list_insert_before(l, at, &e->link);
    if (next == ENTRY_FREE) e->generation = (uint16_t)((e->generation + 1) & 0x7fff);
    if (next == ENTRY_FREE && e->generation == 0) e->generation = 1; /* a ticket is never 0 */
}

/* ---- birth and options ------------------------------------------------------------------------- */

static bool options_fit(const struct ek_desk_options *o)
{
    return o->tiers.count >= 1 && o->tiers.count <= EK_DESK_TIERS_MAX && o->running_max >= 1 &&
           o->running_max <= EK_DESK_RUNNING_MAX && o->queue.waiting_max <= EK_DESK_WAITING_MAX;
}

static void take_options(struct ek_policy *p, const struct ek_desk_options *o)
{
    MUST(options_fit(o));
    MUST(o->queue.waiting_max + o->running_max <= p->entries);
    p->waiting_max = o->queue.waiting_max;
    p->running_max = o->running_max;
    p->tell_min_ns = o->tell_min_ns;
    p->tell_max_ns = o->tell_max_ns;
    p->tell_change = o->tell_change;
    p->down_grace_ns = o->down_grace_ns;
    p->tiers = (uint32_t)o->tiers.count;
    for (uint32_t t = 0; t < p->tiers; t++) {
        p->tier[t] = o->tiers.item[t];
        p->tier[t].name = NULL; /* the desk outlives the snapshot it came from */
        uint32_t at = t;        /* insertion by weight, stable: equals keep the order of the file */
        while (at > 0 && p->tier[p->order[at - 1]].weight < p->tier[t].weight) {
            p->order[at] = p->order[at - 1];
            at--;
        }
        p->order[at] = t;
    }
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
    p->entry = calloc(p->entries, sizeof *p->entry);
    if (!p->entry || !ek_accounts_init(&p->accounts, p->entries)) {
        free(p->entry);
        free(p);
        return NULL;
    }
    p->magic = EK_POLICY_MAGIC;
    p->random = ek_random_make(o->seed);
    take_options(p, o);
    ek_list_init(&p->free);
    ek_list_init(&p->fresh);
    ek_list_init(&p->running);
    ek_list_init(&p->stopping);
    for (uint32_t t = 0; t < EK_DESK_TIERS_MAX; t++)
        for (uint32_t i = 0; i < EK_DESK_POOLS_MAX; i++) ek_list_init(&p->line[t][i]);
    for (uint32_t i = 0; i < p->entries; i++) {
        p->entry[i].generation = 1;
        ek_list_append(&p->free, &p->entry[i].link);
    }
    for (uint32_t u = 0; u < EK_DESK_UPSTREAMS_MAX; u++) p->upstream[u].down_ns = now.mono_ns;
    return p;
}

void ek_desk_free(struct ek_policy **p)
{
    if (!*p) return;
    MUST_OBJ(*p, EK_POLICY_MAGIC);
    ek_accounts_free(&(*p)->accounts);
    (*p)->magic = 0;
    free((*p)->entry);
    free(*p);
    *p = NULL;
}

bool ek_desk_reload(struct ek_policy *p, const struct ek_desk_options *o)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    if (!options_fit(o)) return false;
    if (o->queue.waiting_max + o->running_max > p->entries) return false;
    if (o->tiers.count < p->tiers && p->counts.waiting > 0) return false;
    p->round.active = false; /* the order of tiers may change under it */
    p->round.at = NULL;
    take_options(p, o);
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
    return p->pools++;
}

/* ---- pools and upstreams ----------------------------------------------------------------------- */

static uint32_t room_of(const struct ek_desk_upstream *u)
{
    uint32_t slots = u->load.up ? u->load.slots + 1 : 0;
    return slots > u->inflight ? slots - u->inflight : 0;
}

uint32_t ek_desk_pool_slots(const struct ek_policy *p, const struct ek_desk_pool *pool)
{
    uint32_t slots = 0;
    for (uint64_t m = pool->mask; m; m &= m - 1) {
        const struct ek_desk_upstream *u = &p->upstream[__builtin_ctzll(m)];
        if (u->load.up) slots += u->load.slots + 1;
    }
    return slots;
}

uint32_t ek_desk_pick(const struct ek_policy *p, const struct ek_desk_pool *pool)
{
    uint32_t best = EK_DESK_UPSTREAMS_MAX;
    uint32_t best_room = 0;
    if (p->counts.running >= p->running_max) return best;
    for (uint64_t m = pool->mask; m; m &= m - 1) {
        uint32_t u = (uint32_t)__builtin_ctzll(m);
        uint32_t room = room_of(&p->upstream[u]);
        if (room <= best_room) continue;
        best = u;
        best_room = room;
    }
    return best;
}

uint64_t ek_desk_pool_down_ns(const struct ek_policy *p, const struct ek_desk_pool *pool)
{
    uint64_t latest_ns = 0;
    for (uint64_t m = pool->mask; m; m &= m - 1) {
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

uint32_t ek_desk_ahead_of_tier(const struct ek_policy *p, uint32_t tier, uint32_t pool)
{
    uint32_t ahead = 0;
    for (uint32_t rank = 0; rank < p->tiers && p->order[rank] != tier; rank++)
        ahead += (uint32_t)p->line[p->order[rank]][pool].count;
    return ahead;
}

uint32_t ek_desk_retry_after_ms(struct ek_policy *p, struct ek_desk_pool *pool)
{
    double slots = ek_desk_pool_slots(p, pool);
    double slot_s = ek_pace_slot_s(&pool->pace);
    double spread = ek_random_unit(&p->random);
    if (slots <= 0 || slot_s <= 0) return (uint32_t)(RETRY_UNKNOWN_MS * (1.0 + spread));
    double ms = 1000.0 * (pool->away + 1.0) * slot_s / slots;
    if (ms > RETRY_MAX_MS) return (uint32_t)(RETRY_MAX_MS * (0.75 + 0.25 * spread));
    pool->away += 1.0; /* the next one is promised the next place */
    ms *= 0.8 + 0.4 * spread;
    if (ms < RETRY_MIN_MS) return (uint32_t)(RETRY_MIN_MS * (1.0 + spread));
    return (uint32_t)(ms > RETRY_MAX_MS ? RETRY_MAX_MS : ms);
}

/* ---- events ------------------------------------------------------------------------------------ */

static enum ek_reason why_refused(const struct ek_policy *p, const struct ek_arrival *a, uint64_t now_ns)
{
    const struct ek_desk_pool *pool = &p->pool[a->pool];
    const struct ek_tier_options *tier = &p->tier[a->tier];
    uint64_t down_ns = ek_desk_pool_down_ns(p, pool);
    if (p->draining) return EK_REASON_DRAINING;
    if (down_ns && ek_ns_since(now_ns, down_ns) > p->down_grace_ns) return EK_REASON_NO_UPSTREAM;
    struct ek_account_load mine = ek_accounts_get(&p->accounts, a->account);
    bool running_full = tier->account_running_max && mine.running >= tier->account_running_max;
    bool can_start = !running_full && pool->waiting == 0 && ek_desk_pick(p, pool) != EK_DESK_UPSTREAMS_MAX;
    if (p->free.count == 0) return EK_REASON_QUEUE_FULL; /* only when many came back at once */
    if (can_start) return EK_REASON_NONE;
    if (p->counts.waiting >= p->waiting_max) return EK_REASON_QUEUE_FULL;
    if (tier->waiting_max && p->tier_waiting[a->tier] >= tier->waiting_max)
        return EK_REASON_TIER_QUEUE_FULL;
    if (tier->account_waiting_max && mine.waiting >= tier->account_waiting_max)
        return EK_REASON_ACCOUNT_QUEUE_FULL;
    return EK_REASON_NONE;
}

static void refuse_arrival(struct ek_policy *p, const struct ek_arrival *a, enum ek_reason reason,
                           struct ek_action *refusal)
{
    struct ek_desk_pool *pool = &p->pool[a->pool];
    uint32_t position = ek_desk_ahead_of_tier(p, a->tier, a->pool) +
                        (uint32_t)p->line[a->tier][a->pool].count + 1;
    struct ek_wait w = ek_pace_wait(&pool->pace, position, ek_desk_pool_slots(p, pool));
    *refusal = (struct ek_action){.act = EK_DESK_REFUSE, .id = a->id, .reason = reason,
                                  .position = position, .eta_ms = w.eta_ms,
                                  .eta_p90_ms = w.eta_p90_ms,
                                  .retry_after_ms = ek_desk_retry_after_ms(p, pool)};
    p->counts.refused++;
}

bool ek_desk_arrive(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a,
                    uint32_t *ticket, struct ek_action *refusal)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(a->tier < p->tiers);
    MUST(a->pool < p->pools);
    p->counts.arrived++;
    ek_desk_tick_pool(p, &p->pool[a->pool], now.mono_ns);
    enum ek_reason reason = why_refused(p, a, now.mono_ns);
    *ticket = 0;
    if (reason != EK_REASON_NONE) {
        refuse_arrival(p, a, reason, refusal);
        return false;
    }
    struct ek_desk_entry *e = EK_CONTAINER(ek_list_first(&p->free), struct ek_desk_entry, link);
    e->id = a->id;
    e->account = a->account;
    e->tier = (uint8_t)a->tier;
    e->pool = (uint8_t)a->pool;
    e->deadline_ns = a->deadline_ns;
    e->seq = ++p->next_seq;
    e->tokens = 0;
    e->returned = EK_WHY_BUSY;
    e->told_ns = 0;
    e->first_ns = 0;
    e->repeat = a->repeat;
    e->used_known = false;
    ek_desk_move(p, e, ENTRY_WAITING);
    *ticket = ek_desk_ticket(p, e);
    return true;
}

void ek_desk_started(struct ek_policy *p, struct ek_now now, uint32_t ticket)
{
    struct ek_desk_entry *e = entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    ek_desk_tick_pool(p, &p->pool[e->pool], now.mono_ns);
}

void ek_desk_tokens(struct ek_policy *p, struct ek_now now, uint32_t ticket, uint32_t tokens)
{
    struct ek_desk_entry *e = entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    (void)now; /* the later estimate looks at the pace of tokens; this one at departures only */
    if (__builtin_add_overflow(e->tokens, tokens, &e->tokens)) e->tokens = UINT32_MAX;
}

void ek_desk_used(struct ek_policy *p, struct ek_now now, uint32_t ticket, const struct ek_used *u)
{
    struct ek_desk_entry *e = entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    MUST(!e->used_known);
    (void)now;
    e->used = *u;
    e->used_known = true;
}

uint32_t ek_desk_rejoin(struct ek_policy *p, struct ek_now now, uint64_t repeat, uint64_t id,
                        uint64_t *old_id)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(repeat != 0);
    (void)now;
    for (uint32_t i = 0; i < p->entries; i++) {
        struct ek_desk_entry *e = &p->entry[i];
        if (e->state != ENTRY_WAITING || e->repeat != repeat) continue;
        *old_id = e->id;
        e->id = id;
        p->stats.rejoined++;
        return ek_desk_ticket(p, e);
    }
    return 0;
}

/* A slot came free. `counts`: the time it was taken says something about the next one's. */
static void leave_slot(struct ek_policy *p, struct ek_now now, struct ek_desk_entry *e, bool counts)
{
    struct ek_desk_pool *pool = &p->pool[e->pool];
    MUST(pool->running > 0);
    ek_desk_tick_pool(p, pool, now.mono_ns);
    if (counts) ek_pace_departed(&pool->pace);
    if (counts) pool->away = pool->away > 1.0 ? pool->away - 1.0 : 0;
}

void ek_desk_finished(struct ek_policy *p, struct ek_now now, uint32_t ticket, bool served)
{
    struct ek_desk_entry *e = entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    leave_slot(p, now, e, served);
    ek_desk_move(p, e, ENTRY_FREE);
    p->counts.finished++;
}

void ek_desk_back(struct ek_policy *p, struct ek_now now, uint32_t ticket, enum ek_desk_why why)
{
    struct ek_desk_entry *e = entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING);
    leave_slot(p, now, e, false);
    e->returned = (uint8_t)why;
    ek_desk_move(p, e, ENTRY_WAITING);
}

void ek_desk_gone(struct ek_policy *p, struct ek_now now, uint32_t ticket)
{
    struct ek_desk_entry *e = entry_of(p, ticket);
    if (e->state != ENTRY_WAITING) leave_slot(p, now, e, e->tokens > 0);
    ek_desk_move(p, e, ENTRY_FREE);
    p->counts.gone++;
}

void ek_desk_load(struct ek_policy *p, struct ek_now now, uint32_t index, const struct ek_load *l)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(index < EK_DESK_UPSTREAMS_MAX);
    struct ek_desk_upstream *u = &p->upstream[index];
    if (u->load.up && !l->up) u->down_ns = now.mono_ns;
    if (u->load.up != l->up || u->load.slots != l->slots) p->round_ns = 0; /* estimates changed */
    u->load = *l;
    u->was_up = u->was_up || l->up;
}

void ek_desk_drain(struct ek_policy *p, struct ek_now now, uint64_t deadline_ns)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(deadline_ns >= now.mono_ns);
    p->draining = true;
    p->drain_ns = deadline_ns;
}

/* ---- looking ----------------------------------------------------------------------------------- */

struct ek_desk_counts ek_desk_counts(const struct ek_policy *p)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    struct ek_desk_counts c = p->counts;
    c.slots = 0;
    for (uint32_t u = 0; u < EK_DESK_UPSTREAMS_MAX; u++)
        if (p->upstream[u].load.up) c.slots += p->upstream[u].load.slots + 1;
    return c;
}

void ek_desk_stats(const struct ek_policy *p, struct ek_desk_stats *out)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    *out = p->stats;
    for (uint32_t t = 0; t < EK_DESK_TIERS_MAX; t++) out->thinking_percent[t] = 100;
}

uint32_t ek_desk_waiting_of_tier(const struct ek_policy *p, uint32_t tier)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(tier < EK_DESK_TIERS_MAX);
    return p->tier_waiting[tier];
}

static size_t check_line(const struct ek_policy *p, uint32_t tier, uint32_t pool)
{
    const struct ek_list *l = &p->line[tier][pool];
    uint64_t seq = 0;
    size_t count = 0;
    for (struct ek_link *n = ek_list_first(l); n; n = ek_list_next(l, n)) {
        const struct ek_desk_entry *e = EK_CONTAINER(n, struct ek_desk_entry, link);
        MUST(e->state == ENTRY_WAITING);
        MUST(e->tier == tier && e->pool == pool);
        MUST(e->seq > seq); /* first come, first served */
        seq = e->seq;
        count++;
    }
    MUST(count == l->count);
    return count;
}

void ek_desk_check(const struct ek_policy *p)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    size_t waiting = 0;
    for (uint32_t t = 0; t < EK_DESK_TIERS_MAX; t++) {
        size_t of_tier = 0;
        for (uint32_t i = 0; i < EK_DESK_POOLS_MAX; i++) of_tier += check_line(p, t, i);
        MUST(of_tier == p->tier_waiting[t]);
        waiting += of_tier;
    }
    MUST(waiting == p->counts.waiting);
    MUST(p->running.count + p->stopping.count == p->counts.running);
    MUST(p->free.count + waiting + p->counts.running == p->entries);
    MUST(p->fresh.count <= waiting);
    MUST(p->accounts.used <= p->entries - p->free.count);
    uint32_t inflight = 0;
    for (uint32_t u = 0; u < EK_DESK_UPSTREAMS_MAX; u++) inflight += p->upstream[u].inflight;
    MUST(inflight == p->counts.running);
    MUST(p->counts.arrived == p->counts.refused + p->counts.finished + p->counts.gone +
                                  p->counts.waiting + p->counts.running);
}
