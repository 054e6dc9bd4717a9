/* SPDX-License-Identifier: MIT */
/* The definition of ggml's quantised types, one function a type: what a block of bytes stands for.
 * Every type comes down to the same form, in which everything else is written:
 *
 *     weight j of a block = scale[j / 16] * q[j] - min[j / 32]
 *
 * with small integers q. All products are exact in f32 (at most 11 + 7 + 6 bits), so a weight is
 * rounded once, by the subtraction, and not at all where min is 0: every correct decoder gives the
 * same bits. Source: the block structs of ggml-common.h. */
#ifndef EK_KERNEL_GENERIC_QUANT_H
#define EK_KERNEL_GENERIC_QUANT_H

#include "kernel/half.h"
#include "kernel/kernel.h"

struct quant_block {
    int8_t q[256];
    float scale[16];
    float min[8];
};

/* A block in memory: types of 32 weights fill the first 32 places. */
typedef void quant_unpack(struct quant_block *u, const uint8_t *b);

static inline float quant_half(const uint8_t *b)
{
    uint16_t h;
    memcpy(&h, b, sizeof h);
    return ek_f16_f32(h);
}

static inline void quant_plain(struct quant_block *u, float scale, float min)
{
    u->scale[0] = u->scale[1] = scale;
    u->min[0] = min;
}

/* Sixteen bytes: their low halves are the first sixteen numbers, their high halves the others. */
static inline void quant_nibbles(int8_t q[32], const uint8_t *b)
{
    for (int j = 0; j < 16; j++) {
        q[j] = b[j] & 15;
        q[j + 16] = (int8_t)(b[j] >> 4);
    }
}

/* The fifth bits of 32 numbers, in one little-endian word. */
static inline void quant_fifth_bits(int8_t q[32], const uint8_t *b)
{
    for (int j = 0; j < 32; j++) q[j] = (int8_t)(q[j] | (b[j / 8] >> j % 8 & 1) << 4);
}

static inline void unpack_q4_0(struct quant_block *u, const uint8_t *b)
{
    quant_plain(u, quant_half(b), 0);
    quant_nibbles(u->q, b + 2);
    for (int j = 0; j < 32; j++) u->q[j] = (int8_t)(u->q[j] - 8);
}

static inline void unpack_q4_1(struct quant_block *u, const uint8_t *b)
{
    quant_plain(u, quant_half(b), -quant_half(b + 2));
    quant_nibbles(u->q, b + 4);
}

static inline void unpack_q5_0(struct quant_block *u, const uint8_t *b)
{
    quant_plain(u, quant_half(b), 0);
    quant_nibbles(u->q, b + 6);
    quant_fifth_bits(u->q, b + 2);
    for (int j = 0; j < 32; j++) u->q[j] = (int8_t)(u->q[j] - 16);
}

static inline void unpack_q5_1(struct quant_block *u, const uint8_t *b)
{
    quant_plain(u, quant_half(b), -quant_half(b + 2));
    quant_nibbles(u->q, b + 8);
    quant_fifth_bits(u->q, b + 4);
}

/* Twelve bytes hold eight scales and eight minima of six bits: those of the first four sub-blocks
 * whole, those of the last four as four bits here and two in the spare bits above the first. */
static inline void quant_scales_k4(struct quant_block *u, const uint8_t *b)
{
    float d = quant_half(b), m = quant_half(b + 2);
    const uint8_t *s = b + 4;
    for (int i = 0; i < 8; i++) {
        int scale = i < 4 ? s[i] & 63 : (s[i + 4] & 15) | (s[i - 4] >> 6) << 4;
        int min = i < 4 ? s[i + 4] & 63 : s[i + 4] >> 4 | (s[i] >> 6) << 4;
        u->scale[2 * i] = u->scale[2 * i + 1] = d * (float)scale;
        u->min[i] = m * (float)min;
    }
}

static inline void unpack_q4_k(struct quant_block *u, const uint8_t *b)
{
    quant_scales_k4(u, b);
    for (int j = 0; j < 256; j++) {
        u->q[j] = (int8_t)(b[16 + j / 64 * 32 + j % 32] >> j / 32 % 2 * 4 & 15);
    }
}

static inline void unpack_q5_k(struct quant_block *u, const uint8_t *b)
{
    quant_scales_k4(u, b);
    for (int j = 0; j < 256; j++) {
        int low = b[48 + j / 64 * 32 + j % 32] >> j / 32 % 2 * 4 & 15;
        u->q[j] = (int8_t)(low | (b[16 + j % 32] >> j / 32 & 1) << 4);
    }
}

static inline void unpack_q6_k(struct quant_block *u, const uint8_t *b)
{
    float d = quant_half(b + 208);
    for (int i = 0; i < 16; i++) u->scale[i] = d * (float)(int8_t)b[192 + i];
    memset(u->min, 0, sizeof u->min);
    for (int j = 0; j < 256; j++) {
        int half = j / 128, quarter = j / 32 % 4;
        int low = b[half * 64 + quarter % 2 * 32 + j % 32] >> quarter / 2 * 4 & 15;
        int high = b[128 + half * 32 + j % 32] >> 2 * quarter & 3;
        u->q[j] = (int8_t)((low | high << 4) - 32);
    }
}

/* Sixteen values that lie denser around zero, as a normal distribution does. */
static const int8_t quant_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};

static inline void quant_by_table(int8_t q[32], const uint8_t *b)
{
    quant_nibbles(q, b);
    for (int j = 0; j < 32; j++) q[j] = quant_iq4[q[j]];
}

static inline void unpack_iq4_nl(struct quant_block *u, const uint8_t *b)
{
    quant_plain(u, quant_half(b), 0);
    quant_by_table(u->q, b + 2);
}

/* Scales of six bits around 32: four bits each in bytes 4..7, two each in the word at 2. */
static inline void unpack_iq4_xs(struct quant_block *u, const uint8_t *b)
{
    float d = quant_half(b);
    memset(u->min, 0, sizeof u->min);
    for (int i = 0; i < 8; i++) {
        int scale = (b[4 + i / 2] >> i % 2 * 4 & 15) | (b[2 + i / 4] >> i % 4 * 2 & 3) << 4;
        u->scale[2 * i] = u->scale[2 * i + 1] = d * (float)(scale - 32);
        quant_by_table(u->q + 32 * i, b + 8 + 16 * i);
    }
}

#endif
