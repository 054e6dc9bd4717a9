/* SPDX-License-Identifier: MIT */
/* The slow forward pass against llama.cpp's logits of the same f32 files, at every position. */
#include "golden.h"

#include "engine/reference.h"

static void compare(const char *model, int prompt)
{
    char path[512], name[128], why[256];
    struct ek_model *m;
    struct golden g = golden_load(model, prompt, ".f32");
    snprintf(name, sizeof name, "models/%s.gguf", model);
    golden_path(path, name);
    if (ek_model_open(path, &m, why, sizeof why) != EK_OK) fail_msg("%s", why);
    assert_int_equal(m->shape.vocab, g.vocab);
    float *logits = malloc(g.tokens * g.vocab * sizeof *logits);
    double worst = 0;
    ek_reference_forward(m, g.ids, g.tokens, logits);
    for (size_t i = 0; i < g.tokens * g.vocab; i++) {
        double d = fabs((double)logits[i] - (double)g.logits[i]);
        if (!(d <= worst)) worst = d;
    }
    print_message("%s p%d: %zu positions, largest difference of a logit %.2g\n", model, prompt,
                  g.tokens, worst);
    assert_true(worst <= 1e-3);
    free(logits);
    golden_free(&g);
    ek_model_free(&m);
}

static void micro_v2(void **state)
{
    (void)state;
    compare("micro-v2-f32", 0);
    compare("micro-v2-f32", 1);
}

static void micro_v3(void **state)
{
    (void)state;
    compare("micro-v3-f32", 0);
    compare("micro-v3-f32", 1);
}

static void micro_qwen2(void **state)
{
    (void)state;
    compare("micro-qwen2-f32", 0);
    compare("micro-qwen2-f32", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(micro_v2), cmocka_unit_test(micro_v3),
                                       cmocka_unit_test(micro_qwen2)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
