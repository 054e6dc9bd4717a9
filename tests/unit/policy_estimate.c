/* SPDX-License-Identifier: MIT */
/* Are the estimates true? Crowds in virtual time with heavy-tailed answers, bursts and an engine that
 * slows down in the middle; what was shown first is held against what came. And the parts under it: the
 * conformal band, the time from the turn to the first token, the prediction of outputs. */
#include "policy_world.h"

#include "policy/conform.h"
#include "policy/first.h"
#include "policy/predict.h"

static const struct ek_tier_options two_tiers[] = {{.name = "free", .weight = 1},
                                                   {.name = "paid", .weight = 4}};

static struct ek_desk_options options(uint64_t seed)
{
    return (struct ek_desk_options){.queue.waiting_max = 2000, .tiers = {two_tiers, 2}, .running_max = 1000,
                                    .tell_min_ns = EK_S_NS, .tell_max_ns = 10 * EK_S_NS, .tell_change = 0.1,
                                    .down_grace_ns = 60 * EK_S_NS, .seed = seed};
}

/* Lognormal, median 800, as wide as the answers of a reasoning model. */
static void arrive(struct world *w)
{
    double out = 800 * exp(1.1 * world_normal(w));
    struct ek_used u = {.prompt_tokens = 50 + (uint32_t)(2000 * world_unit(w) * world_unit(w)),
                        .output_tokens = 10 + (uint32_t)fmin(out, 16000)};
    struct ek_arrival a = {.account = 1 + (uint64_t)(3000 * world_unit(w) * world_unit(w)), .model = 7,
                           .tier = world_unit(w) < 0.3, .prompt_tokens = u.prompt_tokens};
    world_come(w, &a, &u);
}

struct truth {
    double shown, p50, p90, rel[4000];
    uint32_t rels;
};

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

static struct truth judge(const struct world *w, uint64_t from_ns, uint64_t to_ns)
{
    static struct truth t;
    t = (struct truth){0};
    for (uint32_t i = 0; i < w->guests; i++) {
        const struct world_guest *g = &w->guest[i];
        if (!g->started_ns || !g->first_position || g->first_p50_ms < 0) continue;
        if (g->came_ns < from_ns || g->came_ns >= to_ns) continue;
        double wait_ms = (double)(g->started_ns - g->came_ns) * 1e-6;
        t.shown++;
        t.p50 += wait_ms <= (double)g->first_p50_ms;
        t.p90 += wait_ms <= (double)g->first_p90_ms;
        if (g->first_position > 50 && t.rels < 4000)
            t.rel[t.rels++] = fabs(wait_ms - (double)g->first_p50_ms) / wait_ms;
    }
    qsort(t.rel, t.rels, sizeof *t.rel, by_value);
    printf("  %5.0f shown: p50 held %.3f, p90 held %.3f, median error beyond 50: %.3f of %u\n", t.shown,
           t.p50 / t.shown, t.p90 / t.shown, t.rels ? t.rel[t.rels / 2] : 0, t.rels);
    t.p50 /= t.shown;
    t.p90 /= t.shown;
    return t;
}

#define QUICK 8.0 /* everything happens so much faster: as many requests, and an eighth of the rounds */

/* 32 slots take about 0.9 a second, times QUICK. A slow wave of load between 0.6 and 1.3 of that. */
static void wave(struct world *w, double seconds, double level, double swing)
{
    uint64_t end_ns = w->now.mono_ns + (uint64_t)(seconds / QUICK * 1e9);
    while (w->now.mono_ns < end_ns) {
        double t_s = (double)w->now.mono_ns * 1e-9 * QUICK;
        double rate = 0.9 * QUICK * (level + swing * sin(t_s / 1500));
        double gap_s = -log(world_unit(w) + 1e-12) / fmax(rate, 0.05);
        world_until(w, w->now.mono_ns + (uint64_t)(gap_s * 1e9));
        arrive(w);
    }
}

/* Waits of a quarter of an hour while the load swings by two thirds within twice that: the worst case there
 * is, and worse than the day of which 88 to 92 and 45 to 55 % are asked (make prove-day). Over ten seeds p90
 * holds here for 86 % (84.4 to 88.6), p50 for 48 (45.6 to 49.9), and the median error beyond place 50 is 11
 * to 21 %; four seeds together are asserted, with two points of room. */
static void first_estimates_hold_as_often_as_they_say(void **state)
{
    double shown = 0, held50 = 0, held90 = 0, error = 0;
    const uint64_t first = 31, last = 34;
    (void)state;
    for (uint64_t seed = first; seed <= last; seed++) {
        struct ek_desk_options o = options(seed);
        struct world *w = world_new(&o, 32, seed);
        w->speed = QUICK;
        wave(w, 20000, 0.95, 0.35);
        struct truth t = judge(w, 0, UINT64_MAX);
        struct ek_desk_stats s;
        ek_desk_stats(w->desk, &s);
        double told = (double)(s.truth[0].within_p90 + s.truth[1].within_p90) /
                      (double)(s.truth[0].shown + s.truth[1].shown);
        printf("  by the desk's own count %.3f; raised %llu times\n", told,
               (unsigned long long)(s.truth[0].raised + s.truth[1].raised));
        assert_true(t.shown > 3000 && t.rels > 1000);
        shown += t.shown;
        held50 += t.p50 * t.shown;
        held90 += t.p90 * t.shown;
        error += t.rel[t.rels / 2] / (double)(last - first + 1);
        world_free(w);
    }
    printf("  together: p50 held %.3f, p90 held %.3f, error %.3f\n", held50 / shown, held90 / shown, error);
    assert_true(held90 / shown > 0.84 && held90 / shown < 0.93);
    assert_true(held50 / shown > 0.45 && held50 / shown < 0.55);
    assert_true(error <= 0.20);
}

/* Half of the engine goes away: those who come in the ten minutes after it are told. */
static void estimates_follow_an_engine_that_slows_down(void **state)
{
    (void)state;
    struct ek_desk_options o = options(41);
    struct world *w = world_new(&o, 32, 41);
    w->speed = QUICK;
    wave(w, 8000, 1.05, 0.1);
    uint64_t step_ns = w->now.mono_ns;
    w->speed = 0.5 * QUICK;
    wave(w, 3000, 0.6, 0);
    judge(w, 0, step_ns);
    struct truth t = judge(w, step_ns, step_ns + (uint64_t)(600 / QUICK * 1e9));
    judge(w, step_ns + (uint64_t)(600 / QUICK * 1e9), UINT64_MAX);
    assert_true(t.p90 > 0.5);
    world_free(w);
}

/* The smallest house there is: two at once, every answer of the same second, a line of at most eight whose
 * people come by chance. Whoever is k-th waits k half seconds. */
static void regular_service_is_told_as_it_is(void **state)
{
    double told = 0, waited = 0, held = 0, shown = 0;
    (void)state;
    for (uint64_t seed = 61; seed <= 68; seed++) {
        struct ek_desk_options o = options(seed);
        o.queue.waiting_max = 8;
        struct world *w = world_new(&o, 2, seed);
        struct ek_used second = {.prompt_tokens = 20, .output_tokens = (uint32_t)WORLD_OUTPUT_TPS};
        uint64_t end_ns = w->now.mono_ns + 35 * EK_S_NS;
        while (w->now.mono_ns < end_ns) {
            world_until(w, w->now.mono_ns + (uint64_t)(-log(world_unit(w) + 1e-12) / 2.2 * 1e9));
            struct ek_arrival a = {.account = 1, .user = 1 + w->guests % 5, .model = 7, .prompt_tokens = 20};
            world_come(w, &a, &second);
        }
        world_until(w, end_ns + 20 * EK_S_NS);
        for (uint32_t i = 0; i < w->guests; i++) {
            const struct world_guest *g = &w->guest[i];
            if (!g->started_ns || !g->first_position || g->first_p50_ms < 0) continue;
            double wait_s = (double)(g->started_ns - g->came_ns) * 1e-9;
            double p50_s = (double)g->first_p50_ms * 1e-3;
            told += p50_s;
            waited += wait_s;
            held += wait_s <= p50_s;
            shown++;
        }
        world_free(w);
    }
    printf("  %.0f shown: told %.2f s, waited %.2f s, p50 held %.3f\n", shown, told / shown, waited / shown,
           held / shown);
    assert_true(shown > 200);
    assert_true(fabs(told / waited - 1) < 0.08); /* in half a minute, the first answers included */
    assert_true(held / shown > 0.35 && held / shown < 0.65);
}

static void a_band_covers_whatever_the_distribution(void **state)
{
    (void)state;
    struct ek_random r = ek_random_make(51);
    static struct ek_conform c;
    double held50 = 0, held90 = 0, n = 0;
    for (int i = 0; i < 20000; i++) {
        double raw_s = 10, spread = 0.3;
        double wait_s = i < 10000 ? 5 * exp(ek_random_unit(&r) * 2) : 30 * ek_random_unit(&r);
        struct ek_band b = ek_conform_band(&c, raw_s, spread);
        assert_true(b.p50_s >= 0 && b.p90_s >= b.p50_s);
        ek_conform_add(&c, ek_conform_score(raw_s, spread, wait_s), wait_s <= b.p50_s,
                       wait_s <= b.p90_s, wait_s, (uint64_t)i * 10 * EK_S_NS);
        if (i < 200) continue;
        held50 += wait_s <= b.p50_s;
        held90 += wait_s <= b.p90_s;
        n++;
    }
    printf("held: %.3f and %.3f\n", held50 / n, held90 / n);
    assert_true(fabs(held50 / n - 0.5) < 0.02 && fabs(held90 / n - 0.9) < 0.01);
}

/* The line through them is found again, follows an engine that becomes slower, and one that hung is not the
 * rule. */
static void the_first_token_is_foreseen_from_the_prompt(void **state)
{
    (void)state;
    struct ek_random r = ek_random_make(53);
    struct ek_first f = {0};
    assert_true(ek_first_guess(&f, 100).known <= 0 && ek_first_guess(&f, 100).mean_s <= 0);
    ek_first_learn(&f, 100, 0.4);
    assert_true(fabs(ek_first_guess(&f, 100).mean_s - 0.4) < 1e-9 && ek_first_guess(&f, 5000).mean_s < 2.1);
    for (int slow = 1; slow <= 2; slow++) {
        for (int i = 0; i < 400; i++) {
            uint32_t prompt = (uint32_t)ek_random_below(&r, 4000);
            double took_s = slow * (0.2 + 0.001 * prompt + 0.2 * ek_random_unit(&r));
            ek_first_learn(&f, prompt, i == 200 ? 3600 : took_s);
        }
        struct ek_first_guess few = ek_first_guess(&f, 100), many = ek_first_guess(&f, 4000);
        assert_true(fabs(few.mean_s - slow * 0.4) < slow * 0.12);
        assert_true(fabs(many.mean_s - slow * 4.3) < slow * 0.4);
        assert_true(few.sd_s > slow * 0.03 && few.sd_s < slow * 0.4); /* 0.2 / sqrt 12 */
    }
    f = (struct ek_first){0};
    for (int i = 0; i < 400; i++) ek_first_learn(&f, 700, 0.5); /* all alike: a flat line, not a steep one */
    assert_true(fabs(ek_first_guess(&f, 0).mean_s - 0.5) < 0.01);
    assert_true(ek_first_guess(&f, 100).mean_s > 0.4 && ek_first_guess(&f, 1400).mean_s < 1.01);
}

static void answers_are_predicted_from_the_narrowest_group_that_knows(void **state)
{
    (void)state;
    struct ek_predict p;
    assert_true(ek_predict_init(&p, 4096));
    struct ek_predict_key brief = {.account = 1, .model = 7, .prompt_tokens = 100};
    struct ek_predict_key wordy = {.account = 2, .model = 7, .prompt_tokens = 100};
    assert_false(ek_predict_output(&p, &brief).known);
    struct ek_random r = ek_random_make(52);
    for (int i = 0; i < 300; i++) {
        ek_predict_learn(&p, &brief, 90 + (uint32_t)ek_random_below(&r, 20), 0);
        ek_predict_learn(&p, &wordy, 3900 + (uint32_t)ek_random_below(&r, 200), 3000);
    }
    struct ek_prediction a = ek_predict_output(&p, &brief), b = ek_predict_output(&p, &wordy);
    assert_true(a.known && fabs(a.mean - 100) < 10 && a.p50 > 70 && a.p50 < 140);
    assert_true(b.known && fabs(b.mean - 4000) < 100 && b.p50 > 2800 && b.p90 < 5800);
    struct ek_predict_key stranger = {.account = 3, .model = 7, .prompt_tokens = 100};
    struct ek_prediction c = ek_predict_output(&p, &stranger);
    assert_true(c.known && c.p50 >= a.p50 && c.p90 > 2800);
    struct ek_prediction t = ek_predict_thought(&p, &stranger);
    assert_true(t.known && fabs(t.mean - 3000) < 1);
    /* A crowd of strangers does not push out those who keep coming. */
    for (uint64_t i = 0; i < 3000; i++) {
        struct ek_predict_key k = {.account = 100 + i, .model = 7, .prompt_tokens = 100};
        ek_predict_learn(&p, &k, 500, 0);
        if (i % 10 == 0) ek_predict_learn(&p, &brief, 100, 0);
    }
    assert_true(fabs(ek_predict_output(&p, &brief).mean - 100) < 10);
    ek_predict_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regular_service_is_told_as_it_is),
        cmocka_unit_test(a_band_covers_whatever_the_distribution),
        cmocka_unit_test(the_first_token_is_foreseen_from_the_prompt),
        cmocka_unit_test(answers_are_predicted_from_the_narrowest_group_that_knows),
        cmocka_unit_test(first_estimates_hold_as_often_as_they_say),
        cmocka_unit_test(estimates_follow_an_engine_that_slows_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
