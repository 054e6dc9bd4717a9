/* SPDX-License-Identifier: MIT */
/* Server-sent events: see sse.h.
 *
 * Reading is by lines. A line that lies whole in the input is looked at where it lies; one that
 * straddles inputs is gathered in `line`. The first data line stays a view (`view`) for as long as
 * the input does; a second one, or the end of the input, moves it into `data`. */
#include "http/sse.h"

#include <stdlib.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Few servers name their events, and each open stream has a reader. */
struct ek_sse_names {
    struct ek_buf type, id;
};

/* NULL: without memory, and the reader has failed. */
static struct ek_sse_names *names_of(struct ek_sse *s)
{
    if (s->names) return s->names;
    s->names = malloc(sizeof *s->names);
    if (s->names) *s->names = (struct ek_sse_names){ek_buf_make(s->line.max), ek_buf_make(s->line.max)};
    else s->line.failed = true;
    return s->names;
}

void ek_sse_init(struct ek_sse *s, size_t event_bytes_max)
{
    size_t max = event_bytes_max ? event_bytes_max : EK_SSE_EVENT_BYTES_MAX;
    *s = (struct ek_sse){.retry_ms = -1, .bom_left = 3};
    s->line = ek_buf_make(max);
    s->data = ek_buf_make(max);
}

void ek_sse_free(struct ek_sse *s)
{
    ek_buf_free(&s->line);
    ek_buf_free(&s->data);
    if (!s->names) return;
    ek_buf_free(&s->names->type);
    ek_buf_free(&s->names->id);
    free(s->names);
    s->names = NULL;
}

bool ek_sse_is_open(const struct ek_sse *s)
{
    bool typed = s->names && s->names->type.len > 0;
    return !s->given && (s->line.len > 0 || s->in_view || s->in_data || typed || s->has_id);
}

/* First CR or LF in p[0..n), or n: with SSE2 64 bytes at a time while none of them is a control byte up to
 * CR, then sixteen; eight elsewhere and at the end. A byte
 * b equals c exactly where b ^ c is 0; (v - 01..) & ~v & 80.. marks the lowest zero byte of v (Hacker's
 * Delight, 6-1). */
static size_t line_end(const char *p, size_t n)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    size_t i = 0;
#if defined(__SSE2__)
    const __m128i lf = _mm_set1_epi8('\n'), cr = _mm_set1_epi8('\r');
    for (; i + 64 <= n; i += 64) {
        const __m128i *at = (const __m128i *)(const void *)(p + i);
        __m128i a = _mm_min_epu8(_mm_loadu_si128(at), _mm_loadu_si128(at + 1));
        __m128i b = _mm_min_epu8(_mm_loadu_si128(at + 2), _mm_loadu_si128(at + 3));
        __m128i least = _mm_min_epu8(a, b);
        if (_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(least, cr), least))) break;
    }
    for (; i + 16 <= n; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        int ends = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, lf), _mm_cmpeq_epi8(v, cr)));
        if (ends) return i + (size_t)__builtin_ctz((unsigned)ends);
    }
#endif
    for (; i + 8 <= n; i += 8) {
        uint64_t v;
        memcpy(&v, p + i, 8);
        uint64_t a = v ^ (ones * '\n'), b = v ^ (ones * '\r');
        if ((((a - ones) & ~a) | ((b - ones) & ~b)) & tops) break;
    }
    while (i < n && p[i] != '\n' && p[i] != '\r') {
        i++;
    }
    return i;
}

/* The byte order mark at the very start is no part of the first line. It may come byte by byte. */
static void skip_bom(struct ek_sse *s, struct ek_str *input)
{
    static const char mark[3] = "\xef\xbb\xbf";
    while (s->bom_left <= 3 && s->bom_left > 0 && input->len > 0) {
        if (input->data[0] != mark[3 - s->bom_left]) {
            /* Not a mark after all: what looked like one begins the first line. */
            ek_buf_put(&s->line, mark, 3u - s->bom_left);
            break;
        }
        *input = ek_str_skip(*input, 1);
        s->bom_left--;
        if (s->bom_left > 0 && input->len == 0) return;
    }
    if (input->len > 0 || s->bom_left == 0) s->bom_left = 255;
}

/* Take one whole line off the input: true with *line (a view of input or of s->line). */
static bool take_line(struct ek_sse *s, struct ek_str *input, struct ek_str *line)
{
    if (s->skip_lf && input->len > 0) {
        if (input->data[0] == '\n') *input = ek_str_skip(*input, 1);
        s->skip_lf = false;
    }
    size_t n = line_end(input->data, input->len);
    if (n == input->len) {
        ek_buf_put(&s->line, input->data, n);
        *input = ek_str_skip(*input, n);
        return false;
    }
    *line = ek_str_make(input->data, n);
    if (s->line.len > 0) {
        ek_buf_put(&s->line, input->data, n);
        *line = ek_buf_view(&s->line);
    }
    bool cr = input->data[n] == '\r';
    *input = ek_str_skip(*input, n + 1);
    if (cr && input->len > 0 && input->data[0] == '\n') *input = ek_str_skip(*input, 1);
    else s->skip_lf = cr;
    return true;
}

/* What stays when the input goes: the view becomes a copy. */
static void keep_view(struct ek_sse *s)
{
    if (!s->in_view) return;
    ek_buf_str(&s->data, s->view);
    s->in_view = false;
    s->in_data = true;
}

static void add_data(struct ek_sse *s, struct ek_str value, bool in_input)
{
    if (!s->in_view && !s->in_data && in_input) {
        s->view = value;
        s->in_view = true;
        return;
    }
    keep_view(s);
    if (s->in_data) ek_buf_char(&s->data, '\n');
    ek_buf_str(&s->data, value);
    s->in_data = true;
}

/* A line with a field: name, optional colon, optional blank, value. Unknown names are ignored. */
static void take_field(struct ek_sse *s, struct ek_str line, bool in_input)
{
    const char *colon = memchr(line.data, ':', line.len);
    struct ek_str name = line, value = EK_STR("");
    if (colon) {
        name.len = (size_t)(colon - line.data);
        value = ek_str_skip(line, name.len + 1);
        if (value.len > 0 && value.data[0] == ' ') value = ek_str_skip(value, 1);
    }
    if (ek_str_eq(name, EK_STR("data"))) {
        add_data(s, value, in_input);
    } else if (ek_str_eq(name, EK_STR("event"))) {
        struct ek_sse_names *names = names_of(s);
        if (!names) return;
        ek_buf_clear(&names->type);
        ek_buf_str(&names->type, value);
    } else if (ek_str_eq(name, EK_STR("id"))) {
        if (value.len > 0 && memchr(value.data, 0, value.len)) return; /* as the standard says */
        struct ek_sse_names *names = names_of(s);
        if (!names) return;
        ek_buf_clear(&names->id);
        ek_buf_str(&names->id, value);
        s->has_id = true;
    } else if (ek_str_eq(name, EK_STR("retry"))) {
        uint64_t ms;
        if (ek_str_u64(value, &ms) && ms <= INT64_MAX) s->retry_ms = (int64_t)ms;
    }
}

/* The empty line: an event if there was data, else only an end of what was gathered. */
static bool take_event(struct ek_sse *s, struct ek_sse_item *item)
{
    if (!s->in_view && !s->in_data) return false;
    item->data = s->in_view ? s->view : ek_buf_view(&s->data);
    item->type = s->names ? ek_buf_view(&s->names->type) : ek_str_make(NULL, 0);
    item->id = s->names ? ek_buf_view(&s->names->id) : ek_str_make(NULL, 0);
    item->has_id = s->has_id;
    s->given = true;
    return true;
}

static void forget_event(struct ek_sse *s)
{
    ek_buf_clear(&s->data);
    if (s->names) {
        ek_buf_clear(&s->names->type);
        ek_buf_clear(&s->names->id);
    }
    s->in_view = s->in_data = s->has_id = s->given = false;
}

static bool overflowed(const struct ek_sse *s)
{
    bool names = s->names && (s->names->type.failed || s->names->id.failed);
    return s->line.failed || s->data.failed || names;
}

/* What servers send with each token, and nothing is left of before: a data line and an empty one, whole. */
static bool take_plain_event(struct ek_sse *s, struct ek_str *input, struct ek_sse_item *item)
{
    struct ek_str begin = EK_STR("data: ");
    if (s->line.len || s->skip_lf || s->in_view || s->in_data || s->has_id || s->names) return false;
    if (!ek_str_starts(*input, begin)) return false;
    struct ek_str value = ek_str_skip(*input, begin.len);
    size_t n = line_end(value.data, value.len);
    if (value.len - n < 2 || value.data[n] != '\n' || value.data[n + 1] != '\n') return false;
    *input = ek_str_skip(value, n + 2);
    s->view = item->data = ek_str_make(value.data, n);
    s->in_view = s->given = true;
    return true;
}

enum ek_sse_result ek_sse_read(struct ek_sse *s, struct ek_str *input, struct ek_sse_item *item)
{
    struct ek_str line;
    *item = (struct ek_sse_item){0};
    if (overflowed(s)) return EK_SSE_TOO_LARGE;
    if (s->given) forget_event(s);
    if (s->bom_left <= 3) skip_bom(s, input);
    if (take_plain_event(s, input, item)) return EK_SSE_EVENT;
    while (input->len > 0) {
        /* A line gathered in `line` was used up by the item before, or is still being gathered. */
        bool gathered = s->line.len > 0;
        if (!take_line(s, input, &line)) break;
        if (overflowed(s)) return EK_SSE_TOO_LARGE;
        bool is_comment = line.len > 0 && line.data[0] == ':';
        if (is_comment) {
            item->data = ek_str_skip(line, line.len > 1 && line.data[1] == ' ' ? 2 : 1);
        } else if (line.len > 0) {
            take_field(s, line, !gathered);
        }
        bool is_event = line.len == 0 && take_event(s, item);
        s->line.len = 0; /* the bytes stay until the next put: the item may point at them */
        if (is_comment) return EK_SSE_COMMENT;
        if (is_event) return EK_SSE_EVENT;
        if (line.len == 0) forget_event(s);
    }
    keep_view(s);
    return overflowed(s) ? EK_SSE_TOO_LARGE : EK_SSE_MORE;
}

void ek_sse_put_id(struct ek_buf *b, uint64_t id)
{
    char text[32], *end = text + sizeof text, *at = end;
    *--at = '\n';
    do {
        *--at = (char)('0' + id % 10);
        id /= 10;
    } while (id);
    at -= 4;
    memcpy(at, "id: ", 4);
    ek_buf_put(b, at, (size_t)(end - at));
}

void ek_sse_put_type(struct ek_buf *b, struct ek_str type)
{
    if (line_end(type.data, type.len) < type.len) return;
    ek_buf_lit(b, "event: ");
    ek_buf_str(b, type);
    ek_buf_char(b, '\n');
}

void ek_sse_put_retry(struct ek_buf *b, uint64_t retry_ms)
{
    ek_buf_lit(b, "retry: ");
    ek_buf_u64(b, retry_ms);
    ek_buf_char(b, '\n');
}

void ek_sse_put_data(struct ek_buf *b, struct ek_str data)
{
    for (;;) {
        size_t n = line_end(data.data, data.len);
        ek_buf_lit(b, "data: ");
        ek_buf_put(b, data.data, n);
        ek_buf_char(b, '\n');
        if (n == data.len) break;
        bool crlf = data.data[n] == '\r' && n + 1 < data.len && data.data[n + 1] == '\n';
        data = ek_str_skip(data, n + (crlf ? 2 : 1));
    }
    ek_buf_char(b, '\n');
}

void ek_sse_put_comment(struct ek_buf *b, struct ek_str text)
{
    ek_buf_lit(b, ": ");
    while (text.len > 0) {
        size_t n = line_end(text.data, text.len);
        ek_buf_put(b, text.data, n);
        if (n < text.len) ek_buf_char(b, ' ');
        text = ek_str_skip(text, n < text.len ? n + 1 : n);
    }
    ek_buf_lit(b, "\n\n");
}
