/* SPDX-License-Identifier: MIT */
/* Rates and concurrency: the rules one by one, then random doors beside a log of every request. */
#include "cm.h"

#include "base/random.h"
#include "ledger/ratelimit.h"
#include "ledger/windows.h"

#include <stdio.h>
#include <stdlib.h>

#define MINUTE (60 * EK_S_NS)
#define START (UINT64_C(29379480) * MINUTE) /* the first second of a minute */

static struct ek_now at(uint64_t ms)
{
    return (struct ek_now){.mono_ns = 1, .unix_ns = START + ms * EK_MS_NS};
}

static const struct ek_window_limits five = {.minute_requests = 5};

static struct ek_window_answer begin(struct ek_windows *w, const struct ek_window_limits *l, uint64_t tokens,
                                     uint64_t ms)
{
    return ek_windows_begin(w, 7, l, tokens, false, at(ms));
}

static void requests_a_minute(void **state)
{
    (void)state;
    struct ek_windows *w = ek_windows_new(4, 1);
    for (uint64_t i = 0; i < 5; i++) {
        struct ek_window_answer a = begin(w, &five, 0, 1000 * i);
        assert_int_equal(a.reason, EK_REASON_NONE);
        assert_int_equal(a.state.requests_left, 4 - i);
    }
    struct ek_window_answer a = begin(w, &five, 0, 5000);
    assert_int_equal(a.reason, EK_REASON_RATE_REQUESTS);
    /* The answer is exact: a millisecond earlier is too early. */
    uint64_t ms = 5000 + (a.retry_after_ns + EK_MS_NS - 1) / EK_MS_NS;
    assert_int_equal(begin(w, &five, 0, ms - 1).reason, EK_REASON_RATE_REQUESTS);
    assert_int_equal(begin(w, &five, 0, ms).reason, EK_REASON_NONE);
    assert_int_equal(begin(w, &five, 0, 200000).state.requests_left, 4); /* long after: all gone */
    ek_windows_free(&w);
}

static void tokens_are_corrected(void **state)
{
    (void)state;
    struct ek_windows *w = ek_windows_new(4, 1);
    struct ek_window_limits l = {.minute_tokens = 1000};
    assert_int_equal(begin(w, &l, 5000, 0).reason, EK_REASON_NONE); /* alone it may pass the limit */
    struct ek_window_answer a = begin(w, &l, 10, 1);
    assert_int_equal(a.reason, EK_REASON_RATE_TOKENS);
    assert_int_equal(a.state.tokens_left, 0);
    ek_windows_end(w, 7, 5000, 400, at(2));
    a = begin(w, &l, 500, 3);
    assert_int_equal(a.reason, EK_REASON_NONE);
    assert_int_equal(a.state.tokens_left, 100);
    ek_windows_end(w, 7, 500, 700, at(4));
    assert_int_equal(begin(w, &l, 1, 5).reason, EK_REASON_RATE_TOKENS);
    ek_windows_end(w, 7, 500, 700, at(6)); /* one end too many changes nothing */
    ek_windows_free(&w);
}

static void at_once_and_thoughts(void **state)
{
    (void)state;
    struct ek_windows *w = ek_windows_new(4, 1);
    struct ek_window_limits l = {.running_max = 2, .day_thoughts = 3};
    assert_int_equal(begin(w, &l, 0, 0).reason, EK_REASON_NONE);
    assert_int_equal(begin(w, &l, 0, 0).reason, EK_REASON_NONE);
    assert_int_equal(begin(w, &l, 0, 0).reason, EK_REASON_RATE_RUNNING);
    ek_windows_end(w, 7, 0, 0, at(1));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ek_windows_begin(w, 7, &l, 0, true, at(2)).reason, EK_REASON_NONE);
        ek_windows_end(w, 7, 0, 0, at(2));
    }
    struct ek_window_answer a = ek_windows_begin(w, 7, &l, 0, true, at(3));
    assert_int_equal(a.reason, EK_REASON_RATE_THOUGHTS);
    struct ek_now later = at(3);
    later.unix_ns += a.retry_after_ns;
    assert_int_equal(later.unix_ns % (86400 * EK_S_NS), 0); /* midnight, UTC */
    assert_int_equal(ek_windows_begin(w, 7, &l, 0, true, later).reason, EK_REASON_NONE);
    ek_windows_free(&w);
}

static void a_full_table(void **state)
{
    (void)state;
    struct ek_windows *w = ek_windows_new(2, 1);
    struct ek_windows_counters c;
    struct ek_window_limits none = {0};
    for (uint64_t k = 1; k <= 2; k++)
        assert_int_equal(ek_windows_begin(w, k, &five, 1, false, at(0)).reason, EK_REASON_NONE);
    assert_int_equal(ek_windows_begin(w, 3, &five, 1, false, at(1)).reason, EK_REASON_NO_MEMORY);
    assert_int_equal(ek_windows_begin(w, 3, &none, 1, false, at(1)).reason, EK_REASON_NONE);
    ek_windows_end(w, 3, 1, 1, at(1));
    ek_windows_counters(w, &c);
    assert_int_equal(c.full, 1);
    ek_windows_end(w, 1, 1, 1, at(2)); /* at rest two minutes later, and taken over */
    assert_int_equal(ek_windows_begin(w, 3, &five, 1, false, at(130000)).reason, EK_REASON_NONE);
    ek_windows_free(&w);
}

static void doors_that_talk_and_do_not(void **state)
{
    (void)state;
    struct ek_windows *w = ek_windows_new(4, 1);
    struct ek_window_delta d[4];
    struct ek_window_limits l = {.minute_requests = 6, .running_max = 4};
    assert_int_equal(begin(w, &l, 30, 0).reason, EK_REASON_NONE);
    assert_int_equal(begin(w, &l, 30, 0).reason, EK_REASON_NONE);
    assert_int_equal(ek_windows_unsent(w, d, 4, at(1)), 1);
    assert_true(d[0].account == 7 && d[0].requests == 2 && d[0].tokens == 60 && d[0].running == 2);
    assert_int_equal(d[0].minute, START / MINUTE);
    assert_int_equal(ek_windows_unsent(w, d, 4, at(1)), 0);
    ek_windows_others(w, 7, START / MINUTE - 1, 9, 9, 0, 0, 0); /* news of another minute */
    ek_windows_others(w, 7, START / MINUTE, 0, 3, 0, 90, 1);
    assert_int_equal(begin(w, &l, 0, 2).reason, EK_REASON_NONE);
    assert_int_equal(begin(w, &l, 0, 3).reason, EK_REASON_RATE_REQUESTS); /* 3 here and 3 there */
    ek_windows_end(w, 7, 30, 10, at(3));
    assert_int_equal(ek_windows_unsent(w, d, 4, at(4)), 1);
    assert_true(d[0].requests == 3 && d[0].tokens == 40 && d[0].running == 2);
    ek_windows_alone(w, 2); /* half of 6 is used up here, half of 4 runs */
    assert_int_equal(begin(w, &l, 0, 5).reason, EK_REASON_RATE_REQUESTS);
    l.minute_requests = 8;
    assert_int_equal(begin(w, &l, 0, 5).reason, EK_REASON_RATE_RUNNING);
    ek_windows_alone(w, 0);
    assert_int_equal(begin(w, &l, 0, 6).reason, EK_REASON_NONE);
    ek_windows_free(&w);
}

/* Over any 60 seconds, never more than the limit's worst case for this estimate: twice it where all
 * of one minute came at its end; and a refusal's time is always kept. */
static void random_requests(void **state)
{
    (void)state;
    uint64_t seed = getenv("EK_SEED") ? strtoull(getenv("EK_SEED"), NULL, 10) : 11;
    struct ek_random rng = ek_random_make(seed);
    struct ek_windows *w = ek_windows_new(16, seed);
    struct ek_window_limits l = {.minute_requests = 20, .minute_tokens = 3000};
    static uint64_t began[200000];
    uint64_t ms = 0, refused = 0;
    size_t count = 0, from = 0;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 100000; i++) {
        ms += ek_random_below(&rng, ek_random_below(&rng, 10) ? 800 : 20000);
        uint64_t tokens = ek_random_below(&rng, 200);
        struct ek_window_answer a = begin(w, &l, tokens, ms);
        if (a.reason == EK_REASON_NONE) {
            began[count++] = ms;
            ek_windows_end(w, 7, tokens, tokens, at(ms));
            while (began[from] + 60000 <= ms) from++;
            assert_true(count - from <= 2 * 20);
            continue;
        }
        refused++;
        assert_true(a.retry_after_ns > 0 && a.retry_after_ns <= 2 * MINUTE);
        uint64_t again = ms + (a.retry_after_ns + EK_MS_NS - 1) / EK_MS_NS;
        if (ek_random_below(&rng, 4) == 0) { /* believes it, and comes back then */
            ms = again;
            a = begin(w, &l, tokens, ms);
            assert_true(a.reason == EK_REASON_NONE || a.reason == EK_REASON_RATE_TOKENS ||
                        a.reason == EK_REASON_RATE_REQUESTS);
            if (a.reason == EK_REASON_NONE) {
                began[count++] = ms;
                ek_windows_end(w, 7, tokens, tokens, at(ms));
            } else {
                /* Only the other limit may stand in the way now. */
                assert_true(a.retry_after_ns > 0);
            }
        }
    }
    printf("%zu began, %llu refused\n", count, (unsigned long long)refused);
    assert_true(refused > 1000 && count > 10000);
    ek_windows_free(&w);
}

/* ---- what headers say -------------------------------------------------------------------------- */

static const char *header(const struct ek_ratelimit *r, const char *name, char out[256])
{
    for (uint32_t i = 0; i < r->count; i++)
        if (ek_str_eq_nocase(r->header[i].name, ek_str_of(name)) &&
            ek_str_copy(r->header[i].value, out, 256))
            return out;
    return "";
}

static void headers_say_what_is_left(void **state)
{
    (void)state;
    char text[256];
    struct ek_ratelimit r;
    struct ek_window_state s = {.requests_limit = 60, .requests_left = 57, .requests_reset_ns = 72 * EK_S_NS,
                                .tokens_limit = UINT64_MAX, .tokens_left = UINT64_MAX, .tokens_reset_ns = 1,
                                .running_limit = 4, .running_left = 0, .thoughts_limit = 10,
                                .thoughts_left = 9, .thoughts_reset_ns = 6400 * EK_S_NS - 1};
    ek_ratelimit_write(&s, &r);
    assert_int_equal(r.count, 8);
    assert_string_equal(header(&r, "x-ratelimit-limit-requests", text), "60");
    assert_string_equal(header(&r, "x-ratelimit-remaining-requests", text), "57");
    assert_string_equal(header(&r, "x-ratelimit-reset-requests", text), "1m12s");
    assert_string_equal(header(&r, "x-ratelimit-limit-tokens", text), "18446744073709551615");
    assert_string_equal(header(&r, "x-ratelimit-reset-tokens", text), "1ms");
    assert_string_equal(header(&r, "ratelimit-policy", text),
                        "\"requests\";q=60;w=60, \"tokens\";q=999999999999999;qu=\"tokens\";w=60, "
                        "\"running\";q=4;qu=\"concurrent-requests\", \"thoughts\";q=10;w=86400");
    assert_string_equal(header(&r, "ratelimit", text),
                        "\"requests\";r=57;t=72, \"tokens\";r=999999999999999;t=1, \"running\";r=0, "
                        "\"thoughts\";r=9;t=6400");
    ek_ratelimit_write(&(struct ek_window_state){0}, &r);
    assert_int_equal(r.count, 0);
}

static void times_until_reset_are_written_as_openai_does(void **state)
{
    (void)state;
    static const struct {
        uint64_t ns;
        const char *text;
    } row[] = {{0, "0s"}, {1, "1ms"}, {20 * EK_MS_NS, "20ms"}, {EK_S_NS, "1s"}, {8640 * EK_MS_NS, "8.640s"},
               {360 * EK_S_NS, "6m0s"}, {3600 * EK_S_NS, "1h0m0s"}, {86399 * EK_S_NS, "23h59m59s"}};
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        char text[32];
        assert_int_equal(ek_ratelimit_duration(row[i].ns, text), strlen(row[i].text));
        assert_string_equal(text, row[i].text);
    }
}

/* A look counts nothing, and what is said of the reset is true. */
static void a_look_is_what_a_request_would_find(void **state)
{
    (void)state;
    struct ek_windows *w = ek_windows_new(64, 1);
    const struct ek_window_limits l = {.minute_requests = 5, .running_max = 3, .day_thoughts = 2};
    struct ek_window_state s;
    struct ek_now now = {.unix_ns = 1700000015 * EK_S_NS};
    ek_windows_look(w, 7, &l, now, &s);
    assert_int_equal(s.requests_left, 5);
    assert_int_equal(s.requests_reset_ns, 0);
    assert_int_equal(ek_windows_begin(w, 7, &l, 0, true, now).reason, EK_REASON_NONE);
    for (int i = 0; i < 3; i++) {
        ek_windows_look(w, 7, &l, now, &s);
        assert_int_equal(s.requests_left, 4);
        assert_int_equal(s.running_left, 2);
        assert_int_equal(s.thoughts_left, 1);
    }
    ek_windows_end(w, 7, 0, 0, now);
    now.unix_ns += s.requests_reset_ns - 1;
    ek_windows_look(w, 7, &l, now, &s);
    assert_int_equal(s.requests_left, 4);
    now.unix_ns += 1;
    ek_windows_look(w, 7, &l, now, &s);
    assert_int_equal(s.requests_left, 5);
    ek_windows_free(&w);
}

/* Midnight is a zone's, and a day on which clocks are set has 23 hours. */
static void a_day_ends_at_the_zones_midnight(void **state)
{
    (void)state;
    struct ek_windows *w = ek_windows_new(64, 1);
    struct ek_zone z;
    const struct ek_window_limits l = {.day_thoughts = 1};
    assert_true(ek_zone_fixed(EK_STR("UTC+5:30"), &z));
    ek_windows_zone(w, &z);
    struct ek_now now = {.unix_ns = (uint64_t)ek_date_days((struct ek_date){2026, 11, 22}) * 86400 * EK_S_NS +
                                    (18 * 3600 + 29 * 60) * EK_S_NS}; /* 23:59 there */
    assert_int_equal(ek_windows_begin(w, 7, &l, 0, true, now).reason, EK_REASON_NONE);
    struct ek_window_answer a = ek_windows_begin(w, 7, &l, 0, true, now);
    assert_int_equal(a.reason, EK_REASON_RATE_THOUGHTS);
    assert_int_equal(a.retry_after_ns, 60 * EK_S_NS);
    now.unix_ns += a.retry_after_ns;
    a = ek_windows_begin(w, 7, &l, 0, true, now);
    assert_int_equal(a.reason, EK_REASON_NONE);
    assert_int_equal(a.state.thoughts_reset_ns, 86400 * EK_S_NS);
    ek_windows_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_a_minute), cmocka_unit_test(tokens_are_corrected),
        cmocka_unit_test(at_once_and_thoughts), cmocka_unit_test(a_full_table),
        cmocka_unit_test(doors_that_talk_and_do_not), cmocka_unit_test(random_requests),
        cmocka_unit_test(headers_say_what_is_left),
        cmocka_unit_test(times_until_reset_are_written_as_openai_does),
        cmocka_unit_test(a_look_is_what_a_request_would_find),
        cmocka_unit_test(a_day_ends_at_the_zones_midnight),
    };
    return cmocka_run_group_tests_name("ledger_windows", tests, NULL, NULL);
}
