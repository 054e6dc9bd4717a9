/* SPDX-License-Identifier: MIT */
/* The strict head parser: see parse.h for what is refused and why.
 *
 * A complete head is read in one pass, byte classes from one table. `next` never runs past `end`:
 * whoever needs a byte that has not come says MORE. Bytes already judged are not judged again when a
 * head trickles in: the scan at the top looks only at what is new, for the end of the head and for
 * the two mistakes (a bare LF, a control byte) that would otherwise keep a sender waiting for an
 * answer until its deadline. */
#include "http/parse.h"

#include <stdio.h>

#define TOKEN 1u  /* RFC 9110 5.6.2 */
#define TARGET 2u /* visible ASCII except '#', '"', '<', '>', '\\', '^', '`', '{', '|', '}' */
#define VALUE 4u  /* visible, SP, HTAB, obs-text */
#define HOST 8u   /* reg-name, IPv6 literal, port; no userinfo, no percent */

static const uint8_t class_of[256] = {
    ['\t'] = VALUE, [' '] = VALUE,
    ['!'] = 7, ['"'] = 4, ['#'] = 5, ['$'] = 7, ['%'] = 7, ['&'] = 7, ['\''] = 7, ['('] = 6,
    [')'] = 6, ['*'] = 7, ['+'] = 7, [','] = 6, ['-'] = 15, ['.'] = 15, ['/'] = 6,
    ['0' ... '9'] = 15, [':'] = 14, [';'] = 6, ['<'] = 4, ['='] = 6, ['>'] = 4, ['?'] = 6, ['@'] = 6,
    ['A' ... 'Z'] = 15, ['['] = 14, ['\\'] = 4, [']'] = 14, ['^'] = 5, ['_'] = 15, ['`'] = 5,
    ['a' ... 'z'] = 15, ['{'] = 4, ['|'] = 5, ['}'] = 4, ['~'] = 15, [0x80 ... 0xff] = VALUE,
};

const struct ek_http_limits ek_http_limits_default = {
    .head_bytes = EK_HTTP_HEAD_BYTES_MAX,
    .header_count = EK_HTTP_HEADERS_MAX,
    .target_bytes = EK_HTTP_TARGET_BYTES_MAX,
};

static const struct {
    const char *name, *text;
    int status;
} bads[] = {
#define X(id, status_, name_, text_) {name_, text_, status_},
    EK_HTTP_BADS(X)
#undef X
};

const char *ek_http_bad_name(enum ek_http_bad bad)
{
    MUST(bad < EK_HTTP_BAD_COUNT);
    return bads[bad].name;
}

const char *ek_http_bad_text(enum ek_http_bad bad)
{
    MUST(bad < EK_HTTP_BAD_COUNT);
    return bads[bad].text;
}

const char *ek_http_bad_sentence(enum ek_http_bad bad, char out[EK_HTTP_SENTENCE_BYTES])
{
    int len = snprintf(out, EK_HTTP_SENTENCE_BYTES, "%s.", ek_http_bad_text(bad));
    MUST(len > 1 && (size_t)len < EK_HTTP_SENTENCE_BYTES);
    if (out[0] >= 'a' && out[0] <= 'z') out[0] = (char)(out[0] - 'a' + 'A');
    return out;
}

int ek_http_bad_status(enum ek_http_bad bad)
{
    MUST(bad < EK_HTTP_BAD_COUNT);
    return bads[bad].status;
}

static inline bool is(char c, unsigned class)
{
    return (class_of[(uint8_t)c] & class) != 0;
}

static bool all(struct ek_str s, unsigned class)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is(s.data[i], class)) return false;
    }
    return true;
}

bool ek_http_is_token(struct ek_str s)
{
    return s.len > 0 && all(s, TOKEN);
}

bool ek_http_is_value(struct ek_str s)
{
    return all(s, VALUE);
}

/* Where we are in a head. `facts` that need the whole head (is there a Host, is there a length) are
 * gathered on the way and judged by finish_request and finish_response. */
struct cursor {
    const char *next, *end;
    struct ek_http_head *head;
    const struct ek_http_limits *limits;
    uint32_t hosts, lengths, codings;
    bool says_close, says_keep_alive;
};

static ssize_t bad(struct ek_http_head *head, enum ek_http_bad why)
{
    head->bad = why;
    return EK_HTTP_BAD;
}

/* 1 when CRLF stands at next (and is taken), MORE, or BAD. */
static ssize_t take_crlf(struct cursor *c, enum ek_http_bad otherwise)
{
    if (c->next == c->end) return EK_HTTP_MORE;
    if (*c->next == '\n') return bad(c->head, EK_HTTP_BAD_BARE_LF);
    if (*c->next != '\r') return bad(c->head, otherwise);
    if (c->next + 1 == c->end) return EK_HTTP_MORE;
    if (c->next[1] != '\n') return bad(c->head, EK_HTTP_BAD_BARE_CR);
    c->next += 2;
    return 1;
}

/* A run of bytes of one class, ended by any other byte that has arrived. */
static inline ssize_t take_run(struct cursor *c, unsigned class, struct ek_str *run)
{
    const char *p = c->next, *end = c->end;
    while (p < end && is(*p, class)) {
        p++;
    }
    *run = ek_str_make(c->next, (size_t)(p - c->next));
    c->next = p;
    return p == end ? EK_HTTP_MORE : 1;
}

/* The same for field values, the bulk of a head: eight bytes at a time as long as none is a control
 * byte. v - 20.. borrows into the top bit of a byte below 0x20, v ^ 7f.. is zero where DEL is; a false
 * alarm only sends us to the loop below. */
static inline ssize_t take_value(struct cursor *c, struct ek_str *run)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    const char *from = c->next, *p = from, *end = c->end;
    while (end - p >= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        uint64_t del = v ^ (ones * 0x7f);
        if ((((v - ones * 0x20) & ~v) | ((del - ones) & ~del)) & tops) break;
        p += 8;
    }
    c->next = p;
    ssize_t r = take_run(c, VALUE, run);
    *run = ek_str_make(from, (size_t)(c->next - from));
    return r;
}

/* "HTTP/1.0" or "HTTP/1.1". */
static ssize_t take_version(struct cursor *c, enum ek_http_bad otherwise)
{
    static const char name[] = "HTTP/";
    size_t left = (size_t)(c->end - c->next);
    size_t common = left < 5 ? left : 5;
    if (memcmp(c->next, name, common) != 0) return bad(c->head, otherwise);
    if (left < 8) return EK_HTTP_MORE;
    const char *v = c->next + 5;
    if (v[0] < '0' || v[0] > '9' || v[1] != '.' || v[2] < '0' || v[2] > '9') {
        return bad(c->head, otherwise);
    }
    if (v[0] != '1' || v[2] > '1') return bad(c->head, EK_HTTP_BAD_VERSION);
    c->head->version = 10 + (v[2] - '0');
    c->next += 8;
    return 1;
}

static bool valid_host(struct ek_str host)
{
    return host.len > 0 && host.len <= 255 + 6 && all(host, HOST);
}

/* Split the target (RFC 9112 3.2) into path, query and, for the absolute form, authority. */
static bool split_target(struct ek_http_head *h)
{
    struct ek_str t = h->target;
    if (t.data[0] != '/' && t.data[0] != '*') {
        size_t scheme = 0;
        if (t.len > 7 && strncasecmp(t.data, "http://", 7) == 0) scheme = 7;
        if (t.len > 8 && strncasecmp(t.data, "https://", 8) == 0) scheme = 8;
        if (scheme == 0) return false;
        t = ek_str_skip(t, scheme);
        size_t n = 0;
        while (n < t.len && t.data[n] != '/' && t.data[n] != '?') {
            n++;
        }
        h->host = ek_str_make(t.data, n);
        if (!valid_host(h->host)) return false;
        t = ek_str_skip(t, n);
    } else if (t.data[0] == '*') {
        if (t.len != 1 || !ek_str_eq(h->method, EK_STR("OPTIONS"))) return false;
    }
    const char *mark = t.len > 0 ? memchr(t.data, '?', t.len) : NULL;
    h->path = mark ? ek_str_make(t.data, (size_t)(mark - t.data)) : t;
    if (mark) h->query = ek_str_make(mark + 1, t.len - h->path.len - 1);
    if (h->path.len == 0) h->path = EK_STR("/");
    return true;
}

static ssize_t take_request_line(struct cursor *c)
{
    struct ek_http_head *h = c->head;
    ssize_t r = take_run(c, TOKEN, &h->method);
    if (h->method.len > EK_HTTP_METHOD_BYTES_MAX) return bad(h, EK_HTTP_BAD_METHOD);
    if (r < 0) return r;
    if (h->method.len == 0 || *c->next != ' ') return bad(h, EK_HTTP_BAD_METHOD);
    c->next++;
    r = take_run(c, TARGET, &h->target);
    if (h->target.len > c->limits->target_bytes) return bad(h, EK_HTTP_BAD_TARGET_LONG);
    if (r < 0) return r;
    if (h->target.len == 0) return bad(h, EK_HTTP_BAD_TARGET);
    if (*c->next != ' ') {
        bool line_end = *c->next == '\r' || *c->next == '\n'; /* HTTP/0.9, or a cut line */
        return bad(h, line_end ? EK_HTTP_BAD_REQUEST_LINE : EK_HTTP_BAD_TARGET);
    }
    c->next++;
    r = take_version(c, EK_HTTP_BAD_REQUEST_LINE);
    if (r < 0) return r;
    r = take_crlf(c, EK_HTTP_BAD_REQUEST_LINE);
    if (r < 0) return r;
    return split_target(h) ? 1 : bad(h, EK_HTTP_BAD_TARGET);
}

static ssize_t take_status_line(struct cursor *c)
{
    struct ek_http_head *h = c->head;
    ssize_t r = take_version(c, EK_HTTP_BAD_STATUS_LINE);
    if (r < 0) return r;
    for (int i = 0; i < 4; i++) {
        if (c->next == c->end) return EK_HTTP_MORE;
        bool fits = i == 0 ? *c->next == ' ' : *c->next >= '0' && *c->next <= '9';
        if (!fits) return bad(h, EK_HTTP_BAD_STATUS_LINE);
        if (i > 0) h->status = h->status * 10 + (*c->next - '0');
        c->next++;
    }
    if (h->status < 100 || h->status > 599) return bad(h, EK_HTTP_BAD_STATUS_LINE);
    if (c->next == c->end) return EK_HTTP_MORE;
    if (*c->next == ' ') { /* some servers leave it out with an empty phrase: harmless */
        c->next++;
        r = take_run(c, VALUE, &h->reason);
        if (r < 0) return r;
    }
    return take_crlf(c, EK_HTTP_BAD_STATUS_LINE);
}

/* The next element of a comma separated list; false at its end. */
static bool next_element(struct ek_str *list, struct ek_str *element)
{
    if (list->len == 0) return false;
    const char *comma = memchr(list->data, ',', list->len);
    size_t n = comma ? (size_t)(comma - list->data) : list->len;
    *element = ek_str_make(list->data, n);
    *list = ek_str_skip(*list, comma ? n + 1 : n);
    while (element->len > 0 && (element->data[0] == ' ' || element->data[0] == '\t')) {
        *element = ek_str_skip(*element, 1);
    }
    while (element->len > 0 && (element->data[element->len - 1] == ' ' ||
                                element->data[element->len - 1] == '\t')) {
        element->len--;
    }
    return true;
}

static enum ek_http_bad read_length(struct cursor *c, struct ek_str value)
{
    uint64_t n;
    if (c->lengths++ > 0) return EK_HTTP_BAD_LENGTH_TWICE;
    if (!ek_str_u64(value, &n) || n > INT64_MAX) return EK_HTTP_BAD_LENGTH;
    c->head->content_length = (int64_t)n;
    return EK_HTTP_BAD_NONE;
}

/* The first letter settles nearly all of them without a call. */
static inline bool named(struct ek_str name, struct ek_str lower)
{
    return (name.data[0] | 0x20) == lower.data[0] && ek_str_eq_nocase(name, lower);
}

/* The few fields that decide framing and the life of the connection. */
static enum ek_http_bad read_known(struct cursor *c, struct ek_str name, struct ek_str value)
{
    struct ek_http_head *h = c->head;
    struct ek_str option;
    switch (name.len) {
    case 4:
        if (!named(name, EK_STR("host"))) break;
        c->hosts++;
        if (h->host.data == NULL) h->host = value;
        if (c->hosts > 1 || (value.len > 0 && !valid_host(value))) return EK_HTTP_BAD_HOST;
        break;
    case 6:
        if (!named(name, EK_STR("expect"))) break;
        if (!ek_str_eq_nocase(value, EK_STR("100-continue"))) return EK_HTTP_BAD_EXPECT;
        h->expect_continue = true;
        break;
    case 10:
        if (!named(name, EK_STR("connection"))) break;
        while (next_element(&value, &option)) {
            c->says_close |= ek_str_eq_nocase(option, EK_STR("close"));
            c->says_keep_alive |= ek_str_eq_nocase(option, EK_STR("keep-alive"));
        }
        break;
    case 14:
        if (named(name, EK_STR("content-length"))) return read_length(c, value);
        break;
    case 17:
        if (!named(name, EK_STR("transfer-encoding"))) break;
        if (c->codings++ > 0 || !ek_str_eq_nocase(value, EK_STR("chunked"))) {
            return EK_HTTP_BAD_CODING;
        }
        h->chunked = true;
        break;
    default:
        break;
    }
    return EK_HTTP_BAD_NONE;
}

/* One field line, CRLF included. */
static ssize_t take_field(struct cursor *c)
{
    struct ek_http_head *h = c->head;
    struct ek_str name, value;
    if (*c->next == ' ' || *c->next == '\t') return bad(h, EK_HTTP_BAD_OBS_FOLD);
    if (h->header_count == c->limits->header_count) return bad(h, EK_HTTP_BAD_HEADERS_MANY);
    ssize_t r = take_run(c, TOKEN, &name);
    if (r < 0) return r;
    if (name.len == 0 || *c->next != ':') return bad(h, EK_HTTP_BAD_FIELD_NAME);
    c->next++;
    while (c->next < c->end && (*c->next == ' ' || *c->next == '\t')) {
        c->next++;
    }
    r = take_value(c, &value);
    if (r < 0) return r;
    r = take_crlf(c, EK_HTTP_BAD_FIELD_VALUE);
    if (r < 0) return r;
    while (value.len > 0 && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t')) {
        value.len--;
    }
    enum ek_http_bad why = read_known(c, name, value);
    if (why != EK_HTTP_BAD_NONE) return bad(h, why);
    h->headers[h->header_count++] = (struct ek_http_header){name, value};
    return 1;
}

/* All fields and the empty line behind them, then the questions that need the whole head. */
static ssize_t take_fields(struct cursor *c)
{
    struct ek_http_head *h = c->head;
    for (;;) {
        if (c->next == c->end) return EK_HTTP_MORE;
        if (*c->next == '\r' || *c->next == '\n') break;
        ssize_t r = take_field(c);
        if (r < 0) return r;
    }
    ssize_t r = take_crlf(c, EK_HTTP_BAD_FIELD_NAME);
    if (r < 0) return r;
    if (h->chunked && c->lengths > 0) return bad(h, EK_HTTP_BAD_LENGTH_AND_CODING);
    if (h->chunked && h->version == 10) return bad(h, EK_HTTP_BAD_CODING_OLD);
    h->keep_alive = h->version == 11 ? !c->says_close : c->says_keep_alive && !c->says_close;
    return 1;
}

/* For a head that already answered MORE: search only what is new. 1 when the end has come (or so much
 * that the limit speaks), MORE when not, BAD when a new byte can never be part of a head. */
static ssize_t scan_new(struct cursor *c, size_t prev_len, const char *start)
{
    const char *p = start;
    size_t seen = (size_t)(c->end - start);
    MUST(prev_len <= seen);
    p += prev_len < 3 ? 0 : prev_len - 3; /* CR LF CR may already be there */
    for (; p < c->end; p++) {
        uint8_t b = (uint8_t)*p;
        if (b >= ' ' && b != 0x7f) continue;
        if (b == '\n') {
            if (p == start || p[-1] != '\r') return bad(c->head, EK_HTTP_BAD_BARE_LF);
            if (p - start >= 3 && p[-2] == '\n') return 1;
        } else if (b == '\r') {
            if (p + 1 < c->end && p[1] != '\n') return bad(c->head, EK_HTTP_BAD_BARE_CR);
        } else if (b != '\t') {
            return bad(c->head, EK_HTTP_BAD_FIELD_VALUE);
        }
    }
    return EK_HTTP_MORE;
}

static void reset_head(struct ek_http_head *h)
{
    memset(h, 0, offsetof(struct ek_http_head, headers)); /* the array is filled as far as counted */
    h->content_length = -1;
}

/* What both parsers share: limits before and after, and the way to the fields. */
static ssize_t parse(const char *data, size_t len, size_t prev_len,
                     const struct ek_http_limits *limits, struct ek_http_head *head, size_t skip,
                     ssize_t (*take_first_line)(struct cursor *))
{
    MUST(limits->header_count <= EK_HTTP_HEADERS_MAX);
    MUST(prev_len <= len);
    size_t room = skip + limits->head_bytes;
    struct cursor c = {.next = data + skip, .head = head, .limits = limits};
    c.end = data + (len < room ? len : room);
    ssize_t r = 1;
    if (prev_len > skip) {
        size_t looked_at = prev_len < room ? prev_len - skip : limits->head_bytes;
        r = scan_new(&c, looked_at, data + skip);
    }
    if (r > 0) r = take_first_line(&c);
    if (r > 0) r = take_fields(&c);
    if (r > 0) return c.next - data;
    if (r == EK_HTTP_MORE && len >= room) return bad(head, EK_HTTP_BAD_HEAD_LONG);
    return r;
}

ssize_t ek_http_parse_request(const char *data, size_t len, size_t prev_len,
                              const struct ek_http_limits *limits, struct ek_http_head *head)
{
    size_t skip = 0;
    reset_head(head);
    while (skip < 2 * EK_HTTP_LEADING_CRLF_MAX && skip < len && data[skip] == "\r\n"[skip % 2]) {
        skip++;
    }
    if (skip % 2 == 1) return skip == len ? EK_HTTP_MORE : bad(head, EK_HTTP_BAD_BARE_CR);
    if (skip == len) return EK_HTTP_MORE;
    ssize_t n = parse(data, len, prev_len, limits, head, skip, take_request_line);
    if (n <= 0) return n;
    if (head->version == 11 && head->host.len == 0) return bad(head, EK_HTTP_BAD_HOST);
    struct ek_str unused;
    if (head->version == 11 && ek_http_head_find(head, EK_STR("host"), &unused) != 1) {
        return bad(head, EK_HTTP_BAD_HOST); /* an absolute target does not excuse a missing Host */
    }
    if (head->version == 10) head->expect_continue = false; /* RFC 9110 10.1.1 */
    return n;
}

ssize_t ek_http_parse_response(const char *data, size_t len, size_t prev_len,
                               const struct ek_http_limits *limits, struct ek_http_head *head)
{
    reset_head(head);
    if (len == 0) return EK_HTTP_MORE;
    return parse(data, len, prev_len, limits, head, 0, take_status_line);
}

size_t ek_http_head_find(const struct ek_http_head *head, struct ek_str name, struct ek_str *value)
{
    size_t count = 0;
    *value = EK_STR("");
    for (size_t i = 0; i < head->header_count; i++) {
        if (!ek_str_eq_nocase(head->headers[i].name, name)) continue;
        if (count++ == 0) *value = head->headers[i].value;
    }
    return count;
}
