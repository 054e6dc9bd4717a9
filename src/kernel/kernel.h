/* SPDX-License-Identifier: MIT */
/* The numeric kernels: one table of functions for each instruction set, all with the same contracts.
 *
 * Every variant of an op obeys the invariance rule (DESIGN, promise 6): the value of one output
 * depends only on the inputs that belong to it (its row of x, its row of w), on k and on the
 * instruction set; never on how many rows are computed together, on n, on pointers or on threads.
 * Between instruction sets values may differ within the stated tolerance, because sums are taken in
 * another order and FMA rounds once.
 *
 * Tolerance is stated as an error relative to sum |x_i * w_i| (products) or to the exact value
 * (elementwise). Non-finite policy: NaN and infinity in give NaN or infinity out in the rows they
 * touch, and never a trap or an access out of bounds. Denormals are computed, not flushed.
 * Pointers need the alignment of their element type only; outputs do not overlap inputs unless the
 * op is said to work in place. Strides are distances between the first elements of rows. */
#ifndef EK_KERNEL_KERNEL_H
#define EK_KERNEL_KERNEL_H

#include "base/must.h"

#include <stddef.h>
#include <stdint.h>

enum { EK_Q8_BLOCK = 32 };

/* Activations as int8: x[i] ~ d * q[i]. `comp` = -128 * sum q, which lets VNNI multiply unsigned
 * weight bytes (w + 128) by signed q and come out with sum w * q. */
struct ek_q8_block {
    float d;
    int32_t comp;
    int8_t q[EK_Q8_BLOCK]; /* within [-127, 127] */
};

/* ggml's Q8_0 as it lies in a file: d is IEEE binary16; w[i] = d * q[i], exact in f32. */
struct ek_q8_0_block {
    uint16_t d;
    int8_t q[EK_Q8_BLOCK];
};

/* ggml's other quantised types: Q(name, weights of a block, bytes of a block). What the bytes mean is
 * defined in generic/quant.h. Rows are whole blocks, without any alignment. */
#define EK_QUANTS(Q)                                                                               \
    Q(q4_0, 32, 18) Q(q4_1, 32, 20) Q(q5_0, 32, 22) Q(q5_1, 32, 24) Q(iq4_nl, 32, 18)              \
    Q(q4_k, 256, 144) Q(q5_k, 256, 176) Q(q6_k, 256, 210) Q(iq4_xs, 256, 136)

/* X(result, name, (arguments)). Types of rows: f32, f16 (binary16), bf16 (upper half of f32), q8_0 and
 * the quantised ones above.
 *
 * row_T     y[i] = row[i] as f32, i < n, in whole blocks. Exact: the same bits on every instruction set.
 * store_T   row[i] = x[i] rounded to nearest even, i < n.
 * matmul_T  y[r][c] = sum_k x[r][k] * w[c][k], r < m, c < n. x, y f32 with strides in elements; w rows
 *           of type T, stride in bytes; k in whole blocks. Tolerance 1e-6 + k * 1e-8.
 * quant_q8  y[i / 32] from x[i], i < n, n % 32 == 0: d = max|x| / 127, q = x / d to nearest even.
 *           d, comp and q are the same on every instruction set.
 * matmul8_T as matmul_T, with x in blocks (stride in blocks), integers summed exactly within sixteen.
 *           Tolerance as matmul against the same blocks; where weights are scale * q - min, relative
 *           to sum |x| * (|scale * q| + |min|).
 * rmsnorm   y[i] = gain[i] * x[i] / sqrt(mean(x^2) + eps); y may be x. Tolerance 2e-6.
 *           Source: Zhang & Sennrich 2019, eq. 4.
 * rope      in place on n elements: pair (x[2i], x[2i+1]) is turned by the angle whose cosine and sine
 *           are cs[2i], cs[2i+1]. n even. Tolerance 1e-6. Source: Su et al. 2021, eq. 34.
 * rope_halves   the same with pairs (x[i], x[i + n / 2]); pair i takes cs[2i], cs[2i+1].
 * softmax   in place, n >= 1; the largest is subtracted first. Tolerance 2e-6 + 1.2e-7 * (max - x).
 * sigmoid   y[i] = 1 / (1 + exp(-x[i])). Tolerance 1e-6.
 * silu_mul  y[i] = up[i] * gate[i] * sigmoid(gate[i]); y may be gate. Tolerance 2e-6.
 * add       y[i] += x[i]. Exact.    axpy  y[i] += a * x[i], product rounded or fused by ISA.
 * online_softmax   one page of a softmax taken page by page: with s = scale * score, raises *max to
 *           the new maximum, turns score[i] into exp(s[i] - *max), *sum into *sum * corr + their sum,
 *           and returns corr = exp(old max - new max), by which earlier output must be multiplied.
 *           Begin with *max = -INFINITY, *sum = 0. Source: Milakov & Gimelshein 2018, alg. 3.
 * mix_T     out[d] = out[d] * corr, then += p[t] * rows[t][d] for t = 0 .. n-1 in this order.
 * topk      index[j] = the place of the j-th largest score, ties by lowest place; k <= n. NaN counts as
 *           the smallest. */
#define EK_KERNELS(X)                                                                              \
    X(void, row_f32, (float *restrict y, const void *restrict row, size_t n))                      \
    X(void, row_f16, (float *restrict y, const void *restrict row, size_t n))                      \
    X(void, row_bf16, (float *restrict y, const void *restrict row, size_t n))                     \
    X(void, row_q8_0, (float *restrict y, const void *restrict row, size_t n))                     \
    X(void, store_f32, (void *restrict row, const float *restrict x, size_t n))                    \
    X(void, store_f16, (void *restrict row, const float *restrict x, size_t n))                    \
    X(void, store_bf16, (void *restrict row, const float *restrict x, size_t n))                   \
    X(void, matmul_f32, EK_MATMUL_ARGS(float))                                                     \
    X(void, matmul_f16, EK_MATMUL_ARGS(float))                                                     \
    X(void, matmul_bf16, EK_MATMUL_ARGS(float))                                                    \
    X(void, matmul_q8_0, EK_MATMUL_ARGS(float))                                                    \
    X(void, matmul8_q8_0, EK_MATMUL_ARGS(struct ek_q8_block))                                      \
    EK_QUANT_OPS(X, q4_0) EK_QUANT_OPS(X, q4_1) EK_QUANT_OPS(X, q5_0) EK_QUANT_OPS(X, q5_1)        \
    EK_QUANT_OPS(X, q4_k) EK_QUANT_OPS(X, q5_k) EK_QUANT_OPS(X, q6_k)                              \
    EK_QUANT_OPS(X, iq4_nl) EK_QUANT_OPS(X, iq4_xs)                                                \
    X(void, quant_q8, (struct ek_q8_block *restrict y, const float *restrict x, size_t n))         \
    X(void, rmsnorm, (float *y, const float *x, const float *restrict gain, size_t n, float eps))  \
    X(void, rope, (float *restrict x, const float *restrict cs, size_t n))                         \
    X(void, rope_halves, (float *restrict x, const float *restrict cs, size_t n))                  \
    X(void, softmax, (float *x, size_t n))                                                         \
    X(void, sigmoid, (float *y, const float *x, size_t n))                                         \
    X(void, silu_mul, (float *y, const float *gate, const float *restrict up, size_t n))           \
    X(void, add, (float *restrict y, const float *restrict x, size_t n))                           \
    X(void, axpy, (float *restrict y, float a, const float *restrict x, size_t n))                 \
    X(float, online_softmax, (float *restrict score, size_t n, float scale, float *restrict max,   \
                              float *restrict sum))                                                \
    X(void, mix_f32, EK_MIX_ARGS)                                                                  \
    X(void, mix_f16, EK_MIX_ARGS)                                                                  \
    X(void, mix_bf16, EK_MIX_ARGS)                                                                 \
    X(void, topk, (uint32_t *restrict index, const float *restrict score, size_t n, size_t k))

#define EK_QUANT_OPS(X, T)                                                                         \
    X(void, row_##T, (float *restrict y, const void *restrict row, size_t n))                      \
    X(void, matmul_##T, EK_MATMUL_ARGS(float))                                                     \
    X(void, matmul8_##T, EK_MATMUL_ARGS(struct ek_q8_block))

#define EK_MATMUL_ARGS(x_type)                                                                     \
    (float *restrict y, size_t y_stride, const x_type *restrict x, size_t x_stride, size_t m,      \
     const void *restrict w, size_t w_stride_bytes, size_t n, size_t k)
#define EK_MIX_ARGS                                                                                \
    (float *restrict out, float corr, const float *restrict p, const void *restrict rows,          \
     size_t stride_bytes, size_t n, size_t dim)

struct ek_kernels {
    const char *isa;
#define EK_FIELD(result, name, args) result(*name) args;
    EK_KERNELS(EK_FIELD)
#undef EK_FIELD
};

enum ek_isa { EK_ISA_GENERIC, EK_ISA_AVX2, EK_ISA_AVX512, EK_ISA_COUNT };

/* The table of one instruction set; NULL when this build lacks it or this machine cannot run it.
 * Constant for the life of the process. */
const struct ek_kernels *ek_kernels_of(enum ek_isa isa);

/* By name ("generic", "avx2", "avx512"), or the best this machine has when name is NULL. What does not
 * pass a short self-test counts as absent. NULL when there is no such instruction set here. */
const struct ek_kernels *ek_kernels_select(const char *name);

#endif
