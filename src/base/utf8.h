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

/* What may follow a first byte >= 0x80: returns the number of continuation bytes and the range of the
 * next one (all later ones: 80..BF); 0 when no character begins so. */
static inline unsigned ek_utf8_lead(uint8_t first, uint8_t *lo, uint8_t *hi)
{
    *lo = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    *hi = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (first < 0xC2 || first > 0xF4) return 0;
    return first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
}

/* The first character of s, which must not be empty.  > 0: its length in bytes.  0: s is a proper
 * beginning of one, more bytes may follow.  -n: the first n bytes (1..3) are no UTF-8 and belong
 * together as one mistake (Unicode 15, 3.9, table 3-7: maximal subparts).  `cp` may be NULL. */
int ek_utf8_step(struct ek_str s, uint32_t *cp);

/* Write a code point; returns 1..4. MUST be a scalar value (not a surrogate, <= 0x10FFFF). */
size_t ek_utf8_encode(uint32_t code_point, char out[4]);

/* Length of the longest valid prefix of s; == s.len when all of it is valid and complete. */
size_t ek_utf8_valid(struct ek_str s);

/* How many leading bytes are whole characters, when what follows them is at most the beginning of one:
 * what a detokenizer may already show. Bytes that are plainly wrong count as whole, so that the
 * caller never waits for a repair that cannot come. */
size_t ek_utf8_whole(struct ek_str s);

/* Copy s, every mistake replaced by one U+FFFD; returns the bytes written, at most cap (a character is
 * never cut). 3 * s.len bytes always suffice. */
size_t ek_utf8_repair(struct ek_str s, char *out, size_t cap);

#endif
