/* SPDX-License-Identifier: MIT */
/* llama.cpp's logits for small random models of the forms that the larger golden files do not have: the
 * llama architecture with divided, stretched and YaRN frequencies, fused queries, merged experts, a
 * block for later tokens. The models are made from their recipes, so only logits are stored (data/):
 * every seventh position of 70, f32. Reference and fast pass, on every instruction set, must be within
 * 1e-3. How the stored files were made: data/README.md (`golden_forms --write DIR` writes the models). */
#include "golden.h"
#include "model_maker.h"
#include "runner.h"

#include "engine/reference.h"

enum { T = 70, EACH = 7, ROWS = T / EACH };

struct form {
    const char *name;
    const struct recipe *recipe;
    bool fused, merged, nextn, plain; /* plain: without divisors */
    const char *scaling;
    float factor;
};

static const struct form forms[] = {
    {.name = "llama", .recipe = &recipe_llama},
    {.name = "llama-fused", .recipe = &recipe_llama, .fused = true, .plain = true},
    {.name = "llama-linear", .recipe = &recipe_llama, .plain = true, .scaling = "linear", .factor = 4},
    {.name = "llama-yarn", .recipe = &recipe_llama, .plain = true, .scaling = "yarn", .factor = 8},
    {.name = "qwen2-fused", .recipe = &recipe_qwen2, .fused = true},
    {.name = "v3-merged", .recipe = &recipe_v3, .merged = true},
    {.name = "v3-nextn", .recipe = &recipe_v3, .nextn = true},
};

static const char *folder;

static struct maker make_form(const struct form *f, uint32_t ids[T])
{
    struct recipe r = *f->recipe;
    uint64_t seed = r.seed;
    r.fused = f->fused;
    r.merged = f->merged;
    r.nextn = f->nextn;
    if (f->plain) r.divisors = false;
    struct maker m = maker_model(&r);
    if (f->scaling) {
        maker_str(&m, maker_named(&r, "rope.scaling.type"), f->scaling);
        maker_f32(&m, maker_named(&r, "rope.scaling.factor"), f->factor);
        maker_u32(&m, maker_named(&r, "rope.scaling.original_context_length"), 32);
    }
    for (size_t i = 0; i < T; i++) ids[i] = (uint32_t)(maker_random(&seed) % r.vocab);
    return m;
}

static double worst_row(const float *stored, const float *ours, size_t vocab)
{
    double worst = 0;
    for (size_t i = 0; i < ROWS * vocab; i++) {
        size_t t = i / vocab * EACH + EACH - 1;
        double d = fabs((double)stored[i] - (double)ours[t * vocab + i % vocab]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

static void compare_isas(struct ek_model *m, const struct form *f, const uint32_t *ids, const float *stored)
{
    for (int isa = 0; isa < EK_ISA_COUNT; isa++) {
        const struct ek_kernels *k = ek_kernels_of((enum ek_isa)isa);
        if (!k) continue;
        struct runner r = runner_new(m, k->isa, EK_KV_F32, EK_ACT_F32, 2, T, 128);
        float *prompt = runner_logits(&r, ids, T, T, T, 1), *decode = runner_logits(&r, ids, 1, T, 1, 1);
        double a = worst_row(stored, prompt, m->shape.vocab), b = worst_row(stored, decode, m->shape.vocab);
        print_message("%s %s: prompt %.2g, decode %.2g\n", f->name, k->isa, a, b);
        assert_true(a <= 1e-3 && b <= 1e-3);
        free(prompt);
        free(decode);
        runner_free(&r);
    }
}

static void compare_form(const struct form *f)
{
    char path[512], why[256] = "";
    uint32_t ids[T];
    size_t len;
    struct ek_gguf *g;
    struct ek_model *m = NULL;
    struct maker made = make_form(f, ids);
    uint8_t *file = maker_keep(&made, &len);
    if (ek_gguf_open_memory(file, len, &g, why, sizeof why) != EK_OK ||
        ek_model_bind(&g, &m, why, sizeof why) != EK_OK) {
        fail_msg("%s: %s", f->name, why);
    }
    size_t vocab = m->shape.vocab;
    snprintf(path, sizeof path, "%s/%s.f32", folder, f->name);
    float *stored = golden_floats(path, ROWS * vocab), *ours = malloc(T * vocab * sizeof *ours);
    assert_non_null(ours);
    ek_reference_forward(m, ids, T, ours);
    double d = worst_row(stored, ours, vocab);
    print_message("%s: reference %.2g\n", f->name, d);
    assert_true(d <= 1e-3);
    compare_isas(m, f, ids, stored);
    free(stored);
    free(ours);
    ek_model_free(&m);
}

static void every_form_is_that_of_llama_cpp(void **state)
{
    (void)state;
    for (size_t i = 0; i < EK_COUNT(forms); i++) compare_form(&forms[i]);
}

/* Model files as llama.cpp takes them (no vocabulary), and the ids. */
static void write_form(const struct form *f, const char *to)
{
    char path[512];
    uint32_t ids[T];
    size_t len;
    struct maker m = make_form(f, ids);
    maker_str(&m, "tokenizer.ggml.model", "no_vocab");
    maker_u32(&m, maker_named(f->recipe, "vocab_size"), f->recipe->vocab);
    if (!f->recipe->arch) {
        maker_u32(&m, "deepseek2.attention.head_count_kv", 1);
        maker_u32(&m, "deepseek2.attention.key_length", f->recipe->kv_lora + f->recipe->rope);
        maker_u32(&m, "deepseek2.attention.value_length", f->recipe->kv_lora);
    }
    uint8_t *file = maker_file(&m, &len);
    snprintf(path, sizeof path, "%s/%s.gguf", to, f->name);
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(file, 1, len, out) != len || fclose(out) != 0) abort();
    snprintf(path, sizeof path, "%s/%s.ids", to, f->name);
    out = fopen(path, "w");
    for (size_t i = 0; out && i < T; i++) fprintf(out, "%u\n", ids[i]);
    if (!out || fclose(out) != 0) abort();
    free(file);
    maker_free(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_form_is_that_of_llama_cpp)};
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        for (size_t i = 0; i < EK_COUNT(forms); i++) write_form(&forms[i], argv[2]);
        return 0;
    }
    folder = argc == 2 ? argv[1] : "data";
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    maker_drop_kept();
    return failed;
}
