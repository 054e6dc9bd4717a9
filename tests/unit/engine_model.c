/* SPDX-License-Identifier: MIT */
/* Binding a model: what is read, what is derived, and the sentence for each kind of misfit. */
#include "cm.h"

#include "engine/model.h"
#include "model_maker.h"

static enum ek_status bind(struct maker *m, struct ek_model **out, char *why)
{
    size_t len;
    uint8_t *file = maker_keep(m, &len);
    struct ek_gguf *g;
    enum ek_status s = ek_gguf_open_memory(file, len, &g, why, 256);
    return s == EK_OK ? ek_model_bind(&g, out, why, 256) : s;
}

static void reads_the_shape(void **state)
{
    (void)state;
    struct maker m = maker_model(&recipe_v3);
    struct ek_model *model;
    char why[256] = "";
    assert_int_equal(bind(&m, &model, why), EK_OK);
    const struct ek_shape *s = &model->shape;
    assert_int_equal(s->heads, 18);
    assert_int_equal(s->nope, 32);
    assert_int_equal(s->rope, 16);
    assert_int_equal(s->groups_used, 2);
    assert_int_equal(s->gate, EK_GATE_SIGMOID);
    assert_true(s->weights_norm && s->weights_scale == 2.5f);
    double mscale = 1 + 0.1 * log(40);
    assert_true(fabs((double)s->attn_scale - mscale * mscale / sqrt(48)) < 1e-6);
    const struct ek_matrix *k = &model->layers[1].k_b, *t = &model->layers[1].k_b_t;
    assert_int_equal(t->rows, 32);
    assert_int_equal(t->cols, 64);
    for (size_t h = 0; h < 18; h++) { /* k_b_t[h][n][c] = k_b[h][c][n] */
        float a = ((const float *)(const void *)(k->data + h * k->matrix_bytes))[5 * 32 + 7];
        float b = ((const float *)(const void *)(t->data + h * t->matrix_bytes))[7 * 64 + 5];
        assert_true(a == b);
    }
    struct ek_buf text = ek_buf_make(4096);
    ek_model_describe(model->gguf, model, &text);
    assert_non_null(strstr(ek_buf_cstr(&text), "4 of 16, sigmoid gate"));
    ek_buf_free(&text);
    ek_model_free(&model);
}

static void refuse(struct maker m, const char *part)
{
    struct ek_model *model = NULL;
    char why[256] = "";
    assert_int_equal(bind(&m, &model, why), EK_INVALID);
    assert_null(model);
    if (!strstr(why, part)) fail_msg("'%s' does not mention '%s'", why, part);
}

/* The recipe with one key of its own changed by a change of the recipe. */
#define BROKEN(change, part)                                                                       \
    do {                                                                                           \
        struct recipe r = recipe_v3;                                                               \
        change;                                                                                    \
        refuse(maker_model(&r), part);                                                             \
    } while (0)

static void says_what_does_not_fit(void **state)
{
    (void)state;
    struct maker empty = maker_new();
    refuse(empty, "architecture");
    struct maker other = maker_new();
    maker_str(&other, "general.architecture", "mamba");
    refuse(other, "mamba");
    struct maker bare = maker_new();
    maker_str(&bare, "general.architecture", "deepseek2");
    refuse(bare, "deepseek2.block_count is missing");
    struct maker part = maker_model(&recipe_v2);
    maker_u32(&part, "split.count", 3);
    refuse(part, "one of 3 parts of a model, and 1 are here");
    BROKEN(r.rope = 7, "rope part");
    BROKEN(r.used = 9, "experts cannot be chosen");
    BROKEN(r.groups = 5, "groups");
    BROKEN(r.groups_used = 9, "groups");
    BROKEN(r.used = 65, "expert_used_count is 65");
    BROKEN(r.layers = 0, "block_count");
    struct recipe wide = recipe_v3;
    struct maker keys = maker_new();
    wide.embd = 70000;
    maker_shape(&keys, &wide);
    refuse(keys, "embedding_length is 70000");
}

/* Every tensor in turn is renamed, by the case of its first letter, and so both missing and unknown. */
static void names_a_missing_tensor(void **state)
{
    (void)state;
    struct maker m = maker_model(&recipe_v3);
    size_t len, accepted = 0;
    uint8_t *file = maker_file(&m, &len);
    struct ek_gguf *g;
    char why[256];
    assert_int_equal(ek_gguf_open_memory(file, len, &g, why, sizeof why), EK_OK);
    size_t n = ek_gguf_tensor_count(g);
    for (size_t i = 0; i < n; i++) {
        struct ek_str name = ek_gguf_tensor_at(g, i)->name;
        char shown[80];
        struct ek_model *model = NULL;
        struct ek_gguf *h;
        assert_true(ek_str_copy(name, shown, sizeof shown));
        char *at = (char *)file + (name.data - (const char *)file);
        at[0] ^= 0x20; /* renamed: the loader takes it, the model misses it */
        assert_int_equal(ek_gguf_open_memory(file, len, &h, why, sizeof why), EK_OK);
        enum ek_status s = ek_model_bind(&h, &model, why, sizeof why);
        at[0] ^= 0x20;
        if (s == EK_OK) {
            accepted++;
            ek_model_free(&model);
        } else if (!strcasestr(why, shown)) { /* as missing, or, if it need not be, as unknown */
            fail_msg("'%s' does not name %s", why, shown);
        }
    }
    assert_int_equal(accepted, 0);
    ek_gguf_close(&g);
    free(file);
    maker_free(&m);
}

static void describes_what_it_cannot_bind(void **state)
{
    (void)state;
    struct maker m = maker_new();
    size_t len;
    struct ek_gguf *g;
    char why[256];
    maker_str(&m, "general.name", "bell\a and\nline");
    uint8_t *file = maker_file(&m, &len);
    assert_int_equal(ek_gguf_open_memory(file, len, &g, why, sizeof why), EK_OK);
    struct ek_buf text = ek_buf_make(4096);
    ek_model_describe(g, NULL, &text);
    assert_non_null(strstr(ek_buf_cstr(&text), "bell? and?line"));
    ek_buf_free(&text);
    ek_gguf_close(&g);
    free(file);
    maker_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_shape), cmocka_unit_test(says_what_does_not_fit),
        cmocka_unit_test(names_a_missing_tensor), cmocka_unit_test(describes_what_it_cannot_bind),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    maker_drop_kept();
    return failed;
}
