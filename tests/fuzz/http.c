/* SPDX-License-Identifier: MIT */
/* Heads and chunked bodies: views stay inside the input, a head that was accepted is accepted however
 * it trickled in, and nothing accepted holds what a strict head cannot. The first byte chooses
 * request, response or chunks and seeds the splits. */
#include "base/random.h"
#include "http/parse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct ek_str view, const char *data, size_t len)
{
    if (view.len == 0) return;
    if (view.len == 1 && view.data[0] == '/') return; /* the path of a target that has none */
    MUST(view.data >= data && view.data + view.len <= data + len);
}

static void check_head(const struct ek_http_head *h, const char *data, size_t len, bool request)
{
    inside(h->method, data, len);
    inside(h->target, data, len);
    inside(h->path, data, len);
    inside(h->query, data, len);
    inside(h->host, data, len);
    inside(h->reason, data, len);
    MUST(h->header_count <= EK_HTTP_HEADERS_MAX);
    for (size_t i = 0; i < h->header_count; i++) {
        inside(h->headers[i].name, data, len);
        inside(h->headers[i].value, data, len);
        MUST(ek_http_is_token(h->headers[i].name));
        MUST(ek_http_is_value(h->headers[i].value));
    }
    struct ek_str v;
    size_t lengths = ek_http_head_find(h, EK_STR("content-length"), &v);
    size_t codings = ek_http_head_find(h, EK_STR("transfer-encoding"), &v);
    MUST(lengths + codings <= 1);
    MUST(h->chunked == (codings == 1));
    MUST((h->content_length >= 0) == (lengths == 1));
    MUST(h->version == 10 || h->version == 11);
    if (request && h->version == 11) MUST(ek_http_head_find(h, EK_STR("host"), &v) == 1);
    if (request) MUST(h->path.len > 0 && (h->path.data[0] == '/' || h->path.data[0] == '*'));
}

static void heads(const char *data, size_t len, struct ek_random *random, bool request)
{
    static struct ek_http_head whole, part; /* large; one thread */
    const struct ek_http_limits *limits = &ek_http_limits_default;
    ssize_t r = request ? ek_http_parse_request(data, len, 0, limits, &whole)
                        : ek_http_parse_response(data, len, 0, limits, &whole);
    if (r > 0) check_head(&whole, data, (size_t)r, request);
    ssize_t s = EK_HTTP_MORE;
    for (size_t prev = 0, n; s == EK_HTTP_MORE && prev < len; prev = n) {
        n = prev + 1 + ek_random_below(random, len - prev);
        s = request ? ek_http_parse_request(data, n, prev, limits, &part)
                    : ek_http_parse_response(data, n, prev, limits, &part);
    }
    if (r > 0) MUST(s == r && part.header_count == whole.header_count);
    if (r < 0) MUST(s < 0);
}

/* Payload bytes with a checksum of their order; consumed bytes; or the refusal. */
static uint64_t chunks(const char *data, size_t len, struct ek_random *random)
{
    struct ek_http_chunks c = {0};
    uint64_t sum = 14695981039346656037u;
    size_t at = 0;
    while (at < len && !ek_http_chunks_done(&c)) {
        size_t n = random ? 1 + ek_random_below(random, len - at) : len - at;
        struct ek_str payload;
        ssize_t r = ek_http_chunks_read(&c, data + at, n, &payload);
        if (r < 0) return c.bad;
        MUST(r > 0 && (size_t)r <= n);
        inside(payload, data + at, (size_t)r);
        for (size_t i = 0; i < payload.len; i++) {
            sum = (sum ^ (uint8_t)payload.data[i]) * 1099511628211u;
        }
        at += (size_t)r;
    }
    return sum ^ (at << 1) ^ ek_http_chunks_done(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    struct ek_random random = ek_random_make(data[0]);
    char *copy = malloc(size); /* its own block, so that one byte too far is a fault */
    MUST(copy);
    memcpy(copy, data + 1, size - 1);
    char *tight = realloc(copy, size - 1 ? size - 1 : 1);
    MUST(tight);
    if (data[0] % 3 == 2) MUST(chunks(tight, size - 1, NULL) == chunks(tight, size - 1, &random));
    else heads(tight, size - 1, &random, data[0] % 3 == 0);
    free(tight);
    return 0;
}
