/* SPDX-License-Identifier: MIT */
/* From a row of logits to one token. Pure: the same logits, parameters, history and token index give
 * the same token on every machine that computes the same logits, whatever else is in the batch. The
 * noise is a function of (seed, token index) only, so a generation that is resumed with its exact
 * prefix goes on as if it had never stopped.
 *
 * Order of work: penalties -> bias -> what may not come becomes impossible -> temperature 0: argmax | top_k
 * -> softmax at the temperature -> top_p -> min_p -> one draw. Ties always go to the lowest token id. A NaN
 * logit can never be chosen; if no logit is finite the sampler says so and the job fails. */
#ifndef EK_ENGINE_SAMPLER_H
#define EK_ENGINE_SAMPLER_H

#include "base/must.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    EK_TOP_LOGPROBS_MAX = 20,
};

/* Use ek_sampling_greedy() or ek_sampling_default() and change what the caller asked for. */
struct ek_sampling {
    float temperature;        /* >= 0; 0 is greedy */
    float top_p;              /* (0, 1]; 1 is off */
    float min_p;              /* [0, 1]; 0 is off: keep p >= min_p * p of the likeliest */
    uint32_t top_k;           /* 0 is off */
    float repetition_penalty; /* > 0; 1 is off: over prompt and generated tokens, logit divided by it
                               * when positive, multiplied when negative (Keskar et al. 2019) */
    float presence_penalty;   /* 0 is off: subtracted once if the token was generated before */
    float frequency_penalty;  /* 0 is off: subtracted once for each time it was generated */
    uint64_t seed;
};

struct ek_sampling ek_sampling_default(void); /* temperature 1, nothing else, seed 0 */
struct ek_sampling ek_sampling_greedy(void);

/* NULL when the parameters are within the ranges above; else a sentence naming the one that is not.
 * NaN is outside of every range. */
const char *ek_sampling_problem(const struct ek_sampling *s);

struct ek_token_logprob {
    uint32_t id;
    float logprob; /* natural; of the model's own distribution: temperature 1, before penalties */
};

struct ek_sample {
    uint32_t id;
    float logprob;                                   /* of id, as above */
    uint32_t top_count;                              /* = top_wanted, or vocab if that is smaller */
    struct ek_token_logprob top[EK_TOP_LOGPROBS_MAX]; /* likeliest first, ties by lowest id */
};

/* Added to a token's logit. */
struct ek_logit_bias {
    uint32_t id;
    float bias;
};

/* What is known of the job beside its parameters: how often each token of the vocabulary occurred, which
 * is only needed when a penalty is on; and what may come at all. */
struct ek_sample_history {
    const uint16_t *generated; /* [vocab], saturating; may be NULL when no penalty is on */
    const uint16_t *prompt;    /* [vocab], saturating; may be NULL when repetition_penalty is 1 */
    const struct ek_logit_bias *bias;
    uint32_t bias_count;
    const uint64_t *allowed;   /* a bit a token, or NULL: all */
    const uint32_t *barred;    /* tokens that may not come, whatever `allowed` says */
    uint32_t barred_count;
};

/* logits  [vocab] f32, not changed.
 * scratch [2 * vocab] f32-sized words of the caller's memory; holds nothing between calls.
 * forced  a token id to take whatever the logits say (its logprob is still computed), or -1.
 * false when no logit, or none of a token that may come, is finite: *out is then untouched. Allocates
 * nothing. */
EK_CHECKED bool ek_sample_token(const struct ek_sampling *s, struct ek_sample_history history,
                                const float *logits, uint32_t vocab, uint64_t token_index,
                                int64_t forced, uint32_t top_wanted, float *scratch,
                                struct ek_sample *out);

/* Uniform in [0, 1) with 53 bits, from (seed, index) alone: SplitMix64's finaliser (Steele, Lea,
 * Flood 2014, "Fast splittable pseudorandom number generators") over both words. */
double ek_sample_noise(uint64_t seed, uint64_t index);

#endif
