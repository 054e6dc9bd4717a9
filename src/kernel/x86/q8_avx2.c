/* SPDX-License-Identifier: MIT */
/* The int8 product with AVX2. vpmaddubsw wants one unsigned factor: |w|, with the sign of w moved to
 * x. Its 16-bit sums cannot saturate, since |x| <= 127 and |w| <= 128: 2 * 127 * 128 = 32512.
 *
 * Invariance: one accumulator of eight lanes for each output, one FMA a block in the order of blocks. */
#include "kernel/tables.h"
#include "kernel/x86/vec.h"

INLINE __m256 q8_block(__m256 acc, __m256i wq, float w_d, const struct ek_q8_block *x)
{
    __m256i xq = _mm256_loadu_si256((const void *)x->q);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(wq), _mm256_sign_epi8(xq, wq));
    __m256i quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(quads), _mm256_set1_ps(w_d * x->d), acc);
}

INLINE void q8_tile(size_t NB, float *y, const struct ek_q8_block *x, const uint8_t *w,
                    size_t w_stride, size_t blocks)
{
    __m256 acc[4];
    for (size_t j = 0; j < NB; j++) acc[j] = _mm256_setzero_ps();
    for (size_t b = 0; b < blocks; b++) {
        for (size_t j = 0; j < NB; j++) {
            const struct ek_q8_0_block *wb =
                (const struct ek_q8_0_block *)(const void *)(w + j * w_stride) + b;
            __m256i wq = _mm256_loadu_si256((const void *)wb->q);
            acc[j] = q8_block(acc[j], wq, half_of(wb->d), x + b);
        }
    }
    for (size_t j = 0; j < NB; j++) y[j] = v_sum(acc[j]);
}

void ek_matmul8_q8_0_avx2 EK_MATMUL_ARGS(struct ek_q8_block)
{
    MUST(k % EK_Q8_BLOCK == 0);
    const uint8_t *rows = w;
    size_t blocks = k / EK_Q8_BLOCK, c = 0;
    for (; c + 4 <= n; c += 4) {
        for (size_t r = 0; r < m; r++) {
            q8_tile(4, y + r * y_stride + c, x + r * x_stride, rows + c * w_stride_bytes,
                    w_stride_bytes, blocks);
        }
    }
    for (; c < n; c++) {
        for (size_t r = 0; r < m; r++) {
            q8_tile(1, y + r * y_stride + c, x + r * x_stride, rows + c * w_stride_bytes,
                    w_stride_bytes, blocks);
        }
    }
}

/* Rounding activations is a small part of the work: the compiler's vectors of the plain C do. */
void ek_quant_q8_avx2(struct ek_q8_block *restrict y, const float *restrict x, size_t n)
{
    ek_quant_q8_generic(y, x, n);
}
