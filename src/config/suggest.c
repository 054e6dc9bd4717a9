/* SPDX-License-Identifier: MIT */
/* "Did you mean ...": the edit distance with swaps of neighbours (Damerau 1964, the restricted form),
 * on words short enough to need no allocation. */
#include "config/option.h"

#include <ctype.h>

#define WORD_MAX 64u

static char folded(char c)
{
    return c == '-' ? '_' : (char)tolower((unsigned char)c);
}

/* Edits that turn a into b; both at most WORD_MAX bytes. Three rows of the usual table are enough:
 * the swap looks back two. */
static size_t distance(struct ek_str a, struct ek_str b)
{
    MUST(a.len <= WORD_MAX);
    MUST(b.len <= WORD_MAX);
    size_t row[3][WORD_MAX + 1];
    for (size_t j = 0; j <= b.len; j++) {
        row[0][j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            char x = folded(a.data[i - 1]), y = folded(b.data[j - 1]);
            size_t best = last[j - 1] + (x != y);
            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            bool swapped = i > 1 && j > 1 && x == folded(b.data[j - 2]) &&
                           folded(a.data[i - 2]) == y;
            if (swapped && before[j - 2] + 1 < best) {
                best = before[j - 2] + 1;
            }
            now[j] = best;
        }
    }
    return row[a.len % 3][b.len];
}

const char *ek_suggest(struct ek_str typed, const char *(*next)(const void *ctx, size_t index),
                       const void *ctx)
{
    if (typed.len == 0 || typed.len > WORD_MAX) return NULL;
    const char *best = NULL;
    size_t best_edits = typed.len / 3 + 1; /* more than a third of the word is another word */

    for (size_t i = 0;; i++) {
        const char *candidate = next(ctx, i);
        if (!candidate) return best;
        struct ek_str word = ek_str_of(candidate);
        if (word.len > WORD_MAX) {
            continue;
        }
        size_t edits = distance(typed, word);
        /* The start of a long name ("body" for body_bytes) is a slip too. */
        if (typed.len >= 4 && typed.len < word.len && !strncasecmp(typed.data, candidate, typed.len)) {
            edits = 1;
        }
        if (edits < word.len && (edits < best_edits || (!best && edits <= best_edits))) {
            best = candidate;
            best_edits = edits;
        }
    }
}
