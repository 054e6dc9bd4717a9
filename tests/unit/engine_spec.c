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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guesses_what_followed_before),
        cmocka_unit_test(the_guess_is_the_newest_of_the_longest),
        cmocka_unit_test(is_switched_off_where_rows_cost),
        cmocka_unit_test(never_takes_noticeably_longer_than_not_guessing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
