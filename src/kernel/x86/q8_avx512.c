/* SPDX-License-Identifier: MIT */
/* The int8 product with AVX-512 VNNI (on 256-bit vectors, a block each), and the rounding of
 * activations. vpdpbusd multiplies unsigned by signed bytes: weights become unsigned by adding 128
 * (one xor), and the activation block's `comp` takes the surplus off again before it arises.
 *
 * Invariance: one accumulator of eight lanes for each output, one FMA a block in the order of blocks. */
#include "kernel/tables.h"
#include "kernel/x86/vec.h"

INLINE __m256 q8_block(__m256 acc, __m256i w_unsigned, float w_d, const struct ek_q8_block *x)
{
    __m256i xq = _mm256_loadu_si256((const void *)x->q);
    __m256i from = _mm256_zextsi128_si256(_mm_cvtsi32_si128(x->comp));
    __m256 sums = _mm256_cvtepi32_ps(_mm256_dpbusd_epi32(from, w_unsigned, xq));
    return _mm256_fmadd_ps(sums, _mm256_set1_ps(w_d * x->d), acc);
}

INLINE float sum8(__m256 e)
{
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    q = _mm_add_ss(q, _mm_movehdup_ps(q));
    return _mm_cvtss_f32(q);
}

INLINE void q8_tile(size_t MB, size_t NB, float *y, size_t y_stride, const struct ek_q8_block *x,
                    size_t x_stride, const uint8_t *w, size_t w_stride, size_t blocks)
{
    const __m256i flip = _mm256_set1_epi8((char)0x80);
    __m256 acc[16];
    for (size_t i = 0; i < MB * NB; i++) acc[i] = _mm256_setzero_ps();
    for (size_t b = 0; b < blocks; b++) {
        for (size_t j = 0; j < NB; j++) {
            const struct ek_q8_0_block *wb =
                (const struct ek_q8_0_block *)(const void *)(w + j * w_stride) + b;
            __m256i wq = _mm256_xor_si256(_mm256_loadu_si256((const void *)wb->q), flip);
            float wd = half_of(wb->d);
            for (size_t i = 0; i < MB; i++) {
                acc[i * NB + j] = q8_block(acc[i * NB + j], wq, wd, x + i * x_stride + b);
            }
        }
    }
    if (NB == 8) {
        _mm256_storeu_ps(y, sums_of_8(acc));
        return;
    }
    if (NB == 4 && MB % 2 == 0) {
        for (size_t i = 0; i < MB; i += 2) {
            __m256 two = sums_of_8(acc + i * NB);
            _mm_storeu_ps(y + i * y_stride, _mm256_castps256_ps128(two));
            _mm_storeu_ps(y + (i + 1) * y_stride, _mm256_extractf128_ps(two, 1));
        }
        return;
    }
    for (size_t i = 0; i < MB; i++) {
        for (size_t j = 0; j < NB; j++) y[i * y_stride + j] = sum8(acc[i * NB + j]);
    }
}

INLINE void q8_strip(size_t NB, float *y, size_t y_stride, const struct ek_q8_block *x,
                     size_t x_stride, size_t m, const uint8_t *w, size_t w_stride, size_t blocks)
{
    size_t r = 0;
    for (; r + 4 <= m; r += 4) {
        q8_tile(4, NB, y + r * y_stride, y_stride, x + r * x_stride, x_stride, w, w_stride, blocks);
    }
    for (; r < m; r++) {
        q8_tile(1, NB, y + r * y_stride, y_stride, x + r * x_stride, x_stride, w, w_stride, blocks);
    }
}

void ek_matmul8_q8_0_avx512 EK_MATMUL_ARGS(struct ek_q8_block)
{
    MUST(k % EK_Q8_BLOCK == 0);
    const uint8_t *rows = w;
    size_t blocks = k / EK_Q8_BLOCK, c = 0;
    for (; m == 1 && c + 8 <= n; c += 8) {
        q8_tile(1, 8, y + c, y_stride, x, x_stride, rows + c * w_stride_bytes, w_stride_bytes, blocks);
    }
    for (; c + 4 <= n; c += 4) {
        q8_strip(4, y + c, y_stride, x, x_stride, m, rows + c * w_stride_bytes, w_stride_bytes, blocks);
    }
    for (; c < n; c++) {
        q8_strip(1, y + c, y_stride, x, x_stride, m, rows + c * w_stride_bytes, w_stride_bytes, blocks);
    }
}

void ek_quant_q8_avx512(struct ek_q8_block *restrict y, const float *restrict x, size_t n)
{
    MUST(n % EK_Q8_BLOCK == 0);
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (; n > 0; n -= EK_Q8_BLOCK, x += EK_Q8_BLOCK, y++) {
        __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
        __m512i bits = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                        _mm512_and_si512(_mm512_castps_si512(b), magnitude));
        uint32_t top_bits = _mm512_reduce_max_epu32(bits);
        float top;
        memcpy(&top, &top_bits, sizeof top);
        y->d = top / 127.0f;
        float inverse = 127.0f / top;
        /* Zeros and tiny denormals have no finite inverse; a non-finite block shows in d alone. */
        bool plain = top_bits < 0x7f800000u && inverse <= 3.402823466e38f;
        __mmask16 keep = plain ? 0xffff : 0;
        __m512 scale = _mm512_set1_ps(inverse);
        __m512i qa = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(a, scale));
        __m512i qb = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(b, scale));
        _mm_storeu_si128((void *)y->q, _mm512_cvtepi32_epi8(qa));
        _mm_storeu_si128((void *)(y->q + 16), _mm512_cvtepi32_epi8(qb));
        y->comp = -128 * _mm512_reduce_add_epi32(_mm512_add_epi32(qa, qb));
    }
}
