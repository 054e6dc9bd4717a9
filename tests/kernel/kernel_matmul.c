/* SPDX-License-Identifier: MIT */
/* Products: every row type and instruction set against sums in double, and the invariance rule: a
 * row alone, in any batch and with any number of columns gives the same bits. */
#include "kernel_test.h"

enum row_type { F32, F16, BF16, Q8_0, Q8, TYPE_COUNT };
static const char *type_name[] = {"f32", "f16", "bf16", "q8_0", "q8 x q8_0"};

struct operands {
    enum row_type type;
    size_t m, n, k, w_stride;
    float *x, *w_wide;     /* [m][k], [n][k] */
    struct ek_q8_block *xq; /* [m][k / 32], for Q8 */
    uint8_t *w;            /* [n] rows of w_stride bytes */
};

static size_t row_bytes(enum row_type t, size_t k)
{
    if (t == F32) return k * 4;
    if (t == F16 || t == BF16) return k * 2;
    return k / 32 * sizeof(struct ek_q8_0_block);
}

/* Weights are rounded to the stored type by the generic kernels (tested in kernel_row.c); Q8_0 rows
 * get random bytes, -128 among them. */
static void fill_weights(struct rng *r, struct operands *o, enum fill f)
{
    const struct ek_kernels *g = ek_kernels_of(EK_ISA_GENERIC);
    float *row = malloc(o->k * sizeof *row);
    for (size_t c = 0; c < o->n; c++) {
        uint8_t *at = o->w + c * o->w_stride;
        for (size_t i = 0; i < o->k; i++) row[i] = fill_value(r, f);
        if (o->type == F32) g->store_f32(at, row, o->k);
        if (o->type == F16) g->store_f16(at, row, o->k);
        if (o->type == BF16) g->store_bf16(at, row, o->k);
        for (size_t b = 0; o->type >= Q8_0 && b < o->k / 32; b++) {
            struct ek_q8_0_block *block = (void *)(at + b * sizeof *block);
            float d = fill_value(r, f);
            g->store_f16(&block->d, &d, 1);
            for (int i = 0; i < 32; i++) block->q[i] = (int8_t)(rng_next(r) & 0xff);
        }
        if (o->type == F32) g->row_f32(o->w_wide + c * o->k, at, o->k);
        if (o->type == F16) g->row_f16(o->w_wide + c * o->k, at, o->k);
        if (o->type == BF16) g->row_bf16(o->w_wide + c * o->k, at, o->k);
        if (o->type >= Q8_0) g->row_q8_0(o->w_wide + c * o->k, at, o->k);
    }
    free(row);
}

static struct operands operands_new(struct rng *r, enum row_type type, size_t m, size_t n, size_t k,
                                    enum fill f)
{
    struct operands o = {.type = type, .m = m, .n = n, .k = k, .w_stride = row_bytes(type, k)};
    o.x = guarded_floats(r, m * k, f);
    o.w = guarded(n * o.w_stride);
    o.w_wide = malloc(n * k * sizeof *o.w_wide);
    /* Binary16 ends at 65504: keep such weights finite, so that the reference is too. */
    bool narrow = (type == F16 || type >= Q8_0) && (f == FILL_HUGE || f == FILL_MIXED);
    fill_weights(r, &o, narrow ? FILL_UNIT : f);
    if (type == Q8) {
        o.xq = guarded(m * (k / 32) * sizeof *o.xq);
        for (size_t i = 0; i < m; i++) {
            ek_kernels_of(EK_ISA_GENERIC)->quant_q8(o.xq + i * (k / 32), o.x + i * k, k);
            for (size_t j = 0; j < k; j++) { /* the product must match what the blocks say */
                o.x[i * k + j] = o.xq[i * (k / 32) + j / 32].d * o.xq[i * (k / 32) + j / 32].q[j % 32];
            }
        }
    }
    return o;
}

static void operands_free(struct operands *o)
{
    unguard(o->x, o->m * o->k * sizeof *o->x);
    unguard(o->w, o->n * o->w_stride);
    if (o->xq) unguard(o->xq, o->m * (o->k / 32) * sizeof *o->xq);
    free(o->w_wide);
}

/* Rows [r0, r0 + m) times columns [c0, c0 + n). */
static void multiply(const struct ek_kernels *k, const struct operands *o, size_t r0, size_t m,
                     size_t c0, size_t n, float *y, size_t y_stride)
{
    const float *x = o->x + r0 * o->k;
    const uint8_t *w = o->w + c0 * o->w_stride;
    switch (o->type) {
    case F32: k->matmul_f32(y, y_stride, x, o->k, m, w, o->w_stride, n, o->k); break;
    case F16: k->matmul_f16(y, y_stride, x, o->k, m, w, o->w_stride, n, o->k); break;
    case BF16: k->matmul_bf16(y, y_stride, x, o->k, m, w, o->w_stride, n, o->k); break;
    case Q8_0: k->matmul_q8_0(y, y_stride, x, o->k, m, w, o->w_stride, n, o->k); break;
    case Q8:
        k->matmul8_q8_0(y, y_stride, o->xq + r0 * (o->k / 32), o->k / 32, m, w, o->w_stride, n, o->k);
        break;
    case TYPE_COUNT: break;
    }
}

static void check_values(const struct ek_kernels *k, const struct operands *o, const float *y)
{
    for (size_t r = 0; r < o->m; r++) {
        for (size_t c = 0; c < o->n; c++) {
            double sum = 0, size = 0;
            for (size_t i = 0; i < o->k; i++) {
                double p = (double)o->x[r * o->k + i] * (double)o->w_wide[c * o->k + i];
                sum += p;
                size += fabs(p);
            }
            double bound = size * (1e-6 + (double)o->k * 1e-8) + (double)o->k * 2e-45;
            double error = fabs(sum - (double)y[r * o->n + c]);
            if (!(error <= bound)) {
                fail_msg("%s %s m=%zu n=%zu k=%zu at (%zu,%zu): %g, should be %g +- %g", k->isa,
                         type_name[o->type], o->m, o->n, o->k, r, c, (double)y[r * o->n + c], sum,
                         bound);
            }
        }
    }
}

static void check_invariance(const struct ek_kernels *k, const struct operands *o, const float *whole)
{
    float *part = malloc(o->m * o->n * sizeof *part);
    for (size_t r = 0; r < o->m; r++) { /* each row alone */
        multiply(k, o, r, 1, 0, o->n, part, o->n);
        assert_memory_equal(part, whole + r * o->n, o->n * sizeof *part);
    }
    for (size_t c = 0; c < o->n; c++) { /* each column alone, all rows */
        multiply(k, o, 0, o->m, c, 1, part, 1);
        for (size_t r = 0; r < o->m; r++) {
            assert_memory_equal(&part[r], &whole[r * o->n + c], sizeof *part);
        }
    }
    for (size_t cut = 1; cut < o->m; cut++) { /* the batch in two parts */
        multiply(k, o, 0, cut, 0, o->n, part, o->n);
        multiply(k, o, cut, o->m - cut, 0, o->n, part + cut * o->n, o->n);
        assert_memory_equal(part, whole, o->m * o->n * sizeof *part);
    }
    free(part);
}

static void check_isa(const struct ek_kernels *k)
{
    static const size_t shapes[][3] = {{1, 1, 32},   {1, 9, 64},  {2, 3, 32},   {3, 8, 96},  {4, 4, 576},
                                       {5, 13, 128}, {9, 5, 160}, {7, 17, 1408}, {6, 2, 1536}};
    static const size_t tails[] = {1, 7, 15, 16, 17, 48, 80, 100};
    struct rng r = rng_seeded();
    for (int type = 0; type < TYPE_COUNT; type++) {
        for (int f = 0; f < FILL_COUNT; f++) {
            for (size_t s = 0; s < EK_COUNT(shapes) + (type < Q8_0 ? EK_COUNT(tails) : 0); s++) {
                bool tail = s >= EK_COUNT(shapes);
                struct operands o = operands_new(
                    &r, (enum row_type)type, tail ? 5 : shapes[s][0], tail ? 6 : shapes[s][1],
                    tail ? tails[s - EK_COUNT(shapes)] : shapes[s][2], (enum fill)f);
                float *y = guarded(o.m * o.n * sizeof *y);
                multiply(k, &o, 0, o.m, 0, o.n, y, o.n);
                check_values(k, &o, y);
                check_invariance(k, &o, y);
                unguard(y, o.m * o.n * sizeof *y);
                operands_free(&o);
            }
        }
    }
}

static void all_variants_multiply(void **state)
{
    (void)state;
    each_isa(check_isa);
}

/* A NaN or infinity stays in the rows and columns it belongs to, and shows there. */
static void check_nonfinite(const struct ek_kernels *k)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t b = 0; b < EK_COUNT(bad); b++) {
        struct rng r = {5};
        struct operands o = operands_new(&r, F32, 5, 6, 64, FILL_UNIT);
        float y[30];
        o.x[2 * 64 + 33] = bad[b];
        multiply(k, &o, 0, 5, 0, 6, y, 6);
        for (size_t i = 0; i < 30; i++) assert_int_equal(isfinite(y[i]) != 0, i / 6 != 2);
        struct ek_q8_block q[2];
        k->quant_q8(q, o.x + 2 * 64, 64);
        assert_true(isfinite(q[0].d));
        assert_true(!isfinite(q[1].d));
        operands_free(&o);
        o = operands_new(&r, Q8, 5, 6, 64, FILL_UNIT);
        o.xq[2 * 2 + 1] = q[1];
        multiply(k, &o, 0, 5, 0, 6, y, 6);
        for (size_t i = 0; i < 30; i++) assert_int_equal(isfinite(y[i]) != 0, i / 6 != 2);
        operands_free(&o);
    }
}

static void nonfinite_stays_in_its_row(void **state)
{
    (void)state;
    each_isa(check_nonfinite);
}

/* The best by default, each by its name, nothing for a name nobody has. */
static void are_chosen_by_name(void **state)
{
    (void)state;
    const struct ek_kernels *best = ek_kernels_select(NULL);
    assert_non_null(best);
    for (int isa = EK_ISA_COUNT - 1; isa >= 0; isa--) {
        const struct ek_kernels *k = ek_kernels_of((enum ek_isa)isa);
        if (!k) continue;
        assert_ptr_equal(ek_kernels_select(k->isa), k);
        if (best) assert_ptr_equal(best, k);
        best = NULL;
    }
    assert_null(ek_kernels_select("z80"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_variants_multiply), cmocka_unit_test(nonfinite_stays_in_its_row),
        cmocka_unit_test(are_chosen_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
