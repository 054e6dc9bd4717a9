/* SPDX-License-Identifier: MIT */
/* Jobs handed in together: they share the work of their prompt and nothing else. */
#include "engine_bench.h"

/* Jobs of one prompt, handed in together: the first computes it, the others find all its whole pages, also
 * where there is one slot only; each says what it says alone. When the first is cancelled, and in whatever
 * state, the others go on. */
static void a_group_shares_its_prompt(void **state)
{
    (void)state;
    enum { N = EK_ENGINE_GROUP_MAX };
    static struct answer alone[N], together[N];
    struct ek_engine_job jobs[N];
    uint64_t ids[N];
    char why[256];
    for (size_t i = 0; i < N; i++) {
        jobs[i] = job_of(5); /* 186 tokens */
        jobs[i].sampling.seed = 77 + i;
    }
    for (uint32_t slots = 1; slots <= 4; slots += 3) {
        for (int cut = -1; cut < 2; cut++) { /* 0: the leader goes before its prompt is done; 1: behind it */
            struct bench b;
            struct ek_engine_options o = options_of(slots, 16, 2);
            o.waiting_max = 1; /* a group counts once */
            if (slots == 1 && cut < 0) { /* among nobody's pages */
                bench_open(&b, options_of(1, 64, 1));
                for (size_t i = 0; i < N; i++) jobs[i].cache_salt = 1 + i;
                run(&b, jobs, alone, N);
                for (size_t i = 0; i < N; i++) assert_int_equal(alone[i].cached, 0);
                for (size_t i = 0; i < N; i++) jobs[i].cache_salt = 0;
                ek_engine_close(&b.engine);
            }
            bench_open(&b, o);
            memset(together, 0, sizeof together);
            for (size_t i = 0; i < N; i++) jobs[i].user = &together[i];
            assert_int_equal(ek_engine_submit_group(b.engine, jobs, N, ids, why, sizeof why), EK_OK);
            if (cut == 0) ek_engine_cancel(b.engine, ids[0]);
            for (size_t left = N; left > 0;) {
                struct ek_engine_event event = next_event(&b);
                struct answer *a = event.user;
                assert_int_equal(event.job, ids[a - together]);
                note(a, &event, 0);
                if (event.finish != EK_JOB_GOES_ON) left--;
                if (cut == 1 && a == together && a->n == 3) ek_engine_cancel(b.engine, ids[0]);
            }
            for (size_t i = 0; i < N; i++) {
                if (i == 0 && together[i].finish == EK_JOB_CANCELLED) continue;
                assert_same(&alone[i], &together[i]);
                if (i > 0 && cut != 0) assert_int_equal(together[i].cached, 128);
            }
            assert_true(cut >= 0 || together[0].finish != EK_JOB_CANCELLED);
            struct ek_engine_load load;
            ek_engine_load(b.engine, &load);
            assert_int_equal(load.kv_free_tokens, load.kv_total_tokens);
            assert_int_equal(load.jobs_done, N);
            ek_engine_close(&b.engine);
        }
    }
}

/* All or none; and closing with groups that run and wait. */
static void a_group_is_one_request(void **state)
{
    (void)state;
    struct bench b;
    struct ek_engine_options o = options_of(1, 64, 1);
    o.waiting_max = 1;
    bench_open(&b, o);
    struct ek_engine_job jobs[3] = {job_of(5), job_of(5), job_of(5)};
    uint64_t ids[3];
    char why[256];
    for (int i = 0; i < 3; i++) jobs[i].max_tokens = 300;
    jobs[2].top_logprobs = 99;
    assert_int_equal(ek_engine_submit_group(b.engine, jobs, 3, ids, why, sizeof why), EK_INVALID);
    jobs[2].top_logprobs = 0;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ek_engine_submit_group(b.engine, jobs, 3, ids, why, sizeof why), EK_OK);
    }
    assert_int_equal(ek_engine_submit_group(b.engine, jobs, 2, ids, why, sizeof why), EK_FULL);
    assert_int_equal(ek_engine_submit(b.engine, jobs, ids, why, sizeof why), EK_FULL);
    struct ek_engine_load load;
    ek_engine_load(b.engine, &load);
    assert_int_equal(load.running + load.waiting, 6);
    ek_engine_close(&b.engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_shares_its_prompt), cmocka_unit_test(a_group_is_one_request),
    };
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
