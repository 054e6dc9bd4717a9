/* SPDX-License-Identifier: MIT */
/* The escaper. Runs of plain text are found with the reader's own scan and copied whole; what stands
 * between two runs is one character at a time. */
#include "base/json_write.h"
#include "base/json_inside.h"
#include "base/utf8.h"

#define ESCAPED_BYTES_MAX 6

/* End of the longest run from p that needs no escaping: plain ASCII and whole characters beyond. */
static const char *run_end(const char *p, const char *stop)
{
    for (;;) {
        p = ek_json_plain(p, stop);
        if (p == stop || (signed char)*p >= 0) return p;
        int n = ek_utf8_step(ek_str_make(p, (size_t)(stop - p)), NULL);
        if (n <= 0) return p;
        p += n;
    }
}

/* The one character at *p, escaped; *p moves behind it. Returns the bytes written, at most 6. */
static size_t escape_one(const char **p, const char *stop, char out[ESCAPED_BYTES_MAX])
{
    static const char digits[] = "0123456789abcdef";
    static const char from[] = "\"\\\b\f\n\r\t";
    static const char to[] = "\"\\bfnrt";
    char c = **p;
    if ((signed char)c < 0) {
        int n = ek_utf8_step(ek_str_make(*p, (size_t)(stop - *p)), NULL);
        MUST(n <= 0);
        *p += n < 0 ? -n : stop - *p;
        memcpy(out, "\xEF\xBF\xBD", 3);
        return 3;
    }
    (*p)++;
    const char *found = c ? strchr(from, c) : NULL;
    if (found) {
        out[0] = '\\';
        out[1] = to[found - from];
        return 2;
    }
    memcpy(out, "\\u00", 4);
    out[4] = digits[c >> 4];
    out[5] = digits[c & 15];
    return 6;
}

void ek_json_put_inside(struct ek_buf *out, struct ek_str text)
{
    if (text.len == 0) return;
    const char *p = text.data;
    const char *stop = text.data + text.len;
    while (p < stop) {
        const char *end = run_end(p, stop);
        ek_buf_put(out, p, (size_t)(end - p));
        p = end;
        if (p == stop) break;
        char escaped[ESCAPED_BYTES_MAX];
        ek_buf_put(out, escaped, escape_one(&p, stop, escaped));
    }
}

void ek_json_put_string(struct ek_buf *out, struct ek_str text)
{
    ek_buf_char(out, '"');
    ek_json_put_inside(out, text);
    ek_buf_char(out, '"');
}

int64_t ek_json_escape(struct ek_str text, char *out, size_t cap)
{
    size_t put = 0;
    const char *p = text.data;
    const char *stop = text.len ? text.data + text.len : text.data;
    while (p < stop) {
        const char *end = run_end(p, stop);
        size_t run = (size_t)(end - p);
        if (run > cap - put) return -1;
        if (run) memcpy(out + put, p, run);
        put += run;
        p = end;
        if (p == stop) break;
        char escaped[ESCAPED_BYTES_MAX];
        size_t n = escape_one(&p, stop, escaped);
        if (n > cap - put) return -1;
        memcpy(out + put, escaped, n);
        put += n;
    }
    return (int64_t)put;
}
