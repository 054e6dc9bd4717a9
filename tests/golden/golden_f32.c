/* SPDX-License-Identifier: MIT */
/* The fast forward pass, f32 files with f32 activations and f32 KV: within 1e-3 of llama.cpp's logits
 * at every position, on every instruction set, whether the text is taken as one prompt (expanded
 * attention) or generated token by token (absorbed). */
#include "golden.h"
#include "runner.h"

static double worst_of(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

static void compare_isa(struct ek_model *m, const char *isa, const char *model, int prompt)
{
    struct golden g = golden_load(model, prompt, ".f32");
    struct runner r = runner_new(m, isa, EK_KV_F32, EK_ACT_F32, 2, 128, 1024);
    float *whole = runner_logits(&r, g.ids, g.tokens, g.tokens, 128, 1);
    float *steps = runner_logits(&r, g.ids, g.prompt_tokens, g.tokens, 128, 1);
    float *decode = runner_logits(&r, g.ids, 1, g.tokens, 1, 1);
    size_t n = g.tokens * g.vocab;
    double a = worst_of(whole, g.logits, n), b = worst_of(steps, g.logits, n);
    double c = worst_of(decode, g.logits, n);
    print_message("%s p%d %s: one prompt %.2g, prompt and decode %.2g, decode alone %.2g\n", model,
                  prompt, isa, a, b, c);
    assert_true(a <= 1e-3 && b <= 1e-3 && c <= 1e-3);
    free(whole);
    free(steps);
    free(decode);
    runner_free(&r);
    golden_free(&g);
}

static void compare(const char *model)
{
    char path[512], name[128], why[256];
    struct ek_model *m;
    snprintf(name, sizeof name, "models/%s.gguf", model);
    golden_path(path, name);
    if (ek_model_open(path, &m, why, sizeof why) != EK_OK) fail_msg("%s", why);
    for (int isa = 0; isa < EK_ISA_COUNT; isa++) {
        const struct ek_kernels *k = ek_kernels_of((enum ek_isa)isa);
        for (int p = 0; k && p < 2; p++) compare_isa(m, k->isa, model, p);
    }
    ek_model_free(&m);
}

/* 595 tokens of prompt and 32 more, ten pages: the stored ten largest logits and the logsumexp. */
static void compare_long(const char *model)
{
    char path[512], name[128], why[256];
    struct ek_model *m;
    snprintf(name, sizeof name, "%s.long", model);
    struct golden g = golden_load(name, 0, NULL);
    snprintf(name, sizeof name, "models/%s.gguf", model);
    golden_path(path, name);
    if (ek_model_open(path, &m, why, sizeof why) != EK_OK) fail_msg("%s", why);
    struct runner r = runner_new(m, NULL, EK_KV_F32, EK_ACT_F32, 2, 256, 1024);
    float *ours = runner_logits(&r, g.ids, g.prompt_tokens, g.tokens, 256, 1);
    json_t *positions = json_object_get(g.json, "positions");
    double worst = 0;
    for (size_t t = 0; t < g.tokens; t++) {
        json_t *position = json_array_get(positions, t), *top = json_object_get(position, "top");
        double lse = json_number_value(json_object_get(position, "lse"));
        worst = fmax(worst, fabs(lse - logsumexp_of(ours + t * g.vocab, g.vocab)));
        for (size_t i = 0; i < json_array_size(top); i++) {
            json_t *pair = json_array_get(top, i);
            size_t id = (size_t)json_integer_value(json_array_get(pair, 0));
            double logit = json_number_value(json_array_get(pair, 1));
            worst = fmax(worst, fabs(logit - (double)ours[t * g.vocab + id]));
        }
    }
    print_message("%s long: %zu positions, largest difference %.2g\n", model, g.tokens, worst);
    assert_true(g.tokens > 600 && worst <= 1e-3);
    free(ours);
    runner_free(&r);
    golden_free(&g);
    ek_model_free(&m);
}

static void long_prompts(void **state)
{
    (void)state;
    compare_long("micro-v2-f32");
    compare_long("micro-v3-f32");
    compare_long("micro-qwen2-f32");
}

static void micro_v2(void **state)
{
    (void)state;
    compare("micro-v2-f32");
}

static void micro_v3(void **state)
{
    (void)state;
    compare("micro-v3-f32");
}

static void micro_qwen2(void **state)
{
    (void)state;
    compare("micro-qwen2-f32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(micro_v2), cmocka_unit_test(micro_v3),
                                       cmocka_unit_test(micro_qwen2),
                                       cmocka_unit_test(long_prompts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
