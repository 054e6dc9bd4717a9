/* SPDX-License-Identifier: MIT */
/* Elementwise ops, softmax, attention's mixing and top-k of every instruction set against formulas in
 * double precision, with lengths around every vector width. */
#include "kernel_test.h"

static const size_t lengths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 128, 513, 1024};

static void near_enough(const struct ek_kernels *k, const char *op, size_t n, size_t i, float got,
                        double want, double bound)
{
    if (fabs((double)got - want) <= bound) return;
    fail_msg("%s %s n=%zu at %zu: %.9g, should be %.9g +- %.3g", k->isa, op, n, i, (double)got, want,
             bound);
}

static void check_norm(const struct ek_kernels *k)
{
    struct rng r = rng_seeded();
    for (size_t l = 0; l < EK_COUNT(lengths); l++) {
        for (int f = 0; f < FILL_COUNT; f++) {
            size_t n = lengths[l];
            float *x = guarded_floats(&r, n, (enum fill)f), *gain = guarded_floats(&r, n, FILL_UNIT);
            float *y = guarded(n * 4);
            double sum = 0;
            for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
            double scale = 1 / sqrt(sum / (double)n + (double)1e-6f);
            k->rmsnorm(y, x, gain, n, 1e-6f);
            for (size_t i = 0; i < n; i++) {
                double want = (double)x[i] * (double)gain[i] * scale;
                near_enough(k, "rmsnorm", n, i, y[i], want, fabs(want) * 2e-6 + 3e-45);
            }
            k->rmsnorm(x, x, gain, n, 1e-6f); /* in place */
            assert_memory_equal(x, y, n * 4);
            unguard(x, n * 4);
            unguard(y, n * 4);
            unguard(gain, n * 4);
        }
    }
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static void check_activations(const struct ek_kernels *k)
{
    struct rng r = rng_seeded();
    for (size_t l = 0; l < EK_COUNT(lengths); l++) {
        size_t n = lengths[l];
        float *x = guarded(n * 4), *up = guarded_floats(&r, n, FILL_UNIT), *y = guarded(n * 4);
        for (size_t i = 0; i < n; i++) x[i] = (float)(rng_unit(&r) * 240 - 120);
        x[0] = l % 2 ? 1000.0f : -1000.0f;
        k->sigmoid(y, x, n);
        for (size_t i = 0; i < n; i++) {
            double want = sigmoid((double)x[i]);
            near_enough(k, "sigmoid", n, i, y[i], want, want * 1e-6 + 3e-38);
        }
        k->silu_mul(y, x, up, n);
        for (size_t i = 0; i < n; i++) {
            double want = (double)x[i] * sigmoid((double)x[i]) * (double)up[i];
            near_enough(k, "silu_mul", n, i, y[i], want, fabs(want) * 2e-6 + 1e-36);
        }
        unguard(x, n * 4);
        unguard(up, n * 4);
        unguard(y, n * 4);
    }
}

static void check_softmax(const struct ek_kernels *k)
{
    struct rng r = rng_seeded();
    for (size_t l = 0; l < EK_COUNT(lengths); l++) {
        for (int spread = 1; spread <= 1000; spread *= 10) {
            size_t n = lengths[l];
            float *x = guarded(n * 4), *y = guarded(n * 4);
            double max = -1e300, sum = 0;
            for (size_t i = 0; i < n; i++) {
                y[i] = x[i] = (float)(rng_unit(&r) * spread);
                if (x[i] > max) max = x[i];
            }
            for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
            k->softmax(y, n);
            for (size_t i = 0; i < n; i++) {
                double want = exp((double)x[i] - max) / sum;
                near_enough(k, "softmax", n, i, y[i], want, want * (2e-6 + spread * 1.2e-7) + 1e-38);
            }
            unguard(x, n * 4);
            unguard(y, n * 4);
        }
    }
}

/* Three pages of a softmax by the online op, mixed into an output, against the plain formula. */
static void check_attention(const struct ek_kernels *k)
{
    struct rng r = rng_seeded();
    for (size_t l = 0; l < EK_COUNT(lengths); l++) {
        enum { PAGES = 3, PAGE = 20 };
        static const size_t used[PAGES] = {20, 20, 7};
        size_t dim = lengths[l];
        float max = -INFINITY, sum = 0, *out = guarded(dim * 4), *v = guarded(PAGES * PAGE * dim * 4);
        float score[PAGES * PAGE];
        double want_sum = 0, max_all = -1e300, *want = calloc(dim, sizeof *want);
        memset(out, 0, dim * 4);
        for (size_t i = 0; i < PAGES * PAGE; i++) score[i] = (float)(rng_unit(&r) * 30 - 15);
        for (size_t i = 0; i < PAGES * PAGE * dim; i++) v[i] = fill_value(&r, FILL_UNIT);
        for (size_t i = 0; i < 47; i++) max_all = fmax(max_all, (double)score[i] * 0.5);
        for (size_t i = 0; i < 47; i++) {
            double p = exp((double)score[i] * 0.5 - max_all);
            want_sum += p;
            for (size_t d = 0; d < dim; d++) want[d] += p * (double)v[i * dim + d];
        }
        for (size_t page = 0; page < PAGES; page++) {
            float *s = score + page * PAGE;
            float corr = k->online_softmax(s, used[page], 0.5f, &max, &sum);
            k->mix_f32(out, corr, s, v + page * PAGE * dim, dim * 4, used[page], dim);
        }
        near_enough(k, "online_softmax sum", dim, 0, sum, want_sum, want_sum * 1e-5);
        for (size_t d = 0; d < dim; d++) near_enough(k, "mix", dim, d, out[d], want[d], 1e-5);
        free(want);
        unguard(out, dim * 4);
        unguard(v, PAGES * PAGE * dim * 4);
    }
}

/* The 16-bit mixes equal the f32 mix of the widened rows, bit by bit. */
static void check_mix_types(const struct ek_kernels *k)
{
    struct rng r = rng_seeded();
    for (size_t l = 0; l < EK_COUNT(lengths); l++) {
        size_t dim = lengths[l], n = 11;
        uint16_t *h = guarded(n * dim * 2);
        float *wide = guarded(n * dim * 4), *a = guarded_floats(&r, dim, FILL_UNIT), *b = guarded(dim * 4);
        float *p = guarded_floats(&r, n, FILL_UNIT);
        for (size_t i = 0; i < n * dim; i++) wide[i] = fill_value(&r, FILL_UNIT);
        k->store_f16(h, wide, n * dim);
        k->row_f16(wide, h, n * dim);
        memcpy(b, a, dim * 4);
        k->mix_f16(a, 0.75f, p, h, dim * 2, n, dim);
        k->mix_f32(b, 0.75f, p, wide, dim * 4, n, dim);
        assert_memory_equal(a, b, dim * 4);
        k->store_bf16(h, wide, n * dim);
        k->row_bf16(wide, h, n * dim);
        k->mix_bf16(a, 0.0f, p, h, dim * 2, n, dim);
        k->mix_f32(b, 0.0f, p, wide, dim * 4, n, dim);
        assert_memory_equal(a, b, dim * 4);
        unguard(h, n * dim * 2);
        unguard(wide, n * dim * 4);
        unguard(a, dim * 4);
        unguard(b, dim * 4);
        unguard(p, n * 4);
    }
}

static void check_simple(const struct ek_kernels *k)
{
    struct rng r = rng_seeded();
    for (size_t l = 0; l < EK_COUNT(lengths); l++) {
        size_t n = lengths[l];
        float *x = guarded_floats(&r, n, FILL_UNIT), *y = guarded_floats(&r, n, FILL_UNIT);
        float *cs = guarded(n * 4), *was = guarded(n * 4);
        memcpy(was, y, n * 4);
        k->add(y, x, n);
        for (size_t i = 0; i < n; i++) assert_true(y[i] == was[i] + x[i]);
        memcpy(was, y, n * 4);
        k->axpy(y, 0.3f, x, n);
        for (size_t i = 0; i < n; i++) {
            near_enough(k, "axpy", n, i, y[i], (double)was[i] + (double)0.3f * (double)x[i], 3e-7);
        }
        size_t even = n / 2 * 2;
        memcpy(was, x, n * 4);
        for (size_t i = 0; i < even; i += 2) {
            double angle = rng_unit(&r) * 7;
            cs[i] = (float)cos(angle);
            cs[i + 1] = (float)sin(angle);
        }
        k->rope(x, cs, even);
        for (size_t i = 0; i < even; i += 2) {
            double a = was[i], b = was[i + 1], c = cs[i], s = cs[i + 1];
            near_enough(k, "rope", n, i, x[i], a * c - b * s, 3e-7);
            near_enough(k, "rope", n, i + 1, x[i + 1], a * s + b * c, 3e-7);
        }
        assert_true(n == even || x[n - 1] == was[n - 1]);
        unguard(x, n * 4);
        unguard(y, n * 4);
        unguard(cs, n * 4);
        unguard(was, n * 4);
    }
}

static void check_topk(const struct ek_kernels *k)
{
    static const float score[] = {1, 5, NAN, 5, -INFINITY, 7, 5, 0};
    uint32_t index[8];
    static const uint32_t want[] = {5, 1, 3, 6, 0, 7, 4, 2};
    for (size_t n = 1; n <= 8; n++) {
        k->topk(index, score, 8, n);
        for (size_t i = 0; i < n; i++) assert_int_equal(index[i], want[i]);
    }
}

#define RUN(check) \
    static void run_##check(void **state) { (void)state; each_isa(check_##check); }
RUN(norm)
RUN(activations)
RUN(softmax)
RUN(attention)
RUN(mix_types)
RUN(simple)
RUN(topk)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_norm),      cmocka_unit_test(run_activations),
        cmocka_unit_test(run_softmax),   cmocka_unit_test(run_attention),
        cmocka_unit_test(run_mix_types), cmocka_unit_test(run_simple),
        cmocka_unit_test(run_topk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
