/* SPDX-License-Identifier: MIT */
/* Histograms of answers, in a table with eight places for each hash. */
#include "policy/predict.h"

#include "base/must.h"
#include "policy/index.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 8u
#define ENOUGH 12u  /* answers from which on a histogram speaks */
#define FULL 400u   /* answers at which it forgets half */

enum level { NARROW, ACCOUNT, SIZE, MODEL, ALL, LEVELS, THOUGHT_EFFORT = LEVELS, THOUGHT_MODEL };

bool ek_predict_init(struct ek_predict *p, uint32_t cells)
{
    MUST(cells >= WAYS && (cells & (cells - 1)) == 0);
    *p = (struct ek_predict){.mask = cells - 1};
    p->cell = calloc(cells, sizeof *p->cell);
    return p->cell != NULL;
}

void ek_predict_free(struct ek_predict *p)
{
    free(p->cell);
    *p = (struct ek_predict){0};
}

static uint32_t log2_of(uint32_t x)
{
    return 31u - (uint32_t)__builtin_clz(x | 1);
}

/* Two buckets an octave. */
static uint32_t bucket_of(uint32_t tokens)
{
    uint32_t x = tokens ? tokens : 1;
    uint32_t e = log2_of(x);
    uint32_t upper = (uint64_t)x * x >= 2ull << (2 * e); /* x >= 2^e * sqrt 2 */
    uint32_t b = 2 * e + upper;
    return b < EK_PREDICT_BUCKETS ? b : EK_PREDICT_BUCKETS - 1;
}

static uint64_t key_of(const struct ek_predict_key *k, int level)
{
    uint64_t size = log2_of(k->prompt_tokens) / 2; /* ratio 4: 4^n tokens */
    uint64_t h = (uint64_t)level + 1;
    if (level == NARROW || level == ACCOUNT) h = ek_index_mix(h, k->account);
    if (level != ALL) h = ek_index_mix(h, k->model);
    if (level != ALL && level != MODEL && level != THOUGHT_MODEL) h = ek_index_mix(h, k->effort);
    if (level == NARROW || level == SIZE) h = ek_index_mix(h, size);
    return h ? h : 1;
}

static const struct ek_predict_cell *find(const struct ek_predict *p, uint64_t key)
{
    uint32_t set = (uint32_t)(key >> 20) & p->mask & ~(WAYS - 1);
    for (uint32_t i = 0; i < WAYS; i++)
        if (p->cell[set + i].key == key) return &p->cell[set + i];
    return NULL;
}

static struct ek_predict_cell *find_or_make(struct ek_predict *p, uint64_t key)
{
    uint32_t set = (uint32_t)(key >> 20) & p->mask & ~(WAYS - 1);
    struct ek_predict_cell *oldest = &p->cell[set];
    for (uint32_t i = 0; i < WAYS; i++) {
        struct ek_predict_cell *c = &p->cell[set + i];
        if (c->key == key) return c;
        if (oldest->key && (!c->key || p->time - c->touched > p->time - oldest->touched)) oldest = c;
    }
    *oldest = (struct ek_predict_cell){.key = key};
    return oldest;
}

void ek_predict_put(struct ek_predict *p, const struct ek_predict_cell *c)
{
    MUST(c->key != 0);
    MUST(p->cell);
    *find_or_make(p, c->key) = *c;
}

static void learn(struct ek_predict *p, uint64_t key, uint32_t tokens)
{
    struct ek_predict_cell *c = find_or_make(p, key);
    c->touched = p->time;
    if (c->total >= FULL) {
        c->total = 0;
        for (uint32_t b = 0; b < EK_PREDICT_BUCKETS; b++) {
            c->bucket[b] /= 2;
            c->total += c->bucket[b];
        }
        c->sum /= 2;
    }
    c->bucket[bucket_of(tokens)]++;
    c->total++;
    c->sum += tokens;
}

void ek_predict_learn(struct ek_predict *p, const struct ek_predict_key *k, uint32_t output,
                      uint32_t thought)
{
    MUST(p->cell);
    MUST(thought <= output);
    p->time++;
    for (int level = 0; level < LEVELS; level++) learn(p, key_of(k, level), output);
    if (thought == 0) return;
    learn(p, key_of(k, THOUGHT_EFFORT), thought);
    learn(p, key_of(k, THOUGHT_MODEL), thought);
}

static uint32_t quantile(const struct ek_predict_cell *c, double level)
{
    double want = level * c->total, seen = 0;
    for (uint32_t b = 0; b < EK_PREDICT_BUCKETS; b++) {
        if (c->bucket[b] == 0) continue;
        if (seen + c->bucket[b] < want) {
            seen += c->bucket[b];
            continue;
        }
        double inside = (want - seen) / c->bucket[b]; /* evenly over the bucket's logarithm */
        return (uint32_t)fmax(1.0, exp2((b + inside) / 2));
    }
    return 1u << (EK_PREDICT_BUCKETS / 2);
}

static struct ek_prediction first_that_knows(const struct ek_predict *p, const struct ek_predict_key *k,
                                             int from, int to)
{
    for (int level = from; level < to; level++) {
        const struct ek_predict_cell *c = find(p, key_of(k, level));
        if (!c || c->total < ENOUGH) continue;
        return (struct ek_prediction){.known = true, .mean = c->sum / c->total, .p50 = quantile(c, 0.5),
                                      .p90 = quantile(c, 0.9)};
    }
    return (struct ek_prediction){.known = false};
}

struct ek_prediction ek_predict_output(const struct ek_predict *p, const struct ek_predict_key *k)
{
    return first_that_knows(p, k, 0, LEVELS);
}

struct ek_prediction ek_predict_thought(const struct ek_predict *p, const struct ek_predict_key *k)
{
    return first_that_knows(p, k, THOUGHT_EFFORT, THOUGHT_MODEL + 1);
}
