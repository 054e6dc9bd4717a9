/* SPDX-License-Identifier: MIT */
/* The baseline that llm-d's flow control describes: strict bands (here: tiers by weight), inside a band
 * round robin over accounts by request, a gate while the engines are full, and 503 for what has waited
 * longer than a time to live. */
#include "base/clock.h"
#include "base/must.h"
#include "sim/baseline_line.h"

#include <stdlib.h>

struct bands {
    struct ek_sim_policy base; /* first */
    struct ek_sim_lines lines;
    struct ek_list round[EK_DESK_TIERS_MAX]; /* accounts that wait, the next one first */
    uint32_t order[EK_DESK_TIERS_MAX];       /* tiers, the heaviest first */
};

static uint32_t account_of(const struct bands *b, const struct ek_link *n)
{
    const struct ek_sim_line *l = EK_CONTAINER(n, struct ek_sim_line, round);
    return (uint32_t)(l - b->lines.line);
}

/* An account stands in its band's round exactly while it has somebody waiting. */
static void settle_round(struct bands *b, uint32_t account, bool turn_taken)
{
    struct ek_sim_line *l = &b->lines.line[account];
    struct ek_list *round = &b->round[b->lines.o.tier_of[account]];
    bool in = ek_link_linked(&l->round);
    if (in && (turn_taken || l->list.count == 0)) {
        ek_list_remove(round, &l->round);
        in = false;
    }
    if (!in && l->list.count > 0) ek_list_append(round, &l->round);
}

static bool bands_arrive(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r,
                         struct ek_action *refusal)
{
    struct bands *b = (struct bands *)p;
    (void)now_ns, (void)refusal;
    ek_list_append(&b->lines.line[r->spec.client].list, &r->link);
    b->lines.waiting++;
    settle_round(b, r->spec.client, false);
    return true;
}

/* Lines are in order of arrival, so only their heads can be too old. */
static bool expire(struct bands *b, uint64_t now_ns, struct ek_action *a)
{
    uint64_t ttl_ns = (uint64_t)(b->lines.o.ttl_s * 1e9);
    for (uint32_t t = 0; t < b->lines.o.tiers; t++) {
        EK_LIST_EACH(&b->round[t], n) {
            uint32_t account = account_of(b, n);
            struct ek_link *first = ek_list_first(&b->lines.line[account].list);
            struct ek_sim_request *r = EK_CONTAINER(first, struct ek_sim_request, link);
            if (now_ns < r->arrived_ns + ttl_ns) continue;
            ek_sim_lines_leave(&b->lines, r);
            settle_round(b, account, false);
            *a = (struct ek_action){.act = EK_DESK_REFUSE, .id = (uint64_t)(uintptr_t)r,
                                    .reason = EK_REASON_DEADLINE, .eta_ms = -1, .eta_p90_ms = -1};
            return true;
        }
    }
    return false;
}

static bool bands_next(struct ek_sim_policy *p, uint64_t now_ns, struct ek_action *a)
{
    struct bands *b = (struct bands *)p;
    if (b->lines.waiting == 0) return false;
    if (expire(b, now_ns, a)) return true;
    uint32_t engine = ek_sim_lines_room(&b->lines);
    if (engine == b->lines.o.engines) return false;
    for (uint32_t i = 0; i < b->lines.o.tiers; i++) {
        struct ek_link *n = ek_list_first(&b->round[b->order[i]]);
        if (!n) continue;
        uint32_t account = account_of(b, n);
        ek_sim_lines_start(&b->lines, account, engine, a);
        settle_round(b, account, true);
        return true;
    }
    return false;
}

static uint64_t bands_wake_ns(struct ek_sim_policy *p)
{
    struct bands *b = (struct bands *)p;
    uint64_t ttl_ns = (uint64_t)(b->lines.o.ttl_s * 1e9);
    uint64_t first_ns = UINT64_MAX;
    for (uint32_t t = 0; t < b->lines.o.tiers; t++) {
        EK_LIST_EACH(&b->round[t], n) {
            struct ek_link *first = ek_list_first(&b->lines.line[account_of(b, n)].list);
            const struct ek_sim_request *r = EK_CONTAINER(first, struct ek_sim_request, link);
            if (r->arrived_ns + ttl_ns < first_ns) first_ns = r->arrived_ns + ttl_ns;
        }
    }
    return first_ns;
}

static void bands_tokens(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r, uint32_t n)
{
    (void)p, (void)now_ns, (void)r, (void)n;
}

static void bands_leave(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r)
{
    struct bands *b = (struct bands *)p;
    (void)now_ns;
    bool waited = r->state == EK_SIM_WAITING;
    ek_sim_lines_leave(&b->lines, r);
    if (waited) settle_round(b, r->spec.client, false);
}

static void bands_free(struct ek_sim_policy *p)
{
    free(((struct bands *)p)->lines.line);
    free(p);
}

struct ek_sim_policy *ek_sim_policy_bands(const struct ek_sim_policy_options *o)
{
    struct bands *b = calloc(1, sizeof *b);
    MUST(b && o->ttl_s > 0);
    ek_sim_lines_init(&b->lines, o);
    for (uint32_t t = 0; t < o->tiers; t++) {
        ek_list_init(&b->round[t]);
        uint32_t at = t;
        while (at > 0 && o->tier[b->order[at - 1]].weight < o->tier[t].weight) {
            b->order[at] = b->order[at - 1];
            at--;
        }
        b->order[at] = t;
    }
    b->base = (struct ek_sim_policy){.name = "bands", .arrive = bands_arrive, .next = bands_next,
                                     .wake_ns = bands_wake_ns, .tokens = bands_tokens,
                                     .finished = bands_leave, .gone = bands_leave,
                                     .free = bands_free};
    return &b->base;
}
