/* SPDX-License-Identifier: MIT */
/* Rows of stored numbers to f32 and back, and activations to int8 blocks. All exact or rounded to
 * nearest even, so every instruction set must agree with these bit by bit. */
#include "kernel/half.h"
#include "kernel/tables.h"

#include <math.h>

void ek_row_f32_generic(float *restrict y, const void *restrict row, size_t n)
{
    memcpy(y, row, n * sizeof *y);
}

void ek_row_f16_generic(float *restrict y, const void *restrict row, size_t n)
{
    const uint16_t *h = row;
    for (size_t i = 0; i < n; i++) y[i] = ek_f16_f32(h[i]);
}

void ek_row_bf16_generic(float *restrict y, const void *restrict row, size_t n)
{
    const uint16_t *h = row;
    for (size_t i = 0; i < n; i++) y[i] = ek_bf16_f32(h[i]);
}

void ek_row_q8_0_generic(float *restrict y, const void *restrict row, size_t n)
{
    const struct ek_q8_0_block *block = row;
    MUST(n % EK_Q8_BLOCK == 0);
    for (size_t i = 0; i < n; i += EK_Q8_BLOCK, block++) {
        float d = ek_f16_f32(block->d);
        for (size_t j = 0; j < EK_Q8_BLOCK; j++) y[i + j] = d * (float)block->q[j];
    }
}

void ek_store_f32_generic(void *restrict row, const float *restrict x, size_t n)
{
    memcpy(row, x, n * sizeof *x);
}

void ek_store_f16_generic(void *restrict row, const float *restrict x, size_t n)
{
    uint16_t *h = row;
    for (size_t i = 0; i < n; i++) h[i] = ek_f32_f16(x[i]);
}

void ek_store_bf16_generic(void *restrict row, const float *restrict x, size_t n)
{
    uint16_t *h = row;
    for (size_t i = 0; i < n; i++) h[i] = ek_f32_bf16(x[i]);
}

/* The maximum is taken over the bits of |x|, whose integer order puts NaN above infinity: a broken
 * input shows in d instead of disappearing. */
void ek_quant_q8_generic(struct ek_q8_block *restrict y, const float *restrict x, size_t n)
{
    MUST(n % EK_Q8_BLOCK == 0);
    for (; n > 0; n -= EK_Q8_BLOCK, x += EK_Q8_BLOCK, y++) {
        uint32_t top = 0;
        int32_t sum = 0;
        for (int i = 0; i < EK_Q8_BLOCK; i++) {
            uint32_t bits = ek_f32_bits(x[i]) & 0x7fffffffu;
            if (bits > top) top = bits;
        }
        y->d = ek_bits_f32(top) / 127.0f;
        float inverse = 127.0f / ek_bits_f32(top);
        if (!isfinite(inverse) || top >= 0x7f800000u) inverse = 0; /* zeros, denormals, non-finite */
        for (int i = 0; i < EK_Q8_BLOCK; i++) {
            int32_t q = top >= 0x7f800000u ? 0 : (int32_t)lrintf(x[i] * inverse);
            y->q[i] = (int8_t)q;
            sum += q;
        }
        y->comp = -128 * sum;
    }
}
