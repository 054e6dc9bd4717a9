/* SPDX-License-Identifier: MIT */
/* Admission: how many an upstream may have at once, which one takes a request, and whether a deadline can be
 * met at all. Slots and KV are the upstream's own word where it reports them, else what is learned of it
 * (learn.h). What happens to a request in service is told to the learning from here; all else is the
 * business of the other files. */
#include "policy/desk_state.h"

#include "base/must.h"

#include <math.h>

#define FIRST_TOKENS_MAX 16u   /* told at once: more says nothing of the time of the first one */
#define KV_REFUSED_PART 0.95   /* it said that it is full: so much of what it held is tried next ... */
#define KV_REGAIN 1.002        /* ... and a little more with every request that ends */

struct ek_desk_service *ek_desk_service_of(const struct ek_policy *p, const struct ek_desk_entry *e)
{
    MUST(e->service < p->services_made);
    return &p->service[e->service];
}

/* ---- room ------------------------------------------------------------------------------------------ */

static uint32_t capacity_of(const struct ek_desk_upstream *u)
{
    return u->load.learn ? ek_learn_limit(&u->learn) : u->load.slots + 1;
}

/* Of that what is ours. */
static uint32_t most_of(const struct ek_desk_upstream *u)
{
    uint32_t all = capacity_of(u);
    if (!u->share.shared) return all;
    uint32_t left = all > u->share.elsewhere ? all - u->share.elsewhere : 0;
    return left < u->share.at_most ? left : u->share.at_most;
}

uint32_t ek_desk_upstream_slots(const struct ek_desk_upstream *u)
{
    if (!u->load.up || u->lender.lent) return 0; /* lenders have a file of their own */
    uint32_t most = most_of(u);
    if (u->load.learn || u->learn.target_s > 0) {
        double knee = ek_learn_knee(&u->learn) + 1;
        if (knee < most) most = (uint32_t)knee;
    }
    return most;
}

uint32_t ek_desk_upstream_room(const struct ek_desk_upstream *u)
{
    if (!u->load.up || u->lender.lent) return 0;
    uint32_t most = most_of(u);
    /* One of several choices goes where there is a slot for its first; the others fill what there is, and
     * what comes then. Waiting for so many free slots at once would let all others go before it. */
    uint32_t taken = u->inflight + u->more;
    uint32_t room = most > taken ? most - taken : 0;
    if (room == 0 || (!u->load.learn && u->learn.target_s <= 0)) return room;
    /* Not what decodes now, but what will when a prompt sent now has been read: else all that is being read
     * comes on top, and the load swings (Mooncake, "early rejection with prediction"). */
    double then = ek_learn_decoding_then(&u->learn, 0);
    double knee = ek_learn_knee(&u->learn);
    if (u->inflight == 0 || then + room <= knee) return room;
    return then + 1 <= knee ? (uint32_t)(knee - then) : 0;
}

/* Tokens of context it will hold, as far as is foreseen. */
static uint64_t context_of(const struct ek_desk_entry *e)
{
    uint32_t output = e->tokens > e->output_tokens ? e->tokens : e->output_tokens;
    return (uint64_t)e->prompt_tokens + output;
}

bool ek_desk_kv_fits(const struct ek_desk_upstream *u, const struct ek_desk_entry *e)
{
    uint64_t most = u->load.kv_total_tokens;
    if (u->kv_learned > 0 && (most == 0 || u->kv_learned < (double)most)) most = (uint64_t)u->kv_learned;
    return most == 0 || u->inflight == 0 || u->kv_tokens + context_of(e) <= most;
}

/* ---- what becomes of a request ------------------------------------------------------------------------ */

static uint32_t take_service(struct ek_policy *p)
{
    if (!p->service_free) {
        MUST(p->services_made < EK_DESK_RUNNING_MAX);
        return p->services_made++;
    }
    uint32_t number = p->service_free - 1;
    p->service_free = p->service[number].next_free;
    return number;
}

void ek_desk_service_begin(struct ek_policy *p, struct ek_now now, struct ek_desk_entry *e,
                           uint32_t cached_tokens)
{
    struct ek_desk_upstream *u = &p->upstream[e->upstream];
    e->service = take_service(p);
    struct ek_desk_service *s = ek_desk_service_of(p, e);
    uint32_t cached = cached_tokens < e->prompt_tokens ? cached_tokens : e->prompt_tokens;
    ek_learn_sent(&u->learn, now.mono_ns, e->prompt_tokens - cached, &s->mark);
    s->kv_tokens = context_of(e);
    s->lent = (struct ek_desk_lent){.tokens = 0};
    s->shown_kind = EK_DESK_NOT_SHOWN;
    s->waited = s->hedged = false;
    s->tokens = 0;
    s->life_at = 0;
    p->service_changes++;
    u->kv_tokens += s->kv_tokens;
}

void ek_desk_service_tokens(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e,
                            uint32_t tokens)
{
    struct ek_desk_upstream *u = &p->upstream[e->upstream];
    struct ek_desk_service *s = ek_desk_service_of(p, e);
    bool first = !s->mark.first;
    if (first && (tokens == 0 || tokens > FIRST_TOKENS_MAX)) return; /* see ek_desk_tokens */
    if (first) {
        double first_s = (double)ek_ns_since(now.mono_ns, s->mark.sent_ns) * 1e-9;
        ek_hedge_learn(&u->firsts, e->prompt_tokens, first_s, false);
        ek_learn_first(&u->learn, now.mono_ns, &s->mark);
    }
    ek_learn_tokens(&u->learn, now.mono_ns, first ? tokens - 1 : tokens);
}

void ek_desk_service_end(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e)
{
    struct ek_desk_upstream *u = &p->upstream[e->upstream];
    struct ek_desk_service *s = ek_desk_service_of(p, e);
    if (e->lent) ek_desk_lent_end(p, now, e);
    if (s->hedged) ek_desk_hedge_drop(p, now, e);
    MUST(u->kv_tokens >= s->kv_tokens);
    u->kv_tokens -= s->kv_tokens;
    ek_learn_end(&u->learn, now.mono_ns, &s->mark);
    p->service_changes++;
    for (uint32_t i = 0; i < p->pools && !e->lent; i++)
        p->pool[i].ends += p->pool[i].mask >> e->upstream & 1;
    u->kv_learned *= KV_REGAIN;
    s->next_free = p->service_free;
    p->service_free = e->service + 1;
}

void ek_desk_full(struct ek_policy *p, struct ek_now now, uint32_t ticket)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_RUNNING || e->state == ENTRY_STOPPING);
    struct ek_desk_upstream *u = &p->upstream[e->upstream];
    ek_learn_full(&u->learn, now.mono_ns);
    uint64_t others = u->kv_tokens - ek_desk_service_of(p, e)->kv_tokens;
    if (others > 0) u->kv_learned = KV_REFUSED_PART * (double)u->kv_tokens;
    p->stats.full++;
    p->round_ns = 0; /* estimates changed */
}

/* ---- deadlines ----------------------------------------------------------------------------------------- */

double ek_desk_first_token_s(const struct ek_policy *p, uint32_t pool, uint32_t prompt_tokens)
{
    double best_s = HUGE_VAL;
    for (uint64_t m = p->pool[pool].mask & ~p->lent_mask; m; m &= m - 1) {
        const struct ek_desk_upstream *u = &p->upstream[__builtin_ctzll(m)];
        if (!u->load.up) continue;
        best_s = fmin(best_s, ek_learn_ttft_s(&u->learn, prompt_tokens));
    }
    return best_s < HUGE_VAL ? best_s : 0;
}

bool ek_desk_too_late(const struct ek_policy *p, const struct ek_desk_entry *e, uint32_t upstream,
                      uint32_t cached_tokens, uint64_t now_ns)
{
    MUST(upstream < EK_DESK_UPSTREAMS_MAX);
    if (!e->hurried || !e->timed) return false;
    uint32_t fresh = e->prompt_tokens > cached_tokens ? e->prompt_tokens - cached_tokens : 0;
    double ttft_s = ek_learn_ttft_s(&p->upstream[upstream].learn, fresh);
    return now_ns + (uint64_t)(ttft_s * 1e9) > p->deadline[ek_desk_index(p, e)].key;
}

/* ---- looking ------------------------------------------------------------------------------------------- */

void ek_desk_upstream_stats(const struct ek_policy *p, uint32_t index, struct ek_desk_upstream_stats *out)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(index < EK_DESK_UPSTREAMS_MAX);
    const struct ek_desk_upstream *u = &p->upstream[index];
    const struct ek_learn *l = &u->learn;
    double knee = ek_learn_knee(l);
    *out = (struct ek_desk_upstream_stats){
        .slots = ek_desk_upstream_slots(u), .capacity = u->load.up ? capacity_of(u) : 0,
        .inflight = u->inflight, .decoding = l->decoding,
        .knee = knee < EK_LEARN_LIMIT_MAX ? knee : 0, .queue = l->queue, .fixed_s = l->fixed_s,
        .prompt_token_s = l->per_token_s, .token_s = ek_learn_token_s(l, l->decoding),
        .kv_tokens = u->kv_tokens, .kv_learned_tokens = (uint64_t)u->kv_learned};
}
