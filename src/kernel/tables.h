/* SPDX-License-Identifier: MIT */
/* Inside the kernel room: the names of all variants, made from the one table of kernel.h. A variant
 * is called op_isa. Ops an instruction set has no version of point at the generic one. */
#ifndef EK_KERNEL_TABLES_H
#define EK_KERNEL_TABLES_H

#include "kernel/kernel.h"

#define EK_DECLARE_GENERIC(result, name, args) result ek_##name##_generic args;
EK_KERNELS(EK_DECLARE_GENERIC)

#define EK_DECLARE_AVX2(result, name, args) result ek_##name##_avx2 args;
EK_KERNELS(EK_DECLARE_AVX2)

#define EK_DECLARE_AVX512(result, name, args) result ek_##name##_avx512 args;
EK_KERNELS(EK_DECLARE_AVX512)

#endif
