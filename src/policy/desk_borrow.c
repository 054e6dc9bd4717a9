/* SPDX-License-Identifier: MIT */
/* Lenders at the desk: who of those that wait goes to one, which one, what is reserved for it and what it has
 * cost. The decision itself is ek_overflow_decide; purses are overflow.h's. A lender is in the mask of a pool
 * like any upstream, but has no slots there: the line, its pace and its estimates are of our own machines. */
#include "policy/desk_state.h"

#include "base/must.h"
#include "policy/cost.h"

#include <math.h>

#define GROW_LEAST 64u /* tokens an answer that is longer than foreseen is given at once */
#define BUDGET_WAIT_NS (3600 * EK_S_NS) /* nobody without patience of his own waits longer for a window */
#define RETRY_SPREAD_MS 30000.0         /* they must not all be back in the first second of a window */

void ek_desk_lend(struct ek_policy *p, struct ek_now now, uint32_t index, const struct ek_lender_terms *t)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(index < EK_DESK_UPSTREAMS_MAX);
    struct ek_desk_upstream *u = &p->upstream[index];
    MUST(u->inflight == 0 || u->lender.lent == (t != NULL)); /* what runs there is of one kind */
    ek_lender_agree(&u->lender, t);
    ek_lender_roll(&u->lender, now);
    if (t) p->lent_mask |= 1ull << index;
    else p->lent_mask &= ~(1ull << index);
    p->round_ns = 0;
}

struct ek_lender ek_desk_lender(struct ek_policy *p, struct ek_now now, uint32_t index)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(index < EK_DESK_UPSTREAMS_MAX);
    ek_lender_roll(&p->upstream[index].lender, now);
    return p->upstream[index].lender;
}

void ek_desk_lender_restore(struct ek_policy *p, struct ek_now now, uint32_t index,
                            const struct ek_purse_kept *kept)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(index < EK_DESK_UPSTREAMS_MAX);
    p->upstream[index].lender.kept = *kept;
    ek_lender_roll(&p->upstream[index].lender, now);
}

void ek_desk_lender_elsewhere(struct ek_policy *p, uint32_t index, const struct ek_purse_elsewhere *theirs)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(index < EK_DESK_UPSTREAMS_MAX && theirs->reserved_nano >= 0);
    p->upstream[index].lender.elsewhere = *theirs;
}

/* ---- what it would cost ------------------------------------------------------------------------------ */

/* What is known of one request, waiting or arriving. */
struct need {
    uint32_t prompt_tokens, before_tokens;
    uint32_t output_tokens; /* nine of ten such answers have no more */
};

static uint32_t p90_of(const struct ek_policy *p, const struct ek_predict_key *key, uint32_t foreseen)
{
    struct ek_prediction guess = ek_predict_output(&p->predict, key);
    uint32_t tokens = guess.known ? guess.p90 : EK_OVERFLOW_OUTPUT_UNKNOWN;
    double usual = guess.known ? guess.mean : EK_OVERFLOW_OUTPUT_UNKNOWN / 4.0;
    if (foreseen && foreseen < (uint32_t)usual) return foreseen; /* its caller's own limit */
    return tokens > foreseen ? tokens : foreseen;
}

static struct need need_of(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    struct ek_predict_key key = ek_desk_key(p, e);
    struct need n = {.prompt_tokens = e->prompt_tokens, .before_tokens = e->tokens};
    n.output_tokens = p90_of(p, &key, e->output_tokens);
    n.output_tokens = n.output_tokens > e->tokens + GROW_LEAST ? n.output_tokens - e->tokens : GROW_LEAST;
    return n;
}

static int64_t cost_of(const struct ek_price_options *price, const struct need *n)
{
    uint64_t prompt = ek_lender_prompt(n->prompt_tokens) + n->before_tokens;
    return ek_desk_bounded(ek_cost_nano(price, 0, prompt, n->output_tokens));
}

/* ---- which one --------------------------------------------------------------------------------------- */

static uint32_t room_of(const struct ek_desk_upstream *u, uint64_t now_ns)
{
    if (!u->load.up) return 0;
    uint32_t wall = u->load.learn ? ek_learn_limit(&u->learn) : u->load.slots;
    return ek_lender_room(&u->lender, now_ns, u->inflight, wall ? wall : 1);
}

/* Of these the one that takes it for least; where that is alike, the one with most room. */
static uint32_t cheapest(struct ek_policy *p, struct ek_now now, uint64_t mask, const struct need *n)
{
    uint32_t best = EK_DESK_UPSTREAMS_MAX, best_room = 0;
    int64_t best_nano = INT64_MAX;
    if (p->counts.running >= p->running_max) return best;
    for (uint64_t m = mask & p->lent_mask; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        struct ek_desk_upstream *u = &p->upstream[i];
        uint32_t room = room_of(u, now.mono_ns);
        if (room == 0) continue;
        ek_lender_roll(&u->lender, now);
        struct ek_price_options price = ek_lender_price(&u->lender, now);
        int64_t nano = cost_of(&price, n);
        if (nano > ek_lender_left_nano(&u->lender)) {
            u->lender.refused++;
            continue;
        }
        if (nano > best_nano || (nano == best_nano && room <= best_room)) continue;
        best = i;
        best_nano = nano;
        best_room = room;
    }
    return best;
}

static double after_s(const struct ek_policy *p, uint32_t tier)
{
    return (double)p->tier[tier].overflow_after_ns * 1e-9;
}

static struct need need_of_new(const struct ek_policy *p, const struct ek_arrival *a)
{
    struct ek_predict_key key = {a->account, a->model, a->effort * EK_BROWNOUT_STEPS, a->prompt_tokens};
    return (struct need){.prompt_tokens = a->prompt_tokens,
                         .output_tokens = p90_of(p, &key, a->output_tokens)};
}

bool ek_desk_lender_takes(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a)
{
    MUST(a->pool < p->pools && a->tier < p->tiers);
    if (!(p->pool[a->pool].mask & p->lent_mask) || !a->may_borrow || after_s(p, a->tier) <= 0) return false;
    struct need n = need_of_new(p, a);
    return cheapest(p, now, p->pool[a->pool].mask, &n) < EK_DESK_UPSTREAMS_MAX;
}

/* ---- is there money for it, now or later? -------------------------------------------------------- */

/* Of the lenders that are up, what the one says that can pay soonest. */
static struct ek_desk_purse purse_of(struct ek_policy *p, struct ek_now now, uint32_t pool,
                                     const struct need *n)
{
    struct ek_desk_purse best = {.there = false, .state = EK_PURSE_NEVER};
    for (uint64_t m = p->pool[pool].mask & p->lent_mask; m; m &= m - 1) {
        struct ek_desk_upstream *u = &p->upstream[__builtin_ctzll(m)];
        struct ek_desk_purse one = {.there = true};
        if (!u->load.up) continue;
        ek_lender_roll(&u->lender, now);
        struct ek_price_options price = ek_lender_price(&u->lender, now);
        one.nano = cost_of(&price, n);
        one.state = ek_lender_can(&u->lender, now, one.nano, &one.wait_ns);
        one.budget_nano = INT64_MAX;
        for (int i = 0; i < EK_PURSE_SPANS; i++) {
            int64_t budget_nano = u->lender.terms.budget_nano[i];
            if (budget_nano && budget_nano < one.budget_nano) one.budget_nano = budget_nano;
        }
        bool sooner = one.state < best.state || (one.state == best.state && one.wait_ns < best.wait_ns);
        if (!best.there || sooner) best = one;
    }
    return best;
}

static bool may_lend(const struct ek_policy *p, uint32_t pool, uint32_t tier, bool may_borrow)
{
    MUST(pool < p->pools && tier < p->tiers);
    return (p->pool[pool].mask & p->lent_mask) && may_borrow && p->tier[tier].overflow_after_ns;
}

struct ek_desk_purse ek_desk_purse_of(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e)
{
    if (!may_lend(p, e->pool, e->tier, p->loan[ek_desk_index(p, e)].may_borrow))
        return (struct ek_desk_purse){.there = false};
    struct need n = need_of(p, e);
    return purse_of(p, now, e->pool, &n);
}

struct ek_desk_purse ek_desk_purse_of_new(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a)
{
    if (!may_lend(p, a->pool, a->tier, a->may_borrow)) return (struct ek_desk_purse){.there = false};
    struct need n = need_of_new(p, a);
    return purse_of(p, now, a->pool, &n);
}

bool ek_desk_lenders_alone(const struct ek_policy *p, uint32_t pool)
{
    return !(p->pool[pool].mask & ~p->lent_mask);
}

enum ek_reason ek_desk_purse_says(const struct ek_policy *p, struct ek_now now, uint32_t pool,
                                  const struct ek_desk_purse *s, uint64_t deadline_ns)
{
    bool alone = ek_desk_lenders_alone(p, pool);
    uint64_t patience_ns = deadline_ns == UINT64_MAX ? BUDGET_WAIT_NS : ek_ns_since(deadline_ns, now.mono_ns);
    if (!s->there) return EK_REASON_NO_UPSTREAM;
    if (s->state == EK_PURSE_PAYS || s->state == EK_PURSE_RESERVED) return EK_REASON_NONE;
    if (!alone) return EK_REASON_NO_UPSTREAM; /* our own may be back before any window ends */
    if (s->state == EK_PURSE_NEVER) return EK_REASON_BORROW_SMALL;
    return s->wait_ns > patience_ns ? EK_REASON_BORROW_SPENT : EK_REASON_NONE;
}

uint32_t ek_desk_purse_retry_ms(struct ek_policy *p, const struct ek_desk_purse *s)
{
    double ms = (double)s->wait_ns * 1e-6 + RETRY_SPREAD_MS * ek_random_unit(&p->random);
    return ms < (double)UINT32_MAX ? (uint32_t)ms + 1 : UINT32_MAX;
}

bool ek_desk_lender_takes_back(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e)
{
    struct need n = need_of(p, e);
    uint32_t index = ek_desk_index(p, e);
    if (!p->loan[index].may_borrow || after_s(p, e->tier) <= 0) return false;
    return cheapest(p, now, p->pool[e->pool].mask & p->only[index], &n) < EK_DESK_UPSTREAMS_MAX;
}

uint32_t ek_desk_lender_for(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e,
                            const struct ek_desk_wait *w, enum ek_overflow_why *why)
{
    const struct ek_desk_pool *pool = &p->pool[e->pool];
    uint64_t mask = pool->mask & p->lent_mask;
    uint32_t index = ek_desk_index(p, e);
    MUST(e->state == ENTRY_WAITING && !e->lent);
    *why = EK_OVERFLOW_NOT;
    if (!mask || !p->loan[index].may_borrow) return EK_DESK_UPSTREAMS_MAX;
    bool back = e->returned != EK_WHY_BUSY;
    bool theirs_alone = back && p->only[index] && !(p->only[index] & ~p->lent_mask);
    if (back && p->only[index]) mask &= p->only[index];
    if (!back && ek_order_flow(&p->order, &e->item)->node.held) return EK_DESK_UPSTREAMS_MAX; /* at its cap */
    struct ek_overflow_sight s = {
        .after_s = after_s(p, e->tier), .own_up = ek_desk_pool_down_ns(p, pool) == 0 && !theirs_alone,
        .line_full = p->loan[index].overfull, .rescued = back, .known = w->known,
        .waited_s = ek_desk_ms_since(now.mono_ns, p->loan[index].came_ms) * 1e-3,
        .eta_s = (double)w->eta_ms * 1e-3, .left_s = HUGE_VAL};
    if (back) s.waited_s = 0; /* what it waited before it ran is no reason now */
    if (e->hurried && e->timed)
        s.left_s = ((double)p->deadline[index].key - (double)now.mono_ns) * 1e-9;
    struct need n = need_of(p, e);
    uint32_t lender = EK_DESK_UPSTREAMS_MAX;
    *why = ek_overflow_decide(&s); /* as though it were there at once: most are turned away by that */
    if (*why != EK_OVERFLOW_NOT) lender = cheapest(p, now, mask, &n);
    if (lender == EK_DESK_UPSTREAMS_MAX) return lender;
    s.there_s = ek_learn_ttft_s(&p->upstream[lender].learn, n.prompt_tokens + n.before_tokens);
    *why = ek_overflow_decide(&s);
    return *why != EK_OVERFLOW_NOT ? lender : EK_DESK_UPSTREAMS_MAX;
}

/* ---- there -------------------------------------------------------------------------------------------- */

void ek_desk_lent_begin(struct ek_policy *p, struct ek_now now, struct ek_desk_entry *e, uint32_t upstream)
{
    struct ek_desk_upstream *u = &p->upstream[upstream];
    struct ek_desk_lent *l = &ek_desk_service_of(p, e)->lent;
    struct need n = need_of(p, e);
    MUST(e->lent && e->upstream == upstream && u->lender.lent);
    struct ek_price_options price = ek_lender_price(&u->lender, now);
    *l = (struct ek_desk_lent){
        .price = {price.cached_pico, price.prompt_pico, price.output_pico},
        .reserved_nano = cost_of(&price, &n), .tokens = n.output_tokens, .before = n.before_tokens};
    bool paid = ek_lender_reserve(&u->lender, l->reserved_nano);
    MUST(paid); /* it was chosen for that in this very turn */
    l->trial = ek_lender_sent(&u->lender);
}

static struct ek_price_options price_of(const struct ek_desk_lent *l)
{
    return (struct ek_price_options){.cached_pico = l->price.cached_pico,
                                     .prompt_pico = l->price.prompt_pico,
                                     .output_pico = l->price.output_pico};
}

void ek_desk_lent_tokens(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e,
                         uint32_t tokens)
{
    struct ek_desk_upstream *u = &p->upstream[e->upstream];
    struct ek_desk_lent *l = &ek_desk_service_of(p, e)->lent;
    MUST(e->lent);
    if (l->trial && tokens > 0) ek_lender_tried(&u->lender, true);
    if (tokens > 0) l->trial = false;
    if (__builtin_add_overflow(l->made, tokens, &l->made)) l->made = UINT32_MAX;
    if (l->made <= l->tokens || l->recalled) return;
    struct ek_price_options price = price_of(l);
    uint64_t more = (uint64_t)l->made - l->tokens + l->made / 4 + GROW_LEAST;
    int64_t nano = ek_cost_nano(&price, 0, 0, more);
    ek_lender_roll(&u->lender, now);
    if (!ek_lender_grow(&u->lender, nano, &l->overdrawn)) {
        l->recalled = l->to_recall = true;
        p->recalls++;
        return;
    }
    l->reserved_nano += nano;
    l->tokens = l->tokens + more > UINT32_MAX ? UINT32_MAX : l->tokens + (uint32_t)more;
}

/* What it has been charged there, as far as anybody can know: by usage, else by our own count. */
static int64_t spent_of(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    const struct ek_desk_lent *l = &ek_desk_service_of(p, e)->lent;
    struct ek_price_options price = price_of(l);
    uint64_t prompt = e->prompt_tokens, cached = 0, output = l->made;
    bool used = e->used_known && e->used.output_tokens >= l->before;
    if (!used && !l->made && !l->accepted) return 0; /* it never took it */
    if (used) {
        prompt = e->used.prompt_tokens;
        cached = l->before ? 0 : e->used.cached_tokens;
        output = e->used.output_tokens - l->before;
    }
    if (cached > prompt) cached = prompt;
    return ek_desk_bounded(ek_cost_nano(&price, cached, prompt - cached + l->before, output));
}

void ek_desk_lent_end(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e)
{
    struct ek_desk_upstream *u = &p->upstream[e->upstream];
    struct ek_desk_lent *l = &ek_desk_service_of(p, e)->lent;
    MUST(e->lent && p->recalls >= l->to_recall);
    int64_t spent_nano = spent_of(p, e);
    ek_lender_roll(&u->lender, now);
    ek_lender_settle(&u->lender, l->reserved_nano, spent_nano, l->overdrawn);
    if (l->trial) ek_lender_tried(&u->lender, false);
    p->recalls -= l->to_recall;
    p->loan[ek_desk_index(p, e)].nano += spent_nano;
    *l = (struct ek_desk_lent){.tokens = 0};
}

bool ek_desk_recalls(const struct ek_policy *p) { return p->recalls > 0; }

struct ek_desk_entry *ek_desk_recalled(struct ek_policy *p)
{
    MUST(p->recalls > 0);
    EK_LIST_EACH(&p->running, it) {
        struct ek_desk_entry *e = EK_CONTAINER(it, struct ek_desk_entry, link);
        struct ek_desk_lent *l = &ek_desk_service_of(p, e)->lent;
        if (!e->lent || !l->to_recall) continue;
        l->to_recall = false;
        p->recalls--;
        return e;
    }
    return NULL; /* those that are being stopped anyway */
}

void ek_desk_lender_full(struct ek_policy *p, struct ek_now now, uint32_t ticket, uint64_t rest_ns)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->lent && (e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING));
    struct ek_desk_upstream *u = &p->upstream[e->upstream];
    if (u->load.learn) ek_learn_full(&u->learn, now.mono_ns);
    ek_lender_full(&u->lender, now.mono_ns, rest_ns, ek_random_unit(&p->random));
}

void ek_desk_unlend(struct ek_policy *p, struct ek_now now, uint32_t ticket)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING && e->lent);
    int64_t nano = ek_order_cost(&e->item);
    uint64_t who = ek_order_flow(&p->order, &e->item)->who, user = ek_order_user(&p->order, &e->item)->id;
    ek_desk_tick_pool(p, &p->pool[e->pool], now.mono_ns);
    ek_desk_service_end(p, now, e);
    p->stats.charged_nano[e->tier] -= nano;
    ek_order_settle(&p->order, &e->item, -nano);
    ek_order_end(&p->order, &e->item);
    e->item.node.value = nano;
    ek_order_put(&p->order, &e->item, e->tier, e->pool, who, user, true);
    ek_desk_move(p, e, ENTRY_WAITING);
    ek_desk_set_deadline(p, e, p->deadline[ek_desk_index(p, e)].key); /* the one it had */
    ek_desk_saw_more(p, e, (double)nano);
}

int64_t ek_desk_lent_nano(const struct ek_policy *p, uint32_t ticket)
{
    const struct ek_desk_entry *e = ek_desk_entry_of((struct ek_policy *)(uintptr_t)p, ticket);
    bool there = e->lent && (e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    return p->loan[ek_desk_index(p, e)].nano + (there ? spent_of(p, e) : 0);
}
