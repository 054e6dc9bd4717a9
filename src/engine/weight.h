/* SPDX-License-Identifier: MIT */
/* Weights as a file stores them, and the kernels that compute with each type: the one place where a
 * ggml type number meets an op of the kernel table. */
#ifndef EK_ENGINE_WEIGHT_H
#define EK_ENGINE_WEIGHT_H

#include "engine/gguf.h"
#include "kernel/kernel.h"

/* Matrices W[rows][cols], row-major, each row contiguous; y = W x. */
struct ek_matrix {
    const uint8_t *data; /* NULL: the model has no such matrix */
    uint32_t type;       /* enum ek_ggml_type: one that ek_weight_computable knows */
    size_t rows, cols;
    size_t row_bytes;
    size_t count;        /* matrices one behind the other: heads or experts; else 1 */
    size_t matrix_bytes; /* distance between two of them */
};

/* Whether products with this type can be computed. */
bool ek_weight_computable(uint32_t type);
/* Whether it can be multiplied with activations in int8 blocks. */
bool ek_weight_takes_q8(uint32_t type);

/* Row `row` of matrix `index` as f32: out [cols]. Exact. */
void ek_weight_row(const struct ek_kernels *k, const struct ek_matrix *w, size_t index, size_t row,
                   float *out);

/* y[r][c] = row r of x times row from + c of matrix `index`, r < m, c < n. x f32 [m], or, when q is not
 * NULL and the type takes them, the same rows in int8 blocks. Strides in elements. */
struct ek_weight_rows {
    const float *x;
    size_t x_stride;
    const struct ek_q8_block *q; /* may be NULL */
    size_t q_stride;
    size_t m;
};
void ek_weight_product(const struct ek_kernels *k, const struct ek_matrix *w, size_t index,
                       size_t from, size_t n, const struct ek_weight_rows *rows, float *y,
                       size_t y_stride);

#endif
