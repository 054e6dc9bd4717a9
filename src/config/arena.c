/* SPDX-License-Identifier: MIT */
/* The memory of a config snapshot: a chain of chunks filled from the front.
 *
 *      last --> [prev|used|cap| bytes ####....]  --> [prev| ... #######] --> NULL
 *
 * A piece larger than a chunk gets a chunk of its own size. */
#include "config/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_BYTES 8192u
#define ALIGN 16u

struct ek_config_chunk {
    struct ek_config_chunk *prev;
    size_t used; /* of cap */
    size_t cap;
    _Alignas(ALIGN) char data[];
};

void *ek_config_alloc(struct ek_config_arena *a, size_t bytes)
{
    MUST(bytes <= SIZE_MAX / 4);
    size_t need = (bytes + ALIGN - 1) / ALIGN * ALIGN;

    if (!a->last || a->last->cap - a->last->used < need) {
        size_t cap = need > CHUNK_BYTES ? need : CHUNK_BYTES;
        struct ek_config_chunk *fresh = calloc(1, sizeof(*fresh) + cap);
        MUST(fresh);
        fresh->prev = a->last;
        fresh->cap = cap;
        a->last = fresh;
    }
    void *piece = a->last->data + a->last->used;
    a->last->used += need;
    MUST(a->last->used <= a->last->cap);
    return piece;
}

char *ek_config_strdup(struct ek_config_arena *a, struct ek_str s)
{
    char *copy = ek_config_alloc(a, s.len + 1);
    if (s.len) {
        memcpy(copy, s.data, s.len);
    }
    return copy;
}

char *ek_config_sprintf(struct ek_config_arena *a, const char *fmt, ...)
{
    va_list ap;
    MUST(fmt);
    va_start(ap, fmt);
    int len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    MUST(len >= 0);
    char *out = ek_config_alloc(a, (size_t)len + 1);
    va_start(ap, fmt);
    int again = vsnprintf(out, (size_t)len + 1, fmt, ap);
    va_end(ap);
    MUST(again == len);
    return out;
}

void ek_config_arena_free(struct ek_config_arena *a)
{
    while (a->last) {
        struct ek_config_chunk *prev = a->last->prev;
        free(a->last);
        a->last = prev;
    }
}
