/* SPDX-License-Identifier: MIT */
/* Second attempts at the desk (hedge.h): which of our own machines takes one, and what it counts there. It
 * has no entry of its own: it is a mark beside the first attempt, takes a slot, and whoever of the two wins
 * keeps the entry. Lenders are never asked: that would be money for a wait of our own. */
#include "policy/desk_state.h"

#include "base/must.h"

#include <math.h>

static double slots_of(const struct ek_desk_upstream *u)
{
    return u->load.learn ? (double)ek_learn_limit(&u->learn) : u->load.slots;
}

static double load_of(const struct ek_desk_upstream *u)
{
    double slots = slots_of(u);
    return slots > 0 ? u->inflight / slots : 1;
}

/* Of those of our own that may have it, the one with the least to do. */
static uint32_t calmest(const struct ek_policy *p, const struct ek_desk_entry *e, uint64_t mask)
{
    uint32_t best = EK_DESK_UPSTREAMS_MAX;
    mask &= p->pool[e->pool].mask & ~p->lent_mask & ~(1ull << e->upstream);
    for (uint64_t m = mask; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        const struct ek_desk_upstream *u = &p->upstream[i];
        if (!u->load.up || !ek_desk_kv_fits(u, e)) continue;
        if (best == EK_DESK_UPSTREAMS_MAX || load_of(u) < load_of(&p->upstream[best])) best = i;
    }
    return best;
}

void ek_desk_hedge_sent(struct ek_policy *p, const struct ek_desk_entry *e)
{
    if (p->tier[e->tier].hedge && e->returned == EK_WHY_BUSY) ek_hedge_earn(&p->hedge, p->hedge_part);
}

double ek_desk_hedge_after_s(const struct ek_policy *p, uint32_t ticket)
{
    const struct ek_desk_entry *e = ek_desk_entry_of((struct ek_policy *)(uintptr_t)p, ticket);
    if (!p->tier[e->tier].hedge || e->lent || e->tokens) return 0;
    if (p->hedge_after_ns) return (double)p->hedge_after_ns * 1e-9;
    return ek_hedge_p95_s(&p->upstream[e->upstream].firsts, e->prompt_tokens);
}

enum ek_hedge_verdict ek_desk_hedge(struct ek_policy *p, struct ek_now now, uint32_t ticket, uint64_t mask,
                                    uint32_t *upstream)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    struct ek_desk_service *s = ek_desk_service_of(p, e);
    const struct ek_desk_upstream *here = &p->upstream[e->upstream];
    *upstream = calmest(p, e, mask);
    struct ek_hedge_sight sight = {
        .asked = p->tier[e->tier].hedge && e->state == ENTRY_RUNNING && !e->lent && !e->tokens && !s->hedged,
        .waited_s = (double)ek_ns_since(now.mono_ns, s->mark.sent_ns) * 1e-9,
        .after_s = ek_desk_hedge_after_s(p, ticket), .there = *upstream < EK_DESK_UPSTREAMS_MAX,
        .load_here = load_of(here), .waiting = p->pool[e->pool].waiting, .credit = p->hedge.credit};
    if (sight.there) sight.load_there = load_of(&p->upstream[*upstream]);
    enum ek_hedge_verdict verdict = ek_hedge_decide(&sight);
    p->stats.hedge[verdict]++;
    if (verdict != EK_HEDGE_GO) return verdict;
    struct ek_desk_upstream *there = &p->upstream[*upstream];
    ek_hedge_spend(&p->hedge);
    ek_learn_sent(&there->learn, now.mono_ns, e->prompt_tokens, &s->second);
    there->inflight++;
    there->kv_tokens += s->kv_tokens;
    p->hedges++;
    s->hedged = true;
    s->hedge = (uint8_t)*upstream;
    return verdict;
}

/* One of the two is over: of the upstream at which it was. */
static void release(struct ek_policy *p, struct ek_now now, uint32_t upstream,
                    const struct ek_learn_mark *mark, uint64_t kv_tokens)
{
    struct ek_desk_upstream *u = &p->upstream[upstream];
    MUST(u->inflight > 0 && u->kv_tokens >= kv_tokens);
    ek_learn_end(&u->learn, now.mono_ns, mark);
    u->inflight--;
    u->kv_tokens -= kv_tokens;
    p->service_changes++;
}

void ek_desk_hedge_drop(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e)
{
    struct ek_desk_service *s = ek_desk_service_of(p, e);
    MUST(s->hedged && p->hedges > 0);
    release(p, now, s->hedge, &s->second, s->kv_tokens);
    s->hedged = false;
    p->hedges--;
}

void ek_desk_hedge_end(struct ek_policy *p, struct ek_now now, uint32_t ticket, bool won)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    struct ek_desk_service *s = ek_desk_service_of(p, e);
    if (!won) {
        ek_desk_hedge_drop(p, now, e);
        return;
    }
    MUST(s->hedged && p->hedges > 0 && !s->mark.first);
    double waited_s = (double)ek_ns_since(now.mono_ns, s->mark.sent_ns) * 1e-9;
    ek_hedge_learn(&p->upstream[e->upstream].firsts, e->prompt_tokens, waited_s, true);
    release(p, now, e->upstream, &s->mark, s->kv_tokens);
    s->mark = s->second;
    uint32_t more = p->loan[ek_desk_index(p, e)].more; /* its further choices are there now, too */
    p->upstream[e->upstream].more -= more;
    p->upstream[s->hedge].more += more;
    e->upstream = s->hedge;
    s->hedged = false;
    p->hedges--;
}
