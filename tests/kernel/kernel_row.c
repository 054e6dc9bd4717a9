/* SPDX-License-Identifier: MIT */
/* Conversions are exact: the generic ones are checked over all 16-bit patterns, every other
 * instruction set must then agree with them bit by bit. */
#include "kernel_test.h"

#include "kernel/half.h"

static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = ek_f16_f32((uint16_t)h), b = ek_bf16_f32((uint16_t)h);
        bool f_nan = (h & 0x7fff) > 0x7c00, b_nan = (h & 0x7fff) > 0x7f80;
        assert_int_equal(isnan(f) != 0, f_nan);
        if (!f_nan) assert_int_equal(ek_f32_f16(f), h);
        if (!b_nan) assert_int_equal(ek_f32_bf16(b), h);
        if (b_nan) assert_true(isnan(ek_bf16_f32(ek_f32_bf16(b))));
        if (f_nan || (h & 0x7fff) >= 0x7bff) continue;
        /* Halfway to the next larger magnitude goes to the even one of the two. */
        float next = ek_f16_f32((uint16_t)(h + 1)), middle = f + (next - f) / 2;
        assert_int_equal(ek_f32_f16(middle), h & 1 ? h + 1 : h);
        assert_int_equal(ek_f32_f16(nextafterf(middle, f)), h);
        assert_int_equal(ek_f32_f16(nextafterf(middle, next)), h + 1);
    }
    assert_int_equal(ek_f32_f16(65519.0f), 0x7bff);
    assert_int_equal(ek_f32_f16(65520.0f), 0x7c00);
    assert_int_equal(ek_f32_f16(-INFINITY), 0xfc00);
    assert_true(ek_f16_f32(0x3c00) == 1.0f && ek_f16_f32(0x0001) == 0x1p-24f);
    assert_int_equal(ek_f32_bf16(ek_bits_f32(0x3f808000)), 0x3f80);
    assert_int_equal(ek_f32_bf16(ek_bits_f32(0x3f818000)), 0x3f82);
}

static void check_rows(const struct ek_kernels *k)
{
    const struct ek_kernels *g = ek_kernels_of(EK_ISA_GENERIC);
    enum { N = 65536 };
    uint16_t *halves = guarded(N * 2), *out = guarded(N * 2), *want = guarded(N * 2);
    float *a = guarded(N * 4), *b = guarded(N * 4);
    for (uint32_t i = 0; i < N; i++) halves[i] = (uint16_t)i;
    k->row_bf16(a, halves, N);
    g->row_bf16(b, halves, N);
    assert_memory_equal(a, b, N * 4);
    k->row_f16(a, halves, N);
    g->row_f16(b, halves, N);
    assert_memory_equal(a, b, N * 4);
    for (size_t n = 1; n < 40; n++) { /* tails */
        k->row_f16(a + N - n, halves + N - n, n);
        assert_memory_equal(a + N - n, b + N - n, n * 4);
    }
    struct rng r = rng_seeded();
    for (int f = 0; f < FILL_COUNT; f++) {
        for (size_t i = 0; i < N; i++) a[i] = fill_value(&r, (enum fill)f);
        k->store_f16(out, a, N);
        g->store_f16(want, a, N);
        assert_memory_equal(out, want, N * 2);
        k->store_bf16(out, a, N);
        g->store_bf16(want, a, N);
        assert_memory_equal(out, want, N * 2);
        struct ek_q8_block q[4], q_want[4];
        for (size_t at = 0; at + 128 <= 8192; at += 128) {
            k->quant_q8(q, a + at, 128);
            g->quant_q8(q_want, a + at, 128);
            assert_memory_equal(q, q_want, sizeof q);
            for (int i = 0; i < 128; i++) assert_in_range(q[i / 32].q[i % 32] + 127, 0, 254);
        }
    }
    for (size_t blocks = 1; blocks <= 3; blocks++) {
        struct ek_q8_0_block *q = guarded(blocks * sizeof *q);
        for (size_t i = 0; i < blocks * sizeof *q; i++) ((uint8_t *)q)[i] = (uint8_t)rng_next(&r);
        for (size_t i = 0; i < blocks; i++) q[i].d &= 0xbfff; /* finite scales */
        k->row_q8_0(a, q, blocks * 32);
        g->row_q8_0(b, q, blocks * 32);
        assert_memory_equal(a, b, blocks * 32 * 4);
    }
}

static void all_variants_convert(void **state)
{
    (void)state;
    each_isa(check_rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_round_to_nearest_even), cmocka_unit_test(all_variants_convert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
