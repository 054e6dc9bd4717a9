/* SPDX-License-Identifier: MIT */
/* A view of bytes that somebody else owns: pointer and length, no terminating NUL promised.
 * Whoever hands out a view says until which event it is valid. */
#ifndef EK_BASE_STR_H
#define EK_BASE_STR_H

#include "base/must.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct ek_str {
    const char *data;
    size_t len; /* bytes */
};

#define EK_STR(literal) ((struct ek_str){(literal), sizeof(literal) - 1})

static inline struct ek_str ek_str_make(const char *data, size_t len)
{
    return (struct ek_str){data, len};
}

/* View of a C string; NULL gives the empty view. */
static inline struct ek_str ek_str_of(const char *cstr)
{
    return (struct ek_str){cstr, cstr ? strlen(cstr) : 0};
}

static inline bool ek_str_eq(struct ek_str a, struct ek_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* ASCII case ignored: header names, schemes. */
static inline bool ek_str_eq_nocase(struct ek_str a, struct ek_str b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.data, b.data, a.len) == 0);
}

static inline bool ek_str_starts(struct ek_str s, struct ek_str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

/* s without its first n bytes; n <= s.len. */
static inline struct ek_str ek_str_skip(struct ek_str s, size_t n)
{
    MUST(n <= s.len);
    return (struct ek_str){s.data + n, s.len - n};
}

/* Decimal digits only, the whole view, no sign, no spaces; false on overflow or anything else. */
bool ek_str_u64(struct ek_str s, uint64_t *out);

/* Copy into a C string of `cap` bytes; false (and an empty string) when it does not fit or holds NUL. */
bool ek_str_copy(struct ek_str s, char *out, size_t cap);

/* The next word of a list of words with blanks between, and *list behind it; false at the end. */
bool ek_str_word(const char **list, struct ek_str *word);

#endif
