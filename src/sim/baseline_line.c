/* SPDX-License-Identifier: MIT */
/* Lines of accounts, for the baselines. */
#include "sim/baseline_line.h"

#include "base/must.h"

#include <stdlib.h>

void ek_sim_lines_init(struct ek_sim_lines *l, const struct ek_sim_policy_options *o)
{
    l->o = *o;
    l->line = calloc(o->accounts, sizeof *l->line);
    MUST(l->line);
    for (uint32_t i = 0; i < o->accounts; i++) ek_list_init(&l->line[i].list);
}

uint32_t ek_sim_lines_room(const struct ek_sim_lines *l)
{
    uint32_t best = l->o.engines;
    uint32_t best_room = 0;
    for (uint32_t e = 0; e < l->o.engines; e++) {
        uint32_t room = l->o.slots[e] > l->inflight[e] ? l->o.slots[e] - l->inflight[e] : 0;
        if (room <= best_room) continue;
        best = e;
        best_room = room;
    }
    return best;
}

void ek_sim_lines_start(struct ek_sim_lines *l, uint32_t account, uint32_t engine, struct ek_action *a)
{
    MUST(account < l->o.accounts && engine < l->o.engines && l->waiting > 0);
    struct ek_list *list = &l->line[account].list;
    struct ek_link *n = ek_list_first(list);
    MUST(n);
    ek_list_remove(list, n);
    l->waiting--;
    l->inflight[engine]++;
    *a = (struct ek_action){.act = EK_DESK_START, .upstream = engine,
                            .id = (uint64_t)(uintptr_t)EK_CONTAINER(n, struct ek_sim_request, link),
                            .thinking_budget_tokens = EK_DESK_THINKING_UNLIMITED};
}

void ek_sim_lines_leave(struct ek_sim_lines *l, struct ek_sim_request *r)
{
    if (r->state == EK_SIM_WAITING) {
        ek_list_remove(&l->line[r->spec.client].list, &r->link);
        l->waiting--;
        return;
    }
    MUST(l->inflight[r->engine] > 0);
    l->inflight[r->engine]--;
}
