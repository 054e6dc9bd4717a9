/* SPDX-License-Identifier: MIT */
/* Chooses the kernel by the type of the weights; computes nothing itself. */
#include "engine/weight.h"

/* W(type in the file, name in the kernel table): floats, and what int8 activations can meet. */
#define FLOATS(W) W(F32, f32) W(F16, f16) W(BF16, bf16)
#define QUANTS(W)                                                                                  \
    W(Q8_0, q8_0) W(Q4_0, q4_0) W(Q4_1, q4_1) W(Q5_0, q5_0) W(Q5_1, q5_1) W(Q4_K, q4_k)            \
    W(Q5_K, q5_k) W(Q6_K, q6_k) W(IQ4_NL, iq4_nl) W(IQ4_XS, iq4_xs)

bool ek_weight_computable(uint32_t type)
{
#define YES(type, name) case EK_GGML_##type:
    switch (type) {
        FLOATS(YES) QUANTS(YES) return true;
    }
    return false;
}

bool ek_weight_takes_q8(uint32_t type)
{
    switch (type) {
        QUANTS(YES) return true;
    }
    return false;
}

void ek_weight_row(const struct ek_kernels *k, const struct ek_matrix *w, size_t index, size_t row,
                   float *out)
{
    const uint8_t *at = w->data + index * w->matrix_bytes + row * w->row_bytes;
    MUST(index < w->count && row < w->rows);
#define ROW(type, name) case EK_GGML_##type: k->row_##name(out, at, w->cols); return;
    switch (w->type) {
        FLOATS(ROW)
        QUANTS(ROW)
    }
    WRONG("a weight type that no model can be bound with");
}

void ek_weight_product(const struct ek_kernels *k, const struct ek_matrix *w, size_t index,
                       size_t from, size_t n, const struct ek_weight_rows *rows, float *y,
                       size_t y_stride)
{
    const uint8_t *at = w->data + index * w->matrix_bytes + from * w->row_bytes;
    MUST(index < w->count && from + n <= w->rows);
#define PRODUCT(name) \
    k->matmul_##name(y, y_stride, rows->x, rows->x_stride, rows->m, at, w->row_bytes, n, w->cols)
#define PRODUCT8(name) \
    k->matmul8_##name(y, y_stride, rows->q, rows->q_stride, rows->m, at, w->row_bytes, n, w->cols)
#define FLOAT(type, name) case EK_GGML_##type: PRODUCT(name); return;
#define QUANT(type, name)                                                                          \
    case EK_GGML_##type:                                                                           \
        if (rows->q) {                                                                             \
            PRODUCT8(name);                                                                        \
        } else {                                                                                   \
            PRODUCT(name);                                                                         \
        }                                                                                          \
        return;
    switch (w->type) {
        FLOATS(FLOAT)
        QUANTS(QUANT)
    }
    WRONG("a weight type that no model can be bound with");
}
