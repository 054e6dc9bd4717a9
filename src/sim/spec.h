/* SPDX-License-Identifier: MIT */
/* One request as the world makes it, and where such requests come from. A source gives them one after
 * the other, in order of time; the same options and seed give the same requests, so that every policy
 * of a run is measured on the same day. A source holds at most one window of arrivals in memory. */
#ifndef EK_SIM_SPEC_H
#define EK_SIM_SPEC_H

#include "base/random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EK_SIM_CLIENTS_MAX 2048
#define EK_SIM_BLOCK_TOKENS 512 /* of one prefix block in the Mooncake traces */
#define EK_SIM_PROMPT_MAX 1000000u
#define EK_SIM_OUTPUT_MAX 200000u

struct ek_sim_spec {
    uint64_t at_ns;
    uint32_t client; /* the account: 0 ... clients - 1 */
    uint32_t prompt_tokens;
    uint32_t output_tokens; /* thinking included, >= 1 */
    uint32_t think_tokens;  /* <= output_tokens - 1 */
    uint32_t block;         /* first of `blocks` prefix block ids in the source's `block` */
    uint32_t blocks;
};

struct ek_sim_source {
    uint32_t clients;
    uint64_t end_ns;       /* no arrival at or after it */
    const uint32_t *block; /* ids of prefix blocks; NULL: no request has any */
    bool (*next)(struct ek_sim_source *s, struct ek_sim_spec *out); /* false: the day is over */
    void (*free)(struct ek_sim_source *s);
};

/* What a source is made from. Times are of the source's own clock. */
struct ek_sim_source_options {
    const char *kind; /* servegen, mooncake, azure, shape, day, step, mix */
    const char *rates_path;
    const char *lengths_path;
    double from_s, until_s; /* the part of the file or day that is played; arrivals count from 0 */
    double rate;            /* arrivals are multiplied by it (servegen), or per second (made ones) */
    double sample;          /* part of the requests that is kept, 0 < sample <= 1 */
    double speed;           /* a trace is played this much faster */
    double step_at_s, step_factor, step_until_s; /* step: the rate is multiplied in between */
    uint32_t clients;       /* of made sources */
    double shape;           /* step, mix: of the gaps, gamma; 1 Poisson, less: bursts */
    double skew;            /* of made sources: weight of client i is (i + 1)^-skew */
    uint32_t prefix_tokens; /* mix: shared by all requests of one client */
    double prompt_mean, output_mean, think_share;
    uint64_t seed;
};

/* NULL, and a sentence in why, when the file cannot be read or makes no sense. */
struct ek_sim_source *ek_sim_source_open(const struct ek_sim_source_options *o, char *why, size_t cap);
struct ek_sim_source *ek_sim_source_servegen(const struct ek_sim_source_options *o, char *why,
                                             size_t cap);
struct ek_sim_source *ek_sim_source_trace(const struct ek_sim_source_options *o, char *why, size_t cap);
struct ek_sim_source *ek_sim_source_made(const struct ek_sim_source_options *o, char *why, size_t cap);

#endif
