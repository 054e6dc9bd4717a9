/* SPDX-License-Identifier: MIT */
/* Turns at making schemas ready: who has had little goes before who has had much, and that is forgotten. */
#include "cm.h"

#include "base/clock.h"
#include "engine/turns.h"

static uint32_t place(const char *body, const char *address)
{
    return ek_turns_place(ek_str_of(body), ek_str_of(address));
}

static void callers_are_told_apart(void **state)
{
    (void)state;
    const char *a = "{\"ek\":{\"cache_salt\":\"aa\"},\"x\":1}";
    const char *b = "{\"ek\":{\"cache_salt\":\"bb\",\"n\":1}}";
    assert_int_equal(place(a, "1.1.1.1"), place(a, "2.2.2.2")); /* the door's address says nothing */
    assert_int_equal(place(a, ""), place("{\"y\":[2],\"ek\":{\"cache_salt\":\"aa\"}}", ""));
    assert_int_not_equal(place(a, ""), place(b, ""));
    assert_int_not_equal(place("{}", "1.1.1.1"), place("{}", "2.2.2.2"));
    assert_int_equal(place("", "1.1.1.1"), place("{}", "1.1.1.1"));
    assert_true(place("{\"cache_salt\"", "") < EK_TURNS_PLACES); /* whatever is behind it, or nothing */
    assert_true(place("\"cache_salt\":", "") < EK_TURNS_PLACES);
}

static void who_has_had_least_is_next(void **state)
{
    (void)state;
    static struct ek_turns t;
    assert_false(ek_turns_before(&t, 1, 2)); /* as they came */
    ek_turns_had(&t, 5 * EK_S_NS, 1, 1.0);
    assert_true(ek_turns_before(&t, 2, 1));
    assert_false(ek_turns_before(&t, 1, 2));
    ek_turns_had(&t, 6 * EK_S_NS, 2, 1.0); /* as much, and later */
    assert_true(ek_turns_before(&t, 1, 2));
    assert_true(ek_turns_before(&t, 3, 1));
}

static void it_is_forgotten(void **state)
{
    (void)state;
    static struct ek_turns t;
    ek_turns_had(&t, 0, 1, 4.0);
    ek_turns_had(&t, EK_TURNS_HALF_S * EK_S_NS, 2, 1.9);
    assert_true(ek_turns_before(&t, 2, 1)); /* 2.0 are left of the four */
    ek_turns_had(&t, EK_TURNS_HALF_S * EK_S_NS, 2, 0.2);
    assert_true(ek_turns_before(&t, 1, 2));
    ek_turns_had(&t, 1000000 * EK_S_NS, 3, 0.001);
    assert_true(ek_turns_before(&t, 1, 3) && ek_turns_before(&t, 2, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_are_told_apart),
        cmocka_unit_test(who_has_had_least_is_next),
        cmocka_unit_test(it_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
