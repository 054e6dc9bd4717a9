/* SPDX-License-Identifier: MIT */
/* Quantised rows for x86, written once for AVX2 and AVX-512 (the words of vec.h, and 256-bit integer
 * vectors that both have). Included by quant_avx2.c and quant_avx512.c, which set NAME(op) and bring
 * pairs_of, the one integer product in which the two differ; it is no header to use anywhere else.
 *
 * The unit of work is a sub-block: 32 weights scale * q - min, where q fits a byte. What a type's bytes
 * mean is told in generic/quant.h; here stands only how to get at them 32 at a time. `type` is a
 * constant at every call, so each use unrolls into the code of one type.
 *
 * Invariance: each output has one vector accumulator and one for the minima, fed in the order of k. */
#include "kernel/tables.h"
#include "kernel/x86/vec.h"

enum quant_type { T_q4_0, T_q4_1, T_q5_0, T_q5_1, T_iq4_nl, T_q4_k, T_q5_k, T_q6_k, T_iq4_xs };

enum { STRETCH = 256, ROWS_TOGETHER = 16 };

/* What the sub-blocks of a block need besides q: scale[2 s] for the first sixteen weights of sub-block
 * s and scale[2 s + 1] for the others where the type tells them apart (q6_k), else scale[s] for all. */
struct scales {
    float scale[16];
    float min[8];
};

INLINE size_t values_of(enum quant_type t) { return t >= T_q4_k ? 256 : 32; }
INLINE size_t bytes_of(enum quant_type t)
{
    static const uint8_t bytes[] = {18, 20, 22, 24, 18, 144, 176, 210, 136};
    return bytes[t];
}
INLINE bool has_min(enum quant_type t)
{
    return t == T_q4_1 || t == T_q5_1 || t == T_q4_k || t == T_q5_k;
}
INLINE bool is_signed(enum quant_type t) { return !has_min(t); }

INLINE float half_at(const uint8_t *b)
{
    uint16_t h;
    memcpy(&h, b, sizeof h);
    return half_of(h);
}

INLINE uint32_t word_at(const uint8_t *b)
{
    uint32_t w;
    memcpy(&w, b, sizeof w);
    return w;
}

/* Eight bytes, scaled. */
INLINE __m256 eight_scaled(uint64_t bytes, bool as_signed, float d)
{
    __m128i b = _mm_cvtsi64_si128((long long)bytes);
    __m256i wide = as_signed ? _mm256_cvtepi8_epi32(b) : _mm256_cvtepu8_epi32(b);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(d));
}

INLINE void scales_k4(struct scales *s, const uint8_t *b)
{
    uint32_t first = word_at(b + 4), second = word_at(b + 8), rest = word_at(b + 12);
    uint32_t scale_hi = (rest & 0x0f0f0f0fu) | (first >> 2 & 0x30303030u);
    uint32_t min_hi = (rest >> 4 & 0x0f0f0f0fu) | (second >> 2 & 0x30303030u);
    uint64_t scale = (first & 0x3f3f3f3fu) | (uint64_t)scale_hi << 32;
    uint64_t min = (second & 0x3f3f3f3fu) | (uint64_t)min_hi << 32;
    _mm256_storeu_ps(s->scale, eight_scaled(scale, false, half_at(b)));
    _mm256_storeu_ps(s->min, eight_scaled(min, false, half_at(b + 2)));
}

INLINE void scales_iq4_xs(struct scales *s, const uint8_t *b)
{
    uint64_t low = 0, high = 0;
    for (unsigned i = 0; i < 4; i++) {
        low |= (uint64_t)((b[4 + i] & 15u) | (b[4 + i] & 0xf0u) << 4) << 16 * i;
        high |= (uint64_t)(b[2] >> 2 * i & 3u) << (8 * i + 4);
        high |= (uint64_t)(b[3] >> 2 * i & 3u) << (8 * i + 36);
    }
    __m128i six = _mm_sub_epi8(_mm_cvtsi64_si128((long long)(low | high)), _mm_set1_epi8(32));
    _mm256_storeu_ps(s->scale, eight_scaled((uint64_t)_mm_cvtsi128_si64(six), true, half_at(b)));
}

INLINE void scales_of(enum quant_type t, struct scales *s, const uint8_t *b)
{
    uint64_t sixteen[2];
    switch (t) {
    case T_q4_k:
    case T_q5_k: scales_k4(s, b); return;
    case T_iq4_xs: scales_iq4_xs(s, b); return;
    case T_q6_k:
        memcpy(sixteen, b + 192, sizeof sixteen);
        _mm256_storeu_ps(s->scale, eight_scaled(sixteen[0], true, half_at(b + 208)));
        _mm256_storeu_ps(s->scale + 8, eight_scaled(sixteen[1], true, half_at(b + 208)));
        return;
    case T_q4_1:
    case T_q5_1: s->min[0] = -half_at(b + 2); break;
    case T_q4_0:
    case T_q5_0:
    case T_iq4_nl: break;
    }
    s->scale[0] = half_at(b);
}

/* The scales of a sub-block beside the eight sums of four products each that pairs_of gives. */
INLINE __m256 scale_lanes(enum quant_type t, const struct scales *s, size_t sub)
{
    if (t != T_q6_k) return _mm256_set1_ps(s->scale[sub]);
    return _mm256_set_m128(_mm_set1_ps(s->scale[2 * sub + 1]), _mm_set1_ps(s->scale[2 * sub]));
}

INLINE __m256i load32(const uint8_t *p) { return _mm256_loadu_si256((const void *)p); }
INLINE __m256i low_halves(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }

/* Low halves of sixteen bytes, then their high halves. */
INLINE __m256i nibbles16(const uint8_t *p)
{
    __m128i v = _mm_loadu_si128((const void *)p);
    return low_halves(_mm256_set_m128i(_mm_srli_epi16(v, 4), v));
}

/* 16 in every byte whose bit of the word is set. */
INLINE __m256i fifth_bits(const uint8_t *p)
{
    const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                                              0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)word_at(p)), spread);
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

INLINE __m256i by_table(__m256i nibbles)
{
    const __m128i values = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53,
                                         69, 89, 113);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles);
}

/* The halves of 32 bytes that sub-block `sub` of a K type lies in. */
INLINE __m256i nibbles_k(const uint8_t *p, bool upper)
{
    __m256i v = load32(p);
    return low_halves(upper ? _mm256_srli_epi16(v, 4) : v);
}

INLINE __m256i q5_k_of(const uint8_t *b, size_t sub)
{
    __m256i bit = _mm256_set1_epi8((char)(1u << sub));
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(load32(b + 16), bit), bit);
    __m256i low = nibbles_k(b + 48 + sub / 2 * 32, sub % 2);
    return _mm256_or_si256(low, _mm256_and_si256(set, _mm256_set1_epi8(16)));
}

INLINE __m256i q6_k_of(const uint8_t *b, size_t sub)
{
    size_t half = sub / 4, quarter = sub % 4;
    __m256i low = nibbles_k(b + half * 64 + quarter % 2 * 32, quarter >= 2);
    __m256i high = _mm256_srl_epi16(load32(b + 128 + half * 32), _mm_cvtsi32_si128((int)(2 * quarter)));
    high = _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(3)), 4);
    return _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32));
}

/* The 32 integers of a sub-block, as bytes. */
INLINE __m256i integers(enum quant_type t, const uint8_t *b, size_t sub)
{
    switch (t) {
    case T_q4_0: return _mm256_sub_epi8(nibbles16(b + 2), _mm256_set1_epi8(8));
    case T_q4_1: return nibbles16(b + 4);
    case T_q5_0:
        return _mm256_sub_epi8(_mm256_or_si256(nibbles16(b + 6), fifth_bits(b + 2)),
                               _mm256_set1_epi8(16));
    case T_q5_1: return _mm256_or_si256(nibbles16(b + 8), fifth_bits(b + 4));
    case T_iq4_nl: return by_table(nibbles16(b + 2));
    case T_q4_k: return nibbles_k(b + 16 + sub / 2 * 32, sub % 2);
    case T_q5_k: return q5_k_of(b, sub);
    case T_q6_k: return q6_k_of(b, sub);
    case T_iq4_xs: return by_table(nibbles16(b + 8 + 16 * sub));
    }
    return _mm256_setzero_si256();
}

/* n weights (whole blocks) as f32. */
INLINE void widen(enum quant_type t, float *y, const uint8_t *row, size_t n)
{
    struct scales s;
    int8_t q[32];
    for (size_t at = 0; at < n; at += values_of(t), row += bytes_of(t)) {
        scales_of(t, &s, row);
        for (size_t sub = 0; sub < values_of(t) / 32; sub++) {
            _mm256_storeu_si256((void *)q, integers(t, row, sub));
            for (size_t i = 0; i < 32; i += LANES) {
                vec d = v_set(t == T_q6_k ? s.scale[2 * sub + i / 16] : s.scale[sub]);
                vec w = v_mul(v_i8(q + i), d);
                if (has_min(t)) w = v_sub(w, v_set(s.min[sub]));
                v_store(y + at + 32 * sub + i, w);
            }
        }
    }
}

/* acc [MB][NB] += x [MB] times NB widened rows of n columns, STRETCH apart. */
INLINE void add_wide(size_t MB, size_t NB, vec *acc, const float *x, size_t x_stride, const float *w,
                     size_t n)
{
    vec sum[16];
    for (size_t i = 0; i < MB * NB; i++) sum[i] = acc[i];
    for (size_t at = 0; at < n; at += LANES) {
        vec xs[4];
        for (size_t i = 0; i < MB; i++) xs[i] = v_load(x + i * x_stride + at);
        for (size_t j = 0; j < NB; j++) {
            vec ws = v_load(w + j * STRETCH + at);
            for (size_t i = 0; i < MB; i++) sum[i * NB + j] = v_fma(ws, xs[i], sum[i * NB + j]);
        }
    }
    for (size_t i = 0; i < MB * NB; i++) acc[i] = sum[i];
}

/* NB rows of weights, widened a stretch at a time, against up to ROWS_TOGETHER rows of x. */
INLINE void block_wide(enum quant_type t, size_t NB, float *y, size_t y_stride, const float *x,
                       size_t x_stride, size_t m, const uint8_t *w, size_t w_stride, size_t k)
{
    enum { MB = LANES == 16 ? 4 : 2 };
    vec acc[ROWS_TOGETHER * 4];
    float wide[4 * STRETCH];
    for (size_t i = 0; i < m * NB; i++) acc[i] = v_zero();
    for (size_t at = 0; at < k; at += STRETCH) {
        size_t n = k - at < STRETCH ? k - at : STRETCH, r = 0;
        for (size_t j = 0; j < NB; j++) {
            widen(t, wide + j * STRETCH, w + j * w_stride + at / values_of(t) * bytes_of(t), n);
        }
        for (; r + MB <= m; r += MB) {
            add_wide(MB, NB, acc + r * NB, x + r * x_stride + at, x_stride, wide, n);
        }
        for (; r < m; r++) add_wide(1, NB, acc + r * NB, x + r * x_stride + at, x_stride, wide, n);
    }
    for (size_t i = 0; i < m * NB; i++) y[i / NB * y_stride + i % NB] = v_sum(acc[i]);
}

INLINE void matmul(enum quant_type t, float *y, size_t y_stride, const float *x, size_t x_stride,
                   size_t m, const uint8_t *w, size_t w_stride, size_t n, size_t k)
{
    MUST(k % values_of(t) == 0);
    for (size_t r = 0; r < m; r += ROWS_TOGETHER, y += ROWS_TOGETHER * y_stride,
                x += ROWS_TOGETHER * x_stride) {
        size_t rows = m - r < ROWS_TOGETHER ? m - r : ROWS_TOGETHER, c = 0;
        for (; c + 4 <= n; c += 4) {
            block_wide(t, 4, y + c, y_stride, x, x_stride, rows, w + c * w_stride, w_stride, k);
        }
        for (; c < n; c++) {
            block_wide(t, 1, y + c, y_stride, x, x_stride, rows, w + c * w_stride, w_stride, k);
        }
    }
}

INLINE float sum8(__m256 e)
{
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    q = _mm_add_ss(q, _mm_movehdup_ps(q));
    return _mm_cvtss_f32(q);
}

#if defined(__AVX512VNNI__)
#include "kernel/x86/quant_wide.h"
#endif

/* One block of one weight row against MB rows of x; acc and low step by `step`. */
INLINE void add_block(enum quant_type t, size_t MB, __m256 *acc, float *low, size_t step,
                      const struct ek_q8_block *x, size_t x_stride, const uint8_t *b)
{
    struct scales s;
    scales_of(t, &s, b);
    for (size_t sub = 0; sub < values_of(t) / 32; sub++) {
        __m256i q = integers(t, b, sub), size = is_signed(t) ? _mm256_abs_epi8(q) : q;
        __m256 d = scale_lanes(t, &s, sub);
        for (size_t i = 0; i < MB; i++) {
            const struct ek_q8_block *xb = x + i * x_stride + sub;
            __m256i xq = _mm256_loadu_si256((const void *)xb->q);
            if (is_signed(t)) xq = _mm256_sign_epi8(xq, q); /* the sign moves to x */
            __m256 sums = _mm256_cvtepi32_ps(pairs_of(size, xq));
            acc[i * step] = _mm256_fmadd_ps(sums, _mm256_mul_ps(d, _mm256_set1_ps(xb->d)), acc[i * step]);
            if (!has_min(t)) continue;
            low[i * step] = __builtin_fmaf(s.min[sub], xb->d * ((float)xb->comp * 0x1p-7f), low[i * step]);
        }
    }
}

INLINE void tile8(enum quant_type t, size_t MB, size_t NB, float *y, size_t y_stride,
                  const struct ek_q8_block *x, size_t x_stride, const uint8_t *w, size_t w_stride,
                  size_t k)
{
    __m256 acc[8];
    float low[8] = {0};
    for (size_t i = 0; i < MB * NB; i++) acc[i] = _mm256_setzero_ps();
    for (size_t at = 0; at < k; at += values_of(t), x += values_of(t) / 32, w += bytes_of(t)) {
        for (size_t j = 0; j < NB; j++) {
            add_block(t, MB, acc + j, low + j, NB, x, x_stride, w + j * w_stride);
        }
    }
    for (size_t i = 0; i < MB; i++) {
        for (size_t j = 0; j < NB; j++) y[i * y_stride + j] = sum8(acc[i * NB + j]) + low[i * NB + j];
    }
}

INLINE void matmul8(enum quant_type t, float *y, size_t y_stride, const struct ek_q8_block *x,
                    size_t x_stride, size_t m, const uint8_t *w, size_t w_stride, size_t n, size_t k)
{
    MUST(k % values_of(t) == 0);
    size_t c = 0, r;
#if defined(__AVX512VNNI__)
    if (wide_knows(t) && matmul8_wide(t, y, y_stride, x, x_stride, m, w, w_stride, n, k)) return;
#endif
    for (; m == 1 && c + 4 <= n; c += 4) {
        tile8(t, 1, 4, y + c, y_stride, x, x_stride, w + c * w_stride, w_stride, k);
    }
    for (; c < n; c++) {
        for (r = 0; r + 4 <= m; r += 4) {
            tile8(t, 4, 1, y + r * y_stride + c, y_stride, x + r * x_stride, x_stride,
                  w + c * w_stride, w_stride, k);
        }
        for (; r < m; r++) {
            tile8(t, 1, 1, y + r * y_stride + c, y_stride, x + r * x_stride, x_stride,
                  w + c * w_stride, w_stride, k);
        }
    }
}

#define QUANT(type, values, bytes)                                                                 \
    void NAME(row_##type)(float *restrict y, const void *restrict row, size_t n)                   \
    {                                                                                              \
        MUST(n % values == 0);                                                                     \
        widen(T_##type, y, row, n);                                                                \
    }                                                                                              \
    void NAME(matmul_##type) EK_MATMUL_ARGS(float)                                                 \
    {                                                                                              \
        matmul(T_##type, y, y_stride, x, x_stride, m, w, w_stride_bytes, n, k);                    \
    }                                                                                              \
    void NAME(matmul8_##type) EK_MATMUL_ARGS(struct ek_q8_block)                                   \
    {                                                                                              \
        matmul8(T_##type, y, y_stride, x, x_stride, m, w, w_stride_bytes, n, k);                   \
    }

EK_QUANTS(QUANT)
