/* SPDX-License-Identifier: MIT */
/* What fast.c is built of: a scratch arena, bfloat16, the exponential, matrix products on AMX tiles (or on
 * AVX-512 where there are none) with their packing, linear layers, the norm. Everything here is static:
 * there is one user.
 *
 * Shapes are multiples of 32 wherever a matrix product sees them. The arena is emptied by begin(), which
 * every exported function calls first; MUST ends the process when a training shape does not fit.
 */
#ifndef FAST_H
#define FAST_H
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef uint16_t bf;

#define MUST(x) do { if (!(x)) { fprintf(stderr, "fast.c:%d: %s\n", __LINE__, #x); abort(); } } while (0)
enum { HOW_ROUND = 0, HOW_STORE, HOW_ADD };

/* What the network is made of; fast.py fills it in from net.Shape. */
struct shape { long dim, heads, nope, rope, value, q_lora, kv_lora, ff, experts, used, groups, groups_used; };

#define ROOM ((size_t)4 << 30)

static char *room;
static size_t taken;

static void *take(size_t bytes)
{
    bytes = (bytes + 255) & ~(size_t)255;
    MUST(taken + bytes <= ROOM);
    taken += bytes;
    return room + taken - bytes;
}

int ready(void)
{
    if (!__builtin_cpu_supports("avx512bf16")) return 0;
#ifdef __AMX_BF16__
    if (syscall(SYS_arch_prctl, 0x1023, 18)) return 0;           /* the kernel's leave to use the tiles */
#endif
    room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return room != MAP_FAILED;
}

static void begin(void)
{
    taken = 0;
#ifdef __AMX_BF16__
    static const struct { uint8_t palette, start, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; } tiles = {
        .palette = 1, .bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&tiles);
#endif
}

static void end(void)
{
#ifdef __AMX_BF16__
    _tile_release();
#endif
}

static inline __m512 get(const bf *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(
        _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

static inline void put(bf *p, __m512 x)
{
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(x));
}

static void narrow(long n, const float *s, bf *d)
{
    for (long i = 0; i < n; i += 16) put(d + i, _mm512_loadu_ps(s + i));
}

/* e to the x, to 2 units in the last place of what bf16 keeps and far beyond; no surprises below -87 */
static inline __m512 power(__m512 x)
{
    __m512 t = _mm512_mul_ps(_mm512_max_ps(x, _mm512_set1_ps(-87.0f)), _mm512_set1_ps(1.44269504f));
    __m512 whole = _mm512_roundscale_ps(t, 0), f = _mm512_sub_ps(t, whole);
    __m512 y = _mm512_set1_ps(0.0013333558f);         /* 2 to the f, Taylor; |f| <= 1/2 */
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0.0096181291f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0.0555041087f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0.2402265070f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0.6931471806f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(y, whole);
}

static inline __m512 sigmoid(__m512 x)
{
    __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, power(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

/* row [n] -> e to the (row - its greatest), 0 from `seen` on; n a multiple of 16. -> the sum */
static float powers(float *row, long n, long seen)
{
    __m512 most = _mm512_set1_ps(-1e30f), sum = _mm512_setzero_ps();
    for (long i = 0; i < seen; i += 16) {
        __mmask16 m = seen - i >= 16 ? 0xffff : (__mmask16)((1u << (seen - i)) - 1);
        most = _mm512_mask_max_ps(most, m, most, _mm512_loadu_ps(row + i));
    }
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (long i = 0; i < n; i += 16) {
        __mmask16 m = seen - i >= 16 ? 0xffff : seen <= i ? 0 : (__mmask16)((1u << (seen - i)) - 1);
        __m512 v = _mm512_maskz_mov_ps(m, power(_mm512_sub_ps(_mm512_loadu_ps(row + i), most)));
        sum = _mm512_add_ps(sum, v);
        _mm512_storeu_ps(row + i, v);
    }
    return _mm512_reduce_add_ps(sum);
}

/* ---- matrix products -------------------------------------------------------------------------
 *
 * An AMX tile multiplies 16 rows of 32 numbers with 32 rows of 16, the latter in pairs of rows laid
 * side by side. So the right operand is packed: panels of 16 columns, in each k/2 rows of 16 pairs.
 */

static void flip(__m512i r[16])
{
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

static inline __m512i paired(const bf *s, long lds)
{
    __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)s));
    __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(s + lds)));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* The right operand from a matrix [k][n]. */
static uint32_t *pack_rows(long k, long n, const bf *s, long lds)
{
    uint32_t *d = take((size_t)(k * n) * 2);
    for (long r = 0; r < k; r += 2)
        for (long p = 0; p < n; p += 16)
            _mm512_storeu_si512(d + p / 16 * k * 8 + r * 8, paired(s + r * lds + p, lds));
    return d;
}

/* The right operand from its transpose [n][k]. */
static uint32_t *pack_columns(long k, long n, const bf *s, long lds)
{
    uint32_t *d = take((size_t)(k * n) * 2);
    for (long p = 0; p < n; p += 16)
        for (long q = 0; q < k; q += 32) {
            __m512i r[16];
            for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(s + (p + i) * lds + q);
            flip(r);
            for (int i = 0; i < 16; i++) _mm512_storeu_si512(d + p * k / 2 + (q / 2 + i) * 16, r[i]);
        }
    return d;
}

/* The left operand: rows `wide` apart, or (wide == 0) tiles of 16 rows by 32, `k` / 32 of them in a row. */
struct left { const bf *at; long wide, k; };

static struct left rows_of(const bf *a, long wide)
{
    return (struct left){a, wide, 0};
}

/* [rows][columns] -> [columns][rows] as a left operand, in tiles */
static struct left transposed(long rows, long columns, const bf *s, long lds)
{
    bf *d = take((size_t)(rows * columns) * 2);
    for (long i = 0; i < rows; i += 32)
        for (long j = 0; j < columns; j += 16) {
            bf *tile = d + j * rows + i * 16;
            __m512i r[16];
            for (int x = 0; x < 16; x++) r[x] = paired(s + (i + 2 * x) * lds + j, lds);
            flip(r);
            for (int x = 0; x < 16; x++) _mm512_storeu_si512(tile + x * 32, r[x]);
        }
    return (struct left){d, 0, rows};
}

static void write_out(const float t[4][256], void *c, long ldc, int how)
{
    for (int r = 0; r < 32; r++)
        for (int h = 0; h < 2; h++) {
            __m512 v = _mm512_load_ps(t[r / 16 * 2 + h] + r % 16 * 16);
            if (how == HOW_ROUND) {
                put((bf *)c + r * ldc + h * 16, v);
            } else {
                float *to = (float *)c + r * ldc + h * 16;
                _mm512_storeu_ps(to, how == HOW_ADD ? _mm512_add_ps(v, _mm512_loadu_ps(to)) : v);
            }
        }
}

/* One 32 by 32 square of a product: a has its two rows of tiles `down` apart. */
#ifdef __AMX_BF16__
static void square(long k, const bf *a, long down, long step, long stride, const uint32_t *b, long ldb,
                   float t[4][256])
{
    __asm__ volatile("" ::: "memory");                /* tile loads do not say that they read memory */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (long q = 0; q < k; q += 32, a += step, b += 256) {
        _tile_loadd(4, a, stride);
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + ldb, 64);
        _tile_loadd(5, a + down, stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, t[0], 64);
    _tile_stored(1, t[1], 64);
    _tile_stored(2, t[2], 64);
    _tile_stored(3, t[3], 64);
    __asm__ volatile("" ::: "memory");
}
#else
/* Without tiles: 8 rows by 2 panels stay in 16 registers, enough chains for two products a cycle, and a pair
 * of numbers of the left operand is fetched once for both panels. */
static void square(long k, const bf *a, long down, long step, long stride, const uint32_t *b, long ldb,
                   float t[4][256])
{
    for (int rows = 0; rows < 32; rows += 8) {
        const char *from = (const char *)(a + rows / 16 * down) + rows % 16 * stride;
        const uint32_t *right = b;
        __m512 sum[8][2];
        for (int r = 0; r < 8; r++) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
        for (long q = 0; q < k; q += 32, from += step * 2)
            for (long pair = 0; pair < 16; pair++, right += 16) {
                __m512bh b0 = (__m512bh)_mm512_loadu_si512(right);
                __m512bh b1 = (__m512bh)_mm512_loadu_si512(right + ldb);
#pragma GCC unroll 8
                for (int r = 0; r < 8; r++) {
                    __m512bh x = (__m512bh)_mm512_set1_epi32(*(const int *)(from + r * stride + pair * 4));
                    sum[r][0] = _mm512_dpbf16_ps(sum[r][0], x, b0);
                    sum[r][1] = _mm512_dpbf16_ps(sum[r][1], x, b1);
                }
            }
        for (int r = 0; r < 8; r++)
            for (int h = 0; h < 2; h++)
                _mm512_store_ps(t[rows / 16 * 2 + h] + (rows % 16 + r) * 16, sum[r][h]);
    }
}
#endif

/* c [m][n] (float or bf) = or += a [m][k] times b, packed; ldb: pairs a panel. All multiples of 32. */
static void product(long m, long n, long k, struct left a, const uint32_t *b, long ldb, void *c, long ldc,
                    int how)
{
    _Alignas(64) float t[4][256];
    long down = a.wide ? 16 * a.wide : 16 * a.k, step = a.wide ? 32 : 512, stride = a.wide ? a.wide * 2 : 64;
    long piece = how == HOW_ROUND || k < 1024 ? k : 512;     /* so that what is read often stays near */
    MUST(m % 32 == 0 && n % 32 == 0 && k % 32 == 0);
    for (long q = 0; q == 0 || q < k; q += piece) {
        long some = k - q < piece ? k - q : piece;
        for (long i = 0; i < m; i += 32)
            for (long j = 0; j < n; j += 32) {
                square(some, a.at + i / 16 * down + q / 32 * step, down, step, stride,
                       b + j / 16 * ldb + q * 8, ldb, t);
                write_out(t, how == HOW_ROUND ? (void *)((bf *)c + i * ldc + j)
                                              : (void *)((float *)c + i * ldc + j), ldc, how);
            }
        if (how == HOW_STORE) how = HOW_ADD;
        if (!piece) break;
    }
}

static bf *narrowed(long n, const float *w)
{
    bf *d = take((size_t)n * 2);
    narrow(n, w, d);
    return d;
}

/* y [n][o] = x [n][i] times w [o][i] transposed */
static void linear(long n, long o, long i, const bf *x, const float *w, void *y, int how)
{
    size_t before = taken;
    const uint32_t *b = pack_columns(i, o, narrowed(o * i, w), i);
    product(n, o, i, rows_of(x, i), b, i * 8, y, o, how);
    taken = before;
}

/* From the gradient of y: that of x (float, or none wanted), and that of w, which is overwritten. */
static void linear_back(long n, long o, long i, const bf *x, const float *w, const bf *dy,
                        void *dx, int how, float *dw)
{
    size_t before = taken;
    if (dx) product(n, i, o, rows_of(dy, o), pack_rows(o, i, narrowed(o * i, w), i), o * 8, dx, i, how);
    taken = before;
    if (dw) product(o, i, n, transposed(n, o, dy, o), pack_rows(n, i, x, i), n * 8, dw, i, HOW_STORE);
    taken = before;
}

/* ---- the norm --------------------------------------------------------------------------------- */

static void norm(long n, long d, const float *x, long ldx, const float *w, bf *y, float *inverse)
{
    for (long r = 0; r < n; r++) {
        const float *row = x + r * ldx;
        __m512 sum = _mm512_setzero_ps();
        for (long i = 0; i < d; i += 16) {
            __m512 v = _mm512_loadu_ps(row + i);
            sum = _mm512_fmadd_ps(v, v, sum);
        }
        inverse[r] = 1.0f / sqrtf(_mm512_reduce_add_ps(sum) / (float)d + 1e-6f);
        __m512 s = _mm512_set1_ps(inverse[r]);
        for (long i = 0; i < d; i += 16)
            put(y + r * d + i, _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(row + i), s),
                                             _mm512_loadu_ps(w + i)));
    }
}

/* dx = base (or 0) + the gradient through the norm, in float or (ldx2 apart) in bf; dw is overwritten */
static void norm_back(long n, long d, const float *x, long ldx, const float *w, const float *inverse,
                      const float *g, const float *base, float *dx, bf *dx2, long ldx2, float *dw)
{
    memset(dw, 0, (size_t)d * 4);
    for (long r = 0; r < n; r++) {
        __m512 s = _mm512_set1_ps(inverse[r]), sum = _mm512_setzero_ps();
        for (long i = 0; i < d; i += 16) {
            __m512 gi = _mm512_loadu_ps(g + r * d + i);
            __m512 gu = _mm512_mul_ps(gi, _mm512_mul_ps(_mm512_loadu_ps(x + r * ldx + i), s));
            _mm512_storeu_ps(dw + i, _mm512_add_ps(_mm512_loadu_ps(dw + i), gu));
            sum = _mm512_fmadd_ps(gu, _mm512_loadu_ps(w + i), sum);
        }
        __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / (float)d);
        for (long i = 0; i < d; i += 16) {
            __m512 unit = _mm512_mul_ps(_mm512_loadu_ps(x + r * ldx + i), s);
            __m512 v = _mm512_mul_ps(_mm512_loadu_ps(g + r * d + i), _mm512_loadu_ps(w + i));
            v = _mm512_mul_ps(_mm512_fnmadd_ps(unit, mean, v), s);
            if (base) v = _mm512_add_ps(v, _mm512_loadu_ps(base + r * d + i));
            if (dx) _mm512_storeu_ps(dx + r * d + i, v);
            else put(dx2 + r * ldx2 + i, v);
        }
    }
}

#endif
