/* SPDX-License-Identifier: MIT */
/* Quantised files against a reference with f32 activations (tools/ref.py beside the golden files). With f32
 * activations the engine must agree with it; with rounded activations and bf16 KV, as in production,
 * it must be no further from it than llama.cpp's own run on the same file is. llama.cpp's ten largest
 * logits and logsumexp are stored, so the divergence is taken over those ten and the rest as one. */
#include "golden.h"
#include "runner.h"

struct distance {
    double kl_mean;
    double top1; /* share of positions with the same argmax */
};

/* KL(ref || x) over `n` named outcomes and one for all others; lp and lq are log probabilities. */
static double kl_lumped(const double *lp, const double *lq, size_t n)
{
    double kl = 0, p_rest = 1, q_rest = 1;
    for (size_t i = 0; i < n; i++) {
        kl += exp(lp[i]) * (lp[i] - lq[i]);
        p_rest -= exp(lp[i]);
        q_rest -= exp(lq[i]);
    }
    if (p_rest > 1e-9 && q_rest > 1e-9) kl += p_rest * log(p_rest / q_rest);
    return kl;
}

/* Both measures over the same outcomes, so that they can be compared: llama.cpp's ten. */
static void against_llama(const struct golden *g, const float *ours, struct distance *us,
                          struct distance *them)
{
    json_t *positions = json_object_get(g->json, "positions");
    *us = *them = (struct distance){0};
    for (size_t t = 0; t < g->tokens; t++) {
        const float *ref = g->logits + t * g->vocab, *x = ours + t * g->vocab;
        json_t *position = json_array_get(positions, t), *top = json_object_get(position, "top");
        double ref_lse = logsumexp_of(ref, g->vocab), our_lse = logsumexp_of(x, g->vocab);
        double lse = json_number_value(json_object_get(position, "lse"));
        double lp[10], lq_us[10], lq_them[10];
        size_t n = json_array_size(top);
        assert_in_range(n, 1, 10);
        for (size_t i = 0; i < n; i++) {
            json_t *pair = json_array_get(top, i);
            size_t id = (size_t)json_integer_value(json_array_get(pair, 0));
            lp[i] = (double)ref[id] - ref_lse;
            lq_us[i] = (double)x[id] - our_lse;
            lq_them[i] = json_number_value(json_array_get(pair, 1)) - lse;
        }
        size_t best = argmax_of(ref, g->vocab);
        us->kl_mean += kl_lumped(lp, lq_us, n) / (double)g->tokens;
        them->kl_mean += kl_lumped(lp, lq_them, n) / (double)g->tokens;
        us->top1 += (argmax_of(x, g->vocab) == best) / (double)g->tokens;
        json_t *first = json_array_get(json_array_get(top, 0), 0);
        them->top1 += ((size_t)json_integer_value(first) == best) / (double)g->tokens;
    }
}

static void check_f32_activations(const struct golden *g, const float *ours, const char *name)
{
    double kl = 0, top1 = 0;
    for (size_t t = 0; t < g->tokens; t++) {
        const float *ref = g->logits + t * g->vocab, *x = ours + t * g->vocab;
        kl += kl_of(ref, x, g->vocab) / (double)g->tokens;
        top1 += (argmax_of(ref, g->vocab) == argmax_of(x, g->vocab)) / (double)g->tokens;
    }
    print_message("%s: f32 activations: mean KL %.2g, top-1 %.1f %%\n", name, kl, top1 * 100);
    assert_true(kl <= 1e-3);
    assert_true(top1 >= 0.99);
}

static void check_production(const struct golden *g, const float *ours, const char *name)
{
    struct distance us, them;
    against_llama(g, ours, &us, &them);
    print_message("%s: production: mean KL %.3g, top-1 %.1f %%; llama.cpp: %.3g, %.1f %%\n", name,
                  us.kl_mean, us.top1 * 100, them.kl_mean, them.top1 * 100);
    assert_true(us.kl_mean <= them.kl_mean);
    assert_true(us.top1 >= them.top1);
}

static void compare(const char *model)
{
    char path[512], name[128], why[256];
    struct ek_model *m;
    snprintf(name, sizeof name, "models/%s.gguf", model);
    golden_path(path, name);
    if (ek_model_open(path, &m, why, sizeof why) != EK_OK) fail_msg("%s", why);
    struct golden g = golden_load(model, 0, ".ref.f32");
    for (int isa = 0; isa < EK_ISA_COUNT; isa++) {
        const struct ek_kernels *k = ek_kernels_of((enum ek_isa)isa);
        if (!k) continue;
        snprintf(name, sizeof name, "%s %s", model, k->isa);
        struct runner r = runner_new(m, k->isa, EK_KV_F32, EK_ACT_F32, 1, 64, 256);
        float *exact = runner_logits(&r, g.ids, g.prompt_tokens, g.tokens, 64, 1);
        check_f32_activations(&g, exact, name);
        free(exact);
        runner_free(&r);
        r = runner_new(m, k->isa, EK_KV_BF16, EK_ACT_Q8, 1, 64, 256);
        float *fast = runner_logits(&r, g.ids, g.prompt_tokens, g.tokens, 64, 1);
        check_production(&g, fast, name);
        free(fast);
        runner_free(&r);
    }
    golden_free(&g);
    ek_model_free(&m);
}

/* Prompts without a stored reference: the f32 run of the engine takes its place, which above was found
 * to be the same. `plain` computes without expert groups, as files do that are older than their keys. */
static void compare_with_own(const char *model, const char *expected, int n, bool plain)
{
    char path[512], name[128], why[256];
    struct ek_model *m;
    struct golden g = golden_load(expected, n, NULL);
    snprintf(name, sizeof name, "models/%s.gguf", model);
    golden_path(path, name);
    if (ek_model_open(path, &m, why, sizeof why) != EK_OK) fail_msg("%s", why);
    if (plain) m->shape.groups = m->shape.groups_used = 1;
    struct runner r = runner_new(m, NULL, EK_KV_F32, EK_ACT_F32, 2, 128, 1024);
    g.logits = runner_logits(&r, g.ids, g.prompt_tokens, g.tokens, 128, 1);
    runner_free(&r);
    r = runner_new(m, NULL, EK_KV_BF16, EK_ACT_Q8, 2, 128, 1024);
    float *fast = runner_logits(&r, g.ids, g.prompt_tokens, g.tokens, 128, 1);
    snprintf(name, sizeof name, "%s p%d", expected, n);
    check_production(&g, fast, name);
    free(fast);
    runner_free(&r);
    golden_free(&g);
    ek_model_free(&m);
}

static void other_prompts(void **state)
{
    (void)state;
    static const char *const models[] = {"micro-v2-q8_0",   "micro-v2-legacy-q8_0", "micro-v3-q8_0",
                                         "micro-qwen2-q8_0", "tiny-v2-Q4_K_M",      "tiny-v3-Q4_K_M",
                                         "tiny-qwen2-Q4_K_M"};
    for (size_t i = 0; i < EK_COUNT(models); i++) compare_with_own(models[i], models[i], 1, false);
}

static void long_prompts(void **state)
{
    (void)state;
    static const char *const models[] = {"micro-v2-q8_0",  "micro-v3-q8_0",  "micro-qwen2-q8_0",
                                         "tiny-v2-Q4_K_M", "tiny-v3-Q4_K_M", "tiny-qwen2-Q4_K_M"};
    for (size_t i = 0; i < EK_COUNT(models); i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "%s.long", models[i]);
        compare_with_own(models[i], expected, 0, false);
    }
}

static void without_groups(void **state)
{
    (void)state;
    for (int p = 0; p < 2; p++) compare_with_own("micro-v3-q8_0", "micro-v3-nogroup-q8_0", p, true);
}

static void micro_v2(void **state) { (void)state; compare("micro-v2-q8_0"); }
static void micro_v2_legacy(void **state) { (void)state; compare("micro-v2-legacy-q8_0"); }
static void micro_v3(void **state) { (void)state; compare("micro-v3-q8_0"); }
static void tiny_v2(void **state) { (void)state; compare("tiny-v2-Q4_K_M"); }
static void tiny_v3(void **state) { (void)state; compare("tiny-v3-Q4_K_M"); }

static void micro_qwen2(void **state) { (void)state; compare("micro-qwen2-q8_0"); }
static void tiny_qwen2(void **state) { (void)state; compare("tiny-qwen2-Q4_K_M"); }

int main(int argc, char **argv)
{
    const struct CMUnitTest more[] = {
        cmocka_unit_test(other_prompts), cmocka_unit_test(long_prompts), cmocka_unit_test(without_groups),
    };
    if (argc == 2 && strcmp(argv[1], "--more") == 0) return cmocka_run_group_tests(more, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(micro_v2), cmocka_unit_test(micro_v2_legacy), cmocka_unit_test(micro_v3),
        cmocka_unit_test(tiny_v2), cmocka_unit_test(tiny_v3), cmocka_unit_test(micro_qwen2),
        cmocka_unit_test(tiny_qwen2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
