/* SPDX-License-Identifier: MIT */
/* The engine on virtual time against a plain simulation that goes step by step and token by token: both
 * must finish the same requests at the same times. And the prefix cache, and the shapes of the random
 * numbers. */
#include "sim/cache.h"
#include "sim/dist.h"
#include "sim/engine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define REQUESTS 60

static const struct ek_sim_engine_options options = {
    .slots = 16, .kv_tokens = 1u << 20, .step_s = 0.02, .stream_s = 1e-3, .kv_s = 1e-7,
    .prompt_s = 1e-4, .chunk_tokens = 64};

/* Everything arrives at time 0. The plain engine makes one step after the other; a prompt that needs
 * 2.5 chunks is done in the middle of a step, so lengths are whole chunks here. */
static void plain(const struct ek_sim_request *r, size_t n, double *first_s, double *end_s)
{
    size_t next = 0, reading = SIZE_MAX, running = 0;
    uint32_t left = 0, made[REQUESTS] = {0};
    double now = 0;
    while (next < n || running > 0 || reading != SIZE_MAX) {
        if (reading == SIZE_MAX && next < n && running + 1 <= options.slots) {
            reading = next++;
            left = r[reading].spec.prompt_tokens;
        }
        double context = 0, batch = 0;
        for (size_t i = 0; i < n; i++) {
            if (made[i] == 0 || made[i] >= r[i].output_tokens) continue;
            batch++;
            context += r[i].spec.prompt_tokens + made[i] - 1;
        }
        /* K grows within the step: its mean is half a token a stream later. */
        double step = options.step_s + options.stream_s * batch + options.kv_s * (context + batch / 2);
        if (reading != SIZE_MAX) step += options.chunk_tokens * options.prompt_s;
        now += step;
        for (size_t i = 0; i < n; i++) {
            if (made[i] == 0 || made[i] >= r[i].output_tokens) continue;
            if (++made[i] < r[i].output_tokens) continue;
            end_s[i] = now;
            running--;
        }
        if (reading == SIZE_MAX) continue;
        left -= options.chunk_tokens;
        if (left) continue;
        made[reading] = 1;
        first_s[reading] = now;
        running++;
        reading = SIZE_MAX;
    }
}

static void lazy(struct ek_sim_request *r, size_t n, double *first_s, double *end_s)
{
    struct ek_sim_engine e;
    struct ek_sim_request *who = NULL;
    ek_sim_engine_init(&e, &options);
    for (size_t i = 0; i < n; i++) ek_sim_engine_send(&e, 0, &r[i], NULL);
    for (size_t events = 0;; events++) {
        uint64_t at = ek_sim_engine_next_ns(&e);
        if (at == UINT64_MAX) break;
        assert_true(events < 100 * n); /* never an event a token */
        enum ek_sim_event event = ek_sim_engine_step(&e, at, NULL, &who);
        if (event == EK_SIM_FIRST_TOKEN) first_s[who - r] = (double)at * 1e-9;
        if (event == EK_SIM_FINISHED) end_s[who - r] = (double)at * 1e-9;
        ek_sim_engine_check(&e);
    }
    assert_int_equal(ek_sim_engine_kv_used(&e), 0);
    ek_sim_engine_free(&e);
}

static void test_lazy_equals_plain(void **state)
{
    struct ek_sim_request r[REQUESTS];
    double first[2][REQUESTS] = {{0}}, end[2][REQUESTS] = {{0}};
    struct ek_random random = ek_random_make(11);
    (void)state;
    memset(r, 0, sizeof r);
    for (size_t i = 0; i < REQUESTS; i++) {
        r[i].spec.prompt_tokens = 64 * (1 + (uint32_t)ek_random_below(&random, 20));
        r[i].spec.output_tokens = 2 + (uint32_t)ek_random_below(&random, 300);
        r[i].output_tokens = r[i].spec.output_tokens;
    }
    plain(r, REQUESTS, first[0], end[0]);
    lazy(r, REQUESTS, first[1], end[1]);
    for (size_t i = 0; i < REQUESTS; i++) {
        assert_true(end[0][i] > 0 && end[1][i] > 0);
        /* A slot that comes free inside a step is taken at once here, at its end there. */
        assert_true(fabs(first[0][i] - first[1][i]) < 0.002 + 1e-3 * first[0][i]);
        assert_true(fabs(end[0][i] - end[1][i]) < 0.002 + 1e-3 * end[0][i]);
    }
}

static void test_memory_runs_out(void **state)
{
    struct ek_sim_engine_options small = options;
    struct ek_sim_request r[8];
    struct ek_sim_engine e;
    struct ek_sim_request *who = NULL;
    uint32_t finished = 0;
    (void)state;
    small.kv_tokens = 2000;
    memset(r, 0, sizeof r);
    ek_sim_engine_init(&e, &small);
    for (size_t i = 0; i < 8; i++) {
        r[i].spec.prompt_tokens = 400;
        r[i].spec.output_tokens = r[i].output_tokens = 900;
        ek_sim_engine_send(&e, 0, &r[i], NULL);
    }
    for (uint64_t at; (at = ek_sim_engine_next_ns(&e)) != UINT64_MAX;) {
        finished += ek_sim_engine_step(&e, at, NULL, &who) == EK_SIM_FINISHED;
        assert_true(ek_sim_engine_kv_used(&e) <= small.kv_tokens + 8);
        ek_sim_engine_check(&e);
    }
    assert_int_equal(finished, 8);
    assert_true(e.preempted > 0);
    assert_true(e.reread_tokens > 0);
    ek_sim_engine_free(&e);
}

static void test_cancel_in_every_state(void **state)
{
    struct ek_sim_engine_options one = options;
    struct ek_sim_request r[3];
    struct ek_sim_engine e;
    struct ek_sim_request *who = NULL;
    (void)state;
    one.slots = 2;
    memset(r, 0, sizeof r);
    ek_sim_engine_init(&e, &one);
    for (size_t i = 0; i < 3; i++) {
        r[i].spec.prompt_tokens = 640;
        r[i].output_tokens = r[i].spec.output_tokens = 100000;
        ek_sim_engine_send(&e, 0, &r[i], NULL);
    }
    uint64_t at = ek_sim_engine_next_ns(&e);
    assert_int_equal(ek_sim_engine_step(&e, at, NULL, &who), EK_SIM_FIRST_TOKEN);
    assert_int_equal(r[0].state, EK_SIM_DECODE);
    assert_int_equal(r[1].state, EK_SIM_PREFILL);
    assert_int_equal(r[2].state, EK_SIM_QUEUED);
    at += 500000000;
    uint32_t made = ek_sim_engine_cancel(&e, at, &r[0]);
    assert_true(made > 10 && made < 30);
    assert_int_equal(ek_sim_engine_cancel(&e, at, &r[1]), 0);
    assert_int_equal(ek_sim_engine_cancel(&e, at, &r[2]), 0);
    assert_true(ek_sim_engine_next_ns(&e) == UINT64_MAX);
    assert_int_equal(ek_sim_engine_kv_used(&e), 0);
    ek_sim_engine_free(&e);
}

static void test_cache_keeps_what_is_used(void **state)
{
    struct ek_sim_cache *c = ek_sim_cache_new(4);
    const uint32_t a[] = {1, 2, 3}, b[] = {1, 9}, far[] = {20, 21, 22};
    (void)state;
    assert_int_equal(ek_sim_cache_hit(c, a, 3), 0);
    ek_sim_cache_add(c, a, 3);
    ek_sim_cache_add(c, b, 2);
    assert_int_equal(ek_sim_cache_peek(c, a, 3), 3);
    assert_int_equal(ek_sim_cache_hit(c, b, 2), 2);
    ek_sim_cache_add(c, far, 3); /* one place is left: a's tail goes, its head stays longest */
    assert_int_equal(ek_sim_cache_peek(c, far, 3), 3);
    assert_int_equal(ek_sim_cache_peek(c, b, 1), 1);
    assert_int_equal(ek_sim_cache_peek(c, a, 3), 1);
    ek_sim_cache_free(c);
}

static void test_shapes(void **state)
{
    struct ek_random r = ek_random_make(3);
    enum { N = 200000 };
    double gamma = 0, gamma2 = 0, weibull = 0, normal2 = 0, small = 0;
    (void)state;
    for (int i = 0; i < N; i++) {
        double g = ek_sim_gamma(&r, 2.5);
        gamma += g;
        gamma2 += g * g;
        weibull += ek_sim_weibull(&r, 0.7);
        double n = ek_sim_normal(&r);
        normal2 += n * n;
        small += ek_sim_gamma(&r, 0.1);
    }
    assert_true(fabs(gamma / N - 2.5) < 0.03);
    assert_true(fabs(gamma2 / N - gamma / N * (gamma / N) - 2.5) < 0.1);
    assert_true(fabs(weibull / N - tgamma(1 + 1 / 0.7)) < 0.03);
    assert_true(fabs(normal2 / N - 1) < 0.02);
    assert_true(fabs(small / N - 0.1) < 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lazy_equals_plain),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_cancel_in_every_state),
        cmocka_unit_test(test_cache_keeps_what_is_used),
        cmocka_unit_test(test_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
