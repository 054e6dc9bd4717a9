/* SPDX-License-Identifier: MIT */
/* When slots come free: services of one length, of chance, overdue ones, a house that fills, more requests
 * than slots. And the pace under it: tokens told in lumps are no change of speed, a slow engine is one. */
#include "cm.h"

#include "base/clock.h"
#include "base/random.h"
#include "policy/estimate.h"
#include "policy/vacancy.h"

#include <math.h>
#include <stdio.h>

#define SEED 7

static void learn(struct ek_life *l, double tokens, double slot_s)
{
    uint32_t at = 0;
    ek_life_began(l, tokens, &at);
    ek_life_ended(l, tokens, slot_s, &at);
}

static struct ek_vacancy of_one(struct ek_life *l, double tokens, double age_s, double service_s)
{
    struct ek_vacancy v = {0};
    ek_vacancy_begin(&v, l, service_s, 1);
    ek_vacancy_add(&v, l, tokens, age_s, 1);
    ek_vacancy_end(&v, l, 1, 1 / service_s, EK_S_NS);
    return v;
}

static void one_that_just_began_is_not_half_done(void **state)
{
    (void)state;
    struct ek_life l = {0};
    learn(&l, 200, 4);
    for (int seen = 1; seen <= 50; seen++) { /* the first answer says it already */
        struct ek_vacancy v = of_one(&l, 200, 0, 4);
        double first_s = ek_vacancy_until(&v, 0, 0, 0.58), second_s = ek_vacancy_until(&v, 0, 0, 1.58);
        if (seen == 1 || seen == 50) printf("after %d answers of 4 s: %.2f, %.2f\n", seen, first_s, second_s);
        assert_true(fabs(first_s - 4) < 0.5 && fabs(second_s - 8) < 1);
        v = of_one(&l, 200, 3, 4);
        assert_true(fabs(ek_vacancy_until(&v, 0, 0, 0.58) - 1) < 0.5);
        v = of_one(&l, 50, 0, 4); /* a quarter of the tokens are foreseen */
        assert_true(fabs(ek_vacancy_until(&v, 0, 0, 0.58) - 1) < 0.2);
        learn(&l, 200, 4);
    }
    struct ek_vacancy v = of_one(&l, 200, 0, 4); /* looked at again a second later */
    assert_true(fabs(ek_vacancy_until(&v, 1, 0, 0.58) - 3) < 0.5);
    assert_true(ek_vacancy_gone(&v, 1, 0, 2) < 0.2 && ek_vacancy_gone(&v, 1, 0, 3.6) > 0.8);
    assert_true(fabs(ek_vacancy_until(&v, 0, 0, 3 + 100) - 3 * 4 - 100 * 4) < 8); /* the mean rate, far off */
}

static void what_has_lasted_beyond_all_others_lasts_as_long_again(void **state)
{
    (void)state;
    struct ek_life l = {0};
    for (int i = 0; i < 20; i++) learn(&l, 200, 4);
    struct ek_vacancy v = of_one(&l, 200, 40, 4);
    double t_s = ek_vacancy_until(&v, 0, 0, 0.5);
    printf("ten times the usual: %.1f s\n", t_s);
    assert_true(t_s > 8); /* twice what it usually takes, and not a moment */
    double gone = ek_vacancy_gone(&v, 0, 0, 10);
    printf("gone in 10 s: %.2f\n", gone); /* 0.2 of it, and what follows on that in turns of 4 s */
    assert_true(gone > 0.2 && gone < 0.6);
}

static void of_two_that_began_together_both_end_together(void **state)
{
    (void)state;
    struct ek_life l = {0};
    struct ek_vacancy v = {0};
    for (int i = 0; i < 20; i++) learn(&l, 200, 4);
    ek_vacancy_begin(&v, &l, 4, 1);
    ek_vacancy_add(&v, &l, 200, 1, 1);
    ek_vacancy_add(&v, &l, 200, 1, 1);
    ek_vacancy_end(&v, &l, 1, 0.5, EK_S_NS);
    assert_int_equal(v.running, 2);
    assert_true(fabs(ek_vacancy_until(&v, 0, 0, 0.58) - 3) < 0.5);
    assert_true(fabs(ek_vacancy_until(&v, 0, 0, 1.58) - 3) < 0.7);
    assert_true(fabs(ek_vacancy_until(&v, 0, 0, 2.58) - 7) < 1);
    /* One slot is gone: the first that ends leaves none. */
    assert_true(fabs(ek_vacancy_until(&v, 0, 1, 1.58) - 7) < 1);
}

/* A house of 40 slots fills from nothing: whoever has ended already was quick, and would promise too much. */
static void a_house_that_fills_is_not_thought_quick(void **state)
{
    (void)state;
    struct ek_random r = ek_random_make(SEED);
    double error = 0;
    for (int round = 0; round < 40; round++) {
        static struct ek_life l;
        l = (struct ek_life){0};
        double began_s[40], lasts_s[40], ended = 0;
        uint32_t at[40] = {0};
        for (int i = 0; i < 40; i++) {
            began_s[i] = 0.25 * i;
            lasts_s[i] = -20 * log(ek_random_unit(&r) + 1e-9);
            ek_life_began(&l, 100, &at[i]);
        }
        for (int ms = 0; ms <= 10000; ms += 50) {
            double now_s = ms * 1e-3;
            for (int i = 0; i < 40; i++) {
                if (began_s[i] > now_s || lasts_s[i] < 0) continue;
                double age_s = now_s - began_s[i];
                if (age_s >= lasts_s[i]) {
                    ek_life_ended(&l, 100, lasts_s[i], &at[i]);
                    lasts_s[i] = -1;
                    ended++;
                } else ek_life_lasts(&l, 100, age_s, &at[i]);
            }
        }
        struct ek_vacancy v = {0};
        ek_vacancy_begin(&v, &l, 20, 1);
        for (int i = 0; i < 40; i++)
            if (lasts_s[i] > 0) ek_vacancy_add(&v, &l, 100, 10 - began_s[i], 1);
        ek_vacancy_end(&v, &l, 1, 2, EK_S_NS);
        if (ended > 0) error += log(ek_vacancy_gone(&v, 0, 0, 5) / (v.running / 20.0 * 5)) / 40;
    }
    printf("seed %d: departures of the next 5 s foreseen times %.2f\n", SEED, exp(error));
    assert_true(fabs(error) < 0.25);
}

static void too_many_foreseen_is_learned(void **state)
{
    (void)state;
    struct ek_random r = ek_random_make(SEED);
    struct ek_life l = {0};
    for (int i = 0; i < 1000; i++) learn(&l, 200, -4 * log(ek_random_unit(&r) + 1e-9));
    struct ek_vacancy v = {0};
    for (int i = 0; i < 2000; i++) { /* of one that begins always anew, half as many end as were foreseen */
        struct ek_vacancy last = v;
        double speed = ek_vacancy_factor(&v);
        ek_vacancy_begin(&v, &l, 4, speed);
        for (int k = 0; k < 8; k++) ek_vacancy_add(&v, &l, 200, k * 0.5, speed);
        ek_vacancy_end(&v, &l, speed, 2, EK_S_NS);
        if (last.at_ns) ek_vacancy_learn(&v, &last, 0.25, i % 4 == 0);
    }
    printf("factor %.2f\n", ek_vacancy_factor(&v));
    assert_true(ek_vacancy_factor(&v) > 0.35 && ek_vacancy_factor(&v) < 0.7);
}

/* ---- the pace ------------------------------------------------------------------------------------------ */

static double told(struct ek_pace *d, double from_s, double seconds, uint32_t every_ms, double tps)
{
    double least = 1;
    for (double t_s = from_s; t_s < from_s + seconds; t_s += every_ms * 1e-3) {
        ek_pace_advance(d, (uint64_t)(t_s * 1e9), 8);
        for (int slot = 0; slot < 8; slot++) ek_pace_tokens(d, (uint32_t)(tps * every_ms * 1e-3 + 0.5));
        for (int look = 1; look < 10; look++) {
            ek_pace_advance(d, (uint64_t)((t_s + look * 1e-4 * every_ms) * 1e9), 8);
            least = fmin(least, ek_pace_speed(d));
        }
    }
    return least;
}

static void tokens_in_lumps_are_no_change_of_speed(void **state)
{
    (void)state;
    struct ek_pace lumps = {0}, stream = {0};
    told(&lumps, 1, 60, 2000, 40);
    told(&stream, 1, 60, 100, 40);
    double least = told(&lumps, 61, 120, 2000, 40);
    printf("in lumps of two seconds, at least %.3f\n", least);
    assert_true(least > 0.999);
    assert_true(told(&stream, 61, 120, 100, 40) > 0.999);
    double slow = told(&stream, 181, 15, 100, 20);
    printf("at half the speed %.3f\n", slow);
    assert_true(slow < 0.75);
    assert_true(told(&lumps, 181, 15, 2000, 20) < 0.75);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_just_began_is_not_half_done),
        cmocka_unit_test(what_has_lasted_beyond_all_others_lasts_as_long_again),
        cmocka_unit_test(of_two_that_began_together_both_end_together),
        cmocka_unit_test(a_house_that_fills_is_not_thought_quick),
        cmocka_unit_test(too_many_foreseen_is_learned),
        cmocka_unit_test(tokens_in_lumps_are_no_change_of_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
