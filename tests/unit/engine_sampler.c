/* SPDX-License-Identifier: MIT */
/* The sampler against a slow oracle that sorts everything, its noise, ties, penalties and bad logits. */
#include "cm.h"

#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 600 };
static float scratch[2 * VOCAB];

static uint32_t pick(const struct ek_sampling *s, const float *logits, uint64_t index)
{
    struct ek_sample out = {0};
    assert_true(ek_sample_token(s, (struct ek_sample_history){0}, logits, VOCAB, index, -1, 0, scratch,
                                &out));
    return out.id;
}

static const float *sort_key;
static int descending(const void *a, const void *b)
{
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    if (sort_key[i] != sort_key[j]) return sort_key[i] > sort_key[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

/* The set of tokens the filters leave, by the definition: keep[i]. */
static void oracle(const struct ek_sampling *s, const float *logits, bool keep[VOCAB])
{
    uint32_t id[VOCAB], n = VOCAB;
    double p[VOCAB], total = 0, mass = 0;
    for (uint32_t i = 0; i < VOCAB; i++) id[i] = i;
    sort_key = logits;
    qsort(id, VOCAB, sizeof *id, descending);
    memset(keep, 0, VOCAB);
    if (s->top_k && s->top_k < n) n = s->top_k;
    for (uint32_t i = 0; i < n; i++) {
        p[i] = exp(((double)logits[id[i]] - (double)logits[id[0]]) / (double)s->temperature);
        total += p[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        if (p[i] < (double)s->min_p) break;
        keep[id[i]] = true;
        mass += p[i];
        if (s->top_p < 1 && mass >= (double)s->top_p * total) break;
    }
}

static void keeps_exactly_what_the_filters_leave(void **state)
{
    (void)state;
    static const struct { float top_p, min_p; uint32_t top_k; } filters[] = {
        {0.9f, 0, 0}, {0.5f, 0, 0}, {1, 0.05f, 0}, {1, 0, 40}, {0.8f, 0, 10}, {0.95f, 0.01f, 100},
        {0.999f, 0, 0}, {1, 0, 1}, {0.0001f, 0, 0}, {1, 1, 0}, {1, 0, 5000},
    };
    for (size_t f = 0; f < EK_COUNT(filters); f++) {
        for (int spread = 0; spread < 3; spread++) {
            struct ek_sampling s = ek_sampling_default();
            float logits[VOCAB];
            bool keep[VOCAB], seen[VOCAB] = {0};
            s.temperature = 0.8f;
            s.top_p = filters[f].top_p;
            s.min_p = filters[f].min_p;
            s.top_k = filters[f].top_k;
            for (uint32_t i = 0; i < VOCAB; i++) {
                logits[i] = (float)(ek_sample_noise(77, i) * (spread == 0 ? 1 : spread * 20));
            }
            oracle(&s, logits, keep);
            for (uint64_t n = 0; n < 3000; n++) seen[pick(&s, logits, n)] = true;
            for (uint32_t i = 0; i < VOCAB; i++) assert_true(!seen[i] || keep[i]);
            double all = 0; /* nothing likely is missing from 3000 draws */
            for (uint32_t i = 0; i < VOCAB; i++) all += keep[i] ? exp((double)logits[i] / 0.8) : 0;
            for (uint32_t i = 0; i < VOCAB; i++) {
                if (keep[i] && exp((double)logits[i] / 0.8) / all > 0.01) assert_true(seen[i]);
            }
        }
    }
}

static void frequencies_follow_the_softmax(void **state)
{
    (void)state;
    struct ek_sampling s = ek_sampling_default();
    float logits[VOCAB];
    int count[4] = {0};
    for (uint32_t i = 0; i < VOCAB; i++) logits[i] = -100;
    for (int i = 0; i < 4; i++) logits[100 + i] = logf((float)(i + 1));
    for (uint64_t n = 0; n < 20000; n++) {
        uint32_t id = pick(&s, logits, n);
        assert_in_range(id, 100, 103);
        count[id - 100]++;
    }
    for (int i = 0; i < 4; i++) assert_in_range(count[i], 2000 * (i + 1) - 200, 2000 * (i + 1) + 200);
}

static void noise_depends_on_seed_and_index_alone(void **state)
{
    (void)state;
    double sum = 0, cross = 0, last = 0.5;
    for (uint64_t i = 0; i < 10000; i++) {
        double u = ek_sample_noise(1, i);
        assert_true(u >= 0 && u < 1);
        assert_true(u == ek_sample_noise(1, i));
        assert_true(u != ek_sample_noise(2, i) && u != ek_sample_noise(2, i + 1));
        sum += u;
        cross += (u - 0.5) * (last - 0.5);
        last = u;
    }
    assert_true(fabs(sum / 10000 - 0.5) < 0.02 && fabs(cross / 10000) < 0.005);
    assert_true(ek_sample_noise(1, 0) == ek_sample_noise(1, 0));
}

static void greedy_takes_the_first_of_equals(void **state)
{
    (void)state;
    struct ek_sampling s = ek_sampling_greedy();
    float logits[VOCAB] = {0};
    logits[200] = logits[300] = 3;
    assert_int_equal(pick(&s, logits, 0), 200);
    s = ek_sampling_default();
    s.top_k = 1;
    for (uint64_t n = 0; n < 100; n++) assert_int_equal(pick(&s, logits, n), 200);
}

static void bad_logits_are_never_chosen(void **state)
{
    (void)state;
    struct ek_sampling greedy = ek_sampling_greedy(), s = ek_sampling_default();
    float logits[VOCAB];
    struct ek_sample out;
    for (uint32_t i = 0; i < VOCAB; i++) logits[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -5;
    logits[599] = -INFINITY;
    assert_int_equal(pick(&greedy, logits, 0), 2);
    for (uint64_t n = 0; n < 200; n++) assert_int_equal(pick(&s, logits, n) % 3, 2);
    for (uint32_t i = 0; i < VOCAB; i++) logits[i] = NAN;
    assert_false(ek_sample_token(&s, (struct ek_sample_history){0}, logits, VOCAB, 0, -1, 0, scratch,
                                 &out));
    for (uint32_t i = 0; i < VOCAB; i++) logits[i] = FLT_MAX;
    assert_int_equal(pick(&greedy, logits, 0), 0);
    assert_in_range(pick(&s, logits, 0), 0, VOCAB - 1);
}

static void penalties_move_what_was_said(void **state)
{
    (void)state;
    static uint16_t generated[VOCAB], prompt[VOCAB];
    float logits[VOCAB] = {0};
    struct ek_sample out;
    struct ek_sample_history h = {.generated = generated, .prompt = prompt};
    logits[1] = 2;
    logits[2] = 1.9f;
    logits[3] = 1.7f;
    generated[1] = 2;
    prompt[2] = 1;
    struct ek_sampling s = ek_sampling_greedy();
    s.presence_penalty = 0.2f; /* 1 falls to 1.8 */
    assert_true(ek_sample_token(&s, h, logits, VOCAB, 0, -1, 0, scratch, &out));
    assert_int_equal(out.id, 2);
    s.presence_penalty = 0;
    s.frequency_penalty = 0.06f; /* 1 falls to 1.88 */
    assert_true(ek_sample_token(&s, h, logits, VOCAB, 0, -1, 0, scratch, &out));
    assert_int_equal(out.id, 2);
    s.frequency_penalty = 0;
    s.repetition_penalty = 1.3f; /* 1 and 2 fall below 3 */
    assert_true(ek_sample_token(&s, h, logits, VOCAB, 0, -1, 0, scratch, &out));
    assert_int_equal(out.id, 3);
    assert_true(fabsf(logits[1] - 2) < 1e-9f); /* the caller's logits are untouched */
}

static void bias_and_what_may_come(void **state)
{
    (void)state;
    float logits[VOCAB] = {0};
    struct ek_sample out;
    static uint64_t allowed[VOCAB / 64 + 1];
    static const struct ek_logit_bias bias[] = {{7, 3}, {9, -100}};
    static const uint32_t barred[] = {7};
    struct ek_sampling s = ek_sampling_greedy(), any = ek_sampling_default();
    struct ek_sample_history h = {.bias = bias, .bias_count = 2};
    logits[9] = 5;
    assert_true(ek_sample_token(&s, h, logits, VOCAB, 0, -1, 1, scratch, &out));
    assert_int_equal(out.id, 7);
    assert_int_equal(out.top[0].id, 9); /* logprobs are the model's own */
    h.barred = barred;
    h.barred_count = 1;
    assert_true(ek_sample_token(&s, h, logits, VOCAB, 0, -1, 0, scratch, &out));
    assert_int_equal(out.id, 0);
    h.allowed = allowed;
    assert_false(ek_sample_token(&s, h, logits, VOCAB, 0, -1, 0, scratch, &out));
    assert_false(ek_sample_token(&any, h, logits, VOCAB, 0, -1, 0, scratch, &out));
    allowed[0] = 1u << 9 | 1u << 30;
    allowed[(VOCAB - 1) / 64] |= UINT64_C(1) << (VOCAB - 1) % 64;
    for (uint32_t i = 0; i < 50; i++) {
        assert_true(ek_sample_token(&any, h, logits, VOCAB, i, -1, 0, scratch, &out));
        assert_true(out.id == 30 || out.id == VOCAB - 1);
    }
    assert_true(ek_sample_token(&any, h, logits, VOCAB, 0, 3, 0, scratch, &out));
    assert_int_equal(out.id, 3);
}

static void logprobs_are_of_the_model_itself(void **state)
{
    (void)state;
    float logits[VOCAB];
    struct ek_sampling s = ek_sampling_default();
    struct ek_sample out;
    double sum = 0;
    for (uint32_t i = 0; i < VOCAB; i++) logits[i] = (float)ek_sample_noise(9, i) * 10;
    logits[17] = logits[400] = 20;
    for (uint32_t i = 0; i < VOCAB; i++) sum += exp((double)logits[i] - 20);
    s.temperature = 3;
    assert_true(ek_sample_token(&s, (struct ek_sample_history){0}, logits, VOCAB, 5, 300, 20, scratch,
                                &out));
    assert_int_equal(out.id, 300);
    assert_true(fabs((double)out.logprob - ((double)logits[300] - 20 - log(sum))) < 1e-5);
    assert_int_equal(out.top_count, 20);
    assert_int_equal(out.top[0].id, 17);
    assert_int_equal(out.top[1].id, 400);
    for (uint32_t i = 1; i < 20; i++) assert_true(out.top[i].logprob <= out.top[i - 1].logprob);
    assert_true(fabs((double)out.top[0].logprob + log(sum)) < 1e-5);
}

static void says_what_is_out_of_range(void **state)
{
    (void)state;
    struct ek_sampling s = ek_sampling_default();
    assert_null(ek_sampling_problem(&s));
    s.temperature = NAN;
    assert_non_null(strstr(ek_sampling_problem(&s), "temperature"));
    s = ek_sampling_greedy();
    s.top_p = 0;
    assert_non_null(strstr(ek_sampling_problem(&s), "top_p"));
    s = ek_sampling_greedy();
    s.repetition_penalty = 0;
    assert_non_null(strstr(ek_sampling_problem(&s), "repetition_penalty"));
    s = ek_sampling_greedy();
    s.frequency_penalty = INFINITY;
    assert_non_null(strstr(ek_sampling_problem(&s), "frequency_penalty"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_exactly_what_the_filters_leave),
        cmocka_unit_test(frequencies_follow_the_softmax),
        cmocka_unit_test(noise_depends_on_seed_and_index_alone),
        cmocka_unit_test(greedy_takes_the_first_of_equals),
        cmocka_unit_test(bad_logits_are_never_chosen),
        cmocka_unit_test(penalties_move_what_was_said),
        cmocka_unit_test(bias_and_what_may_come),
        cmocka_unit_test(logprobs_are_of_the_model_itself),
        cmocka_unit_test(says_what_is_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
