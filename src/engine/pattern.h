/* SPDX-License-Identifier: MIT */
/* Regular expressions of JSON Schema (`pattern`) as automata over the bytes inside a JSON string.
 *
 * The part of ECMA-262's syntax that is regular: characters, classes, \d \w \s and their opposites, groups,
 * alternatives, repetition (a lazy mark changes nothing here), ^ and $ anywhere. As the standard says, a
 * pattern is looked for inside the text unless it is anchored. Refused with a sentence: look-around, back
 * references, word boundaries, \p{...}, and what grows beyond the limits. Each character has one spelling
 * (spelling.h). Pure but for memory. */
#ifndef EK_ENGINE_PATTERN_H
#define EK_ENGINE_PATTERN_H

#include "base/str.h"
#include "engine/automaton.h"

enum {
    EK_PATTERN_BYTES_MAX = 2048,
    EK_PATTERN_GROUPS_MAX = 64, /* nested */
    EK_PATTERN_REPEAT_MAX = 1000,
};

/* The texts that `pattern` accepts; state 0 of *out is the start. False with a sentence's end in `why`. */
EK_CHECKED bool ek_pattern_compile(struct ek_str pattern, uint32_t states_max, struct ek_dfa *out,
                                   char *why, size_t why_cap);

#endif
