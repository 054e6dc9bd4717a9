/* SPDX-License-Identifier: MIT */
/* What is done with the bytes between two offsets: unescape a string, read a number, remember the
 * names of an object. Numbers do not depend on the locale. */
#include "base/json.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <xxhash.h>

static int32_t hex4(const char *p)
{
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* One escape at p (a backslash), `bytes` there are: its length and its code point; 0 when bad. */
static size_t escape_length(const char *p, size_t bytes, uint32_t *code_point)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (bytes < 2) return 0;
    const char *found = p[1] ? strchr(from, p[1]) : NULL;
    if (found) {
        *code_point = (uint32_t)to[found - from];
        return 2;
    }
    if (p[1] != 'u' || bytes < 6) return 0;
    int32_t unit = hex4(p + 2);
    if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF)) return 0;
    *code_point = (uint32_t)unit;
    if (unit < 0xD800 || unit > 0xDBFF) return 6;
    if (bytes < 12 || p[6] != '\\' || p[7] != 'u') return 0;
    int32_t low = hex4(p + 8);
    if (low < 0xDC00 || low > 0xDFFF) return 0;
    *code_point = 0x10000u + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
    return 12;
}

int64_t ek_json_unescape(struct ek_str inside, char *out, size_t cap)
{
    size_t at = 0;
    size_t put = 0;
    while (at < inside.len) {
        const char *p = inside.data + at;
        const char *slash = memchr(p, '\\', inside.len - at);
        size_t run = slash ? (size_t)(slash - p) : inside.len - at;
        if (run > cap - put) return -1;
        if (run) memcpy(out + put, p, run);
        put += run;
        at += run;
        if (!slash) break;
        uint32_t code_point;
        char text[4];
        size_t raw = escape_length(slash, inside.len - at, &code_point);
        if (raw == 0) return -1;
        size_t bytes = ek_utf8_encode(code_point, text);
        if (bytes > cap - put) return -1;
        memcpy(out + put, text, bytes);
        put += bytes;
        at += raw;
    }
    return (int64_t)put;
}

bool ek_json_int64(struct ek_str number, int64_t *out)
{
    bool minus = number.len > 0 && number.data[0] == '-';
    struct ek_str digits = minus ? ek_str_skip(number, 1) : number;
    uint64_t value;
    if (digits.len > 1 && digits.data[0] == '0') return false;
    if (!ek_str_u64(digits, &value)) return false;
    uint64_t limit = minus ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    if (value > limit) return false;
    *out = minus ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

/* strtod in the C locale, which is the only one this program ever sets for numbers: whoever calls
 * setlocale(LC_NUMERIC) breaks this, and the check of the end catches it. */
bool ek_json_double(struct ek_str number, double *out)
{
    char text[EK_JSON_TEXT_MAX];
    if (number.len == 0 || number.len >= sizeof text) return false;
    for (size_t i = 0; i < number.len; i++) {
        if (!strchr("+-.0123456789Ee", number.data[i]) || number.data[i] == '\0') return false;
    }
    memcpy(text, number.data, number.len);
    text[number.len] = '\0';
    char *end;
    double value = strtod(text, &end);
    if (end != text + number.len || !isfinite(value)) return false;
    *out = value;
    return true;
}

enum ek_json_seen_result ek_json_seen_add(struct ek_json_seen *s, const struct ek_json *j)
{
    MUST(!j->text_cut);
    MUST(s->count <= EK_JSON_SEEN_MAX);
    uint64_t hash = XXH3_64bits(j->text, j->text_bytes);
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->hash[i] == hash) return EK_JSON_SEEN_TWICE;
    }
    if (s->count == EK_JSON_SEEN_MAX) return EK_JSON_SEEN_FULL;
    s->hash[s->count++] = hash;
    return EK_JSON_SEEN_NEW;
}

bool ek_json_has_more(struct ek_str document, uint32_t values)
{
    const char *stop = document.data + document.len;
    uint32_t seen = 1;
    if (document.len == 0) return false;
    for (const char *p = document.data; p < stop && seen <= values; p++) {
        seen += *p == ',' || *p == '[' || *p == '{';
        if (*p == '"' && !(p = ek_json_string_end(p + 1, stop))) return false;
    }
    return seen > values;
}
