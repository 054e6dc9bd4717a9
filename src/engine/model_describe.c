/* SPDX-License-Identifier: MIT */
/* Tells a person what a model file is. It must get by with any GGUF file that could be opened, also one
 * that could not be bound. */
#include "engine/model.h"

static struct ek_str str_of(const struct ek_gguf *g, const char *key, const char *fallback)
{
    struct ek_str s = ek_str_of(fallback);
    return ek_gguf_str(g, key, &s) == EK_OK ? s : ek_str_of(fallback);
}

/* Strings of a stranger's file: short, and without control characters. */
static void put_safe(struct ek_buf *out, struct ek_str s)
{
    for (size_t i = 0; i < s.len && i < 80; i++) {
        unsigned char c = (unsigned char)s.data[i];
        ek_buf_char(out, c < 0x20 || c == 0x7f ? '?' : s.data[i]);
    }
}

void ek_model_put_bytes(struct ek_buf *out, uint64_t bytes)
{
    static const char *unit[] = {"B", "kB", "MB", "GB", "TB"};
    double n = (double)bytes;
    size_t u = 0;
    for (; n >= 1000 && u + 1 < EK_COUNT(unit); u++) n /= 1000;
    ek_buf_printf(out, u == 0 ? "%.0f %s" : "%.1f %s", n, unit[u]);
}

static void put_types(struct ek_buf *out, const struct ek_gguf *g)
{
    enum { TYPES = 64 };
    uint64_t bytes[TYPES] = {0}, count[TYPES] = {0}, values = 0;
    for (size_t i = 0; i < ek_gguf_tensor_count(g); i++) {
        const struct ek_gguf_tensor *t = ek_gguf_tensor_at(g, i);
        if (t->type >= TYPES) continue;
        bytes[t->type] += t->bytes;
        count[t->type]++;
        values += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    }
    ek_buf_printf(out, "tensors     %zu, %.1f M parameters:", ek_gguf_tensor_count(g),
                  (double)values * 1e-6);
    for (uint32_t t = 0; t < TYPES; t++) {
        if (!count[t]) continue;
        ek_buf_printf(out, " %s x %llu (", ek_ggml_type_name(t), (unsigned long long)count[t]);
        ek_model_put_bytes(out, bytes[t]);
        ek_buf_lit(out, ")");
    }
    ek_buf_lit(out, "\n");
}

static void put_tokenizer(struct ek_buf *out, const struct ek_gguf *g)
{
    struct ek_gguf_iter tokens, merges;
    bool have = ek_gguf_array(g, "tokenizer.ggml.tokens", EK_GGUF_STRING, &tokens) == EK_OK;
    bool merged = ek_gguf_array(g, "tokenizer.ggml.merges", EK_GGUF_STRING, &merges) == EK_OK;
    ek_buf_lit(out, "tokenizer   ");
    put_safe(out, str_of(g, "tokenizer.ggml.model", "none"));
    ek_buf_lit(out, ", pattern ");
    put_safe(out, str_of(g, "tokenizer.ggml.pre", "none"));
    ek_buf_printf(out, ", %llu tokens, %llu merges, %s\n", (unsigned long long)(have ? tokens.count : 0),
                  (unsigned long long)(merged ? merges.count : 0),
                  ek_gguf_find(g, "tokenizer.chat_template") ? "with a chat template"
                                                             : "no chat template");
}

static void put_attention(struct ek_buf *out, const struct ek_shape *s)
{
    if (s->attention == EK_ATTENTION_GROUPED) {
        ek_buf_printf(out, "attention   %u heads of %u (%u rotated), %u of keys and values\n", s->heads,
                      s->nope + s->rope, s->rope, s->kv_heads);
        return;
    }
    ek_buf_printf(out, "attention   %u heads of %u + %u (rope), values %u, latent %u, queries %s", s->heads,
                  s->nope, s->rope, s->value, s->kv_lora, s->q_lora ? "through a latent of " : "direct");
    if (s->q_lora) ek_buf_u64(out, s->q_lora);
    ek_buf_lit(out, "\n");
}

static void put_shape(struct ek_buf *out, const struct ek_model *m)
{
    const struct ek_shape *s = &m->shape;
    ek_buf_printf(out, "layers      %u", s->layers);
    if (s->experts) ek_buf_printf(out, ", the first %u dense", s->dense_layers);
    ek_buf_printf(out, "; embedding %u, vocabulary %u, context %u\n", s->embd, s->vocab, s->ctx_tokens);
    put_attention(out, s);
    if (m->ahead.there) ek_buf_lit(out, "ahead       a block that guesses the token after the next\n");
    if (s->experts) {
        ek_buf_printf(out, "experts     %u of %u, %s gate, width %u, shared %u", s->experts_used, s->experts,
                      s->gate == EK_GATE_SIGMOID ? "sigmoid" : "softmax", s->expert_ff, s->shared_ff);
        if (s->groups > 1) ek_buf_printf(out, ", from %u of %u groups", s->groups_used, s->groups);
        ek_buf_printf(out, ", weights %sscaled by %g\n", s->weights_norm ? "normalised and " : "",
                      (double)s->weights_scale);
    }
}

void ek_model_describe(const struct ek_gguf *g, const struct ek_model *model, struct ek_buf *out)
{
    MUST(g != NULL && out != NULL);
    ek_buf_lit(out, "name        ");
    put_safe(out, str_of(g, "general.name", "(none)"));
    ek_buf_lit(out, "\nkind        ");
    put_safe(out, str_of(g, "general.architecture", "(none)"));
    ek_buf_printf(out, ", GGUF version %u, ", ek_gguf_version(g));
    ek_model_put_bytes(out, ek_gguf_file_bytes(g));
    if (ek_gguf_part_count(g) > 1) ek_buf_printf(out, " in %zu parts", ek_gguf_part_count(g));
    ek_buf_lit(out, "\n");
    put_types(out, g);
    put_tokenizer(out, g);
    if (model) put_shape(out, model);
}
