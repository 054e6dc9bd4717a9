/* SPDX-License-Identifier: MIT */
/* A small vocabulary of f32 vectors, spoken in AVX-512 (16 lanes) or AVX2 (8 lanes) according to the
 * flags a file is compiled with. The bodies in ops.h are written once in these words; each file that
 * includes them holds exactly one instruction set. What differs in more than the words (integer
 * products) has files of its own. */
#ifndef EK_KERNEL_X86_VEC_H
#define EK_KERNEL_X86_VEC_H

#include "kernel/kernel.h"

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)

enum { LANES = 16 };
typedef __m512 vec;
typedef __m512i veci;

INLINE __mmask16 mask_of(size_t n) { return (__mmask16)((1u << n) - 1u); } /* n < 16 */
INLINE vec v_zero(void) { return _mm512_setzero_ps(); }
INLINE vec v_set(float f) { return _mm512_set1_ps(f); }
INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
INLINE vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
INLINE vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); } /* b if either is NaN */
INLINE vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec v_nfma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }
INLINE vec v_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE vec v_load_n(const float *p, size_t n) { return _mm512_maskz_loadu_ps(mask_of(n), p); }
INLINE void v_store(float *p, vec v) { _mm512_storeu_ps(p, v); }
INLINE void v_store_n(float *p, vec v, size_t n) { _mm512_mask_storeu_ps(p, mask_of(n), v); }
INLINE vec v_round(vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vec v_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }
INLINE vec v_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
INLINE vec v_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)));
}
/* 2^n for integral n within [-126, 127] given as floats: the exponent field is written directly. */
INLINE vec v_pow2(vec n)
{
    __m512i bits = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 23));
}
INLINE vec v_swap_pairs(vec a) { return _mm512_permute_ps(a, 0xb1); }
INLINE vec v_even(vec a) { return _mm512_moveldup_ps(a); }
INLINE vec v_odd(vec a) { return _mm512_movehdup_ps(a); }
INLINE vec v_fmaddsub(vec a, vec b, vec c) { return _mm512_fmaddsub_ps(a, b, c); }
INLINE __m256 v_fold(vec v, bool max)
{
    __m256 lo = _mm512_castps512_ps256(v), hi = _mm512_extractf32x8_ps(v, 1);
    return max ? _mm256_max_ps(lo, hi) : _mm256_add_ps(lo, hi);
}

#else /* AVX2 with FMA and F16C */

enum { LANES = 8 };
typedef __m256 vec;
typedef __m256i veci;

INLINE __m256i mask_of(size_t n)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}
INLINE vec v_zero(void) { return _mm256_setzero_ps(); }
INLINE vec v_set(float f) { return _mm256_set1_ps(f); }
INLINE vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
INLINE vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
INLINE vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
INLINE vec v_div(vec a, vec b) { return _mm256_div_ps(a, b); }
INLINE vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); } /* b if either is NaN */
INLINE vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vec v_nfma(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); }
INLINE vec v_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE vec v_load_n(const float *p, size_t n) { return _mm256_maskload_ps(p, mask_of(n)); }
INLINE void v_store(float *p, vec v) { _mm256_storeu_ps(p, v); }
INLINE void v_store_n(float *p, vec v, size_t n) { _mm256_maskstore_ps(p, mask_of(n), v); }
INLINE vec v_round(vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vec v_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p)); }
INLINE vec v_bf16(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
INLINE vec v_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p)));
}
INLINE vec v_pow2(vec n)
{
    __m256i bits = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}
INLINE vec v_swap_pairs(vec a) { return _mm256_permute_ps(a, 0xb1); }
INLINE vec v_even(vec a) { return _mm256_moveldup_ps(a); }
INLINE vec v_odd(vec a) { return _mm256_movehdup_ps(a); }
INLINE vec v_fmaddsub(vec a, vec b, vec c) { return _mm256_fmaddsub_ps(a, b, c); }
INLINE __m256 v_fold(vec v, bool max) { (void)max; return v; }

#endif

/* Tails of 16-bit rows go through a zeroed stretch of stack, so that nothing beyond them is read. */
INLINE vec v_f16_n(const uint16_t *p, size_t n)
{
    uint16_t t[LANES] = {0};
    memcpy(t, p, n * sizeof *t);
    return v_f16(t);
}
INLINE vec v_bf16_n(const uint16_t *p, size_t n)
{
    uint16_t t[LANES] = {0};
    memcpy(t, p, n * sizeof *t);
    return v_bf16(t);
}

INLINE float half_of(uint16_t h) { return _cvtsh_ss(h); }

/* The lanes as one number, always by the same tree. */
INLINE float v_sum(vec v)
{
    __m256 e = v_fold(v, false);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    q = _mm_add_ss(q, _mm_movehdup_ps(q));
    return _mm_cvtss_f32(q);
}
INLINE float v_top(vec v)
{
    __m256 e = v_fold(v, true);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    q = _mm_max_ss(q, _mm_movehdup_ps(q));
    return _mm_cvtss_f32(q);
}

/* Eight times the tree of v_sum on 256 bits, side by side: lane j of the result is the sum of a[j].
 * Each step adds the same halves as the tree does, only for two vectors at a time. */
INLINE __m256 sums_of_8(const __m256 a[8])
{
    __m256 half[4], pair[2];
    for (int i = 0; i < 4; i++) { /* [a_i | a_(i+4)], upper halves added to lower ones */
        half[i] = _mm256_add_ps(_mm256_permute2f128_ps(a[i], a[i + 4], 0x20),
                                _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
    for (int i = 0; i < 2; i++) {
        pair[i] = _mm256_add_ps(_mm256_shuffle_ps(half[2 * i], half[2 * i + 1], 0x44),
                                _mm256_shuffle_ps(half[2 * i], half[2 * i + 1], 0xee));
    }
    return _mm256_add_ps(_mm256_shuffle_ps(pair[0], pair[1], 0x88),
                         _mm256_shuffle_ps(pair[0], pair[1], 0xdd));
}

#if defined(__AVX512F__)
INLINE __m256 v_sums_of_8(const vec a[8])
{
    __m256 e[8];
    for (int i = 0; i < 8; i++) e[i] = v_fold(a[i], false);
    return sums_of_8(e);
}
#else
INLINE __m256 v_sums_of_8(const vec a[8]) { return sums_of_8(a); }
#endif

/* exp(x): x = n ln 2 + r with |r| <= ln 2 / 2, a Taylor polynomial of degree 7 for e^r (its rest is
 * below 6e-9), and 2^n in two halves, so that the ends of the range overflow to infinity and
 * underflow through the denormals to zero by themselves. NaN stays NaN. */
INLINE vec v_exp(vec x)
{
    x = v_min(v_set(89.0f), v_max(v_set(-104.0f), x));
    vec n = v_round(v_mul(x, v_set(1.44269504f)));
    vec r = v_nfma(n, v_set(0.693145752f), x);      /* ln 2, upper bits: n times it is exact */
    r = v_nfma(n, v_set(1.42860677e-6f), r);        /* ln 2, the rest */
    vec p = v_set(1.0f / 5040);
    p = v_fma(p, r, v_set(1.0f / 720));
    p = v_fma(p, r, v_set(1.0f / 120));
    p = v_fma(p, r, v_set(1.0f / 24));
    p = v_fma(p, r, v_set(1.0f / 6));
    p = v_fma(p, r, v_set(0.5f));
    p = v_fma(p, r, v_set(1.0f));
    p = v_fma(p, r, v_set(1.0f));
    vec half = v_round(v_mul(n, v_set(0.5f)));
    return v_mul(v_mul(p, v_pow2(half)), v_pow2(v_sub(n, half)));
}

#endif
