/* SPDX-License-Identifier: MIT */
/* What to compute in the next step: pure policy, no memory, no clock.
 *
 * Sequences that generate go first, one row each, so that nobody who reads is held up by somebody
 * else's long prompt; what is left of the budget goes to prompts (and replayed prefixes) in the order
 * of arrival, each as one chunk. So a prompt of any length delays a token by at most one budget, and the
 * budget beside those who generate is a matter of time (ek_step_chunk_rows). */
#ifndef EK_ENGINE_STEP_H
#define EK_ENGINE_STEP_H

#include "base/must.h"

#include <stdbool.h>
#include <stddef.h>

struct ek_step_seq {
    uint32_t left;     /* tokens known but not yet computed; 0: nothing to do */
    uint32_t boundary; /* of them, this many belong to the prompt; a chunk never crosses it */
    uint64_t arrival;  /* smaller came first; distinct */
};

/* A generating sequence has exactly its newest token left to compute. */
static inline bool ek_step_generating(const struct ek_step_seq *s)
{
    return s->left == 1 && s->boundary == 0;
}

/* How many rows of prompts, at most `most`, go into a step beside those who generate: as many as lengthen it
 * by less than once over, so that who reads never waits for more than two steps' time, whatever arrives.
 * step_s: what a step takes without them, row_s: what each of them adds; seconds, 0: not known yet. */
uint32_t ek_step_chunk_rows(double step_s, double row_s, uint32_t most);

/* grant[i] = rows of sequence i in this step, in total at most `budget`, which is at least the number of
 * generating sequences: each gets its row. Returns the total; 0 only when nothing is left anywhere. */
uint32_t ek_step_plan(const struct ek_step_seq *seqs, size_t n, uint32_t budget, uint32_t *grant);

#endif
