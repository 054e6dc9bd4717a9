/* SPDX-License-Identifier: MIT */
/* What an upstream can take, learned: engines that report nothing of themselves, with more work before them
 * than they can do. With slots (a cliff in the time to the first token), without (a time per token that
 * rises), halved and given back, under a step in load. */
#include "cm.h"

#include "learn_world.h"

static void show(const struct learn_world *b, const char *what)
{
    const struct ek_learn *l = &b->learn;
    printf("  %-22s %5.0f s %6llu firsts: limit %6.1f (%.1f ... %.1f, %u crossings) knee %6.1f q %5.2f, "
           "decoding %u; base %.3f + %.2g a token, late %.2f; token %.4f + %.5f B\n", what,
           (double)b->now_ns * 1e-9, (unsigned long long)b->firsts, l->limit, b->low, b->high, b->crossings,
           ek_learn_knee(l), l->queue, l->decoding, l->fixed_s, l->per_token_s, l->late, l->a_s, l->b_s);
}

static struct learn_world *world(const struct ek_sim_engine_options *o, uint64_t seed)
{
    printf("seed %llu\n", (unsigned long long)seed);
    return learn_world_new(o, seed);
}

static void slots_are_found_and_kept(void **state)
{
    (void)state;
    static const uint32_t slots[] = {1, 4, 16, 64};
    for (size_t i = 0; i < EK_COUNT(slots); i++) {
        struct ek_sim_engine_options o = learn_slotted;
        o.slots = slots[i];
        struct learn_world *b = world(&o, 11 + i);
        learn_world_run(b, 20 + 4 * slots[i], 1e6);
        show(b, "found");
        assert_int_equal(ek_learn_limit(&b->learn), slots[i] + 1);
        learn_world_forget(b);
        learn_world_run(b, b->firsts + 40 * slots[i] + 800, 1e6);
        show(b, "kept");
        assert_true(b->high < slots[i] + 1.5 && b->low > slots[i] + 0.5);
        assert_true(b->decoding_sum / b->looks > 0.95 * slots[i]); /* it is not left idle */
        learn_world_free(b);
    }
}

/* Another machine: more slots, and fewer. */
static void changed_slots_are_found_again(void **state)
{
    (void)state;
    struct ek_sim_engine_options o = learn_slotted;
    o.slots = 16;
    struct learn_world *b = world(&o, 21);
    learn_world_run(b, 200, 1e6);
    assert_int_equal(ek_learn_limit(&b->learn), 17);
    learn_world_free(b);
    o.slots = 64;
    b = world(&o, 22);
    b->engine.o.slots = 8;
    learn_world_run(b, 200, 1e6);
    show(b, "8 slots");
    assert_int_equal(ek_learn_limit(&b->learn), 9);
    b->engine.o.slots = 32;
    learn_world_run(b, b->firsts + 400, 1e6);
    show(b, "now 32");
    assert_true(ek_learn_limit(&b->learn) >= 32 && ek_learn_limit(&b->learn) <= 34);
    b->engine.o.slots = 8;
    learn_world_run(b, b->firsts + 100, 1e6);
    show(b, "8 again");
    assert_true(ek_learn_limit(&b->learn) >= 8 && ek_learn_limit(&b->learn) <= 10);
    learn_world_free(b);
}

/* Seconds a token rise with each stream, there are no slots to speak of: the knee, and that it stays when the
 * machine is halved, which changes the speed and not what another stream is worth. */
static void the_knee_is_found_and_stays_when_the_machine_is_halved(void **state)
{
    (void)state;
    static const double stream_s[] = {1e-3, 5e-4, 2e-4};
    for (size_t i = 0; i < EK_COUNT(stream_s); i++) {
        struct ek_sim_engine_options o = learn_slotted;
        o.slots = 1024;
        o.stream_s = stream_s[i];
        struct learn_world *b = world(&o, 31 + i);
        learn_world_run(b, 1000, 1e6);
        show(b, "found");
        /* Each stream also brings its prompt to be read: about half a chunk in 380 tokens. */
        double truth = 3 * o.step_s / (o.stream_s + 0.5 * (o.step_s + 512 * o.prompt_s) / 380);
        double knee = ek_learn_knee(&b->learn);
        assert_true(knee > 0.75 * truth && knee < 1.3 * truth);
        learn_world_forget(b);
        learn_world_run(b, UINT64_MAX, 300);
        show(b, "300 s later");
        double before = b->sum / b->looks;
        learn_world_forget(b);
        ek_sim_engine_slow(&b->engine, b->now_ns, 2.0);
        learn_world_run(b, UINT64_MAX, 300);
        show(b, "halved");
        assert_true(b->low > 0.85 * before && b->high < 1.15 * before && b->crossings <= 1);
        learn_world_forget(b);
        ek_sim_engine_slow(&b->engine, b->now_ns, 1.0);
        learn_world_run(b, UINT64_MAX, 300);
        show(b, "given back");
        assert_true(b->low > 0.85 * before && b->high < 1.15 * before && b->crossings <= 1);
        learn_world_free(b);
    }
}

static void a_target_for_the_time_per_token_is_kept(void **state)
{
    (void)state;
    struct ek_sim_engine_options o = learn_slotted;
    o.slots = 1024;
    o.stream_s = 5e-4;
    struct learn_world *b = world(&o, 41);
    b->learn.target_s = 0.05;
    learn_world_run(b, UINT64_MAX, 200);
    learn_world_forget(b);
    learn_world_run(b, UINT64_MAX, 200);
    show(b, "50 ms wanted");
    assert_true(fabs(ek_learn_token_s(&b->learn, b->learn.decoding) - 0.05) < 0.005);
    ek_sim_engine_slow(&b->engine, b->now_ns, 1.5); /* now the speed does count */
    learn_world_run(b, UINT64_MAX, 200);
    show(b, "slower by a half");
    assert_true(fabs(ek_learn_token_s(&b->learn, b->learn.decoding) - 0.05) < 0.005);
    learn_world_free(b);
}

/* 0.85 of what it can do, then 1.4 times that: the limit does not move, and neither does it afterwards. */
static void a_step_in_load_moves_nothing(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct ek_sim_engine_options o = learn_slotted;
        o.slots = kind == 0 ? 16 : 1024;
        o.stream_s = kind == 0 ? 2e-4 : 1e-3;
        struct learn_world *b = world(&o, 51 + (uint64_t)kind);
        learn_world_run(b, 400, 1e6);
        uint64_t ended = b->ended;
        learn_world_run(b, UINT64_MAX, 200);
        double full_rate = (double)(b->ended - ended) / 200;
        b->rate = 0.85 * full_rate;
        b->arrive_ns = b->now_ns;
        learn_world_run(b, UINT64_MAX, 300);
        learn_world_forget(b);
        learn_world_run(b, UINT64_MAX, 200);
        show(b, "0.85");
        learn_world_forget(b);
        b->rate *= 1.4;
        learn_world_run(b, UINT64_MAX, 600);
        show(b, "1.19");
        double mean = b->sum / b->looks;
        assert_true(b->crossings <= 1 && b->high < 1.2 * mean && b->low > 0.8 * mean);
        learn_world_free(b);
    }
}

/* Demand that never reaches the limit may yet wait inside: then nothing but the wait says so. */
static void a_limit_that_is_not_reached_is_lowered_too(void **state)
{
    (void)state;
    struct ek_sim_engine_options o = learn_slotted;
    o.slots = 16;
    struct learn_world *b = world(&o, 71);
    learn_world_run(b, 100, 1e6);
    b->learn.limit = 64;
    b->most = 40;
    learn_world_run(b, b->firsts + 200, 1e6);
    show(b, "40 clients");
    assert_in_range(ek_learn_limit(&b->learn), 16, 18);
    learn_world_free(b);
}

/* Long prompts and a knee: what is being read counts as decoding, what will have ended does not. */
static void what_will_decode_counts_not_what_does(void **state)
{
    (void)state;
    struct ek_sim_engine_options o = learn_slotted;
    o.slots = 1024;
    o.stream_s = 2e-3;
    o.prompt_s = 5e-5;
    struct learn_world *b = world(&o, 61);
    b->prompt = 4000;
    b->output = 600;
    learn_world_run(b, UINT64_MAX, 600);
    learn_world_forget(b);
    learn_world_run(b, UINT64_MAX, 600);
    show(b, "long prompts");
    double mean = b->decoding_sum / b->looks, knee = b->sum / b->looks;
    double sd = sqrt(fmax(b->decoding_sum2 / b->looks - mean * mean, 0));
    printf("  decoding %.1f, sd %.1f\n", mean, sd);
    assert_true(mean < 1.05 * knee && sd < 0.15 * mean);
    struct ek_learn l = {.inflight = 15, .decoding = 10, .reading_tokens = 5000, .firsts = 1, .late = 1,
                         .per_token_s = 0.0005, .life_s = 100, .ends = 10};
    assert_true(fabs(ek_learn_ttft_s(&l, 5000) - 5) < 1e-9);
    assert_true(fabs(ek_learn_decoding_then(&l, 5000) - (10 * exp(-0.5) + 5)) < 1e-9);
    learn_world_free(b);
}

static void one_that_says_it_is_full_is_sent_less(void **state)
{
    (void)state;
    struct ek_learn l;
    struct ek_learn_mark m[64];
    ek_learn_init(&l);
    l.limit = 20;
    for (uint32_t i = 0; i < 20; i++) ek_learn_sent(&l, EK_S_NS, 100, &m[i]);
    for (uint32_t i = 0; i < 5; i++) ek_learn_first(&l, 2 * EK_S_NS, &m[i]);
    ek_learn_full(&l, 2 * EK_S_NS);
    assert_int_equal(ek_learn_limit(&l), 19);
    assert_false(l.fast);
    for (uint32_t i = 0; i < 20; i++) ek_learn_end(&l, 3 * EK_S_NS, &m[i]);
    assert_true(l.inflight == 0 && l.decoding == 0 && l.reading_tokens == 0);
    for (int i = 0; i < 100; i++) ek_learn_full(&l, 3 * EK_S_NS);
    assert_int_equal(ek_learn_limit(&l), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_found_and_kept), cmocka_unit_test(changed_slots_are_found_again),
        cmocka_unit_test(the_knee_is_found_and_stays_when_the_machine_is_halved),
        cmocka_unit_test(a_target_for_the_time_per_token_is_kept),
        cmocka_unit_test(a_step_in_load_moves_nothing),
        cmocka_unit_test(a_limit_that_is_not_reached_is_lowered_too),
        cmocka_unit_test(what_will_decode_counts_not_what_does),
        cmocka_unit_test(one_that_says_it_is_full_is_sent_less)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
