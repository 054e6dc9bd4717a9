/* SPDX-License-Identifier: MIT */
/* Stored outputs of llama.cpp for tiny random models: where they lie, how they are read, and the
 * measures by which two rows of logits are compared. The files are named by EK_SHARED; a test that
 * misses them skips and says so. */
#ifndef EK_TESTS_GOLDEN_H
#define EK_TESTS_GOLDEN_H

#include "cm.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct golden {
    uint32_t *ids;          /* prompt, then what llama.cpp generated greedily */
    size_t tokens, prompt_tokens, vocab;
    float *logits;          /* [tokens][vocab] of the .f32 file, or NULL */
    json_t *json;           /* positions: lse and the ten largest logits */
};

/* The path of a file under golden/, or skip. */
static inline void golden_path(char out[512], const char *name)
{
    const char *shared = getenv("EK_SHARED");
    struct stat st;
    snprintf(out, 512, "%s/golden/%s", shared ? shared : "../shared", name);
    if (stat(out, &st) == 0) return;
    print_message("SKIP: %s is missing (set EK_SHARED)\n", out);
    skip();
}

static inline float *golden_floats(const char *path, size_t count)
{
    FILE *f = fopen(path, "rb");
    float *x = malloc(count * sizeof *x);
    if (!f || !x || fread(x, sizeof *x, count, f) != count) fail_msg("%s is too short", path);
    fclose(f);
    return x;
}

/* Prompt `n` of `model`; suffix ".f32", ".ref.f32" or NULL for no logits. */
static inline struct golden golden_load(const char *model, int n, const char *suffix)
{
    char name[256], path[512];
    json_error_t error;
    struct golden g = {0};
    snprintf(name, sizeof name, "expected/%s/p%d.json", model, n);
    golden_path(path, name);
    g.json = json_load_file(path, 0, &error);
    if (!g.json) fail_msg("%s: %s", path, error.text);
    json_t *prompt = json_object_get(g.json, "prompt_tokens"), *greedy = json_object_get(g.json, "greedy");
    g.prompt_tokens = json_array_size(prompt);
    g.tokens = g.prompt_tokens + json_array_size(greedy);
    g.vocab = (size_t)json_integer_value(json_object_get(g.json, "n_vocab"));
    g.ids = malloc(g.tokens * sizeof *g.ids);
    assert_non_null(g.ids);
    for (size_t i = 0; i < g.tokens; i++) {
        json_t *id = i < g.prompt_tokens ? json_array_get(prompt, i)
                                         : json_array_get(greedy, i - g.prompt_tokens);
        g.ids[i] = (uint32_t)json_integer_value(id);
    }
    if (!suffix) return g;
    snprintf(name, sizeof name, "expected/%s/p%d%s", model, n, suffix);
    golden_path(path, name);
    g.logits = golden_floats(path, g.tokens * g.vocab);
    return g;
}

static inline void golden_free(struct golden *g)
{
    free(g->ids);
    free(g->logits);
    json_decref(g->json);
}

static inline size_t argmax_of(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (x[i] > x[best]) best = i;
    }
    return best;
}

static inline double logsumexp_of(const float *x, size_t n)
{
    double max = (double)x[argmax_of(x, n)], sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    return max + log(sum);
}

/* KL(ref || x) in nats. */
static inline double kl_of(const float *ref, const float *x, size_t n)
{
    double a = logsumexp_of(ref, n), b = logsumexp_of(x, n), kl = 0;
    for (size_t i = 0; i < n; i++) {
        double lp = (double)ref[i] - a, lq = (double)x[i] - b;
        kl += exp(lp) * (lp - lq);
    }
    return kl;
}

#endif
