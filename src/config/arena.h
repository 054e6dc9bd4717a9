/* SPDX-License-Identifier: MIT */
/* Memory of one config snapshot: many small pieces, all freed together. Nothing in here is ever
 * freed singly. What goes in is bounded by the size limit of the file and of the command line, so
 * running out of memory is not handled but fatal. */
#ifndef EK_CONFIG_ARENA_H
#define EK_CONFIG_ARENA_H

#include "base/str.h"

struct ek_config_chunk;

struct ek_config_arena {
    struct ek_config_chunk *last; /* the chunk being filled; each points at the one before */
};

/* `bytes` zero bytes (0 is legal), aligned for any type, valid until ek_config_arena_free. */
void *ek_config_alloc(struct ek_config_arena *a, size_t bytes);

/* Copy with a terminating NUL. s holds no NUL. */
char *ek_config_strdup(struct ek_config_arena *a, struct ek_str s);

char *ek_config_sprintf(struct ek_config_arena *a, const char *fmt, ...) EK_PRINTF(2, 3);

void ek_config_arena_free(struct ek_config_arena *a);

#endif
