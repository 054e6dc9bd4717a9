/* SPDX-License-Identifier: MIT */
/* The log of a stream's events. A record in a block: bytes shared with the front of the block's first event,
 * bytes shared with its end, bytes of its own, as numbers of seven bits a byte; then its own bytes. The first
 * record shares nothing. */
#include "door/stream_log.h"

#include <stdlib.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define EVENT_BYTES_MAX (1u << 30)
#define NUMBERS_BYTES_MAX 15u /* three of them, five bytes each */

struct ek_stream_block {
    struct ek_stream_block *newer;
    uint64_t first; /* number of its first event */
    uint32_t count;
    uint32_t cap, len;
    uint32_t whole_at, whole_bytes; /* its first event */
    char data[];
};

/* ---- numbers ---------------------------------------------------------------------------------------- */

static uint32_t put_number(char *out, uint32_t n)
{
    uint32_t len = 0;
    for (; n >= 128; n >>= 7) out[len++] = (char)(n | 128);
    out[len++] = (char)n;
    return len;
}

static uint32_t get_number(const struct ek_stream_block *b, uint32_t *at)
{
    uint32_t n = 0, shift = 0;
    for (;;) {
        MUST(*at < b->len && shift < 32);
        unsigned char c = (unsigned char)b->data[(*at)++];
        n |= (uint32_t)(c & 127u) << shift;
        if (c < 128) return n;
        shift += 7;
    }
}

/* ---- what two events share -------------------------------------------------------------------------- */

#if defined(__SSE2__)
static unsigned equal_bytes(const char *a, const char *b) /* a bit for each of sixteen, the first lowest */
{
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)a);
    __m128i y = _mm_loadu_si128((const __m128i *)(const void *)b);
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y));
}
#endif

/* Sixteen bytes at a time with SSE2, one at a time elsewhere and at the end. */
static uint32_t same_front(const char *a, const char *b, uint32_t max)
{
    uint32_t n = 0;
#if defined(__SSE2__)
    for (; n + 16 <= max; n += 16) {
        unsigned differ = 0xffff ^ equal_bytes(a + n, b + n);
        if (differ) return n + (uint32_t)__builtin_ctz(differ);
    }
#endif
    while (n < max && a[n] == b[n]) n++;
    return n;
}

static uint32_t same_end(const char *a, const char *b, uint32_t max) /* both point behind the last byte */
{
    uint32_t n = 0;
#if defined(__SSE2__)
    for (; n + 16 <= max; n += 16) {
        unsigned differ = 0xffff ^ equal_bytes(a - n - 16, b - n - 16);
        if (differ) return n + (uint32_t)__builtin_clz(differ << 16);
    }
#endif
    while (n < max && a[-1 - (ptrdiff_t)n] == b[-1 - (ptrdiff_t)n]) n++;
    return n;
}

/* ---- adding ----------------------------------------------------------------------------------------- */

static struct ek_stream_block *block_new(struct ek_stream_log *l, uint32_t need)
{
    size_t cap = l->bytes / 2;
    if (cap < EK_STREAM_BLOCK_BYTES_MIN) cap = EK_STREAM_BLOCK_BYTES_MIN;
    if (cap > EK_STREAM_BLOCK_BYTES_MAX) cap = EK_STREAM_BLOCK_BYTES_MAX;
    if (cap < need) cap = need;
    struct ek_stream_block *b = malloc(sizeof *b + cap);
    if (!b) return NULL;
    *b = (struct ek_stream_block){.first = l->last + 1, .cap = (uint32_t)cap};
    if (l->newest) l->newest->newer = b;
    else l->oldest = b;
    l->newest = b;
    l->bytes += sizeof *b + cap;
    return b;
}

void ek_stream_log_diff(struct ek_str whole, struct ek_str payload, uint32_t *front, uint32_t *end)
{
    size_t most = payload.len < whole.len ? payload.len : whole.len;
    MUST(most <= EVENT_BYTES_MAX);
    *front = same_front(whole.data, payload.data, (uint32_t)most);
    *end = same_end(whole.data + whole.len, payload.data + payload.len, (uint32_t)most - *front);
}

void ek_stream_log_near(const struct ek_stream_log *l)
{
    const struct ek_stream_block *b = l->newest;
    if (!b) return;
    EK_NEAR(b, 320); /* most of its first event */
    EK_NEAR(b->data + b->len, 64);
}

bool ek_stream_log_add(struct ek_stream_log *l, struct ek_str payload)
{
    struct ek_stream_block *b = l->newest;
    MUST(!b || b->count > 0);
    if (payload.len > EVENT_BYTES_MAX) return false;
    uint32_t len = (uint32_t)payload.len, front = 0, end = 0;
    if (b)
        ek_stream_log_diff(ek_str_make(b->data + b->whole_at, b->whole_bytes), payload, &front, &end);
    if (!b || b->cap - b->len < NUMBERS_BYTES_MAX + (len - front - end)) {
        b = block_new(l, NUMBERS_BYTES_MAX + len);
        front = end = 0;
        if (!b) return false;
    }
    uint32_t own = len - front - end;
    b->len += put_number(b->data + b->len, front);
    b->len += put_number(b->data + b->len, end);
    b->len += put_number(b->data + b->len, own);
    if (!b->count) {
        b->whole_at = b->len;
        b->whole_bytes = len;
    }
    if (own) memcpy(b->data + b->len, payload.data + front, own);
    b->len += own;
    b->count++;
    if (l->oldest == b && b->count == 1) l->first = b->first;
    l->last++;
    MUST(b->len <= b->cap && b->first + b->count == l->last + 1);
    return true;
}

static void drop_oldest(struct ek_stream_log *l)
{
    struct ek_stream_block *b = l->oldest;
    l->oldest = b->newer;
    if (!l->oldest) l->newest = NULL;
    l->bytes -= sizeof *b + b->cap;
    l->first = l->oldest ? l->oldest->first : l->last + 1;
    free(b);
}

void ek_stream_log_trim(struct ek_stream_log *l, size_t bytes)
{
    while (l->bytes > bytes && l->oldest != l->newest) drop_oldest(l);
}

void ek_stream_log_skip(struct ek_stream_log *l)
{
    while (l->oldest) drop_oldest(l);
    l->last++;
    l->first = l->last + 1;
}

void ek_stream_log_free(struct ek_stream_log *l)
{
    while (l->oldest) drop_oldest(l);
    MUST(l->bytes == 0);
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static const struct ek_stream_block *block_of(const struct ek_stream_log *l, uint64_t number)
{
    const struct ek_stream_block *b = l->newest;
    if (number >= b->first) return b; /* nearly always */
    for (b = l->oldest; number >= b->first + b->count; b = b->newer) MUST(b->newer);
    return b;
}

static void skip(const struct ek_stream_block *b, uint32_t *at)
{
    (void)get_number(b, at);
    (void)get_number(b, at);
    uint32_t own = get_number(b, at);
    *at += own;
}

bool ek_stream_log_read(const struct ek_stream_log *l, struct ek_stream_cursor *c, struct ek_buf *out)
{
    if (c->next == 0) c->next = 1;
    if (!l->newest || c->next < l->first || c->next > l->last) return false;
    const struct ek_stream_block *b = block_of(l, c->next);
    if (c->block != b->first) { /* not in the place it remembers */
        c->block = b->first;
        c->at = 0;
        for (uint64_t n = b->first; n < c->next; n++) skip(b, &c->at);
    }
    uint32_t at = c->at;
    uint32_t front = get_number(b, &at), end = get_number(b, &at), own = get_number(b, &at);
    const char *whole = b->data + b->whole_at;
    MUST(at + own <= b->len && front + end <= b->whole_bytes);
    ek_buf_put(out, whole, front);
    ek_buf_put(out, b->data + at, own);
    ek_buf_put(out, whole + b->whole_bytes - end, end);
    c->at = at + own;
    c->next++;
    return true;
}
