/* SPDX-License-Identifier: MIT */
/* Quantised rows as AVX2 code. Built with that instruction set's flags, so nothing in here may run
 * before kernel.c has asked the machine for it; the bodies are in quant.h. */
#include "kernel/x86/vec.h"

/* Eight sums of four products each, of unsigned and signed bytes. The 16-bit sums on the way cannot
 * saturate: the unsigned factor is at most 127 and so is the signed one. */
INLINE __m256i pairs_of(__m256i w, __m256i x)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
}

#define NAME(op) ek_##op##_avx2
#include "kernel/x86/quant.h"
