/* SPDX-License-Identifier: MIT */
/* A model: its shape as read from a GGUF file, and its weights as views into the mapped file. Every
 * tensor is checked against the shape when the model is bound, and a tensor nobody asked for is a
 * reason to refuse (the file then means something this code does not do); what computes with the
 * model afterwards tests nothing.
 *
 * Two forms of attention share everything else:
 *   latent   deepseek2 (V2, V3, R1): keys and values of all heads come from one short latent, which is
 *            what the KV cache holds; feed-forward networks may be experts
 *   grouped  qwen2, llama (the distills): a few heads of keys and values, each for a group of queries
 *
 * Letters used in shapes here and in everything that computes:
 *   E embedding   H heads   N nope part of a key   R rope part   K = N + R   V value part of a head
 *   G heads of keys and values (grouped form)   C latent (kv_lora_rank)   Q query latent (q_lora_rank)
 *   F expert hidden   X experts   T tokens
 *
 * Source: DeepSeek-V2 paper (2405.04434) sections 2.1-2.2, DeepSeek-V3 paper (2412.19437) section 2.1;
 * Ainslie et al. 2023 (2305.13245) for groups. */
#ifndef EK_ENGINE_MODEL_H
#define EK_ENGINE_MODEL_H

#include "base/buf.h"
#include "base/status.h"
#include "engine/gguf.h"
#include "engine/weight.h"

enum ek_attention { EK_ATTENTION_LATENT, EK_ATTENTION_GROUPED };

/* Which numbers of a head are turned together: (0, 1) (2, 3) ..., or (0, R/2) (1, R/2 + 1) ... */
enum ek_rope_pairs { EK_ROPE_ADJACENT, EK_ROPE_HALVES };

enum ek_gate { EK_GATE_SOFTMAX = 1, EK_GATE_SIGMOID = 2 };

struct ek_shape {
    enum ek_attention attention;
    enum ek_rope_pairs rope_pairs;
    uint32_t layers, dense_layers; /* the first dense_layers have one plain FFN instead of experts */
    uint32_t embd, vocab, heads;   /* E, -, H */
    uint32_t kv_heads;             /* G; latent form: H, each head has keys of its own */
    uint32_t nope, rope, value;    /* N, R, V. The rope part is the last of a head in the latent form
                                    * and the first in the grouped one */
    uint32_t kv_lora, q_lora;      /* C, Q; Q = 0: queries are not compressed; grouped form: 0, 0 */
    uint32_t ff;                   /* hidden of the dense layers */
    uint32_t experts, experts_used, expert_ff, shared_ff; /* X, -, F, hidden of the shared expert */
    uint32_t groups, groups_used;  /* 1, 1: no groups */
    enum ek_gate gate;
    bool weights_norm;             /* weights of the chosen experts are divided by their sum */
    float weights_scale;
    float norm_eps;
    uint32_t ctx_tokens;           /* the context length the file claims */
    float attn_scale;              /* factor of q . k, what YaRN adds to it included */
};

/* Numbers in a row of the KV cache, for one token and layer: latent [C | R], grouped [G K | G V]. */
static inline uint32_t ek_shape_kv_elems(const struct ek_shape *s)
{
    if (s->attention == EK_ATTENTION_LATENT) return s->kv_lora + s->rope;
    return s->kv_heads * (s->nope + s->rope + s->value);
}

struct ek_ffn {
    struct ek_matrix gate, up, down; /* [hidden][E], [hidden][E], [E][hidden]; data NULL: none */
};

struct ek_layer {
    const float *attn_norm;   /* [E] */
    struct ek_matrix q;       /* [H K][E]; without q_lora */
    struct ek_matrix q_a;     /* [Q][E] */
    const float *q_a_norm;    /* [Q] */
    struct ek_matrix q_b;     /* [H K][Q] */
    struct ek_matrix kv_a;    /* [C + R][E] */
    const float *kv_a_norm;   /* [C] */
    struct ek_matrix k_b;     /* H x [C][N]: a query's nope part into the latent space (absorbed) */
    struct ek_matrix k_b_t;   /* H x [N][C]: the latent into keys (expanded); the transpose of k_b */
    struct ek_matrix v_b;     /* H x [V][C]: the latent into values */
    struct ek_matrix k, v;    /* grouped form: [G K][E], [G V][E] */
    const float *q_bias, *k_bias, *v_bias, *out_bias; /* [H K], [G K], [G V], [E], or NULL */
    struct ek_matrix out;     /* [E][H V] */
    const float *ffn_norm;    /* [E] */
    struct ek_ffn dense;      /* of a dense layer */
    struct ek_matrix router;  /* [X][E] */
    const float *router_bias; /* [X], or NULL */
    struct ek_ffn experts;    /* X of each */
    struct ek_ffn shared;     /* may be absent */
};

/* A block behind the layers that looks a token ahead (DeepSeek-V3 paper, section 2.2; "MTP", in files
 * "NextN"): from what the model made of token t, as it goes into the output matrix, and token t + 1 it
 * guesses token t + 2. It proposes only; no answer comes from it. */
struct ek_ahead {
    bool there;               /* all of it; else nothing below is set */
    const float *token_norm;  /* [E]: enorm */
    const float *hidden_norm; /* [E]: hnorm */
    struct ek_matrix join;    /* [E][2 E]: of the token's half and then the hidden one; eh_proj */
    struct ek_layer layer;    /* without k_b_t: its rows are all computed in the absorbed form */
    const float *head_norm;   /* [E] */
    struct ek_matrix embd, out; /* [vocab][E], mostly the model's own */
};

struct ek_model {
    uint32_t magic;
    struct ek_gguf *gguf; /* owned */
    struct ek_shape shape;
    struct ek_layer *layers;  /* [shape.layers] */
    struct ek_matrix embd;    /* [vocab][E] */
    const float *out_norm;    /* [E] */
    struct ek_matrix out;     /* [vocab][E]; embd when the file ties them */
    struct ek_ahead ahead;
    double *rope_freq;        /* [R / 2]: radians a position, scaling applied */
    double rope_size;         /* cosines and sines are multiplied by it (YaRN, grouped form); else 1 */
    bool whole;               /* derived matrices are there; false: bound to be looked at only */
    void **derived;           /* matrices made at load, owned */
    size_t n_derived;
    uint64_t derived_bytes;   /* also when they have not been made */
};

#define EK_MODEL_MAGIC 0x6d0de1a7u

/* Bind a model to an open file; takes the file over (also when it fails). EK_OK: *out is owned by the
 * caller. EK_INVALID or EK_NOMEM: `why` names the key or tensor. Derived matrices (transposes) take
 * memory in proportion to attn_k_b. */
EK_CHECKED enum ek_status ek_model_bind(struct ek_gguf **gguf, struct ek_model **out, char *why,
                                        size_t why_cap);
/* Open and bind. */
EK_CHECKED enum ek_status ek_model_open(const char *path, struct ek_model **out, char *why,
                                        size_t why_cap);

/* Bind only to look at it: reads keys and the table of tensors, but not a byte of tensor data, so it is
 * quick for any size; what comes out can be described and not computed with. Every reason against the
 * file is a line of `reasons` (at most EK_MODEL_REASONS_MAX and how many more there are). */
enum { EK_MODEL_REASONS_MAX = 20 };
EK_CHECKED enum ek_status ek_model_look(struct ek_gguf **gguf, struct ek_model **out,
                                        struct ek_buf *reasons);
void ek_model_free(struct ek_model **model);

/* What the file is, in lines for a person: architecture, shape, types and bytes, tokenizer. Works on
 * any GGUF file; `model` may be NULL when it could not be bound. */
void ek_model_describe(const struct ek_gguf *gguf, const struct ek_model *model, struct ek_buf *out);
/* "4.6 GB" */
void ek_model_put_bytes(struct ek_buf *out, uint64_t bytes);

#endif
