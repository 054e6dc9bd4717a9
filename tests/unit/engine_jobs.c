/* SPDX-License-Identifier: MIT */
/* The engine as a whole on a small random model: the same job gives the same tokens and logprobs
 * alone, among 64, at any step size and after resuming; cancelling; thinking budgets; refusals. */
#include "engine_bench.h"

#include "engine/gguf.h"

#include <sched.h>

/* Many at once; threads can get into each other's way among fewer, and TSan makes arithmetic very slow. */
#ifdef __SANITIZE_THREAD__
#define CROWD 8
#define CUT_STRIDE 25
#define PUSHERS 8
#define SHARERS 8
#define SHARED_TOKENS 512
#define PUSHED_MIN 1
#else
#define CROWD 64
#define CUT_STRIDE 10
#define PUSHERS 16
#define SHARERS 32
#define SHARED_TOKENS 1024
#define PUSHED_MIN 8
#endif

static void same_tokens_alone_and_in_a_crowd(void **state)
{
    (void)state;
    static struct answer alone[CROWD], together[CROWD];
    static const struct { uint32_t slots, step, threads; } ways[] = {
        {64, 512, 2}, {64, 64, 1}, {7, 7, 3}, {5, 64, 2},
    };
    struct ek_engine_job jobs[CROWD];
    struct bench b;
    for (size_t i = 0; i < CROWD; i++) jobs[i] = job_of(i);
    bench_open(&b, options_of(1, 512, 1));
    for (size_t i = 0; i < CROWD; i++) run(&b, &jobs[i], &alone[i], 1);
    ek_engine_close(&b.engine);
    for (size_t w = 0; w < EK_COUNT(ways); w++) {
        bench_open(&b, options_of(ways[w].slots, ways[w].step, ways[w].threads));
        run(&b, jobs, together, CROWD);
        for (size_t i = 0; i < CROWD; i++) assert_same(&alone[i], &together[i]);
        ek_engine_close(&b.engine);
    }
    bench_open(&b, options_of(1, 1, 1)); /* prompts token by token */
    for (size_t i = 0; i < 4; i++) {
        run(&b, &jobs[i], &together[i], 1);
        assert_same(&alone[i], &together[i]);
    }
    ek_engine_close(&b.engine);
}

static void resumes_from_any_prefix(void **state)
{
    (void)state;
    static struct answer whole, rest;
    struct bench b;
    bench_open(&b, options_of(4, 16, 2));
    for (size_t i = 2; i < 6; i++) { /* greedy, top_p, greedy, penalties */
        struct ek_engine_job job = job_of(i);
        run(&b, &job, &whole, 1);
        for (uint32_t cut = 1; cut < whole.n; cut += CUT_STRIDE) {
            job.cache_salt = cut % 2 ? cut : 0; /* all computed again, or whole pages found */
            job.prefix_ids = whole.ids;
            job.prefix_tokens = cut;
            run(&b, &job, &rest, 1);
            assert_int_equal(rest.n, whole.n - cut);
            assert_memory_equal(rest.ids, whole.ids + cut, rest.n * sizeof *rest.ids);
            assert_memory_equal(rest.logprobs, whole.logprobs + cut, rest.n * sizeof *rest.logprobs);
        }
    }
    ek_engine_close(&b.engine);
}

/* Bits cannot tell whether a prefix was found or computed: in one's own earlier run or a neighbour's, among
 * many that push each other out, and in a second turn. */
static void same_tokens_from_a_cached_prefix(void **state)
{
    (void)state;
    static struct answer fresh[SHARERS], again[SHARERS];
    struct ek_engine_job jobs[SHARERS];
    struct bench b;
    uint32_t found = 0, pages = 0;
    for (size_t i = 0; i < SHARERS; i++) jobs[i] = job_of(i);
    for (size_t i = SHARERS / 2; i < SHARERS; i++) { /* long beginnings in common */
        jobs[i].prompt_tokens = 130 + (uint32_t)i;
        memcpy(prompts[i], prompts[i % 2], 128 * sizeof prompts[i][0]);
    }
    struct ek_engine_options large = options_of(8, 96, 2), small = large;
    large.kv_tokens = 64 * 512;
    small.kv_tokens = SHARED_TOKENS; /* not all at once, and none for long */
    bench_open(&b, large);
    for (size_t i = 0; i < SHARERS; i++) jobs[i].cache_salt = 1 + i;
    run(&b, jobs, fresh, SHARERS);
    for (size_t i = 0; i < SHARERS; i++) assert_int_equal(fresh[i].cached, 0);
    for (int round = 0; round < 2; round++) { /* each its own; then those in common */
        if (round == 1)
            for (size_t i = 0; i < SHARERS; i++) jobs[i].cache_salt = 0;
        run(&b, jobs, again, SHARERS);
        for (size_t i = 0; i < SHARERS; i++) {
            assert_same(&fresh[i], &again[i]);
            assert_in_range(again[i].cached, 0, jobs[i].prompt_tokens - 1);
            found += again[i].cached / 64;
            pages += (jobs[i].prompt_tokens - 1) / 64;
        }
    }
    ek_engine_close(&b.engine);
    print_message("%u of %u pages found\n", found, pages);
    assert_true(found >= pages / 2); /* the first round finds all its own; the second, what is in time */
    bench_open(&b, small);
    for (int round = 0; round < 3; round++) {
        run(&b, jobs, again, SHARERS);
        for (size_t i = 0; i < SHARERS; i++) assert_same(&fresh[i], &again[i]);
    }
    struct ek_engine_load load;
    ek_engine_load(b.engine, &load);
    assert_true(load.cached_tokens > 0 && load.cache_evicted_tokens > 0);
    ek_engine_close(&b.engine);
}

/* More jobs than pages: they push each other out again and again, and nobody can tell from his answer. */
static void same_tokens_when_others_need_the_room(void **state)
{
    (void)state;
    static struct answer alone[PUSHERS], crowded[PUSHERS];
    struct ek_engine_job jobs[PUSHERS];
    struct ek_engine_load load;
    struct bench b;
    for (size_t i = 0; i < EK_COUNT(jobs); i++) {
        jobs[i] = job_of(i);
        jobs[i].max_tokens = 90 + (uint32_t)(i * 9);
        jobs[i].cache_salt = i % 3; /* what is pushed out may be found again, or be gone */
    }
    struct ek_engine_options o = options_of(8, 64, 2);
    bench_open(&b, o);
    for (size_t i = 0; i < EK_COUNT(jobs); i++) run(&b, &jobs[i], &alone[i], 1);
    ek_engine_close(&b.engine);
    o.kv_tokens = 512;
    bench_open(&b, o);
    for (uint32_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < EK_COUNT(jobs); i++) jobs[i].priority = round * (uint32_t)i % 4;
        run(&b, jobs, crowded, EK_COUNT(jobs));
        for (size_t i = 0; i < EK_COUNT(jobs); i++) assert_same(&alone[i], &crowded[i]);
    }
    ek_engine_load(b.engine, &load);
    print_message("%llu preempted, %llu tokens found again\n", (unsigned long long)load.jobs_preempted,
                  (unsigned long long)load.cached_tokens);
    assert_true(load.jobs_preempted >= PUSHED_MIN);
    assert_int_equal(load.kv_free_tokens, 512);
    ek_engine_close(&b.engine);
}

/* One runs; of those behind it the urgent one is next, though it came last. */
static void the_urgent_go_first(void **state)
{
    (void)state;
    static struct answer answers[3];
    struct ek_engine_job jobs[3];
    struct bench b;
    bench_open(&b, options_of(1, 64, 1));
    char why[256] = "";
    for (size_t i = 0; i < 3; i++) {
        jobs[i] = job_of(i);
        jobs[i].user = &answers[i];
        jobs[i].priority = i == 2 ? 7 : 0;
        if (i == 0) jobs[i].max_tokens = 200;
    }
    memset(answers, 0, sizeof answers);
    assert_int_equal(ek_engine_submit(b.engine, &jobs[0], &answers[0].job, why, sizeof why), EK_OK);
    struct ek_engine_event first = next_event(&b); /* it runs */
    note(&answers[0], &first, 0);
    for (size_t i = 1; i < 3; i++)
        assert_int_equal(ek_engine_submit(b.engine, &jobs[i], &answers[i].job, why, sizeof why), EK_OK);
    while (answers[2].finish == EK_JOB_GOES_ON) {
        struct ek_engine_event event = next_event(&b);
        note(event.user, &event, 0);
        if (event.user == &answers[1]) fail_msg("the one without hurry went first");
    }
    while (answers[1].finish == EK_JOB_GOES_ON) {
        struct ek_engine_event event = next_event(&b);
        note(event.user, &event, 0);
    }
    ek_engine_close(&b.engine);
}

static void cancelling_ends_within_a_step(void **state)
{
    (void)state;
    struct bench b;
    struct ek_engine_job job = job_of(0);
    struct ek_engine_load before, after;
    char why[256];
    uint64_t id, queued;
    bench_open(&b, options_of(1, 64, 1));
    job.max_tokens = 400;
    assert_int_equal(ek_engine_submit(b.engine, &job, &id, why, sizeof why), EK_OK);
    assert_int_equal(ek_engine_submit(b.engine, &job, &queued, why, sizeof why), EK_OK);
    for (int i = 0; i < 5; i++) assert_true(next_event(&b).has_token);
    ek_engine_cancel(b.engine, queued); /* never ran */
    ek_engine_cancel(b.engine, id);
    ek_engine_load(b.engine, &before);
    struct ek_engine_event event;
    unsigned ended = 0;
    while (ended < 2) {
        event = next_event(&b);
        if (event.has_token) continue; /* computed before the cancellation was seen */
        assert_int_equal(event.finish, EK_JOB_CANCELLED);
        assert_true(event.job == id || event.job == queued);
        ended++;
    }
    ek_engine_load(b.engine, &after);
    assert_in_range(after.steps, before.steps, before.steps + 1);
    assert_int_equal(after.jobs_cancelled, 2);
    ek_engine_cancel(b.engine, id);    /* finished: ignored */
    ek_engine_cancel(b.engine, 99999); /* unknown: ignored */
    struct answer a;
    struct ek_engine_job small = job_of(1);
    run(&b, &small, &a, 1); /* and the engine goes on */
    assert_int_equal(a.finish, EK_JOB_LENGTH);
    ek_engine_load(b.engine, &after);
    assert_int_equal(after.kv_free_tokens, after.kv_total_tokens);
    ek_engine_close(&b.engine);
}

static void keeps_the_thinking_budget(void **state)
{
    (void)state;
    static struct answer a, rest;
    struct bench b;
    bench_open(&b, options_of(2, 64, 1));
    struct ek_engine_job job = job_of(1);
    job.max_tokens = 40;
    job.thinking = (struct ek_job_thinking){
        .open_at_start = true, .open_id = EK_NO_TOKEN, .end_id = 150, .budget = 7,
        .close_ids = {10, 150}, .close_count = 2,
    };
    run(&b, &job, &a, 1);
    assert_int_equal(a.n, 40);
    assert_int_equal(a.ids[7], 10);
    assert_int_equal(a.ids[8], 150);
    assert_int_equal(a.forced, 2);
    assert_int_equal(a.thought, 9); /* seven, and the two that closed it */
    for (uint32_t cut = 6; cut < 11; cut++) { /* resumed around the forced tokens */
        job.prefix_ids = a.ids;
        job.prefix_tokens = cut;
        run(&b, &job, &rest, 1);
        assert_memory_equal(rest.ids, a.ids + cut, rest.n * sizeof *rest.ids);
    }
    job.prefix_tokens = 0;
    job.thinking.budget = 0;
    run(&b, &job, &a, 1);
    assert_int_equal(a.ids[0], 10);
    assert_int_equal(a.ids[1], 150);
    ek_engine_close(&b.engine);
}

static void stops_where_it_is_told(void **state)
{
    (void)state;
    static struct answer whole, cut;
    struct bench b;
    bench_open(&b, options_of(1, 64, 1));
    struct ek_engine_job job = job_of(3);
    run(&b, &job, &whole, 1);
    uint32_t first = 0; /* where the stop token appears first */
    while (whole.ids[first] != whole.ids[9]) first++;
    job.stop_ids[0] = whole.ids[9];
    job.stop_count = 1;
    run(&b, &job, &cut, 1);
    assert_int_equal(cut.finish, EK_JOB_STOP);
    assert_int_equal(cut.stop_id, whole.ids[9]);
    assert_int_equal(cut.n, first);
    job.ignore_stop_ids = true;
    run(&b, &job, &cut, 1);
    assert_same(&cut, &whole);
    ek_engine_close(&b.engine);
}

static void refuse(struct bench *b, const struct ek_engine_job *job, const char *part)
{
    char why[256] = "";
    uint64_t id;
    assert_int_equal(ek_engine_submit(b->engine, job, &id, why, sizeof why), EK_INVALID);
    if (!strstr(why, part)) fail_msg("'%s' does not mention '%s'", why, part);
}

static void refuses_what_cannot_be(void **state)
{
    (void)state;
    struct bench b;
    static uint32_t long_prompt[512], odd[1] = {200};
    struct ek_engine_options o = options_of(1, 64, 1);
    o.waiting_max = 2;
    bench_open(&b, o);
    struct ek_engine_job job = job_of(4);
    job.prompt_tokens = 0;
    refuse(&b, &job, "empty");
    job = job_of(4);
    job.prompt_ids = odd;
    job.prompt_tokens = 1;
    refuse(&b, &job, "vocabulary");
    job = job_of(4);
    job.prompt_ids = long_prompt;
    job.prompt_tokens = 512;
    refuse(&b, &job, "512");
    job = job_of(4);
    job.sampling.temperature = -1;
    refuse(&b, &job, "temperature");
    job = job_of(4);
    job.max_tokens = 0;
    refuse(&b, &job, "max_tokens");
    job = job_of(4);
    job.thinking.end_id = 3;
    job.thinking.budget = 5;
    refuse(&b, &job, "budget");
    job = job_of(4);
    job.prompt_ids = long_prompt;
    job.prompt_tokens = 500;
    job.max_tokens = 100; /* cut at the context length */
    struct answer a;
    run(&b, &job, &a, 1);
    assert_int_equal(a.n, 12);
    assert_int_equal(a.finish, EK_JOB_LENGTH);
    ek_engine_close(&b.engine);
}

static void queue_is_bounded(void **state)
{
    (void)state;
    struct bench b;
    struct ek_engine_options o = options_of(1, 64, 1);
    o.waiting_max = 2;
    bench_open(&b, o);
    struct ek_engine_job job = job_of(0);
    uint64_t id[4];
    char why[256];
    job.max_tokens = 400;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ek_engine_submit(b.engine, &job, &id[i], why, sizeof why), EK_OK);
    }
    assert_int_equal(ek_engine_submit(b.engine, &job, &id[3], why, sizeof why), EK_FULL);
    assert_non_null(strstr(why, "wait"));
    ek_engine_close(&b.engine); /* with jobs running and waiting */
}

/* Nobody takes events: the step thread waits when the ring is full, and nothing is lost. */
static void a_full_ring_holds_the_steps_up(void **state)
{
    (void)state;
    enum { EACH = 70 };
    static struct answer answers[64];
    struct bench b;
    struct ek_engine_load load;
    char why[256];
    size_t left = 64;
    bench_open(&b, options_of(64, 64, 1));
    memset(answers, 0, sizeof answers);
    for (size_t i = 0; i < 64; i++) {
        struct ek_engine_job job = job_of(i);
        job.prompt_tokens = 1;
        job.max_tokens = EACH; /* more than the ring has room for */
        job.user = &answers[i];
        assert_int_equal(ek_engine_submit(b.engine, &job, &answers[i].job, why, sizeof why), EK_OK);
    }
    do {
        sched_yield();
        ek_engine_load(b.engine, &load);
    } while (load.ring_full == 0);
    assert_true(load.jobs_done < 64); /* the first may be through before the last has come */
    while (left > 0) {
        struct ek_engine_event event = next_event(&b);
        note(event.user, &event, 0);
        if (event.finish != EK_JOB_GOES_ON) left--;
    }
    for (size_t i = 0; i < 64; i++) assert_int_equal(answers[i].n, EACH);
    ek_engine_close(&b.engine);
}

/* A file whose numbers are no numbers: the job fails, the engine lives. */
static void a_broken_model_fails_its_jobs(void **state)
{
    (void)state;
    struct recipe r = recipe_v2;
    struct maker m = maker_model(&r);
    struct ek_gguf *g;
    struct bench b;
    struct answer a;
    char why[256], path[] = "/tmp/ek-model-XXXXXX", good[64];
    size_t len;
    uint8_t *file = maker_file(&m, &len);
    assert_int_equal(ek_gguf_open_memory(file, len, &g, why, sizeof why), EK_OK);
    const uint8_t *gain = ek_gguf_tensor(g, "output_norm.weight")->data;
    memset(file + (gain - file), 0xff, 4 * r.embd); /* NaN */
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, file, len) == (ssize_t)len);
    close(fd);
    memcpy(good, model_path, sizeof good);
    memcpy(model_path, path, sizeof path);
    bench_open(&b, options_of(2, 64, 1));
    memcpy(model_path, good, sizeof good);
    struct ek_engine_job job = job_of(0);
    prompts[0][0] = 5;
    for (int i = 0; i < 2; i++) {
        run(&b, &job, &a, 1);
        assert_int_equal(a.finish, EK_JOB_FAILED);
        assert_int_equal(a.n, 0);
    }
    ek_engine_close(&b.engine);
    unlink(path);
    ek_gguf_close(&g);
    free(file);
    maker_free(&m);
}

static void refuses_bad_options(void **state)
{
    (void)state;
    struct ek_engine *e;
    char why[256];
    struct ek_engine_options o = {.model_path = model_path, .slots = 65};
    assert_int_equal(ek_engine_open(&o, NULL, NULL, &e, why, sizeof why), EK_INVALID);
    o = (struct ek_engine_options){.model_path = model_path, .ctx_tokens = 5000};
    assert_int_equal(ek_engine_open(&o, NULL, NULL, &e, why, sizeof why), EK_INVALID);
    o = (struct ek_engine_options){.model_path = model_path, .isa = "z80"};
    assert_int_equal(ek_engine_open(&o, NULL, NULL, &e, why, sizeof why), EK_INVALID);
    o = (struct ek_engine_options){.model_path = "/nowhere/model.gguf"};
    assert_int_equal(ek_engine_open(&o, NULL, NULL, &e, why, sizeof why), EK_IO);
    assert_null(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_tokens_alone_and_in_a_crowd), cmocka_unit_test(resumes_from_any_prefix),
        cmocka_unit_test(same_tokens_from_a_cached_prefix),
        cmocka_unit_test(same_tokens_when_others_need_the_room), cmocka_unit_test(the_urgent_go_first),
        cmocka_unit_test(cancelling_ends_within_a_step), cmocka_unit_test(keeps_the_thinking_budget),
        cmocka_unit_test(stops_where_it_is_told),        cmocka_unit_test(refuses_what_cannot_be),
        cmocka_unit_test(queue_is_bounded),              cmocka_unit_test(refuses_bad_options),
        cmocka_unit_test(a_full_ring_holds_the_steps_up), cmocka_unit_test(a_broken_model_fails_its_jobs),
    };
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
