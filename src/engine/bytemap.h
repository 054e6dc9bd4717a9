/* SPDX-License-Identifier: MIT */
/* The byte alphabet of "gpt2" vocabularies.
 *
 * A byte-level vocabulary is written in files as text, so each of the 256 bytes is given a printable
 * character: bytes that print stand for themselves, the other 68 take U+0100 onwards in order.
 * Source: bytes_to_unicode() of openai/gpt-2, src/encoder.py.
 *
 * Pure: no state, no allocation. Everything here takes bytes that may be hostile and never reads past
 * the length it was given. */
#ifndef EK_ENGINE_BYTEMAP_H
#define EK_ENGINE_BYTEMAP_H

#include "base/utf8.h"

struct ek_bytemap {
    uint16_t code[256];  /* byte -> code point */
    int16_t byte[0x180]; /* code point -> byte, -1 where none */
};

void ek_bytemap_init(struct ek_bytemap *m);

/* Bytes spelled by `text` (byte-mapped characters, UTF-8) into out, which holds text.len bytes.
 * Returns how many, or -1 when a character is not in the alphabet: then it is no byte-level token. */
long ek_bytemap_decode(const struct ek_bytemap *m, struct ek_str text, char *out);

#endif
