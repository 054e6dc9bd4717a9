/* SPDX-License-Identifier: MIT */
/* What tests of a whole engine have in common: a small random model, an engine on it, jobs by number, their
 * answers collected event by event. One copy in each test executable. */
#ifndef EK_TEST_ENGINE_BENCH_H
#define EK_TEST_ENGINE_BENCH_H

#include "cm.h"

#include "engine/engine.h"
#include "model_maker.h"

#include <pthread.h>

static char model_path[64];

/* The wake callback and the tests' thread meet here. */
struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    unsigned rings;
};

static inline void ring(void *arg)
{
    struct bell *b = arg;
    pthread_mutex_lock(&b->lock);
    b->rings++;
    pthread_cond_signal(&b->rung);
    pthread_mutex_unlock(&b->lock);
}

struct bench {
    struct ek_engine *engine;
    struct bell bell;
};

static inline void bench_open(struct bench *b, struct ek_engine_options o)
{
    char why[256] = "";
    o.model_path = model_path;
    *b = (struct bench){.bell = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}};
    if (ek_engine_open(&o, ring, &b->bell, &b->engine, why, sizeof why) != EK_OK) fail_msg("%s", why);
}

/* The next event, waiting for it as long as it takes. */
static inline struct ek_engine_event next_event(struct bench *b)
{
    struct ek_engine_event event;
    for (;;) {
        pthread_mutex_lock(&b->bell.lock);
        unsigned before = b->bell.rings;
        pthread_mutex_unlock(&b->bell.lock);
        if (ek_engine_take(b->engine, &event, 1) == 1) return event;
        pthread_mutex_lock(&b->bell.lock);
        while (b->bell.rings == before) pthread_cond_wait(&b->bell.rung, &b->bell.lock);
        pthread_mutex_unlock(&b->bell.lock);
    }
}

enum { TOKENS_MAX = 256 };

struct answer {
    uint64_t job;
    uint32_t ids[TOKENS_MAX], n, thought, forced, cached;
    float logprobs[TOKENS_MAX];
    enum ek_job_end finish;
    uint32_t stop_id;
};

static inline void note(struct answer *a, const struct ek_engine_event *event, uint32_t prefix)
{
    assert_int_equal(a->finish, EK_JOB_GOES_ON); /* nothing after the final event */
    if (event->has_token) {
        assert_int_equal(event->token_index, prefix + a->n);
        assert_in_range(a->n, 0, TOKENS_MAX - 1);
        a->ids[a->n] = event->token.id;
        a->logprobs[a->n++] = event->token.logprob;
        a->thought += event->in_thought;
        a->forced += event->forced;
    }
    a->cached = event->cached_tokens;
    a->finish = event->finish;
    a->stop_id = event->token.id;
}

/* Submit n jobs and collect all of their events. */
static inline void run(struct bench *b, struct ek_engine_job *jobs, struct answer *answers, size_t n)
{
    char why[256] = "";
    size_t left = n;
    memset(answers, 0, n * sizeof *answers);
    for (size_t i = 0; i < n; i++) {
        jobs[i].user = &answers[i];
        enum ek_status s = ek_engine_submit(b->engine, &jobs[i], &answers[i].job, why, sizeof why);
        if (s != EK_OK) fail_msg("job %zu: %s", i, why);
    }
    while (left > 0) {
        struct ek_engine_event event = next_event(b);
        struct answer *a = event.user;
        assert_int_equal(event.job, a->job);
        note(a, &event, jobs[a - answers].prefix_tokens);
        if (event.finish != EK_JOB_GOES_ON) left--;
    }
}

static inline void assert_same(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, a->n * sizeof *a->ids);
    assert_memory_equal(a->logprobs, b->logprobs, a->n * sizeof *a->logprobs);
    assert_int_equal(a->finish, b->finish);
}

static uint32_t prompts[64][200];

static inline struct ek_engine_job job_of(size_t i)
{
    uint64_t seed = 1000 + i;
    uint32_t length = 1 + (uint32_t)(i * 37 % 199);
    for (uint32_t t = 0; t < length; t++) prompts[i][t] = (uint32_t)(maker_random(&seed) % 200);
    struct ek_engine_job job = {
        .prompt_ids = prompts[i], .prompt_tokens = length, .max_tokens = 20 + (uint32_t)(i % 30),
        .sampling = i % 2 ? ek_sampling_default() : ek_sampling_greedy(),
        .thinking = {.open_id = EK_NO_TOKEN, .end_id = EK_NO_TOKEN, .budget = EK_THINK_UNLIMITED},
    };
    job.sampling.seed = i;
    if (i % 8 == 3) job.sampling.top_p = 0.9f;
    if (i % 8 == 5) job.sampling.repetition_penalty = 1.2f;
    return job;
}

static inline struct ek_engine_options options_of(uint32_t slots, uint32_t step_tokens, uint32_t threads)
{
    return (struct ek_engine_options){
        .slots = slots, .step_tokens = step_tokens, .threads = threads, .ctx_tokens = 512,
        .waiting_max = 128,
    };
}

static inline int make_model(void **state)
{
    struct recipe r = recipe_v3;
    (void)state;
    r.type = 8;
    r.layers = 2;
    r.heads = 5;
    maker_save(&r, model_path);
    return 0;
}

static inline int drop_model(void **state)
{
    (void)state;
    return unlink(model_path);
}

#endif
