/* SPDX-License-Identifier: MIT */
/* Event streams: however the bytes are split, the items are those of the whole. The first byte of the
 * input seeds the splits. */
#include "base/random.h"
#include "http/sse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void transcribe(const char *data, size_t len, struct ek_random *random, struct ek_buf *out)
{
    struct ek_sse s;
    ek_sse_init(&s, 1u << 20);
    for (size_t at = 0, n; at < len; at += n) {
        n = random ? 1 + ek_random_below(random, len - at) : len;
        char *piece = malloc(n);
        MUST(piece);
        memcpy(piece, data + at, n);
        struct ek_str input = ek_str_make(piece, n);
        struct ek_sse_item item;
        enum ek_sse_result r;
        while ((r = ek_sse_read(&s, &input, &item)) != EK_SSE_MORE) {
            MUST(r != EK_SSE_TOO_LARGE);
            ek_buf_char(out, r == EK_SSE_EVENT ? 'E' : 'C');
            ek_buf_u64(out, item.type.len);
            ek_buf_str(out, item.type);
            ek_buf_u64(out, item.id.len);
            ek_buf_str(out, item.id);
            ek_buf_u64(out, item.data.len);
            ek_buf_str(out, item.data);
        }
        MUST(input.len == 0);
        free(piece);
    }
    ek_buf_char(out, ek_sse_is_open(&s) ? 'o' : 'c');
    ek_buf_i64(out, s.retry_ms);
    ek_sse_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1u << 16) return 0;
    struct ek_random random = ek_random_make(data[0]);
    struct ek_buf whole = ek_buf_make(1u << 24), split = ek_buf_make(1u << 24);
    transcribe((const char *)data + 1, size - 1, NULL, &whole);
    transcribe((const char *)data + 1, size - 1, &random, &split);
    MUST(ek_str_eq(ek_buf_view(&whole), ek_buf_view(&split)));
    ek_buf_free(&whole);
    ek_buf_free(&split);
    return 0;
}
