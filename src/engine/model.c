/* SPDX-License-Identifier: MIT */
/* From a GGUF file to a model: reads the shape, finds every tensor and checks it against the shape.
 *
 * One `struct binder` carries the file and the first complaint; every step does nothing once there is
 * one. Numbers from the file are bounded here, so that products of a few of them fit a size_t and
 * nothing later is allocated by an unchecked size. */
#include "engine/model.h"

#include "kernel/kernel.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct binder {
    struct ek_gguf *g;
    struct ek_model *m;
    bool failed;
    enum ek_status status;
    char *why;
    size_t why_cap;
};

EK_PRINTF(2, 3) static void complain(struct binder *b, const char *fmt, ...)
{
    if (b->failed) return;
    b->failed = true;
    b->status = EK_INVALID;
    va_list args;
    va_start(args, fmt);
    vsnprintf(b->why, b->why_cap, fmt, args);
    va_end(args);
}

static const char *arch_key(char out[96], const char *name)
{
    snprintf(out, 96, "deepseek2.%s", name);
    return out;
}

/* A count between min and max; absent is `fallback`, or a complaint when fallback is negative. */
static uint32_t count_of(struct binder *b, const char *name, uint32_t min, uint32_t max,
                         int64_t fallback)
{
    char key[96];
    uint64_t v = 0;
    enum ek_status s = ek_gguf_u64(b->g, arch_key(key, name), &v);
    if (s == EK_ABSENT && fallback >= 0) return (uint32_t)fallback;
    if (s == EK_ABSENT) {
        complain(b, "the key %s is missing", key);
    } else if (s != EK_OK) {
        complain(b, "the key %s is not a count", key);
    } else if (v < min || v > max) {
        complain(b, "the key %s is %llu; %u to %u can be computed", key, (unsigned long long)v, min,
                 max);
    }
    return b->failed ? min : (uint32_t)v;
}

static float real_of(struct binder *b, const char *name, float fallback)
{
    char key[96];
    float v = fallback;
    enum ek_status s = ek_gguf_f32(b->g, arch_key(key, name), &v);
    if (s == EK_INVALID || !isfinite(v) || v < 0) {
        complain(b, "the key %s is not a finite number of at least 0", key);
        return fallback;
    }
    return v;
}

static void read_sizes(struct binder *b, struct ek_shape *s)
{
    uint32_t nextn = count_of(b, "nextn_predict_layers", 0, 16, 0);
    uint32_t blocks = count_of(b, "block_count", 1, 1024, -1);
    if (!b->failed && nextn >= blocks) complain(b, "all %u blocks predict later tokens", blocks);
    s->layers = blocks - nextn;
    s->dense_layers = count_of(b, "leading_dense_block_count", 0, 1024, 0);
    if (s->dense_layers > s->layers) s->dense_layers = s->layers;
    s->embd = count_of(b, "embedding_length", 1, 1 << 16, -1);
    s->heads = count_of(b, "attention.head_count", 1, 4096, -1);
    s->kv_lora = count_of(b, "attention.kv_lora_rank", 1, 1 << 14, -1);
    s->q_lora = count_of(b, "attention.q_lora_rank", 0, 1 << 16, 0);
    s->rope = count_of(b, "rope.dimension_count", 2, 4096, -1);
    bool mla = ek_gguf_find(b->g, "deepseek2.attention.key_length_mla") != NULL;
    uint32_t key = count_of(b, mla ? "attention.key_length_mla" : "attention.key_length", 1, 8192, -1);
    s->value = count_of(b, mla ? "attention.value_length_mla" : "attention.value_length", 1, 8192, -1);
    if (!b->failed && (s->rope % 2 != 0 || s->rope >= key)) {
        complain(b, "keys of %u with a rope part of %u cannot be computed", key, s->rope);
    }
    s->nope = key > s->rope ? key - s->rope : 1;
    s->ff = count_of(b, "feed_forward_length", 1, 1 << 20, s->dense_layers ? -1 : 1);
    s->ctx_tokens = count_of(b, "context_length", 1, 1 << 28, 4096);
    s->norm_eps = real_of(b, "attention.layer_norm_rms_epsilon", 1e-6f);
}

static void read_experts(struct binder *b, struct ek_shape *s)
{
    char key[96];
    if (s->dense_layers == s->layers) return;
    s->experts = count_of(b, "expert_count", 1, 4096, -1);
    s->experts_used = count_of(b, "expert_used_count", 1, 64, -1);
    s->expert_ff = count_of(b, "expert_feed_forward_length", 1, 1 << 18, -1);
    s->shared_ff = s->expert_ff * count_of(b, "expert_shared_count", 0, 64, 0);
    s->groups = count_of(b, "expert_group_count", 0, 4096, 1);
    s->groups_used = count_of(b, "expert_group_used_count", 0, 4096, 1);
    s->weights_scale = real_of(b, "expert_weights_scale", 1.0f);
    if (s->weights_scale == 0) s->weights_scale = 1; /* llama.cpp: 0 means no scaling */
    if (ek_gguf_bool(b->g, arch_key(key, "expert_weights_norm"), &s->weights_norm) == EK_INVALID) {
        complain(b, "the key %s is not a truth value", key);
    }
    uint32_t gate = count_of(b, "expert_gating_func", 0, 64, EK_GATE_SOFTMAX);
    if (gate == 0) gate = EK_GATE_SOFTMAX; /* V2 files are older than the key */
    if (!b->failed && gate != EK_GATE_SOFTMAX && gate != EK_GATE_SIGMOID) {
        complain(b, "expert_gating_func %u is not known (1 softmax, 2 sigmoid)", gate);
    }
    s->gate = (enum ek_gate)gate;
    if (s->groups <= 1) s->groups = s->groups_used = 1;
    if (b->failed) return;
    if (s->experts % s->groups != 0 || s->groups_used < 1 || s->groups_used > s->groups ||
        s->experts_used > s->experts / s->groups * s->groups_used) {
        complain(b, "%u of %u experts cannot be chosen from %u of %u groups", s->experts_used,
                 s->experts, s->groups_used, s->groups);
    }
}

/* YaRN (Peng et al. 2023, 2309.00071, section 3.2-3.4) as the DeepSeek models use it: frequencies
 * that turn slowly are divided by the factor, fast ones are kept, between lies a ramp; the attention
 * logits are scaled by mscale squared and cosine and sine are not. */
static void read_rope(struct binder *b, struct ek_model *m)
{
    struct ek_shape *s = &m->shape;
    struct ek_str kind = EK_STR("none");
    double base = (double)real_of(b, "rope.freq_base", 10000.0f);
    if (ek_gguf_str(b->g, "deepseek2.rope.scaling.type", &kind) == EK_INVALID) {
        complain(b, "the key deepseek2.rope.scaling.type is not a string");
    }
    bool yarn = ek_str_eq(kind, EK_STR("yarn"));
    if (!yarn && !ek_str_eq(kind, EK_STR("none"))) {
        complain(b, "rope.scaling.type '%.*s' is not known (yarn, none)",
                 kind.len < 40 ? (int)kind.len : 40, kind.data);
    }
    double factor = yarn ? (double)real_of(b, "rope.scaling.factor", 1.0f) : 1;
    double fast = (double)real_of(b, "rope.scaling.yarn_beta_fast", 32.0f);
    double slow = (double)real_of(b, "rope.scaling.yarn_beta_slow", 1.0f);
    double orig = yarn ? count_of(b, "rope.scaling.original_context_length", 1, 1 << 28, s->ctx_tokens)
                       : 1;
    double log_mul = yarn ? (double)real_of(b, "rope.scaling.yarn_log_multiplier", 0.0f) : 0;
    if (base <= 1 || factor < 1 || fast <= 0 || slow <= 0) {
        complain(b, "rope.freq_base %g or a rope.scaling value is out of range", base);
    }
    if (b->failed) return;
    double R = s->rope, turns = R / (2 * log(base));
    double low = fmax(0, floor(turns * log(orig / (fast * 2 * M_PI))));
    double high = fmin(R - 1, ceil(turns * log(orig / (slow * 2 * M_PI))));
    m->rope_freq = calloc(s->rope / 2, sizeof *m->rope_freq);
    MUST(m->rope_freq != NULL);
    for (uint32_t i = 0; i < s->rope / 2; i++) {
        double f = pow(base, -2.0 * i / R);
        double ramp = fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
        m->rope_freq[i] = yarn ? f / factor * ramp + f * (1 - ramp) : f;
    }
    double mscale = 1 + log_mul * log(factor); /* the file holds 0.1 * mscale_all_dim */
    s->attn_scale = (float)(mscale * mscale / sqrt((double)(s->nope + s->rope)));
}

/* The tensor blk.LAYER.NAME, or NAME when layer < 0; complains when it is missing and required. */
static const struct ek_gguf_tensor *find(struct binder *b, int layer, const char *name, bool required)
{
    char full[96];
    if (layer >= 0) {
        snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    } else {
        snprintf(full, sizeof full, "%s", name);
    }
    const struct ek_gguf_tensor *t = b->failed ? NULL : ek_gguf_tensor(b->g, full);
    if (!t && required) complain(b, "the tensor %s is missing", full);
    return t;
}

/* `count` matrices of [rows][cols]; no data when the tensor is absent and not required. */
static struct ek_matrix matrix(struct binder *b, int layer, const char *name, uint64_t rows,
                               uint64_t cols, uint64_t count, bool required)
{
    const struct ek_gguf_tensor *t = find(b, layer, name, required);
    if (!t) return (struct ek_matrix){0};
    if (t->ne[0] != cols || t->ne[1] != rows || t->ne[2] != count || t->ne[3] != 1) {
        complain(b, "the tensor %.*s is [%llu, %llu, %llu, %llu]; [%llu, %llu, %llu] was expected",
                 (int)t->name.len, t->name.data, (unsigned long long)t->ne[0],
                 (unsigned long long)t->ne[1], (unsigned long long)t->ne[2],
                 (unsigned long long)t->ne[3], (unsigned long long)cols, (unsigned long long)rows,
                 (unsigned long long)count);
    } else if (!ek_weight_computable(t->type)) {
        complain(b, "the tensor %.*s has type %s, which cannot be computed (these can: F32, F16, BF16, "
                 "Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS)",
                 (int)t->name.len, t->name.data, ek_ggml_type_name(t->type));
    }
    if (b->failed) return (struct ek_matrix){0};
    return (struct ek_matrix){
        .data = t->data, .type = t->type, .rows = rows, .cols = cols, .count = count,
        .row_bytes = t->row_bytes, .matrix_bytes = t->row_bytes * rows,
    };
}

static const float *gains(struct binder *b, int layer, const char *name, uint64_t n, bool required)
{
    struct ek_matrix m = matrix(b, layer, name, 1, n, 1, required);
    if (m.data && m.type != EK_GGML_F32) complain(b, "a tensor %s is not F32", name);
    return (const float *)(const void *)m.data;
}

/* Memory for matrices that are not in the file, kept with the model. */
static float *derive(struct binder *b, struct ek_matrix *out, size_t rows, size_t cols, size_t count)
{
    float *f = malloc(rows * cols * count * sizeof *f);
    void **list = realloc(b->m->derived, (b->m->n_derived + 1) * sizeof *list);
    if (list) b->m->derived = list;
    if (!f || !list) {
        complain(b, "no memory for transposed keys");
        b->status = EK_NOMEM;
        free(f);
        return NULL;
    }
    b->m->derived[b->m->n_derived++] = f;
    *out = (struct ek_matrix){
        .data = (const uint8_t *)f, .type = EK_GGML_F32, .rows = rows, .cols = cols, .count = count,
        .row_bytes = cols * sizeof *f, .matrix_bytes = rows * cols * sizeof *f,
    };
    b->m->derived_bytes += rows * cols * count * sizeof *f;
    return f;
}

/* out[i][c][r] = w[i][r][c], in f32. */
static void transpose(struct binder *b, const struct ek_matrix *w, struct ek_matrix *out)
{
    if (b->failed) return;
    float *row = malloc(w->cols * sizeof *row);
    float *t = row ? derive(b, out, w->cols, w->rows, w->count) : NULL;
    for (size_t i = 0; t && i < w->count; i++) {
        for (size_t r = 0; r < w->rows; r++) {
            ek_weight_row(ek_kernels_of(EK_ISA_GENERIC), w, i, r, row);
            for (size_t c = 0; c < w->cols; c++) t[(i * w->cols + c) * w->rows + r] = row[c];
        }
    }
    free(row);
}

/* Newer files hold k_b (already transposed for the absorbed form) and v_b; older ones one kv_b whose
 * rows are, head by head, N rows of keys and V rows of values: views of it serve as they are. */
static void bind_kv_b(struct binder *b, int l, struct ek_layer *layer)
{
    const struct ek_shape *s = &b->m->shape;
    if (find(b, l, "attn_k_b.weight", false) || !find(b, l, "attn_kv_b.weight", false)) {
        layer->k_b = matrix(b, l, "attn_k_b.weight", s->kv_lora, s->nope, s->heads, true);
        layer->v_b = matrix(b, l, "attn_v_b.weight", s->value, s->kv_lora, s->heads, true);
        transpose(b, &layer->k_b, &layer->k_b_t);
        return;
    }
    uint64_t rows = (uint64_t)s->heads * (s->nope + s->value);
    struct ek_matrix kv = matrix(b, l, "attn_kv_b.weight", rows, s->kv_lora, 1, true);
    if (b->failed) return;
    kv.count = s->heads;
    kv.matrix_bytes = kv.row_bytes * (s->nope + s->value);
    layer->k_b_t = layer->v_b = kv;
    layer->k_b_t.rows = s->nope;
    layer->v_b.rows = s->value;
    layer->v_b.data += kv.row_bytes * s->nope;
    transpose(b, &layer->k_b_t, &layer->k_b);
}

static void bind_attention(struct binder *b, int l, struct ek_layer *layer)
{
    const struct ek_shape *s = &b->m->shape;
    uint64_t queries = (uint64_t)s->heads * (s->nope + s->rope);
    layer->attn_norm = gains(b, l, "attn_norm.weight", s->embd, true);
    if (s->q_lora) {
        layer->q_a = matrix(b, l, "attn_q_a.weight", s->q_lora, s->embd, 1, true);
        layer->q_a_norm = gains(b, l, "attn_q_a_norm.weight", s->q_lora, true);
        layer->q_b = matrix(b, l, "attn_q_b.weight", queries, s->q_lora, 1, true);
    } else {
        layer->q = matrix(b, l, "attn_q.weight", queries, s->embd, 1, true);
    }
    layer->kv_a = matrix(b, l, "attn_kv_a_mqa.weight", s->kv_lora + s->rope, s->embd, 1, true);
    layer->kv_a_norm = gains(b, l, "attn_kv_a_norm.weight", s->kv_lora, true);
    bind_kv_b(b, l, layer);
    layer->out = matrix(b, l, "attn_output.weight", s->embd, (uint64_t)s->heads * s->value, 1, true);
    layer->ffn_norm = gains(b, l, "ffn_norm.weight", s->embd, true);
}

static struct ek_ffn ffn(struct binder *b, int l, const char *suffix, uint64_t hidden, uint64_t count)
{
    char gate[64], up[64], down[64];
    uint32_t E = b->m->shape.embd;
    snprintf(gate, sizeof gate, "ffn_gate%s.weight", suffix);
    snprintf(up, sizeof up, "ffn_up%s.weight", suffix);
    snprintf(down, sizeof down, "ffn_down%s.weight", suffix);
    return (struct ek_ffn){
        .gate = matrix(b, l, gate, hidden, E, count, true),
        .up = matrix(b, l, up, hidden, E, count, true),
        .down = matrix(b, l, down, E, hidden, count, true),
    };
}

static void bind_layer(struct binder *b, int l, struct ek_layer *layer)
{
    const struct ek_shape *s = &b->m->shape;
    bind_attention(b, l, layer);
    if ((uint32_t)l < s->dense_layers) {
        layer->dense = ffn(b, l, "", s->ff, 1);
        return;
    }
    layer->router = matrix(b, l, "ffn_gate_inp.weight", s->experts, s->embd, 1, true);
    layer->router_bias = gains(b, l, "exp_probs_b.bias", s->experts, false);
    layer->experts = ffn(b, l, "_exps", s->expert_ff, s->experts);
    if (s->shared_ff) layer->shared = ffn(b, l, "_shexp", s->shared_ff, 1);
}

static void bind_all(struct binder *b)
{
    struct ek_model *m = b->m;
    struct ek_str arch = {0};
    if (ek_gguf_str(b->g, "general.architecture", &arch) != EK_OK ||
        !ek_str_eq(arch, EK_STR("deepseek2"))) {
        complain(b, "the architecture is '%.*s'; deepseek2 can be computed",
                 arch.len < 40 ? (int)arch.len : 40, arch.data ? arch.data : "");
        return;
    }
    read_sizes(b, &m->shape);
    uint64_t parts = 1;
    if (ek_gguf_u64(b->g, "split.count", &parts) != EK_ABSENT && parts > 1) {
        complain(b, "this is one of %llu parts of a model; join them with llama-gguf-split --merge",
                 (unsigned long long)parts);
    }
    if (!b->failed) read_experts(b, &m->shape);
    if (!b->failed) read_rope(b, m);
    const struct ek_gguf_tensor *embd = find(b, -1, "token_embd.weight", true);
    if (b->failed) return;
    if (embd->ne[1] > 1 << 24) complain(b, "a vocabulary of more than 2^24 tokens");
    m->shape.vocab = (uint32_t)embd->ne[1];
    m->embd = matrix(b, -1, "token_embd.weight", m->shape.vocab, m->shape.embd, 1, true);
    m->out_norm = gains(b, -1, "output_norm.weight", m->shape.embd, true);
    m->out = matrix(b, -1, "output.weight", m->shape.vocab, m->shape.embd, 1, false);
    if (!m->out.data) m->out = m->embd;
    m->layers = calloc(m->shape.layers, sizeof *m->layers);
    MUST(m->layers != NULL);
    for (uint32_t l = 0; l < m->shape.layers && !b->failed; l++) {
        bind_layer(b, (int)l, &m->layers[l]);
    }
}

enum ek_status ek_model_bind(struct ek_gguf **gguf, struct ek_model **out, char *why, size_t why_cap)
{
    MUST(gguf && *gguf);
    MUST(out && why_cap > 0);
    struct ek_model *m = calloc(1, sizeof *m);
    MUST(m != NULL);
    m->magic = EK_MODEL_MAGIC;
    m->gguf = *gguf;
    *gguf = NULL;
    struct binder b = {.g = m->gguf, .m = m, .why = why, .why_cap = why_cap, .status = EK_OK};
    bind_all(&b);
    if (b.failed) ek_model_free(&m);
    *out = m;
    return b.status;
}

enum ek_status ek_model_open(const char *path, struct ek_model **out, char *why, size_t why_cap)
{
    struct ek_gguf *g = NULL;
    *out = NULL;
    enum ek_status s = ek_gguf_open(path, &g, why, why_cap);
    if (s != EK_OK) return s;
    return ek_model_bind(&g, out, why, why_cap);
}

void ek_model_free(struct ek_model **mp)
{
    struct ek_model *m = *mp;
    if (!m) return;
    MUST_OBJ(m, EK_MODEL_MAGIC);
    for (size_t i = 0; i < m->n_derived; i++) free(m->derived[i]);
    free(m->derived);
    free(m->layers);
    free(m->rope_freq);
    ek_gguf_close(&m->gguf);
    m->magic = 0;
    free(m);
    *mp = NULL;
}
