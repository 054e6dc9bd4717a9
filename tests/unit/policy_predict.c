/* SPDX-License-Identifier: MIT */
/* What is learned of answers survives the way through bytes, and damaged bytes change nothing. */
#include "cm.h"

#include "base/random.h"
#include "policy/predict.h"

#include <stdlib.h>

#define CELLS 4096u

static struct ek_predict_key key_at(uint32_t i)
{
    return (struct ek_predict_key){.account = 1000 + i % 40, .model = 7 + i % 3, .effort = i % 2,
                                   .prompt_tokens = 10u << i % 8};
}

static void teach(struct ek_predict *p, uint64_t seed)
{
    struct ek_random r = ek_random_make(seed);
    assert_true(ek_predict_init(p, CELLS));
    for (uint32_t i = 0; i < 20000; i++) {
        struct ek_predict_key k = key_at(i);
        uint32_t thought = (uint32_t)ek_random_below(&r, 3000);
        ek_predict_learn(p, &k, thought + 1 + (uint32_t)ek_random_below(&r, 500), i % 5 ? thought : 0);
    }
}

static void what_was_learned_survives(void **state)
{
    (void)state;
    struct ek_predict a, b;
    struct ek_buf bytes = ek_buf_make(1 << 20);
    uint64_t seed = 0;
    const char *why;
    teach(&a, 5);
    assert_true(ek_predict_init(&b, CELLS));
    ek_predict_save(&a, 0x1234567812345678, &bytes);
    assert_false(bytes.failed);
    assert_true(ek_predict_load(&b, ek_buf_view(&bytes), &seed, &why));
    assert_true(seed == 0x1234567812345678);
    for (uint32_t i = 0; i < 240; i++) {
        struct ek_predict_key k = key_at(i);
        struct ek_prediction x = ek_predict_output(&a, &k), y = ek_predict_output(&b, &k);
        assert_true(x.known && y.known && x.p50 == y.p50 && x.p90 == y.p90 && x.mean - y.mean == 0);
        x = ek_predict_thought(&a, &k);
        y = ek_predict_thought(&b, &k);
        assert_true(x.known == y.known && x.p90 == y.p90);
    }
    struct ek_buf again = ek_buf_make(1 << 20);
    ek_predict_save(&b, seed, &again);
    assert_int_equal(again.len, bytes.len);
    ek_buf_free(&again);
    ek_buf_free(&bytes);
    ek_predict_free(&a);
    ek_predict_free(&b);
}

static void a_smaller_table_takes_what_it_can(void **state)
{
    (void)state;
    struct ek_predict a, b;
    struct ek_buf bytes = ek_buf_make(1 << 20);
    uint64_t seed;
    const char *why;
    teach(&a, 6);
    assert_true(ek_predict_init(&b, 16));
    ek_predict_save(&a, 1, &bytes);
    assert_true(ek_predict_load(&b, ek_buf_view(&bytes), &seed, &why));
    for (uint32_t i = 0; i < 100; i++) { /* and goes on learning */
        struct ek_predict_key k = key_at(i);
        ek_predict_learn(&b, &k, 50, 10);
    }
    ek_buf_free(&bytes);
    ek_predict_free(&a);
    ek_predict_free(&b);
}

static void damage_is_refused_with_a_reason(void **state)
{
    (void)state;
    struct ek_predict a, b;
    struct ek_buf bytes = ek_buf_make(1 << 20);
    struct ek_random r = ek_random_make(9);
    uint64_t seed = 77;
    const char *why = NULL;
    struct ek_predict_key k = key_at(1);
    teach(&a, 7);
    assert_true(ek_predict_init(&b, CELLS));
    ek_predict_save(&a, 1, &bytes);
    for (uint32_t i = 0; i < 2000; i++) {
        size_t at = i < 64 ? i : ek_random_below(&r, bytes.len);
        char old = bytes.data[at];
        bytes.data[at] = (char)(old ^ (1 << ek_random_below(&r, 8)));
        assert_false(ek_predict_load(&b, ek_buf_view(&bytes), &seed, &why));
        assert_non_null(why);
        bytes.data[at] = old;
        size_t less = ek_random_below(&r, bytes.len);
        assert_false(ek_predict_load(&b, ek_str_make(bytes.data, less), &seed, &why));
    }
    assert_true(seed == 77);
    assert_false(ek_predict_output(&b, &k).known); /* nothing of it got in */
    assert_false(ek_predict_load(&b, EK_STR(""), &seed, &why));
    ek_buf_free(&bytes);
    ek_predict_free(&a);
    ek_predict_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_learned_survives),
        cmocka_unit_test(a_smaller_table_takes_what_it_can),
        cmocka_unit_test(damage_is_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
