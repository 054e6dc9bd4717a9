/* SPDX-License-Identifier: MIT */
/* Quantised rows: every type on every instruction set, bit by bit against the definition of a weight,
 * which is written down here once more, number by number and in double; and products against sums in
 * double, with the invariance rule. Rows lie at odd addresses and end at a page without access. */
#include "kernel_test.h"

#include "kernel/half.h"

#define ENUM(type, values, bytes) TYPE_##type,
enum quant_type { EK_QUANTS(ENUM) TYPE_COUNT };

typedef void row_fn(float *restrict y, const void *restrict row, size_t n);
typedef void matmul_fn EK_MATMUL_ARGS(float);
typedef void matmul8_fn EK_MATMUL_ARGS(struct ek_q8_block);

struct quant {
    const char *name;
    size_t values, bytes;
    row_fn *row;
    matmul_fn *matmul;
    matmul8_fn *matmul8;
};

static struct quant quant_of(const struct ek_kernels *k, enum quant_type t)
{
#define QUANT(type, values, bytes)                                                                 \
    case TYPE_##type:                                                                              \
        return (struct quant){#type, values, bytes, k->row_##type, k->matmul_##type, k->matmul8_##type};
    switch (t) {
        EK_QUANTS(QUANT)
    case TYPE_COUNT: break;
    }
    abort();
}

static double half(const uint8_t *b) { return (double)ek_f16_f32((uint16_t)(b[0] | b[1] << 8)); }

static unsigned nibble(const uint8_t *b, size_t j) /* of 32: low halves first */
{
    return j < 16 ? b[j] & 15u : b[j - 16] >> 4;
}

static unsigned bit(const uint8_t *b, size_t j) { return (unsigned)b[j / 8] >> j % 8 & 1u; }

/* The six-bit scale and minimum of sub-block j, as the K types pack them. */
static void k4(const uint8_t *q, size_t j, unsigned *scale, unsigned *min)
{
    *scale = j < 4 ? q[j] & 63u : (q[j + 4] & 15u) | (unsigned)(q[j - 4] >> 6) << 4;
    *min = j < 4 ? q[j + 4] & 63u : (unsigned)(q[j + 4] >> 4) | (unsigned)(q[j] >> 6) << 4;
}

static const double table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};

/* Weight j of a block = *product - *min, both exact. */
static void define(enum quant_type t, const uint8_t *b, size_t j, double *product, double *min)
{
    unsigned scale, low = 0, sub = (unsigned)j / 32;
    *min = 0;
    switch (t) {
    case TYPE_q4_0: *product = half(b) * ((int)nibble(b + 2, j) - 8); return;
    case TYPE_q4_1:
        *product = half(b) * nibble(b + 4, j);
        *min = -half(b + 2);
        return;
    case TYPE_q5_0:
        *product = half(b) * ((int)(nibble(b + 6, j) | bit(b + 2, j) << 4) - 16);
        return;
    case TYPE_q5_1:
        *product = half(b) * (nibble(b + 8, j) | bit(b + 4, j) << 4);
        *min = -half(b + 2);
        return;
    case TYPE_iq4_nl: *product = half(b) * table[nibble(b + 2, j)]; return;
    case TYPE_q4_k:
    case TYPE_q5_k: {
        const uint8_t *qs = b + (t == TYPE_q4_k ? 16 : 48) + j / 64 * 32;
        unsigned q = j % 64 < 32 ? qs[j % 32] & 15u : qs[j % 32] >> 4;
        if (t == TYPE_q5_k) q |= ((unsigned)b[16 + j % 32] >> sub & 1u) << 4;
        k4(b + 4, sub, &scale, &low);
        *product = half(b) * scale * q;
        *min = half(b + 2) * low;
        return;
    }
    case TYPE_q6_k: {
        size_t l = j % 32, at = j / 128 * 64, k = j % 128 / 32;
        unsigned lower = k < 2 ? b[at + 32 * k + l] & 15u : b[at + 32 * (k - 2) + l] >> 4;
        unsigned upper = (unsigned)b[128 + j / 128 * 32 + l] >> 2 * k & 3u;
        *product = half(b + 208) * (int8_t)b[192 + j / 128 * 8 + l / 16 + 2 * k] *
                   ((int)(lower | upper << 4) - 32);
        return;
    }
    case TYPE_iq4_xs: {
        unsigned high = (unsigned)(b[2] | b[3] << 8);
        scale = ((unsigned)b[4 + sub / 2] >> 4 * (sub % 2) & 15u) | (high >> 2 * sub & 3u) << 4;
        *product = half(b) * ((int)scale - 32) * table[nibble(b + 8 + 16 * sub, j % 32)];
        return;
    }
    case TYPE_COUNT: break;
    }
    abort();
}

/* How blocks are filled: the bytes at random or all alike, the scales as the kind says. */
enum kind { RANDOM, LARGE, TINY, NEGATIVE, ONES, ZEROS, KIND_COUNT };

static void put_half(uint8_t *b, struct rng *r, enum kind kind)
{
    uint16_t h = (uint16_t)(0x2400 + rng_next(r) % 0x800); /* about 0.02 */
    if (kind == LARGE) h = 0x7bff;                         /* 65504 */
    if (kind == TINY) h = (uint16_t)(rng_next(r) % 0x400); /* denormal */
    if (kind == NEGATIVE) h = (uint16_t)(h | 0x8000);
    memcpy(b, &h, sizeof h);
}

static void fill_block(uint8_t *b, const struct quant *q, enum quant_type t, struct rng *r, enum kind kind)
{
    for (size_t i = 0; i < q->bytes; i++) b[i] = (uint8_t)rng_next(r);
    if (kind == ONES) memset(b, 0xff, q->bytes);
    if (kind == ZEROS) memset(b, 0, q->bytes);
    put_half(t == TYPE_q6_k ? b + 208 : b, r, kind);
    if (t == TYPE_q4_1 || t == TYPE_q5_1 || t == TYPE_q4_k || t == TYPE_q5_k) put_half(b + 2, r, kind);
}

static uint8_t *rows_of(const struct quant *q, enum quant_type t, size_t blocks, struct rng *r,
                        enum kind kind)
{
    uint8_t *w = guarded(blocks * q->bytes);
    for (size_t i = 0; i < blocks; i++) fill_block(w + i * q->bytes, q, t, r, kind);
    return w;
}

static void check_rows(const struct ek_kernels *k)
{
    struct rng r = rng_seeded();
    for (enum quant_type t = 0; t < TYPE_COUNT; t++) {
        struct quant q = quant_of(k, t);
        for (enum kind kind = 0; kind < KIND_COUNT; kind++) {
            for (size_t blocks = 1; blocks <= 9; blocks += 2) {
                uint8_t *w = rows_of(&q, t, blocks, &r, kind);
                float *y = guarded(blocks * q.values * sizeof *y);
                q.row(y, w, blocks * q.values);
                for (size_t i = 0; i < blocks * q.values; i++) {
                    double product, min;
                    define(t, w + i / q.values * q.bytes, i % q.values, &product, &min);
                    float want = (float)(product - min);
                    if (ek_f32_bits(want) == ek_f32_bits(y[i])) continue;
                    fail_msg("%s %s kind %d: weight %zu is %a, should be %a", k->isa, q.name, (int)kind,
                             i, (double)y[i], (double)want);
                }
                unguard(y, blocks * q.values * sizeof *y);
                unguard(w, blocks * q.bytes);
            }
        }
    }
}

static void all_variants_decode_to_the_bit(void **state)
{
    (void)state;
    each_isa(check_rows);
}

/* One product of m rows with n rows of weights, in f32 and (eight) with x in blocks. */
struct product {
    struct quant q;
    enum quant_type t;
    size_t m, n, k;
    float *x;
    struct ek_q8_block *xq;
    uint8_t *w;
    bool eight;
};

static void run(const struct product *p, size_t r0, size_t m, size_t c0, size_t n, float *y, size_t stride)
{
    size_t row_bytes = p->k / p->q.values * p->q.bytes;
    const uint8_t *w = p->w + c0 * row_bytes;
    if (p->eight) {
        p->q.matmul8(y, stride, p->xq + r0 * (p->k / 32), p->k / 32, m, w, row_bytes, n, p->k);
    } else {
        p->q.matmul(y, stride, p->x + r0 * p->k, p->k, m, w, row_bytes, n, p->k);
    }
}

static void check_values(const char *isa, const struct product *p, const float *y)
{
    size_t row_bytes = p->k / p->q.values * p->q.bytes;
    for (size_t at = 0; at < p->m * p->n; at++) {
        size_t r = at / p->n, c = at % p->n;
        double sum = 0, size = 0;
        for (size_t i = 0; i < p->k; i++) {
            double product, min;
            const struct ek_q8_block *b = p->xq + r * (p->k / 32) + i / 32;
            double x = p->eight ? (double)b->d * b->q[i % 32] : (double)p->x[r * p->k + i];
            define(p->t, p->w + c * row_bytes + i / p->q.values * p->q.bytes, i % p->q.values, &product,
                   &min);
            sum += x * (p->eight ? product - min : (double)(float)(product - min));
            size += fabs(x) * (fabs(product) + fabs(min));
        }
        double bound = size * (1e-6 + (double)p->k * 1e-8) + (double)p->k * 2e-45;
        if (fabs(sum - (double)y[at]) <= bound) continue;
        fail_msg("%s %s%s m=%zu n=%zu k=%zu at (%zu,%zu): %g, should be %g +- %g", isa, p->q.name,
                 p->eight ? " x int8" : "", p->m, p->n, p->k, r, c, (double)y[at], sum, bound);
    }
}

static void check_invariance(const struct product *p, const float *whole)
{
    float *part = malloc(p->m * p->n * sizeof *part);
    assert_non_null(part);
    for (size_t r = 0; r < p->m; r++) {
        run(p, r, 1, 0, p->n, part, p->n);
        assert_memory_equal(part, whole + r * p->n, p->n * sizeof *part);
    }
    for (size_t c = 0; c < p->n; c++) {
        run(p, 0, p->m, c, 1, part, 1);
        for (size_t r = 0; r < p->m; r++) {
            assert_memory_equal(&part[r], &whole[r * p->n + c], sizeof *part);
        }
    }
    for (size_t cut = 1; cut < p->m; cut += 3) {
        run(p, 0, cut, 0, p->n, part, p->n);
        run(p, cut, p->m - cut, 0, p->n, part + cut * p->n, p->n);
        assert_memory_equal(part, whole, p->m * p->n * sizeof *part);
    }
    free(part);
}

static void check_product(const struct ek_kernels *k, struct product p, struct rng *r, enum kind kind)
{
    size_t blocks = p.n * p.k / p.q.values;
    p.x = guarded_floats(r, p.m * p.k, kind == TINY ? FILL_TINY : FILL_UNIT);
    p.xq = guarded(p.m * (p.k / 32) * sizeof *p.xq);
    ek_kernels_of(EK_ISA_GENERIC)->quant_q8(p.xq, p.x, p.m * p.k);
    p.w = rows_of(&p.q, p.t, blocks, r, kind);
    float *y = guarded(p.m * p.n * sizeof *y);
    for (int eight = 0; eight < 2; eight++) {
        p.eight = eight == 1;
        run(&p, 0, p.m, 0, p.n, y, p.n);
        check_values(k->isa, &p, y);
        check_invariance(&p, y);
    }
    unguard(y, p.m * p.n * sizeof *y);
    unguard(p.w, blocks * p.q.bytes);
    unguard(p.x, p.m * p.k * sizeof *p.x);
    unguard(p.xq, p.m * (p.k / 32) * sizeof *p.xq);
}

static void check_products(const struct ek_kernels *k)
{
    static const size_t shapes[][3] = {{1, 1, 1}, {1, 9, 2}, {4, 4, 3}, {5, 6, 1}, {19, 5, 2}, {33, 3, 1}};
    struct rng r = rng_seeded();
    for (enum quant_type t = 0; t < TYPE_COUNT; t++) {
        struct product p = {.q = quant_of(k, t), .t = t};
        for (enum kind kind = 0; kind < KIND_COUNT; kind++) {
            for (size_t s = 0; s < EK_COUNT(shapes); s++) {
                p.m = shapes[s][0];
                p.n = shapes[s][1];
                p.k = shapes[s][2] * p.q.values;
                check_product(k, p, &r, kind);
            }
        }
        p.m = 2;
        p.n = 3;
        p.k = p.q.values == 32 ? 1408 : 1536; /* several stretches, the last one short */
        check_product(k, p, &r, RANDOM);
    }
}

static void all_variants_multiply(void **state)
{
    (void)state;
    each_isa(check_products);
}

/* An infinite scale shows in its own outputs and nowhere else. */
static void check_nonfinite(const struct ek_kernels *k)
{
    struct rng r = {7};
    for (enum quant_type t = 0; t < TYPE_COUNT; t++) {
        struct quant q = quant_of(k, t);
        struct product p = {.q = q, .t = t, .m = 5, .n = 6, .k = 2 * q.values};
        float y[30];
        p.x = guarded_floats(&r, p.m * p.k, FILL_UNIT);
        p.xq = guarded(p.m * (p.k / 32) * sizeof *p.xq);
        ek_kernels_of(EK_ISA_GENERIC)->quant_q8(p.xq, p.x, p.m * p.k);
        p.w = rows_of(&q, t, 12, &r, RANDOM);
        memcpy(p.w + 5 * q.bytes + (t == TYPE_q6_k ? 208 : 0), "\x00\x7c", 2); /* row 2, second block */
        for (int eight = 0; eight < 2; eight++) {
            p.eight = eight == 1;
            run(&p, 0, 5, 0, 6, y, 6);
            for (size_t i = 0; i < 30; i++) assert_int_equal(isfinite(y[i]) != 0, i % 6 != 2);
        }
        unguard(p.w, 12 * q.bytes);
        unguard(p.x, p.m * p.k * sizeof *p.x);
        unguard(p.xq, p.m * (p.k / 32) * sizeof *p.xq);
    }
}

static void nonfinite_stays_in_its_column(void **state)
{
    (void)state;
    each_isa(check_nonfinite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_variants_decode_to_the_bit), cmocka_unit_test(all_variants_multiply),
        cmocka_unit_test(nonfinite_stays_in_its_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
