/* SPDX-License-Identifier: MIT */
/* UTF-8 ranges as byte ranges: a range of code points is cut where the number of bytes changes and where
 * the trailing bytes are not all possible ones, until each piece is a product of byte ranges. Pure. */
#include "engine/spelling.h"

#include <stdio.h>
#include <string.h>

static unsigned encode(uint32_t c, unsigned char out[4])
{
    if (c < 0x80) {
        out[0] = (unsigned char)c;
        return 1;
    }
    unsigned len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (unsigned i = len - 1; i > 0; i--, c >>= 6) out[i] = (unsigned char)(0x80 | (c & 0x3F));
    out[0] = (unsigned char)((0xF00u >> len & 0xFFu) | c);
    return len;
}

/* All whose bytes lie, one by one, between those of lo and hi, which have the same length. */
static void put_product(struct ek_nfa *n, uint32_t from, uint32_t to, uint32_t lo, uint32_t hi)
{
    unsigned char a[4], b[4];
    unsigned len = encode(lo, a);
    MUST(encode(hi, b) == len);
    for (unsigned i = 0; i < len; i++) {
        uint32_t next = i + 1 == len ? to : ek_nfa_state(n);
        ek_nfa_range(n, from, next, a[i], b[i]);
        from = next;
    }
}

/* Code points of one length, none of them a surrogate and none a single byte. */
static void put_pieces(struct ek_nfa *n, uint32_t from, uint32_t to, uint32_t lo, uint32_t end)
{
    while (lo <= end) {
        unsigned tail = 0; /* bits of trailing bytes that run over all their values */
        while (tail < 18 && (lo & ((1u << (tail + 6)) - 1)) == 0 && (lo | ((1u << (tail + 6)) - 1)) <= end) {
            tail += 6;
        }
        uint32_t block = lo | ((1u << tail) - 1), last = lo | ((1u << (tail + 6)) - 1), step = 1u << tail;
        uint32_t alike = (last - block) / step, room = (end - block) / step;
        uint32_t hi = block + (alike < room ? alike : room) * step;
        put_product(n, from, to, lo, hi);
        lo = hi + 1;
    }
}

void ek_spell_utf8(struct ek_nfa *n, uint32_t from, uint32_t to, uint32_t lo, uint32_t hi)
{
    static const uint32_t ends[] = {0x7F, 0x7FF, 0xD7FF, 0xDFFF, 0xFFFF, EK_CODE_MAX};
    for (size_t i = 0; i < EK_COUNT(ends) && lo <= hi; i++) {
        if (lo > ends[i]) continue;
        uint32_t end = hi < ends[i] ? hi : ends[i];
        bool surrogates = ends[i] == 0xDFFF;
        if (end < 0x80) put_product(n, from, to, lo, end);
        else if (!surrogates) put_pieces(n, from, to, lo, end);
        lo = end + 1;
    }
}

static const struct { uint32_t code; char letter; } short_escapes[] = {
    {8, 'b'}, {9, 't'}, {10, 'n'}, {12, 'f'}, {13, 'r'}, {'"', '"'}, {'\\', '\\'},
};

/* The escape of a character that must not stand raw; 0: it may. */
static size_t escape(uint32_t code, char out[8])
{
    for (size_t i = 0; i < EK_COUNT(short_escapes); i++) {
        if (short_escapes[i].code == code) return (size_t)snprintf(out, 8, "\\%c", short_escapes[i].letter);
    }
    return code < 0x20 ? (size_t)snprintf(out, 8, "\\u%04x", (unsigned)code) : 0;
}

void ek_spell_json(struct ek_nfa *n, uint32_t from, uint32_t to, uint32_t lo, uint32_t hi)
{
    char text[8];
    uint32_t raw = lo;
    MUST(hi <= EK_CODE_MAX);
    for (uint32_t c = lo; c <= hi && c < 0x80; c++) {
        size_t len = escape(c, text);
        if (len == 0) continue;
        if (raw < c) ek_spell_utf8(n, from, to, raw, c - 1);
        ek_nfa_skip(n, ek_nfa_text(n, from, text, len), to);
        raw = c + 1;
    }
    if (raw <= hi) ek_spell_utf8(n, from, to, raw, hi);
}

static void put_hex(struct ek_nfa *n, uint32_t from, uint32_t to, unsigned lo, unsigned hi)
{
    for (unsigned d = lo; d <= hi; d++) {
        char lower = "0123456789abcdef"[d], upper = "0123456789ABCDEF"[d];
        ek_nfa_range(n, from, to, (unsigned char)lower, (unsigned char)lower);
        if (upper != lower) ek_nfa_range(n, from, to, (unsigned char)upper, (unsigned char)upper);
    }
}

void ek_spell_any(struct ek_nfa *n, uint32_t from, uint32_t to)
{
    ek_spell_utf8(n, from, to, 0x20, '"' - 1);
    ek_spell_utf8(n, from, to, '"' + 1, '\\' - 1);
    ek_spell_utf8(n, from, to, '\\' + 1, EK_CODE_MAX);
    uint32_t slash = ek_nfa_symbol(n, from, '\\');
    for (const char *c = "\"\\/bfnrt"; *c; c++) ek_nfa_range(n, slash, to, (unsigned char)*c,
        (unsigned char)*c);
    uint32_t u = ek_nfa_symbol(n, slash, 'u'), second = ek_nfa_state(n), after_d = ek_nfa_state(n);
    uint32_t third = ek_nfa_state(n), fourth = ek_nfa_state(n);
    put_hex(n, u, second, 0, 12);
    put_hex(n, u, after_d, 13, 13);
    put_hex(n, u, second, 14, 15);
    put_hex(n, second, third, 0, 15);
    put_hex(n, after_d, third, 0, 7);
    put_hex(n, third, fourth, 0, 15);
    put_hex(n, fourth, to, 0, 15);
}

uint32_t ek_spell_text(struct ek_nfa *n, uint32_t from, const char *utf8, size_t len)
{
    char text[8];
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)utf8[i];
        size_t k = c < 0x80 ? escape(c, text) : 0;
        from = k > 0 ? ek_nfa_text(n, from, text, k) : ek_nfa_symbol(n, from, c);
    }
    return from;
}
