/* SPDX-License-Identifier: MIT */
/* Arrivals: may it come in, what will it take, which place is its own. */
#include "policy/desk_state.h"

#include "base/map.h"
#include "base/must.h"
#include "policy/cost.h"

#define OUTPUT_GUESS 512u /* tokens, before any answer was seen */
#define COST_NANO_MAX 10000000000000 /* of one request: 10,000 units of currency; sums stay far from 2^63 */

static const struct ek_kind *kind_of(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    MUST(e->kind < p->kinds.made);
    return &p->kinds.kind[e->kind];
}

struct ek_price_options ek_desk_price_of(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    const struct ek_desk_price *price = &kind_of(p, e)->price;
    return (struct ek_price_options){.cached_pico = price->cached_pico, .prompt_pico = price->prompt_pico,
                                     .output_pico = price->output_pico};
}

bool ek_desk_priced(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    return kind_of(p, e)->price.prompt_pico > 0 || kind_of(p, e)->price.output_pico > 0;
}

static struct ek_predict_key key_of(const struct ek_policy *p, const struct ek_desk_entry *e,
                                    uint64_t account)
{
    const struct ek_kind *k = kind_of(p, e);
    return (struct ek_predict_key){account, k->model, k->effort * EK_BROWNOUT_STEPS + e->step,
                                   e->prompt_tokens};
}

struct ek_predict_key ek_desk_key(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    return key_of(p, e, e->owned ? ek_order_user(&p->order, &e->item)->id
                                 : ek_order_flow(&p->order, &e->item)->who);
}

uint64_t ek_desk_whose(struct ek_policy *p, uint32_t ticket)
{
    const struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    uint64_t who[2] = {ek_order_flow(&p->order, &e->item)->who, ek_order_user(&p->order, &e->item)->id};
    return ek_hash(ek_str_make((const char *)who, sizeof who), 0);
}

int64_t ek_desk_bounded(int64_t nano)
{
    return nano < 1 ? 1 : nano > COST_NANO_MAX ? COST_NANO_MAX : nano;
}

uint32_t ek_desk_output_p90(const struct ek_policy *p, const struct ek_arrival *a)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    struct ek_predict_key key = {a->account, a->model, a->effort * EK_BROWNOUT_STEPS, a->prompt_tokens};
    struct ek_prediction guess = ek_predict_output(&p->predict, &key);
    uint32_t tokens = guess.known ? guess.p90 : OUTPUT_GUESS;
    if (a->max_tokens && tokens > a->max_tokens) tokens = a->max_tokens;
    return tokens < 1 ? 1 : tokens;
}

/* What it would take if its thought were not shortened. */
static double whole_nano(const struct ek_policy *p, const struct ek_desk_entry *e, const struct ek_arrival *a)
{
    struct ek_price_options prices = ek_desk_price_of(p, e);
    struct ek_predict_key key = key_of(p, e, a->account);
    bool known = e->step == 0 || a->output_tokens || !ek_desk_priced(p, e);
    if (known) return (double)ek_order_cost(&e->item);
    key.effort -= e->step;
    struct ek_prediction guess = ek_predict_output(&p->predict, &key);
    double output = guess.known ? guess.mean : e->output_tokens;
    if (a->max_tokens && output > a->max_tokens) output = a->max_tokens;
    return (double)ek_desk_bounded(ek_cost_nano(&prices, 0, a->prompt_tokens, (uint32_t)output));
}

/* What it will probably take. */
static void price(struct ek_policy *p, struct ek_desk_entry *e, const struct ek_arrival *a)
{
    struct ek_price_options prices = ek_desk_price_of(p, e);
    double output = a->output_tokens;
    if (a->output_tokens == 0) {
        struct ek_predict_key key = key_of(p, e, a->account);
        struct ek_prediction guess = ek_predict_output(&p->predict, &key);
        output = guess.known ? guess.mean : OUTPUT_GUESS;
        if (a->max_tokens && output > a->max_tokens) output = a->max_tokens;
    }
    e->output_tokens = output < 1 ? 1 : (uint32_t)output;
    int64_t nano = a->cost_nano;
    if (ek_desk_priced(p, e)) nano = ek_cost_nano(&prices, 0, a->prompt_tokens, e->output_tokens);
    e->item.node.value = ek_desk_bounded(nano);
}

static void fill(struct ek_policy *p, struct ek_desk_entry *e, const struct ek_arrival *a, uint64_t now_ns)
{
    MUST(a->prefix_count <= EK_DESK_PREFIX_MAX);
    e->id = a->id;
    e->owned = a->owner != 0;
    e->conversation = a->conversation;
    e->repeat = a->repeat;
    e->tier = (uint8_t)a->tier;
    e->pool = (uint8_t)a->pool;
    e->tokens = 0;
    e->returned = EK_WHY_BUSY;
    e->may_shorten = a->thinks && !a->keep_thinking;
    e->lent = false;
    p->loan[ek_desk_index(p, e)] = (struct ek_desk_loan){.came_ms = (uint32_t)ek_desk_ms(now_ns),
                                                          .may_borrow = a->may_borrow,
                                                          .more = a->choices ? a->choices - 1 : 0};
    e->prompt_tokens = a->prompt_tokens;
    e->kind = ek_kinds_join(&p->kinds, a->model, a->effort, a->price);
    e->step = ek_desk_step(p, e);
    e->item.node.seq = ++p->next_seq;
    e->item.node.key = EK_RANK_NEW;
    if (a->conversation && !a->first_turn &&
        ek_index_find(&p->conversations, a->conversation) != EK_INDEX_NONE)
        e->item.node.key = EK_RANK_CONVERSATION;
    ek_order_tell(&p->order, &e->item, a->prefix, a->prefix_count, a->prompt_tokens);
    price(p, e, a);
}

/* Places of the line that a tier may not take: half of the share that each heavier tier's weight gives it, as
 * far as that tier does not fill it. So a crowd of free callers cannot fill the line before those who
 * pay, and what is kept empty for others is never more than half of it. Only evicting who was let in
 * would need no empty places, and that would break a promise. */
static uint64_t kept_for_others(const struct ek_policy *p, uint32_t tier)
{
    uint64_t weights = 0, kept = 0;
    MUST(tier < p->tiers);
    for (uint32_t t = 0; t < p->tiers; t++) weights += p->tier[t].weight;
    for (uint32_t t = 0; t < p->tiers; t++) {
        if (p->tier[t].weight <= p->tier[tier].weight) continue;
        uint64_t half = p->waiting_max * p->tier[t].weight / (2 * weights);
        if (half > p->tier_waiting[t]) kept += half - p->tier_waiting[t];
    }
    MUST(kept <= p->waiting_max / 2);
    return kept;
}

/* When its patience ends, by its caller's word or its tier's. */
static uint64_t patience_end_ns(const struct ek_policy *p, const struct ek_arrival *a, uint64_t now_ns)
{
    uint64_t patience_ns = p->tier[a->tier].patience_ns;
    return a->deadline_ns == UINT64_MAX && patience_ns ? now_ns + patience_ns : a->deadline_ns;
}

/* Nothing of our own is up: may it wait for a lender? */
static enum ek_reason why_not_lent(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a,
                                   const struct ek_desk_purse *purse, uint64_t down_ns)
{
    enum ek_reason says = ek_desk_purse_says(p, now, a->pool, purse, patience_end_ns(p, a, now.mono_ns));
    bool grace = ek_ns_since(now.mono_ns, down_ns) <= p->down_grace_ns;
    return says == EK_REASON_NO_UPSTREAM && grace ? EK_REASON_NONE : says;
}

static enum ek_reason why_refused(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a,
                                  const struct ek_desk_purse *purse)
{
    const struct ek_desk_pool *pool = &p->pool[a->pool];
    const struct ek_tier_options *tier = &p->tier[a->tier];
    uint64_t down_ns = ek_desk_pool_down_ns(p, pool);
    if (p->draining) return EK_REASON_DRAINING;
    enum ek_reason lent = down_ns ? why_not_lent(p, now, a, purse, down_ns) : EK_REASON_NONE;
    if (lent != EK_REASON_NONE) return lent;
    struct ek_account_load mine = ek_accounts_get(&p->accounts, a->owner ? a->owner : a->account);
    bool running_full = tier->account_running_max && mine.running >= tier->account_running_max;
    bool can_start = !running_full && pool->waiting == 0 && ek_desk_has_room(p, pool);
    if (p->free.count == 0 && p->made == p->entries) return EK_REASON_QUEUE_FULL; /* many came back */
    if (can_start) return EK_REASON_NONE;
    if (p->counts.waiting >= p->waiting_max) return EK_REASON_QUEUE_FULL;
    if (p->counts.waiting + kept_for_others(p, a->tier) >= p->waiting_max) return EK_REASON_TIER_QUEUE_FULL;
    if (tier->waiting_max && p->tier_waiting[a->tier] >= tier->waiting_max)
        return EK_REASON_TIER_QUEUE_FULL;
    if (tier->account_waiting_max && mine.waiting >= tier->account_waiting_max)
        return EK_REASON_ACCOUNT_QUEUE_FULL;
    return EK_REASON_NONE;
}

static uint32_t help_for(const struct ek_arrival *a, enum ek_reason reason)
{
    uint32_t help = EK_HELP_LATER;
    if (reason == EK_REASON_DEADLINE) help |= EK_HELP_MORE_PATIENCE;
    if (reason == EK_REASON_ACCOUNT_QUEUE_FULL) help |= EK_HELP_FEWER_AT_ONCE;
    if (a->thinks && a->keep_thinking) help |= EK_HELP_LESS_THINKING;
    return help;
}

static void refuse_arrival(struct ek_policy *p, const struct ek_arrival *a, enum ek_reason reason,
                           const struct ek_desk_wait *w, struct ek_action *refusal)
{
    *refusal = (struct ek_action){.act = EK_DESK_REFUSE, .id = a->id, .reason = reason,
                                  .position = w->position, .eta_ms = w->eta_ms,
                                  .eta_p90_ms = w->eta_p90_ms, .help = help_for(a, reason),
                                  .retry_after_ms = ek_desk_retry_after_ms(p, &p->pool[a->pool])};
    p->counts.refused++;
}

static struct ek_desk_entry *free_entry(struct ek_policy *p)
{
    struct ek_link *n = ek_list_first(&p->free);
    if (n) return EK_CONTAINER(n, struct ek_desk_entry, link);
    MUST(p->made < p->entries);
    struct ek_desk_entry *e = &p->entry[p->made++];
    e->generation = 1;
    ek_list_append(&p->free, &e->link);
    return e;
}

/* When its first token is foreseen: the wait, as far as it is known, and the reading of its prompt. */
static uint64_t first_token_ns(const struct ek_policy *p, const struct ek_arrival *a,
                               const struct ek_desk_wait *w, uint64_t now_ns)
{
    if (w->known) return now_ns + (uint64_t)w->eta_ms * EK_MS_NS;
    return now_ns + (uint64_t)(ek_desk_first_token_s(p, a->pool, a->prompt_tokens) * 1e9);
}

bool ek_desk_arrive(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a,
                    uint32_t *ticket, struct ek_action *refusal)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(a->tier < p->tiers);
    MUST(a->pool < p->pools);
    p->counts.arrived++;
    uint64_t payer = a->owner ? a->owner : a->account;
    struct ek_desk_pool *pool = &p->pool[a->pool];
    ek_desk_tick_pool(p, pool, now.mono_ns);
    struct ek_desk_purse purse = ek_desk_purse_of_new(p, now, a);
    enum ek_reason reason = why_refused(p, now, a, &purse);
    bool overfull = (reason == EK_REASON_QUEUE_FULL || reason == EK_REASON_TIER_QUEUE_FULL) &&
                    (p->free.count > 0 || p->made < p->entries) && ek_desk_lender_takes(p, now, a);
    if (overfull) reason = EK_REASON_NONE;
    struct ek_desk_wait w = {.eta_ms = -1, .eta_p90_ms = -1};
    bool hurried = reason == EK_REASON_NONE && a->deadline_ns != UINT64_MAX;
    bool waits = pool->waiting > 0 || !ek_desk_has_room(p, pool);
    if (reason != EK_REASON_NONE || (hurried && waits))
        w = ek_desk_wait_of_new(p, a->tier, a->pool, payer, a->prompt_tokens, now.mono_ns);
    if (hurried && first_token_ns(p, a, &w, now.mono_ns) > a->deadline_ns &&
        !ek_desk_lender_takes(p, now, a)) { /* before any work is spent */
        reason = EK_REASON_DEADLINE;
        p->stats.late++;
    }
    uint64_t person = ek_index_mix(a->account, a->user);
    if (reason == EK_REASON_NONE && p->shed_on && !overfull &&
        !ek_shed_admits(&p->shed, a->tier, person, now.unix_ns / (3600 * EK_S_NS), a->retries > 0)) {
        reason = EK_REASON_TIER_QUEUE_FULL;
        w = ek_desk_wait_of_new(p, a->tier, a->pool, payer, a->prompt_tokens, now.mono_ns);
        p->stats.shed++;
    }
    *ticket = 0;
    if (reason != EK_REASON_NONE) {
        ek_desk_saw_refused(p, a);
        refuse_arrival(p, a, reason, &w, refusal);
        if (reason == EK_REASON_BORROW_SPENT) refusal->retry_after_ms = ek_desk_purse_retry_ms(p, &purse);
        if (reason == EK_REASON_BORROW_SMALL) refusal->retry_after_ms = refusal->help = 0;
        return false;
    }
    struct ek_desk_entry *e = free_entry(p);
    fill(p, e, a, now.mono_ns);
    p->loan[ek_desk_index(p, e)].overfull = overfull;
    bool mine = ek_desk_reclaim_place(p, now, e);
    ek_flux_came(&pool->flux[e->tier], now.mono_ns);
    ek_desk_saw_arrival(p, e, whole_nano(p, e, a));
    ek_order_put(&p->order, &e->item, a->tier, a->pool, payer, a->owner ? a->account : a->user, mine);
    ek_desk_move(p, e, ENTRY_WAITING);
    e->hurried = a->deadline_ns != UINT64_MAX;
    ek_desk_set_deadline(p, e, patience_end_ns(p, a, now.mono_ns));
    *ticket = ek_desk_ticket(p, e);
    return true;
}
