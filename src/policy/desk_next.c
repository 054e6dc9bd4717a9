/* SPDX-License-Identifier: MIT */
/* What follows from the state of the desk: who starts now, who is told what, who waited in vain. One
 * action a call, in this order, until nothing is due:
 *
 *   the end of draining → deadlines → recalls → starts → first words to new arrivals → a round of words
 *
 * Whoever is to be told a place may go to a lender instead (desk_borrow.c): its wait is known at that moment.
 *
 * A round comes four times a second and looks at those it has not looked at for longest: at a quarter of a
 * short line, at a 32nd of a long one, so that no round is long and everyone is looked at within eight
 * seconds. It speaks where the rules of waiting ask for it: at real change (tell_change, but not within
 * tell_min), and at the latest after tell_max. */
#include "policy/desk_state.h"

#include "base/must.h"
#include "policy/cost.h"

#define VISITS_MIN 256u /* of one round of a long line */
#define ROUNDS_MIN 4u   /* a short line is looked at once a second: nobody is told more often */
#define ROUNDS_MAX 32u  /* until everyone was looked at */
#define RAISE_MIN_MS 250 /* a p90 is not raised for less */

const char *ek_desk_why_name(enum ek_desk_why why)
{
    static const char *const names[] = {"busy", "measuring", "engine_starting", "engine_down",
                                        "engine_restarted", "retrying", "slower",
                                        "overtaken", "budget"};
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

/* ---- refusals and the end of draining ------------------------------------------------------------- */

static enum ek_desk_act refuse_waiting(struct ek_policy *p, struct ek_desk_entry *e,
                                       enum ek_reason reason, uint64_t now_ns, struct ek_action *a)
{
    MUST(e->state == ENTRY_WAITING || e->state == ENTRY_ABSENT);
    enum ek_desk_act act = give(p, e, EK_DESK_REFUSE, a);
    struct ek_desk_wait w = {.eta_ms = -1, .eta_p90_ms = -1}; /* the truth about what is still before it */
    if (e->state == ENTRY_WAITING) w = ek_desk_wait_of(p, e, now_ns);
    if (reason == EK_REASON_DRAINING && e->state == ENTRY_WAITING && !e->fresh && e->told_position) {
        /* All go at this moment, one by one: the place of each is the one it was told, not the one it has now
         * that those before it are gone. */
        int64_t since_ms = ek_desk_ms_since(now_ns, e->told_ms);
        w.position = e->told_position;
        w.eta_ms = e->told_eta_ms < 0 ? -1 : e->told_eta_ms > since_ms ? e->told_eta_ms - since_ms : 0;
        w.eta_p90_ms = e->told_p90_ms < 0 ? -1 : e->told_p90_ms > since_ms ? e->told_p90_ms - since_ms : 0;
    }
    a->position = w.position;
    a->eta_ms = w.eta_ms;
    a->eta_p90_ms = w.eta_p90_ms;
    a->reason = reason;
    a->help = EK_HELP_LATER | (reason == EK_REASON_DEADLINE ? (uint32_t)EK_HELP_MORE_PATIENCE : 0);
    a->retry_after_ms = ek_desk_retry_after_ms(p, &p->pool[e->pool]);
    if (e->state == ENTRY_WAITING) {
        ek_desk_score_left(p, e, now_ns);
        ek_desk_leave_line(p, e);
    }
    ek_desk_move(p, e, ENTRY_FREE);
    p->counts.refused++;
    return act;
}

static enum ek_desk_act end_drain(struct ek_policy *p, uint64_t now_ns, struct ek_action *a)
{
    struct ek_link *n = ek_list_first(&p->waiting);
    if (!n) n = ek_list_first(&p->fresh);
    if (!n) n = ek_list_first(&p->absent);
    if (n) return refuse_waiting(p, entry_at(n), EK_REASON_DRAINING, now_ns, a);
    n = ek_list_first(&p->running);
    if (!n) return EK_DESK_IDLE;
    enum ek_desk_act act = give(p, entry_at(n), EK_DESK_CANCEL, a);
    a->reason = EK_REASON_DRAINING;
    ek_desk_move(p, entry_at(n), ENTRY_STOPPING);
    return act;
}

static enum ek_desk_act end_patience(struct ek_policy *p, struct ek_now now, struct ek_action *a)
{
    struct ek_heap_node *n = ek_heap_first(&p->deadlines);
    if (!n || n->key > now.mono_ns) return EK_DESK_IDLE;
    struct ek_desk_entry *e = &p->entry[n - p->deadline];
    bool left = e->state == ENTRY_ABSENT && now.mono_ns < e->deadline_ns;
    enum ek_reason reason = left ? EK_REASON_CLIENT_GONE : EK_REASON_DEADLINE;
    return refuse_waiting(p, e, reason, now.mono_ns, a);
}

/* ---- starts -------------------------------------------------------------------------------------- */

static void remember_conversation(struct ek_policy *p, uint64_t conversation)
{
    if (!conversation || ek_index_find(&p->conversations, conversation) != EK_INDEX_NONE) return;
    uint64_t *old = &p->conversation_ring[p->conversation_at];
    if (*old) ek_index_remove(&p->conversations, *old);
    *old = conversation;
    ek_index_set(&p->conversations, conversation, p->conversation_at);
    p->conversation_at = (p->conversation_at + 1) % EK_DESK_PLACES_MAX;
}

/* What is in the cache need not be computed: charged at the lower price. */
static void charge(struct ek_policy *p, struct ek_desk_entry *e, uint32_t cached_tokens)
{
    bool charged = e->item.returned;
    ek_order_start(&p->order, &e->item);
    if (cached_tokens > e->prompt_tokens) cached_tokens = e->prompt_tokens;
    struct ek_price_options prices = ek_desk_price_of(p, e);
    double read_nano = (e->prompt_tokens - cached_tokens) * (double)prices.prompt_pico * 1e-3;
    ek_desk_saw_work(p, e, ek_desk_priced(p, e) ? read_nano : (double)ek_order_cost(&e->item));
    if (charged) return;
    p->stats.charged_nano[e->tier] += ek_order_cost(&e->item);
    if (!cached_tokens || !ek_desk_priced(p, e)) return;
    int64_t nano = ek_desk_bounded(ek_cost_nano(&prices, cached_tokens, e->prompt_tokens - cached_tokens,
                                                e->output_tokens));
    nano -= ek_order_cost(&e->item);
    p->stats.charged_nano[e->tier] += nano;
    ek_order_settle(&p->order, &e->item, nano);
}

/* The one whose turn it is and the upstream that takes it; NULL: nobody can start. A class whose next one
 * finds no memory waits whole: were a smaller one let past, the large one would never start. */
static struct ek_desk_entry *due(struct ek_policy *p, struct ek_now now, uint32_t *upstream,
                                 uint32_t *cached_tokens)
{
    uint64_t room = 0;
    uint32_t tier = 0, pool = 0;
    if (p->counts.waiting == 0) return NULL;
    if (now.mono_ns < p->hold_ns && p->counts.absent) return NULL;
    for (uint32_t i = 0; i < p->pools; i++)
        if (p->pool[i].waiting && ek_desk_has_room(p, &p->pool[i])) room |= 1ull << i;
    while (room && ek_order_due(&p->order, room, &tier, &pool)) {
        struct ek_order_item *it = ek_order_next(&p->order, tier, pool);
        struct ek_desk_entry *e = EK_CONTAINER(it, struct ek_desk_entry, item);
        MUST(e->state == ENTRY_WAITING && e->tier == tier && e->pool == pool);
        *upstream = ek_desk_pick(p, now, e, cached_tokens);
        if (*upstream < EK_DESK_UPSTREAMS_MAX) return e;
        room &= ~(1ull << pool);
    }
    return NULL;
}

/* It starts there. At a lender: e->lent is set, and what it was told is dropped. */
static enum ek_desk_act begin(struct ek_policy *p, struct ek_now now, struct ek_desk_entry *e,
                              uint32_t upstream, uint32_t cached_tokens, struct ek_action *a)
{
    MUST(p->pool[e->pool].mask >> upstream & 1);
    ek_desk_tick_pool(p, &p->pool[e->pool], now.mono_ns);
    bool waited = !e->fresh && e->returned == EK_WHY_BUSY && !e->lent;
    uint32_t shown_kind = EK_DESK_NOT_SHOWN;
    struct ek_desk_shown shown = ek_desk_promise_take(p, e, now.mono_ns, &shown_kind);
    e->guess_nano = (double)ek_order_cost(&e->item); /* from here on it runs: the union changes */
    e->used_known = false;
    e->upstream = (uint8_t)upstream;
    charge(p, e, cached_tokens);
    struct ek_chain chain = ek_order_chain(&p->order, &e->item, e->prompt_tokens);
    ek_order_warmed(&p->order, &e->item, &chain);
    ek_warm_touch(&p->warm, upstream, &chain);
    remember_conversation(p, e->conversation);
    ek_desk_service_begin(p, now, e, cached_tokens);
    ek_desk_service_of(p, e)->shown = shown;
    ek_desk_service_of(p, e)->shown_kind = shown_kind;
    ek_desk_service_of(p, e)->waited = waited;
    ek_desk_move(p, e, ENTRY_RUNNING);
    p->counts.started++;
    ek_desk_hedge_sent(p, e);
    enum ek_desk_act act = give(p, e, EK_DESK_START, a);
    a->upstream = upstream;
    a->output_tokens = e->output_tokens;
    a->cached_tokens = cached_tokens;
    a->cost_nano = ek_order_cost(&e->item);
    a->thinking_budget_tokens = EK_DESK_THINKING_UNLIMITED;
    a->thinking_percent = 100;
    uint8_t priced_step = e->step;
    if (!e->lent) ek_desk_shorten(p, e, a); /* lenders think as they please */
    ek_desk_slot_taken(p, e, priced_step);
    return act;
}

static enum ek_desk_act start_one(struct ek_policy *p, struct ek_now now, struct ek_action *a)
{
    uint32_t upstream = 0, cached_tokens = 0;
    struct ek_desk_entry *e = due(p, now, &upstream, &cached_tokens);
    if (!e) return EK_DESK_IDLE;
    if (ek_desk_too_late(p, e, upstream, cached_tokens, now.mono_ns)) { /* before any work is spent */
        p->stats.late++;
        return refuse_waiting(p, e, EK_REASON_DEADLINE, now.mono_ns, a);
    }
    return begin(p, now, e, upstream, cached_tokens, a);
}

/* One who is to be told this wait: is it to wait at all? */
static enum ek_desk_act lend_one(struct ek_policy *p, struct ek_now now, struct ek_desk_entry *e,
                                 const struct ek_desk_wait *w, struct ek_action *a)
{
    enum ek_overflow_why why = EK_OVERFLOW_NOT;
    if (!p->lent_mask || (now.mono_ns < p->hold_ns && p->counts.absent)) return EK_DESK_IDLE;
    uint32_t lender = ek_desk_lender_for(p, now, e, w, &why);
    if (lender == EK_DESK_UPSTREAMS_MAX) return EK_DESK_IDLE;
    ek_desk_promise_drop(p, e, now.mono_ns);
    ek_desk_saw_more(p, e, -(double)ek_order_cost(&e->item));
    e->lent = true;
    enum ek_desk_act act = begin(p, now, e, lender, 0, a);
    ek_desk_lent_begin(p, now, e, lender);
    a->overflow = why;
    return act;
}

static enum ek_desk_act recall_one(struct ek_policy *p, struct ek_action *a)
{
    struct ek_desk_entry *e = ek_desk_recalled(p);
    return e ? give(p, e, EK_DESK_RECALL, a) : EK_DESK_IDLE;
}

/* ---- words --------------------------------------------------------------------------------------- */

/* It waits for money: the estimate is when the window ends, if the next one holds those before it, too. */
static bool waits_for_money(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e,
                            struct ek_action *a)
{
    if (!p->lent_mask || !ek_desk_lenders_alone(p, e->pool)) return false;
    struct ek_desk_purse s = ek_desk_purse_of(p, now, e);
    if (!s.there || s.state == EK_PURSE_PAYS) return false;
    bool next = s.state == EK_PURSE_WINDOW && (double)s.nano * a->position <= (double)s.budget_nano;
    a->eta_ms = next ? (int64_t)(s.wait_ns / EK_MS_NS) + 1 : -1;
    a->eta_p90_ms = -1; /* who else will want it then is not known */
    return true;
}

static enum ek_desk_why why_of(const struct ek_policy *p, const struct ek_desk_entry *e, bool known)
{
    const struct ek_desk_pool *pool = &p->pool[e->pool];
    if (e->returned != EK_WHY_BUSY) return (enum ek_desk_why)e->returned;
    if (!(pool->mask & ~p->lent_mask)) return EK_WHY_BUSY; /* lenders alone serve it */
    if (ek_desk_pool_down_ns(p, pool) == 0) return known ? EK_WHY_BUSY : EK_WHY_MEASURING;
    for (uint64_t m = pool->mask & ~p->lent_mask; m; m &= m - 1)
        if (p->upstream[__builtin_ctzll(m)].was_up) return EK_WHY_ENGINE_DOWN;
    return EK_WHY_ENGINE_STARTING;
}

static bool moved(double from, double to, double ratio)
{
    double by = to > from ? to - from : from - to;
    return by > 0 && by >= ratio * (from > 0 ? from : 1);
}

static uint32_t visits_of(const struct ek_policy *p)
{
    uint32_t few = p->counts.waiting / ROUNDS_MIN + 1, many = p->counts.waiting / ROUNDS_MAX + 1;
    if (few > VISITS_MIN) few = VISITS_MIN;
    return few > many ? few : many;
}

/* Rounds until this entry is looked at again. */
static uint64_t revisit_ns(const struct ek_policy *p)
{
    uint32_t visits = visits_of(p);
    uint32_t rounds = p->counts.waiting / visits;
    return EK_DESK_ROUND_NS * (rounds + rounds / 4 + 3); /* the line may grow by then */
}

static bool worth_saying(const struct ek_policy *p, const struct ek_desk_entry *e,
                         const struct ek_action *a, uint64_t now_ns)
{
    uint64_t silent_ns = ek_desk_ms_since(now_ns, e->told_ms) * EK_MS_NS;
    if (silent_ns < p->tell_min_ns) return false;
    if (silent_ns + revisit_ns(p) >= p->tell_max_ns) return true; /* the last look that is not too late */
    if (e->told_why != (uint8_t)a->why || a->raised) return true;
    return moved(e->told_position, a->position, p->tell_change) ||
           moved((double)e->told_eta_ms, (double)a->eta_ms, p->tell_change);
}

/* Will a promise of which left_ms are left be broken, in all likelihood? Near its end that is so when p50 is
 * beyond it; before, forecasts still swing, and p50 must be far beyond. */
static bool broken(const struct ek_desk_entry *e, int64_t p50_ms, int64_t left_ms, uint64_t now_ns)
{
    int64_t waited_ms = e->shown_kind == EK_DESK_NOT_SHOWN ? 0 : ek_desk_ms_since(now_ns, e->shown.at_ms);
    if (p50_ms <= left_ms + RAISE_MIN_MS) return false;
    return left_ms < waited_ms / 4 || p50_ms > 3 * left_ms;
}

/* What was promised holds: a p90 that was shown moves on as time passes, and is taken back for a later one,
 * with the reason, only when it will be broken. It is not the forecast of this moment: most who were promised
 * a minute and see bad news at half of it still start within the minute. Nor is good news passed on lightly,
 * since what is promised then must hold too. */
static void keep_promise(struct ek_policy *p, const struct ek_desk_entry *e, uint64_t now_ns,
                         struct ek_action *a)
{
    if (e->told_p90_ms < 0 || a->eta_p90_ms < 0) return;
    int64_t left_ms = e->told_p90_ms - (int64_t)ek_desk_ms_since(now_ns, e->told_ms);
    if (a->eta_p90_ms < left_ms / 2) return; /* much better news are told */
    if (left_ms >= 0 && !broken(e, a->eta_ms, left_ms, now_ns)) {
        a->eta_p90_ms = left_ms;
        if (a->eta_ms > left_ms) a->eta_ms = left_ms;
        return;
    }
    a->raised = true;
    a->eta_p90_ms += a->eta_p90_ms / 4; /* whoever was wrong once is careful: once, not again and again */
    if (a->why != EK_WHY_BUSY) return; /* there is a better word for it already */
    double rate = ek_pace_rate(&p->pool[e->pool].pace, ek_desk_pool_slots(p, &p->pool[e->pool]));
    a->why = rate < 0.9 * (double)e->told_rate ? EK_WHY_SLOWER : EK_WHY_OVERTAKEN;
}

static struct ek_desk_wait compose(struct ek_policy *p, const struct ek_desk_entry *e, struct ek_now now,
                                   struct ek_action *a)
{
    struct ek_desk_wait w = ek_desk_wait_of(p, e, now.mono_ns);
    MUST(w.position > 0);
    give(p, e, EK_DESK_TELL, a);
    a->position = w.position;
    a->eta_ms = w.eta_ms;
    a->eta_p90_ms = w.eta_p90_ms;
    a->why = why_of(p, e, w.known);
    if (a->why == EK_WHY_BUSY && waits_for_money(p, now, e, a)) a->why = EK_WHY_BUDGET;
    else keep_promise(p, e, now.mono_ns, a);
    return w;
}

static void mark_told(struct ek_policy *p, struct ek_desk_entry *e, const struct ek_action *a,
                      const struct ek_desk_wait *w, uint64_t now_ns)
{
    struct ek_desk_pool *pool = &p->pool[e->pool];
    MUST(e->state == ENTRY_WAITING);
    ek_desk_set_fresh(p, e, false);
    e->told_ms = (uint32_t)ek_desk_ms(now_ns);
    e->told_position = a->position & 0xffffffu;
    e->told_eta_ms = (int32_t)a->eta_ms;
    e->told_p90_ms = (int32_t)a->eta_p90_ms;
    e->told_why = a->why & 15u;
    e->told_rate = (float)ek_pace_rate(&pool->pace, ek_desk_pool_slots(p, pool));
    p->stats.truth[e->tier].raised += a->raised;
    bool estimate = w->known && a->eta_ms >= 0 && e->returned == EK_WHY_BUSY;
    if (e->shown_kind != EK_DESK_NOT_SHOWN || !estimate) return;
    ek_desk_show(p, e, w, a, now_ns);
}

static enum ek_desk_act tell_fresh(struct ek_policy *p, struct ek_now now, struct ek_action *a)
{
    struct ek_link *n = ek_list_first(&p->fresh);
    if (!n) return EK_DESK_IDLE;
    struct ek_desk_entry *e = entry_at(n);
    struct ek_desk_wait w = compose(p, e, now, a);
    if (lend_one(p, now, e, &w, a) == EK_DESK_START) return EK_DESK_START;
    mark_told(p, e, a, &w, now.mono_ns);
    return EK_DESK_TELL;
}

/* ---- the round ----------------------------------------------------------------------------------- */

static enum ek_reason in_vain(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e,
                              struct ek_desk_purse *purse)
{
    uint64_t down_ns = ek_desk_pool_down_ns(p, &p->pool[e->pool]);
    uint64_t deadline_ns = e->timed ? p->deadline[ek_desk_index(p, e)].key : UINT64_MAX;
    if (!down_ns) return EK_REASON_NONE;
    *purse = ek_desk_purse_of(p, now, e);
    enum ek_reason says = ek_desk_purse_says(p, now, e->pool, purse, deadline_ns);
    bool grace = ek_ns_since(now.mono_ns, down_ns) <= p->down_grace_ns;
    return says == EK_REASON_NO_UPSTREAM && grace ? EK_REASON_NONE : says;
}

static void begin_round(struct ek_policy *p, uint64_t now_ns)
{
    if (p->counts.waiting == 0 || now_ns < p->round_ns) return;
    p->round_ns = now_ns + EK_DESK_ROUND_NS;
    p->visits = visits_of(p);
    if (p->visits > p->counts.waiting) p->visits = p->counts.waiting;
}

static enum ek_desk_act walk_round(struct ek_policy *p, struct ek_now now, struct ek_action *a)
{
    if (p->visits == 0) begin_round(p, now.mono_ns);
    while (p->visits > 0) {
        struct ek_link *n = ek_list_first(&p->waiting);
        p->visits--;
        if (!n) continue;
        struct ek_desk_entry *e = entry_at(n);
        struct ek_desk_purse purse = {.there = false};
        enum ek_reason reason = in_vain(p, now, e, &purse);
        if (reason != EK_REASON_NONE) {
            /* Of a short line it is no visit: else the rounds get shorter as the line does, and its end is
             * looked at too late. */
            if (p->counts.waiting < ROUNDS_MIN * VISITS_MIN) p->visits++;
            refuse_waiting(p, e, reason, now.mono_ns, a);
            if (reason == EK_REASON_BORROW_SPENT) a->retry_after_ms = ek_desk_purse_retry_ms(p, &purse);
            if (reason == EK_REASON_BORROW_SMALL) a->retry_after_ms = a->help = 0;
            return EK_DESK_REFUSE;
        }
        ek_list_remove(&p->waiting, n);
        ek_list_append(&p->waiting, n);
        struct ek_desk_wait w = compose(p, e, now, a);
        if (lend_one(p, now, e, &w, a) == EK_DESK_START) return EK_DESK_START;
        if (!worth_saying(p, e, a, now.mono_ns)) continue;
        mark_told(p, e, a, &w, now.mono_ns);
        return EK_DESK_TELL;
    }
    return EK_DESK_IDLE;
}

enum ek_desk_act ek_desk_next(struct ek_policy *p, struct ek_now now, struct ek_action *a)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    enum ek_desk_act act = EK_DESK_IDLE;
    *a = (struct ek_action){.act = EK_DESK_IDLE};
    ek_desk_count_lives(p, now.mono_ns);
    ek_desk_control(p, now.mono_ns);
    if (p->draining && now.mono_ns >= p->drain_ns) act = end_drain(p, now.mono_ns, a);
    if (act == EK_DESK_IDLE) act = end_patience(p, now, a);
    if (act == EK_DESK_IDLE && p->recalls) act = recall_one(p, a);
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
    const struct ek_heap_node *n = ek_heap_first(&p->deadlines);
    bool ending = p->draining && (p->counts.waiting || p->counts.absent || p->running.count);
    if (n && n->key < wake_ns) wake_ns = n->key;
    if (ek_desk_control_busy(p) && p->tick_ns + EK_S_NS < wake_ns) wake_ns = p->tick_ns + EK_S_NS;
    if (ending && p->drain_ns < wake_ns) wake_ns = p->drain_ns;
    return wake_ns;
}
