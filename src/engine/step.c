/* SPDX-License-Identifier: MIT */
/* The plan of a step; see step.h for why it is so. */
#include "engine/step.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* A generating sequence has exactly its newest token left to compute. */
static bool generating(const struct ek_step_seq *s) { return s->left == 1 && s->boundary == 0; }

uint32_t ek_step_plan(const struct ek_step_seq *seqs, size_t n, uint32_t budget, uint32_t *grant)
{
    uint32_t total = 0;
    MUST(budget >= n);
    for (size_t i = 0; i < n; i++) {
        MUST(seqs[i].boundary <= seqs[i].left);
        grant[i] = generating(&seqs[i]) ? 1 : 0;
        total += grant[i];
    }
    while (total < budget) {
        size_t next = n; /* the earliest that still waits for rows */
        for (size_t i = 0; i < n; i++) {
            if (seqs[i].left == 0 || grant[i] > 0) continue;
            if (next == n || seqs[i].arrival < seqs[next].arrival) next = i;
        }
        if (next == n) break;
        uint32_t chunk = seqs[next].boundary ? seqs[next].boundary : seqs[next].left;
        grant[next] = least(chunk, budget - total);
        total += grant[next];
    }
    return total;
}
