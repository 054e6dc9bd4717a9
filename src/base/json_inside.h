/* SPDX-License-Identifier: MIT */
/* Between the files of the JSON reader and writer only. Nobody else includes this. */
#ifndef EK_BASE_JSON_INSIDE_H
#define EK_BASE_JSON_INSIDE_H

#include "base/json.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum json_state {
    JSON_VALUE,
    JSON_VALUE_OR_END,
    JSON_KEY_OR_END,
    JSON_KEY,
    JSON_COLON,
    JSON_AFTER, /* a comma or the end of the container */
    JSON_TAIL,  /* behind the document */
    JSON_DONE,
    JSON_BAD,
    JSON_INSIDE, /* from here on: inside a token */
    JSON_STRING = JSON_INSIDE,
    JSON_UTF8,          /* inside a character */
    JSON_ESCAPE,        /* behind a backslash */
    JSON_HEX,           /* within \uXXXX */
    JSON_LOW_BACKSLASH, /* a low surrogate must follow: its backslash ... */
    JSON_LOW_U,         /* ... and its u */
    JSON_LITERAL,
    JSON_NUMBER, /* from here on: the states of a number, in the order of its table */
    JSON_NUMBER_SIGN = JSON_NUMBER,
    JSON_NUMBER_ZERO,
    JSON_NUMBER_INT,
    JSON_NUMBER_DOT,
    JSON_NUMBER_FRACTION,
    JSON_NUMBER_E,
    JSON_NUMBER_E_SIGN,
    JSON_NUMBER_EXPONENT,
};

static inline uint64_t ek_json_offset(const struct ek_json *j, const char *p)
{
    return j->piece_start + (uint64_t)(p - j->piece);
}

static inline uint8_t ek_json_after(const struct ek_json *j)
{
    return j->level ? JSON_AFTER : JSON_TAIL;
}

enum ek_json_event ek_json_bad(struct ek_json *j, const char *at, enum ek_json_fault fault);
enum ek_json_event ek_json_begin_number(struct ek_json *j, const char *p);
enum ek_json_event ek_json_begin_literal(struct ek_json *j, const char *p, uint8_t which);
enum ek_json_event ek_json_read_string(struct ek_json *j); /* from j->next, behind the quote */
enum ek_json_event ek_json_go_on(struct ek_json *j);       /* whatever token j is inside of */

static inline bool ek_json_is_plain(char c)
{
    return (signed char)c >= 0x20 && c != '"' && c != '\\'; /* beyond ASCII is negative */
}

#define EK_JSON_ONES 0x0101010101010101u
#define EK_JSON_HIGH 0x8080808080808080u

static inline uint64_t ek_json_has_zero(uint64_t x)
{
    return (x - EK_JSON_ONES) & ~x & EK_JSON_HIGH;
}

/* Where the time goes: 16 bytes a step with SSE2, 8 elsewhere.
 * The first byte that is not a plain ASCII character of a string, or stop. */
static inline const char *ek_json_plain(const char *p, const char *stop)
{
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i slash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
    while (stop - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i odd = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash));
        odd = _mm_or_si128(odd, _mm_cmplt_epi8(v, space)); /* signed: catches beyond ASCII too */
        unsigned mask = (unsigned)_mm_movemask_epi8(odd);
        if (mask) return p + __builtin_ctz(mask);
        p += 16;
    }
#endif
    while (stop - p >= 8) {
        uint64_t x;
        memcpy(&x, p, 8);
        uint64_t odd = (x & EK_JSON_HIGH) | ((x - EK_JSON_ONES * 0x20) & ~x & EK_JSON_HIGH);
        odd |= ek_json_has_zero(x ^ EK_JSON_ONES * '"') | ek_json_has_zero(x ^ EK_JSON_ONES * '\\');
        if (odd) break;
        p += 8;
    }
    while (p < stop && ek_json_is_plain(*p)) p++;
    return p;
}

#endif
