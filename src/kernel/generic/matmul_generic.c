/* SPDX-License-Identifier: MIT */
/* Products of activations and weights in plain C: the reference the other instruction sets are tested
 * against, and what machines without a version of their own run. Each dot product keeps sixteen
 * partial sums over k and adds them up at the end as a tree, so that a compiler can use any vectors. */
#include "kernel/half.h"
#include "kernel/tables.h"

enum { LANES = 16 };

static float tree_sum(float acc[LANES])
{
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) acc[i] += acc[i + half];
    }
    return acc[0];
}

/* acc += x * w, lane by lane. n is a multiple of LANES except at the end of a row. */
static void accumulate(float acc[LANES], const float *restrict x, const float *restrict w, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t l = 0; l < LANES; l++) acc[l] += x[i + l] * w[i + l];
    }
    for (size_t l = 0; i < n; i++, l++) acc[l] += x[i] * w[i];
}

void ek_matmul_f32_generic EK_MATMUL_ARGS(float)
{
    for (size_t c = 0; c < n; c++) {
        const void *row = (const uint8_t *)w + c * w_stride_bytes;
        for (size_t r = 0; r < m; r++) {
            float acc[LANES] = {0};
            accumulate(acc, x + r * x_stride, row, k);
            y[r * y_stride + c] = tree_sum(acc);
        }
    }
}

/* Other weights are widened a stretch of a row at a time, for a few rows of x together. A stretch is a
 * multiple of LANES, so cutting the row does not change the order of any sum. */
enum { STRETCH = 512, TOGETHER = 8 };
typedef void row_fn(float *restrict y, const void *restrict row, size_t n);

static void dot_widened(row_fn *widen, size_t stretch_bytes, float *y, size_t y_stride, const float *x,
                        size_t x_stride, size_t m, const uint8_t *w, size_t k)
{
    float acc[TOGETHER][LANES] = {{0}}, wide[STRETCH];
    MUST(m <= TOGETHER);
    for (size_t at = 0; at < k; at += STRETCH) {
        size_t n = k - at < STRETCH ? k - at : STRETCH;
        widen(wide, w + at / STRETCH * stretch_bytes, n);
        for (size_t r = 0; r < m; r++) accumulate(acc[r], x + r * x_stride + at, wide, n);
    }
    for (size_t r = 0; r < m; r++) y[r * y_stride] = tree_sum(acc[r]);
}

#define MATMUL_WIDENED(type, stretch_bytes)                                                        \
    void ek_matmul_##type##_generic EK_MATMUL_ARGS(float)                                          \
    {                                                                                              \
        for (size_t c = 0; c < n; c++) {                                                           \
            const uint8_t *row = (const uint8_t *)w + c * w_stride_bytes;                          \
            for (size_t r = 0; r < m; r += TOGETHER) {                                             \
                dot_widened(ek_row_##type##_generic, stretch_bytes, y + r * y_stride + c, y_stride, \
                            x + r * x_stride, x_stride, m - r < TOGETHER ? m - r : TOGETHER, row,  \
                            k);                                                                    \
            }                                                                                      \
        }                                                                                          \
    }

MATMUL_WIDENED(f16, STRETCH * sizeof(uint16_t))
MATMUL_WIDENED(bf16, STRETCH * sizeof(uint16_t))
MATMUL_WIDENED(q8_0, STRETCH / EK_Q8_BLOCK * sizeof(struct ek_q8_0_block))

/* A stretch is whole blocks of every type. */
#define MATMUL_QUANT(type, values, bytes) MATMUL_WIDENED(type, STRETCH / values * bytes)
EK_QUANTS(MATMUL_QUANT)

static float dot_q8(const struct ek_q8_block *x, const struct ek_q8_0_block *w, size_t blocks)
{
    float sum = 0;
    for (size_t b = 0; b < blocks; b++) {
        int32_t whole = 0;
        for (int i = 0; i < EK_Q8_BLOCK; i++) whole += x[b].q[i] * w[b].q[i];
        sum += (float)whole * (x[b].d * ek_f16_f32(w[b].d));
    }
    return sum;
}

void ek_matmul8_q8_0_generic EK_MATMUL_ARGS(struct ek_q8_block)
{
    MUST(k % EK_Q8_BLOCK == 0);
    for (size_t c = 0; c < n; c++) {
        const void *row = (const uint8_t *)w + c * w_stride_bytes;
        for (size_t r = 0; r < m; r++) {
            y[r * y_stride + c] = dot_q8(x + r * x_stride, row, k / EK_Q8_BLOCK);
        }
    }
}
