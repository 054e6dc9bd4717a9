/* SPDX-License-Identifier: MIT */
/* The log of a stream's events against an array of plain strings: random events, random readers, windows. */
#include "cm.h"

#include "door/stream_log.h"

#include <stdio.h>
#include <stdlib.h>

#define EVENTS 3000u

static uint64_t state = 88172645463325252u;

static uint64_t dice(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static struct ek_buf expected[EVENTS + 1];

/* What chunks look like, and now and then something else. */
static struct ek_str make_event(uint64_t n)
{
    struct ek_buf *b = &expected[n];
    *b = ek_buf_make(1 << 20);
    if (dice(100) == 0) return ek_buf_view(b); /* empty */
    if (dice(50) == 0) {
        for (uint64_t i = dice(30000); i; i--) ek_buf_char(b, (char)dice(256));
        return ek_buf_view(b);
    }
    ek_buf_printf(b, "{\"id\":\"chatcmpl-5f\",\"object\":\"chat.completion.chunk\",\"created\":5,"
                  "\"choices\":[{\"index\":0,\"delta\":{\"%s\":\"",
                  dice(2) ? "content" : "reasoning_content");
    for (uint64_t i = dice(12); i; i--) ek_buf_char(b, (char)('a' + (int)dice(4)));
    ek_buf_lit(b, "\"},\"finish_reason\":null}]}");
    return ek_buf_view(b);
}

static void free_events(uint64_t last)
{
    for (uint64_t n = 1; n <= last; n++) ek_buf_free(&expected[n]);
}

static void expect_event(const struct ek_stream_log *l, struct ek_stream_cursor *c, uint64_t n)
{
    struct ek_buf out = ek_buf_make(1 << 20);
    assert_true(ek_stream_log_read(l, c, &out));
    assert_int_equal(c->next, n + 1);
    assert_true(ek_str_eq(ek_buf_view(&out), ek_buf_view(&expected[n])));
    ek_buf_free(&out);
}

static void all_readers_read_the_same(void **unused)
{
    (void)unused;
    struct ek_stream_log l = {0};
    struct ek_stream_cursor reader[4] = {{0}};
    for (uint64_t n = 1; n <= EVENTS; n++) {
        assert_true(ek_stream_log_add(&l, make_event(n)));
        assert_int_equal(l.last, n);
        for (int i = 0; i < 4; i++) /* some are at the end, some fall behind and catch up */
            while (reader[i].next <= n && dice((uint64_t)i * 20 + 1) == 0)
                expect_event(&l, &reader[i], reader[i].next ? reader[i].next : 1);
    }
    for (int i = 0; i < 4; i++)
        while (reader[i].next <= EVENTS) expect_event(&l, &reader[i], reader[i].next ? reader[i].next : 1);
    for (int i = 0; i < 200; i++) { /* one who comes anew, anywhere */
        struct ek_stream_cursor c = {.next = 1 + dice(EVENTS)};
        expect_event(&l, &c, c.next);
    }
    struct ek_stream_cursor end = {.next = EVENTS + 1};
    struct ek_buf none = ek_buf_make(64);
    assert_false(ek_stream_log_read(&l, &end, &none));
    ek_stream_log_free(&l);
    free_events(EVENTS);
}

static void a_window_keeps_the_newest(void **unused)
{
    (void)unused;
    struct ek_stream_log l = {0};
    struct ek_stream_cursor lost = {.next = 1};
    struct ek_buf none = ek_buf_make(64);
    for (uint64_t n = 1; n <= EVENTS; n++) {
        assert_true(ek_stream_log_add(&l, make_event(n)));
        ek_stream_log_trim(&l, 40000);
        assert_true(l.bytes <= 40000 + 40000); /* the newest block stays, whatever its size */
        struct ek_stream_cursor c = {.next = l.first};
        expect_event(&l, &c, l.first);
        struct ek_stream_cursor newest = {.next = n};
        expect_event(&l, &newest, n);
    }
    assert_true(l.first > 1);
    assert_false(ek_stream_log_read(&l, &lost, &none));
    ek_stream_log_skip(&l); /* one that could not be kept */
    assert_int_equal(l.last, EVENTS + 1);
    assert_int_equal(l.first, EVENTS + 2);
    struct ek_stream_cursor next = {.next = EVENTS + 2};
    assert_false(ek_stream_log_read(&l, &next, &none));
    struct ek_str text = EK_STR("after the gap");
    struct ek_buf got = ek_buf_make(64);
    assert_true(ek_stream_log_add(&l, text));
    assert_true(ek_stream_log_read(&l, &next, &got));
    assert_true(ek_str_eq(ek_buf_view(&got), text));
    ek_buf_free(&got);
    ek_stream_log_free(&l);
    free_events(EVENTS);
}

static void a_token_costs_little(void **unused)
{
    (void)unused;
    struct ek_stream_log l = {0};
    char text[400];
    for (unsigned n = 0; n < 4000; n++) {
        int len = snprintf(text, sizeof text, "{\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\","
                           "\"object\":\"chat.completion.chunk\",\"created\":1795233600,"
                           "\"model\":\"demo\",\"choices\":[{\"index\":0,\"delta\":{"
                           "\"content\":\" word\"},\"logprobs\":null,"
                           "\"finish_reason\":null}],\"usage\":null}");
        assert_true(len > 0 && ek_stream_log_add(&l, ek_str_make(text, (size_t)len)));
    }
    assert_true(l.bytes < 4000u * 12u); /* of 230 each */
    ek_stream_log_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_readers_read_the_same),
        cmocka_unit_test(a_window_keeps_the_newest),
        cmocka_unit_test(a_token_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
