/* SPDX-License-Identifier: MIT */
/* Scalar conversions between f32 and the two 16-bit floats, by bits, the same on every machine. */
#ifndef EK_KERNEL_HALF_H
#define EK_KERNEL_HALF_H

#include <stdint.h>
#include <string.h>

static inline float ek_bits_f32(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t ek_f32_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float ek_bf16_f32(uint16_t h) { return ek_bits_f32((uint32_t)h << 16); }

/* Round to nearest even; a NaN stays a (quiet) NaN. */
static inline uint16_t ek_f32_bf16(float f)
{
    uint32_t b = ek_f32_bits(f);
    if ((b & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(b >> 16 | 0x40u);
    return (uint16_t)((b + 0x7fffu + (b >> 16 & 1u)) >> 16);
}

static inline float ek_f16_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 0x1fu, mantissa = h & 0x3ffu;
    if (exponent == 0x1f) {
        uint32_t quiet = mantissa ? 0x400000u : 0u;
        return ek_bits_f32(sign | 0x7f800000u | mantissa << 13 | quiet);
    }
    if (exponent == 0) { /* zero or denormal: mantissa * 2^-24, exact */
        float f = (float)mantissa * 0x1p-24f;
        return ek_bits_f32(sign | ek_f32_bits(f));
    }
    return ek_bits_f32(sign | (exponent + 112) << 23 | mantissa << 13);
}

/* Round to nearest even; beyond 65504 to infinity. */
static inline uint16_t ek_f32_f16(float f)
{
    uint32_t b = ek_f32_bits(f), sign = b >> 16 & 0x8000u, a = b & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (a < 0x38800000u) { /* below 2^-14: adding 0.5 aligns the mantissa to multiples of 2^-24 */
        float r = ek_bits_f32(a) + 0.5f;
        return (uint16_t)(sign | (ek_f32_bits(r) - 0x3f000000u));
    }
    a += 0xfffu + (a >> 13 & 1u);
    return (uint16_t)(sign | (a - 0x38000000u) >> 13);
}

#endif
