/* SPDX-License-Identifier: MIT */
/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
 * Pure functions over bytes; nothing here allocates or keeps state.
 *
 *   first byte   second     third     fourth
 *   00..7F
 *   C2..DF       80..BF
 *   E0           A0..BF     80..BF
 *   E1..EC       80..BF     80..BF
 *   ED           80..9F     80..BF                 (A0..BF would be a surrogate)
 *   EE..EF       80..BF     80..BF
 *   F0           90..BF     80..BF    80..BF
 *   F1..F3       80..BF     80..BF    80..BF
 *   F4           80..8F     80..BF    80..BF       Source: RFC 3629 section 4 */
#ifndef EK_BASE_UTF8_H
#define EK_BASE_UTF8_H

#include "base/str.h"

#define EK_UTF8_BAD (-1) /* no character can begin with these bytes */
#define EK_UTF8_MORE 0   /* so far so good: the bytes end inside a character */

/* Length (1..4) of the character at p[0..bytes); EK_UTF8_MORE when the bytes end inside it (also for
 * bytes == 0), EK_UTF8_BAD as soon as no continuation can make it valid. */
int ek_utf8_step(const char *p, size_t bytes);

/* The same, and the code point itself when the result is positive. */
int ek_utf8_decode(const char *p, size_t bytes, uint32_t *code_point);

/* Write a code point; returns 1..4. MUST be a scalar value (not a surrogate, <= 0x10FFFF). */
size_t ek_utf8_encode(uint32_t code_point, char out[4]);

/* Is the whole view valid and complete? */
bool ek_utf8_valid(struct ek_str s);

/* How many leading bytes are whole characters, when what follows them is at most the beginning of one:
 * what a detokenizer may already show. Bytes that are plainly wrong count as whole, so that the
 * caller never waits for a repair that cannot come. */
size_t ek_utf8_whole(struct ek_str s);

/* Copy s, every bad byte replaced by U+FFFD; returns the bytes written, at most cap (a character is
 * never cut). 3 * s.len bytes always suffice. */
size_t ek_utf8_repair(struct ek_str s, char *out, size_t cap);

#endif
