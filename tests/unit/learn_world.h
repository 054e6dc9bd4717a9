/* SPDX-License-Identifier: MIT */
/* An engine of src/sim on virtual time that reports nothing of itself, a line before it, and the learning
 * of policy/learn.h in between, which alone decides how many are sent. For tests and for the plot of
 * docs/why/admission.md; one file includes it once. */
#ifndef EK_TESTS_LEARN_WORLD_H
#define EK_TESTS_LEARN_WORLD_H

#include "base/clock.h"
#include "base/must.h"
#include "base/random.h"
#include "policy/learn.h"
#include "sim/dist.h"
#include "sim/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LEARN_CROWD 4096
#define LEARN_LOOK_NS (EK_S_NS / 4)

struct learn_guest {
    struct ek_sim_request r; /* first */
    struct ek_learn_mark mark;
    uint32_t told;
    bool in;
};

struct learn_world {
    struct ek_sim_engine engine;
    struct ek_learn learn;
    struct ek_random random;
    uint64_t now_ns, look_ns, arrive_ns;
    struct learn_guest guest[LEARN_CROWD];
    double rate;     /* arrivals a second; 0: there is always one more */
    uint32_t line;   /* waiting at the door */
    uint32_t most;   /* so many clients there are, each with one request at a time; 0: no bound */
    double prompt, output, sigma;
    uint64_t ended, firsts;
    /* of the limit, since the last look at it */
    double low, high, sum;
    uint32_t crossings, looks;
    bool above;
    double middle;
    double decoding_sum, decoding_sum2; /* over the looks */
    void (*look)(struct learn_world *b, void *arg);
    void *arg;
};

static inline struct learn_world *learn_world_new(const struct ek_sim_engine_options *o, uint64_t seed)
{
    struct learn_world *b = calloc(1, sizeof *b);
    MUST(b);
    ek_sim_engine_init(&b->engine, o);
    ek_learn_init(&b->learn);
    b->random = ek_random_make(seed);
    b->prompt = 200;
    b->output = 300;
    b->sigma = 0.7;
    return b;
}

static inline void learn_world_free(struct learn_world *b)
{
    ek_sim_engine_free(&b->engine);
    free(b);
}

static inline bool learn_world_takes(const struct learn_world *b)
{
    const struct ek_learn *l = &b->learn;
    if (b->most && l->inflight >= b->most) return false;
    return l->inflight < ek_learn_limit(l) && ek_learn_decoding_then(l, 0) + 1 <= ek_learn_knee(l);
}

static inline void learn_world_tell_tokens(struct learn_world *b, struct learn_guest *g)
{
    uint32_t made = ek_sim_engine_made(&b->engine, &g->r);
    if (!g->mark.first || made <= g->told) return;
    ek_learn_tokens(&b->learn, b->now_ns, made - g->told);
    g->told = made;
}

static inline void learn_world_send(struct learn_world *b)
{
    struct learn_guest *g = NULL;
    for (uint32_t i = 0; i < LEARN_CROWD && !g; i++)
        if (!b->guest[i].in) g = &b->guest[i];
    MUST(g);
    double prompt = ek_sim_lognormal(&b->random, b->prompt, b->sigma);
    double output = ek_sim_lognormal(&b->random, b->output, b->sigma);
    *g = (struct learn_guest){.in = true};
    g->r.spec.prompt_tokens = 1 + (uint32_t)prompt;
    g->r.spec.output_tokens = g->r.output_tokens = 2 + (uint32_t)output;
    ek_learn_sent(&b->learn, b->now_ns, g->r.spec.prompt_tokens, &g->mark);
    ek_sim_engine_send(&b->engine, b->now_ns, &g->r, NULL);
}

static inline void learn_world_engine_moves(struct learn_world *b)
{
    struct ek_sim_request *r = NULL;
    enum ek_sim_event event = ek_sim_engine_step(&b->engine, b->now_ns, NULL, &r);
    struct learn_guest *g = (struct learn_guest *)r;
    if (event == EK_SIM_FIRST_TOKEN) {
        ek_learn_first(&b->learn, b->now_ns, &g->mark);
        g->told = 1;
        b->firsts++;
    } else if (event == EK_SIM_FINISHED) {
        if (r->output_tokens > g->told) ek_learn_tokens(&b->learn, b->now_ns, r->output_tokens - g->told);
        ek_learn_end(&b->learn, b->now_ns, &g->mark);
        g->in = false;
        b->ended++;
    }
}

static inline void learn_world_look(struct learn_world *b)
{
    ek_sim_engine_advance(&b->engine, b->now_ns);
    for (uint32_t i = 0; i < LEARN_CROWD; i++)
        if (b->guest[i].in) learn_world_tell_tokens(b, &b->guest[i]);
    double limit = fmin(b->learn.limit, ek_learn_knee(&b->learn));
    b->low = fmin(b->low, limit);
    b->high = fmax(b->high, limit);
    b->sum += limit;
    b->looks++;
    b->decoding_sum += b->learn.decoding;
    b->decoding_sum2 += (double)b->learn.decoding * b->learn.decoding;
    if (b->look) b->look(b, b->arg);
    if (b->middle > 0 && fabs(limit - b->middle) > 0.1 * b->middle && (limit > b->middle) != b->above) {
        b->above = !b->above;
        b->crossings++;
    }
    b->look_ns += LEARN_LOOK_NS;
}

static inline void learn_world_forget(struct learn_world *b)
{
    b->middle = b->looks ? b->sum / b->looks : 0;
    b->low = 1e9;
    b->high = b->sum = b->decoding_sum = b->decoding_sum2 = 0;
    b->looks = b->crossings = 0;
}

/* Until so many first tokens in all, or so much time. */
static inline void learn_world_run(struct learn_world *b, uint64_t firsts, double seconds)
{
    uint64_t end_ns = b->now_ns + (uint64_t)(seconds * 1e9);
    if (!b->look_ns) b->look_ns = LEARN_LOOK_NS;
    while (b->firsts < firsts && b->now_ns < end_ns) {
        uint64_t at_ns = ek_sim_engine_next_ns(&b->engine);
        if (b->look_ns < at_ns) at_ns = b->look_ns;
        if (b->rate > 0 && b->arrive_ns < at_ns) at_ns = b->arrive_ns;
        if (at_ns < b->now_ns) at_ns = b->now_ns;
        b->now_ns = at_ns;
        if (b->rate > 0 && b->arrive_ns <= at_ns) {
            b->arrive_ns = at_ns + (uint64_t)(-log(ek_random_unit(&b->random) + 1e-12) / b->rate * 1e9);
            b->line++;
        } else if (b->look_ns <= at_ns) {
            learn_world_look(b);
        } else {
            learn_world_engine_moves(b);
        }
        while (learn_world_takes(b) && (b->rate <= 0 || b->line > 0)) {
            if (b->rate > 0) b->line--;
            learn_world_send(b);
        }
    }
}

static const struct ek_sim_engine_options learn_slotted = {.slots = 4, .kv_tokens = 1u << 24, .step_s = 0.02,
    .stream_s = 2e-4, .kv_s = 1e-9, .prompt_s = 2e-4, .chunk_tokens = 512};

#endif
