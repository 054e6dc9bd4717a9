/* SPDX-License-Identifier: MIT */
/* The bounded buffer: growth, sticky failure, numbers at their edges. */
#include "cm.h"

#include "base/buf.h"

static void grows_to_its_limit_and_stays_failed(void **state)
{
    (void)state;
    struct ek_buf b = ek_buf_make(100);
    for (int i = 0; i < 10; i++) ek_buf_lit(&b, "0123456789");
    assert_false(b.failed);
    assert_int_equal(b.len, 100);
    ek_buf_char(&b, 'x');
    assert_true(b.failed);
    ek_buf_char(&b, 'y');
    assert_int_equal(b.len, 100);
    ek_buf_clear(&b);
    assert_false(b.failed);
    ek_buf_free(&b);
    assert_null(b.data);
}

static void writes_numbers(void **state)
{
    (void)state;
    struct ek_buf b = ek_buf_make(1000);
    ek_buf_i64(&b, INT64_MIN);
    ek_buf_char(&b, ' ');
    ek_buf_u64(&b, UINT64_MAX);
    ek_buf_printf(&b, " %d", -7);
    assert_string_equal(ek_buf_cstr(&b), "-9223372036854775808 18446744073709551615 -7");
    ek_buf_clear(&b);
    ek_buf_printf(&b, "%0600d", 5); /* longer than the stack buffer of the writer */
    assert_int_equal(b.len, 600);
    ek_buf_free(&b);
}

static void drops_and_shrinks(void **state)
{
    (void)state;
    struct ek_buf b = ek_buf_make(1000);
    ek_buf_lit(&b, "hello world");
    ek_buf_drop(&b, 6);
    ek_buf_shrink(&b);
    assert_int_equal(b.cap, 5);
    assert_true(ek_str_eq(ek_buf_view(&b), EK_STR("world")));
    ek_buf_drop(&b, 5);
    ek_buf_shrink(&b);
    assert_null(b.data);
}

static void reads_decimal_views(void **state)
{
    (void)state;
    uint64_t v = 1;
    assert_true(ek_str_u64(EK_STR("18446744073709551615"), &v));
    assert_true(v == UINT64_MAX);
    assert_false(ek_str_u64(EK_STR("18446744073709551616"), &v));
    assert_false(ek_str_u64(EK_STR(""), &v));
    assert_false(ek_str_u64(EK_STR("+5"), &v));
    char small[4];
    assert_true(ek_str_copy(EK_STR("abc"), small, sizeof small));
    assert_false(ek_str_copy(EK_STR("abcd"), small, sizeof small));
    assert_string_equal(small, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_to_its_limit_and_stays_failed),
        cmocka_unit_test(writes_numbers),
        cmocka_unit_test(drops_and_shrinks),
        cmocka_unit_test(reads_decimal_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
