/* SPDX-License-Identifier: MIT */
/* The forms in which one and the same model comes: split into files, queries, keys and values fused,
 * experts merged, keys and values of the latent in one matrix, output tied, a block for later tokens
 * behind the last layer. Whatever the form, the model computes the same; and the frequencies of the
 * rotation are those of the papers. */
#include "cm.h"

#include "engine/model.h"
#include "engine/reference.h"
#include "model_maker.h"

enum { TOKENS = 6 };

static struct ek_model *bind_maker(struct maker *m)
{
    size_t len;
    uint8_t *file = maker_keep(m, &len);
    struct ek_gguf *g;
    struct ek_model *model = NULL;
    char why[256] = "";
    if (ek_gguf_open_memory(file, len, &g, why, sizeof why) != EK_OK ||
        ek_model_bind(&g, &model, why, sizeof why) != EK_OK) {
        fail_msg("%s", why);
    }
    return model;
}

static struct ek_model *bind_recipe(const struct recipe *r)
{
    struct maker m = maker_model(r);
    return bind_maker(&m);
}

/* The logits of a few tokens; the caller frees. */
static float *logits_of(const struct ek_model *m)
{
    static const uint32_t ids[TOKENS] = {3, 1, 4, 15, 9, 2};
    float *x = malloc((size_t)TOKENS * m->shape.vocab * sizeof *x);
    assert_non_null(x);
    ek_reference_forward(m, ids, TOKENS, x);
    return x;
}

static void same_logits(struct ek_model *a, struct ek_model *b, double tolerance)
{
    float *x = logits_of(a), *y = logits_of(b);
    assert_int_equal(a->shape.vocab, b->shape.vocab);
    for (size_t i = 0; i < (size_t)TOKENS * a->shape.vocab; i++) {
        double d = fabs((double)x[i] - (double)y[i]);
        if (!(d <= tolerance)) fail_msg("logit %zu differs by %g", i, d);
    }
    free(x);
    free(y);
    ek_model_free(&a);
    ek_model_free(&b);
}

/* A file written anew: the keys of `m`, and tensors that the test puts in. */
static struct maker keys_of(const struct maker *m)
{
    struct maker out = maker_new();
    bytes_put(&out.keys, m->keys.data, m->keys.len);
    out.n_keys = m->n_keys;
    return out;
}

static void copy_tensor(struct maker *out, const struct ek_gguf_tensor *t, const char *name)
{
    char own[80];
    assert_true(ek_str_copy(t->name, own, sizeof own));
    maker_tensor(out, name ? name : own, t->n_dims, t->ne, t->type, t->data, t->bytes);
}

static bool is_called(const struct ek_gguf_tensor *t, const char *part)
{
    return memmem(t->name.data, t->name.len, part, strlen(part)) != NULL;
}

/* Each recipe, as a model and as its tensors. */
struct source {
    struct maker m;
    struct ek_gguf *g;
    uint8_t *file;
    size_t len;
};

static struct source source_of(const struct recipe *r)
{
    struct source s = {.m = maker_model(r)};
    char why[256] = "";
    s.file = maker_file(&s.m, &s.len);
    assert_int_equal(ek_gguf_open_memory(s.file, s.len, &s.g, why, sizeof why), EK_OK);
    return s;
}

static void source_free(struct source *s)
{
    ek_gguf_close(&s->g);
    maker_free(&s->m);
    free(s->file);
}

/* Tensors of one layer one above the other, under a new name. */
static void stack(struct maker *out, const struct ek_gguf *g, uint32_t layer, const char *const *parts,
                  size_t n, const char *name)
{
    struct bytes all = {0};
    uint64_t ne[2] = {0, 0};
    char full[96];
    for (size_t i = 0; i < n; i++) {
        snprintf(full, sizeof full, "blk.%u.%s", layer, parts[i]);
        const struct ek_gguf_tensor *t = ek_gguf_tensor(g, full);
        assert_non_null(t);
        bytes_put(&all, t->data, t->bytes);
        ne[0] = t->n_dims == 1 ? ne[0] + t->ne[0] : t->ne[0];
        ne[1] += t->ne[1];
    }
    snprintf(full, sizeof full, "blk.%u.%s", layer, name);
    bool flat = strstr(name, "bias") != NULL;
    maker_tensor(out, full, flat ? 1 : 2, ne, 0, all.data, all.len);
    free(all.data);
}

static void queries_keys_and_values_may_be_fused(void **state)
{
    (void)state;
    static const char *const w[] = {"attn_q.weight", "attn_k.weight", "attn_v.weight"};
    static const char *const bias[] = {"attn_q.bias", "attn_k.bias", "attn_v.bias"};
    struct source s = source_of(&recipe_qwen2);
    struct maker out = keys_of(&s.m);
    for (size_t i = 0; i < ek_gguf_tensor_count(s.g); i++) {
        const struct ek_gguf_tensor *t = ek_gguf_tensor_at(s.g, i);
        if (!is_called(t, "attn_q.") && !is_called(t, "attn_k.") && !is_called(t, "attn_v.")) {
            copy_tensor(&out, t, NULL);
        }
    }
    for (uint32_t l = 0; l < recipe_qwen2.layers; l++) {
        stack(&out, s.g, l, w, 3, "attn_qkv.weight");
        stack(&out, s.g, l, bias, 3, "attn_qkv.bias");
    }
    same_logits(bind_recipe(&recipe_qwen2), bind_maker(&out), 0);
    source_free(&s);
}

static void gate_and_up_of_experts_may_be_merged(void **state)
{
    (void)state;
    struct source s = source_of(&recipe_v3);
    struct maker out = keys_of(&s.m);
    for (size_t i = 0; i < ek_gguf_tensor_count(s.g); i++) {
        const struct ek_gguf_tensor *t = ek_gguf_tensor_at(s.g, i);
        if (is_called(t, "ffn_up_exps")) continue;
        if (!is_called(t, "ffn_gate_exps")) {
            copy_tensor(&out, t, NULL);
            continue;
        }
        char up[80], both[80];
        snprintf(up, sizeof up, "blk.%c.ffn_up_exps.weight", t->name.data[4]);
        snprintf(both, sizeof both, "blk.%c.ffn_gate_up_exps.weight", t->name.data[4]);
        const uint8_t *gate_data = t->data, *up_data = ek_gguf_tensor(s.g, up)->data;
        uint64_t ne[3] = {t->ne[0], 2 * t->ne[1], t->ne[2]};
        size_t each = t->bytes / t->ne[2];
        struct bytes all = {0};
        for (size_t e = 0; e < t->ne[2]; e++) {
            bytes_put(&all, gate_data + e * each, each);
            bytes_put(&all, up_data + e * each, each);
        }
        maker_tensor(&out, both, 3, ne, 0, all.data, all.len);
        free(all.data);
    }
    same_logits(bind_recipe(&recipe_v3), bind_maker(&out), 0);
    source_free(&s);
}

/* From kv_b, head by head N rows of keys and V rows of values, to k_b (transposed) and v_b. */
static void split_kv_b(struct maker *out, const struct recipe *r, const struct ek_gguf_tensor *t)
{
    size_t N = r->nope, V = r->value, C = r->kv_lora, H = r->heads;
    float *k = malloc(H * N * C * sizeof *k), *v = malloc(H * V * C * sizeof *v);
    const float *kv = t->data;
    char name[80];
    assert_true(k && v);
    for (size_t h = 0; h < H; h++) {
        for (size_t c = 0; c < C; c++) {
            for (size_t n = 0; n < N; n++) k[(h * C + c) * N + n] = kv[(h * (N + V) + n) * C + c];
            for (size_t n = 0; n < V; n++) v[(h * V + n) * C + c] = kv[(h * (N + V) + N + n) * C + c];
        }
    }
    const uint64_t k_ne[3] = {N, C, H}, v_ne[3] = {C, V, H};
    snprintf(name, sizeof name, "blk.%c.attn_k_b.weight", t->name.data[4]);
    maker_tensor(out, name, 3, k_ne, 0, k, H * N * C * sizeof *k);
    snprintf(name, sizeof name, "blk.%c.attn_v_b.weight", t->name.data[4]);
    maker_tensor(out, name, 3, v_ne, 0, v, H * V * C * sizeof *v);
    free(k);
    free(v);
}

static void keys_of_the_latent_come_in_three_forms(void **state)
{
    (void)state;
    struct recipe old = recipe_v3;
    old.legacy = true;
    struct source s = source_of(&old);
    for (int both = 0; both < 2; both++) { /* new form alone; and with the old one beside it */
        struct maker out = keys_of(&s.m);
        for (size_t i = 0; i < ek_gguf_tensor_count(s.g); i++) {
            const struct ek_gguf_tensor *t = ek_gguf_tensor_at(s.g, i);
            bool kv_b = is_called(t, "attn_kv_b");
            if (kv_b) split_kv_b(&out, &old, t);
            if (!kv_b || both) copy_tensor(&out, t, NULL);
        }
        same_logits(bind_recipe(&old), bind_maker(&out), 0);
    }
    source_free(&s);
}

static void output_may_be_tied(void **state)
{
    (void)state;
    struct source s = source_of(&recipe_qwen2);
    struct maker out = keys_of(&s.m);
    for (size_t i = 0; i < ek_gguf_tensor_count(s.g); i++) {
        copy_tensor(&out, ek_gguf_tensor_at(s.g, i), NULL);
    }
    copy_tensor(&out, ek_gguf_tensor(s.g, "token_embd.weight"), "output.weight");
    same_logits(bind_recipe(&recipe_qwen2), bind_maker(&out), 0);
    source_free(&s);
}

/* A block for later tokens changes nothing; without it the file is the same model; a file that names one
 * and counts its layers without it keeps all of them. */
static void a_block_for_later_tokens_is_ignored(void **state)
{
    (void)state;
    struct recipe with = recipe_v3;
    with.nextn = true;
    same_logits(bind_recipe(&recipe_v3), bind_recipe(&with), 0);
    struct source s = source_of(&with), plain = source_of(&recipe_v3);
    struct maker trunk = keys_of(&s.m), counted = keys_of(&plain.m);
    maker_u32(&counted, "deepseek2.nextn_predict_layers", 1);
    for (size_t i = 0; i < ek_gguf_tensor_count(plain.g); i++) {
        copy_tensor(&trunk, ek_gguf_tensor_at(plain.g, i), NULL);
        copy_tensor(&counted, ek_gguf_tensor_at(plain.g, i), NULL);
    }
    same_logits(bind_recipe(&recipe_v3), bind_maker(&trunk), 0);
    same_logits(bind_recipe(&recipe_v3), bind_maker(&counted), 0);
    source_free(&s);
    source_free(&plain);
}

/* Parts 1 .. n: all keys in the first, tensors dealt out. */
static void cut(const struct source *s, struct maker *parts, uint32_t n)
{
    for (uint32_t p = 0; p < n; p++) {
        parts[p] = p == 0 ? keys_of(&s->m) : maker_new();
        parts[p].alignment = 32;
        maker_key(&parts[p], "split.no", EK_GGUF_U16);
        bytes_put(&parts[p].keys, &(uint16_t){(uint16_t)p}, 2);
        maker_key(&parts[p], "split.count", EK_GGUF_U16);
        bytes_put(&parts[p].keys, &(uint16_t){(uint16_t)n}, 2);
        maker_key(&parts[p], "split.tensors.count", EK_GGUF_I32);
        bytes_u32(&parts[p].keys, (uint32_t)ek_gguf_tensor_count(s->g));
    }
    for (size_t i = 0; i < ek_gguf_tensor_count(s->g); i++) { /* none in the first, as some tools do */
        copy_tensor(&parts[1 + i % (n - 1)], ek_gguf_tensor_at(s->g, i), NULL);
    }
}

struct folder {
    char path[40];
    char file[3][96];
};

static struct folder folder_of(struct maker *parts)
{
    struct folder f;
    snprintf(f.path, sizeof f.path, "/tmp/ek-parts-XXXXXX");
    assert_non_null(mkdtemp(f.path));
    for (unsigned p = 0; p < 3; p++) {
        size_t len;
        uint8_t *bytes = maker_file(&parts[p], &len);
        snprintf(f.file[p], sizeof f.file[p], "%s/m-%05u-of-00003.gguf", f.path, p + 1);
        FILE *out = fopen(f.file[p], "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(bytes, 1, len, out), len);
        fclose(out);
        free(bytes);
    }
    return f;
}

static void refuses(const char *path, const char *part)
{
    struct ek_gguf *g;
    char why[256] = "";
    assert_int_not_equal(ek_gguf_open(path, &g, why, sizeof why), EK_OK);
    assert_null(g);
    if (!strstr(why, part)) fail_msg("'%s' does not mention '%s'", why, part);
}

static void a_model_may_come_in_parts(void **state)
{
    (void)state;
    struct source s = source_of(&recipe_v3);
    struct maker parts[3];
    struct ek_model *model;
    char why[256] = "", other[96];
    cut(&s, parts, 3);
    struct folder f = folder_of(parts);
    if (ek_model_open(f.file[0], &model, why, sizeof why) != EK_OK) fail_msg("%s", why);
    assert_int_equal(ek_gguf_part_count(model->gguf), 3);
    assert_int_equal(ek_gguf_tensor_count(model->gguf), ek_gguf_tensor_count(s.g));
    assert_true(ek_gguf_file_bytes(model->gguf) > s.len);
    same_logits(bind_recipe(&recipe_v3), model, 0);
    refuses(f.file[1], "part 2 of 3");
    snprintf(other, sizeof other, "%s/model.gguf", f.path);
    assert_int_equal(rename(f.file[0], other), 0);
    refuses(other, "does not end in -00001-of-00003.gguf");
    assert_int_equal(rename(other, f.file[0]), 0);
    assert_int_equal(rename(f.file[2], other), 0);
    refuses(f.file[0], "m-00003-of-00003.gguf: No such file");
    assert_int_equal(rename(f.file[1], f.file[2]), 0);
    assert_int_equal(rename(other, f.file[1]), 0); /* the second and third exchanged */
    refuses(f.file[0], "part 2 of 3 says it is part 3 of 3");
    for (int p = 0; p < 3; p++) unlink(f.file[p]);
    rmdir(f.path);
    for (int p = 0; p < 3; p++) maker_free(&parts[p]);
    source_free(&s);
}

static void parts_must_fit_together(void **state)
{
    (void)state;
    struct source s = source_of(&recipe_v2);
    for (int what = 0; what < 2; what++) {
        struct maker parts[3];
        struct ek_gguf_bytes bytes[3];
        struct ek_gguf *g;
        char why[256] = "";
        cut(&s, parts, 3);
        if (what == 0) copy_tensor(&parts[0], ek_gguf_tensor(s.g, "output.weight"), NULL);
        if (what == 1) copy_tensor(&parts[2], ek_gguf_tensor(s.g, "output.weight"), "stranger");
        for (int p = 0; p < 3; p++) bytes[p].data = maker_file(&parts[p], &bytes[p].bytes);
        assert_int_equal(ek_gguf_open_parts(bytes, 3, &g, why, sizeof why), EK_INVALID);
        assert_null(g);
        assert_non_null(strstr(why, "split.tensors.count says"));
        assert_int_equal(ek_gguf_open_parts(bytes, 2, &g, why, sizeof why), EK_INVALID);
        assert_non_null(strstr(why, "one of 3 parts of a model, and 2 are here"));
        for (int p = 0; p < 3; p++) {
            free((void *)(uintptr_t)bytes[p].data);
            maker_free(&parts[p]);
        }
    }
    source_free(&s);
}

static void close_to(double got, double want)
{
    if (!(fabs(got - want) <= 1e-6 * fabs(want))) fail_msg("%.9g, should be %.9g", got, want);
}

/* DeepSeek-V3's rotation: 64 numbers, base 10000, 40 times the 4096 tokens it was trained on. The
 * ramp goes from pair 10 to pair 23, and q . k is multiplied by 0.135234 (facts of the model card's
 * configuration, worked out by hand). */
static void yarn_is_that_of_the_paper(void **state)
{
    (void)state;
    struct maker m = maker_new();
    struct recipe r = recipe_v2;
    r.nope = 128, r.rope = 64, r.heads = 2, r.yarn = false;
    m = maker_model(&r);
    maker_str(&m, "deepseek2.rope.scaling.type", "yarn");
    maker_f32(&m, "deepseek2.rope.scaling.factor", 40);
    maker_u32(&m, "deepseek2.rope.scaling.original_context_length", 4096);
    maker_f32(&m, "deepseek2.rope.scaling.yarn_log_multiplier", 0.1f);
    struct ek_model *model = bind_maker(&m);
    for (int i = 0; i < 32; i++) {
        double f = pow(10000, -2.0 * i / 64), ramp = fmin(1, fmax(0, (i - 10) / 13.0));
        close_to(model->rope_freq[i], f / 40 * ramp + f * (1 - ramp));
    }
    assert_true(fabs((double)model->shape.attn_scale - 0.135234) < 1e-6);
    assert_true(model->rope_size == 1);
    ek_model_free(&model);
}

static void frequencies_may_be_divided(void **state)
{
    (void)state;
    struct ek_model *model = bind_recipe(&recipe_llama);
    const float *divisor = ek_gguf_tensor(model->gguf, "rope_freqs.weight")->data;
    for (int i = 0; i < 16; i++) {
        close_to(model->rope_freq[i], pow(10000, -2.0 * i / 32) / (double)divisor[i]);
    }
    ek_model_free(&model);
    struct maker m = maker_model(&recipe_qwen2);
    maker_str(&m, "qwen2.rope.scaling.type", "linear");
    maker_f32(&m, "qwen2.rope.scaling.factor", 4);
    model = bind_maker(&m);
    for (int i = 0; i < 8; i++) close_to(model->rope_freq[i], pow(10000, -2.0 * i / 16) / 4);
    ek_model_free(&model);
    model = bind_recipe(&recipe_odd_heads); /* YaRN outside the latent form: cosines and sines grow */
    close_to(model->rope_size, 1 + 0.1 * log(40));
    ek_model_free(&model);
}

/* Heads layer by layer, all the same: taken. Different ones: refused, and the key named. */
static void counts_may_be_given_by_layer(void **state)
{
    (void)state;
    for (uint32_t last = 2; last < 4; last++) {
        struct recipe r = recipe_qwen2;
        struct maker m = maker_model(&r);
        struct ek_gguf *g;
        struct ek_model *model = NULL;
        char why[256] = "";
        size_t len;
        char *key = memmem(m.keys.data, m.keys.len, "head_count_kv", 13);
        assert_non_null(key);
        key[0] = 'H'; /* out of the way */
        maker_array(&m, "qwen2.attention.head_count_kv", EK_GGUF_I32, 3);
        bytes_u32(&m.keys, 2);
        bytes_u32(&m.keys, 2);
        bytes_u32(&m.keys, last);
        uint8_t *file = maker_keep(&m, &len);
        assert_int_equal(ek_gguf_open_memory(file, len, &g, why, sizeof why), EK_OK);
        enum ek_status s = ek_model_bind(&g, &model, why, sizeof why);
        assert_int_equal(s, last == 2 ? EK_OK : EK_INVALID);
        if (s != EK_OK) assert_non_null(strstr(why, "head_count_kv"));
        ek_model_free(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries_keys_and_values_may_be_fused),
        cmocka_unit_test(gate_and_up_of_experts_may_be_merged),
        cmocka_unit_test(keys_of_the_latent_come_in_three_forms),
        cmocka_unit_test(output_may_be_tied),
        cmocka_unit_test(a_block_for_later_tokens_is_ignored),
        cmocka_unit_test(a_model_may_come_in_parts),
        cmocka_unit_test(parts_must_fit_together),
        cmocka_unit_test(yarn_is_that_of_the_paper),
        cmocka_unit_test(frequencies_may_be_divided),
        cmocka_unit_test(counts_may_be_given_by_layer),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    maker_drop_kept();
    return failed;
}
