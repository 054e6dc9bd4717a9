/* SPDX-License-Identifier: MIT */
/* Quantised rows in plain C: to f32, and multiplied with activations in int8 blocks. Products with
 * f32 activations are in matmul_generic.c, over the row functions of this file. */
#include "kernel/generic/quant.h"
#include "kernel/tables.h"

static void widen(quant_unpack *unpack, size_t values, size_t bytes, float *restrict y,
                  const uint8_t *row, size_t n)
{
    struct quant_block u;
    MUST(n % values == 0);
    for (size_t at = 0; at < n; at += values, row += bytes) {
        unpack(&u, row);
        for (size_t j = 0; j < values; j++) {
            y[at + j] = u.scale[j / 16] * (float)u.q[j] - u.min[j / 32];
        }
    }
}

/* 32 weights against a block of activations: the integers of each sixteen are summed exactly. The
 * minimum is taken off through the block's own sum, which `comp` holds times -128. */
static float dot_32(const struct quant_block *u, size_t sub, const struct ek_q8_block *x)
{
    int32_t low = 0, high = 0;
    const int8_t *q = u->q + 32 * sub;
    for (int i = 0; i < 16; i++) {
        low += q[i] * x->q[i];
        high += q[i + 16] * x->q[i + 16];
    }
    float products = u->scale[2 * sub] * (float)low + u->scale[2 * sub + 1] * (float)high;
    return x->d * (products + u->min[sub] * ((float)x->comp * 0x1p-7f));
}

/* One row of weights against up to TOGETHER rows of x, each block unpacked once for all. */
enum { TOGETHER = 8 };

static void dot_row(quant_unpack *unpack, size_t values, size_t bytes, float *y, size_t y_stride,
                    const struct ek_q8_block *x, size_t x_stride, size_t m, const uint8_t *w, size_t k)
{
    struct quant_block u;
    float sum[TOGETHER] = {0};
    MUST(m <= TOGETHER && k % values == 0);
    for (size_t at = 0; at < k; at += values, w += bytes) {
        unpack(&u, w);
        for (size_t r = 0; r < m; r++) {
            for (size_t s = 0; s < values / EK_Q8_BLOCK; s++) {
                sum[r] += dot_32(&u, s, x + r * x_stride + at / EK_Q8_BLOCK + s);
            }
        }
    }
    for (size_t r = 0; r < m; r++) y[r * y_stride] = sum[r];
}

#define QUANT(type, values, bytes)                                                                 \
    void ek_row_##type##_generic(float *restrict y, const void *restrict row, size_t n)            \
    {                                                                                              \
        widen(unpack_##type, values, bytes, y, row, n);                                            \
    }                                                                                              \
    void ek_matmul8_##type##_generic EK_MATMUL_ARGS(struct ek_q8_block)                            \
    {                                                                                              \
        for (size_t c = 0; c < n; c++) {                                                           \
            const uint8_t *row = (const uint8_t *)w + c * w_stride_bytes;                          \
            for (size_t r = 0; r < m; r += TOGETHER) {                                             \
                dot_row(unpack_##type, values, bytes, y + r * y_stride + c, y_stride,              \
                        x + r * x_stride, x_stride, m - r < TOGETHER ? m - r : TOGETHER, row, k);  \
            }                                                                                      \
        }                                                                                          \
    }

EK_QUANTS(QUANT)
