/* SPDX-License-Identifier: MIT */
/* The event stream reader: each stream gives the same items whole, byte by byte and at every split;
 * what the writer writes, the reader reads. */
#include "cm.h"

#include "http/sse.h"

#include <stdlib.h>

/* The items of a stream as one text: "[type|id]data~" for events, "<comment>" for comments. */
static void transcribe(const char *data, size_t len, size_t step, size_t first, struct ek_buf *out)
{
    struct ek_sse s;
    ek_sse_init(&s, 0);
    ek_buf_clear(out);
    for (size_t at = 0, n; at < len; at += n) {
        n = at == 0 && first > 0 ? first : step;
        if (n > len - at) n = len - at;
        char *piece = malloc(n); /* its own block: a view kept too long is a fault under ASan */
        assert_non_null(piece);
        memcpy(piece, data + at, n);
        struct ek_str input = ek_str_make(piece, n);
        struct ek_sse_item item;
        for (;;) {
            enum ek_sse_result r = ek_sse_read(&s, &input, &item);
            if (r == EK_SSE_MORE) break;
            assert_true(r == EK_SSE_EVENT || r == EK_SSE_COMMENT);
            ek_buf_char(out, r == EK_SSE_EVENT ? '[' : '<');
            if (r == EK_SSE_EVENT) {
                ek_buf_str(out, item.type);
                ek_buf_char(out, item.has_id ? '#' : '|');
                ek_buf_str(out, item.id);
                ek_buf_char(out, ']');
            }
            ek_buf_str(out, item.data);
            ek_buf_char(out, r == EK_SSE_EVENT ? '~' : '>');
        }
        assert_int_equal(input.len, 0);
        free(piece);
    }
    if (ek_sse_is_open(&s)) ek_buf_lit(out, "(open)");
    ek_sse_free(&s);
}

#define C(text, items) {text, sizeof(text) - 1, items}
static const struct {
    const char *data;
    size_t len;
    const char *items;
} streams[] = {
    C("data: a\n\n", "[|]a~"),
    C("data: a\r\n\r\ndata:b\r\rdata:  c\n\n", "[|]a~[|]b~[|] c~"),
    C(": keep-alive\n\n: queue {\"position\":3}\n\ndata: x\n\n",
      "<keep-alive><queue {\"position\":3}>[|]x~"),
    C(":\n::\r\n", "<><:>"),
    C("data: one\ndata: two\ndata\ndata:\n\n", "[|]one\ntwo\n\n~"),
    C("data: one\n: between\ndata: two\n\n", "<between>[|]one\ntwo~"),
    C("data:\n\n", "[|]~"),
    C("event: e\nid: 7\ndata: d\n\ndata: f\n\n", "[e#7]d~[|]f~"),
    C("event: only\n\ndata: d\n\n", "[|]d~"),
    C("id\ndata: d\n\n", "[#]d~"), /* an empty id is an id */
    C("\xef\xbb\xbf" "data: a\n\n", "[|]a~"),
    C("\xef\xbb\xbf\xef\xbb\xbf" "data: a\n\ndata: b\n\n", "[|]b~"),
    C("\xef\xbb" "data: a\n\ndata: b\n\n", "[|]b~"),
    C("unknown: x\ndata: y\nDATA: z\n\n", "[|]y~"),
    C("data: a\n", "(open)"),
    C("data: a\n\ndat", "[|]a~(open)"),
    C("\n\n\r\r\n\n", ""),
    C("data: \xe4\xbd\xa0\xe5\xa5\xbd\n\n", "[|]\xe4\xbd\xa0\xe5\xa5\xbd~"),
    C("id: a\0b\ndata: nul in an id\n\n", "[|]nul in an id~"),
};

static void test_streams(void **state)
{
    (void)state;
    struct ek_buf out = ek_buf_make(1u << 20);
    for (size_t i = 0; i < EK_COUNT(streams); i++) {
        const char *want = streams[i].items;
        for (size_t first = 0; first < streams[i].len; first++) {
            for (size_t step = 1; step <= streams[i].len; step += first == 0 ? 1 : streams[i].len) {
                transcribe(streams[i].data, streams[i].len, first ? streams[i].len : step, first,
                           &out);
                if (!ek_str_eq(ek_buf_view(&out), ek_str_of(want))) {
                    fail_msg("stream %zu, first %zu, step %zu: %.*s instead of %s", i, first, step,
                             (int)out.len, out.data, want);
                }
            }
        }
    }
    ek_buf_free(&out);
}

static void test_hot_path_copies_nothing(void **state)
{
    (void)state;
    struct ek_sse s;
    struct ek_sse_item item;
    struct ek_str input = EK_STR("data: {\"a\":1}\n\n: c\n\ndata: two\r\n\r\n");
    const char *from = input.data, *to = input.data + input.len;
    ek_sse_init(&s, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ek_sse_read(&s, &input, &item), i == 1 ? EK_SSE_COMMENT : EK_SSE_EVENT);
        assert_true(item.data.data >= from && item.data.data + item.data.len <= to);
    }
    assert_int_equal(ek_sse_read(&s, &input, &item), EK_SSE_MORE);
    assert_null(s.line.data);
    assert_null(s.data.data);
    ek_sse_free(&s);
}

static void test_limit(void **state)
{
    (void)state;
    struct ek_sse s;
    struct ek_sse_item item;
    static const char line[] = "data: 0123456789\n";
    enum ek_sse_result r = EK_SSE_MORE;
    ek_sse_init(&s, 64);
    for (int i = 0; i < 6 && r == EK_SSE_MORE; i++) { /* many lines */
        struct ek_str input = EK_STR(line);
        r = ek_sse_read(&s, &input, &item);
    }
    assert_int_equal(r, EK_SSE_TOO_LARGE);
    ek_sse_free(&s);
    ek_sse_init(&s, 64);
    r = EK_SSE_MORE;
    for (int i = 0; i < 100 && r == EK_SSE_MORE; i++) { /* one long line */
        struct ek_str input = EK_STR("x");
        r = ek_sse_read(&s, &input, &item);
    }
    assert_int_equal(r, EK_SSE_TOO_LARGE);
    ek_sse_free(&s);
}

static void test_retry(void **state)
{
    (void)state;
    struct ek_sse s;
    struct ek_sse_item item;
    struct ek_str input = EK_STR("retry: 3000\n\nretry: x\n\nretry: -1\n\n");
    ek_sse_init(&s, 0);
    assert_int_equal(s.retry_ms, -1);
    assert_int_equal(ek_sse_read(&s, &input, &item), EK_SSE_MORE);
    assert_int_equal(s.retry_ms, 3000);
    ek_sse_free(&s);
}

static void test_writer(void **state)
{
    (void)state;
    struct ek_buf b = ek_buf_make(4096), out = ek_buf_make(4096);
    ek_sse_put_retry(&b, 1500);
    ek_sse_put_type(&b, EK_STR("note"));
    ek_sse_put_type(&b, EK_STR("forged\ndata: x"));
    ek_sse_put_id(&b, 42);
    ek_sse_put_data(&b, EK_STR("one\r\ntwo\rthree\nfour\n"));
    ek_sse_put_comment(&b, EK_STR("a\nb"));
    ek_sse_put_data(&b, EK_STR(""));
    assert_string_equal(ek_buf_cstr(&b),
                        "retry: 1500\nevent: note\nid: 42\ndata: one\ndata: two\ndata: three\n"
                        "data: four\ndata: \n\n: a b\n\ndata: \n\n");
    transcribe(b.data, b.len, 5, 0, &out);
    assert_string_equal(ek_buf_cstr(&out), "[note#42]one\ntwo\nthree\nfour\n~<a b>[|]~");
    ek_buf_free(&b);
    ek_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams), cmocka_unit_test(test_hot_path_copies_nothing),
        cmocka_unit_test(test_limit),   cmocka_unit_test(test_retry),
        cmocka_unit_test(test_writer),
    };
    return cmocka_run_group_tests_name("http_sse", tests, NULL, NULL);
}
