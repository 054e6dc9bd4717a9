/* SPDX-License-Identifier: MIT */
/* The operations on views that are too long to be inline. */
#include "base/str.h"

bool ek_str_u64(struct ek_str s, uint64_t *out)
{
    uint64_t value = 0;
    if (s.len == 0) return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') return false;
        if (__builtin_mul_overflow(value, 10u, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)(s.data[i] - '0'), &value)) return false;
    }
    *out = value;
    return true;
}

bool ek_str_copy(struct ek_str s, char *out, size_t cap)
{
    MUST(cap > 0);
    out[0] = '\0';
    if (s.len >= cap || (s.len && memchr(s.data, '\0', s.len))) return false;
    if (s.len) memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return true;
}

bool ek_str_word(const char **list, struct ek_str *word)
{
    while (**list == ' ') ++*list;
    size_t len = strcspn(*list, " ");
    *word = ek_str_make(*list, len);
    *list += len;
    return len > 0;
}
