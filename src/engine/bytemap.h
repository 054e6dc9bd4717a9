/* SPDX-License-Identifier: MIT */
/* The byte alphabet of "gpt2" vocabularies, and the little UTF-8 that the text side of the engine needs.
 *
 * A byte-level vocabulary is written in files as text, so each of the 256 bytes is given a printable
 * character: bytes that print stand for themselves, the other 68 take U+0100 onwards in order.
 * Source: bytes_to_unicode() of openai/gpt-2, src/encoder.py.
 *
 * Pure: no state, no allocation. Everything here takes bytes that may be hostile and never reads past
 * the length it was given. */
#ifndef EK_ENGINE_BYTEMAP_H
#define EK_ENGINE_BYTEMAP_H

#include "base/str.h"

struct ek_bytemap {
    uint16_t code[256];  /* byte -> code point */
    int16_t byte[0x180]; /* code point -> byte, -1 where none */
};

void ek_bytemap_init(struct ek_bytemap *m);

/* Bytes spelled by `text` (byte-mapped characters, UTF-8) into out, which holds text.len bytes.
 * Returns how many, or -1 when a character is not in the alphabet: then it is no byte-level token. */
long ek_bytemap_decode(const struct ek_bytemap *m, struct ek_str text, char *out);

/* Strict UTF-8 (no overlong forms, no surrogates, nothing above U+10FFFF): the code point at the start
 * of s.  > 0: its length in bytes.  0: s is a proper beginning of one, more bytes may follow.
 * -n: the first n bytes (1-3) are no UTF-8 and belong together as one mistake (Unicode 15, 3.9, table
 * 3-7: maximal subparts).  s must not be empty. `cp` may be NULL. */
int ek_utf8_step(struct ek_str s, uint32_t *cp);

/* Length of the longest valid prefix of s. */
size_t ek_utf8_valid(struct ek_str s);

#endif
