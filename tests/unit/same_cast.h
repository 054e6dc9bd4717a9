/* SPDX-License-Identifier: MIT */
/* The cast of the invariance test: small models of every kind that the promise names, and requests with the
 * answers they get when nobody else is there. Requests share long beginnings, some are second turns that
 * hold an earlier answer, and they differ in sampling, penalties, thought, stops and the form of the answer.
 * What a request gets alone is found out when somebody first wants to know.
 * An answer is everything a caller can see of it: ids, logprobs, alternatives, which of it was thought, and
 * how it ended. */
#ifndef EK_TESTS_SAME_CAST_H
#define EK_TESTS_SAME_CAST_H

#include "cm.h"

#include "engine/engine.h"
#include "engine/guide.h"
#include "engine/schema.h"
#include "engine_vocab.h"
#include "model_maker.h"

#include <fts.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
    CAST_FIRSTS = 10,              /* first turns */
    CAST_SECONDS = 4,              /* second turns of the first four */
    CAST_TALKERS = 4,              /* of them, short questions with long answers, which need room later */
    CAST_SIZE = CAST_FIRSTS + CAST_SECONDS,
    CAST_ASKED_TWICE = 2,          /* firsts, next to the talkers, whose prompts others share altogether */
    CAST_CHOICES = 4,              /* so many requests of each such prompt */
    CAST_ALL = CAST_SIZE + CAST_ASKED_TWICE * (CAST_CHOICES - 1),
    CAST_PROMPT_MAX = 640,
    CAST_TOKENS_MAX = 150,
    CAST_CTX = 832,                /* thirteen pages */
    CAST_TOPS = 3,
#ifdef __SANITIZE_ADDRESS__
    CAST_PLAIN_BRIEF = 7, CAST_PLAIN_TOKENS = 60, /* of the plain C kernels, which sanitizers slow most */
#else
    CAST_PLAIN_BRIEF = 4, CAST_PLAIN_TOKENS = CAST_TOKENS_MAX,
#endif
};

/* What some answers must look like, over a vocabulary of bytes and a few pieces. */
static const char *const cast_schemas[] = {
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":24},"
    "\"kind\":{\"enum\":[\"large\",\"small\",\"none\"]},\"count\":{\"type\":\"integer\"}},"
    "\"required\":[\"name\",\"kind\",\"count\"]}",
    "{\"type\":\"array\",\"items\":{\"type\":\"number\"},\"minItems\":2,\"maxItems\":9}",
    "{\"type\":\"object\",\"properties\":{\"rows\":{\"type\":\"array\",\"maxItems\":5,\"items\":"
    "{\"type\":\"object\",\"properties\":{\"left\":{\"type\":\"boolean\"},\"right\":{\"type\":\"null\"}},"
    "\"required\":[\"left\",\"right\"]}}},\"required\":[\"rows\"]}",
};
static const char *const cast_merges[] = {"t r", "tr u", "l e", "n u", "nu l", "{ \"", "\" :", NULL};

static const struct recipe cast_recipes[] = {
    {.name = "deepseek2 Q8_0", .type = EK_GGML_Q8_0, .embd = 96, .layers = 3, .dense = 1, .heads = 5,
     .nope = 32, .rope = 16, .value = 32, .kv_lora = 64, .q_lora = 64, .ff = 128, .experts = 8,
     .used = 3, .expert_ff = 64, .shared = 1, .groups = 4, .groups_used = 2, .vocab = 300,
     .sigmoid = true, .norm = true, .yarn = true, .nextn = true, .seed = 11},
    {.name = "deepseek2 Q4_K_M", .type = EK_GGML_Q4_K, .finer = EK_GGML_Q6_K, .embd = 256, .layers = 2,
     .dense = 1, .heads = 4, .nope = 32, .rope = 16, .value = 64, .kv_lora = 64, .ff = 256,
     .experts = 6, .used = 2, .expert_ff = 96, .shared = 1, .vocab = 290, .yarn = true, .legacy = true,
     .nextn = true, .seed = 12},
    {.name = "qwen2 Q8_0", .type = EK_GGML_Q8_0, .arch = "qwen2", .embd = 96, .layers = 3, .dense = 3,
     .heads = 6, .kv_heads = 2, .rope = 16, .value = 16, .ff = 160, .vocab = 280, .tied = true,
     .seed = 13},
    {.name = "qwen2 Q4_K_M", .type = EK_GGML_Q4_K, .finer = EK_GGML_Q6_K, .arch = "qwen2", .embd = 256,
     .layers = 2, .dense = 2, .heads = 4, .kv_heads = 2, .rope = 64, .value = 64, .ff = 512,
     .vocab = 285, .seed = 14},
};

/* ---- a bell, and waiting for events ------------------------------------------------------------- */

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    unsigned rings;
};

struct bench {
    struct ek_engine *engine;
    struct bell bell;
};

static inline void ring(void *arg)
{
    struct bell *b = arg;
    pthread_mutex_lock(&b->lock);
    b->rings++;
    pthread_cond_signal(&b->rung);
    pthread_mutex_unlock(&b->lock);
}

static inline void bench_open(struct bench *b, const struct ek_engine_options *o)
{
    char why[256] = "";
    *b = (struct bench){.bell = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}};
    if (ek_engine_open(o, ring, &b->bell, &b->engine, why, sizeof why) != EK_OK) fail_msg("%s", why);
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

/* ---- requests and their answers ----------------------------------------------------------------- */

struct cast_token {
    struct ek_sample sample;
    bool in_thought, forced;
    uint32_t thought_tokens;
};

struct cast_answer {
    struct cast_token token[CAST_TOKENS_MAX];
    uint32_t count;
    enum ek_job_end finish;
};

struct cast_request {
    uint32_t prompt[CAST_PROMPT_MAX];
    struct ek_engine_job job; /* without salt, priority, prefix and guide */
    struct ek_guide *guide;   /* each submitted one gets a copy; NULL: any answer will do */
    struct cast_answer alone; /* cast_alone */
};

struct cast {
    char path[64], disk[64];
    struct ek_engine_options alone; /* what bits may depend on, and nobody else */
    const char *model;
    uint32_t brief; /* divides lengths: the plain C kernels take ten times as long */
    struct cast_request request[CAST_ALL]; /* those who share a prompt last */
    struct ek_tokenizer *tokenizer;
    struct ek_trie *trie;
    struct ek_masks *masks;
    struct ek_grammar grammar[EK_COUNT(cast_schemas)];
};

static inline uint32_t cast_below(uint64_t *seed, uint64_t n) { return (uint32_t)(maker_random(seed) % n); }

static inline void cast_sampling(struct ek_engine_job *job, uint64_t *seed, uint32_t vocab)
{
    uint32_t kind = cast_below(seed, 8);
    job->sampling = kind < 3 ? ek_sampling_greedy() : ek_sampling_default();
    job->sampling.seed = maker_random(seed);
    if (kind == 4) job->sampling.top_p = 0.8f;
    if (kind == 5) job->sampling.top_k = 12;
    if (kind == 6) job->sampling.min_p = 0.05f;
    if (kind == 7) job->sampling.repetition_penalty = 1.15f;
    if (kind == 2) job->sampling.frequency_penalty = 0.4f;
    job->top_logprobs = cast_below(seed, 2) ? CAST_TOPS : 0;
    job->thinking = (struct ek_job_thinking){
        .open_id = EK_NO_TOKEN, .end_id = EK_NO_TOKEN, .budget = EK_THINK_UNLIMITED};
    if (cast_below(seed, 3) == 0) {
        job->thinking = (struct ek_job_thinking){
            .open_at_start = true, .open_id = EK_NO_TOKEN, .end_id = vocab - 1,
            .budget = 5 + cast_below(seed, 60), .close_ids = {vocab - 2, vocab - 1}, .close_count = 2};
    }
    job->stop_count = 1;
    job->stop_ids[0] = vocab - 3;
    job->ignore_stop_ids = cast_below(seed, 2) == 0;
}

static inline void cast_open_forms(struct cast *c, uint32_t vocab)
{
    c->tokenizer = tiny_make("gpt-2", cast_merges, deepseek_markers, EK_TOKEN_CONTROL);
    assert_non_null(c->tokenizer);
    assert_true(ek_tokenizer_count(c->tokenizer) + 3 <= vocab); /* the last ids are ours */
    c->trie = ek_trie_new(c->tokenizer, vocab, NULL, 0, NULL, 0);
    c->masks = ek_masks_new(c->trie);
    for (size_t i = 0; i < EK_COUNT(cast_schemas); i++) {
        struct ek_schema_fault fault;
        uint32_t rule;
        json_t *schema = json_loads(cast_schemas[i], 0, NULL);
        assert_non_null(schema);
        ek_grammar_open(&c->grammar[i], c->trie->available);
        if (!ek_schema_compile(&c->grammar[i], schema, &rule, &fault)) fail_msg("%s", fault.text);
        assert_int_equal(ek_grammar_finish(&c->grammar[i], rule), EK_GRAMMAR_FINE);
        json_decref(schema);
    }
}

/* Half of those that stop by themselves are to have a form. */
static inline void cast_form(struct cast *c, struct cast_request *r, uint64_t *seed)
{
    uint32_t which = cast_below(seed, 2 * EK_COUNT(cast_schemas));
    if (which >= EK_COUNT(cast_schemas) || r->job.ignore_stop_ids) return;
    r->guide = ek_guide_new(&c->grammar[which], c->trie, c->masks, r->job.stop_ids, r->job.stop_count);
    r->job.max_tokens = CAST_TOKENS_MAX / 2 / c->brief;
}

/* Together, where there are several. */
static inline enum ek_status cast_submit(struct ek_engine *e, const struct cast_request *const *r,
                                         struct ek_engine_job *jobs, size_t n, uint64_t *ids)
{
    char why[256] = "";
    for (size_t i = 0; i < n; i++) {
        jobs[i].guide = r[i]->guide ? ek_guide_copy(r[i]->guide) : NULL;
        jobs[i].guide_from = EK_NO_TOKEN;
    }
    enum ek_status status = n == 1 ? ek_engine_submit(e, jobs, ids, why, sizeof why)
                                   : ek_engine_submit_group(e, jobs, n, ids, why, sizeof why);
    for (size_t i = 0; status != EK_OK && i < n; i++) ek_guide_free(&jobs[i].guide); /* ours still */
    if (status != EK_OK && status != EK_FULL) fail_msg("%s", why);
    return status;
}

/* The k-th of those who share the prompt of a request: itself, and others behind all; NULL: nobody does. */
static inline struct cast_request *cast_choice(struct cast *c, uint32_t which, uint32_t k)
{
    uint32_t prompt = which - CAST_TALKERS;
    if (which < CAST_TALKERS || prompt >= CAST_ASKED_TWICE) return NULL;
    if (k % CAST_CHOICES == 0) return &c->request[which];
    return &c->request[CAST_SIZE + prompt * (CAST_CHOICES - 1) + k % CAST_CHOICES - 1];
}

/* The request alone: a fresh engine with one slot that has computed nothing yet. */
static inline void cast_answer_alone(struct cast *c, struct cast_request *r)
{
    struct bench b;
    uint64_t id;
    const struct cast_request *only = r;
    struct ek_engine_job job = r->job;
    enum ek_job_end finish = EK_JOB_GOES_ON;
    bench_open(&b, &c->alone);
    assert_int_equal(cast_submit(b.engine, &only, &job, 1, &id), EK_OK);
    while (finish == EK_JOB_GOES_ON) {
        struct ek_engine_event e = next_event(&b);
        assert_int_equal(e.cached_tokens, 0);
        if (e.has_token) {
            assert_in_range(r->alone.count, 0, CAST_TOKENS_MAX - 1);
            r->alone.token[r->alone.count++] =
                (struct cast_token){e.token, e.in_thought, e.forced, e.thought_tokens};
        }
        r->alone.finish = finish = e.finish;
    }
    ek_engine_close(&b.engine);
}

static inline const struct cast_answer *cast_alone(struct cast *c, struct cast_request *r)
{
    if (r->alone.finish == EK_JOB_GOES_ON) cast_answer_alone(c, r);
    return &r->alone;
}

/* A first turn: a beginning in common with others, and words of its own. */
static inline uint32_t cast_first(struct cast_request *r, uint64_t *seed, uint32_t vocab,
                           const uint32_t *common, uint32_t brief)
{
    uint32_t shared = brief < 8 && cast_below(seed, 3) ? 64 + cast_below(seed, 240 / brief) : 0;
    uint32_t own = 1 + cast_below(seed, 80 / brief);
    memcpy(r->prompt, common, shared * sizeof *common);
    for (uint32_t i = 0; i < own; i++) r->prompt[shared + i] = cast_below(seed, vocab - 3);
    return shared + own;
}

/* A second turn: what was asked, what was answered, and a question more; all of it prompt now. */
static inline uint32_t cast_second(struct cast *c, struct cast_request *r, struct cast_request *before,
                            uint64_t *seed, uint32_t vocab)
{
    uint32_t n = before->job.prompt_tokens, more = 1 + cast_below(seed, 70);
    const struct cast_answer *answer = cast_alone(c, before);
    memcpy(r->prompt, before->prompt, n * sizeof *r->prompt);
    for (uint32_t i = 0; i < answer->count; i++) r->prompt[n++] = answer->token[i].sample.id;
    for (uint32_t i = 0; i < more; i++) r->prompt[n++] = cast_below(seed, vocab - 3);
    assert_in_range(n, 2, CAST_PROMPT_MAX);
    return n;
}

/* The prompt of another request, and everything else of its own. */
static inline uint32_t cast_shared(struct cast_request *r, const struct cast_request *other)
{
    memcpy(r->prompt, other->prompt, other->job.prompt_tokens * sizeof *r->prompt);
    return other->job.prompt_tokens;
}

static inline struct cast *cast_new(const struct recipe *recipe, const char *isa, uint64_t seed)
{
    struct cast *c = calloc(1, sizeof *c);
    uint32_t common[2][CAST_PROMPT_MAX];
    assert_non_null(c);
    maker_save(recipe, c->path);
    snprintf(c->disk, sizeof c->disk, "/tmp/ek-same-XXXXXX");
    assert_non_null(mkdtemp(c->disk));
    c->model = recipe->name;
    c->brief = strcmp(isa, "generic") == 0 ? CAST_PLAIN_BRIEF : 1;
    c->alone = (struct ek_engine_options){
        .model_path = c->path, .slots = 1, .step_tokens = 512, .threads = 1, .isa = isa,
        .ctx_tokens = CAST_CTX,
        .speculation = EK_SPECULATION_OFF,
        .kv_type = cast_below(&seed, 4) ? EK_KV_BF16 : (enum ek_kv_type)cast_below(&seed, 3),
        .activation = cast_below(&seed, 5) ? EK_ACT_Q8 : EK_ACT_F32,
    };
    cast_open_forms(c, recipe->vocab);
    for (uint32_t i = 0; i < 2 * CAST_PROMPT_MAX; i++)
        common[i / CAST_PROMPT_MAX][i % CAST_PROMPT_MAX] = cast_below(&seed, recipe->vocab - 3);
    for (uint32_t i = 0; i < CAST_ALL; i++) {
        struct cast_request *r = &c->request[i];
        uint32_t prompt = CAST_TALKERS + (i - CAST_SIZE) / (CAST_CHOICES - 1); /* of those who share one */
        r->job.prompt_tokens =
            i < CAST_FIRSTS ? cast_first(r, &seed, recipe->vocab, common[i % 2],
                                         i < CAST_TALKERS ? 8 : c->brief)
            : i < CAST_SIZE ? cast_second(c, r, &c->request[i - CAST_FIRSTS], &seed, recipe->vocab)
                            : cast_shared(r, &c->request[prompt]);
        r->job.prompt_ids = r->prompt;
        cast_sampling(&r->job, &seed, recipe->vocab);
        bool talks = i < CAST_TALKERS || cast_below(&seed, 4 * c->brief) == 0;
        r->job.max_tokens = 1 + cast_below(&seed, talks ? CAST_TOKENS_MAX : 40 / c->brief);
        if (i < CAST_TALKERS) r->job.max_tokens = (c->brief > 1 ? CAST_PLAIN_TOKENS : CAST_TOKENS_MAX) - i;
        if (i < CAST_TALKERS) r->job.ignore_stop_ids = true;
        cast_form(c, r, &seed);
    }
    return c;
}

/* Every file under a cast's folder: without a seed it goes, with one some get another bit somewhere. */
static inline void cast_each_file(const char *top, uint64_t *seed)
{
    char *dirs[] = {(char *)(uintptr_t)top, NULL};
    FTS *walk = fts_open(dirs, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    assert_non_null(walk);
    for (FTSENT *f; (f = fts_read(walk)) != NULL;) {
        if (!seed && f->fts_info == FTS_F) assert_int_equal(unlink(f->fts_accpath), 0);
        if (!seed && f->fts_info == FTS_DP) assert_int_equal(rmdir(f->fts_accpath), 0);
        if (!seed || f->fts_info != FTS_F || f->fts_statp->st_size == 0 || cast_below(seed, 3)) continue;
        FILE *file = fopen(f->fts_accpath, "r+");
        assert_non_null(file);
        assert_int_equal(fseek(file, (long)cast_below(seed, (uint64_t)f->fts_statp->st_size), SEEK_SET), 0);
        int byte = fgetc(file);
        assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
        assert_true(fputc(byte ^ (1 << cast_below(seed, 8)), file) != EOF);
        fclose(file);
    }
    fts_close(walk);
}

static inline void cast_damage(const struct cast *c, uint64_t *seed) { cast_each_file(c->disk, seed); }

static inline void cast_free(struct cast **cp)
{
    if (!*cp) return;
    unlink((*cp)->path);
    cast_each_file((*cp)->disk, NULL);
    for (size_t i = 0; i < CAST_ALL; i++) ek_guide_free(&(*cp)->request[i].guide);
    for (size_t i = 0; i < EK_COUNT(cast_schemas); i++) ek_grammar_free(&(*cp)->grammar[i]);
    ek_masks_free(&(*cp)->masks);
    ek_trie_free(&(*cp)->trie);
    ek_tokenizer_free(&(*cp)->tokenizer);
    free(*cp);
    *cp = NULL;
}

#endif
