/* SPDX-License-Identifier: MIT */
/* The float kernels as AVX512 code. Built with that instruction set's flags, so nothing in here may run
 * before kernel.c has asked the machine for it; the bodies are in ops.h. */
#define NAME(op) ek_##op##_avx512
#include "kernel/x86/ops.h"
