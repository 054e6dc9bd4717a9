/* SPDX-License-Identifier: MIT */
/* Looking at the desk: counts, statistics, and every invariant. Changes nothing. */
#include "policy/desk_state.h"

#include "base/must.h"

struct ek_desk_counts ek_desk_counts(const struct ek_policy *p)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    struct ek_desk_counts c = p->counts;
    c.slots = 0;
    for (uint32_t u = 0; u < EK_DESK_UPSTREAMS_MAX; u++)
        c.slots += ek_desk_upstream_slots(&p->upstream[u]);
    return c;
}

void ek_desk_stats(const struct ek_policy *p, struct ek_desk_stats *out)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    *out = p->stats;
    out->local = p->order.local;
    out->drain_nano_per_s = p->pools ? ek_pace_rate(&p->pool[0].pace, ek_desk_pool_slots(p, &p->pool[0])) : 0;
    for (uint32_t t = 0; t < EK_DESK_TIERS_MAX; t++)
        out->thinking_percent[t] = t < p->tiers ? ek_desk_percent(p, t) : 100;
}

uint64_t ek_desk_repeat(const struct ek_policy *p, uint64_t repeat)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(repeat != 0);
    uint32_t at = ek_index_find(&p->repeats, repeat);
    if (at == EK_INDEX_NONE) return 0;
    MUST(p->entry[at].repeat == repeat);
    return p->entry[at].id; /* it waits, or its place is kept */
}

uint64_t ek_desk_holder(const struct ek_policy *p, uint32_t ticket)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    uint32_t index = ticket & ((1u << EK_DESK_INDEX_BITS) - 1);
    if (index >= p->made || p->entry[index].state == ENTRY_FREE) return 0;
    return ek_desk_ticket(p, &p->entry[index]) == ticket ? p->entry[index].id : 0;
}

uint32_t ek_desk_waiting_of_tier(const struct ek_policy *p, uint32_t tier)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(tier < EK_DESK_TIERS_MAX);
    return p->tier_waiting[tier];
}

void ek_desk_save_learned(const struct ek_policy *p, uint64_t seed, struct ek_buf *out)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    ek_predict_save(&p->predict, seed, out);
}

bool ek_desk_load_learned(struct ek_policy *p, const void *bytes, size_t len, uint64_t *seed,
                          const char **why)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(p->counts.arrived == 0);
    return ek_predict_load(&p->predict, ek_str_make(bytes, len), seed, why);
}

void ek_desk_check(const struct ek_policy *p)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    size_t waiting = 0;
    uint32_t inflight = 0, in_order = 0;
    const struct ek_list *in_line[] = {&p->fresh, &p->waiting};
    for (uint32_t l = 0; l < EK_COUNT(in_line); l++) {
        for (struct ek_link *n = ek_list_first(in_line[l]); n; n = ek_list_next(in_line[l], n)) {
            const struct ek_desk_entry *e = EK_CONTAINER(n, struct ek_desk_entry, link);
            MUST(e->state == ENTRY_WAITING && ek_tree_has(&e->item.node));
            MUST(e->fresh == (in_line[l] == &p->fresh));
            MUST(e->timed == ek_heap_has(&p->deadline[ek_desk_index(p, e)]));
            waiting++;
        }
    }
    for (uint32_t t = 0; t < EK_DESK_TIERS_MAX; t++) {
        uint32_t of_tier = 0;
        for (uint32_t i = 0; i < p->pools; i++) of_tier += p->order.class[i][t].waiting;
        MUST(of_tier == p->tier_waiting[t]);
        in_order += of_tier;
    }
    MUST(waiting == p->counts.waiting && in_order == waiting);
    MUST(p->running.count + p->stopping.count == p->counts.running);
    for (struct ek_link *n = ek_list_first(&p->absent); n; n = ek_list_next(&p->absent, n)) {
        const struct ek_desk_entry *e = EK_CONTAINER(n, struct ek_desk_entry, link);
        MUST(e->state == ENTRY_ABSENT && !ek_tree_has(&e->item.node));
        MUST(e->timed && ek_heap_has(&p->deadline[ek_desk_index(p, e)]));
    }
    MUST(p->absent.count == p->counts.absent);
    MUST(p->free.count + waiting + p->counts.absent + p->counts.running == p->made);
    MUST(p->made <= p->entries);
    MUST(p->accounts.used <= waiting + p->counts.absent + p->counts.running);
    for (uint32_t u = 0; u < EK_DESK_UPSTREAMS_MAX; u++) inflight += p->upstream[u].inflight;
    MUST(inflight == p->counts.running + p->hedges);
    for (uint32_t u = 0; u < EK_DESK_UPSTREAMS_MAX; u++)
        MUST(p->upstream[u].inflight > 0 || p->upstream[u].more == 0);
    MUST(p->counts.arrived == p->counts.refused + p->counts.finished + p->counts.gone +
                                  p->counts.waiting + p->counts.absent + p->counts.running);
    ek_order_check(&p->order);
}
