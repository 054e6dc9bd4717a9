/* SPDX-License-Identifier: MIT */
/* The chunked transfer coding, strictly (RFC 9112 7.1): the drawing is in parse.h. Payload is handed
 * on as views, the plain size of a chunk is read at once, and all else a byte at a time: it is rare and
 * short. */
#include "http/parse.h"

enum state {
    SIZE, /* zero: a fresh struct begins here */
    DIGITS,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER, /* at the start of a trailer line */
    NAME,
    FIELD,
    FIELD_LF,
    END_LF,
    DONE,
    BROKEN,
};

static ssize_t refuse(struct ek_http_chunks *c, enum ek_http_bad why)
{
    c->state = BROKEN;
    c->bad = (uint8_t)why;
    return EK_HTTP_BAD;
}

static int hex(char b)
{
    if (b >= '0' && b <= '9') return b - '0';
    if (b >= 'a' && b <= 'f') return b - 'a' + 10;
    if (b >= 'A' && b <= 'F') return b - 'A' + 10;
    return -1;
}

static bool value_byte(char b)
{
    return ek_http_is_value(ek_str_make(&b, 1));
}

/* The size line: digits, optionally ';' and anything printable up to CR. */
static enum ek_http_bad read_size(struct ek_http_chunks *c, char b)
{
    int digit = hex(b);
    if (++c->line_bytes > EK_HTTP_CHUNK_LINE_BYTES_MAX) return EK_HTTP_BAD_CHUNK_LINE;
    if (c->state != EXTENSION && digit >= 0) {
        c->state = DIGITS;
        c->left = c->left * 16 + (uint64_t)digit; /* cannot wrap: refused 24 bits earlier */
        return c->left > EK_HTTP_CHUNK_BYTES_MAX ? EK_HTTP_BAD_CHUNK_SIZE : EK_HTTP_BAD_NONE;
    }
    if (c->state == SIZE) return EK_HTTP_BAD_CHUNK_SIZE;
    if (b == '\r') {
        c->state = SIZE_LF;
    } else if (b == ';') {
        c->state = EXTENSION;
    } else if (c->state == DIGITS) {
        return EK_HTTP_BAD_CHUNK_SIZE;
    } else if (!value_byte(b)) {
        return EK_HTTP_BAD_CHUNK_LINE;
    }
    return EK_HTTP_BAD_NONE;
}

static enum ek_http_bad read_trailer(struct ek_http_chunks *c, char b)
{
    if (++c->line_bytes > EK_HTTP_TRAILER_BYTES_MAX) return EK_HTTP_BAD_TRAILER;
    switch (c->state) {
    case TRAILER:
        if (b == '\r') {
            c->state = END_LF;
            return EK_HTTP_BAD_NONE;
        }
        c->state = NAME;
        return ek_http_is_token(ek_str_make(&b, 1)) ? EK_HTTP_BAD_NONE : EK_HTTP_BAD_TRAILER;
    case NAME:
        if (b == ':') c->state = FIELD;
        else if (!ek_http_is_token(ek_str_make(&b, 1))) return EK_HTTP_BAD_TRAILER;
        return EK_HTTP_BAD_NONE;
    case FIELD:
        if (b == '\r') c->state = FIELD_LF;
        else if (!value_byte(b)) return EK_HTTP_BAD_TRAILER;
        return EK_HTTP_BAD_NONE;
    case FIELD_LF:
        c->state = TRAILER;
        return b == '\n' ? EK_HTTP_BAD_NONE : EK_HTTP_BAD_TRAILER;
    default:
        MUST(c->state == END_LF);
        c->state = DONE;
        return b == '\n' ? EK_HTTP_BAD_NONE : EK_HTTP_BAD_TRAILER;
    }
}

static enum ek_http_bad read_byte(struct ek_http_chunks *c, char b)
{
    switch (c->state) {
    case SIZE:
    case DIGITS:
    case EXTENSION:
        return read_size(c, b);
    case SIZE_LF:
        c->state = c->left > 0 ? DATA : TRAILER;
        c->line_bytes = 0;
        return b == '\n' ? EK_HTTP_BAD_NONE : EK_HTTP_BAD_CHUNK_LINE;
    case DATA_CR:
        c->state = DATA_LF;
        return b == '\r' ? EK_HTTP_BAD_NONE : EK_HTTP_BAD_CHUNK_END;
    case DATA_LF:
        c->state = SIZE;
        return b == '\n' ? EK_HTTP_BAD_NONE : EK_HTTP_BAD_CHUNK_END;
    default:
        return read_trailer(c, b);
    }
}

/* A size as servers send it with each token: without extension, whole. Returns its bytes, and left is set;
 * 0: it is not that, and is read a byte at a time. */
static size_t read_plain_size(struct ek_http_chunks *c, const char *data, size_t len)
{
    uint64_t left = 0;
    size_t i = 0;
    for (; i < len && i < 6; i++) {
        int digit = hex(data[i]);
        if (digit < 0) break;
        left = left * 16 + (uint64_t)digit;
    }
    if (left == 0 || len - i < 2 || data[i] != '\r' || data[i + 1] != '\n') return 0;
    c->left = left;
    return i + 2;
}
_Static_assert(EK_HTTP_CHUNK_BYTES_MAX >= 0xffffff, "six digits are within the limit");

ssize_t ek_http_chunks_read(struct ek_http_chunks *c, const char *data, size_t len,
                            struct ek_str *payload)
{
    *payload = EK_STR("");
    if (c->state == BROKEN) return EK_HTTP_BAD;
    size_t i = c->state == SIZE ? read_plain_size(c, data, len) : 0;
    if (i) c->state = DATA;
    for (; i < len && c->state != DATA && c->state != DONE; i++) {
        enum ek_http_bad why = read_byte(c, data[i]);
        if (why != EK_HTTP_BAD_NONE) return refuse(c, why);
    }
    if (c->state != DATA || i == len) return (ssize_t)i;
    size_t n = len - i;
    if (n > c->left) n = (size_t)c->left;
    *payload = ek_str_make(data + i, n);
    c->left -= n;
    i += n;
    if (c->left > 0) return (ssize_t)i;
    bool ends = len - i >= 2 && data[i] == '\r' && data[i + 1] == '\n';
    c->state = ends ? SIZE : DATA_CR;
    return (ssize_t)(ends ? i + 2 : i);
}

bool ek_http_chunks_done(const struct ek_http_chunks *c)
{
    return c->state == DONE;
}
