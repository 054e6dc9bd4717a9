/* SPDX-License-Identifier: MIT */
/* The strict head parser and chunk decoder: the smuggling matrix (25 malformed or ambiguous requests
 * and their kin), and what must be accepted. Every input lies flush against a page that must not be
 * touched, is tried at every prefix, and is trickled in. */
#include "cm.h"

#include "base/random.h"
#include "http/parse.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROOM (256u << 10)
static char *fence; /* one past the last byte that may be read */

static int setup(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *map = mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + ROOM, page, PROT_NONE) != 0) return -1;
    fence = map + ROOM;
    return 0;
}

static char *at_fence(const char *data, size_t len)
{
    assert_true(len <= ROOM);
    memcpy(fence - len, data, len);
    return fence - len;
}

typedef ssize_t parse_fn(const char *, size_t, size_t, const struct ek_http_limits *,
                         struct ek_http_head *);

/* A trickled head is only judged as a whole once its end has come; until then MORE is right. */
static bool ends(const char *data, size_t len)
{
    return memmem(data, len, "\r\n\r\n", 4) != NULL;
}

/* The verdict on the whole; every prefix and every way of growing must agree with it. */
static ssize_t parse_all_ways(parse_fn *parse, const char *data, size_t len, struct ek_http_head *h)
{
    struct ek_http_head part;
    const struct ek_http_limits *limits = &ek_http_limits_default;
    ssize_t whole = parse(at_fence(data, len), len, 0, limits, h);
    for (size_t n = 0; n < len; n++) { /* each prefix afresh */
        ssize_t r = parse(at_fence(data, n), n, 0, limits, &part);
        if (whole > 0) assert_int_equal(r, n < (size_t)whole ? EK_HTTP_MORE : whole);
        if (whole == EK_HTTP_MORE) assert_int_equal(r, EK_HTTP_MORE);
        if (whole == EK_HTTP_BAD) assert_true(r == EK_HTTP_BAD || r == EK_HTTP_MORE);
    }
    for (size_t step = 1; step <= 3; step++) { /* a trickle */
        size_t prev = 0;
        ssize_t r = EK_HTTP_MORE;
        for (size_t n = step; r == EK_HTTP_MORE; n = n + step < len ? n + step : len) {
            r = parse(at_fence(data, n < len ? n : len), n < len ? n : len, prev, limits, &part);
            prev = n;
            if (n >= len) break;
        }
        if (whole > 0) assert_int_equal(r, whole);
        if (whole == EK_HTTP_BAD && ends(data, len)) assert_int_equal(r, EK_HTTP_BAD);
    }
    return parse(at_fence(data, len), len, 0, limits, h);
}

struct bytes_case {
    const char *what;
    const char *data;
    size_t len;
    enum ek_http_bad why;
};
#define C(what, text, why) {what, text, sizeof(text) - 1, EK_HTTP_BAD_##why}
#define POST "POST / HTTP/1.1\r\nHost: x\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

/* The 25 of the matrix first (those about chunks are below), then more of the same kinds. */
static const struct bytes_case refused[] = {
    C("CL+TE", POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", LENGTH_AND_CODING),
    C("TE+CL", POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", LENGTH_AND_CODING),
    C("CL twice, same", POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", LENGTH_TWICE),
    C("CL twice, differ", POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", LENGTH_TWICE),
    C("CL: +5", POST "Content-Length: +5\r\n\r\n", LENGTH),
    C("CL: 5,5", POST "Content-Length: 5,5\r\n\r\n", LENGTH),
    C("space before colon of CL", POST "Content-Length : 5\r\n\r\n", FIELD_NAME),
    C("space before colon of TE", POST "Transfer-Encoding : chunked\r\n\r\n", FIELD_NAME),
    C("TE: xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n", CODING),
    C("TE: chunked, identity", POST "Transfer-Encoding: chunked, identity\r\n\r\n", CODING),
    C("TE: identity, chunked", POST "Transfer-Encoding: identity, chunked\r\n\r\n", CODING),
    C("TE twice", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", CODING),
    C("bare LF everywhere", "GET / HTTP/1.1\nHost: x\n\n", BARE_LF),
    C("bare LF after a field", "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", BARE_LF),
    C("bare LF at the end", "GET / HTTP/1.1\r\nHost: x\r\n\n", BARE_LF),
    C("bare CR in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", BARE_CR),
    C("NUL in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", FIELD_VALUE),
    C("obs-fold", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", OBS_FOLD),
    C("obs-fold of the first field", "GET / HTTP/1.1\r\n Host: x\r\n\r\n", OBS_FOLD),
    C("no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", HOST),
    C("two Hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", HOST),
    C("TE with 1.0", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", CODING_OLD),
    C("control byte in the method", "G\x01T / HTTP/1.1\r\nHost: x\r\n\r\n", METHOD),
    C("HTTP/9.9", "GET / HTTP/9.9\r\nHost: x\r\n\r\n", VERSION),
    /* kin */
    C("HTTP/1.2", "GET / HTTP/1.2\r\nHost: x\r\n\r\n", VERSION),
    C("HTTP/0.9", "GET /\r\n", REQUEST_LINE),
    C("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION),
    C("http/1.1", "GET / http/1.1\r\nHost: x\r\n\r\n", REQUEST_LINE),
    C("HTTP/1.1 and a blank", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n", REQUEST_LINE),
    C("two blanks", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", TARGET),
    C("tab for a blank", "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", METHOD),
    C("TLS hello", "\x16\x03\x01\x02\x00\x01\x00", METHOD),
    C("blank in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", REQUEST_LINE),
    C("raw UTF-8 in the target", "GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", TARGET),
    C("fragment", "GET /#a HTTP/1.1\r\nHost: x\r\n\r\n", TARGET),
    C("relative target", "GET a HTTP/1.1\r\nHost: x\r\n\r\n", TARGET),
    C("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", TARGET),
    C("* for GET", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", TARGET),
    C("absolute without host", "GET http:/// HTTP/1.1\r\nHost: x\r\n\r\n", TARGET),
    C("absolute with user", "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", TARGET),
    C("absolute, no Host", "GET http://h/ HTTP/1.1\r\n\r\n", HOST),
    C("Host with a slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HOST),
    C("Host with user", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", HOST),
    C("two hosts in one", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HOST),
    C("Host empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", HOST),
    C("CL empty", POST "Content-Length:\r\n\r\n", LENGTH),
    C("CL negative", POST "Content-Length: -1\r\n\r\n", LENGTH),
    C("CL hex", POST "Content-Length: 0x5\r\n\r\n", LENGTH),
    C("CL beyond 64 bits", POST "Content-Length: 18446744073709551621\r\n\r\n", LENGTH),
    C("CL beyond 63 bits", POST "Content-Length: 9223372036854775808\r\n\r\n", LENGTH),
    C("TE: identity", POST "Transfer-Encoding: identity\r\n\r\n", CODING),
    C("TE with a vertical tab", POST "Transfer-Encoding: \x0b" "chunked\r\n\r\n", FIELD_VALUE),
    C("no colon", POST "nonsense\r\n\r\n", FIELD_NAME),
    C("empty name", POST ": a\r\n\r\n", FIELD_NAME),
    C("UTF-8 name", POST "\xc3\xa9: a\r\n\r\n", FIELD_NAME),
    C("DEL in a value", POST "A: \x7f\r\n\r\n", FIELD_VALUE),
    C("unknown expectation", POST "Expect: 200-ok\r\n\r\n", EXPECT),
    C("three empty lines first", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", METHOD),
    C("LF first", "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", METHOD),
};

static void test_refused(void **state)
{
    (void)state;
    struct ek_http_head h;
    for (size_t i = 0; i < EK_COUNT(refused); i++) {
        const struct bytes_case *c = &refused[i];
        ssize_t r = parse_all_ways(ek_http_parse_request, c->data, c->len, &h);
        if (r != EK_HTTP_BAD || h.bad != c->why) {
            fail_msg("%s: returned %zd, %s instead of %s", c->what, r,
                     r == EK_HTTP_BAD ? ek_http_bad_name(h.bad) : "-", ek_http_bad_name(c->why));
        }
        assert_in_range(ek_http_bad_status(h.bad), 400, 505);
    }
}

static const struct bytes_case refused_chunks[] = {
    C("LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", CHUNK_LINE),
    C("0x", "0x5\r\nhello\r\n0\r\n\r\n", CHUNK_SIZE),
    C("huge size", "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n", CHUNK_SIZE),
    C("data without CRLF", "5\r\nhelloX0\r\n\r\n", CHUNK_END),
    /* kin */
    C("CR alone after data", "5\r\nhello\rX", CHUNK_END),
    C("LF alone after the size", "5\nhello\r\n0\r\n\r\n", CHUNK_SIZE),
    C("blank after the size", "5 \r\nhello\r\n", CHUNK_SIZE),
    C("empty size", "\r\nhello", CHUNK_SIZE),
    C("negative", "-5\r\n", CHUNK_SIZE),
    C("NUL in an extension", "5;\0\r\n", CHUNK_LINE),
    C("CR in an extension", "5;a\rb", CHUNK_LINE),
    C("LF ends the last chunk", "0\r\n\n", TRAILER),
    C("trailer without colon", "0\r\nabc\r\n\r\n", TRAILER),
    C("trailer with NUL", "0\r\na: \0\r\n\r\n", TRAILER),
    C("trailer fold", "0\r\na: b\r\n c\r\n\r\n", TRAILER),
};

/* Decode with pieces of at most `step` bytes; result as the decoder's, payload into out. */
static ssize_t decode(const char *data, size_t len, size_t step, struct ek_http_chunks *c, char *out,
                      size_t *out_len)
{
    size_t at = 0;
    *c = (struct ek_http_chunks){0};
    *out_len = 0;
    while (at < len && !ek_http_chunks_done(c)) {
        size_t n = len - at < step ? len - at : step;
        struct ek_str payload;
        ssize_t r = ek_http_chunks_read(c, at_fence(data + at, n), n, &payload);
        if (r < 0) return r;
        assert_true(r > 0);
        memcpy(out + *out_len, payload.data, payload.len);
        *out_len += payload.len;
        at += (size_t)r;
    }
    return ek_http_chunks_done(c) ? (ssize_t)at : EK_HTTP_MORE;
}

static void test_refused_chunks(void **state)
{
    (void)state;
    struct ek_http_chunks c;
    char out[256];
    size_t n;
    for (size_t i = 0; i < EK_COUNT(refused_chunks); i++) {
        const struct bytes_case *k = &refused_chunks[i];
        for (size_t step = 1; step <= k->len; step++) {
            ssize_t r = decode(k->data, k->len, step, &c, out, &n);
            if (r != EK_HTTP_BAD || c.bad != k->why) {
                fail_msg("%s, step %zu: %zd, %s", k->what, step, r, ek_http_bad_name(c.bad));
            }
            struct ek_str payload;
            assert_int_equal(ek_http_chunks_read(&c, "x", 1, &payload), EK_HTTP_BAD);
        }
    }
}

static void test_chunks(void **state)
{
    (void)state;
    static const char body[] = "5\r\nhello\r\n1;name=value;q=\"a b\"\r\n \r\nA\r\n0123456789\r\n"
                               "000\r\nTrailer: dropped\r\nX:\r\n\r\nGET / HT";
    struct ek_http_chunks c;
    char out[256];
    size_t n;
    for (size_t step = 1; step < sizeof body; step++) {
        assert_int_equal(decode(body, sizeof body - 1, step, &c, out, &n), sizeof body - 9);
        assert_int_equal(n, 16);
        assert_memory_equal(out, "hello 0123456789", 16);
    }
    for (size_t len = 0; len < sizeof body - 9; len++) { /* a cut body is never a complete one */
        assert_int_equal(decode(body, len, 7, &c, out, &n), EK_HTTP_MORE);
    }
}

static void test_chunk_limits(void **state)
{
    (void)state;
    struct ek_http_chunks c;
    char line[EK_HTTP_TRAILER_BYTES_MAX + 64];
    char out[8];
    size_t n;
    memset(line, 'a', sizeof line);
    memcpy(line, "5;", 2);
    assert_int_equal(decode(line, sizeof line, 100, &c, out, &n), EK_HTTP_BAD);
    assert_int_equal(c.bad, EK_HTTP_BAD_CHUNK_LINE);
    memset(line, '0', sizeof line);
    assert_int_equal(decode(line, sizeof line, 100, &c, out, &n), EK_HTTP_BAD);
    memset(line, 'a', sizeof line);
    memcpy(line, "0\r\na:", 5);
    assert_int_equal(decode(line, sizeof line, 100, &c, out, &n), EK_HTTP_BAD);
    assert_int_equal(c.bad, EK_HTTP_BAD_TRAILER);
}

static void expect(struct ek_str got, const char *want)
{
    if (!ek_str_eq(got, ek_str_of(want))) {
        fail_msg("got \"%.*s\", wanted \"%s\"", (int)got.len, got.data, want);
    }
}

static void test_request(void **state)
{
    (void)state;
    struct ek_http_head h;
    struct ek_str v;
    static const char text[] =
        "\r\nPOST /v1/chat/completions?a=b?c HTTP/1.1\r\nhost: api.example.com:8080\r\n"
        "Content-Length: 0012\r\nAuthorization:Bearer x\t \r\nConnection: foo, Close\r\n"
        "X-Empty:\r\nExpect: 100-Continue\r\nX-Twice: 1\r\nx-twice: \xc3\xa9\r\n\r\nbody";
    ssize_t n = parse_all_ways(ek_http_parse_request, text, sizeof text - 1, &h);
    assert_int_equal(n, sizeof text - 5);
    expect(h.method, "POST");
    expect(h.target, "/v1/chat/completions?a=b?c");
    expect(h.path, "/v1/chat/completions");
    expect(h.query, "a=b?c");
    expect(h.host, "api.example.com:8080");
    assert_int_equal(h.version, 11);
    assert_int_equal(h.content_length, 12);
    assert_int_equal(h.header_count, 8);
    assert_true(h.expect_continue && !h.keep_alive && !h.chunked);
    assert_int_equal(ek_http_head_find(&h, EK_STR("authorization"), &v), 1);
    expect(v, "Bearer x");
    assert_int_equal(ek_http_head_find(&h, EK_STR("X-TWICE"), &v), 2);
    expect(v, "1");
    assert_int_equal(ek_http_head_find(&h, EK_STR("x-empty"), &v), 1);
    assert_int_equal(ek_http_head_find(&h, EK_STR("absent"), &v), 0);
    expect(v, "");
}

static void test_request_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path, *query, *host;
        bool keep_alive;
    } cases[] = {
        {"GET / HTTP/1.0\r\n\r\n", "/", "", "", false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost:\r\n\r\n", "/", "", "", true},
        {"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "/", "", "[::1]:80", true},
        {"GET http://a.b/c?d HTTP/1.1\r\nHost: other\r\n\r\n", "/c", "d", "a.b", true},
        {"GET HTTPS://a.b:1 HTTP/1.1\r\nHost: other\r\n\r\n", "/", "", "a.b:1", true},
        {"GET http://a.b?d HTTP/1.1\r\nHost: a.b\r\n\r\n", "/", "d", "a.b", true},
        {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "*", "", "x", true},
        {"GET /%2e%2e/? HTTP/1.1\r\nHost: x\r\n\r\n", "/%2e%2e/", "", "x", true},
        {POST "Transfer-Encoding: Chunked\r\n\r\n", "/", "", "x", true},
    };
    for (size_t i = 0; i < EK_COUNT(cases); i++) {
        struct ek_http_head h;
        size_t len = strlen(cases[i].text);
        assert_int_equal(parse_all_ways(ek_http_parse_request, cases[i].text, len, &h), len);
        expect(h.path, cases[i].path);
        expect(h.query, cases[i].query);
        expect(h.host, cases[i].host);
        assert_int_equal(h.keep_alive, cases[i].keep_alive);
        assert_int_equal(h.content_length, -1);
    }
}

static void test_response(void **state)
{
    (void)state;
    struct ek_http_head h;
    static const char text[] = "HTTP/1.1 200 OK then\r\nContent-Length: 3\r\n\r\nabc";
    ssize_t n = parse_all_ways(ek_http_parse_response, text, sizeof text - 1, &h);
    assert_int_equal(n, sizeof text - 4);
    assert_int_equal(h.status, 200);
    expect(h.reason, "OK then");
    assert_int_equal(h.content_length, 3);
    static const char bare[] = "HTTP/1.0 503\r\n\r\n";
    assert_int_equal(parse_all_ways(ek_http_parse_response, bare, sizeof bare - 1, &h),
                     sizeof bare - 1);
    assert_false(h.keep_alive);

    static const struct bytes_case bad[] = {
        C("status of two digits", "HTTP/1.1 20 OK\r\n\r\n", STATUS_LINE),
        C("status 099", "HTTP/1.1 099 OK\r\n\r\n", STATUS_LINE),
        C("status of four digits", "HTTP/1.1 2000\r\n\r\n", STATUS_LINE),
        C("ICY", "ICY 200 OK\r\n\r\n", STATUS_LINE),
        C("HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", VERSION),
        C("bare LF", "HTTP/1.1 200 OK\nA: b\n\n", BARE_LF),
        C("CL+TE", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
          LENGTH_AND_CODING),
        C("CL twice", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
          LENGTH_TWICE),
        C("gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", CODING),
    };
    for (size_t i = 0; i < EK_COUNT(bad); i++) {
        assert_int_equal(parse_all_ways(ek_http_parse_response, bad[i].data, bad[i].len, &h),
                         EK_HTTP_BAD);
        if (h.bad != bad[i].why) fail_msg("%s: %s", bad[i].what, ek_http_bad_name(h.bad));
    }
}

static char *repeated(const char *head, const char *unit, size_t count, const char *tail, size_t *len)
{
    size_t unit_len = strlen(unit);
    char *text = malloc(strlen(head) + count * unit_len + strlen(tail) + 1);
    assert_non_null(text);
    char *at = stpcpy(text, head);
    for (size_t i = 0; i < count; i++) {
        at = stpcpy(at, unit);
    }
    *len = (size_t)(stpcpy(at, tail) - text);
    return text;
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        const char *head, *unit, *tail;
        size_t count;
        ssize_t result; /* 1: accepted */
        enum ek_http_bad why;
    } cases[] = {
        {POST, "A: b\r\n", "\r\n", EK_HTTP_HEADERS_MAX - 1, 1, EK_HTTP_BAD_NONE},
        {POST, "A: b\r\n", "\r\n", EK_HTTP_HEADERS_MAX, EK_HTTP_BAD, EK_HTTP_BAD_HEADERS_MANY},
        {"GET /", "a", " HTTP/1.1\r\nHost: x\r\n\r\n", EK_HTTP_TARGET_BYTES_MAX - 1, 1, 0},
        {"GET /", "a", " HTTP/1.1\r\nHost: x\r\n\r\n", EK_HTTP_TARGET_BYTES_MAX, EK_HTTP_BAD,
         EK_HTTP_BAD_TARGET_LONG},
        {"", "M", " / HTTP/1.1\r\n\r\n", EK_HTTP_METHOD_BYTES_MAX + 1, EK_HTTP_BAD,
         EK_HTTP_BAD_METHOD},
        {POST "A: ", "a", "\r\n\r\n", EK_HTTP_HEAD_BYTES_MAX, EK_HTTP_BAD, EK_HTTP_BAD_HEAD_LONG},
        {POST "A: ", "a", "", EK_HTTP_HEAD_BYTES_MAX - 100, EK_HTTP_MORE, 0},
    };
    for (size_t i = 0; i < EK_COUNT(cases); i++) {
        size_t len;
        struct ek_http_head h;
        char *text = repeated(cases[i].head, cases[i].unit, cases[i].count, cases[i].tail, &len);
        for (size_t prev = 0; prev < len; prev += len / 2) { /* whole, and in two steps */
            ssize_t r = ek_http_parse_request(at_fence(text, len), len, prev,
                                              &ek_http_limits_default, &h);
            assert_int_equal(r > 0 ? 1 : r, cases[i].result);
            if (r == EK_HTTP_BAD) assert_int_equal(h.bad, cases[i].why);
        }
        free(text);
    }
    struct ek_http_limits small = {.head_bytes = 20, .header_count = 1, .target_bytes = 10};
    struct ek_http_head h;
    static const char get[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_int_equal(ek_http_parse_request(get, sizeof get - 1, 0, &small, &h), EK_HTTP_BAD);
    assert_int_equal(h.bad, EK_HTTP_BAD_HEAD_LONG);
    assert_int_equal(ek_http_parse_request(get, 19, 0, &small, &h), EK_HTTP_MORE);
}

/* Whatever random damage is done, the verdict does not depend on how the bytes arrived. */
static void test_damage(void **state)
{
    (void)state;
    static const char sound[] = POST "Content-Length: 12\r\nA: b c\r\nConnection: close\r\n\r\n";
    struct ek_random random = ek_random_make(20261121);
    char text[sizeof sound];
    for (int round = 0; round < 2000; round++) {
        memcpy(text, sound, sizeof sound);
        for (int k = 0; k < 2; k++) {
            static const char evil[] = "\r\n\t :,\0\x7f\xff" "5aZ/*";
            text[ek_random_below(&random, sizeof text - 1)] =
                evil[ek_random_below(&random, sizeof evil - 1)];
        }
        struct ek_http_head whole, part;
        size_t len = sizeof text - 1, prev = 0;
        ssize_t r = ek_http_parse_request(at_fence(text, len), len, 0, &ek_http_limits_default,
                                          &whole);
        ssize_t s = EK_HTTP_MORE;
        while (s == EK_HTTP_MORE && prev < len) {
            size_t n = prev + 1 + ek_random_below(&random, len - prev);
            s = ek_http_parse_request(at_fence(text, n), n, prev, &ek_http_limits_default, &part);
            prev = n;
        }
        if (s != EK_HTTP_MORE || ends(text, len)) assert_int_equal(r, s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_refused_chunks),
        cmocka_unit_test(test_chunks),    cmocka_unit_test(test_chunk_limits),
        cmocka_unit_test(test_request),   cmocka_unit_test(test_request_forms),
        cmocka_unit_test(test_response),  cmocka_unit_test(test_limits),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests_name("http_parse", tests, setup, NULL);
}
