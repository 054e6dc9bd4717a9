/* SPDX-License-Identifier: MIT */
/* Three baselines that keep no line of their own: the engines' queues are the line.
 *
 *   fcfs  every request goes at once to the engine with the fewest, which is what a load balancer in
 *         front of vLLM does; nothing is ever refused
 *   cap   the same, but at most `cap` times all slots are in flight; beyond it 429 without a time
 *   rpm   the same, but each account may start `rpm` requests a minute (fixed windows); beyond it 429
 *         with the rest of the minute as Retry-After */
#include "base/clock.h"
#include "base/must.h"
#include "sim/policy.h"

#include <stdlib.h>

#define MINUTE_NS (60 * EK_S_NS)

struct fcfs {
    struct ek_sim_policy base; /* first */
    struct ek_sim_policy_options o;
    struct ek_list line; /* empty between two events: what arrives is started at once */
    uint32_t inflight[32];
    uint32_t total, total_max;
    uint32_t *starts; /* rpm: of each account in this minute */
    uint64_t minute;
};

static uint32_t least(const struct fcfs *f)
{
    uint32_t best = 0;
    for (uint32_t e = 1; e < f->o.engines; e++)
        if (f->inflight[e] * f->o.slots[best] < f->inflight[best] * f->o.slots[e]) best = e;
    return best;
}

static bool too_many(struct fcfs *f, uint64_t now_ns, const struct ek_sim_request *r,
                     struct ek_action *a)
{
    *a = (struct ek_action){.act = EK_DESK_REFUSE, .id = (uint64_t)(uintptr_t)r,
                            .reason = EK_REASON_QUEUE_FULL, .eta_ms = -1, .eta_p90_ms = -1};
    if (f->total_max && f->total >= f->total_max) return true;
    if (!f->starts) return false;
    uint64_t minute = now_ns / MINUTE_NS;
    for (uint32_t i = 0; minute != f->minute && i < f->o.accounts; i++) f->starts[i] = 0;
    f->minute = minute;
    MUST(r->spec.client < f->o.accounts);
    a->reason = EK_REASON_ACCOUNT_QUEUE_FULL;
    a->retry_after_ms = (uint32_t)((MINUTE_NS - now_ns % MINUTE_NS) / EK_MS_NS) + 1;
    return ++f->starts[r->spec.client] > f->o.rpm;
}

static bool fcfs_arrive(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r,
                        struct ek_action *refusal)
{
    struct fcfs *f = (struct fcfs *)p;
    if (too_many(f, now_ns, r, refusal)) return false;
    ek_list_append(&f->line, &r->link);
    return true;
}

static bool fcfs_next(struct ek_sim_policy *p, uint64_t now_ns, struct ek_action *a)
{
    struct fcfs *f = (struct fcfs *)p;
    struct ek_link *n = ek_list_first(&f->line);
    (void)now_ns;
    if (!n) return false;
    ek_list_remove(&f->line, n);
    uint32_t e = least(f);
    f->inflight[e]++;
    f->total++;
    *a = (struct ek_action){.act = EK_DESK_START, .upstream = e,
                            .id = (uint64_t)(uintptr_t)EK_CONTAINER(n, struct ek_sim_request, link),
                            .thinking_budget_tokens = EK_DESK_THINKING_UNLIMITED};
    return true;
}

static void fcfs_tokens(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r, uint32_t n)
{
    (void)p, (void)now_ns, (void)r, (void)n;
}

static void fcfs_leave(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r)
{
    struct fcfs *f = (struct fcfs *)p;
    (void)now_ns;
    if (r->state == EK_SIM_WAITING) {
        ek_list_remove(&f->line, &r->link);
        return;
    }
    MUST(f->inflight[r->engine] > 0 && f->total > 0);
    f->inflight[r->engine]--;
    f->total--;
}

static void fcfs_free(struct ek_sim_policy *p)
{
    free(((struct fcfs *)p)->starts);
    free(p);
}

static struct fcfs *make(const char *name, const struct ek_sim_policy_options *o)
{
    struct fcfs *f = calloc(1, sizeof *f);
    MUST(f);
    f->o = *o;
    f->base = (struct ek_sim_policy){.name = name, .arrive = fcfs_arrive, .next = fcfs_next,
                                     .tokens = fcfs_tokens, .finished = fcfs_leave,
                                     .gone = fcfs_leave, .free = fcfs_free};
    ek_list_init(&f->line);
    return f;
}

struct ek_sim_policy *ek_sim_policy_fcfs(const struct ek_sim_policy_options *o)
{
    return &make("fcfs", o)->base;
}

struct ek_sim_policy *ek_sim_policy_cap(const struct ek_sim_policy_options *o)
{
    struct fcfs *f = make("cap", o);
    double slots = 0;
    for (uint32_t e = 0; e < o->engines; e++) slots += o->slots[e];
    f->total_max = (uint32_t)(slots * o->cap);
    MUST(f->total_max > 0);
    return &f->base;
}

struct ek_sim_policy *ek_sim_policy_rpm(const struct ek_sim_policy_options *o)
{
    struct fcfs *f = make("rpm", o);
    f->starts = calloc(o->accounts, sizeof *f->starts);
    MUST(f->starts);
    return &f->base;
}
