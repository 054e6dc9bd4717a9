/* SPDX-License-Identifier: MIT */
/* Any bytes as what a model writes when it may call tools: however they are cut, the same text and the same
 * calls; the calls are JSON. */
#include "engine/calls.h"

#include <jansson.h>

static void hear(struct ek_str s, size_t step, bool by_text, struct ek_buf *text, struct ek_buf *calls)
{
    struct ek_calls c;
    ek_calls_open(&c, by_text, true, "call_x", 1 << 22);
    if (!by_text) ek_calls_mark(&c, EK_MARK_CALLS_BEGIN, text);
    while (s.len > 0) {
        size_t n = s.len < step ? s.len : step;
        ek_calls_text(&c, ek_str_make(s.data, n), text);
        s = ek_str_skip(s, n);
    }
    ek_calls_end(&c, text);
    ek_buf_char(calls, '[');
    ek_buf_str(calls, ek_calls_whole(&c));
    ek_buf_char(calls, ']');
    ek_calls_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ek_str s = ek_str_make((const char *)data, size);
    if (size == 0 || size > 65536) return 0;
    for (int by_text = 0; by_text < 2; by_text++) {
        struct ek_buf text = ek_buf_make(1 << 20), calls = ek_buf_make(1 << 23);
        struct ek_buf text2 = ek_buf_make(1 << 20), calls2 = ek_buf_make(1 << 23);
        hear(s, size, by_text, &text, &calls);
        hear(s, 1 + data[0] % 5u, by_text, &text2, &calls2);
        MUST(ek_str_eq(ek_buf_view(&text), ek_buf_view(&text2)));
        MUST(ek_str_eq(ek_buf_view(&calls), ek_buf_view(&calls2)));
        json_t *v = json_loadb(calls.data, calls.len, JSON_ALLOW_NUL, NULL);
        MUST(v);
        json_decref(v);
        ek_buf_free(&text);
        ek_buf_free(&calls);
        ek_buf_free(&text2);
        ek_buf_free(&calls2);
    }
    return 0;
}
