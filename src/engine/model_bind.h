/* SPDX-License-Identifier: MIT */
/* Inside the binding of a model: one `struct binder` carries the file, the model in the making and the
 * complaints. Reading goes in two parts, keys and then tensors. A key that is wrong ends everything,
 * because shapes follow from keys; a tensor that is wrong is noted and the others are still looked at.
 * Numbers from the file are bounded when they are read, so that products of a few of them fit a
 * size_t and nothing later is allocated by an unchecked size. */
#ifndef EK_ENGINE_MODEL_BIND_H
#define EK_ENGINE_MODEL_BIND_H

#include "engine/model.h"

struct binder {
    struct ek_gguf *g;
    struct ek_model *m;
    const struct arch *arch;
    bool *claimed; /* [tensors of the file]: someone asked for it */
    bool look;     /* not a byte of tensor data may be read */
    bool failed;
    enum ek_status status;
    char *why; /* the first complaint */
    size_t why_cap;
    struct ek_buf *reasons; /* all complaints, a line each; may be NULL */
    size_t n_reasons;
};

/* What is particular to an architecture. Keys of the file begin with its name. */
struct arch {
    const char *name;
    enum ek_attention attention;
    enum ek_rope_pairs rope_pairs;
    bool biases; /* q, k and v must have biases; else they may */
};

EK_PRINTF(2, 3) void ek_bind_complain(struct binder *b, const char *fmt, ...);

/* Keys, named without the architecture. A count between min and max; absent is `fallback`, or a
 * complaint when fallback is negative. An array, one count a layer, must hold the same count everywhere.
 * After a complaint: min. */
bool ek_bind_has(const struct binder *b, const char *name);
uint32_t ek_bind_count(struct binder *b, const char *name, uint32_t min, uint32_t max, int64_t fallback);
float ek_bind_real(struct binder *b, const char *name, float fallback); /* finite, at least 0 */
bool ek_bind_truth(struct binder *b, const char *name, bool fallback);

/* The whole shape, and the frequencies of the rotation: all that keys tell. */
void ek_bind_shape(struct binder *b);
void ek_bind_rope(struct binder *b);

/* The tensor blk.LAYER.NAME, or NAME when layer < 0; complains when it is missing and required. */
const struct ek_gguf_tensor *ek_bind_find(struct binder *b, int layer, const char *name, bool required);
/* `count` matrices of [rows][cols]; no data when the tensor is absent and not required. */
struct ek_matrix ek_bind_matrix(struct binder *b, int layer, const char *name, uint64_t rows,
                                uint64_t cols, uint64_t count, bool required);
/* n numbers in f32: gains of a norm, a bias. */
const float *ek_bind_floats(struct binder *b, int layer, const char *name, uint64_t n, bool required);

/* The attention tensors of a layer, and what is made of them at load (only of a whole model). */
void ek_bind_latent(struct binder *b, int l, struct ek_layer *layer);
void ek_bind_grouped(struct binder *b, int l, struct ek_layer *layer);
void ek_bind_derive(struct binder *b);

#endif
