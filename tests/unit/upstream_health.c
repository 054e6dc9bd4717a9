/* SPDX-License-Identifier: MIT */
/* The breaker, ejection and retry budget on virtual time; a random walk holds the invariants. */
#include "cm.h"

#include "base/random.h"
#include "upstream/health.h"

#include <stdio.h>
#include <stdlib.h>

#define HALF_OF_ALL (UINT32_MAX / 2) /* jitter in its middle */

static uint64_t now_ns;

static void tell(struct ek_health *h, enum ek_outcome what)
{
    ek_health_outcome(h, now_ns, &(struct ek_health_event){.what = what}, HALF_OF_ALL);
}

static struct ek_health fresh(void)
{
    struct ek_health h;
    now_ns = 1000 * EK_S_NS;
    ek_health_init(&h, now_ns);
    return h;
}

static void five_failures_in_a_row_open_it(void **state)
{
    (void)state;
    struct ek_health h = fresh();
    for (int i = 0; i < 4; i++) tell(&h, EK_OUTCOME_FAILED);
    assert_true(ek_health_admits(&h, now_ns));
    tell(&h, EK_OUTCOME_DONE);
    for (int i = 0; i < 4; i++) tell(&h, EK_OUTCOME_CUT);
    assert_int_equal(h.state, EK_HEALTH_CLOSED);
    tell(&h, EK_OUTCOME_CUT);
    assert_int_equal(h.state, EK_HEALTH_OPEN);
    assert_false(ek_health_admits(&h, now_ns));
    uint64_t wake_ns = ek_health_wake_ns(&h);
    assert_true(wake_ns > now_ns + EK_S_NS / 2 && wake_ns < now_ns + 2 * EK_S_NS);
}

static void one_trial_at_a_time_decides(void **state)
{
    (void)state;
    struct ek_health h = fresh();
    for (int i = 0; i < 5; i++) tell(&h, EK_OUTCOME_FAILED);
    uint64_t first_ns = ek_health_wake_ns(&h) - now_ns;
    now_ns = ek_health_wake_ns(&h);
    ek_health_tick(&h, now_ns);
    assert_int_equal(h.state, EK_HEALTH_HALF);
    assert_true(ek_health_admits(&h, now_ns));
    ek_health_sent(&h, now_ns);
    assert_false(ek_health_admits(&h, now_ns)); /* one trial */
    tell(&h, EK_OUTCOME_LEFT);                  /* its caller left: it says nothing */
    assert_int_equal(h.state, EK_HEALTH_HALF);
    assert_true(ek_health_admits(&h, now_ns));
    ek_health_sent(&h, now_ns);
    tell(&h, EK_OUTCOME_FAILED);
    assert_int_equal(h.state, EK_HEALTH_OPEN);
    uint64_t second_ns = ek_health_wake_ns(&h) - now_ns;
    assert_true(second_ns > first_ns * 3 / 2); /* doubled */
    now_ns = ek_health_wake_ns(&h);
    ek_health_sent(&h, now_ns);
    tell(&h, EK_OUTCOME_DONE);
    assert_int_equal(h.state, EK_HEALTH_CLOSED);
    assert_int_equal(h.trips, 2);
    now_ns += 61 * EK_S_NS;
    ek_health_tick(&h, now_ns);
    assert_int_equal(h.trips, 1); /* a good minute is remembered for it */
}

static void the_wait_doubles_to_a_minute(void **state)
{
    (void)state;
    struct ek_health h = fresh();
    uint64_t last_ns = 0;
    for (int i = 0; i < 5; i++) tell(&h, EK_OUTCOME_FAILED);
    for (int i = 0; i < 12; i++) {
        uint64_t ns = ek_health_wake_ns(&h) - now_ns;
        assert_true(ns + ns / 2 >= last_ns && ns <= 72 * EK_S_NS);
        last_ns = ns;
        now_ns = ek_health_wake_ns(&h);
        ek_health_sent(&h, now_ns);
        tell(&h, EK_OUTCOME_FAILED);
    }
    assert_true(last_ns >= 48 * EK_S_NS);
}

static void half_of_many_failing_opens_it_too(void **state)
{
    (void)state;
    struct ek_health h = fresh();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(h.state, EK_HEALTH_CLOSED);
        tell(&h, EK_OUTCOME_DONE);
        tell(&h, EK_OUTCOME_CUT);
    }
    assert_int_equal(h.state, EK_HEALTH_OPEN);
    struct ek_health spread = fresh();
    for (int i = 0; i < 20; i++) { /* the same, a minute apart: long forgotten */
        tell(&spread, EK_OUTCOME_DONE);
        tell(&spread, EK_OUTCOME_CUT);
        now_ns += 60 * EK_S_NS;
    }
    assert_int_equal(spread.state, EK_HEALTH_CLOSED);
}

static void what_is_the_requests_own_fault_says_nothing_bad(void **state)
{
    (void)state;
    struct ek_health h = fresh();
    for (int i = 0; i < 100; i++) tell(&h, i % 3 ? EK_OUTCOME_REFUSED : EK_OUTCOME_LEFT);
    for (int i = 0; i < 100; i++) tell(&h, EK_OUTCOME_BUSY);
    assert_int_equal(h.state, EK_HEALTH_CLOSED);
    assert_true(ek_health_admits(&h, now_ns));
}

static void a_rest_that_is_asked_for_is_given(void **state)
{
    (void)state;
    struct ek_health h = fresh();
    ek_health_outcome(&h, now_ns, &(struct ek_health_event){.what = EK_OUTCOME_BUSY,
                                                            .rest_ns = 7 * EK_S_NS}, 0);
    assert_false(ek_health_admits(&h, now_ns));
    assert_true(ek_health_wake_ns(&h) == now_ns + 7 * EK_S_NS);
    ek_health_outcome(&h, now_ns, &(struct ek_health_event){.what = EK_OUTCOME_BUSY, .rest_ns = EK_S_NS}, 0);
    assert_true(ek_health_wake_ns(&h) == now_ns + 7 * EK_S_NS); /* the longer of two */
    now_ns += 7 * EK_S_NS;
    assert_true(ek_health_admits(&h, now_ns));
    ek_health_outcome(&h, now_ns,
                      &(struct ek_health_event){.what = EK_OUTCOME_BUSY, .rest_ns = 3600 * EK_S_NS}, 0);
    assert_true(ek_health_wake_ns(&h) == now_ns + 60 * EK_S_NS); /* nobody is believed that much */
}

static void stream(struct ek_health *h, double token_s)
{
    ek_health_outcome(h, now_ns, &(struct ek_health_event){.what = EK_OUTCOME_DONE, .first_token_s = 0.3,
                                                           .tokens = 100, .stream_s = 100 * token_s}, 0);
}

static void the_slow_one_among_peers_goes_for_a_while(void **state)
{
    (void)state;
    struct ek_health h[4];
    struct ek_health *peer[4];
    for (int i = 0; i < 4; i++) {
        h[i] = fresh();
        peer[i] = &h[i];
        for (int k = 0; k < 12; k++) stream(&h[i], i == 2 ? 0.2 : 0.02);
    }
    assert_int_equal(ek_health_eject(peer, 4, now_ns, 0), 1);
    assert_int_equal(h[2].state, EK_HEALTH_OPEN);
    assert_true(h[2].slow);
    assert_int_equal(ek_health_eject(peer, 4, now_ns, 0), 0);
    /* Of two, one may go; the last one never. */
    assert_int_equal(ek_health_eject(peer, 1, now_ns, 0), 0);
    for (int k = 0; k < 12; k++) stream(&h[1], 0.5);
    assert_int_equal(ek_health_eject(peer, 2, now_ns, 0), 1);
    assert_int_equal(ek_health_eject(peer, 2, now_ns, 0), 0);
    for (int i = 0; i < 4; i++) { /* all slow together is the hour, not one of them */
        h[i] = fresh();
        for (int k = 0; k < 12; k++) stream(&h[i], 1.0);
    }
    assert_int_equal(ek_health_eject(peer, 4, now_ns, 0), 0);
}

static void retries_are_a_tenth_and_a_trickle(void **state)
{
    (void)state;
    struct ek_retry_budget b;
    now_ns = 5 * EK_S_NS;
    ek_retry_init(&b, now_ns);
    int taken = 0;
    while (ek_retry_take(&b, now_ns) == 0) taken++;
    assert_int_equal(taken, 10);
    uint64_t wait_ns = ek_retry_take(&b, now_ns);
    assert_true(wait_ns > 0 && wait_ns <= EK_S_NS / 10 + 1);
    now_ns += wait_ns;
    assert_true(ek_retry_take(&b, now_ns) == 0);
    for (int i = 0; i < 100; i++) ek_retry_sent(&b);
    taken = 0;
    while (ek_retry_take(&b, now_ns) == 0) taken++;
    assert_true(taken == 9 || taken == 10);
    now_ns += 3600 * EK_S_NS; /* an hour of calm is worth a second of retries */
    taken = 0;
    while (ek_retry_take(&b, now_ns) == 0) taken++;
    assert_int_equal(taken, 10);
}

/* Whatever happens: OPEN never admits, it ends, and a closed or half-open one is never stuck. */
static void a_random_walk_never_gets_stuck(void **state)
{
    (void)state;
    const char *given = getenv("EK_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 20261122;
    printf("seed %llu\n", (unsigned long long)seed);
    struct ek_random random = ek_random_make(seed);
    struct ek_health h = fresh();
    uint32_t under_way = 0;
    for (int step = 0; step < 200000; step++) {
        uint64_t r = ek_random_u64(&random);
        now_ns += r % EK_S_NS;
        ek_health_tick(&h, now_ns);
        uint64_t wake_ns = ek_health_wake_ns(&h);
        if (h.state == EK_HEALTH_OPEN) {
            assert_false(ek_health_admits(&h, now_ns));
            assert_true(wake_ns > now_ns && wake_ns <= now_ns + 73 * EK_S_NS);
        } else if (wake_ns == UINT64_MAX && under_way == 0) {
            assert_true(ek_health_admits(&h, now_ns));
        }
        if ((r >> 40) % 2 && ek_health_admits(&h, now_ns) && under_way < 8) {
            ek_health_sent(&h, now_ns);
            under_way++;
        } else if (under_way) {
            struct ek_health_event e = {.what = (enum ek_outcome)((r >> 50) % EK_OUTCOMES), .tokens = r % 99,
                                        .stream_s = (double)(r % 1000) * 1e-3,
                                        .rest_ns = (r >> 30) % 4 ? 0 : (r >> 20) % (90 * EK_S_NS)};
            ek_health_outcome(&h, now_ns, &e, (uint32_t)r);
            under_way--;
        }
        assert_true(h.trips <= 6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_failures_in_a_row_open_it),
        cmocka_unit_test(one_trial_at_a_time_decides),
        cmocka_unit_test(the_wait_doubles_to_a_minute),
        cmocka_unit_test(half_of_many_failing_opens_it_too),
        cmocka_unit_test(what_is_the_requests_own_fault_says_nothing_bad),
        cmocka_unit_test(a_rest_that_is_asked_for_is_given),
        cmocka_unit_test(the_slow_one_among_peers_goes_for_a_while),
        cmocka_unit_test(retries_are_a_tenth_and_a_trickle),
        cmocka_unit_test(a_random_walk_never_gets_stuck),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
