/* SPDX-License-Identifier: MIT */
/* The choice of kernels: one constant table for each instruction set and a ladder of tests of the
 * machine. No state: asking twice gives the same answer. */
#include "kernel/kernel.h"
#include "kernel/tables.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define GENERIC(result, name, args) .name = ek_##name##_generic,
#define AVX2(result, name, args) .name = ek_##name##_avx2,
#define AVX512(result, name, args) .name = ek_##name##_avx512,

static const struct ek_kernels generic_table = {.isa = "generic", EK_KERNELS(GENERIC)};

#if defined(__x86_64__)
/* topk is a handful of comparisons: nothing to gain, so all share the generic one. */
#define ek_topk_avx2 ek_topk_generic
#define ek_topk_avx512 ek_topk_generic
static const struct ek_kernels avx2_table = {.isa = "avx2", EK_KERNELS(AVX2)};
static const struct ek_kernels avx512_table = {.isa = "avx512", EK_KERNELS(AVX512)};

/* __builtin_cpu_supports also asks whether the operating system saves the registers; clang 14 does
 * not know the name of F16C there, so that bit is read by hand. */
static bool have_avx2(void)
{
    unsigned a, b, c = 0, d;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

static bool have_avx512(void)
{
    return have_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

const struct ek_kernels *ek_kernels_of(enum ek_isa isa)
{
    if (isa == EK_ISA_GENERIC) return &generic_table;
#if defined(__x86_64__)
    if (isa == EK_ISA_AVX2 && have_avx2()) return &avx2_table;
    if (isa == EK_ISA_AVX512 && have_avx512()) return &avx512_table;
#endif
    return NULL;
}

/* A few products on this very machine against the generic ones: a processor, emulator or compiler that
 * gets them wrong is found here and not in an answer. */
static bool trustworthy(const struct ek_kernels *k)
{
    enum { M = 5, N = 9, K = 96, BLOCKS = K / EK_Q8_BLOCK };
    float x[M * K], y[M * N], want[M * N], z[M * N], want_z[M * N];
    struct ek_q8_0_block w[N * BLOCKS];
    struct ek_q8_block q[M * BLOCKS];
    for (int i = 0; i < M * K; i++) x[i] = (float)(i * 37 % 101 - 50) * 0.02f;
    for (int i = 0; i < N * BLOCKS; i++) {
        w[i].d = (uint16_t)(0x2000 + i); /* about 1/128 */
        for (int j = 0; j < EK_Q8_BLOCK; j++) w[i].q[j] = (int8_t)((i * 53 + j * 29) % 256 - 128);
    }
    for (int i = 0; i < M; i++) k->quant_q8(q + i * BLOCKS, x + i * K, K);
    k->matmul_q8_0(y, N, x, K, M, w, BLOCKS * sizeof *w, N, K);
    k->matmul8_q8_0(z, N, q, BLOCKS, M, w, BLOCKS * sizeof *w, N, K);
    generic_table.matmul_q8_0(want, N, x, K, M, w, BLOCKS * sizeof *w, N, K);
    generic_table.matmul8_q8_0(want_z, N, q, BLOCKS, M, w, BLOCKS * sizeof *w, N, K);
    for (int i = 0; i < M * N; i++) { /* sizes of terms: 96 * 1 * 1 */
        if (!(fabsf(y[i] - want[i]) < 1e-4f && fabsf(z[i] - want_z[i]) < 1e-4f)) return false;
    }
    return true;
}

const struct ek_kernels *ek_kernels_select(const char *name)
{
    for (int isa = EK_ISA_COUNT - 1; isa >= 0; isa--) {
        const struct ek_kernels *k = ek_kernels_of((enum ek_isa)isa);
        if (k && (!name || strcmp(name, k->isa) == 0) && trustworthy(k)) return k;
    }
    return NULL;
}
