/* SPDX-License-Identifier: MIT */
/* Small random models of every kind, made in memory from a seed: the project's own golden material, which
 * every machine has. The shapes are chosen to be awkward: widths that are no multiple of any vector,
 * a latent that spans several, more heads than a block of them. */
#ifndef EK_TESTS_MODEL_MAKER_H
#define EK_TESTS_MODEL_MAKER_H

#include "gguf_maker.h"

#include "engine/gguf.h"
#include "kernel/kernel.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

struct recipe {
    const char *name;
    uint32_t embd, layers, dense, heads, nope, rope, value, kv_lora, q_lora, ff;
    uint32_t experts, used, expert_ff, shared, groups, groups_used, vocab;
    bool sigmoid, norm, yarn, tied, legacy;
    const char *arch;      /* NULL: deepseek2; else qwen2 or llama, whose heads are [nope + rope] wide */
    uint32_t kv_heads;
    bool fused, merged, divisors, nextn; /* attn_qkv; ffn_gate_up_exps; rope_freqs; a block too many */
    uint32_t type; /* of the matrices (enum ek_ggml_type); rows that are no whole blocks fall back */
    uint32_t finer; /* of the down and output matrices, as mixtures have it; 0: the same */
    uint64_t seed;
};

/* V2's features: plain queries, softmax gate, two shared experts. */
static const struct recipe recipe_v2 = {
    .name = "v2", .embd = 64, .layers = 3, .dense = 1, .heads = 3, .nope = 32, .rope = 8, .value = 32,
    .kv_lora = 32, .ff = 96, .experts = 6, .used = 2, .expert_ff = 32, .shared = 2, .vocab = 160,
    .yarn = true, .seed = 1,
};
/* V3's: compressed queries, sigmoid gate with bias, groups, normalised weights; 18 heads. */
static const struct recipe recipe_v3 = {
    .name = "v3", .embd = 96, .layers = 3, .dense = 1, .heads = 18, .nope = 32, .rope = 16, .value = 32,
    .kv_lora = 64, .q_lora = 64, .ff = 128, .experts = 16, .used = 4, .expert_ff = 64, .shared = 1,
    .groups = 4, .groups_used = 2, .vocab = 200, .sigmoid = true, .norm = true, .yarn = true, .seed = 2,
};
/* Nothing is a multiple of 16; no experts' groups, no YaRN, tied output. For float types only. */
static const struct recipe recipe_odd = {
    .name = "odd", .embd = 50, .layers = 2, .dense = 0, .heads = 5, .nope = 13, .rope = 6, .value = 11,
    .kv_lora = 37, .q_lora = 29, .ff = 1, .experts = 7, .used = 3, .expert_ff = 21, .shared = 1,
    .vocab = 123, .sigmoid = true, .norm = true, .tied = true, .seed = 3,
};

/* Rows of 256, as the K types need them. */
static const struct recipe recipe_k = {
    .name = "k", .embd = 256, .layers = 2, .dense = 1, .heads = 4, .nope = 64, .rope = 32, .value = 64,
    .kv_lora = 256, .q_lora = 256, .ff = 256, .experts = 4, .used = 2, .expert_ff = 256, .shared = 1,
    .vocab = 100, .sigmoid = true, .norm = true, .yarn = true, .seed = 4,
};

/* A distill on Qwen2: biases, rotation by halves, tied output. */
static const struct recipe recipe_qwen2 = {
    .name = "qwen2", .arch = "qwen2", .embd = 96, .layers = 3, .dense = 3, .heads = 6, .kv_heads = 2,
    .rope = 16, .value = 16, .ff = 160, .vocab = 150, .tied = true, .seed = 5,
};
/* A distill on Llama 3: neighbours are rotated, by frequencies with divisors. */
static const struct recipe recipe_llama = {
    .name = "llama", .arch = "llama", .embd = 64, .layers = 2, .dense = 2, .heads = 8, .kv_heads = 4,
    .rope = 32, .value = 32, .ff = 128, .vocab = 140, .divisors = true, .seed = 6,
};
/* Nothing is a multiple of anything, and only a part of a head is rotated; values are wider than keys. */
static const struct recipe recipe_odd_heads = {
    .name = "odd heads", .arch = "llama", .embd = 45, .layers = 2, .dense = 2, .heads = 9, .kv_heads = 3,
    .nope = 5, .rope = 6, .value = 13, .ff = 37, .vocab = 77, .yarn = true, .fused = true, .seed = 7,
};

static inline uint64_t maker_random(uint64_t *s)
{
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline float maker_gauss(uint64_t *s)
{
    double u = ((double)(maker_random(s) >> 11) + 0.5) * 0x1p-53;
    double v = (double)(maker_random(s) >> 11) * 0x1p-53;
    return (float)(sqrt(-2 * log(u)) * cos(2 * M_PI * v));
}

/* What is known of a quantised type: its blocks, where its scale lies (and its minimum, if it has one,
 * two bytes behind), the spread of its integers and their middle. */
struct maker_quant {
    uint32_t type;
    size_t values, bytes, scale_at;
    float spread, middle;
};

static inline const struct maker_quant *maker_quant_of(uint32_t type)
{
    static const struct maker_quant quants[] = {
        {EK_GGML_Q4_0, 32, 18, 0, 4.6f, 0},     {EK_GGML_Q4_1, 32, 20, 0, 4.6f, -7.5f},
        {EK_GGML_Q5_0, 32, 22, 0, 9.2f, 0},     {EK_GGML_Q5_1, 32, 24, 0, 9.2f, -15.5f},
        {EK_GGML_IQ4_NL, 32, 18, 0, 68, 0},     {EK_GGML_Q4_K, 256, 144, 0, 32 * 4.6f, 7.5f},
        {EK_GGML_Q5_K, 256, 176, 0, 32 * 9.2f, 15.5f}, {EK_GGML_Q6_K, 256, 210, 208, 64 * 18.5f, 0},
        {EK_GGML_IQ4_XS, 256, 136, 0, 16 * 68, 0},
    };
    for (size_t i = 0; i < sizeof quants / sizeof *quants; i++) {
        if (quants[i].type == type) return &quants[i];
    }
    return NULL;
}

/* n weights of random blocks with the standard deviation asked for; sub-block scales are all alike. */
static inline void maker_blocks(struct bytes *out, const struct maker_quant *q, uint64_t *seed, size_t n,
                                float deviation)
{
    const struct ek_kernels *k = ek_kernels_of(EK_ISA_GENERIC);
    bool k4 = q->type == EK_GGML_Q4_K || q->type == EK_GGML_Q5_K;
    for (size_t at = 0; at < n; at += q->values) {
        uint8_t b[256];
        float d = deviation / q->spread, m = d * q->middle;
        for (size_t i = 0; i < q->bytes; i++) b[i] = (uint8_t)maker_random(seed);
        if (k4) {
            memset(b + 4, 160, 8); /* scales and minima of 32 */
            memset(b + 12, 0, 4);
        }
        if (q->type == EK_GGML_Q6_K) memset(b + 192, 64, 16);
        if (q->type == EK_GGML_IQ4_XS) memcpy(b + 2, "\xff\xff\0\0\0\0", 6); /* scales of 48 - 32 */
        k->store_f16(b + q->scale_at, &d, 1);
        if (q->middle < 0 || k4) k->store_f16(b + q->scale_at + 2, &m, 1);
        bytes_put(out, b, q->bytes);
    }
}

/* Rows of `type` from f32 numbers. */
static inline void maker_encode(struct bytes *out, uint32_t type, const float *x, size_t n)
{
    const struct ek_kernels *k = ek_kernels_of(EK_ISA_GENERIC);
    if (type == 0) bytes_put(out, x, n * sizeof *x);
    for (size_t i = 0; i < n && (type == 1 || type == 30); i++) {
        uint16_t h;
        if (type == 1) k->store_f16(&h, x + i, 1);
        if (type == 30) k->store_bf16(&h, x + i, 1);
        bytes_put(out, &h, 2);
    }
    for (size_t i = 0; i < n && type == 8; i += EK_Q8_BLOCK) {
        struct ek_q8_block q;
        k->quant_q8(&q, x + i, EK_Q8_BLOCK);
        struct ek_q8_0_block b;
        k->store_f16(&b.d, &q.d, 1);
        memcpy(b.q, q.q, sizeof b.q);
        bytes_put(out, &b, sizeof b);
    }
}

/* A random tensor; `gain` 0 makes it a vector of numbers around 1 (norms), else scaled by 1/sqrt(ne0). */
static inline void maker_random_tensor(struct maker *m, uint64_t *seed, const char *name, uint32_t type,
                                       uint64_t a, uint64_t b, uint64_t c, float gain)
{
    const uint64_t ne[3] = {a, b, c};
    size_t n = a * b * c;
    struct bytes encoded = {0};
    float *x = malloc(n * sizeof *x);
    if (!x) abort();
    const struct maker_quant *quant = maker_quant_of(type);
    if (quant && a % quant->values != 0) type = a % 32 == 0 ? EK_GGML_Q5_0 : EK_GGML_F16; /* as real files */
    quant = maker_quant_of(type);
    if (quant) {
        maker_blocks(&encoded, quant, seed, n, gain / sqrtf((float)a));
    } else {
        for (size_t i = 0; i < n; i++) {
            float g = maker_gauss(seed);
            x[i] = gain == 0 ? 1 + 0.1f * g : g * gain / sqrtf((float)a);
        }
        maker_encode(&encoded, type, x, n);
    }
    maker_tensor(m, name, c > 1 ? 3 : b > 1 ? 2 : 1, ne, type, encoded.data, encoded.len);
    free(encoded.data);
    free(x);
}

/* Keys of an architecture: its name, a dot and the rest. */
static inline const char *maker_named(const struct recipe *r, const char *rest)
{
    static char key[96];
    snprintf(key, sizeof key, "%s.%s", r->arch ? r->arch : "deepseek2", rest);
    return key;
}
#define KEY_U32(rest, v) maker_u32(m, maker_named(r, rest), v)
#define KEY_F32(rest, v) maker_f32(m, maker_named(r, rest), v)

static inline void maker_latent_keys(struct maker *m, const struct recipe *r)
{
    KEY_U32("attention.kv_lora_rank", r->kv_lora);
    if (r->q_lora) KEY_U32("attention.q_lora_rank", r->q_lora);
    KEY_U32(r->legacy ? "attention.key_length" : "attention.key_length_mla", r->nope + r->rope);
    KEY_U32(r->legacy ? "attention.value_length" : "attention.value_length_mla", r->value);
    KEY_U32("leading_dense_block_count", r->dense);
    KEY_U32("expert_count", r->experts);
    KEY_U32("expert_used_count", r->used);
    KEY_U32("expert_feed_forward_length", r->expert_ff);
    KEY_U32("expert_shared_count", r->shared);
    KEY_F32("expert_weights_scale", r->sigmoid ? 2.5f : 1.0f);
    maker_bool(m, maker_named(r, "expert_weights_norm"), r->norm);
    KEY_U32("expert_gating_func", r->sigmoid ? 2 : 1);
    if (!r->groups) return;
    KEY_U32("expert_group_count", r->groups);
    KEY_U32("expert_group_used_count", r->groups_used);
}

static inline void maker_shape(struct maker *m, const struct recipe *r)
{
    maker_str(m, "general.architecture", r->arch ? r->arch : "deepseek2");
    maker_str(m, "general.name", r->name);
    KEY_U32("block_count", r->layers + r->nextn);
    if (r->nextn) KEY_U32("nextn_predict_layers", 1);
    KEY_U32("context_length", 4096);
    KEY_U32("embedding_length", r->embd);
    KEY_U32("feed_forward_length", r->ff);
    KEY_U32("attention.head_count", r->heads);
    KEY_U32("rope.dimension_count", r->rope);
    KEY_F32("rope.freq_base", 10000);
    KEY_F32("attention.layer_norm_rms_epsilon", 1e-6f);
    if (r->arch) {
        KEY_U32("attention.head_count_kv", r->kv_heads);
        KEY_U32("attention.key_length", r->nope + r->rope);
        KEY_U32("attention.value_length", r->value);
    } else {
        maker_latent_keys(m, r);
    }
    if (!r->yarn) return;
    maker_str(m, maker_named(r, "rope.scaling.type"), "yarn");
    KEY_F32("rope.scaling.factor", 40);
    KEY_U32("rope.scaling.original_context_length", 64);
    if (!r->arch) KEY_F32("rope.scaling.yarn_log_multiplier", 0.1f);
}

static inline uint32_t maker_finer(const struct recipe *r) { return r->finer ? r->finer : r->type; }

#define TENSOR(what, type, a, b, c, gain)                                                          \
    (snprintf(name, sizeof name, "blk.%u.%s", l, what),                                            \
     maker_random_tensor(m, seed, name, type, a, b, c, gain))

static inline void maker_latent(struct maker *m, const struct recipe *r, uint32_t l, uint64_t *seed)
{
    char name[96];
    uint64_t queries = (uint64_t)r->heads * (r->nope + r->rope);
    if (r->q_lora) {
        TENSOR("attn_q_a.weight", r->type, r->embd, r->q_lora, 1, 1);
        TENSOR("attn_q_a_norm.weight", 0, r->q_lora, 1, 1, 0);
        TENSOR("attn_q_b.weight", r->type, r->q_lora, queries, 1, 1.5f);
    } else {
        TENSOR("attn_q.weight", r->type, r->embd, queries, 1, 1.5f);
    }
    TENSOR("attn_kv_a_mqa.weight", r->type, r->embd, r->kv_lora + r->rope, 1, 1);
    TENSOR("attn_kv_a_norm.weight", 0, r->kv_lora, 1, 1, 0);
    if (r->legacy) {
        TENSOR("attn_kv_b.weight", r->type, r->kv_lora, r->heads * (r->nope + r->value), 1, 1);
    } else {
        TENSOR("attn_k_b.weight", r->type, r->nope, r->kv_lora, r->heads, 1);
        TENSOR("attn_v_b.weight", r->type, r->kv_lora, r->value, r->heads, 1);
    }
}

static inline void maker_grouped(struct maker *m, const struct recipe *r, uint32_t l, uint64_t *seed)
{
    char name[96];
    uint32_t q = r->heads * (r->nope + r->rope), k = r->kv_heads * (r->nope + r->rope);
    uint32_t v = r->kv_heads * r->value;
    bool biased = r->arch && strcmp(r->arch, "qwen2") == 0;
    if (r->fused) {
        TENSOR("attn_qkv.weight", r->type, r->embd, q + k + v, 1, 1.5f);
        if (biased) TENSOR("attn_qkv.bias", 0, q + k + v, 1, 1, 1);
        return;
    }
    TENSOR("attn_q.weight", r->type, r->embd, q, 1, 1.5f);
    TENSOR("attn_k.weight", r->type, r->embd, k, 1, 1.5f);
    TENSOR("attn_v.weight", r->type, r->embd, v, 1, 1.5f);
    if (!biased) return;
    TENSOR("attn_q.bias", 0, q, 1, 1, 1);
    TENSOR("attn_k.bias", 0, k, 1, 1, 1);
    TENSOR("attn_v.bias", 0, v, 1, 1, 1);
}

static inline void maker_experts(struct maker *m, const struct recipe *r, uint32_t l, uint64_t *seed)
{
    char name[96];
    TENSOR("ffn_gate_inp.weight", 0, r->embd, r->experts, 1, 1);
    if (r->sigmoid) TENSOR("exp_probs_b.bias", 0, r->experts, 1, 1, 1);
    if (r->merged) {
        TENSOR("ffn_gate_up_exps.weight", r->type, r->embd, 2 * r->expert_ff, r->experts, 1);
    } else {
        TENSOR("ffn_gate_exps.weight", r->type, r->embd, r->expert_ff, r->experts, 1);
        TENSOR("ffn_up_exps.weight", r->type, r->embd, r->expert_ff, r->experts, 1);
    }
    TENSOR("ffn_down_exps.weight", maker_finer(r), r->expert_ff, r->embd, r->experts, 1);
    if (!r->shared) return;
    TENSOR("ffn_gate_shexp.weight", r->type, r->embd, r->expert_ff * r->shared, 1, 1);
    TENSOR("ffn_up_shexp.weight", r->type, r->embd, r->expert_ff * r->shared, 1, 1);
    TENSOR("ffn_down_shexp.weight", maker_finer(r), r->expert_ff * r->shared, r->embd, 1, 1);
}

static inline void maker_layer(struct maker *m, const struct recipe *r, uint32_t l, uint64_t *seed)
{
    char name[96];
    TENSOR("attn_norm.weight", 0, r->embd, 1, 1, 0);
    if (r->arch) {
        maker_grouped(m, r, l, seed);
    } else {
        maker_latent(m, r, l, seed);
    }
    TENSOR("attn_output.weight", r->type, r->heads * r->value, r->embd, 1, 1);
    TENSOR("ffn_norm.weight", 0, r->embd, 1, 1, 0);
    if (l >= r->dense) {
        maker_experts(m, r, l, seed);
        return;
    }
    TENSOR("ffn_gate.weight", r->type, r->embd, r->ff, 1, 1);
    TENSOR("ffn_up.weight", r->type, r->embd, r->ff, 1, 1);
    TENSOR("ffn_down.weight", maker_finer(r), r->ff, r->embd, 1, 1);
}

/* What a block for later tokens holds besides a layer. */
static inline void maker_nextn(struct maker *m, const struct recipe *r, uint64_t *seed)
{
    char name[96];
    uint32_t l = r->layers;
    maker_layer(m, r, l, seed);
    TENSOR("nextn.eh_proj.weight", r->type, 2 * r->embd, r->embd, 1, 1);
    TENSOR("nextn.enorm.weight", 0, r->embd, 1, 1, 0);
    TENSOR("nextn.hnorm.weight", 0, r->embd, 1, 1, 0);
    TENSOR("nextn.shared_head_norm.weight", 0, r->embd, 1, 1, 0);
}

static inline struct maker maker_model(const struct recipe *r)
{
    struct maker m = maker_new();
    uint64_t seed = r->seed;
    maker_shape(&m, r);
    maker_random_tensor(&m, &seed, "token_embd.weight", r->type, r->embd, r->vocab, 1, 4);
    maker_random_tensor(&m, &seed, "output_norm.weight", 0, r->embd, 1, 1, 0);
    if (!r->tied) maker_random_tensor(&m, &seed, "output.weight", maker_finer(r), r->embd, r->vocab, 1, 3);
    for (uint32_t l = 0; l < r->layers; l++) maker_layer(&m, r, l, &seed);
    if (r->nextn) maker_nextn(&m, r, &seed);
    if (r->divisors) maker_random_tensor(&m, &seed, "rope_freqs.weight", 0, r->rope / 2, 1, 1, 0);
    return m;
}

/* Files that models are bound to must outlive them: kept here until a test program ends. */
enum { MAKER_KEPT_MAX = 64 };
static uint8_t *maker_kept[MAKER_KEPT_MAX];

static inline uint8_t *maker_keep(struct maker *m, size_t *len)
{
    for (size_t i = 0; i < MAKER_KEPT_MAX; i++) {
        if (maker_kept[i]) continue;
        maker_kept[i] = maker_file(m, len);
        maker_free(m);
        return maker_kept[i];
    }
    abort();
}

static inline void maker_drop_kept(void)
{
    for (size_t i = 0; i < MAKER_KEPT_MAX; i++) {
        free(maker_kept[i]);
        maker_kept[i] = NULL;
    }
}

/* The model as a file in the temporary folder; the caller unlinks it. */
static inline void maker_save(const struct recipe *r, char path[64])
{
    struct maker m = maker_model(r);
    size_t len;
    uint8_t *file = maker_file(&m, &len);
    snprintf(path, 64, "/tmp/ek-model-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, file, len) != (ssize_t)len) abort();
    close(fd);
    free(file);
    maker_free(&m);
}

#endif
