/* SPDX-License-Identifier: MIT */
/* How long will the answer be? Nobody can tell from a prompt, but what the same account got from the same
 * model at the same effort for prompts of the same size says much. Quantiles from histograms with 32
 * buckets of ratio sqrt 2, one for each of
 *
 *   (account, model, effort, size of prompt)  →  (account, model, effort)  →  (model, effort, size)
 *   →  (model)  →  everything
 *
 * The first in this row that has seen enough answers. A histogram forgets by halving. All live in one table
 * of fixed size; where it is full the longest untouched of a few neighbours makes room, so an account that
 * never comes back costs nothing for ever. Pure; owns its array. */
#ifndef EK_POLICY_PREDICT_H
#define EK_POLICY_PREDICT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define EK_PREDICT_BUCKETS 32

struct ek_predict_cell {
    uint64_t key; /* 0: empty */
    uint32_t touched;
    uint32_t total;
    double sum;
    uint16_t bucket[EK_PREDICT_BUCKETS];
};

struct ek_predict {
    struct ek_predict_cell *cell;
    uint32_t mask;
    uint32_t time; /* counts what was learned */
};

struct ek_predict_key {
    uint64_t account;
    uint64_t model;
    uint32_t effort;
    uint32_t prompt_tokens;
};

struct ek_prediction {
    bool known;
    double mean;
    uint32_t p50, p90; /* tokens, >= 1 */
};

/* cells: a power of two. false: no memory. */
bool ek_predict_init(struct ek_predict *p, uint32_t cells);
void ek_predict_free(struct ek_predict *p);
/* An answer of so many tokens, of which `thought` thinking. */
void ek_predict_learn(struct ek_predict *p, const struct ek_predict_key *k, uint32_t output,
                      uint32_t thought);
struct ek_prediction ek_predict_output(const struct ek_predict *p, const struct ek_predict_key *k);
/* Of the thinking alone, by (model, effort), else by model. */
struct ek_prediction ek_predict_thought(const struct ek_predict *p, const struct ek_predict_key *k);

/* ---- across restarts (predict_save.c) ---- */

/* Everything learned, at the end of `out`; out->failed when it does not fit (about 88 bytes a histogram). */
void ek_predict_save(const struct ek_predict *p, uint64_t seed, struct ek_buf *out);
/* False, *why half a sentence, and nothing changed, when the bytes are damaged or something else. */
bool ek_predict_load(struct ek_predict *p, struct ek_str bytes, uint64_t *seed, const char **why);
/* One histogram into its place, which the longest untouched of its neighbours leaves. */
void ek_predict_put(struct ek_predict *p, const struct ek_predict_cell *c);

#endif
