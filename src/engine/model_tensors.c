/* SPDX-License-Identifier: MIT */
/* Finding tensors and checking them against the shape, the attention tensors of both forms, and the
 * matrices that are derived from them at load. */
#include "engine/model_bind.h"

#include <stdio.h>
#include <stdlib.h>

const struct ek_gguf_tensor *ek_bind_find(struct binder *b, int layer, const char *name, bool required)
{
    char full[96];
    if (layer >= 0) {
        snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    } else {
        snprintf(full, sizeof full, "%s", name);
    }
    const struct ek_gguf_tensor *t = ek_gguf_tensor(b->g, full);
    if (t) b->claimed[t - ek_gguf_tensor_at(b->g, 0)] = true;
    if (!t && required) ek_bind_complain(b, "the tensor %s is missing", full);
    return t;
}

struct ek_matrix ek_bind_matrix(struct binder *b, int layer, const char *name, uint64_t rows,
                                uint64_t cols, uint64_t count, bool required)
{
    const struct ek_gguf_tensor *t = ek_bind_find(b, layer, name, required);
    if (!t) return (struct ek_matrix){0};
    if (t->ne[0] != cols || t->ne[1] != rows || t->ne[2] != count || t->ne[3] != 1) {
        ek_bind_complain(b, "the tensor %.*s is [%llu, %llu, %llu, %llu]; [%llu, %llu, %llu] was expected",
                         (int)t->name.len, t->name.data, (unsigned long long)t->ne[0],
                         (unsigned long long)t->ne[1], (unsigned long long)t->ne[2],
                         (unsigned long long)t->ne[3], (unsigned long long)cols,
                         (unsigned long long)rows, (unsigned long long)count);
        return (struct ek_matrix){0};
    }
    if (!ek_weight_computable(t->type)) {
        ek_bind_complain(b, "the tensor %.*s has type %s, which cannot be computed (these can: F32, F16, "
                         "BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS)",
                         (int)t->name.len, t->name.data, ek_ggml_type_name(t->type));
        return (struct ek_matrix){0};
    }
    return (struct ek_matrix){
        .data = t->data, .type = t->type, .rows = rows, .cols = cols, .count = count,
        .row_bytes = t->row_bytes, .matrix_bytes = t->row_bytes * rows,
    };
}

const float *ek_bind_floats(struct binder *b, int layer, const char *name, uint64_t n, bool required)
{
    struct ek_matrix m = ek_bind_matrix(b, layer, name, 1, n, 1, required);
    if (m.data && m.type != EK_GGML_F32) ek_bind_complain(b, "the tensor %s is not F32", name);
    return (const float *)(const void *)m.data;
}

/* Rows [from, from + rows) of each matrix. */
static struct ek_matrix rows_of(struct ek_matrix w, size_t from, size_t rows)
{
    if (!w.data) return w;
    MUST(from + rows <= w.rows);
    w.data += from * w.row_bytes;
    w.rows = rows;
    return w;
}

/* Newer files hold k_b (already transposed for the absorbed form) and v_b; older ones one kv_b whose
 * rows are, head by head, N rows of keys and V rows of values: views of it serve as they are. Some
 * hold both, which say the same. */
static void bind_kv_b(struct binder *b, int l, struct ek_layer *layer)
{
    const struct ek_shape *s = &b->m->shape;
    bool old = ek_bind_find(b, l, "attn_kv_b.weight", false) != NULL;
    if (ek_bind_find(b, l, "attn_k_b.weight", false) || !old) {
        layer->k_b = ek_bind_matrix(b, l, "attn_k_b.weight", s->kv_lora, s->nope, s->heads, true);
        layer->v_b = ek_bind_matrix(b, l, "attn_v_b.weight", s->value, s->kv_lora, s->heads, true);
        return;
    }
    size_t each = s->nope + s->value;
    struct ek_matrix kv = ek_bind_matrix(b, l, "attn_kv_b.weight", s->heads * each, s->kv_lora, 1, true);
    if (!kv.data) return;
    kv.rows = each;
    kv.count = s->heads;
    kv.matrix_bytes = kv.row_bytes * each;
    layer->k_b_t = rows_of(kv, 0, s->nope);
    layer->v_b = rows_of(kv, s->nope, s->value);
}

void ek_bind_latent(struct binder *b, int l, struct ek_layer *layer)
{
    const struct ek_shape *s = &b->m->shape;
    uint64_t queries = (uint64_t)s->heads * (s->nope + s->rope);
    if (s->q_lora) {
        layer->q_a = ek_bind_matrix(b, l, "attn_q_a.weight", s->q_lora, s->embd, 1, true);
        layer->q_a_norm = ek_bind_floats(b, l, "attn_q_a_norm.weight", s->q_lora, true);
        layer->q_b = ek_bind_matrix(b, l, "attn_q_b.weight", queries, s->q_lora, 1, true);
    } else {
        layer->q = ek_bind_matrix(b, l, "attn_q.weight", queries, s->embd, 1, true);
    }
    layer->kv_a = ek_bind_matrix(b, l, "attn_kv_a_mqa.weight", s->kv_lora + s->rope, s->embd, 1, true);
    layer->kv_a_norm = ek_bind_floats(b, l, "attn_kv_a_norm.weight", s->kv_lora, true);
    bind_kv_b(b, l, layer);
}

/* Queries, keys and values apart, or one above the other in one matrix (and one bias). */
void ek_bind_grouped(struct binder *b, int l, struct ek_layer *layer)
{
    const struct ek_shape *s = &b->m->shape;
    size_t K = s->nope + s->rope, q = s->heads * K, k = s->kv_heads * K, v = s->kv_heads * s->value;
    bool biased = b->arch->biases;
    if (ek_bind_find(b, l, "attn_qkv.weight", false)) {
        struct ek_matrix w = ek_bind_matrix(b, l, "attn_qkv.weight", q + k + v, s->embd, 1, true);
        const float *bias = ek_bind_floats(b, l, "attn_qkv.bias", q + k + v, biased);
        layer->q = rows_of(w, 0, q);
        layer->k = rows_of(w, q, k);
        layer->v = rows_of(w, q + k, v);
        layer->q_bias = bias;
        layer->k_bias = bias ? bias + q : NULL;
        layer->v_bias = bias ? bias + q + k : NULL;
    } else {
        layer->q = ek_bind_matrix(b, l, "attn_q.weight", q, s->embd, 1, true);
        layer->k = ek_bind_matrix(b, l, "attn_k.weight", k, s->embd, 1, true);
        layer->v = ek_bind_matrix(b, l, "attn_v.weight", v, s->embd, 1, true);
        layer->q_bias = ek_bind_floats(b, l, "attn_q.bias", q, biased);
        layer->k_bias = ek_bind_floats(b, l, "attn_k.bias", k, biased);
        layer->v_bias = ek_bind_floats(b, l, "attn_v.bias", v, biased);
    }
    layer->out_bias = ek_bind_floats(b, l, "attn_output.bias", s->embd, false);
    ek_bind_find(b, l, "attn_rot_embd.weight", false); /* very old files: what rope_freq holds */
}

/* out[i][c][r] = w[i][r][c] in f32, in memory that is kept with the model. */
static enum ek_status transpose(struct ek_model *m, const struct ek_matrix *w, struct ek_matrix *out)
{
    size_t values = w->rows * w->cols * w->count;
    float *t = malloc(values * sizeof *t), *row = malloc(w->cols * sizeof *row);
    void **list = realloc(m->derived, (m->n_derived + 1) * sizeof *list);
    if (list) m->derived = list;
    if (!t || !row || !list) {
        free(t);
        free(row);
        return EK_NOMEM;
    }
    for (size_t i = 0; i < w->count; i++) {
        for (size_t r = 0; r < w->rows; r++) {
            ek_weight_row(ek_kernels_of(EK_ISA_GENERIC), w, i, r, row);
            for (size_t c = 0; c < w->cols; c++) t[(i * w->cols + c) * w->rows + r] = row[c];
        }
    }
    free(row);
    m->derived[m->n_derived++] = t;
    *out = (struct ek_matrix){
        .data = (const uint8_t *)t, .type = EK_GGML_F32, .rows = w->cols, .cols = w->rows,
        .count = w->count, .row_bytes = w->rows * sizeof *t,
        .matrix_bytes = w->rows * w->cols * sizeof *t,
    };
    return EK_OK;
}

void ek_bind_derive(struct binder *b)
{
    struct ek_model *m = b->m;
    const struct ek_shape *s = &m->shape;
    if (s->attention != EK_ATTENTION_LATENT) return;
    bool ahead = m->ahead.there && !m->ahead.layer.k_b.data; /* it never needs the other one */
    m->derived_bytes = ((uint64_t)s->layers + ahead) * s->heads * s->nope * s->kv_lora * sizeof(float);
    if (ahead && !b->look && transpose(m, &m->ahead.layer.k_b_t, &m->ahead.layer.k_b) != EK_OK) {
        m->ahead.there = false; /* there may be memory for the rest */
    }
    for (uint32_t l = 0; l < s->layers && !b->look; l++) {
        struct ek_layer *layer = &m->layers[l];
        enum ek_status status = layer->k_b.data ? transpose(m, &layer->k_b, &layer->k_b_t)
                                                : transpose(m, &layer->k_b_t, &layer->k_b);
        if (status == EK_OK) continue;
        ek_bind_complain(b, "no memory for transposed keys");
        b->status = status;
        return;
    }
}
