/* SPDX-License-Identifier: MIT */
/* Runs token sequences through the fast forward pass under every kind of cutting, for tests. */
#ifndef EK_TESTS_RUNNER_H
#define EK_TESTS_RUNNER_H

#include "cm.h"

#include "engine/forward.h"

#include <stdlib.h>
#include <string.h>

struct runner {
    struct ek_model *model;
    const struct ek_kernels *kernels;
    struct ek_kv *kv;
    struct ek_team *team;
    struct ek_forward *forward;
    uint32_t rows_max;
};

/* The model stays the caller's. */
static inline struct runner runner_new(struct ek_model *model, const char *isa, enum ek_kv_type kv_type,
                                       enum ek_activation activation, unsigned threads,
                                       uint32_t rows_max, uint64_t kv_tokens)
{
    struct runner r = {.model = model, .kernels = ek_kernels_select(isa), .rows_max = rows_max};
    const struct ek_shape *s = &model->shape;
    assert_non_null(r.kernels);
    assert_int_equal(ek_kv_new(s->layers, ek_shape_kv_elems(s), kv_type, kv_tokens, &r.kv), EK_OK);
    r.team = ek_team_new(threads);
    assert_int_equal(ek_forward_new(model, r.kernels, r.kv, r.team, activation, rows_max, rows_max,
                                    &r.forward),
                     EK_OK);
    return r;
}

static inline void runner_free(struct runner *r)
{
    ek_forward_free(&r->forward);
    ek_team_free(&r->team);
    ek_kv_free(&r->kv);
}

/* Logits [tokens][vocab] of a whole sequence: the first prompt_tokens with role prompt in chunks of
 * prompt_chunk, the others with role generated in chunks of decode_chunk. */
static inline float *runner_logits(struct runner *r, const uint32_t *ids, size_t prompt_tokens,
                                   size_t tokens, size_t prompt_chunk, size_t decode_chunk)
{
    size_t vocab = r->model->shape.vocab;
    float *out = malloc(tokens * vocab * sizeof *out);
    struct ek_kv_seq seq = {0};
    assert_non_null(out);
    assert_int_equal(ek_kv_begin(r->kv, &seq, NULL, (uint32_t)tokens, 0), EK_OK);
    for (size_t at = 0; at < tokens;) {
        bool prompt = at < prompt_tokens;
        size_t left = (prompt ? prompt_tokens : tokens) - at;
        size_t chunk = prompt ? prompt_chunk : decode_chunk;
        struct ek_segment seg = {
            .seq = &seq, .ids = ids + at, .count = (uint32_t)(left < chunk ? left : chunk),
            .role = prompt ? EK_ROLE_PROMPT : EK_ROLE_GENERATED,
        };
        const float *logits = ek_forward_run(r->forward, &seg, 1);
        memcpy(out + at * vocab, logits, seg.count * vocab * sizeof *out);
        at += seg.count;
    }
    assert_int_equal(seq.tokens, tokens);
    ek_kv_release(r->kv, &seq);
    return out;
}

#endif
