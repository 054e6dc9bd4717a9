/* SPDX-License-Identifier: MIT */
/* Between the two files of the JSON reader only. Nobody else includes this. */
#ifndef EK_BASE_JSON_INSIDE_H
#define EK_BASE_JSON_INSIDE_H

#include "base/json.h"

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

#endif
