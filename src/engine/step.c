/* SPDX-License-Identifier: MIT */
/* The plan of a step; see step.h for why it is so. */
#include "engine/step.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

enum { CHUNK_LEAST = 4, CHUNK_UNKNOWN = 32 };
static const double CHUNK_PART = 0.7; /* of a step without prompts: room for what estimates get wrong */

uint32_t ek_step_chunk_rows(double step_s, double row_s, uint32_t most)
{
    double rows = step_s > 0 && row_s > 0 ? CHUNK_PART * step_s / row_s : CHUNK_UNKNOWN;
    if (rows < CHUNK_LEAST) rows = CHUNK_LEAST; /* whoever waits for a first token gets on, too */
    return rows < most ? (uint32_t)rows : most;
}

uint32_t ek_step_plan(const struct ek_step_seq *seqs, size_t n, uint32_t budget, uint32_t *grant)
{
    uint32_t total = 0;
    for (size_t i = 0; i < n; i++) {
        MUST(seqs[i].boundary <= seqs[i].left);
        grant[i] = ek_step_generating(&seqs[i]) ? 1 : 0;
        total += grant[i];
    }
    MUST(total <= budget);
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
