/* SPDX-License-Identifier: MIT */
/* The project's own golden set, which every machine has: small random models of every kind, the fast
 * forward pass against the reference one; and the promise that a row's bits depend on nothing but its
 * own sequence: every chunking, every company, every number of threads. */
#include "golden.h"
#include "model_maker.h"
#include "runner.h"

#include "engine/reference.h"

enum { T = 140, PROMPT = 95, SHORT = 70 }; /* more than two pages; more than one */

static struct ek_model *make(const struct recipe *r)
{
    struct maker m = maker_model(r);
    size_t len;
    uint8_t *file = maker_keep(&m, &len);
    struct ek_gguf *g;
    struct ek_model *model = NULL;
    char why[256] = "";
    if (ek_gguf_open_memory(file, len, &g, why, sizeof why) != EK_OK ||
        ek_model_bind(&g, &model, why, sizeof why) != EK_OK) {
        fail_msg("%s: %s", r->name, why);
    }
    return model;
}

static void ids_of(uint32_t *ids, uint64_t seed, uint32_t vocab)
{
    for (size_t i = 0; i < T; i++) ids[i] = (uint32_t)(maker_random(&seed) % vocab);
}

static double worst_of(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

/* `tokens` of them, at least one page and a bit: the reference forms everything anew for each. */
static void compare(struct recipe r, uint32_t type, size_t tokens)
{
    r.type = type;
    struct ek_model *m = make(&r);
    uint32_t ids[T];
    size_t n = tokens * m->shape.vocab;
    float *want = malloc(n * sizeof *want);
    ids_of(ids, r.seed, m->shape.vocab);
    ek_reference_forward(m, ids, tokens, want);
    for (int isa = 0; isa < EK_ISA_COUNT; isa++) {
        const struct ek_kernels *k = ek_kernels_of((enum ek_isa)isa);
        if (!k) continue;
        struct runner run = runner_new(m, k->isa, EK_KV_F32, EK_ACT_F32, 2, 160, 512);
        float *prompt = runner_logits(&run, ids, tokens, tokens, 160, 1);
        float *mixed = runner_logits(&run, ids, tokens * 2 / 3, tokens, 33, 1);
        double a = worst_of(prompt, want, n), b = worst_of(mixed, want, n);
        print_message("%s %s type %u: largest difference %.2g as a prompt, %.2g with decode\n", r.name,
                      k->isa, type, a, b);
        assert_true(a <= 1e-3 && b <= 1e-3);
        free(prompt);
        free(mixed);
        runner_free(&run);
    }
    free(want);
    ek_model_free(&m);
}

static void fast_equals_reference(void **state)
{
    (void)state;
    static const uint32_t types[] = {EK_GGML_F32, EK_GGML_F16, EK_GGML_BF16, EK_GGML_Q8_0};
    struct recipe old = recipe_v3;
    old.legacy = true;
    old.name = "legacy";
    for (size_t i = 0; i < EK_COUNT(types); i++) {
        size_t tokens = i == 0 ? T : SHORT; /* long once for each recipe: the types are no matter of pages */
        if (i % 3 == 0) compare(recipe_v2, types[i], tokens);
        compare(recipe_v3, types[i], tokens);
        if (types[i] != EK_GGML_Q8_0) compare(recipe_odd, types[i], tokens);
    }
    compare(old, EK_GGML_Q8_0, SHORT);
    compare(recipe_qwen2, EK_GGML_F32, T);
    compare(recipe_qwen2, EK_GGML_Q8_0, SHORT);
    compare(recipe_llama, EK_GGML_BF16, T);
    compare(recipe_odd_heads, EK_GGML_F32, T);
    compare(recipe_odd_heads, EK_GGML_F16, SHORT);
}

/* The two arithmetics of latent attention: everything as one prompt, and token by token. */
static void expanded_equals_absorbed(void **state)
{
    (void)state;
    const struct recipe *recipes[] = {&recipe_v2, &recipe_v3, &recipe_odd};
    for (size_t i = 0; i < EK_COUNT(recipes); i++) {
        struct ek_model *m = make(recipes[i]);
        uint32_t ids[T];
        ids_of(ids, 11, m->shape.vocab);
        for (int isa = 0; isa < EK_ISA_COUNT; isa++) {
            const struct ek_kernels *k = ek_kernels_of((enum ek_isa)isa);
            if (!k) continue;
            struct runner run = runner_new(m, k->isa, EK_KV_F32, EK_ACT_F32, 2, 160, 512);
            float *expanded = runner_logits(&run, ids, T, T, 160, 1);
            float *absorbed = runner_logits(&run, ids, 0, T, 1, 1);
            double d = worst_of(expanded, absorbed, (size_t)T * m->shape.vocab);
            print_message("%s %s: expanded and absorbed differ by at most %.2g\n", recipes[i]->name,
                          k->isa, d);
            assert_true(d <= 1e-4);
            free(expanded);
            free(absorbed);
            runner_free(&run);
        }
        ek_model_free(&m);
    }
}

/* Every quantised type, in files with the fall-backs of real ones. */
static void fast_equals_reference_quantised(void **state)
{
    (void)state;
    static const uint32_t small[] = {EK_GGML_Q4_0, EK_GGML_Q4_1, EK_GGML_Q5_0, EK_GGML_Q5_1,
                                     EK_GGML_IQ4_NL};
    static const uint32_t large[] = {EK_GGML_Q4_K, EK_GGML_Q5_K, EK_GGML_Q6_K, EK_GGML_IQ4_XS};
    for (size_t i = 0; i < EK_COUNT(small); i++) compare(recipe_v3, small[i], 70);
    for (size_t i = 0; i < EK_COUNT(large); i++) compare(recipe_k, large[i], 66);
}

/* Every way of cutting the same sequence must give the same bits. */
static void check_cuts(struct ek_model *m, const char *isa, enum ek_kv_type kv, enum ek_activation act)
{
    static const struct { size_t prompt, decode; unsigned threads; } cuts[] = {
        {1, 1, 1}, {7, 1, 2}, {64, 50, 1}, {94, 3, 3},
    };
    uint32_t ids[T];
    ids_of(ids, 5, m->shape.vocab);
    size_t bytes = (size_t)T * m->shape.vocab * sizeof(float);
    struct runner r = runner_new(m, isa, kv, act, 1, 512, 512);
    float *want = runner_logits(&r, ids, PROMPT, T, 512, 1);
    runner_free(&r);
    for (size_t c = 0; c < EK_COUNT(cuts); c++) {
        r = runner_new(m, isa, kv, act, cuts[c].threads, 512, 512);
        float *got = runner_logits(&r, ids, PROMPT, T, cuts[c].prompt, cuts[c].decode);
        assert_memory_equal(got, want, bytes);
        free(got);
        runner_free(&r);
    }
    free(want);
}

/* 64 sequences at different places, decoding and prefilling in the same steps, against each alone. */
static void check_company(struct ek_model *m, const char *isa)
{
    enum { N = 64, STEPS = 12 };
    static uint32_t ids[N][T];
    struct ek_kv_seq seqs[N] = {0}, lone = {0};
    size_t vocab = m->shape.vocab;
    float *kept = malloc((size_t)N * STEPS * vocab * sizeof *kept);
    struct runner r = runner_new(m, isa, EK_KV_BF16, EK_ACT_Q8, 2, 512, (N + 1) * 192);
    for (size_t i = 0; i < N; i++) {
        ids_of(ids[i], 100 + i, m->shape.vocab);
        assert_int_equal(ek_kv_begin(r.kv, &seqs[i], NULL, T, 0), EK_OK);
    }
    for (size_t step = 0; step < STEPS; step++) {
        struct ek_segment segments[N];
        size_t row = 0, n = 0;
        for (int prompt = 0; prompt < 2; prompt++) { /* sequence i has a prompt of i tokens or none left */
            for (size_t i = 0; i < N; i++) {
                uint32_t left = seqs[i].tokens <= i ? (uint32_t)i + 1 - seqs[i].tokens : 0;
                if ((left > 0) != prompt) continue;
                uint32_t count = prompt ? (left < 5 ? left : 5) : 1;
                segments[n++] = (struct ek_segment){&seqs[i], ids[i] + seqs[i].tokens, count,
                                                    prompt ? EK_ROLE_PROMPT : EK_ROLE_GENERATED,
                                                    count - 1};
            }
        }
        const float *logits = ek_forward_run(r.forward, segments, n);
        for (size_t s = 0; s < n; s++, row++) {
            size_t i = (size_t)(segments[s].seq - seqs);
            memcpy(kept + (i * STEPS + step) * vocab, logits + row * vocab, vocab * sizeof *kept);
        }
    }
    for (size_t i = 0; i < N; i += 9) {
        assert_int_equal(ek_kv_begin(r.kv, &lone, NULL, T, 0), EK_OK);
        for (size_t step = 0; step < STEPS; step++) {
            uint32_t left = lone.tokens <= i ? (uint32_t)i + 1 - lone.tokens : 0;
            struct ek_segment seg = {&lone, ids[i] + lone.tokens, left ? (left < 5 ? left : 5) : 1,
                                     left ? EK_ROLE_PROMPT : EK_ROLE_GENERATED, 0};
            seg.logits_from = seg.count - 1;
            const float *logits = ek_forward_run(r.forward, &seg, 1);
            assert_memory_equal(logits, kept + (i * STEPS + step) * vocab, vocab * sizeof *kept);
        }
        ek_kv_release(r.kv, &lone);
    }
    for (size_t i = 0; i < N; i++) ek_kv_release(r.kv, &seqs[i]);
    free(kept);
    runner_free(&r);
}

static void bits_do_not_depend_on_cut_or_company(void **state)
{
    (void)state;
    struct recipe q8 = recipe_v3, odd = recipe_odd;
    q8.type = EK_GGML_Q8_0;
    odd.type = EK_GGML_F16;
    struct recipe q4 = recipe_k, qwen2 = recipe_qwen2, heads = recipe_odd_heads;
    q4.type = EK_GGML_Q4_K;
    qwen2.type = EK_GGML_Q8_0;
    struct ek_model *a = make(&q8), *b = make(&odd), *c = make(&q4), *d = make(&qwen2), *e = make(&heads);
    for (int isa = 0; isa < EK_ISA_COUNT; isa++) {
        const struct ek_kernels *k = ek_kernels_of((enum ek_isa)isa);
        if (!k) continue;
        check_cuts(a, k->isa, EK_KV_BF16, EK_ACT_Q8);
        if (isa > 0) check_cuts(b, k->isa, EK_KV_F32, EK_ACT_Q8);
        check_cuts(c, k->isa, EK_KV_BF16, EK_ACT_Q8);
        check_cuts(d, k->isa, EK_KV_BF16, EK_ACT_Q8);
        check_cuts(e, k->isa, EK_KV_F16, EK_ACT_Q8);
    }
    check_cuts(a, NULL, EK_KV_F16, EK_ACT_F32);
    check_company(a, NULL); /* on the best instruction set there is */
    check_company(b, NULL);
    check_company(c, NULL);
    check_company(d, NULL);
    check_company(e, NULL);
    ek_model_free(&a);
    ek_model_free(&b);
    ek_model_free(&c);
    ek_model_free(&d);
    ek_model_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_equals_reference), cmocka_unit_test(fast_equals_reference_quantised),
        cmocka_unit_test(expanded_equals_absorbed),
        cmocka_unit_test(bits_do_not_depend_on_cut_or_company),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    maker_drop_kept();
    return failed;
}
