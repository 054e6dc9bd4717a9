/* SPDX-License-Identifier: MIT */
/* The part of a model that keys tell: sizes, experts, rotation. Nothing here looks at a tensor, except
 * to learn whether a file that speaks of blocks for later tokens (NextN, MTP) has them. */
#include "engine/model_bind.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *full_key(const struct binder *b, char out[96], const char *name)
{
    snprintf(out, 96, "%s.%s", b->arch->name, name);
    return out;
}

bool ek_bind_has(const struct binder *b, const char *name)
{
    char key[96];
    return ek_gguf_find(b->g, full_key(b, key, name)) != NULL;
}

/* An array of counts that are all the same, as some writers give heads or widths layer by layer. */
static enum ek_status same_count(struct binder *b, const char *key, uint64_t *out)
{
    struct ek_gguf_iter it;
    int64_t first = -1, v;
    if (ek_gguf_array(b->g, key, EK_GGUF_U64, &it) != EK_OK) return EK_INVALID;
    while (ek_gguf_next_int(&it, &v)) {
        if (first < 0) first = v;
        if (v < 0 || v != first) return EK_INVALID;
    }
    if (first < 0 || it.index != it.count) return EK_INVALID;
    *out = (uint64_t)first;
    return EK_OK;
}

uint32_t ek_bind_count(struct binder *b, const char *name, uint32_t min, uint32_t max, int64_t fallback)
{
    char key[96];
    uint64_t v = 0;
    enum ek_status s = ek_gguf_u64(b->g, full_key(b, key, name), &v);
    if (s == EK_ABSENT && fallback >= 0) return (uint32_t)fallback;
    if (s == EK_INVALID) s = same_count(b, key, &v);
    if (s == EK_ABSENT) {
        ek_bind_complain(b, "the key %s is missing", key);
    } else if (s != EK_OK) {
        ek_bind_complain(b, "the key %s is not a count, nor the same count for every layer", key);
    } else if (v < min || v > max) {
        ek_bind_complain(b, "the key %s is %llu; %u to %u can be computed", key, (unsigned long long)v,
                         min, max);
    } else {
        return (uint32_t)v;
    }
    return min;
}

float ek_bind_real(struct binder *b, const char *name, float fallback)
{
    char key[96];
    float v = fallback;
    enum ek_status s = ek_gguf_f32(b->g, full_key(b, key, name), &v);
    if (s == EK_INVALID || !isfinite(v) || v < 0) {
        ek_bind_complain(b, "the key %s is not a finite number of at least 0", key);
        return fallback;
    }
    return v;
}

bool ek_bind_truth(struct binder *b, const char *name, bool fallback)
{
    char key[96];
    bool v = fallback;
    if (ek_gguf_bool(b->g, full_key(b, key, name), &v) == EK_INVALID) {
        ek_bind_complain(b, "the key %s is not a truth value", key);
    }
    return v;
}

/* Blocks after the last layer predict later tokens (NextN, MTP): the first of them is of use, the model does
 * not need it (struct ek_ahead). block_count counts
 * them, but in files that name such a block and do not hold it, not always: then the block in question
 * is there and is a layer like any other. */
static void read_layers(struct binder *b, struct ek_shape *s)
{
    char name[64];
    uint32_t nextn = ek_bind_count(b, "nextn_predict_layers", 0, 16, 0);
    uint32_t blocks = ek_bind_count(b, "block_count", 1, 1024, -1);
    if (b->failed) return;
    if (nextn >= blocks) {
        ek_bind_complain(b, "all %u blocks predict later tokens", blocks);
        return;
    }
    snprintf(name, sizeof name, "blk.%u.attn_norm.weight", blocks - nextn);
    bool there = nextn > 0 && ek_gguf_tensor(b->g, name) != NULL;
    snprintf(name, sizeof name, "blk.%u.nextn.eh_proj.weight", blocks - nextn);
    s->layers = there && !ek_gguf_tensor(b->g, name) ? blocks : blocks - nextn;
    if (!ek_gguf_tensor(b->g, "blk.0.attn_norm.weight") && ek_gguf_tensor(b->g, name)) {
        ek_bind_complain(b, "the file holds only the block that predicts later tokens, not the model");
    }
}

static void read_latent(struct binder *b, struct ek_shape *s)
{
    s->kv_lora = ek_bind_count(b, "attention.kv_lora_rank", 1, 1 << 14, -1);
    s->q_lora = ek_bind_count(b, "attention.q_lora_rank", 0, 1 << 16, 0);
    s->rope = ek_bind_count(b, "rope.dimension_count", 2, 4096, -1);
    bool mla = ek_bind_has(b, "attention.key_length_mla");
    uint32_t key = ek_bind_count(b, mla ? "attention.key_length_mla" : "attention.key_length", 1, 8192, -1);
    s->value = ek_bind_count(b, mla ? "attention.value_length_mla" : "attention.value_length", 1, 8192, -1);
    if (s->rope % 2 != 0 || s->rope >= key) {
        ek_bind_complain(b, "keys of %u with a rope part of %u cannot be computed", key, s->rope);
        return;
    }
    s->nope = key - s->rope;
    s->kv_heads = s->heads;
    if (ek_bind_real(b, "attention.temperature_scale", 0) > 0) {
        ek_bind_complain(b, "attention.temperature_scale is set; such attention cannot be computed");
    }
}

static void read_grouped(struct binder *b, struct ek_shape *s)
{
    uint32_t each = s->embd / s->heads;
    s->kv_heads = ek_bind_count(b, "attention.head_count_kv", 1, 4096, s->heads);
    if (each == 0 && !ek_bind_has(b, "attention.key_length")) {
        ek_bind_complain(b, "%u heads for an embedding of %u", s->heads, s->embd);
        return;
    }
    uint32_t key = ek_bind_count(b, "attention.key_length", 2, 8192, each);
    s->value = ek_bind_count(b, "attention.value_length", 1, 8192, each);
    s->rope = ek_bind_count(b, "rope.dimension_count", 2, 8192, key);
    if (s->heads % s->kv_heads != 0 || s->rope % 2 != 0 || s->rope > key || s->value == 0) {
        ek_bind_complain(b, "%u heads of %u (%u rotated), %u of keys, cannot be computed", s->heads, key,
                         s->rope, s->kv_heads);
        return;
    }
    s->nope = key - s->rope;
    s->dense_layers = s->layers;
    if (ek_bind_count(b, "expert_count", 0, 1 << 20, 0) > 0) {
        ek_bind_complain(b, "experts in architecture %s cannot be computed", b->arch->name);
    }
}

static void read_gate(struct binder *b, struct ek_shape *s)
{
    uint32_t gate = ek_bind_count(b, "expert_gating_func", 0, 64, 0);
    uint32_t vocab = ek_bind_count(b, "vocab_size", 0, 1 << 24, 0);
    /* V2 files are older than the key. One later family left it out and meant the other gate. */
    if (gate == 0) {
        bool later = (s->layers == 47 || s->layers == 48) && vocab == 154880;
        gate = later ? EK_GATE_SIGMOID : EK_GATE_SOFTMAX;
    }
    if (gate != EK_GATE_SOFTMAX && gate != EK_GATE_SIGMOID) {
        ek_bind_complain(b, "expert_gating_func %u is not known (1 softmax, 2 sigmoid)", gate);
    }
    s->gate = (enum ek_gate)gate;
}

static void read_experts(struct binder *b, struct ek_shape *s)
{
    s->groups = s->groups_used = 1;
    if (s->dense_layers == s->layers) return;
    s->experts = ek_bind_count(b, "expert_count", 1, 4096, -1);
    s->experts_used = ek_bind_count(b, "expert_used_count", 1, 64, -1);
    s->expert_ff = ek_bind_count(b, "expert_feed_forward_length", 1, 1 << 18, -1);
    s->shared_ff = s->expert_ff * ek_bind_count(b, "expert_shared_count", 0, 64, 0);
    s->groups = ek_bind_count(b, "expert_group_count", 0, 4096, 1);
    s->groups_used = ek_bind_count(b, "expert_group_used_count", 0, 4096, 1);
    s->weights_scale = ek_bind_real(b, "expert_weights_scale", 1.0f);
    if (s->weights_scale == 0) s->weights_scale = 1; /* llama.cpp: 0 means no scaling */
    s->weights_norm = ek_bind_truth(b, "expert_weights_norm", false);
    read_gate(b, s);
    if (s->groups <= 1) s->groups = s->groups_used = 1;
    if (b->failed) return;
    if (s->experts % s->groups != 0 || s->groups_used < 1 || s->groups_used > s->groups ||
        s->experts_used > s->experts / s->groups * s->groups_used) {
        ek_bind_complain(b, "%u of %u experts cannot be chosen from %u of %u groups", s->experts_used,
                         s->experts, s->groups_used, s->groups);
    }
}

void ek_bind_shape(struct binder *b)
{
    struct ek_shape *s = &b->m->shape;
    s->attention = b->arch->attention;
    s->rope_pairs = b->arch->rope_pairs;
    read_layers(b, s);
    s->embd = ek_bind_count(b, "embedding_length", 1, 1 << 16, -1);
    s->heads = ek_bind_count(b, "attention.head_count", 1, 4096, -1);
    if (b->failed) return;
    s->dense_layers = ek_bind_count(b, "leading_dense_block_count", 0, 1024, 0);
    if (s->dense_layers > s->layers) s->dense_layers = s->layers;
    if (s->attention == EK_ATTENTION_LATENT) {
        read_latent(b, s);
    } else {
        read_grouped(b, s);
    }
    if (b->failed) return;
    s->ff = ek_bind_count(b, "feed_forward_length", 1, 1 << 20, s->dense_layers ? -1 : 1);
    s->ctx_tokens = ek_bind_count(b, "context_length", 1, 1 << 28, 4096);
    s->norm_eps = ek_bind_real(b, "attention.layer_norm_rms_epsilon", 1e-6f);
    if (!b->failed) read_experts(b, s);
}

/* How the angles are stretched beyond the length a model was first trained on. */
struct stretch {
    bool yarn;
    double factor, fast, slow, orig;
};

static struct stretch read_stretch(struct binder *b)
{
    char key[96];
    struct ek_str kind = EK_STR("linear"); /* what a file means that names only a factor */
    struct stretch r = {.factor = 1};
    if (ek_gguf_str(b->g, full_key(b, key, "rope.scaling.type"), &kind) == EK_INVALID) {
        ek_bind_complain(b, "the key %s is not a string", key);
    }
    r.yarn = ek_str_eq(kind, EK_STR("yarn"));
    bool none = ek_str_eq(kind, EK_STR("none"));
    if (!r.yarn && !none && !ek_str_eq(kind, EK_STR("linear"))) {
        ek_bind_complain(b, "rope.scaling.type '%.*s' is not known (yarn, linear, none)",
                         kind.len < 40 ? (int)kind.len : 40, kind.data);
    }
    if (!none) {
        bool old = !ek_bind_has(b, "rope.scaling.factor");
        r.factor = (double)ek_bind_real(b, old ? "rope.scale_linear" : "rope.scaling.factor", 1.0f);
        if (r.factor == 0) r.factor = 1;
    }
    if (ek_bind_real(b, "rope.scaling.yarn_ext_factor", 1.0f) != 1.0f) {
        ek_bind_complain(b, "rope.scaling.yarn_ext_factor other than 1 cannot be computed");
    }
    r.fast = (double)ek_bind_real(b, "rope.scaling.yarn_beta_fast", 32.0f);
    r.slow = (double)ek_bind_real(b, "rope.scaling.yarn_beta_slow", 1.0f);
    r.orig = ek_bind_count(b, "rope.scaling.original_context_length", 1, 1 << 28,
                           b->m->shape.ctx_tokens);
    if (r.factor < 1 || r.fast <= 0 || r.slow <= 0) {
        ek_bind_complain(b, "a rope.scaling value is out of range");
    }
    return r;
}

/* YaRN (Peng et al. 2023, 2309.00071, sections 3.2-3.4): frequencies that turn slowly are divided by the
 * factor, fast ones are kept, between lies a ramp. Linear: all are divided. */
static double stretched(const struct stretch *r, double f, uint32_t i, double base, double R)
{
    if (!r->yarn) return f / r->factor;
    double turns = R / (2 * log(base));
    double low = fmax(0, floor(turns * log(r->orig / (r->fast * 2 * M_PI))));
    double high = fmin(R - 1, ceil(turns * log(r->orig / (r->slow * 2 * M_PI))));
    double ramp = fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
    return f / r->factor * ramp + f * (1 - ramp);
}

/* YaRN also sharpens attention. The latent models put mscale squared on q . k and leave cosines alone;
 * the others multiply cosines and sines, as 2309.00071 has it. */
static void sharpen(struct binder *b, const struct stretch *r)
{
    struct ek_model *m = b->m;
    struct ek_shape *s = &m->shape;
    double scale = 1 / sqrt((double)(s->nope + s->rope));
    m->rope_size = (double)ek_bind_real(b, "rope.scaling.attn_factor", 1.0f);
    if (s->attention == EK_ATTENTION_LATENT) {
        /* The file holds 0.1 * mscale_all_dim. */
        double log_mul = r->yarn ? (double)ek_bind_real(b, "rope.scaling.yarn_log_multiplier", 0.0f) : 0;
        double mscale = m->rope_size * (1 + log_mul * log(r->factor));
        scale *= mscale * mscale;
    } else {
        if (r->yarn) m->rope_size *= 1 + 0.1 * log(r->factor);
        double given = (double)ek_bind_real(b, "attention.scale", 0.0f);
        if (given > 0) scale = given;
    }
    s->attn_scale = (float)scale;
}

/* Llama 3 files carry a divisor for each frequency, worked out by who made the file. */
void ek_bind_rope(struct binder *b)
{
    struct ek_model *m = b->m;
    uint32_t half = m->shape.rope / 2;
    double base = (double)ek_bind_real(b, "rope.freq_base", 10000.0f), R = m->shape.rope;
    struct stretch r = read_stretch(b);
    if (base <= 1) ek_bind_complain(b, "rope.freq_base %g is out of range", base);
    sharpen(b, &r);
    if (b->failed) return;
    const float *divisor = ek_bind_floats(b, -1, "rope_freqs.weight", half, false);
    if (b->look) divisor = NULL;
    m->rope_freq = calloc(half, sizeof *m->rope_freq);
    MUST(m->rope_freq != NULL);
    for (uint32_t i = 0; i < half; i++) {
        double f = pow(base, -2.0 * i / R);
        if (divisor && !(divisor[i] > 0)) {
            ek_bind_complain(b, "a divisor of rope_freqs.weight is not positive");
        }
        m->rope_freq[i] = stretched(&r, divisor ? f / (double)divisor[i] : f, i, base, R);
    }
}
