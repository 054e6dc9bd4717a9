/* SPDX-License-Identifier: MIT */
/* The growing, bounded buffer. Growth doubles so that n puts cost O(n); the first block is small
 * because thousands of waiting requests hold one. */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#define BUF_FIRST_BYTES 64

static void check(const struct ek_buf *b)
{
    MUST(b->len <= b->cap);
    MUST(b->cap <= b->max || b->cap == 0);
}

void ek_buf_free(struct ek_buf *b)
{
    check(b);
    free(b->data);
    *b = (struct ek_buf){.max = b->max};
}

char *ek_buf_reserve(struct ek_buf *b, size_t more)
{
    check(b);
    MUST(b->max > 0);
    if (b->failed) return NULL;
    if (more <= b->cap - b->len) return b->data + b->len;
    if (more > b->max - b->len) goto fail;
    size_t need = b->len + more;
    size_t cap = b->cap ? b->cap : BUF_FIRST_BYTES;
    while (cap < need) cap = cap > b->max / 2 ? b->max : cap * 2;
    if (cap > b->max) cap = b->max;
    char *data = realloc(b->data, cap);
    if (!data) goto fail;
    b->data = data;
    b->cap = cap;
    return data + b->len;
fail:
    b->failed = true;
    return NULL;
}

void ek_buf_put_slowly(struct ek_buf *b, const char *data, size_t len)
{
    char *to = ek_buf_reserve(b, len);
    if (!to) return;
    memcpy(to, data, len);
    b->len += len;
}

void ek_buf_u64(struct ek_buf *b, uint64_t v)
{
    char text[20];
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    ek_buf_put(b, text + at, sizeof text - at);
}

void ek_buf_i64(struct ek_buf *b, int64_t v)
{
    if (v < 0) ek_buf_char(b, '-');
    ek_buf_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void ek_buf_printf(struct ek_buf *b, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    MUST(n >= 0);
    if ((size_t)n < sizeof text) {
        ek_buf_put(b, text, (size_t)n);
        return;
    }
    char *to = ek_buf_reserve(b, (size_t)n + 1);
    if (!to) return;
    va_start(args, fmt);
    int again = vsnprintf(to, (size_t)n + 1, fmt, args);
    va_end(args);
    MUST(again == n);
    b->len += (size_t)n;
}

void ek_buf_drop(struct ek_buf *b, size_t n)
{
    MUST(n <= b->len);
    if (n == 0) return;
    b->len -= n;
    if (b->len) memmove(b->data, b->data + n, b->len);
}

void ek_buf_shrink(struct ek_buf *b)
{
    check(b);
    if (b->cap == b->len) return;
    if (b->len == 0) {
        bool failed = b->failed;
        ek_buf_free(b);
        b->failed = failed;
        return;
    }
    char *data = realloc(b->data, b->len);
    if (!data) return; /* keeping the larger block is no error */
    b->data = data;
    b->cap = b->len;
}

const char *ek_buf_cstr(struct ek_buf *b)
{
    char *end = ek_buf_reserve(b, 1);
    if (!end) return NULL;
    *end = '\0';
    return b->data;
}
