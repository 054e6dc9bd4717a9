/* SPDX-License-Identifier: MIT */
/* The plan of a step: who computes how many rows; and the team of threads it stands on. */
#include "cm.h"

#include "engine/step.h"
#include "engine/team.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static void decode_goes_first(void **state)
{
    (void)state;
    struct ek_step_seq seqs[] = {
        {.left = 900, .boundary = 900, .arrival = 1}, {.left = 1, .arrival = 2},
        {.left = 50, .boundary = 50, .arrival = 0},   {.left = 1, .arrival = 3},
        {.left = 0, .arrival = 4},
    };
    uint32_t grant[5];
    assert_int_equal(ek_step_plan(seqs, 5, 100, grant), 100);
    static const uint32_t want[] = {48, 1, 50, 1, 0};
    assert_memory_equal(grant, want, sizeof want);
    assert_int_equal(ek_step_plan(seqs, 5, 10, grant), 10);
    static const uint32_t tight[] = {0, 1, 8, 1, 0};
    assert_memory_equal(grant, tight, sizeof tight);
}

static void a_chunk_never_crosses_the_end_of_the_prompt(void **state)
{
    (void)state;
    struct ek_step_seq seq = {.left = 30, .boundary = 10, .arrival = 1};
    uint32_t grant;
    ek_step_plan(&seq, 1, 100, &grant);
    assert_int_equal(grant, 10);
    seq = (struct ek_step_seq){.left = 20, .boundary = 0, .arrival = 1};
    ek_step_plan(&seq, 1, 100, &grant);
    assert_int_equal(grant, 20);
    seq = (struct ek_step_seq){0};
    assert_int_equal(ek_step_plan(&seq, 1, 100, &grant), 0);
}

static void prompts_lengthen_a_step_by_less_than_once_over(void **state)
{
    (void)state;
    for (double step_s = 1e-4; step_s < 2; step_s *= 1.7) {
        for (double row_s = 1e-5; row_s < 0.1; row_s *= 1.7) {
            uint32_t rows = ek_step_chunk_rows(step_s, row_s, 4000);
            assert_in_range(rows, 4, 4000);
            if (rows > 4) assert_true(rows * row_s < step_s);
            if (rows > 4 && rows < 4000) assert_true((rows + 1) * row_s > 0.5 * step_s);
        }
    }
    assert_int_equal(ek_step_chunk_rows(1, 1e-9, 100), 100);
    assert_int_equal(ek_step_chunk_rows(1e-9, 1, 100), 4); /* a first token comes, however slow */
    assert_in_range(ek_step_chunk_rows(0, 0, 100), 4, 64);
    assert_int_equal(ek_step_chunk_rows(0, 0, 2), 2);
}

/* Random load: the budget is kept and used, every generating sequence moves in every step, and all
 * work ends. */
static void every_sequence_gets_done(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed < 200; seed++) {
        struct ek_step_seq seqs[64] = {0};
        uint32_t grant[64], budget = 64 + seed % 7 * 50, steps = 0;
        srand(seed);
        for (size_t i = 0; i < 64; i++) {
            seqs[i].boundary = (uint32_t)(rand() % 500);
            seqs[i].left = seqs[i].boundary + (uint32_t)(rand() % 40);
            seqs[i].arrival = (uint64_t)(63 - i);
        }
        for (;; steps++) {
            uint64_t left = 0;
            uint32_t sum = 0;
            for (size_t i = 0; i < 64; i++) left += seqs[i].left;
            uint32_t total = ek_step_plan(seqs, 64, budget, grant);
            if (left == 0) break;
            assert_true(total > 0 && total <= budget);
            for (size_t i = 0; i < 64; i++) {
                sum += grant[i];
                assert_true(grant[i] <= (seqs[i].boundary ? seqs[i].boundary : seqs[i].left));
                if (seqs[i].left == 1 && seqs[i].boundary == 0) assert_int_equal(grant[i], 1);
                seqs[i].left -= grant[i];
                seqs[i].boundary -= seqs[i].boundary ? grant[i] : 0;
            }
            assert_int_equal(sum, total);
        }
        assert_true(steps < 1000);
    }
}

struct tally {
    atomic_uint chunks[300];
    atomic_uint parts;
};

static void tally_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct tally *t = arg;
    size_t from, to;
    MUST(member < 3);
    ek_team_part(1000, 7, chunk, chunks, &from, &to);
    atomic_fetch_add(&t->chunks[chunk], 1);
    atomic_fetch_add(&t->parts, (unsigned)(to - from));
}

static void a_team_runs_each_chunk_once(void **state)
{
    (void)state;
    struct ek_team *team = ek_team_new(3);
    for (unsigned round = 0; round < 3000; round++) {
        struct tally t = {0};
        unsigned chunks = round % 290 + 1;
        ek_team_run(team, tally_chunk, &t, chunks);
        for (unsigned i = 0; i < 300; i++) assert_int_equal(atomic_load(&t.chunks[i]), i < chunks);
        assert_int_equal(atomic_load(&t.parts), 1000);
    }
    ek_team_free(&team);
    assert_null(team);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_goes_first),
        cmocka_unit_test(prompts_lengthen_a_step_by_less_than_once_over),
        cmocka_unit_test(a_chunk_never_crosses_the_end_of_the_prompt),
        cmocka_unit_test(every_sequence_gets_done),
        cmocka_unit_test(a_team_runs_each_chunk_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
