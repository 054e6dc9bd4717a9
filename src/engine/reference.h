/* SPDX-License-Identifier: MIT */
/* The forward pass of a model, written to be read: one sequence, every position from the
 * beginning, no cache, no batches, no threads, no vectors. It is the mathematics the fast path must
 * reproduce, and the fast path's tests compare with it. Far too slow to serve anybody. */
#ifndef EK_ENGINE_REFERENCE_H
#define EK_ENGINE_REFERENCE_H

#include "engine/model.h"

/* ids     [T] token ids below the vocabulary's size
 * logits  [T][vocab]: row t is the distribution of the token after ids[t]
 * Keys and values are formed in full ("naive" MLA), all in f32. Aborts when out of memory. */
void ek_reference_forward(const struct ek_model *m, const uint32_t *ids, size_t T, float *logits);

/* The same for the block that looks ahead (struct ek_ahead), which must be there: T - 1 rows, row t the
 * distribution of the token after ids[t + 1]. */
void ek_reference_ahead(const struct ek_model *m, const uint32_t *ids, size_t T, float *logits);

#endif
