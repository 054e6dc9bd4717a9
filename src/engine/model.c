/* SPDX-License-Identifier: MIT */
/* From a GGUF file to a model: the architecture chooses how keys and attention tensors are read, the
 * rest is the same for all. */
#include "engine/model_bind.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct arch archs[] = {
    {"deepseek2", EK_ATTENTION_LATENT, EK_ROPE_ADJACENT, false},
    {"qwen2", EK_ATTENTION_GROUPED, EK_ROPE_HALVES, true},
    {"llama", EK_ATTENTION_GROUPED, EK_ROPE_ADJACENT, false}, /* q and k are permuted to suit */
};

void ek_bind_complain(struct binder *b, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!b->failed) snprintf(b->why, b->why_cap, "%s", text);
    if (b->reasons && b->n_reasons++ < EK_MODEL_REASONS_MAX) ek_buf_printf(b->reasons, "%s\n", text);
    b->failed = true;
    if (b->status == EK_OK) b->status = EK_INVALID;
}

static struct ek_ffn ffn(struct binder *b, int l, const char *suffix, uint64_t hidden, uint64_t count)
{
    char gate[64], up[64], down[64];
    uint32_t E = b->m->shape.embd;
    snprintf(gate, sizeof gate, "ffn_gate%s.weight", suffix);
    snprintf(up, sizeof up, "ffn_up%s.weight", suffix);
    snprintf(down, sizeof down, "ffn_down%s.weight", suffix);
    return (struct ek_ffn){
        .gate = ek_bind_matrix(b, l, gate, hidden, E, count, true),
        .up = ek_bind_matrix(b, l, up, hidden, E, count, true),
        .down = ek_bind_matrix(b, l, down, E, hidden, count, true),
    };
}

/* Experts whose gate and up matrices are one, the gate's rows first. */
static struct ek_ffn merged_experts(struct binder *b, int l)
{
    const struct ek_shape *s = &b->m->shape;
    struct ek_matrix both = ek_bind_matrix(b, l, "ffn_gate_up_exps.weight", (uint64_t)s->expert_ff * 2,
                                           s->embd, s->experts, true);
    struct ek_ffn f = {
        .gate = both, .up = both,
        .down = ek_bind_matrix(b, l, "ffn_down_exps.weight", s->embd, s->expert_ff, s->experts, true),
    };
    f.gate.rows = f.up.rows = s->expert_ff;
    if (both.data) f.up.data += s->expert_ff * both.row_bytes;
    return f;
}

static void bind_layer(struct binder *b, int l, struct ek_layer *layer, bool dense)
{
    const struct ek_shape *s = &b->m->shape;
    layer->attn_norm = ek_bind_floats(b, l, "attn_norm.weight", s->embd, true);
    if (s->attention == EK_ATTENTION_LATENT) {
        ek_bind_latent(b, l, layer);
    } else {
        ek_bind_grouped(b, l, layer);
    }
    layer->out = ek_bind_matrix(b, l, "attn_output.weight", s->embd, (uint64_t)s->heads * s->value, 1,
                                true);
    layer->ffn_norm = ek_bind_floats(b, l, "ffn_norm.weight", s->embd, true);
    if (dense) {
        layer->dense = ffn(b, l, "", s->ff, 1);
        return;
    }
    layer->router = ek_bind_matrix(b, l, "ffn_gate_inp.weight", s->experts, s->embd, 1, true);
    layer->router_bias = ek_bind_floats(b, l, "exp_probs_b.bias", s->experts, false);
    layer->experts = ek_bind_find(b, l, "ffn_gate_up_exps.weight", false)
                         ? merged_experts(b, l)
                         : ffn(b, l, "_exps", s->expert_ff, s->experts);
    if (s->shared_ff) layer->shared = ffn(b, l, "_shexp", s->shared_ff, 1);
}

/* Matrix or gain of the block ahead, or the model's own. */
static struct ek_matrix ahead_matrix(struct binder *b, int l, const char *name, struct ek_matrix own)
{
    struct ek_matrix m = ek_bind_matrix(b, l, name, own.rows, own.cols, 1, false);
    return m.data ? m : own;
}

/* The first block behind the layers, if it is whole and one that we can compute. A file is none the worse
 * without it, so what is wrong with it is nobody's complaint. */
static void bind_ahead(struct binder *b)
{
    struct ek_model *m = b->m;
    const struct ek_shape *s = &m->shape;
    int l = (int)s->layers;
    char why[256];
    struct binder aside = *b;
    struct ek_ahead *a = &m->ahead;
    aside.why = why;
    aside.why_cap = sizeof why;
    aside.reasons = NULL;
    bool dense = !ek_bind_find(b, l, "ffn_gate_inp.weight", false);
    if (s->attention != EK_ATTENTION_LATENT || !ek_bind_find(b, l, "nextn.eh_proj.weight", false)) return;
    if (!(dense ? s->dense_layers : s->experts)) return; /* then the keys do not tell its width */
    a->join = ek_bind_matrix(&aside, l, "nextn.eh_proj.weight", s->embd, (uint64_t)s->embd * 2, 1, true);
    a->token_norm = ek_bind_floats(&aside, l, "nextn.enorm.weight", s->embd, true);
    a->hidden_norm = ek_bind_floats(&aside, l, "nextn.hnorm.weight", s->embd, true);
    a->head_norm = ek_bind_floats(&aside, l, "nextn.shared_head_norm.weight", s->embd, false);
    if (!a->head_norm) a->head_norm = m->out_norm;
    a->embd = ahead_matrix(&aside, l, "nextn.embed_tokens.weight", m->embd);
    a->out = ahead_matrix(&aside, l, "nextn.shared_head_head.weight", m->out);
    bind_layer(&aside, l, &a->layer, dense);
    a->there = !aside.failed;
    if (!a->there) *a = (struct ek_ahead){0};
}

/* A tensor that was not asked for belongs to a further block beyond the layers (left out), or to
 * something the file means and this code does not do. */
static void refuse_strangers(struct binder *b)
{
    for (size_t i = 0; i < ek_gguf_tensor_count(b->g); i++) {
        struct ek_str name = ek_gguf_tensor_at(b->g, i)->name;
        uint64_t block = 0;
        size_t at = 4;
        if (b->claimed[i]) continue;
        bool in_block = name.len > 4 && memcmp(name.data, "blk.", 4) == 0;
        for (; in_block && at < name.len && at < 9 && name.data[at] >= '0' && name.data[at] <= '9'; at++) {
            block = block * 10 + (uint64_t)(name.data[at] - '0');
        }
        in_block = in_block && at > 4 && at < name.len && name.data[at] == '.';
        if (in_block && block >= b->m->shape.layers) continue;
        ek_bind_complain(b, "the tensor %.*s is not known in architecture %s", (int)name.len, name.data,
                         b->arch->name);
    }
}

static void bind_tensors(struct binder *b)
{
    struct ek_model *m = b->m;
    const struct ek_gguf_tensor *embd = ek_bind_find(b, -1, "token_embd.weight", true);
    if (!embd) return;
    if (embd->ne[1] > 1 << 24) {
        ek_bind_complain(b, "a vocabulary of more than 2^24 tokens");
        return;
    }
    m->shape.vocab = (uint32_t)embd->ne[1];
    m->embd = ek_bind_matrix(b, -1, "token_embd.weight", m->shape.vocab, m->shape.embd, 1, true);
    m->out_norm = ek_bind_floats(b, -1, "output_norm.weight", m->shape.embd, true);
    m->out = ek_bind_matrix(b, -1, "output.weight", m->shape.vocab, m->shape.embd, 1, false);
    if (!m->out.data) m->out = m->embd;
    m->layers = calloc(m->shape.layers, sizeof *m->layers);
    MUST(m->layers != NULL);
    for (uint32_t l = 0; l < m->shape.layers; l++) {
        bind_layer(b, (int)l, &m->layers[l], l < m->shape.dense_layers);
    }
    if (!b->failed) bind_ahead(b);
    refuse_strangers(b);
}

static void bind_all(struct binder *b)
{
    struct ek_str name = {0};
    bool named = ek_gguf_str(b->g, "general.architecture", &name) == EK_OK;
    for (size_t i = 0; named && i < EK_COUNT(archs); i++) {
        if (ek_str_eq(name, ek_str_of(archs[i].name))) b->arch = &archs[i];
    }
    if (!b->arch) {
        ek_bind_complain(b, "the architecture is '%.*s'; deepseek2, qwen2 and llama can be computed",
                         name.len < 40 ? (int)name.len : 40, name.data ? name.data : "");
        return;
    }
    ek_bind_shape(b);
    if (!b->failed) ek_bind_rope(b);
    if (!b->failed) bind_tensors(b);
    if (!b->failed) ek_bind_derive(b);
}

static enum ek_status bind(struct binder *b, struct ek_gguf **gguf, struct ek_model **out)
{
    struct ek_model *m = calloc(1, sizeof *m);
    b->claimed = calloc(ek_gguf_tensor_count(*gguf) + 1, sizeof *b->claimed);
    MUST(m != NULL && b->claimed != NULL);
    m->magic = EK_MODEL_MAGIC;
    b->g = m->gguf = *gguf;
    b->m = m;
    b->status = EK_OK;
    *gguf = NULL;
    bind_all(b);
    free(b->claimed);
    m->whole = !b->failed && !b->look;
    if (b->failed) ek_model_free(&m);
    *out = m;
    return b->status;
}

enum ek_status ek_model_bind(struct ek_gguf **gguf, struct ek_model **out, char *why, size_t why_cap)
{
    MUST(gguf && *gguf);
    MUST(out && why_cap > 0);
    struct binder b = {.why = why, .why_cap = why_cap};
    return bind(&b, gguf, out);
}

enum ek_status ek_model_look(struct ek_gguf **gguf, struct ek_model **out, struct ek_buf *reasons)
{
    MUST(gguf && *gguf);
    MUST(out && reasons);
    char why[256];
    struct binder b = {.why = why, .why_cap = sizeof why, .reasons = reasons, .look = true};
    enum ek_status status = bind(&b, gguf, out);
    if (b.n_reasons > EK_MODEL_REASONS_MAX) {
        ek_buf_printf(reasons, "and %zu more\n", b.n_reasons - EK_MODEL_REASONS_MAX);
    }
    return status;
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
