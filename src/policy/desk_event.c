/* SPDX-License-Identifier: MIT */
/* What becomes of those who are in, as the shell reports it: taken, tokens, used, finished, back, gone; and
 * what is heard of upstreams. Arrivals are desk_arrive.c, places kept for the absent desk_place.c. */
#include "policy/desk_state.h"

#include "base/must.h"
#include "policy/cost.h"

void ek_desk_started(struct ek_policy *p, struct ek_now now, uint32_t ticket)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    ek_desk_tick_pool(p, &p->pool[e->pool], now.mono_ns);
    if (e->lent) ek_desk_service_of(p, e)->lent.accepted = true;
}

void ek_desk_first(struct ek_policy *p, struct ek_now now, uint32_t ticket)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    ek_desk_promise_kept(p, e, now.mono_ns);
}

static void settle(struct ek_policy *p, struct ek_desk_entry *e, int64_t nano)
{
    int64_t by = nano - ek_order_cost(&e->item);
    p->stats.charged_nano[e->tier] += by;
    ek_desk_saw_more(p, e, (double)by);
    ek_order_settle(&p->order, &e->item, by);
}

void ek_desk_tokens(struct ek_policy *p, struct ek_now now, uint32_t ticket, uint32_t tokens)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    struct ek_desk_pool *pool = &p->pool[e->pool];
    ek_desk_tick_pool(p, pool, now.mono_ns);
    if (e->tokens == 0 && tokens > 0) ek_desk_promise_kept(p, e, now.mono_ns);
    ek_desk_service_tokens(p, now, e, tokens);
    /* The pace of tokens is that of streams; a shell that tells all at the end tells nothing of it. */
    if (e->tokens > 0 && !e->lent) ek_pace_tokens(&pool->pace, tokens);
    if (e->lent) ek_desk_lent_tokens(p, now, e, tokens);
    struct ek_price_options prices = ek_desk_price_of(p, e);
    ek_desk_saw_work(p, e, tokens * (double)prices.output_pico * 1e-3);
    if (__builtin_add_overflow(e->tokens, tokens, &e->tokens)) e->tokens = UINT32_MAX;
    if (e->tokens <= e->output_tokens || !ek_desk_priced(p, e)) return;
    /* Longer than foreseen: charged as it grows, a quarter ahead, not minutes later at its end. */
    uint64_t ahead = (uint64_t)e->tokens + e->tokens / 4 + 16;
    e->output_tokens = ahead > UINT32_MAX ? UINT32_MAX : (uint32_t)ahead;
    int64_t nano = ek_desk_bounded(ek_cost_nano(&prices, 0, e->prompt_tokens, e->output_tokens));
    if (nano > ek_order_cost(&e->item)) settle(p, e, nano);
}

void ek_desk_used(struct ek_policy *p, struct ek_now now, uint32_t ticket, const struct ek_used *u)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    MUST(!e->used_known);
    (void)now;
    e->used = *u;
    e->used_known = true;
}

/* A request left its slot: what it took is settled and learned. `counts`: it was served, so the time its
 * slot was taken says something about the next one's. */
static void leave_slot(struct ek_policy *p, struct ek_now now, struct ek_desk_entry *e, bool counts)
{
    struct ek_desk_pool *pool = &p->pool[e->pool];
    struct ek_price_options prices = ek_desk_price_of(p, e);
    struct ek_used u = e->used;
    MUST(e->lent || pool->running > 0);
    ek_desk_tick_pool(p, pool, now.mono_ns);
    ek_desk_promise_void(p, e, now.mono_ns);
    ek_desk_slot_left(p, e, counts, now.mono_ns);
    ek_desk_service_end(p, now, e);
    if (!e->used_known)
        u = (struct ek_used){.prompt_tokens = e->prompt_tokens, .output_tokens = e->tokens};
    if (u.cached_tokens > u.prompt_tokens) u.cached_tokens = u.prompt_tokens;
    if (u.thought_tokens > u.output_tokens) u.thought_tokens = u.output_tokens;
    int64_t nano = ek_order_cost(&e->item);
    if (!counts && u.output_tokens == 0) nano = 0; /* nothing came of it */
    else if (ek_desk_priced(p, e))
        nano = ek_cost_nano(&prices, u.cached_tokens, u.prompt_tokens - u.cached_tokens, u.output_tokens);
    if (nano > 0) nano = ek_desk_bounded(nano);
    settle(p, e, nano);
    if (!counts) return;
    if (!e->lent) ek_pace_departed(&pool->pace, e->guess_nano, nano > 0 ? (double)nano : 1.0);
    pool->away = pool->away > 1.0 ? pool->away - 1.0 : 0;
    uint32_t thought = e->step ? 0 : u.thought_tokens; /* a shortened one says nothing of the whole */
    struct ek_predict_key key = ek_desk_key(p, e);
    if (u.output_tokens) ek_predict_learn(&p->predict, &key, u.output_tokens, thought);
    if (thought)
        ek_desk_saw_thought(p, e, thought, thought * (double)prices.output_pico * 1e-3, (double)nano);
}

void ek_desk_finished(struct ek_policy *p, struct ek_now now, uint32_t ticket, bool served)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    leave_slot(p, now, e, served);
    ek_order_end(&p->order, &e->item);
    ek_desk_move(p, e, ENTRY_FREE);
    p->counts.finished++;
}

void ek_desk_back(struct ek_policy *p, struct ek_now now, uint32_t ticket, enum ek_desk_why why)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING);
    ek_desk_tick_pool(p, &p->pool[e->pool], now.mono_ns);
    struct ek_desk_shown shown = ek_desk_service_of(p, e)->shown;
    uint32_t shown_kind = ek_desk_service_of(p, e)->shown_kind;
    ek_desk_slot_left(p, e, false, now.mono_ns);
    ek_desk_service_end(p, now, e);
    bool lent = e->lent;
    e->returned = (uint8_t)why;
    ek_order_put_back(&p->order, &e->item);
    ek_desk_move(p, e, ENTRY_WAITING);
    if (lent) ek_desk_saw_more(p, e, (double)ek_order_cost(&e->item)); /* it is our demand again */
    ek_desk_promise_return(p, e, &shown, shown_kind, now.mono_ns);
}

void ek_desk_only(struct ek_policy *p, uint32_t ticket, uint64_t upstream_mask)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_WAITING && e->returned != EK_WHY_BUSY);
    p->only[ek_desk_index(p, e)] = upstream_mask;
}

void ek_desk_gone(struct ek_policy *p, struct ek_now now, uint32_t ticket)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    /* Also for one that ran: its client gave up too early, and will ask again. */
    if (e->state == ENTRY_WAITING || e->state == ENTRY_RUNNING) ek_desk_keep_place(p, now, e);
    if (e->state == ENTRY_WAITING) {
        ek_desk_score_left(p, e, now.mono_ns);
        ek_desk_leave_line(p, e);
    } else if (e->state != ENTRY_ABSENT) {
        leave_slot(p, now, e, e->tokens > 0);
        ek_order_end(&p->order, &e->item);
    }
    ek_desk_move(p, e, ENTRY_FREE);
    p->counts.gone++;
}

void ek_desk_load(struct ek_policy *p, struct ek_now now, uint32_t index, const struct ek_load *l)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(index < EK_DESK_UPSTREAMS_MAX);
    struct ek_desk_upstream *u = &p->upstream[index];
    if (u->load.up && !l->up) u->down_ns = now.mono_ns;
    if (!u->load.up && l->up && u->was_up) ek_learn_restarted(&u->learn);
    bool died = u->load.up && !l->up && !u->lender.lent;
    if (died) ek_warm_forget_all(&p->warm); /* what died remembers nothing */
    if (u->load.up != l->up || u->load.slots != l->slots) p->round_ns = 0; /* estimates changed */
    u->load = *l;
    u->was_up = u->was_up || l->up;
}

bool ek_desk_share(struct ek_policy *p, uint32_t index, const struct ek_desk_share *share)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(index < EK_DESK_UPSTREAMS_MAX);
    struct ek_desk_share *is = &p->upstream[index].share;
    if (is->shared == share->shared && is->elsewhere == share->elsewhere && is->at_most == share->at_most)
        return false;
    *is = *share;
    p->round_ns = 0; /* estimates changed */
    return true;
}

void ek_desk_drain(struct ek_policy *p, struct ek_now now, uint64_t deadline_ns)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(deadline_ns >= now.mono_ns);
    p->draining = true;
    p->drain_ns = deadline_ns;
}
