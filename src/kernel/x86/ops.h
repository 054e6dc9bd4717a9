/* SPDX-License-Identifier: MIT */
/* The float kernels for x86, written once over the vocabulary of vec.h. Included by ops_avx2.c and
 * ops_avx512.c, which set NAME(op) to the variant's name; it is no header to use anywhere else.
 *
 * Invariance: each output of a product has one vector accumulator of its own, fed in the order of k,
 * and summed by the tree of v_sum. Tiles only decide which outputs are computed side by side. */
#include "kernel/tables.h"
#include "kernel/x86/vec.h"

#include <math.h>

enum row_type { ROW_F32, ROW_F16, ROW_BF16, ROW_Q8_0 };

/* LANES weights from index k on (a multiple of LANES), as f32. `type` is a constant at every call. */
INLINE vec weights(enum row_type type, const uint8_t *row, size_t k)
{
    if (type == ROW_F32) return v_load((const float *)(const void *)row + k);
    if (type == ROW_F16) return v_f16((const uint16_t *)(const void *)row + k);
    if (type == ROW_BF16) return v_bf16((const uint16_t *)(const void *)row + k);
    const struct ek_q8_0_block *b = (const struct ek_q8_0_block *)(const void *)row + k / EK_Q8_BLOCK;
    return v_mul(v_i8(b->q + k % EK_Q8_BLOCK), v_set(half_of(b->d)));
}

INLINE vec weights_n(enum row_type type, const uint8_t *row, size_t k, size_t n)
{
    if (type == ROW_F32) return v_load_n((const float *)(const void *)row + k, n);
    if (type == ROW_F16) return v_f16_n((const uint16_t *)(const void *)row + k, n);
    MUST(type == ROW_BF16); /* q8_0 rows come in whole blocks */
    return v_bf16_n((const uint16_t *)(const void *)row + k, n);
}

/* acc += the products of whole vectors of LANES columns, from column `at` on; where it stopped. */
INLINE size_t tile_vectors(enum row_type type, size_t MB, size_t NB, vec *acc, const float *x,
                           size_t x_stride, const uint8_t *w, size_t w_stride, size_t k)
{
    size_t at = 0;
    for (; at + LANES <= k; at += LANES) {
        vec xs[4];
        for (size_t i = 0; i < MB; i++) xs[i] = v_load(x + i * x_stride + at);
        for (size_t j = 0; j < NB; j++) {
            vec ws = weights(type, w + j * w_stride, at);
            for (size_t i = 0; i < MB; i++) acc[i * NB + j] = v_fma(ws, xs[i], acc[i * NB + j]);
        }
    }
    return at;
}

/* The same for Q8_0 block by block, so that a scale is widened once for its 32 weights. */
INLINE size_t tile_blocks(size_t MB, size_t NB, vec *acc, const float *x, size_t x_stride,
                          const uint8_t *w, size_t w_stride, size_t k)
{
    for (size_t b = 0; b < k / EK_Q8_BLOCK; b++) {
        for (size_t j = 0; j < NB; j++) {
            const struct ek_q8_0_block *block =
                (const struct ek_q8_0_block *)(const void *)(w + j * w_stride) + b;
            vec d = v_set(half_of(block->d));
            for (size_t at = 0; at < EK_Q8_BLOCK; at += LANES) {
                vec ws = v_mul(v_i8(block->q + at), d);
                for (size_t i = 0; i < MB; i++) {
                    vec xs = v_load(x + i * x_stride + b * EK_Q8_BLOCK + at);
                    acc[i * NB + j] = v_fma(ws, xs, acc[i * NB + j]);
                }
            }
        }
    }
    return k;
}

/* The sums of MB x NB accumulators; several at a time where the tile allows. */
INLINE void tile_sums(size_t MB, size_t NB, float *y, size_t y_stride, const vec *acc)
{
    if (NB == 8) {
        for (size_t i = 0; i < MB; i++) {
            _mm256_storeu_ps(y + i * y_stride, v_sums_of_8(acc + i * NB));
        }
    } else if (NB == 4 && MB % 2 == 0) {
        for (size_t i = 0; i < MB; i += 2) {
            __m256 two = v_sums_of_8(acc + i * NB);
            _mm_storeu_ps(y + i * y_stride, _mm256_castps256_ps128(two));
            _mm_storeu_ps(y + (i + 1) * y_stride, _mm256_extractf128_ps(two, 1));
        }
    } else {
        for (size_t i = 0; i < MB; i++) {
            for (size_t j = 0; j < NB; j++) y[i * y_stride + j] = v_sum(acc[i * NB + j]);
        }
    }
}

/* An MB x NB tile of outputs. MB and NB are constants at every call, so the loops over them unroll
 * and acc stays in registers. */
INLINE void tile(enum row_type type, size_t MB, size_t NB, float *y, size_t y_stride, const float *x,
                 size_t x_stride, const uint8_t *w, size_t w_stride, size_t k)
{
    vec acc[16];
    for (size_t i = 0; i < MB * NB; i++) acc[i] = v_zero();
    size_t at = type == ROW_Q8_0
                    ? tile_blocks(MB, NB, acc, x, x_stride, w, w_stride, k)
                    : tile_vectors(type, MB, NB, acc, x, x_stride, w, w_stride, k);
    if (at < k) {
        for (size_t j = 0; j < NB; j++) {
            vec ws = weights_n(type, w + j * w_stride, at, k - at);
            for (size_t i = 0; i < MB; i++) {
                vec xs = v_load_n(x + i * x_stride + at, k - at);
                acc[i * NB + j] = v_fma(ws, xs, acc[i * NB + j]);
            }
        }
    }
    tile_sums(MB, NB, y, y_stride, acc);
}

/* A strip of NB weight rows against all rows of x. */
INLINE void strip(enum row_type type, size_t MB, size_t NB, float *y, size_t y_stride, const float *x,
                  size_t x_stride, size_t m, const uint8_t *w, size_t w_stride, size_t k)
{
    size_t r = 0;
    for (; r + MB <= m; r += MB) {
        tile(type, MB, NB, y + r * y_stride, y_stride, x + r * x_stride, x_stride, w, w_stride, k);
    }
    for (; r < m; r++) {
        tile(type, 1, NB, y + r * y_stride, y_stride, x + r * x_stride, x_stride, w, w_stride, k);
    }
}

/* 4 x 4 with 32 registers, 2 x 4 with 16; a single row of x takes 8 weight rows at a time, because
 * eight running sums hide the latency of an FMA. */
INLINE void matmul(enum row_type type, float *y, size_t y_stride, const float *x, size_t x_stride,
                   size_t m, const uint8_t *w, size_t w_stride, size_t n, size_t k)
{
    enum { MB = LANES == 16 ? 4 : 2 };
    size_t c = 0;
    if (m == 1) {
        for (; c + 8 <= n; c += 8) {
            tile(type, 1, 8, y + c, y_stride, x, x_stride, w + c * w_stride, w_stride, k);
        }
    }
    for (; c + 4 <= n; c += 4) {
        strip(type, MB, 4, y + c, y_stride, x, x_stride, m, w + c * w_stride, w_stride, k);
    }
    for (; c < n; c++) {
        strip(type, MB, 1, y + c, y_stride, x, x_stride, m, w + c * w_stride, w_stride, k);
    }
}

void NAME(matmul_f32) EK_MATMUL_ARGS(float)
{
    matmul(ROW_F32, y, y_stride, x, x_stride, m, w, w_stride_bytes, n, k);
}

void NAME(matmul_f16) EK_MATMUL_ARGS(float)
{
    matmul(ROW_F16, y, y_stride, x, x_stride, m, w, w_stride_bytes, n, k);
}

void NAME(matmul_bf16) EK_MATMUL_ARGS(float)
{
    matmul(ROW_BF16, y, y_stride, x, x_stride, m, w, w_stride_bytes, n, k);
}

void NAME(matmul_q8_0) EK_MATMUL_ARGS(float)
{
    MUST(k % EK_Q8_BLOCK == 0);
    matmul(ROW_Q8_0, y, y_stride, x, x_stride, m, w, w_stride_bytes, n, k);
}

INLINE void widen(enum row_type type, float *y, const uint8_t *row, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, weights(type, row, i));
    if (i < n) v_store_n(y + i, weights_n(type, row, i, n - i), n - i);
}

void NAME(row_f32)(float *restrict y, const void *restrict row, size_t n)
{
    memcpy(y, row, n * sizeof *y);
}

void NAME(row_f16)(float *restrict y, const void *restrict row, size_t n)
{
    widen(ROW_F16, y, row, n);
}

void NAME(row_bf16)(float *restrict y, const void *restrict row, size_t n)
{
    widen(ROW_BF16, y, row, n);
}

void NAME(row_q8_0)(float *restrict y, const void *restrict row, size_t n)
{
    MUST(n % EK_Q8_BLOCK == 0);
    widen(ROW_Q8_0, y, row, n);
}

void NAME(store_f32)(void *restrict row, const float *restrict x, size_t n)
{
    memcpy(row, x, n * sizeof *x);
}

void NAME(store_f16)(void *restrict row, const float *restrict x, size_t n)
{
    uint16_t *h = row;
    for (size_t i = 0; i < n; i++) h[i] = _cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
}

void NAME(store_bf16)(void *restrict row, const float *restrict x, size_t n)
{
    ek_store_bf16_generic(row, x, n);
}

void NAME(rmsnorm)(float *y, const float *x, const float *restrict gain, size_t n, float eps)
{
    vec acc = v_zero();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) acc = v_fma(v_load(x + i), v_load(x + i), acc);
    if (i < n) acc = v_fma(v_load_n(x + i, n - i), v_load_n(x + i, n - i), acc);
    vec scale = v_set(1.0f / sqrtf(v_sum(acc) / (float)n + eps));
    for (i = 0; i + LANES <= n; i += LANES) {
        v_store(y + i, v_mul(v_mul(v_load(x + i), scale), v_load(gain + i)));
    }
    if (i < n) {
        vec t = v_mul(v_mul(v_load_n(x + i, n - i), scale), v_load_n(gain + i, n - i));
        v_store_n(y + i, t, n - i);
    }
}

/* (a, b) -> (a c - b s, b c + a s): even lanes subtract, odd lanes add. */
INLINE vec turn(vec x, vec cs)
{
    return v_fmaddsub(x, v_even(cs), v_mul(v_swap_pairs(x), v_odd(cs)));
}

void NAME(rope)(float *restrict x, const float *restrict cs, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(x + i, turn(v_load(x + i), v_load(cs + i)));
    if (i < n) v_store_n(x + i, turn(v_load_n(x + i, n - i), v_load_n(cs + i, n - i)), n - i);
}

/* A small part of any step: the compiler's vectors do. */
void NAME(rope_halves)(float *restrict x, const float *restrict cs, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        float a = x[i], b = x[i + n / 2];
        x[i] = a * cs[2 * i] - b * cs[2 * i + 1];
        x[i + n / 2] = a * cs[2 * i + 1] + b * cs[2 * i];
    }
}

/* exp(x - max) in place; the sum by lanes. */
INLINE float exp_and_sum(float *x, size_t n, float max)
{
    vec acc = v_zero();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec e = v_exp(v_sub(v_load(x + i), v_set(max)));
        v_store(x + i, e);
        acc = v_add(acc, e);
    }
    if (i < n) {
        v_store_n(x + i, v_exp(v_sub(v_load_n(x + i, n - i), v_set(max))), n - i);
        acc = v_add(acc, v_load_n(x + i, n - i)); /* lanes beyond the end load as 0 */
    }
    return v_sum(acc);
}

INLINE float max_of(const float *x, size_t n, float least)
{
    vec top = v_set(least);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) top = v_max(v_load(x + i), top);
    float max = v_top(top);
    for (; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

void NAME(softmax)(float *x, size_t n)
{
    float sum = exp_and_sum(x, n, max_of(x, n, -INFINITY));
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(x + i, v_div(v_load(x + i), v_set(sum)));
    for (; i < n; i++) x[i] /= sum;
}

float NAME(online_softmax)(float *restrict score, size_t n, float scale, float *restrict max,
                           float *restrict sum)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(score + i, v_mul(v_load(score + i), v_set(scale)));
    for (; i < n; i++) score[i] *= scale;
    float top = max_of(score, n, *max), corr[LANES];
    v_store(corr, v_exp(v_set(*max - top)));
    *sum = *sum * corr[0] + exp_and_sum(score, n, top);
    *max = top;
    return corr[0];
}

INLINE vec sigmoid(vec x) { return v_div(v_set(1.0f), v_add(v_set(1.0f), v_exp(v_sub(v_zero(), x)))); }

void NAME(sigmoid)(float *y, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, sigmoid(v_load(x + i)));
    if (i < n) v_store_n(y + i, sigmoid(v_load_n(x + i, n - i)), n - i);
}

INLINE vec silu_mul(vec gate, vec up)
{
    return v_mul(v_div(gate, v_add(v_set(1.0f), v_exp(v_sub(v_zero(), gate)))), up);
}

void NAME(silu_mul)(float *y, const float *gate, const float *restrict up, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, silu_mul(v_load(gate + i), v_load(up + i)));
    if (i < n) v_store_n(y + i, silu_mul(v_load_n(gate + i, n - i), v_load_n(up + i, n - i)), n - i);
}

void NAME(add)(float *restrict y, const float *restrict x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, v_add(v_load(y + i), v_load(x + i)));
    for (; i < n; i++) y[i] += x[i];
}

void NAME(axpy)(float *restrict y, float a, const float *restrict x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, v_fma(v_set(a), v_load(x + i), v_load(y + i)));
    if (i < n) v_store_n(y + i, v_fma(v_set(a), v_load_n(x + i, n - i), v_load_n(y + i, n - i)), n - i);
}

/* COLS vectors of the output stay in registers while all n rows pass by. */
INLINE void mix_columns(enum row_type type, size_t COLS, float *out, float corr, const float *p,
                        const uint8_t *rows, size_t stride, size_t n, size_t at)
{
    vec acc[8];
    for (size_t j = 0; j < COLS; j++) acc[j] = v_mul(v_load(out + at + j * LANES), v_set(corr));
    for (size_t t = 0; t < n; t++) {
        vec pt = v_set(p[t]);
        for (size_t j = 0; j < COLS; j++) {
            acc[j] = v_fma(pt, weights(type, rows + t * stride, at + j * LANES), acc[j]);
        }
    }
    for (size_t j = 0; j < COLS; j++) v_store(out + at + j * LANES, acc[j]);
}

INLINE void mix(enum row_type type, float *out, float corr, const float *p, const uint8_t *rows,
                size_t stride, size_t n, size_t dim)
{
    size_t at = 0;
    for (; at + 8 * LANES <= dim; at += 8 * LANES) {
        mix_columns(type, 8, out, corr, p, rows, stride, n, at);
    }
    for (; at + LANES <= dim; at += LANES) {
        mix_columns(type, 1, out, corr, p, rows, stride, n, at);
    }
    if (at < dim) {
        size_t left = dim - at;
        vec acc = v_mul(v_load_n(out + at, left), v_set(corr));
        for (size_t t = 0; t < n; t++) {
            acc = v_fma(v_set(p[t]), weights_n(type, rows + t * stride, at, left), acc);
        }
        v_store_n(out + at, acc, left);
    }
}

void NAME(mix_f32) EK_MIX_ARGS { mix(ROW_F32, out, corr, p, rows, stride_bytes, n, dim); }
void NAME(mix_f16) EK_MIX_ARGS { mix(ROW_F16, out, corr, p, rows, stride_bytes, n, dim); }
void NAME(mix_bf16) EK_MIX_ARGS { mix(ROW_BF16, out, corr, p, rows, stride_bytes, n, dim); }
