/* SPDX-License-Identifier: MIT */
/* The fast forward pass: one step computes rows of many sequences, prompt chunks and single generated
 * tokens mixed, reading and extending the KV cache.
 *
 * Latent attention has two arithmetics, chosen by the role of a row and by nothing else:
 *   prompt     expanded: keys and values of all heads are formed from the latents
 *   generated  absorbed: the query is taken into the latent space instead
 * Everything else, grouped attention too, is one arithmetic for both. A row's result has the same bits
 * in any batch, at any chunking and with any number of threads (DESIGN, promise 6); tests/golden/ and
 * tests/unit/ hold it.
 *
 * Where the model has a block that looks a token ahead and the KV cache one layer more than the model, a step
 * may be followed by a look: what the block makes of rows of that step, now that the tokens behind them are
 * known. Its KV rows lie beside the others (the last layer) and go with their pages wherever these go. Row t
 * depends on token t + 1: the last row of a page that two texts share was made with what followed in the
 * first of them. Guesses come out of it, never answers, so that may be.
 * Source: DeepSeek-V2 paper (2405.04434) section 2.1 and appendix C; DeepSeek-V3 (2412.19437) section 2.2. */
#ifndef EK_ENGINE_FORWARD_H
#define EK_ENGINE_FORWARD_H

#include "engine/kv.h"
#include "engine/model.h"
#include "engine/team.h"
#include "kernel/kernel.h"

struct ek_forward;

enum { EK_FORWARD_ROWS_MAX = 4096 };

/* Consecutive tokens of one sequence, of one role. seq->tokens must be the position of the first; its
 * pages must reach to the last. */
struct ek_segment {
    struct ek_kv_seq *seq;
    const uint32_t *ids; /* [count] */
    uint32_t count;
    enum ek_role role;
    uint32_t logits_from; /* rows from this index on give logits; count = none */
};

/* All are borrowed and outlive the forward. rows_max and logit_rows_max bound one step and decide the
 * scratch memory. EK_NOMEM when that cannot be had. */
EK_CHECKED enum ek_status ek_forward_new(const struct ek_model *model, const struct ek_kernels *kernels,
                                         struct ek_kv *kv, struct ek_team *team,
                                         enum ek_activation activation, uint32_t rows_max,
                                         uint32_t logit_rows_max, struct ek_forward **out);
void ek_forward_free(struct ek_forward **f);

/* Compute all rows of the segments, of which those with role generated come first; together at most
 * rows_max rows. Afterwards every seq->tokens has grown by its count. Returns the logits, one row of
 * `vocab` for each row that asked, in order; valid until the next run. */
const float *ek_forward_run(struct ek_forward *f, const struct ek_segment *segments, size_t n);

/* The block ahead can be computed: there is one, and a layer of the cache for it. */
bool ek_forward_looks(const struct ek_forward *f);

struct ek_forward_look {
    uint32_t row;  /* of the step before, counted over all its segments */
    uint32_t next; /* the token that follows it */
};

/* After ek_forward_run, whose segments must still be there: KV rows of the block ahead for n rows of that
 * step, and for the first `wanted` of them (at most logit_rows_max) logits of the token behind `next`, one
 * row of `vocab` each, in the place of the step's. Each of these rows then stands one token further, as if
 * the model had computed `next`: looked at again, with the token guessed, it guesses the one after that; its
 * page must reach there. */
const float *ek_forward_look(struct ek_forward *f, const struct ek_forward_look *looks, size_t n,
                             size_t wanted);

/* What ek_forward_new would take, without taking it; the model need only be looked at. */
uint64_t ek_forward_need_bytes(const struct ek_model *model, enum ek_activation activation,
                               uint32_t rows_max, uint32_t logit_rows_max, unsigned threads);
uint64_t ek_forward_scratch_bytes(const struct ek_forward *f);

#endif
