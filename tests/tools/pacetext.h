/* SPDX-License-Identifier: MIT */
/* The text that the paced fake engine writes and the load client expects, as a pure function of
 * (seed, token index): both ends compute it, so a relay that loses, doubles, reorders or mixes up
 * tokens between streams is caught without either end remembering anything.
 * Independent of src/ on purpose: a tool that shared code with the program under test would share
 * its mistakes. */
#ifndef PACETEXT_H
#define PACETEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PACE_TOKEN_MAX = 24 }; /* bytes of the longest token text, terminator included */

static inline uint64_t pace_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u; /* splitmix64 */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* FNV-1a over the request body: the seed of a request that names none. */
static inline uint64_t pace_hash(const char *bytes, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) {
        h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    }
    return h;
}

/* Token `index` of the text of `seed`: a blank and one to three syllables; some carry bytes beyond
 * ASCII, so that a relay which splits or re-encodes UTF-8 shows. Needs no JSON escape.
 * out: PACE_TOKEN_MAX bytes. Returns the length without the terminator. */
static inline size_t pace_token(uint64_t seed, uint64_t index, char *out)
{
    static const char *const syllable[16] = {"ka", "lo", "mi",   "ne",   "ru",  "sta", "té", "vo",
                                             "zi", "ba", "帆", "船", "dor", "fen", "gal", "hu"};
    uint64_t r = pace_mix(seed ^ pace_mix(index));
    unsigned count = 1 + (unsigned)(r & 3) % 3;
    size_t len = 0;

    out[len++] = ' ';
    for (unsigned i = 0; i < count; i++) {
        const char *s = syllable[(r >> (8 + 4 * i)) & 15];
        size_t n = strlen(s);
        memcpy(out + len, s, n);
        len += n;
    }
    out[len] = '\0';
    return len;
}

#endif
