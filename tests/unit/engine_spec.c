/* SPDX-License-Identifier: MIT */
/* Guesses are what followed before; they are computed when that pays and not when it does not: on virtual
 * time, over machines and texts of every kind, speculating never takes noticeably longer than not. */
#include "cm.h"

#include "base/random.h"
#include "engine/spec.h"

#include <stdio.h>
#include <stdlib.h>

static void guesses_what_followed_before(void **state)
{
    (void)state;
    uint32_t draft[EK_SPEC_DRAFT_MAX];
    const uint32_t text[] = {1, 2, 3, 4, 5, 6, 9, 2, 3, 7, 8, 0, 2, 3};
    assert_int_equal(ek_spec_lookup(text, 14, 4, draft), 4); /* the newest of the two */
    assert_memory_equal(draft, ((const uint32_t[]){7, 8, 0, 2}), 16);
    const uint32_t longer[] = {5, 2, 3, 4, 9, 1, 2, 3, 8, 5, 2, 3};
    assert_int_equal(ek_spec_lookup(longer, 12, 3, draft), 3); /* the longest, though it is older */
    assert_memory_equal(draft, ((const uint32_t[]){4, 9, 1}), 12);
    const uint32_t loop[] = {7, 1, 2, 1, 2, 1, 2};
    assert_int_equal(ek_spec_lookup(loop, 7, 5, draft), 5);
    assert_memory_equal(draft, ((const uint32_t[]){1, 2, 1, 2, 1}), 20);
    const uint32_t fresh[] = {1, 2, 3, 4, 5, 6};
    for (uint32_t n = 0; n <= 6; n++) assert_int_equal(ek_spec_lookup(fresh, n, 4, draft), 0);
    assert_int_equal(ek_spec_lookup(loop, 7, 0, draft), 0);
}

/* Against looking at every place by hand. */
static void the_guess_is_the_newest_of_the_longest(void **state)
{
    (void)state;
    struct ek_random r = ek_random_make(5);
    for (int round = 0; round < 3000; round++) {
        uint32_t ids[40], draft[EK_SPEC_DRAFT_MAX], n = (uint32_t)ek_random_below(&r, 40), best = 0, end = 0;
        for (uint32_t i = 0; i < n; i++) ids[i] = (uint32_t)ek_random_below(&r, 3);
        for (uint32_t length = 4; length >= 2 && best == 0; length--) {
            for (uint32_t e = n; e-- > length && best == 0;) {
                uint32_t same = 0;
                while (same < length && ids[e - 1 - same] == ids[n - 1 - same]) same++;
                if (same == length) {
                    best = length;
                    end = e;
                }
            }
        }
        uint32_t count = ek_spec_lookup(ids, n, 1, draft);
        assert_int_equal(count, best > 0);
        if (count) assert_int_equal(draft[0], ids[end]);
    }
}

static void is_switched_off_where_rows_cost(void **state)
{
    (void)state;
    struct ek_spec s = {0};
    struct ek_spec_seq seqs[2] = {{4, 0.9}, {7, 0.5}};
    uint32_t grant[2];
    assert_int_equal(ek_spec_plan(&s, seqs, 2, 2, 20, grant), 0); /* nothing is known yet */
    ek_spec_note_step(&s, 2, 0.1);
    assert_true(ek_spec_plan(&s, seqs, 2, 2, 20, grant) > 0); /* hoping */
    for (uint32_t rows = 3; rows <= 13; rows++) ek_spec_note_step(&s, rows, 0.1 + 0.0001 * rows);
    assert_true(ek_spec_plan(&s, seqs, 2, 2, 20, grant) >= 6); /* rows are nearly free */
    assert_int_equal(grant[0], 4);
    assert_int_equal(ek_spec_plan(&s, seqs, 2, 2, 3, grant), 3);
    for (int i = 0; i < 100; i++) /* a row takes as long as ever */
        for (uint32_t rows = 3; rows <= 13; rows++) ek_spec_note_step(&s, rows, 0.05 * rows);
    assert_int_equal(ek_spec_plan(&s, seqs, 2, 2, 20, grant), 0);
    assert_int_equal(grant[0] + grant[1], 0);
    struct ek_spec_record record = {0};
    for (int i = 0; i < 50; i++) ek_spec_note(&record, false);
    assert_true(ek_spec_chance(&record) < 0.05);
    for (int i = 0; i < 50; i++) ek_spec_note(&record, true);
    assert_true(ek_spec_chance(&record) > 0.95);
}

/* A machine whose step takes base + row * rows (and some noise), texts whose guesses hold with a chance:
 * seconds for `wanted` tokens of `batch` sequences. */
static double seconds(double base, double row, double chance, uint32_t batch, bool speculate, double *part)
{
    enum { WANTED = 4000 };
    struct ek_random r = ek_random_make(77);
    struct ek_spec s = {0};
    struct ek_spec_record record[8] = {{0, 0}};
    uint64_t tokens = 0, guessed = 0;
    double now = 0;
    while (tokens < (uint64_t)WANTED * batch) {
        struct ek_spec_seq seqs[8];
        uint32_t grant[8], extra = 0;
        for (uint32_t i = 0; i < batch; i++)
            seqs[i] = (struct ek_spec_seq){EK_SPEC_DRAFT_MAX, ek_spec_chance(&record[i])};
        if (speculate) extra = ek_spec_plan(&s, seqs, batch, batch, EK_SPEC_ROWS_MAX, grant);
        double took = (base + row * (batch + extra)) * (0.9 + 0.2 * ek_random_unit(&r));
        now += took;
        ek_spec_note_step(&s, batch + extra, took);
        guessed += extra;
        for (uint32_t i = 0; i < batch; i++) {
            uint32_t given = extra ? grant[i] : 0, at = 0;
            for (bool holds = true; holds && at <= given; at++) {
                holds = ek_random_unit(&r) < chance; /* known of the first one though it was not computed */
                ek_spec_note(&record[i], holds);
                tokens++;
            }
        }
    }
    *part = (double)guessed / (double)tokens;
    return now;
}

static void never_takes_noticeably_longer_than_not_guessing(void **state)
{
    (void)state;
    static const double bases[] = {0, 0.001, 0.02, 0.1}, rows[] = {0.0002, 0.005, 0.02};
    double worst = 0, best = 1e9, part;
    for (size_t b = 0; b < 4; b++) {
        for (size_t w = 0; w < 3; w++) {
            for (int chance = 0; chance <= 10; chance++) {
                for (uint32_t batch = 1; batch <= 8; batch *= 2) {
                    double plain = seconds(bases[b], rows[w], chance * 0.1, batch, false, &part);
                    double with = seconds(bases[b], rows[w], chance * 0.1, batch, true, &part);
                    if (with / plain > worst) worst = with / plain;
                    if (with / plain < best) best = with / plain;
                }
            }
        }
    }
    print_message("guessing takes %.2f to %.2f times as long as not\n", best, worst);
    assert_true(worst < 1.05);
    assert_true(best < 0.3);
}

/* The same with a block that looks ahead, a look at n rows taking look * (1 + n / 4): at the end of each step
 * those are chosen that the next one may compute a guess for. The texts have nothing to look up. */
static double seconds_looking(double base, double row, double look, double chance, uint32_t batch,
                              double *looks)
{
    enum { WANTED = 4000 };
    struct ek_random r = ek_random_make(78);
    struct ek_spec s = {0};
    struct ek_spec_record record[8];
    uint64_t tokens = 0, looked = 0;
    bool want[8] = {false};
    double now = 0;
    for (uint32_t i = 0; i < 8; i++) record[i] = (struct ek_spec_record){.held = 0.8f, .tried = 1};
    while (tokens < (uint64_t)WANTED * batch) {
        struct ek_spec_seq seqs[8];
        uint32_t grant[8];
        double chances[8];
        for (uint32_t i = 0; i < batch; i++)
            seqs[i] = (struct ek_spec_seq){want[i], ek_spec_chance(&record[i])};
        uint32_t extra = ek_spec_plan(&s, seqs, batch, batch, EK_SPEC_ROWS_MAX, grant);
        double took = (base + row * (batch + extra)) * (0.9 + 0.2 * ek_random_unit(&r));
        now += took;
        ek_spec_note_step(&s, batch + extra, took);
        for (uint32_t i = 0; i < batch; i++) {
            bool holds = ek_random_unit(&r) < chance;
            if (want[i]) ek_spec_note(&record[i], holds);
            tokens += grant[i] > 0 && holds ? 2 : 1;
            chances[i] = ek_spec_chance(&record[i]);
        }
        uint32_t n = ek_spec_plan_look(&s, chances, batch, batch, EK_SPEC_ROWS_MAX, want);
        if (n == 0) continue;
        took = look * (1 + n * 0.25) * (0.9 + 0.2 * ek_random_unit(&r));
        now += took;
        ek_spec_note_look(&s, n, took);
        looked += n;
    }
    *looks = (double)looked / (double)tokens;
    return now;
}

static void looks_only_where_that_pays(void **state)
{
    (void)state;
    static const double bases[] = {0.001, 0.02, 0.1}, rows[] = {0.0002, 0.005, 0.02};
    static const double looks[] = {0.05, 0.2, 1}; /* parts of a step */
    double worst = 0, best = 1e9, part, never = 0;
    for (size_t b = 0; b < 3; b++) {
        for (size_t w = 0; w < 3; w++) {
            for (size_t l = 0; l < 3; l++) {
                for (int chance = 0; chance <= 10; chance += 2) {
                    for (uint32_t batch = 1; batch <= 8; batch *= 2) {
                        double plain = seconds(bases[b], rows[w], 0, batch, false, &part);
                        double look = looks[l] * (bases[b] + rows[w]);
                        double with = seconds_looking(bases[b], rows[w], look, chance * 0.1, batch, &part);
                        if (with / plain > worst) worst = with / plain;
                        if (with / plain < best) best = with / plain;
                        if (chance == 0 && part > never) never = part;
                    }
                }
            }
        }
    }
    print_message("looking ahead takes %.2f to %.2f times as long as not; with guesses that never hold %.3f "
                  "looks a token\n", best, worst, never);
    assert_true(worst < 1.05);
    assert_true(best < 0.6);
    assert_true(never < 0.03);
}

static void a_draft_is_weighed_against_a_look(void **state)
{
    (void)state;
    struct ek_spec s = {0};
    for (uint32_t rows = 1; rows <= 8; rows++) ek_spec_note_step(&s, rows, 0.1 + 0.01 * rows);
    ek_spec_note_look(&s, 1, 0.01);
    assert_true(ek_spec_look_is_better(&s, 1, 0.8, 0.9, 0)); /* there is no draft */
    assert_true(ek_spec_look_is_better(&s, 1, 0.9, 0.3, 4));
    assert_false(ek_spec_look_is_better(&s, 1, 0.9, 0.9, 4)); /* four are more than one */
    assert_true(ek_spec_look_is_better(&s, 1, 0.9, 0.6, 1));
    for (int i = 0; i < 100; i++) ek_spec_note_look(&s, 1, 0.2); /* looking has become dear */
    assert_false(ek_spec_look_is_better(&s, 1, 0.9, 0.6, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guesses_what_followed_before),
        cmocka_unit_test(the_guess_is_the_newest_of_the_longest),
        cmocka_unit_test(is_switched_off_where_rows_cost),
        cmocka_unit_test(never_takes_noticeably_longer_than_not_guessing),
        cmocka_unit_test(looks_only_where_that_pays),
        cmocka_unit_test(a_draft_is_weighed_against_a_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
