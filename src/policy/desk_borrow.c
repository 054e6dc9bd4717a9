/* SPDX-License-Identifier: MIT */
/* Lenders at the desk: who of those that wait goes to one, which one, what is reserved for it and what it has
 * cost. The decision itself is ek_overflow_decide; purses are overflow.h's. A lender is in the mask of a pool
 * like any upstream, but has no slots there: the line, its pace and its estimates are of our own machines. */
#include "policy/desk_state.h"

#include "base/must.h"
#include "policy/cost.h"

#include <math.h>

#define OUTPUT_UNKNOWN 2048u /* tokens reserved before any answer was seen */
#define PROMPT_MARGIN 4u     /* a quarter more: prompts are counted by their bytes ... */
#define PROMPT_EXTRA 64u     /* ... and what a template adds to them is not known */
#define GROW_LEAST 64u       /* tokens an answer that is longer than foreseen is given at once */

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

/* ---- what it would cost ------------------------------------------------------------------------------ */

/* What is known of one request, waiting or arriving. */
struct need {
    uint32_t prompt_tokens, before_tokens;
    uint32_t output_tokens; /* nine of ten such answers have no more */
};

static uint32_t p90_of(const struct ek_policy *p, const struct ek_predict_key *key, uint32_t foreseen)
{
    struct ek_prediction guess = ek_predict_output(&p->predict, key);
    uint32_t tokens = guess.known ? guess.p90 : OUTPUT_UNKNOWN;
    double usual = guess.known ? guess.mean : OUTPUT_UNKNOWN / 4.0;
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
    uint64_t prompt = (uint64_t)n->prompt_tokens + n->prompt_tokens / PROMPT_MARGIN + PROMPT_EXTRA +
                      n->before_tokens;
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

bool ek_desk_lender_there(const struct ek_policy *p, uint32_t pool, uint32_t tier, bool may_borrow)
{
    MUST(pool < p->pools && tier < p->tiers);
    if (!may_borrow || !p->tier[tier].overflow_after_ns) return false;
    for (uint64_t m = p->pool[pool].mask & p->lent_mask; m; m &= m - 1) {
        const struct ek_desk_upstream *u = &p->upstream[__builtin_ctzll(m)];
        bool paid = ek_lender_left_nano(&u->lender) > 0 || u->lender.reserved_nano > 0;
        if (u->load.up && paid) return true;
    }
    return false;
}

bool ek_desk_lender_takes(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a)
{
    MUST(a->pool < p->pools && a->tier < p->tiers);
    if (!(p->pool[a->pool].mask & p->lent_mask) || !a->may_borrow || after_s(p, a->tier) <= 0) return false;
    struct ek_predict_key key = {a->account, a->model, a->effort * EK_BROWNOUT_STEPS, a->prompt_tokens};
    struct need n = {.prompt_tokens = a->prompt_tokens, .output_tokens = p90_of(p, &key, a->output_tokens)};
    return cheapest(p, now, p->pool[a->pool].mask, &n) < EK_DESK_UPSTREAMS_MAX;
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
    ek_desk_saw_more(p, e, (double)nano);
}

int64_t ek_desk_lent_nano(const struct ek_policy *p, uint32_t ticket)
{
    const struct ek_desk_entry *e = ek_desk_entry_of((struct ek_policy *)(uintptr_t)p, ticket);
    bool there = e->lent && (e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    return p->loan[ek_desk_index(p, e)].nano + (there ? spent_of(p, e) : 0);
}
