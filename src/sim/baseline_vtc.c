/* SPDX-License-Identifier: MIT */
/* The baseline VTC (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): a virtual
 * counter of tokens per account; the waiting account with the least counter goes next; prompt tokens
 * are charged when it starts, output tokens as they come (weights 1 and 2, the paper's); an account that
 * begins to wait is lifted to the least counter of those who wait, so that idling earns nothing. Every
 * account has the same weight: VTC knows no tiers. */
#include "base/must.h"
#include "sim/baseline_line.h"

#include <math.h>
#include <stdlib.h>

#define PROMPT_WEIGHT 1.0
#define OUTPUT_WEIGHT 2.0

struct vtc {
    struct ek_sim_policy base; /* first */
    struct ek_sim_lines lines;
};

/* The waiting account with the least counter; o.accounts: nobody waits. */
static uint32_t least(const struct vtc *v)
{
    uint32_t best = v->lines.o.accounts;
    for (uint32_t i = 0; i < v->lines.o.accounts; i++) {
        if (v->lines.line[i].list.count == 0) continue;
        if (best == v->lines.o.accounts || v->lines.line[i].counter < v->lines.line[best].counter)
            best = i;
    }
    return best;
}

static bool vtc_arrive(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r,
                       struct ek_action *refusal)
{
    struct vtc *v = (struct vtc *)p;
    struct ek_sim_line *l = &v->lines.line[r->spec.client];
    (void)now_ns, (void)refusal;
    if (l->list.count == 0) {
        uint32_t other = least(v);
        if (other != v->lines.o.accounts) l->counter = fmax(l->counter, v->lines.line[other].counter);
    }
    ek_list_append(&l->list, &r->link);
    v->lines.waiting++;
    return true;
}

static bool vtc_next(struct ek_sim_policy *p, uint64_t now_ns, struct ek_action *a)
{
    struct vtc *v = (struct vtc *)p;
    (void)now_ns;
    if (v->lines.waiting == 0) return false;
    uint32_t engine = ek_sim_lines_room(&v->lines);
    if (engine == v->lines.o.engines) return false;
    uint32_t account = least(v);
    ek_sim_lines_start(&v->lines, account, engine, a);
    const struct ek_sim_request *r = (const struct ek_sim_request *)(uintptr_t)a->id;
    v->lines.line[account].counter += PROMPT_WEIGHT * r->spec.prompt_tokens;
    return true;
}

static void vtc_tokens(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r, uint32_t n)
{
    struct vtc *v = (struct vtc *)p;
    (void)now_ns;
    v->lines.line[r->spec.client].counter += OUTPUT_WEIGHT * n;
}

static void vtc_leave(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r)
{
    (void)now_ns;
    ek_sim_lines_leave(&((struct vtc *)p)->lines, r);
}

static void vtc_free(struct ek_sim_policy *p)
{
    free(((struct vtc *)p)->lines.line);
    free(p);
}

struct ek_sim_policy *ek_sim_policy_vtc(const struct ek_sim_policy_options *o)
{
    struct vtc *v = calloc(1, sizeof *v);
    MUST(v);
    ek_sim_lines_init(&v->lines, o);
    v->base = (struct ek_sim_policy){.name = "vtc", .arrive = vtc_arrive, .next = vtc_next,
                                     .tokens = vtc_tokens, .finished = vtc_leave,
                                     .gone = vtc_leave, .free = vtc_free};
    return &v->base;
}
