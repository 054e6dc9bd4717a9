/* SPDX-License-Identifier: MIT */
/* What follows from the state of the desk: who starts now, who is told what, who waited in vain. One
 * action a call, in this order, until nothing is due:
 *
 *   the end of draining → starts → first words to new arrivals → a round of words to all that wait
 *
 * A round walks every line once, four times a second at most, and speaks where the rules of waiting ask
 * for it: at real change (tell_change, but not within tell_min), and at the latest after tell_max. */
#include "policy/desk_state.h"

#include "base/must.h"

#define ROUND_NS (EK_S_NS / 4)

const char *ek_desk_why_name(enum ek_desk_why why)
{
    static const char *const names[] = {"busy", "measuring", "engine_starting", "engine_down",
                                        "engine_restarted", "retrying", "slower",
                                        "overtaken"};
    _Static_assert(EK_COUNT(names) == EK_WHY_COUNT, "a word for each");
    MUST((unsigned)why < EK_COUNT(names));
    return names[why];
}

static struct ek_desk_entry *entry_at(struct ek_link *link)
{
    return EK_CONTAINER(link, struct ek_desk_entry, link);
}

static enum ek_desk_act give(struct ek_policy *p, const struct ek_desk_entry *e, enum ek_desk_act act,
                             struct ek_action *a)
{
    MUST(e->state != ENTRY_FREE);
    *a = (struct ek_action){.act = act, .ticket = ek_desk_ticket(p, e), .id = e->id,
                            .eta_ms = -1, .eta_p90_ms = -1};
    return act;
}

/* ---- the end of draining ------------------------------------------------------------------------- */

static enum ek_desk_act refuse_waiting(struct ek_policy *p, struct ek_desk_entry *e,
                                       enum ek_reason reason, struct ek_action *a)
{
    MUST(e->state == ENTRY_WAITING);
    enum ek_desk_act act = give(p, e, EK_DESK_REFUSE, a);
    a->reason = reason;
    a->retry_after_ms = ek_desk_retry_after_ms(p, &p->pool[e->pool]);
    ek_desk_move(p, e, ENTRY_FREE);
    p->counts.refused++;
    return act;
}

static enum ek_desk_act end_drain(struct ek_policy *p, struct ek_action *a)
{
    for (uint32_t t = 0; t < EK_DESK_TIERS_MAX; t++) {
        for (uint32_t i = 0; i < p->pools; i++) {
            struct ek_link *n = ek_list_first(&p->line[t][i]);
            if (n) return refuse_waiting(p, entry_at(n), EK_REASON_DRAINING, a);
        }
    }
    struct ek_link *n = ek_list_first(&p->running);
    if (!n) return EK_DESK_IDLE;
    enum ek_desk_act act = give(p, entry_at(n), EK_DESK_CANCEL, a);
    a->reason = EK_REASON_DRAINING;
    ek_desk_move(p, entry_at(n), ENTRY_STOPPING);
    return act;
}

/* ---- starts -------------------------------------------------------------------------------------- */

/* The first of a line whose account may run one more. */
static struct ek_desk_entry *first_allowed(struct ek_policy *p, uint32_t tier, uint32_t pool)
{
    const struct ek_list *l = &p->line[tier][pool];
    uint64_t running_max = p->tier[tier].account_running_max;
    for (struct ek_link *n = ek_list_first(l); n; n = ek_list_next(l, n)) {
        struct ek_desk_entry *e = entry_at(n);
        if (running_max == 0) return e;
        if (ek_accounts_get(&p->accounts, e->account).running < running_max) return e;
    }
    return NULL;
}

/* The entry that goes next: in the heaviest tier that has one, the oldest of all pools with room. */
static struct ek_desk_entry *next_to_start(struct ek_policy *p, uint32_t *upstream)
{
    uint32_t room[EK_DESK_POOLS_MAX];
    for (uint32_t i = 0; i < p->pools; i++)
        room[i] = p->pool[i].waiting ? ek_desk_pick(p, &p->pool[i]) : EK_DESK_UPSTREAMS_MAX;
    for (uint32_t rank = 0; rank < p->tiers; rank++) {
        struct ek_desk_entry *best = NULL;
        for (uint32_t i = 0; i < p->pools; i++) {
            if (room[i] == EK_DESK_UPSTREAMS_MAX) continue;
            struct ek_desk_entry *e = first_allowed(p, p->order[rank], i);
            if (e && (!best || e->seq < best->seq)) best = e;
        }
        if (!best) continue;
        *upstream = room[best->pool];
        return best;
    }
    return NULL;
}

/* Was the first estimate true? */
static void score(struct ek_policy *p, struct ek_desk_entry *e, uint64_t now_ns)
{
    if (!e->first_ns) return;
    struct ek_desk_truth *t = &p->stats.truth[e->tier];
    double wait_s = (double)ek_ns_since(now_ns, e->first_ns) * 1e-9;
    double error_s = wait_s - (double)e->first_p50_ms * 1e-3;
    t->shown++;
    t->within_p50 += error_s <= 0;
    t->within_p90 += wait_s <= (double)e->first_p90_ms * 1e-3;
    t->wait_s += wait_s;
    t->error_s += error_s;
    t->error_abs_s += error_s < 0 ? -error_s : error_s;
    e->first_ns = 0; /* should it come back, it was scored */
}

static enum ek_desk_act start_one(struct ek_policy *p, struct ek_now now, struct ek_action *a)
{
    uint32_t upstream = 0;
    if (p->counts.waiting == 0) return EK_DESK_IDLE;
    struct ek_desk_entry *e = next_to_start(p, &upstream);
    if (!e) return EK_DESK_IDLE;
    MUST(p->pool[e->pool].mask >> upstream & 1);
    ek_desk_tick_pool(p, &p->pool[e->pool], now.mono_ns);
    e->upstream = (uint8_t)upstream;
    score(p, e, now.mono_ns);
    ek_desk_move(p, e, ENTRY_RUNNING);
    p->counts.started++;
    enum ek_desk_act act = give(p, e, EK_DESK_START, a);
    a->upstream = upstream;
    a->thinking_budget_tokens = EK_DESK_THINKING_UNLIMITED;
    a->thinking_percent = 100;
    return act;
}

/* ---- words --------------------------------------------------------------------------------------- */

static enum ek_desk_why why_of(const struct ek_policy *p, const struct ek_desk_entry *e, bool known)
{
    const struct ek_desk_pool *pool = &p->pool[e->pool];
    if (e->returned != EK_WHY_BUSY) return (enum ek_desk_why)e->returned;
    if (ek_desk_pool_down_ns(p, pool) == 0) return known ? EK_WHY_BUSY : EK_WHY_MEASURING;
    for (uint64_t m = pool->mask; m; m &= m - 1)
        if (p->upstream[__builtin_ctzll(m)].was_up) return EK_WHY_ENGINE_DOWN;
    return EK_WHY_ENGINE_STARTING;
}

static bool moved(double from, double to, double ratio)
{
    double by = to > from ? to - from : from - to;
    return by > 0 && by >= ratio * (from > 0 ? from : 1);
}

static bool worth_saying(const struct ek_policy *p, const struct ek_desk_entry *e,
                         const struct ek_action *a, uint64_t now_ns)
{
    uint64_t silent_ns = ek_ns_since(now_ns, e->told_ns);
    if (silent_ns < p->tell_min_ns) return false;
    /* Rounds come every ROUND_NS: speak in the last one that is not too late. */
    if (silent_ns + ROUND_NS >= p->tell_max_ns) return true;
    if (e->told_why != (uint8_t)a->why) return true;
    return moved(e->told_position, a->position, p->tell_change) ||
           moved((double)e->told_eta_ms, (double)a->eta_ms, p->tell_change);
}

static void compose(struct ek_policy *p, const struct ek_desk_entry *e, uint32_t position,
                    uint64_t now_ns, struct ek_action *a)
{
    struct ek_desk_pool *pool = &p->pool[e->pool];
    MUST(position > 0);
    ek_desk_tick_pool(p, pool, now_ns);
    struct ek_wait w = ek_pace_wait(&pool->pace, position, ek_desk_pool_slots(p, pool));
    give(p, e, EK_DESK_TELL, a);
    a->position = position;
    a->eta_ms = w.eta_ms;
    a->eta_p90_ms = w.eta_p90_ms;
    a->why = why_of(p, e, w.known);
}

static void mark_told(struct ek_policy *p, struct ek_desk_entry *e, const struct ek_action *a,
                      uint64_t now_ns)
{
    MUST(e->state == ENTRY_WAITING);
    if (ek_link_linked(&e->fresh)) ek_list_remove(&p->fresh, &e->fresh);
    e->told_ns = now_ns;
    e->told_position = a->position;
    e->told_eta_ms = a->eta_ms;
    e->told_p90_ms = a->eta_p90_ms;
    e->told_why = (uint8_t)a->why;
    if (e->first_ns || a->eta_ms < 0) return;
    e->first_ns = now_ns;
    e->first_p50_ms = a->eta_ms;
    e->first_p90_ms = a->eta_p90_ms;
}

static enum ek_desk_act tell_fresh(struct ek_policy *p, struct ek_now now, struct ek_action *a)
{
    struct ek_link *n = ek_list_first(&p->fresh);
    if (!n) return EK_DESK_IDLE;
    struct ek_desk_entry *e = EK_CONTAINER(n, struct ek_desk_entry, fresh);
    const struct ek_list *l = &p->line[e->tier][e->pool];
    uint32_t behind = 0; /* almost always 0: new ones stand at the tail */
    for (struct ek_link *b = ek_list_next(l, &e->link); b; b = ek_list_next(l, b)) behind++;
    uint32_t ahead = ek_desk_ahead_of_tier(p, e->tier, e->pool);
    compose(p, e, ahead + (uint32_t)l->count - behind, now.mono_ns, a);
    mark_told(p, e, a, now.mono_ns);
    return EK_DESK_TELL;
}

/* ---- the round ----------------------------------------------------------------------------------- */

/* The next line of the round, or its end. */
static bool next_line(struct ek_policy *p)
{
    struct ek_desk_round *r = &p->round;
    if (++r->rank >= p->tiers) {
        r->rank = 0;
        r->ahead = 0;
        r->pool++;
    }
    r->active = r->pool < p->pools;
    r->at = r->active ? p->line[p->order[r->rank]][r->pool].head.next : NULL;
    return r->active;
}

static bool begin_round(struct ek_policy *p, uint64_t now_ns)
{
    if (p->counts.waiting == 0 || now_ns < p->round_ns) return false;
    MUST(p->pools > 0);
    p->round_ns = now_ns + ROUND_NS;
    p->round = (struct ek_desk_round){.active = true};
    p->round.at = p->line[p->order[0]][0].head.next;
    return true;
}

static enum ek_reason in_vain(const struct ek_policy *p, const struct ek_desk_entry *e, uint64_t now_ns)
{
    uint64_t down_ns = ek_desk_pool_down_ns(p, &p->pool[e->pool]);
    if (now_ns >= e->deadline_ns) return EK_REASON_DEADLINE;
    if (down_ns && ek_ns_since(now_ns, down_ns) > p->down_grace_ns) return EK_REASON_NO_UPSTREAM;
    return EK_REASON_NONE;
}

static enum ek_desk_act walk_round(struct ek_policy *p, struct ek_now now, struct ek_action *a)
{
    struct ek_desk_round *r = &p->round;
    if (!r->active && !begin_round(p, now.mono_ns)) return EK_DESK_IDLE;
    do {
        struct ek_list *l = &p->line[p->order[r->rank]][r->pool];
        while (r->at != &l->head) {
            struct ek_desk_entry *e = entry_at(r->at);
            enum ek_reason reason = in_vain(p, e, now.mono_ns);
            if (reason != EK_REASON_NONE) return refuse_waiting(p, e, reason, a); /* moves r->at */
            r->at = r->at->next;
            compose(p, e, ++r->ahead, now.mono_ns, a);
            if (!worth_saying(p, e, a, now.mono_ns)) continue;
            mark_told(p, e, a, now.mono_ns);
            return EK_DESK_TELL;
        }
    } while (next_line(p));
    return EK_DESK_IDLE;
}

enum ek_desk_act ek_desk_next(struct ek_policy *p, struct ek_now now, struct ek_action *a)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    enum ek_desk_act act = EK_DESK_IDLE;
    *a = (struct ek_action){.act = EK_DESK_IDLE};
    if (p->draining && now.mono_ns >= p->drain_ns) act = end_drain(p, a);
    if (act == EK_DESK_IDLE) act = start_one(p, now, a);
    if (act == EK_DESK_IDLE) act = tell_fresh(p, now, a);
    if (act == EK_DESK_IDLE) act = walk_round(p, now, a);
    if (act == EK_DESK_IDLE) *a = (struct ek_action){.act = EK_DESK_IDLE};
    DIAG((ek_desk_check(p), true));
    return act;
}

uint64_t ek_desk_wake_ns(const struct ek_policy *p)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    uint64_t wake_ns = p->counts.waiting ? p->round_ns : UINT64_MAX;
    bool ending = p->draining && (p->counts.waiting || p->running.count);
    if (ending && p->drain_ns < wake_ns) wake_ns = p->drain_ns;
    return wake_ns;
}
