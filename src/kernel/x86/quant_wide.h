/* SPDX-License-Identifier: MIT */
/* The int8 product of types with a scale, and a minimum, for each 32 weights, 256 of them at a time, for
 * AVX-512 VNNI: a block of q4_k or q5_k, or eight of q4_0, q4_1, q5_0 or q5_1, whose q are read as unsigned
 * here and so have a minimum, too. Included by quant.h where that instruction set is, and by nobody else.
 *
 * The eight sub-blocks have their sums side by side in one vector, so scales and minima are applied once for
 * 256 weights and not once for 32. For that the bytes of weights and activations are put into four vectors
 * whose 32-bit lanes belong, each, to one sub-block; vpdpbusd adds the four up:
 *
 *     lane          0    1    2    3    4    5    6    7    8 ...
 *     sub-block     0    2    4    6    0    2    4    6    1 3 5 7 1 3 5 7
 *     bytes of it   4 t .. 4 t + 3      16 + 4 t ..          (the same twice)        in vector t
 *
 * What the minima take off is taken off at once, in the same accumulator, so that sums stay small.
 * Activations are brought into that order once for all columns of a call, a few rows at a time. Where k ends
 * before the eighth sub-block the others are zeros.
 *
 * Invariance: an output has one accumulator, fed in the order of blocks; how many rows and columns are
 * computed beside it changes nothing. */

enum {
    WIDE_BLOCK = 256,
    WIDE_SUBS = 8,
    WIDE_ROWS = 8,          /* at once at most */
    WIDE_BYTES = 96 * 1024, /* of activations in that order; more columns than fit go the other way */
};

struct wide_block {
    _Alignas(64) int8_t q[WIDE_BLOCK];
    float d[16];   /* by lane */
    float low[16]; /* what a minimum of one adds, half of it in each of a sub-block's lanes */
};

/* What belongs to sub-blocks, by lane. */
INLINE __m512 wide_spread(__m256 by_sub)
{
    const __m512i lanes = _mm512_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6, 1, 3, 5, 7, 1, 3, 5, 7);
    return _mm512_permutexvar_ps(lanes, _mm512_castps256_ps512(by_sub));
}

/* From sub-blocks 2 c | 2 c + 1 in a[c] to the order above. */
INLINE void wide_order(__m512i a[4])
{
    __m512i p = _mm512_unpacklo_epi32(a[0], a[1]), q = _mm512_unpackhi_epi32(a[0], a[1]);
    __m512i r = _mm512_unpacklo_epi32(a[2], a[3]), s = _mm512_unpackhi_epi32(a[2], a[3]);
    a[0] = _mm512_unpacklo_epi64(p, r);
    a[1] = _mm512_unpackhi_epi64(p, r);
    a[2] = _mm512_unpacklo_epi64(q, s);
    a[3] = _mm512_unpackhi_epi64(q, s);
}

INLINE void wide_pack(struct wide_block *out, const struct ek_q8_block x[WIDE_SUBS])
{
    enum { STEP = sizeof(struct ek_q8_block) / 4 };
    const __m256i each =
        _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(STEP));
    __m512i a[4];
    for (int c = 0; c < 4; c++) {
        a[c] = _mm512_inserti64x4(_mm512_castsi256_si512(load32((const void *)x[2 * c].q)),
                                  load32((const void *)x[2 * c + 1].q), 1);
    }
    wide_order(a);
    for (int t = 0; t < 4; t++) _mm512_store_si512((void *)(out->q + 64 * t), a[t]);
    __m256 d = _mm256_i32gather_ps(&x->d, each, 4);
    __m256 comp = _mm256_cvtepi32_ps(_mm256_i32gather_epi32(&x->comp, each, 4));
    _mm512_store_ps(out->d, wide_spread(d));
    _mm512_store_ps(out->low, wide_spread(_mm256_mul_ps(d, _mm256_mul_ps(comp, _mm256_set1_ps(0x1p-8f)))));
}

/* A row of `subs` sub-blocks. */
static void wide_row(struct wide_block *out, const struct ek_q8_block *x, size_t subs)
{
    for (; subs >= WIDE_SUBS; subs -= WIDE_SUBS, x += WIDE_SUBS) wide_pack(out++, x);
    if (subs == 0) return;
    struct ek_q8_block rest[WIDE_SUBS] = {0};
    memcpy(rest, x, subs * sizeof *x);
    wide_pack(out, rest);
}

/* 256 weights of a K type: their integers, and in *scale and *min what stands beside them. */
INLINE void wide_k(enum quant_type t, const uint8_t *b, __m512i a[4], __m256 *scale, __m256 *min)
{
    const __m512i upper = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    const __m512i next = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(1), 1);
    const uint8_t *low = b + (t == T_q5_k ? 48 : 16);
    struct scales s;
    scales_k4(&s, b);
    *scale = _mm256_loadu_ps(s.scale);
    *min = _mm256_loadu_ps(s.min);
    for (int c = 0; c < 4; c++) {
        __m512i v = _mm512_broadcast_i64x4(load32(low + 32 * c));
        a[c] = _mm512_and_si512(_mm512_srlv_epi16(v, upper), _mm512_set1_epi8(15));
        if (t != T_q5_k) continue;
        __m512i bit = _mm512_add_epi16(next, _mm512_set1_epi16((short)(2 * c)));
        __m512i fifth = _mm512_srlv_epi16(_mm512_broadcast_i64x4(load32(b + 16)), bit);
        fifth = _mm512_slli_epi16(_mm512_and_si512(fifth, _mm512_set1_epi8(1)), 4);
        a[c] = _mm512_or_si512(a[c], fifth);
    }
}

/* Eight numbers of 16 bits, `step` bytes apart. */
INLINE __m256 wide_halves(const uint8_t *b, size_t step)
{
    uint16_t h[WIDE_SUBS];
    for (size_t i = 0; i < WIDE_SUBS; i++) memcpy(&h[i], b + i * step, sizeof *h);
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)h));
}

/* The integers of a small block, none below zero. */
INLINE __m256i wide_unsigned(enum quant_type t, const uint8_t *b)
{
    switch (t) {
    case T_q4_0: return nibbles16(b + 2);
    case T_q4_1: return nibbles16(b + 4);
    case T_q5_0: return _mm256_or_si256(nibbles16(b + 6), fifth_bits(b + 2));
    case T_q5_1: return _mm256_or_si256(nibbles16(b + 8), fifth_bits(b + 4));
    case T_iq4_nl:
    case T_q4_k:
    case T_q5_k:
    case T_q6_k:
    case T_iq4_xs: break;
    }
    return _mm256_setzero_si256();
}

/* The same of eight small blocks. */
INLINE void wide_eight(enum quant_type t, const uint8_t *b, __m512i a[4], __m256 *scale, __m256 *min)
{
    size_t step = bytes_of(t);
    *scale = wide_halves(b, step);
    if (has_min(t)) *min = _mm256_xor_ps(wide_halves(b + 2, step), _mm256_set1_ps(-0.0f));
    else *min = _mm256_mul_ps(*scale, _mm256_set1_ps(t == T_q4_0 ? 8 : 16));
    for (size_t c = 0; c < 4; c++) {
        a[c] = _mm512_inserti64x4(_mm512_castsi256_si512(wide_unsigned(t, b + 2 * c * step)),
                                  wide_unsigned(t, b + (2 * c + 1) * step), 1);
    }
}

INLINE bool wide_knows(enum quant_type t)
{
    return t == T_q4_k || t == T_q5_k || t == T_q4_0 || t == T_q4_1 || t == T_q5_0 || t == T_q5_1;
}

/* One row of weights against MB rows of x, `blocks` of 256 each; the last one of w is `last`. */
INLINE void wide_column(enum quant_type t, size_t MB, float *y, size_t y_stride, const struct wide_block *x,
                        const uint8_t *w, const uint8_t *last, size_t blocks)
{
    __m512 acc[WIDE_ROWS];
    for (size_t i = 0; i < MB; i++) acc[i] = _mm512_setzero_ps();
    for (size_t b = 0; b < blocks; b++, w += bytes_of(t) * (WIDE_BLOCK / values_of(t))) {
        const uint8_t *at = b + 1 < blocks ? w : last;
        __m512i q[4];
        __m256 scale8, min8;
        if (values_of(t) == WIDE_BLOCK) wide_k(t, at, q, &scale8, &min8);
        else wide_eight(t, at, q, &scale8, &min8);
        wide_order(q);
        __m512 scale = wide_spread(scale8), min = wide_spread(min8);
        for (size_t i = 0; i < MB; i++) {
            const struct wide_block *xb = x + i * blocks + b;
            __m512i sums = _mm512_setzero_si512();
            for (int v = 0; v < 4; v++) {
                sums = _mm512_dpbusd_epi32(sums, q[v], _mm512_load_si512((const void *)(xb->q + 64 * v)));
            }
            acc[i] = _mm512_fmadd_ps(min, _mm512_load_ps(xb->low), acc[i]);
            __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale);
            acc[i] = _mm512_fmadd_ps(product, _mm512_load_ps(xb->d), acc[i]);
        }
    }
    for (size_t i = 0; i < MB; i++) {
        __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(acc[i]), _mm512_extractf32x8_ps(acc[i], 1));
        y[i * y_stride] = sum8(halves);
    }
}

/* All columns for MB rows of x of k weights each. */
INLINE void wide_some(enum quant_type t, size_t MB, float *y, size_t y_stride, const struct wide_block *x,
                      const uint8_t *w, size_t w_stride, size_t n, size_t k)
{
    size_t blocks = (k + WIDE_BLOCK - 1) / WIDE_BLOCK;
    size_t whole = (blocks - 1) * (WIDE_BLOCK / values_of(t)) * bytes_of(t); /* without the last */
    size_t rest = k / values_of(t) * bytes_of(t) - whole;
    uint8_t last[WIDE_SUBS * 24] = {0};
    for (size_t c = 0; c < n; c++, w += w_stride) {
        if (k % WIDE_BLOCK != 0) memcpy(last, w + whole, rest);
        wide_column(t, MB, y + c, y_stride, x, w, k % WIDE_BLOCK != 0 ? last : w + whole, blocks);
    }
}

/* False: too many columns for this way. Depends on k alone, as it must. */
INLINE bool matmul8_wide(enum quant_type t, float *y, size_t y_stride, const struct ek_q8_block *x,
                         size_t x_stride, size_t m, const uint8_t *w, size_t w_stride, size_t n, size_t k)
{
    struct wide_block block[WIDE_BYTES / sizeof(struct wide_block)];
    size_t blocks = (k + WIDE_BLOCK - 1) / WIDE_BLOCK, rows;
    if (blocks == 0 || blocks > EK_COUNT(block)) return false;
    for (size_t r = 0; r < m; r += rows) {
        rows = WIDE_ROWS;
        while (rows > 1 && (rows > m - r || rows * blocks > EK_COUNT(block))) rows /= 2;
        for (size_t i = 0; i < rows; i++) {
            wide_row(block + i * blocks, x + (r + i) * x_stride, k / EK_Q8_BLOCK);
        }
        float *out = y + r * y_stride;
        switch (rows) {
        case 8: wide_some(t, 8, out, y_stride, block, w, w_stride, n, k); break;
        case 4: wide_some(t, 4, out, y_stride, block, w, w_stride, n, k); break;
        case 2: wide_some(t, 2, out, y_stride, block, w, w_stride, n, k); break;
        default: wide_some(t, 1, out, y_stride, block, w, w_stride, n, k); break;
        }
    }
    return true;
}
