/* SPDX-License-Identifier: MIT */
/* Characters as automata: code points into UTF-8 bytes, and into the one spelling inside a JSON string that
 * patterns use (raw where JSON allows it, else the short escape, else \u00XX). RFC 3629, RFC 8259. Pure. */
#ifndef EK_ENGINE_SPELLING_H
#define EK_ENGINE_SPELLING_H

#include "engine/automaton.h"

enum { EK_CODE_MAX = 0x10FFFF };

/* The bytes of code points lo..hi, surrogates left out. */
void ek_spell_utf8(struct ek_nfa *n, uint32_t from, uint32_t to, uint32_t lo, uint32_t hi);

/* The same inside of a JSON string. */
void ek_spell_json(struct ek_nfa *n, uint32_t from, uint32_t to, uint32_t lo, uint32_t hi);

/* Every spelling of every character inside a JSON string. Escaped surrogates are left out: half of a pair
 * is no character, and whole ones are written raw. */
void ek_spell_any(struct ek_nfa *n, uint32_t from, uint32_t to);

/* A text as a JSON string, without its quotes; the state behind it. `utf8` is valid. */
uint32_t ek_spell_text(struct ek_nfa *n, uint32_t from, const char *utf8, size_t len);

#endif
