/* SPDX-License-Identifier: MIT */
/* UTF-8 a character at a time. What must be faster (the JSON reader's strings) has loops of its own
 * over the same table of first bytes, ek_utf8_lead. */
#include "base/utf8.h"

int ek_utf8_step(struct ek_str s, uint32_t *cp)
{
    MUST(s.len > 0);
    uint8_t first = (uint8_t)s.data[0];
    uint32_t value = first;
    unsigned need = 0;
    if (first >= 0x80) {
        uint8_t lo;
        uint8_t hi;
        need = ek_utf8_lead(first, &lo, &hi);
        if (need == 0) return -1;
        value = first & (0x3Fu >> need);
        for (unsigned i = 1; i <= need; i++) {
            if (i >= s.len) return 0;
            uint8_t b = (uint8_t)s.data[i];
            if (b < lo || b > hi) return -(int)i;
            lo = 0x80;
            hi = 0xBF;
            value = value << 6 | (b & 0x3Fu);
        }
    }
    if (cp) *cp = value;
    return (int)need + 1;
}

size_t ek_utf8_encode(uint32_t code_point, char out[4])
{
    MUST(code_point <= 0x10FFFF);
    MUST(code_point < 0xD800 || code_point > 0xDFFF);
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xC0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (char)(0xE0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code_point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code_point & 0x3F));
    return 4;
}

size_t ek_utf8_valid(struct ek_str s)
{
    size_t at = 0;
    while (at < s.len) {
        if ((signed char)s.data[at] >= 0) {
            at++;
            continue;
        }
        int n = ek_utf8_step(ek_str_skip(s, at), NULL);
        if (n <= 0) break;
        at += (size_t)n;
    }
    return at;
}

/* Only the last three bytes can belong to a character that is not complete. */
size_t ek_utf8_whole(struct ek_str s)
{
    size_t back_max = s.len < 3 ? s.len : 3;
    for (size_t back = 1; back <= back_max; back++) {
        uint8_t b = (uint8_t)s.data[s.len - back];
        if ((b & 0xC0) == 0x80) continue;
        return ek_utf8_step(ek_str_skip(s, s.len - back), NULL) == 0 ? s.len - back : s.len;
    }
    return s.len;
}

size_t ek_utf8_repair(struct ek_str s, char *out, size_t cap)
{
    size_t put = 0;
    while (s.len > 0) {
        int n = ek_utf8_step(s, NULL);
        const char *from = n > 0 ? s.data : "\xEF\xBF\xBD";
        size_t bytes = n > 0 ? (size_t)n : 3;
        if (bytes > cap - put) break;
        memcpy(out + put, from, bytes);
        put += bytes;
        s = ek_str_skip(s, n > 0 ? (size_t)n : n < 0 ? (size_t)-n : s.len);
    }
    return put;
}
