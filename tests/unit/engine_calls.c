/* SPDX-License-Identifier: MIT */
/* Tool calls in what a model writes: both spellings, markers as tokens and as text, cut anywhere. */
#include "cm.h"

#include "engine/calls.h"

#include <jansson.h>
#include <string.h>

#define BAR "\xEF\xBD\x9C"
#define SPC "\xE2\x96\x81"
#define BEGIN "<" BAR "tool" SPC "calls" SPC "begin" BAR ">"
#define END "<" BAR "tool" SPC "calls" SPC "end" BAR ">"
#define OPEN "<" BAR "tool" SPC "call" SPC "begin" BAR ">"
#define CLOSE "<" BAR "tool" SPC "call" SPC "end" BAR ">"
#define SEP "<" BAR "tool" SPC "sep" BAR ">"

struct heard {
    struct ek_buf text, deltas, whole;
    uint32_t count;
};

static void forget(struct heard *h)
{
    ek_buf_free(&h->text);
    ek_buf_free(&h->deltas);
    ek_buf_free(&h->whole);
}

/* The whole text in pieces of about `step` bytes, markers as text; deltas taken after every piece. */
static struct heard hear(const char *said, size_t step, bool whole)
{
    struct heard h = {.text = ek_buf_make(10000), .deltas = ek_buf_make(100000),
                      .whole = ek_buf_make(100000)};
    struct ek_calls c;
    struct ek_str rest = ek_str_of(said);
    ek_calls_open(&c, true, whole, "call_x", 100000);
    for (bool last = false; !last;) {
        size_t n = rest.len < step ? rest.len : step;
        while (n < rest.len && ((unsigned char)rest.data[n] & 0xC0) == 0x80) n++; /* whole characters */
        ek_calls_text(&c, ek_str_make(rest.data, n), &h.text);
        rest = ek_str_skip(rest, n);
        last = rest.len == 0;
        if (last) ek_calls_end(&c, &h.text);
        struct ek_str d = ek_calls_deltas(&c);
        if (d.len > 0 && h.deltas.len > 0) ek_buf_char(&h.deltas, ',');
        ek_buf_str(&h.deltas, d);
        ek_calls_taken(&c);
    }
    h.count = c.count;
    if (whole) ek_buf_str(&h.whole, ek_calls_whole(&c));
    ek_calls_free(&c);
    return h;
}

/* name(arguments) of each call, put together from the deltas, or from the whole. */
static void told(const struct heard *h, bool whole, char *out, size_t cap)
{
    struct ek_buf list = ek_buf_make(200000);
    const struct ek_buf *from = whole ? &h->whole : &h->deltas;
    size_t n = 0;
    ek_buf_char(&list, '[');
    if (from->len) ek_buf_str(&list, ek_buf_view(from));
    ek_buf_char(&list, ']');
    json_t *v = json_loadb(list.data, list.len, 0, NULL);
    assert_non_null(v);
    out[0] = 0;
    for (size_t i = 0; i < json_array_size(v); i++) {
        json_t *e = json_array_get(v, i), *f = json_object_get(e, "function");
        const char *name = json_string_value(json_object_get(f, "name"));
        const char *arguments = json_string_value(json_object_get(f, "arguments"));
        if (name) assert_non_null(json_object_get(e, "id"));
        if (!whole) assert_true(json_is_integer(json_object_get(e, "index")));
        n += (size_t)snprintf(out + n, cap - n, "%s%s%s%s", name ? "|" : "", name ? name : "",
                              name ? " " : "",
                              arguments);
    }
    json_decref(v);
    ek_buf_free(&list);
}

static void expect(const char *said, const char *text, const char *calls)
{
    char got[4000];
    for (size_t step = 1; step <= strlen(said); step += 1 + step / 3) {
        for (int whole = 0; whole < 2; whole++) {
            struct heard h = hear(said, step, whole);
            told(&h, whole, got, sizeof got);
            assert_string_equal(got, calls);
            assert_true(ek_str_eq(ek_buf_view(&h.text), ek_str_of(text)));
            forget(&h);
        }
    }
}

static void both_spellings(void **state)
{
    (void)state;
    expect("Let me look." BEGIN OPEN "add" SEP "{\"a\":1}" CLOSE END, "Let me look.", "|add {\"a\":1}");
    expect(BEGIN OPEN "function" SEP "add\n```json\n{\"a\": [1, {}]}\n```" CLOSE "\n" OPEN "function" SEP
           "say\n```json\n{}\n```" CLOSE END, "", "|add {\"a\": [1, {}]}|say {}");
    expect(BEGIN OPEN "f" SEP "{\"s\":\"}\\\"}" CLOSE "\"}" CLOSE OPEN "g" SEP " {\"x\":2}" CLOSE END "\n\n",
           "",
           "|f {\"s\":\"}\\\"}" CLOSE "\"}|g {\"x\":2}");
}

static void what_is_none(void **state)
{
    (void)state;
    expect("plain < text <" BAR "tool", "plain < text <" BAR "tool", "");
    expect("<" BAR BEGIN, "<" BAR, "");
    expect(BEGIN "nothing" END, "", "");
    expect(BEGIN OPEN "{\"no\":\"name\"}" END, OPEN "{\"no\":\"name\"}" END, ""); /* it is text again */
    expect("a" BEGIN OPEN "f" SEP "{\"cut\":", "a", "|f {\"cut\":");
    expect(BEGIN OPEN "f", OPEN "f", "");
}

static void markers_that_are_tokens(void **state)
{
    (void)state;
    struct ek_calls c;
    struct ek_buf text = ek_buf_make(1000);
    ek_calls_open(&c, false, true, "call_x", 1000);
    ek_calls_text(&c, EK_STR(BEGIN OPEN), &text); /* somebody wrote of markers: it is text */
    assert_true(ek_str_eq(ek_buf_view(&text), EK_STR(BEGIN OPEN)));
    ek_calls_mark(&c, EK_MARK_SEP, &text);
    ek_calls_mark(&c, EK_MARK_CALLS_BEGIN, &text);
    ek_calls_mark(&c, EK_MARK_CALL_BEGIN, &text);
    ek_calls_text(&c, EK_STR("f"), &text);
    ek_calls_mark(&c, EK_MARK_SEP, &text);
    ek_calls_text(&c, EK_STR("{\"a\":0}"), &text);
    ek_calls_mark(&c, EK_MARK_CALL_END, &text);
    ek_calls_mark(&c, EK_MARK_CALLS_END, &text);
    ek_calls_end(&c, &text);
    assert_int_equal(c.count, 1);
    assert_true(ek_str_eq(ek_buf_view(&text), EK_STR(BEGIN OPEN)));
    assert_true(ek_str_eq(ek_calls_whole(&c),
                          EK_STR("{\"id\":\"call_x_0\",\"type\":\"function\",\"function\":"
                                                     "{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":0}\"}}")));
    ek_calls_free(&c);
    ek_buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_spellings), cmocka_unit_test(what_is_none),
        cmocka_unit_test(markers_that_are_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
