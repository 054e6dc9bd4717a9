/* SPDX-License-Identifier: MIT */
/* Quantised rows as AVX-512 code. Built with that instruction set's flags, so nothing in here may run
 * before kernel.c has asked the machine for it; the bodies are in quant.h. */
#include "kernel/x86/vec.h"

/* Eight sums of four products each, of unsigned and signed bytes. */
INLINE __m256i pairs_of(__m256i w, __m256i x)
{
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), w, x);
}

#define NAME(op) ek_##op##_avx512
#include "kernel/x86/quant.h"
